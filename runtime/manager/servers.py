"""The manager's two small HTTP servers: metrics, and health probes."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

from runtime.logging import get_logger
from runtime.manager.errors import BadOption, BindError
from runtime.manager.health import HealthChecks, render
from runtime.metrics.registry import Registry

__all__ = ["HttpServer", "Reply", "Request", "health_routes", "metrics_routes", "parse_address"]

_CLOSE_TIMEOUT: Final = 2.0  # seconds for requests that are being answered at the end
_IDLE_TIMEOUT: Final = 30.0  # seconds a kept connection may be silent: nobody keeps one of our threads for ever
_log = get_logger(__name__)


class Request:
    """A GET: its path without the query, and the query's values by name."""

    def __init__(self, target: str, accept: str) -> None:
        parts = urlsplit(target)
        self.path = unquote(parts.path)
        self.query = parse_qs(parts.query, keep_blank_values=True)
        self.accept = accept


Reply: TypeAlias = tuple[int, str, bytes]
"""Status, content type, body."""
Route: TypeAlias = Callable[[Request], Reply | None]
"""Answers a request, or None: not found."""

TEXT = "text/plain; charset=utf-8"


class HttpServer:
    """Serves one route function on one address, in threads of its own.

    :param name: of the option that set the address (``metrics_bind_address``); for messages and threads.
    :param address: ``":8080"``, ``"127.0.0.1:8080"``, ``"[::1]:8080"``; port 0 takes a free one.
    :raises BadOption: the address is malformed.
    """

    def __init__(self, name: str, address: str, route: Route) -> None:
        self.name = name
        self._given = address
        self._host, self._port = parse_address(name, address)
        self._route = route
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """:raises BindError: the address is taken, not ours, or not allowed."""
        try:
            self._server = _Server(self.name, self._host, self._port, self._route)
        except OSError as error:
            flag = "--" + self.name.replace("_", "-")
            raise BindError(
                f"{self.name} ({flag}) {self._given!r}: cannot listen: {error.strerror or error}; "
                f'choose another address, or "0" to switch this server off'
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name=f"http-{self.name}", daemon=True
        )
        self._thread.start()

    @property
    def address(self) -> str | None:
        """``host:port`` it listens on, with the real port; None while it does not run."""
        if self._server is None:
            return None
        host, port = self._server.server_address[:2]
        host = host.decode() if isinstance(host, bytes | bytearray) else str(host)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def stop(self) -> None:
        """Stop listening, close open connections and wait for the threads."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.close_connections()
        self._server.server_close()
        self._server = self._thread = None


class _Server(HTTPServer):
    """A thread per connection, each named, and waited for at the end, but not for ever."""

    def __init__(self, name: str, host: str, port: int, route: Route) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.route = route
        self._name = name
        self._lock = threading.Lock()  # guards _connections
        self._connections: dict[socket.socket, threading.Thread] = {}
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        # The inherited one looks up the host's name, which takes seconds where DNS is slow.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        assert isinstance(request, socket.socket)
        thread = threading.Thread(
            target=self._serve, args=(request, client_address), name=f"http-{self._name}-connection", daemon=True
        )
        with self._lock:
            self._connections[request] = thread
        thread.start()

    def close_connections(self) -> None:
        """Cut them off, and wait a moment for their threads: a check of the user's may hang."""
        with self._lock:
            open_now = dict(self._connections)
        for connection in open_now:
            with contextlib.suppress(OSError):  # it has just closed by itself
                connection.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + _CLOSE_TIMEOUT
        for thread in open_now.values():
            thread.join(max(0.0, deadline - time.monotonic()))

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except Exception:
            self.handle_error(request, client_address)
        finally:
            self.shutdown_request(request)
            with self._lock:
                del self._connections[request]

    def handle_error(self, _request: object, client_address: object) -> None:
        _log.debug("http request failed", client=str(client_address), exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_TIMEOUT
    server: _Server

    def do_GET(self) -> None:
        try:
            reply = self.server.route(Request(self.path, self.headers.get("Accept", "")))
        except Exception as error:
            _log.error("http request could not be answered", path=self.path, error=repr(error), exc_info=error)
            reply = 500, TEXT, b"internal error, see the log\n"
        status, content_type, body = reply or (404, TEXT, b"not found\n")
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a probe every few seconds is no news."""


def parse_address(name: str, address: str) -> tuple[str, int]:
    """Host and port of ``host:port``; a missing host means all.

    :raises BadOption: it is not of that form.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise BadOption(f'{name} {address!r} is no address: use ":8080", "127.0.0.1:8080", or "0" for none')
    return host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port)


def metrics_routes(registry: Registry) -> Route:
    """``/metrics``, in the format the scraper asks for."""

    def route(request: Request) -> Reply | None:
        if request.path.rstrip("/") != "/metrics":
            return None
        body, content_type = registry.render(request.accept)
        return 200, content_type, body

    return route


def health_routes(checks: dict[str, HealthChecks]) -> Route:
    """``/healthz`` and ``/readyz`` by the names in ``checks``; ``/readyz/NAME`` for one check.

    ``?verbose`` lists all checks, ``?exclude=NAME`` leaves one out.
    """

    def route(request: Request) -> Reply | None:
        kind, _, only = request.path.strip("/").partition("/")
        group = checks.get(kind)
        if group is None:
            return None
        try:
            results = group.run(only or None, request.query.get("exclude", ()))
        except KeyError:
            known = ", ".join(group.names())
            return 404, TEXT, f"there is no check {only!r}; there are: {known}\n".encode()
        status, text = render(kind, results, verbose="verbose" in request.query)
        return status, TEXT, text.encode()

    return route
