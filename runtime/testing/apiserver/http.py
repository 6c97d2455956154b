"""HTTP/1.1 as an API server needs it: read a request from a socket, write an answer or a stream of chunks.

Our own, because it is called for every request of every test: parsing by hand is four times faster than
``http.server`` (research/python-peers.md 3.5). Nothing here knows of Kubernetes.
"""

from __future__ import annotations

import functools
import re
import socket
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import parse_qsl, unquote

if TYPE_CHECKING:
    from runtime.testing.apiserver.tls import PeerCertificate

MAX_HEAD = 1024 * 1024 + 4096  # as Go reads it
MAX_BODY = 3 * 1024 * 1024
_MAX_DIGITS = 19
_CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,16}")
_TLS_HANDSHAKE = b"\x16"
_DRAIN_BYTES = 16 * 1024 * 1024
_DRAIN_TIME = 1.0  # seconds without a byte
_RECEIVE = 64 * 1024
_GZIP_ABOVE = 128 * 1024  # bytes; the real server compresses larger answers


class BadRequest(Exception):
    """The bytes are no request that could be answered otherwise; the connection is closed after the answer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class _TooLarge(Exception):
    """A body that is not read any further."""


class Disconnected(Exception):
    """The peer has gone, the server is stopping, or the connection is to be closed where it is."""


class Reset(Disconnected):
    """The connection is to be reset (RST) instead of closed."""


@dataclass(slots=True)
class Request:
    """One request. ``headers`` has lower-case names; ``query`` the first value of each parameter, as Go takes it.

    :param repeated: all values of the headers that came in several lines, which ``headers`` joins by commas.
    :param certificate: of the client, verified.
    :param too_large: the body is longer than :data:`MAX_BODY`: it has not been read, and ``body`` is empty.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""
    keep_alive: bool = True
    http_1_0: bool = False
    repeated: dict[str, list[str]] = field(default_factory=dict)
    certificate: PeerCertificate | None = None
    too_large: bool = False

    def header(self, name: str) -> str:
        return self.headers.get(name, "")


@dataclass(slots=True)
class Response:
    """What to answer: either ``body``, or ``stream``, whose parts are sent as they come.

    :param stream: called with a function that sends bytes at once and raises :class:`Disconnected`; when it returns
        the stream ends properly. It runs in the connection's thread.
    :param tunnel: of a 101: called with the connection once that has been sent; when it returns the connection is
        closed. It runs in the connection's thread.
    """

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    stream: Callable[[Stream], None] | None = None
    tunnel: Callable[[Tunnel], None] | None = None


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A connection that has been upgraded, and speaks another protocol from here on.

    :param socket: TLS as before, if any; closed by whoever accepted it.
    :param received: what came behind the request.
    :param hold: blocks while the server stands still.
    """

    socket: socket.socket
    received: bytes
    hold: Callable[[], None] = lambda: None


@dataclass(slots=True)
class Cut:
    """An answer that does not arrive: the connection is closed instead.

    :param response: what arrives in half; None for nothing at all.
    :param reset: close it by a reset.
    """

    response: Response | None = None
    reset: bool = False


class Stream:
    """The open end of a streamed answer."""

    def __init__(self, sock: socket.socket, *, chunked: bool) -> None:
        self._socket = sock
        self._chunked = chunked

    def send(self, data: bytes) -> None:
        """Send one part. Blocks while the peer does not read. Raises :class:`Disconnected`."""
        self.send_framed(frame(data) if self._chunked else data)

    def send_framed(self, data: bytes) -> None:
        """Send parts which :func:`frame` has been applied to already (only when :attr:`chunked`)."""
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Disconnected from error

    @property
    def chunked(self) -> bool:
        return self._chunked

    def peer_gone(self) -> bool:
        """Whether the peer has closed its end. Never blocks."""
        if hasattr(self._socket, "do_handshake"):  # TLS, which is not loaded where nobody speaks it
            from runtime.testing.apiserver.tls import peer_closed

            return peer_closed(self._socket)
        try:
            return not self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True


def frame(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Connection:
    """Reads requests from, and writes answers to, one accepted socket. For one thread.

    :param certificate: of the peer, verified.
    """

    def __init__(self, sock: socket.socket, certificate: PeerCertificate | None = None) -> None:
        self._socket = sock
        self._certificate = certificate
        self._buffer = b""

    def read(self) -> Request | None:
        """The next request; None when the peer has closed between requests. Raises :class:`BadRequest`,
        :class:`Disconnected`."""
        head = self._read_head()
        if head is None:
            return None
        request = parse_head(head)
        request.certificate = self._certificate
        if request.headers.get("expect", "").lower() == "100-continue":
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            request.body = self._read_body(request.headers)
        except _TooLarge:
            request.too_large, request.keep_alive = True, False
        return request

    def write(self, request: Request | None, response: Response) -> bool:
        """Send the answer; returns whether the connection can serve another request."""
        keep_alive = request.keep_alive if request else False
        if response.stream is not None and request is not None:
            return self._write_stream(request, response, keep_alive)
        if response.tunnel is not None:
            received, self._buffer = self._buffer, b""
            self._send(_head(response, response.headers, True, ""))
            response.tunnel(Tunnel(self._socket, received))
            return False
        head, body = self._whole(request, response, keep_alive=keep_alive)
        self._send(head if request and request.method == "HEAD" else head + body)
        return keep_alive

    def cut(self, request: Request, cut: Cut) -> NoReturn:
        """Send what is to arrive; raises :class:`Disconnected`, for the connection is to be closed."""
        if cut.response is not None:
            head, body = self._whole(request, cut.response, keep_alive=request.keep_alive)
            has_body = body and request.method != "HEAD"
            self._send(head + body[: len(body) // 2] if has_body else head[: len(head) // 2])
        raise Reset if cut.reset else Disconnected

    def _whole(self, request: Request | None, response: Response, *, keep_alive: bool) -> tuple[bytes, bytes]:
        """Head and body."""
        body = response.body
        headers = response.headers
        if len(body) > _GZIP_ABOVE and request and _accepts_gzip(request):
            packer = zlib.compressobj(1, zlib.DEFLATED, 31)
            body = packer.compress(body) + packer.flush()
            varies = f"{headers['Vary']}, Accept-Encoding" if "Vary" in headers else "Accept-Encoding"
            headers = {**headers, "Content-Encoding": "gzip", "Vary": varies}
        return _head(response, headers, keep_alive, f"Content-Length: {len(body)}\r\n"), body

    def drain(self) -> None:
        """Read on for a moment after an answer to a request that was not read to its end: closing at once would reset
        the connection, and the peer might never see the answer."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
            self._socket.settimeout(_DRAIN_TIME)
            left = _DRAIN_BYTES
            while left > 0 and (data := self._socket.recv(1 << 20)):
                left -= len(data)
        except OSError as error:
            raise Disconnected from error

    def _write_stream(self, request: Request, response: Response, keep_alive: bool) -> bool:
        chunked = not request.http_1_0
        keep_alive = keep_alive and chunked
        framing = "Transfer-Encoding: chunked\r\n" if chunked else ""
        self._send(_head(response, response.headers, keep_alive, framing))
        if request.method == "HEAD":
            return keep_alive
        assert response.stream is not None
        response.stream(Stream(self._socket, chunked=chunked))
        if chunked:
            self._send(b"0\r\n\r\n")
        return keep_alive

    def _read_head(self) -> bytes | None:
        while True:
            self._buffer = self._buffer.lstrip(b"\r\n") if self._buffer[:1] in (b"\r", b"\n") else self._buffer
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if found:
                self._buffer = rest
                return head
            if self._buffer[:1] == _TLS_HANDSHAKE:
                raise BadRequest(400, "this server speaks plain HTTP: ask for http:// instead of https://")
            if len(self._buffer) > MAX_HEAD:
                raise BadRequest(431, "request header fields too large")
            if not self._receive():
                if self._buffer:
                    raise Disconnected
                return None

    def _read_body(self, headers: Mapping[str, str]) -> bytes:
        coding = headers.get("transfer-encoding", "").lower()
        if coding == "chunked":
            return b"".join(self._read_chunks())
        if coding:
            raise BadRequest(501, f"unsupported transfer encoding {coding!r}")
        text = headers.get("content-length", "0")
        if not (text.isascii() and text.isdigit()):
            raise BadRequest(400, f"bad Content-Length {text[:100]!r}")
        if len(text) > _MAX_DIGITS or int(text) > MAX_BODY:
            raise _TooLarge
        return self._take(int(text))

    def _read_chunks(self) -> Iterator[bytes]:
        total = 0
        while True:
            size_text = self._line().split(b";", 1)[0].strip()
            if not _CHUNK_SIZE.fullmatch(size_text):
                raise BadRequest(400, f"bad chunk size {size_text[:100]!r}")
            size = int(size_text, 16)
            total += size
            if total > MAX_BODY:
                raise _TooLarge
            if size == 0:
                while self._line():
                    pass  # trailers
                return
            yield self._take(size)
            if self._line():
                raise BadRequest(400, "a chunk is longer than its size")

    def _line(self) -> bytes:
        while True:
            line, found, rest = self._buffer.partition(b"\r\n")
            if found:
                self._buffer = rest
                return line
            if len(self._buffer) > MAX_HEAD or not self._receive():
                raise BadRequest(400, "bad chunked body")

    def _take(self, size: int) -> bytes:
        if len(self._buffer) >= size:
            taken, self._buffer = self._buffer[:size], self._buffer[size:]
            return taken
        parts = [self._buffer]
        missing = size - len(self._buffer)
        self._buffer = b""
        while missing:
            try:
                part = self._socket.recv(min(missing, 1 << 20))
            except OSError as error:
                raise Disconnected from error
            if not part:
                raise Disconnected
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _receive(self) -> bool:
        try:
            data = self._socket.recv(_RECEIVE)
        except OSError as error:
            raise Disconnected from error
        self._buffer += data
        return bool(data)

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Disconnected from error


def parse_head(head: bytes) -> Request:
    """The request line and the headers. Raises :class:`BadRequest`."""
    lines = head.decode("latin-1").split("\r\n")
    try:
        method, target, version = lines[0].split(" ")
    except ValueError:
        raise BadRequest(400, f"malformed request line {lines[0][:100]!r}") from None
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest(505, f"unsupported protocol {version[:20]!r}")
    if target.startswith(("http://", "https://")):  # as a proxy is asked
        target = "/" + target.split("://", 1)[1].partition("/")[2]
    headers: dict[str, str] = {}
    repeated: dict[str, list[str]] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or name != name.strip() or not name:
            raise BadRequest(400, f"malformed header line {line[:100]!r}")
        name = name.lower()
        value = value.strip()
        if name in headers:
            repeated.setdefault(name, [headers[name]]).append(value)
            value = f"{headers[name]},{value}"
        headers[name] = value
    path, _, query = target.partition("?")
    http_1_0 = version == "HTTP/1.0"
    connection = [each.strip() for each in headers.get("connection", "").lower().split(",")]
    keep_alive = "close" not in connection and (not http_1_0 or "keep-alive" in connection)
    return Request(
        method,
        unquote(path) if "%" in path else path,
        _first_values(query) if query else {},
        headers,
        keep_alive=keep_alive,
        http_1_0=http_1_0,
        repeated=repeated,
    )


def _first_values(query: str) -> dict[str, str]:
    return dict(reversed(parse_qsl(query, keep_blank_values=True)))


def _accepts_gzip(request: Request) -> bool:
    """As the real server reads it: with a quality it does not count."""
    return "gzip" in (each.strip() for each in request.header("accept-encoding").split(","))


def http_date(moment: datetime) -> str:
    """Of a UTC time, as headers show it. (``email.utils`` does the same, and takes longer to import than this file.)"""
    day, month = _DAYS[moment.weekday()], _MONTHS[moment.month - 1]
    return f"{day}, {moment.day:02} {month} {moment.year} {moment:%H:%M:%S} GMT"


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@functools.lru_cache(maxsize=2)
def _date(second: int) -> str:
    return http_date(datetime.fromtimestamp(second, UTC))


_PHRASES = {status.value: status.phrase for status in HTTPStatus}


def _head(response: Response, headers: Mapping[str, str], keep_alive: bool, framing: str) -> bytes:
    lines = [
        f"HTTP/1.1 {response.status} {_PHRASES.get(response.status, 'Unknown')}\r\n",
    ]
    if response.status == HTTPStatus.NOT_MODIFIED:
        framing = ""  # what a cache has is not overwritten by what an answer without a body says of it
    elif response.status != HTTPStatus.SWITCHING_PROTOCOLS:
        lines.append(f"Content-Type: {response.content_type}\r\n")
    if "Date" not in headers:
        lines.append(f"Date: {_date(int(time.time()))}\r\n")
    if "Cache-Control" not in headers:
        lines.append("Cache-Control: no-cache, private\r\n")
    lines.extend(f"{name}: {value}\r\n" for name, value in headers.items())
    lines.extend(f"Warning: {warning}\r\n" for warning in response.warnings)
    if not keep_alive:
        lines.append("Connection: close\r\n")
    lines.append(framing)
    lines.append("\r\n")
    return "".join(lines).encode("utf-8")
