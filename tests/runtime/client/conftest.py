"""A scripted HTTP server: what a real API server, or something in between, does on its bad days."""

from __future__ import annotations

import contextlib
import http.server
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from runtime.client import Client


@pytest.fixture(autouse=True)
def no_key_files_left() -> Iterator[None]:
    """The official client keeps inline certificates and keys in temporary files until the process ends."""
    yield
    loader = sys.modules.get("kubernetes.config.kube_config")
    if loader is not None:
        loader._cleanup_temp_files()


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def handle_any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        seen = Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, self.rfile.read(length))
        owner = self.server.owner
        with owner.lock:
            owner.requests.append(seen)
            act = owner.script.pop(0) if owner.script else owner.default
        assert act is not None, f"nothing is scripted for {seen.method} {seen.path}"
        act(self, seen)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_CONNECT = handle_any

    def log_message(self, format: str, *args: object) -> None:
        pass

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def begin_chunks(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def drop(self) -> None:
        """Cut the connection without an answer."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


Act = Callable[[Handler, Seen], None]


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
    owner: ScriptedServer

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that went away is part of the test

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        with self.owner.lock:
            self.owner.connections.append(connection)
        return connection, address


@dataclass
class ScriptedServer:
    """Does the next thing of ``script`` for each request; ``default`` when the script is used up."""

    tls: ssl.SSLContext | None = None
    script: list[Act] = field(default_factory=list)
    default: Act | None = None
    requests: list[Seen] = field(default_factory=list)
    connections: list[socket.socket] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    ended: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        self.http = Server(("127.0.0.1", 0), Handler)
        self.http.owner = self
        if self.tls is not None:
            self.http.socket = self.tls.wrap_socket(self.http.socket, server_side=True, do_handshake_on_connect=False)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), name="scripted-server")
        self.thread.start()

    def stop(self) -> None:
        self.ended.set()
        with self.lock:
            for connection in self.connections:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.http.server_address[1]}"

    def then(self, *acts: Act) -> ScriptedServer:
        self.script.extend(acts)
        return self

    def hang(self, handler: Handler, seen: Seen) -> None:
        """Never answer."""
        self.ended.wait(30)
        handler.close_connection = True


def answer(obj: Any, status: int = 200, headers: dict[str, str] | None = None) -> Act:
    body = obj if isinstance(obj, bytes) else orjson.dumps(obj)
    return lambda handler, seen: handler.reply(status, body, headers)


def failure(
    code: int, reason: str, message: str = "it failed", headers: dict[str, str] | None = None, **details: Any
) -> Act:
    status = {
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message,
        "details": details,
    }  # fmt: skip
    return answer(status, code, headers)


def drop(handler: Handler, seen: Seen) -> None:
    handler.drop()


def chunks(*parts: bytes, end: bool = True) -> Act:
    def act(handler: Handler, seen: Seen) -> None:
        handler.begin_chunks()
        for part in parts:
            handler.chunk(part)
        if end:
            handler.wfile.write(b"0\r\n\r\n")
        else:
            handler.drop()

    return act


def line(type: str, obj: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": type, "object": obj}) + b"\n"


def pod(name: str, **more: Any) -> dict[str, Any]:
    return {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "namespace": "ns", **more}}


class Kit:
    """The helpers above, as a fixture: test folders are no packages to import from."""

    answer = staticmethod(answer)
    failure = staticmethod(failure)
    chunks = staticmethod(chunks)
    drop = staticmethod(drop)
    line = staticmethod(line)
    pod = staticmethod(pod)
    Server = ScriptedServer


@pytest.fixture
def kit() -> type[Kit]:
    return Kit


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def client(scripted: ScriptedServer) -> Iterator[Client]:
    with Client(scripted.url) as made:
        yield made
