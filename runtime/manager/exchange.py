"""HTTP/1.1 on one connection, as far as probes and scrapers need it: GET and HEAD, answers of known length.

What a peer can cost is bounded: the bytes of a request's head, the time it may take to send one and to take an answer,
and how long a connection may stay silent. A request with a body is answered and its connection closed: the body is not
read, so nothing in it can be taken for the next request.
"""

from __future__ import annotations

import email.utils
import re
import socket
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["HEAD_TIME", "TEXT", "Connection", "Reply", "Request", "Route"]

TEXT: Final = "text/plain; charset=utf-8"
HEAD_TIME: Final = 10.0  # seconds for the head of a request, from its first byte to its last
_IDLE_TIME: Final = 30.0  # seconds a connection may be silent between requests
_ANSWER_TIME: Final = 30.0  # seconds for the peer to take an answer
_HEAD_LIMIT: Final = 16 << 10  # bytes of a request's head
_LINGER_TIME: Final = 1.0  # seconds, and ...
_LINGER_LIMIT: Final = 1 << 20  # ... bytes of a body that are swallowed, so that the answer is not lost with them
_METHODS: Final = ("GET", "HEAD")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PHRASES: Final = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


class Request:
    """A GET or HEAD: its path without the query, the query's values by name, and its headers by lower-case name.

    :raises ValueError: ``target`` is no URL.
    """

    def __init__(self, target: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(target)
        self.path = unquote(parts.path)
        self.query = parse_qs(parts.query, keep_blank_values=True)
        self.headers = headers


class Reply(NamedTuple):
    """An answer. ``headers`` come on top of those about type and length."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


Route: TypeAlias = Callable[[Request], Reply | None]
"""Answers a request, or None: not found."""


class _Refused(Exception):
    """The request cannot be understood; answered with this, and the connection closed."""

    def __init__(self, status: int, why: str, *headers: tuple[str, str]) -> None:
        super().__init__(why)
        self.reply = Reply(status, TEXT, f"{why}\n".encode(), headers)


class _Head(NamedTuple):
    method: str
    request: Request
    last: bool  # the connection is closed after the answer


class Connection:
    """One connection, served by one thread.

    :param sock: accepted, and through with its TLS handshake where there is one.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._received = b""

    def exchange(self, route: Callable[[Request], Reply], waits: Callable[[bool], bool]) -> bool:
        """Answer the next request; False: there will be no more.

        :param waits: told True before the request, or after the last one its peer's end, is waited for, and False once
            the request is there; if it returns False the connection is given up.
        :raises OSError: the connection broke, or its peer takes no answer.
        """
        try:
            if not waits(True):
                return False
            raw = self._read_head()
            if raw is None or not waits(False):
                return False
            head = _parse(raw)
        except _Refused as refused:
            self._answer(refused.reply, with_body=True, last=True)
            self._linger(waits)
            return False
        self._answer(route(head.request), with_body=head.method != "HEAD", last=head.last)
        if head.last:
            self._linger(waits)
        return not head.last

    def _read_head(self) -> bytes | None:
        """Up to the empty line, without it; None: the peer went away, or stayed silent."""
        began = bool(self._received)
        deadline = time.monotonic() + (HEAD_TIME if began else _IDLE_TIME)
        while (end := self._received.find(b"\r\n\r\n", 0, _HEAD_LIMIT)) < 0:
            if len(self._received) >= _HEAD_LIMIT:
                raise _Refused(431, f"the head of a request may have {_HEAD_LIMIT} bytes")
            left = deadline - time.monotonic()
            if left <= 0:
                if began:
                    raise _Refused(408, f"the head of a request may take {HEAD_TIME:g} seconds")
                return None
            self._sock.settimeout(left)
            try:
                piece = self._sock.recv(_HEAD_LIMIT)
            except TimeoutError:
                continue
            if not piece:
                return None
            if not began:
                began, deadline = True, time.monotonic() + HEAD_TIME
            self._received = (self._received + piece).lstrip(b"\r\n")
        head, self._received = self._received[:end], self._received[end + 4 :].lstrip(b"\r\n")
        return head

    def _answer(self, reply: Reply, *, with_body: bool, last: bool) -> None:
        status, content_type, body, headers = reply
        lines = [
            f"HTTP/1.1 {status} {_PHRASES.get(status, 'Other')}",
            f"Date: {email.utils.formatdate(usegmt=True)}",
            f"Content-Type: {content_type}",
            f"Content-Length: {len(body)}",
            "X-Content-Type-Options: nosniff",
            *(f"{name}: {value}" for name, value in headers),
            *(("Connection: close",) if last else ()),
        ]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
        left = memoryview(head + body if with_body else head)
        deadline = time.monotonic() + _ANSWER_TIME
        while left:
            seconds = deadline - time.monotonic()
            if seconds <= 0:
                raise TimeoutError("the peer does not take its answer")
            self._sock.settimeout(seconds)
            left = left[self._sock.send(left) :]

    def _linger(self, waits: Callable[[bool], bool]) -> None:
        """Swallow what the peer still sends: closing on unread bytes makes the system throw away our answer."""
        if not waits(True):
            return
        socket.socket.shutdown(self._sock, socket.SHUT_WR)  # for TLS, too: its own goodbye would be waited for
        deadline, swallowed = time.monotonic() + _LINGER_TIME, 0
        while swallowed < _LINGER_LIMIT and (left := deadline - time.monotonic()) > 0:
            self._sock.settimeout(left)
            piece = socket.socket.recv(self._sock, 1 << 16)
            if not piece:
                return
            swallowed += len(piece)


def _parse(head: bytes) -> _Head:
    first, *rest = head.decode("latin-1").split("\r\n")
    try:
        method, target, version = first.split(" ")
    except ValueError:
        raise _Refused(400, "this is no HTTP request") from None
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        if version.startswith("HTTP/"):
            raise _Refused(505, "use HTTP/1.1")
        raise _Refused(400, "this is no HTTP request")
    headers: dict[str, str] = {}
    for line in rest:
        name, colon, value = line.partition(":")
        if not colon or not _NAME.fullmatch(name):
            raise _Refused(400, "a header is malformed")
        name, value = name.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if version == "HTTP/1.1" and "host" not in headers:
        raise _Refused(400, "the Host header is missing")
    if method not in _METHODS:
        raise _Refused(405, f"use {' or '.join(_METHODS)}", ("Allow", ", ".join(_METHODS)))
    try:
        request = Request(target, headers)
    except ValueError:
        raise _Refused(400, "the target is malformed") from None
    has_body = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
    options = {option.strip().lower() for option in headers.get("connection", "").split(",")}
    return _Head(method, request, version == "HTTP/1.0" or has_body or "close" in options)
