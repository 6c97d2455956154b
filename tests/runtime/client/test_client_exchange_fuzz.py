"""Answers of every shape, whole and broken, in every cut: read as http.client reads the same bytes, or refused."""

from __future__ import annotations

import gzip
import http.client
import io
import itertools
import zlib
from typing import Any, NamedTuple, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from urllib3.exceptions import HTTPError

from runtime.client._chunked import BadGzip
from runtime.client._exchange import _Reader

REFUSED = (HTTPError, OSError, EOFError, BadGzip)  # what the sender makes a ClientError of


class Read(NamedTuple):
    """:ivar reusable: nothing was left, and nobody wants to close."""

    status: int
    body: bytes
    reusable: bool


class Wire(io.BytesIO):
    """What http.client reads from; it closes it after an answer, and there may be another."""

    def makefile(self, _mode: str) -> Wire:
        return self

    def close(self) -> None:
        pass


def ours(data: bytes, cuts: list[int]) -> Read | None:
    """None: refused. Anything else than a refusal fails the test."""
    bounds = [0, *sorted({cut % len(data) for cut in cuts if data}), len(data)]
    pieces = [data[begin:end] for begin, end in itertools.pairwise(bounds) if begin < end]
    reader = _Reader(lambda _size: pieces.pop(0) if pieces else b"", lambda _seconds: None, lambda: 1.0)
    try:
        answer, reusable = reader.answer()
    except REFUSED:
        return None
    return Read(answer.status, answer.body, reusable and not pieces)


def theirs(data: bytes) -> Read | None:
    """As http.client and urllib3 read it; None: refused."""
    wire = Wire(data)
    try:
        status = 100
        while status < 200:  # it takes all but 100 for the answer
            response = http.client.HTTPResponse(cast(Any, wire), method="GET")
            response.begin()
            status = response.status
        body = b"" if status in (204, 304) else response.read()  # which would wait for chunks
        if response.getheader("Content-Encoding", "").lower() in ("gzip", "x-gzip"):
            body = gzip.decompress(body) if body else body
    except (http.client.HTTPException, OSError, EOFError, ValueError, OverflowError, zlib.error):
        return None
    return Read(status, body, not response.will_close and not wire.read())


text = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=12).map(str.strip)
fields = st.lists(
    st.tuples(st.sampled_from(["Date", "X-A", "Warning", "Audit-Id", "Retry-After"]), text).map(": ".join), max_size=4
)
bodies = st.binary(max_size=60) | st.binary(min_size=1, max_size=4).map(lambda data: data * 3000)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """One that makes sense."""
    body = draw(bodies)
    status = draw(st.sampled_from([200, 201, 204, 304, 404, 409, 413, 429, 500, 503]))
    head = draw(fields)
    if draw(st.booleans()):
        head.append(draw(st.sampled_from(["Connection: close", "connection: Keep-Alive", "Connection: close, x"])))
    if draw(st.booleans()):
        head.append("Content-Encoding: " + draw(st.sampled_from(["gzip", "GZIP", "x-gzip"])))
        body = gzip.compress(body, mtime=0)
    if status in (204, 304):
        body = b""
    elif draw(st.booleans()):
        head.append(f"Content-Length: {len(body)}")
    elif draw(st.booleans()):
        head.append(draw(st.sampled_from(["Transfer-Encoding: chunked", "transfer-encoding:Chunked"])))
        body = draw(chunked(body))
    else:
        head.append("Connection: close")
    head = draw(st.permutations(head))
    before = draw(
        st.sampled_from([b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n"])
    )
    # Chunks do not belong into an answer of HTTP/1.0: ours closes after one, http.client does not.
    version = "1.1" if "chunked" in "".join(head).lower() else draw(st.sampled_from(["1.1", "1.1", "1.0"]))
    lines = [f"HTTP/{version} {status}{draw(st.sampled_from([' OK', ' ', '']))}", *head, "\r\n"]
    return before + "\r\n".join(lines).encode("latin-1") + body


@st.composite
def chunked(draw: st.DrawFn, body: bytes) -> bytes:
    parts, at = [], 0
    while at < len(body):
        size = draw(st.integers(1, 2000))
        part = body[at : at + size]
        extension = draw(st.sampled_from([b"", b"", b";a=b", b" ; a"]))
        parts.append(draw(st.sampled_from([b"%x", b"%X", b"000%x"])) % len(part) + extension + b"\r\n" + part + b"\r\n")
        at += size
    return b"".join(parts) + b"0\r\n" + draw(st.sampled_from([b"", b"", b"Trailer: a\r\nOther: b\r\n"])) + b"\r\n"


cuts = st.lists(st.integers(0, 1 << 16), max_size=8)


@settings(max_examples=150, deadline=None)
@given(answers(), cuts)
def test_what_makes_sense_is_read_as_http_client_reads_it(data: bytes, cuts: list[int]) -> None:
    read = ours(data, cuts)
    assert read is not None
    assert read == theirs(data)


DAMAGE = [b"", b"\r\n", b"\r", b"\n", b"\0", b" ", b":", b"9", b"0", b"x", b"-", b"_", b"\r\n\r\n"]
DAMAGE += [b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]
damages = st.lists(
    st.tuples(st.integers(0, 1 << 16), st.integers(0, 3), st.sampled_from(DAMAGE)), min_size=1, max_size=3
)


@settings(max_examples=300, deadline=None)
@given(answers(), damages, st.none() | st.integers(0, 1 << 16), cuts)
def test_what_makes_none_is_refused_or_read_as_http_client_reads_it(
    data: bytes, damages: list[tuple[int, int, bytes]], end: int | None, cuts: list[int]
) -> None:
    for where, taken, put in damages:
        at = where % (len(data) + 1)
        data = data[:at] + put + data[at + taken :]
    if end is not None:
        data = data[: end % (len(data) + 1)]
    read, other = ours(data, cuts), theirs(data)
    if read is not None and other is not None:
        assert read[:2] == other[:2]
    if read is not None and read.reusable:
        assert other is not None
        assert other.reusable
