"""A watch's body as lines: the same ones however server and network frame it, each as soon as it is there."""

from __future__ import annotations

import gzip
import http.client
import io
import tracemalloc
import zlib
from typing import Any

import pytest
import urllib3
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.client._chunked import LineReader


class Wire(io.RawIOBase):
    """A socket that gives the bytes in pieces of these sizes.

    :ivar taken: bytes given so far.
    """

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self.data, self.sizes, self.taken = data, list(sizes), 0

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(self.sizes.pop(0) if self.sizes else 7, len(buffer))
        piece = self.data[self.taken : self.taken + size]
        buffer[: len(piece)] = piece
        self.taken += len(piece)
        return len(piece)


def open_body(body: bytes, sizes: list[int], **headers: str) -> tuple[LineReader, Wire]:
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    start = f"HTTP/1.1 200 OK\r\n{head}\r\n".encode()
    wire = Wire(body, sizes)
    wire.data, wire.sizes = start + body, [len(start), *sizes]
    answer = http.client.HTTPResponse(wire)  # type: ignore[arg-type]
    answer.begin()
    wire.data, wire.taken = body, 0
    return LineReader(urllib3.HTTPResponse(answer, dict(answer.headers.items()), preload_content=False)), wire


def chunked(chunks: list[bytes], extension: bytes = b"") -> bytes:
    return b"".join(b"%x%b\r\n%b\r\n" % (len(c), extension, c) for c in chunks) + b"0\r\n\r\n"


def read_all(reader: LineReader) -> list[bytes]:
    lines: list[bytes] = []
    while (batch := reader.read()) is not None:
        lines += batch
    return lines


def lines_in(body: bytes) -> list[bytes]:
    return [line for line in body.split(b"\n")[:-1] if line]


def data_in(wire: bytes) -> bytes:
    """The data in the beginning of a chunked body."""
    data = b""
    while b"\r\n" in wire:
        size, _, wire = wire.partition(b"\r\n")
        data += wire[: int(size.partition(b";")[0], 16)]
        wire = wire[int(size.partition(b";")[0], 16) + 2 :]
    return data


text = st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"_"))
one_line = text.map(lambda b: b + b"\n")
# Of servers, one line each; of proxies, whatever; and what could be taken for framing.
like_framing = st.sampled_from([b"5\r\n{}\n\r\n", b"\n", b"\r\n", b"0"])
chunk = one_line | one_line | st.binary(min_size=1, max_size=60) | like_framing
sizes_read = st.lists(st.integers(1, 80), max_size=200)


@settings(deadline=None)
@given(st.lists(chunk, max_size=12), sizes_read, st.sampled_from([b"", b";x=y"]))
def test_any_framing_gives_the_same_lines_at_once(chunks: Any, sizes: Any, extension: Any) -> None:
    reader, wire = open_body(chunked([*chunks, b"\n"], extension), sizes, Transfer_Encoding="chunked")
    lines: list[bytes] = []
    while (batch := reader.read()) is not None:
        lines += batch
        assert lines == lines_in(data_in(wire.data[: wire.taken]))  # none waits for what comes after it
    assert lines == lines_in(b"".join(chunks) + b"\n")


@settings(deadline=None)
@given(st.lists(one_line, min_size=1, max_size=12), st.integers(1, 200), sizes_read)
def test_a_chunked_body_that_stops_early_is_an_error(chunks: Any, cut: Any, sizes: Any) -> None:
    whole = chunked(chunks)
    reader, _ = open_body(whole[: -min(cut, len(whole) - 1) - 4], sizes, Transfer_Encoding="chunked")
    with pytest.raises(EOFError):
        read_all(reader)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=12), sizes_read)
def test_a_body_without_chunks(parts: Any, sizes: Any) -> None:
    body = b"".join(parts)
    reader, _ = open_body(body + b"\n", sizes, Connection="close")
    assert read_all(reader) == lines_in(body + b"\n")


@settings(deadline=None)
@given(st.lists(one_line, min_size=1, max_size=12), sizes_read, st.booleans(), st.integers(1, 60), st.integers(0, 3))
def test_a_compressed_body_gives_the_same_lines_at_once(
    lines: Any, sizes: Any, in_chunks: Any, chunk_size: Any, members: Any
) -> None:
    deflate = zlib.compressobj(wbits=31)
    body = b"".join(deflate.compress(line) + deflate.flush(zlib.Z_SYNC_FLUSH) for line in lines) + deflate.flush()
    body += b"".join(gzip.compress(b"%d\n" % i) for i in range(members))
    expected = lines_in(b"".join(lines)) + [b"%d" % i for i in range(members)]
    coded = chunked([body[i : i + chunk_size] for i in range(0, len(body), chunk_size)]) if in_chunks else body
    framing = {"Transfer_Encoding": "chunked"} if in_chunks else {"Connection": "close"}
    reader, wire = open_body(coded, sizes, Content_Encoding="gzip", **framing)
    got: list[bytes] = []
    while (batch := reader.read()) is not None:
        got += batch
        seen = data_in(wire.data[: wire.taken]) if in_chunks else wire.data[: wire.taken]
        if len(seen) <= len(body) and not members:
            assert got == lines_in(zlib.decompressobj(31).decompress(seen))
    assert got == expected
    stopped, _ = open_body(body[:-1], sizes, Content_Encoding="gzip", Connection="close")
    with pytest.raises(EOFError, match="cut off"):
        read_all(stopped)


@pytest.mark.parametrize("wire", [b"-5\r\nhello\r\n", b"zz\r\nhello\r\n", b"5 5\r\nhello\r\n", b"x" * 100_000])
def test_what_is_no_chunk_is_refused(wire: Any) -> None:
    reader, _ = open_body(wire, [1 << 17], Transfer_Encoding="chunked")
    with pytest.raises(ValueError, match="size of a chunk"):
        read_all(reader)


def test_lines_larger_than_any_buffer() -> None:
    lines = [b"x" * size for size in (10, 70_000, 3_000_000, 5, 65_536, 1)]
    reader, _ = open_body(chunked([line + b"\n" for line in lines]), [100_000] * 50, Transfer_Encoding="chunked")
    assert read_all(reader) == lines


def test_what_is_kept_does_not_pin_what_was_read() -> None:
    wire = chunked([b"%d%b\n" % (i, b"x" * 1000) for i in range(2000)])
    reader, _ = open_body(wire, [1 << 18] * 10, Transfer_Encoding="chunked")
    tracemalloc.start()
    try:
        kept = [line[:4] for line in read_all(reader)]
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(kept) == 2000
    assert held < 400_000


def test_a_small_compressed_body_does_not_become_a_huge_one_at_once() -> None:
    size = 64 << 20
    body = gzip.compress(b"x" * size)
    reader, _ = open_body(body, [1 << 18] * 10, Content_Encoding="gzip", Connection="close")
    tracemalloc.start()
    try:
        assert reader._gunzip is not None
        largest = max(len(piece) for piece in reader._gunzip.feed(body))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert largest < size / 100
    assert peak < size / 10


def test_a_flood_is_read_in_large_pieces_and_a_trickle_in_small_ones() -> None:
    asked: list[int] = []

    class Measured(Wire):
        def readinto(self, buffer: Any) -> int:
            asked.append(len(buffer))
            return super().readinto(buffer)

    lines = [b"x" * 999 + b"\n"] * 1000
    sizes = [1 << 20, 1 << 20, 500, 500, 1 << 20]
    reader, wire = open_body(chunked(lines), sizes, Transfer_Encoding="chunked")
    wire.__class__ = Measured
    read_all(reader)
    small, large = min(asked), max(asked)
    assert asked[:5] == [small, large, large, small, small]
    assert large >= 8 * small
