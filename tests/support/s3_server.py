"""A real S3 server in a process of its own (moto's), and a proxy before it that breaks what it is told to."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

import obstore
from obstore.store import S3Store

from tests.support.loopback import own_address
from tests.support.waiting import eventually

_START = 60.0  # seconds
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
BUCKET = "backups"


class S3Process:
    """An S3 server on a loopback address of its own, with one empty bucket.

    :param certificate: a chain for this address; the connections are TLS then.
    """

    def __init__(self, *, host: str = "", certificate: Path | None = None, key: Path | None = None) -> None:
        self.host = host or own_address()  # 127.0.0.1 in a Pod of a local node is the Pod
        self.port = 9000
        scheme = "https" if certificate else "http"
        self.url = f"{scheme}://{self.host}:{self.port}"
        program = str(Path(sys.executable).with_name("moto_server"))
        command = [program, "-H", self.host, "-p", str(self.port)]
        if certificate is not None:
            command += ["--ssl-cert", str(certificate), "--ssl-key", str(key)]
        self._certificate = certificate
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **CREDENTIALS}
        )

    def __enter__(self) -> Self:
        try:
            eventually(self._make_bucket, "the S3 server", _START)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def _make_bucket(self) -> bool:
        assert self._process.poll() is None, "the S3 server has ended"
        connection = (
            http.client.HTTPConnection(self.host, self.port, timeout=10)
            if self._certificate is None
            else http.client.HTTPSConnection(
                self.host,
                self.port,
                timeout=10,
                context=ssl._create_unverified_context(),  # the server is ours
            )
        )
        try:
            connection.request("PUT", f"/{BUCKET}")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def reader(self) -> S3Store:
        """What a test looks with."""
        return S3Store(
            BUCKET,
            config={"endpoint": self.url, "region": "us-east-1", "virtual_hosted_style_request": False},
            client_options={"allow_http": True},
            access_key_id="test",
            secret_access_key="test",
        )

    def stored(self) -> list[str]:
        return sorted(each["path"] for each in obstore.list(self.reader()).collect())


Fault = Callable[[str, str], int | None]  # method, path -> status to answer with; 0: never; None: let it through


class FaultyProxy:
    """Passes requests on, but for those that ``fault`` has something to say about."""

    def __init__(self, target: S3Process) -> None:
        self.fault: Fault = lambda method, path: None
        self.seen: list[tuple[str, str]] = []
        outer = self
        self._released = threading.Event()
        self._open: list[socket.socket] = []

        class Handler(BaseHTTPRequestHandler):
            def setup(self) -> None:
                super().setup()
                outer._open.append(self.connection)

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                if len(body) < length:  # who asked has gone
                    self.close_connection = True
                    return
                outer.seen.append((self.command, self.path))
                status = outer.fault(self.command, self.path)
                if status == 0:
                    outer._released.wait(60)
                    self.close_connection = True
                    return
                if status is not None:
                    self._answer(status, {}, b"<Error><Code>Broken</Code><Message>as the test asks</Message></Error>")
                    return
                connection = http.client.HTTPConnection(target.host, target.port, timeout=30)
                try:
                    headers = {k: v for k, v in self.headers.items() if k.lower() not in ("connection",)}
                    connection.request(self.command, self.path, body, headers)
                    answer = connection.getresponse()
                    self._answer(answer.status, dict(answer.getheaders()), answer.read())
                finally:
                    connection.close()

            def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in ("connection", "content-length", "date", "server", "transfer-encoding"):
                        self.send_header(name, value)
                length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
                self.send_header("Content-Length", length)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

            def log_message(self, format: str, *args: object) -> None:
                return

        host = own_address()
        self._server = ThreadingHTTPServer((host, 9000), Handler)
        self._server.daemon_threads = False  # closing waits for them
        self.url = f"http://{host}:9000"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="faulty-proxy")
        self._thread.start()

    def close(self) -> None:
        self._released.set()
        self._server.shutdown()
        for connection in self._open:  # clients keep some for later
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join()
