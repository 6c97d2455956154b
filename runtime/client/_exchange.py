"""A request and its whole answer over a connection that is open already, without http.client.

A controller's requests are small, and nearly all of them find an idle connection. What urllib3 and http.client do for
each of them (several copies of the headers, an e-mail parser for those of the answer, three objects per timeout) costs
five times what the exchange itself does. So urllib3 opens the connections, with TLS, proxies and all that may go wrong
there, and keeps them; the requests that follow are written and read here. Whatever is unusual is left to urllib3.
"""

from __future__ import annotations

import http.client
import re
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import urllib3
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import ClosedPoolError, LocationParseError, ProtocolError
from urllib3.util import Url, parse_url

from runtime.client._chunked import Gunzip, chunk_size
from runtime.client._interrupt import look_before_sending, wait_no_more, wait_on

__all__ = ["Answer", "Exchanges", "Headers"]

_READ: Final = 1 << 16
_LONGEST_HEAD: Final = 1 << 17
_PART: Final = 1 << 14  # bytes sent at a time: a TLS record, for each of which a socket's timeout counts anew
_METHOD: Final = re.compile(r"[A-Z]+")
_HOST: Final = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]")
_SAFE: Final = "[A-Za-z0-9._~!$&'()*+,;=:@/?-]*"
_PLAIN: Final = re.compile(f"/{_SAFE}(?:%[0-9A-Fa-f]{{2}}{_SAFE})*")  # what urllib3 leaves as it is
_FIELD: Final = re.compile(r"[!#-'*+.^-z|~0-9A-Z-]+: [\t -~\x80-\xff]*")  # a field of a head
_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: |$)")
_NO_BODY: Final = (204, 304)
_FRAMING: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "expect", "upgrade"})

Remaining = Callable[[], float]
"""Seconds that are left; raises when there are none."""


class Headers(Mapping[str, str]):
    """Of an answer; looked up without regard to case. Of several of a name, one with commas."""

    __slots__ = ("_fields",)

    def __init__(self, lines: list[bytes]) -> None:
        fields: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon or name != name.strip():
                raise ProtocolError(f"{line[:80]!r} is no field of a head")
            key = name.lower()
            value = value.strip(" \t")
            fields[key] = f"{fields[key]}, {value}" if key in fields else value
        self._fields = fields

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def word(self, name: str) -> str:
        """The value in lower case, for a ``name`` in lower case; empty if there is none."""
        return self._fields.get(name, "").lower()


class Answer(NamedTuple):
    """A whole answer; its body is decoded."""

    status: int
    headers: Headers
    body: bytes


class Exchanges:
    """With the server at ``base_url``. Safe for use from many threads."""

    def __init__(self, base_url: str) -> None:
        try:
            url = parse_url(base_url)
        except LocationParseError:
            url = Url()
        self._base_url = base_url
        self._prefix = url.path or ""
        self._host = _host(url)
        self._proxied = url.scheme == "http"  # by a proxy, if there is one: requests to it look otherwise
        self._pools: weakref.WeakKeyDictionary[urllib3.PoolManager, HTTPConnectionPool] = weakref.WeakKeyDictionary()

    def exchange(
        self,
        manager: urllib3.PoolManager,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        remaining: Remaining,
    ) -> Answer | None:
        """Send the request and read its answer.

        None: not sent, for no connection is open, or the request is one for urllib3.

        :raises OSError: the connection broke, or the time is over.
        :raises HTTPError: the answer makes no sense.
        """
        head = self._head(method, path, headers, body)
        if head is None:
            return None
        pool = self._pool(manager)
        if pool is None:
            return None
        try:
            connection: Any = pool._get_conn()  # looks whether it is still connected
        except ClosedPoolError:  # this very moment
            return None
        sock = connection.sock
        if sock is None:
            pool._put_conn(connection)
            return None
        keep = False
        try:
            wait_on(sock)
            whole = _send(sock, head if body is None else head + body, remaining)
            answer, reusable = _Reader(sock.recv, sock.settimeout, remaining).answer()
            keep = whole and reusable
            return answer
        finally:
            wait_no_more(sock)
            if not keep:
                connection.close()
            pool._put_conn(connection)

    def _pool(self, manager: urllib3.PoolManager) -> HTTPConnectionPool | None:
        pool = self._pools.get(manager)
        if pool is None or pool.pool is None:  # new, or closed
            pool = self._pools[manager] = manager.connection_from_url(self._base_url)
        return None if self._proxied and pool.proxy is not None else pool

    def _head(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> bytes | None:
        target = self._prefix + path
        # urllib3 takes dots out of a path, quotes much, and refuses line ends.
        if method == "HEAD" or _METHOD.fullmatch(method) is None or not self._host:
            return None
        if "/." in target or _PLAIN.fullmatch(target) is None:
            return None
        named = {name.lower(): value for name, value in headers.items()}
        fields = [f"{name}: {value}" for name, value in headers.items()]
        if not _FRAMING.isdisjoint(named) or not all(map(_FIELD.fullmatch, fields)):
            return None
        if "accept-encoding" not in named:
            fields.append("Accept-Encoding: identity")
        elif named["accept-encoding"] not in ("identity", "gzip"):  # what we can take apart
            return None
        if body is not None or method in ("POST", "PUT", "PATCH"):
            fields.append(f"Content-Length: {len(body or b'')}")
        lines = (f"{method} {target} HTTP/1.1", f"Host: {self._host}", *fields, "\r\n")
        return "\r\n".join(lines).encode("latin-1")


def _host(url: Url) -> str:
    """As urllib3 says it to the server; empty if that is better left to it."""
    host = url.host or ""
    if _HOST.fullmatch(host) is None:  # an IPv6 zone, for one
        return ""
    usual = {"http": 80, "https": 443}.get(url.scheme or "")
    return host if url.port in (None, usual) else f"{host}:{url.port}"


def _send(sock: Any, data: bytes, remaining: Remaining) -> bool:
    """Whether all was sent. A server may answer, and close, before it has read it all."""
    parts = memoryview(data)
    try:
        for at in range(0, len(parts), _PART):
            sock.settimeout(remaining())
            look_before_sending()
            sock.sendall(parts[at : at + _PART])
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


class _Reader:
    """Reads one answer from a socket."""

    def __init__(
        self, receive: Callable[[int], bytes], settimeout: Callable[[float], None], remaining: Remaining
    ) -> None:
        self._receive = receive
        self._settimeout = settimeout
        self._remaining = remaining
        self._buffer = bytearray()

    def answer(self) -> tuple[Answer, bool]:
        """And whether the connection may be used again."""
        status, minor, headers = self._head()
        while status < 200:
            if status == 101:
                raise ProtocolError("the server speaks another protocol from now on, which nobody asked for")
            status, minor, headers = self._head()
        connection = headers.word("connection")
        keep = "close" not in connection if minor else "keep-alive" in connection
        if status in _NO_BODY:
            body = b""
        elif coding := headers.word("transfer-encoding"):
            if coding != "chunked":
                raise ProtocolError(f"the answer is in the coding {coding[:40]!r}, which nobody asked for")
            body = self._chunked()
            # Some proxy in between may have read another end (RFC 9112, 6.1).
            keep = keep and minor == 1 and "content-length" not in headers
        elif "content-length" in headers:
            body = self._take(_length(headers["content-length"]))
        else:
            keep, body = False, self._rest()
        if headers.word("content-encoding") in ("gzip", "x-gzip"):
            gunzip = Gunzip()
            body = b"".join(gunzip.feed(body))
            gunzip.end()
        # What nobody asked for would be taken for the next answer.
        return Answer(status, headers, body), keep and not self._buffer

    def _head(self) -> tuple[int, int, Headers]:
        buffer, begin = self._buffer, 0
        while (end := buffer.find(b"\r\n\r\n", begin)) < 0:
            begin = max(0, len(buffer) - 3)
            if len(buffer) > _LONGEST_HEAD:
                raise ProtocolError("the head of the answer does not end")
            if b"\n\n" in buffer:
                raise ProtocolError("the lines of the answer's head do not end in CR LF")
            if not self._more():
                raise _gone() if not buffer else ProtocolError("the connection ended within the head of the answer")
        first, *lines = bytes(buffer[:end]).split(b"\r\n")
        if not buffer.count(b"\r", 0, end) == buffer.count(b"\n", 0, end) == len(lines) or buffer.find(0, 0, end) >= 0:
            raise ProtocolError("there is a line end within a field of the answer's head")
        del buffer[: end + 4]
        found = _STATUS.match(first)
        if found is None:
            raise ProtocolError(f"{first[:80]!r} is no HTTP answer")
        return int(found[2]), int(found[1]), Headers(lines)

    def _chunked(self) -> bytes:
        parts = []
        try:
            while size := chunk_size(self._line()):
                parts.append(self._take(size))
                if self._take(2) != b"\r\n":
                    raise ProtocolError("a chunk of the answer is longer than it says")
        except ValueError as e:
            raise ProtocolError(str(e)) from None
        while self._line():  # trailers
            pass
        return b"".join(parts)

    def _line(self) -> bytes:
        buffer = self._buffer
        while (end := buffer.find(b"\r\n")) < 0:
            if len(buffer) > _LONGEST_HEAD or not self._more():
                raise ProtocolError("the connection ended within the answer")
        line = bytes(buffer[:end])
        del buffer[: end + 2]
        return line

    def _take(self, size: int) -> bytes:
        buffer = self._buffer
        while len(buffer) < size:
            if not self._more():
                raise ProtocolError(
                    f"the connection ended within the answer, {size - len(buffer)} bytes before its end"
                )
        taken = bytes(buffer[:size])
        del buffer[:size]
        return taken

    def _rest(self) -> bytes:
        while self._more():
            pass
        taken = bytes(self._buffer)
        self._buffer.clear()
        return taken

    def _more(self) -> bool:
        self._settimeout(self._remaining())
        read = self._receive(_READ)
        self._buffer += read
        return bool(read)


def _length(text: str) -> int:
    if not text.isdigit() or not text.isascii() or len(text) > 18:
        raise ProtocolError(f"the length of the answer is {text[:40]!r}")
    return int(text)


def _gone() -> ProtocolError:
    """As urllib3 says it."""
    gone = http.client.RemoteDisconnected("Remote end closed connection without response")
    return ProtocolError("Connection aborted.", gone)
