"""Reading a body: whatever the socket has ready, with a time for each read; for a watch, cut into lines."""

from __future__ import annotations

import io
from collections.abc import Iterator

import urllib3

_READ = 1 << 18


def segments(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """The body, one segment for each read of the socket.

    urllib3 gives one piece per HTTP chunk, and a server sends one chunk per event; so a burst of events would be
    handled one at a time. Where the body is chunked, its chunks are decoded here from whole reads of the socket.
    """
    reader = _reader(response)
    if getattr(response, "chunked", False) and isinstance(reader, io.BufferedReader):
        return _dechunk(reader)
    return iter(lambda: response.read1(_READ, decode_content=False) or b"", b"")


def set_read_timeout(response: urllib3.BaseHTTPResponse, seconds: float | None) -> None:
    """Have each further read of the socket fail after that long; None: never.

    Where the server ends the connection with its answer, the connection has given up its socket already and only the
    reader still has it.
    """
    sock = getattr(response.connection, "sock", None) or getattr(getattr(_reader(response), "raw", None), "_sock", None)
    if sock is not None:
        sock.settimeout(seconds)


def _reader(response: urllib3.BaseHTTPResponse) -> object:
    return getattr(getattr(response, "_fp", None), "fp", None)


def _dechunk(reader: io.BufferedReader) -> Iterator[bytes]:
    """Decode chunked transfer coding; ends at the last chunk.

    :raises EOFError: the connection ended before the last chunk.
    :raises ValueError: what came is not chunked coding.
    """
    buffer = b""
    missing = 0  # bytes of the present chunk, and its line end, that have not come yet
    while True:
        read = data = b""  # while this waits for the next one, it must not keep the last one alive
        read = reader.read1(_READ)
        if not read:
            raise EOFError("the connection ended within the stream")
        if missing > len(read) + 2:
            missing -= len(read)
            yield read
            continue
        buffer = buffer + read if buffer else read
        data, position, missing, last = _take_chunks(buffer, missing)
        buffer = buffer[position:]
        if data:
            yield data
        if last:
            return


def _take_chunks(buffer: bytes, missing: int) -> tuple[bytes, int, int, bool]:
    """Data of all chunks in ``buffer``, where to go on, bytes missing of the last, and whether the end was seen.

    ``missing`` counts the chunk's line end, which is never part of the data and is only taken whole.
    """
    data: list[bytes] = []
    at, size = 0, len(buffer)
    while True:
        if missing > 2:
            end = min(at + missing - 2, size)
            data.append(buffer[at:end])
            missing -= end - at
            at = end
        if missing:
            if size - at < missing:
                break
            at += missing
            missing = 0
        eol = buffer.find(b"\r\n", at)
        if eol < 0:
            break
        length = _chunk_size(buffer[at:eol])
        if length == 0:
            return b"".join(data), size, 0, True
        at = eol + 2
        missing = length + 2
    return (data[0] if len(data) == 1 else b"".join(data)), at, missing, False


def _chunk_size(line: bytes) -> int:
    digits = line.split(b";", 1)[0].strip()
    if not digits.isalnum():  # int() would also take a sign and underscores
        raise ValueError(f"the size of a chunk is {line[:40]!r}")
    return int(digits, 16)


class LineSplitter:
    """Cuts segments into lines; keeps what comes after the last line end for the next segment."""

    __slots__ = ("_carry",)

    def __init__(self) -> None:
        self._carry: list[bytes] = []

    def feed(self, segment: bytes) -> list[bytes]:
        """The lines that end in this segment, without their line ends and without empty ones."""
        if b"\n" not in segment:
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
    def rest(self) -> bytes:
        """What came after the last line end: a line that was cut off."""
        return b"".join(self._carry)
