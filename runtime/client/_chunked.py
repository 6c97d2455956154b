"""Reading a body: whatever the socket has ready, with a time for each read; for a watch, cut into lines."""

from __future__ import annotations

import contextlib
import functools
import io
import select
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterator

import urllib3

_READ = 1 << 18
_FEW = 1 << 15  # read while little comes: for the buffer of a larger read the kernel is asked each time
_LARGE = 1 << 16
_RECORD = 1 << 14  # bytes that one TLS record holds at most
_LONGEST = 86_400.0  # seconds that anything is waited for; weeks are more than poll can take
_WITH_GZIP_HEADER = 16 + zlib.MAX_WBITS


class LineReader:
    """The body of a watch as lines; used by one thread.

    urllib3 gives one piece per HTTP chunk, and a server sends one chunk per event; so a burst of events would be
    handled one at a time. Where the body is chunked, its chunks are decoded here from whole reads of the socket.
    """

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        reader, sock = _reader(response), _socket(response)
        self._response = response  # it closes what it reads from when nobody has it any more
        self._first: Callable[[int], bytes] | None = None
        self._next: Callable[[int], bytes] = functools.partial(response.read1, decode_content=False)
        self._chunks: Chunks | None = None
        if getattr(response, "chunked", False) and isinstance(reader, io.BufferedReader):
            self._chunks = Chunks()
            self._first = reader.read1  # takes what came with the head, and is empty from then on
            if isinstance(sock, ssl.SSLSocket):
                self._next = Records(sock).read
            else:
                self._next = reader.read1 if sock is None else sock.recv
        self._size = _FEW  # bytes that the next read asks for; more than the reader's buffer holds
        self._gunzip = Gunzip() if is_gzip(response) else None
        self._splitter = LineSplitter()

    def read(self) -> list[bytes] | None:
        """What one read of the socket completed: lines without line ends and without empty ones, perhaps none.

        None at the end of the body.

        :raises EOFError: the body was cut.
        :raises ValueError: it is not in the coding that its head says.
        """
        chunks = self._chunks
        if chunks is not None and chunks.ended:
            read = b""
        elif self._first is None:
            read = self._next(self._size)
        else:
            read, self._first = self._first(self._size), None
        if not read:
            if chunks is not None and not chunks.ended:
                raise EOFError("the connection ended within the stream")
            self._check_end()
            return None
        self._size = _READ if len(read) >= _FEW else _FEW
        if chunks is None:
            return self._split(read)
        if self._gunzip is not None:
            return self._split(chunks.feed(read))
        return self._split_chunks(chunks, read)

    def _split_chunks(self, chunks: Chunks, read: bytes) -> list[bytes]:
        before: list[bytes] = []
        if chunks.missing:
            data, read = chunks.finish(read)
            before = self._splitter.feed(data)
        lines: list[bytes] = []
        if self._splitter.empty:
            lines, read = chunks.take_lines(read)
        if read:
            lines += self._splitter.feed(chunks.feed(read))
        return before + lines if before else lines

    def _split(self, data: bytes) -> list[bytes]:
        if self._gunzip is None:
            return self._splitter.feed(data)
        return [line for piece in self._gunzip.feed(data) for line in self._splitter.feed(piece)]

    def _check_end(self) -> None:
        if self._gunzip is not None:
            self._gunzip.end()
        if not self._splitter.empty:
            raise EOFError("the stream ended within an event")


class Records:
    """Reads TLS, which gives one record at a time, while a server sends one for each event: all that have come.

    They are looked for before the wait and not behind it, so that a lone event is not held up by the search for more.
    """

    __slots__ = ("_poll", "_record", "_sock", "_timeout")

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._sock = sock
        self._record = sock.read
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._timeout: float | None = sock.gettimeout()

    def read(self, _size: int) -> bytes:
        """At least one record; nothing at the end.

        :raises TimeoutError: none came, or none came whole.
        """
        if self._sock.gettimeout() != 0.0:
            self._sock.settimeout(0.0)  # not before the reader has taken what came with the head
        try:
            reads = [read := self._record(_RECORD)]
        except ssl.SSLWantReadError:
            return self._wait()
        size = len(read)
        # Nothing more is ready, or the connection broke, which the next read meets again.
        with contextlib.suppress(OSError):
            while read and size < _READ:
                reads.append(read := self._record(_RECORD))
                size += len(read)
        return b"".join(reads)

    def _wait(self) -> bytes:
        left, ends = self._timeout, 0.0
        if left is not None:
            ends = time.monotonic() + left
        while self._poll.poll(None if left is None else min(left, _LONGEST) * 1000):
            try:
                return self._record(_RECORD)
            except ssl.SSLWantReadError:  # a record that has come in part
                if left is not None:
                    left = max(ends - time.monotonic(), 0.0)
        raise TimeoutError("nothing came in time")


def set_read_timeout(response: urllib3.BaseHTTPResponse, seconds: float | None) -> None:
    """Have each further read of the socket fail after that long; None: never."""
    sock = _socket(response)
    if sock is not None:
        sock.settimeout(seconds)


def cut(response: urllib3.BaseHTTPResponse) -> None:
    """End the read of the body that another thread waits in."""
    sock = _socket(response)
    sock = getattr(sock, "socket", sock)  # TLS through a proxy that speaks TLS itself
    if isinstance(sock, socket.socket):
        # Not the method of SSLSocket, which takes the session from under the thread that reads.
        with contextlib.suppress(OSError):  # it is closed already
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


def is_gzip(response: urllib3.BaseHTTPResponse) -> bool:
    return response.headers.get("Content-Encoding", "").strip().lower() in ("gzip", "x-gzip")


def _socket(response: urllib3.BaseHTTPResponse) -> socket.socket | None:
    # The reader's, for the connection has given its own up where the server ends it with its answer.
    sock: socket.socket | None = getattr(getattr(_reader(response), "raw", None), "_sock", None)
    return sock


def _reader(response: urllib3.BaseHTTPResponse) -> object:
    return getattr(getattr(response, "_fp", None), "fp", None)


class Chunks:
    """Decodes chunked transfer coding.

    :ivar ended: the last chunk has been seen.
    :ivar missing: bytes of the present chunk, and its line end, that have not come yet.
    """

    __slots__ = ("_buffer", "ended", "missing")

    def __init__(self) -> None:
        self.ended = False
        self.missing = 0
        self._buffer = b""  # the beginning of a chunk

    def finish(self, read: bytes) -> tuple[bytes, bytes]:
        """Data of the present chunk in ``read``, which is what came next, and what follows the chunk."""
        missing, self.missing = self.missing, max(self.missing - len(read), 0)
        return read[: max(missing - 2, 0)], read[missing:]

    def take_lines(self, read: bytes) -> tuple[list[bytes], bytes]:
        """Lines of ``read``, which begins with a chunk and a line, and what is left of it for :meth:`feed`.

        That is as far as each chunk is one line, as servers write events. Looking for line ends is what a burst of
        events costs before decoding. Both searches run at the speed of memchr, and each line is copied once.
        """
        lines: list[bytes] = []
        buffer = self._buffer + read if self._buffer else read
        find, at, whole = buffer.find, 0, len(buffer) - 3
        try:
            while (size := find(b"\n", at) + 1) and 0 <= (end := find(b"\n", size)) <= whole:
                # The chunk's size counts the line's end, but not its own.
                if int(buffer[at:size], 16) != end + 1 - size:
                    break
                if end != size:
                    lines.append(buffer[size:end])
                at = end + 3
        except ValueError:
            pass  # no size: left to those who know more about chunks
        rest = buffer[at:]
        # The beginning of a line is better kept until it is whole; unless its chunk is the last, or large.
        keep = not rest or (rest.count(b"\n") < 2 and len(rest) < _LARGE and not rest.startswith(b"0"))
        self._buffer = rest if keep else b""
        return lines, b"" if keep else rest

    def feed(self, read: bytes) -> bytes:
        """The data in ``read``.

        :raises ValueError: what came is not chunked coding.
        """
        data: list[bytes] = []
        if self.missing:
            first, read = self.finish(read)
            data.append(first)
        buffer = self._buffer + read if self._buffer else read
        at, size = 0, len(buffer)
        while at < size:
            eol = buffer.find(b"\r\n", at)
            if eol < 0 and size - at < _LARGE:
                break
            length = chunk_size(buffer[at:eol])
            if length == 0:
                self.ended = True
                at = size
                break
            end = eol + 2 + length
            data.append(buffer[eol + 2 : end])
            at = end + 2
        self.missing = max(self.missing, at - size)
        self._buffer = buffer[at:]
        return data[0] if len(data) == 1 else b"".join(data)


def chunk_size(line: bytes) -> int:
    """What the line before a chunk says.

    :raises ValueError: it says no size.
    """
    digits = line.split(b";", 1)[0].strip()
    try:
        if len(digits) <= 16 and digits.isalnum():  # int() would also take a sign and underscores
            return int(digits, 16)
    except ValueError:
        pass
    raise ValueError(f"the size of a chunk is {line[:40]!r}")


class BadGzip(ValueError):
    """What should be gzip is none."""


class Gunzip:
    """Decompresses gzip as it comes, a piece at a time, so that a small answer cannot become a huge one unseen."""

    __slots__ = ("_inflate", "_within")

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_WITH_GZIP_HEADER)
        self._within = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """:raises BadGzip: it is none."""
        full = False
        while data or full:
            if self._inflate.eof:  # one member may follow another
                self._inflate = zlib.decompressobj(_WITH_GZIP_HEADER)
            self._within = True
            try:
                piece = self._inflate.decompress(data, _READ)
            except zlib.error as e:
                raise BadGzip(f"the body is not gzip: {e}") from None
            data = self._inflate.unconsumed_tail or self._inflate.unused_data
            full = len(piece) == _READ and not self._inflate.eof  # there may be more without more input
            if piece:
                yield piece

    def end(self) -> None:
        """:raises EOFError: the body ended within the compressed data."""
        if self._within and not self._inflate.eof:
            raise EOFError("the compressed body is cut off")


class LineSplitter:
    """Cuts segments into lines; keeps what comes after the last line end for the next segment."""

    __slots__ = ("_carry",)

    def __init__(self) -> None:
        self._carry: list[bytes] = []

    def feed(self, segment: bytes) -> list[bytes]:
        """The lines that end in this segment, without their line ends and without empty ones."""
        if b"\n" not in segment:
            if segment:
                self._carry.append(segment)
            return []
        lines = segment.split(b"\n")
        if self._carry:
            self._carry.append(lines[0])
            lines[0] = b"".join(self._carry)
            self._carry = []
        rest = lines.pop()
        if rest:
            self._carry.append(rest)
        return [line for line in lines if line]

    @property
    def empty(self) -> bool:
        """Whether nothing came after the last line end: no line is cut off."""
        return not self._carry

    @property
    def rest(self) -> bytes:
        """What came after the last line end: a line that was cut off."""
        return b"".join(self._carry)
