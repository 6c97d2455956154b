"""SPDY/3.1 frames, as far as Kubernetes' streams use them: no pushes, no settings, no flow control.

Facts of the wire: the draft "SPDY Protocol 3.1" and moby/spdystream, which kubectl and the kubelet speak it by.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
PROTOCOL_ERROR, REFUSED_STREAM, CANCEL = 1, 3, 5  # why a stream is reset
MAX_CONTROL: Final = 64 * 1024  # bytes of a control frame, and of the headers in it once they are unpacked
_FIN: Final = 1
_CONTROL: Final = 0x80000000
_LAST: Final = 0x7FFFFFFF
_VERSION: Final = 3
_HEAD: Final = struct.Struct(">II")
_NUMBER: Final = struct.Struct(">I")
# How many bytes come before the headers in frames that have some.
_BEFORE_HEADERS: Final = {SYN_STREAM: 10, SYN_REPLY: 4, HEADERS: 4}
_SIZES: Final = {RST_STREAM: 8, PING: 4, GOAWAY: 8, WINDOW_UPDATE: 8}

# What both ends' compression knows from the start: names and values with their lengths, then words without.
_KNOWN: Final = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_WORDS: Final = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY: Final = (
    b"".join(_NUMBER.pack(len(each)) + each.replace("_", " ").encode() for each in _KNOWN.split()) + _WORDS.encode()
)


class FrameError(Exception):
    """What the peer sent is no such frame: the connection cannot go on."""


@dataclass(frozen=True, slots=True)
class SynStream:
    """The peer opens a stream.

    :param headers: names are in lower case; of several values the first.
    """

    stream: int
    headers: Mapping[str, str]
    fin: bool = False


@dataclass(frozen=True, slots=True)
class SynReply:
    stream: int
    headers: Mapping[str, str]
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a stream: of one frame, or the part of it that has arrived.

    :param fin: they are the last.
    """

    stream: int
    data: bytes
    fin: bool = False


@dataclass(frozen=True, slots=True)
class RstStream:
    stream: int
    status: int


@dataclass(frozen=True, slots=True)
class Ping:
    id: int


@dataclass(frozen=True, slots=True)
class GoAway:
    last: int
    status: int


@dataclass(frozen=True, slots=True)
class Ignored:
    """A frame that says nothing to us: SETTINGS, HEADERS, WINDOW_UPDATE."""

    kind: int


Frame: TypeAlias = SynStream | SynReply | Data | RstStream | Ping | GoAway | Ignored


class Reader:
    """Turns bytes as they come into frames. Holds no more than one control frame; data is given out as it arrives."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._stream = 0  # whose data frame is arriving
        self._left = 0  # bytes of it
        self._fin = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now, to be taken before the next call. :raises FrameError:"""
        self._buffer += data
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> Frame | None:
        if self._left:
            return self._part()
        if len(self._buffer) < _HEAD.size:
            return None
        first, second = _HEAD.unpack_from(self._buffer)
        flags, length = second >> 24, second & 0xFFFFFF
        if first & _CONTROL:
            return self._control(first, flags, length)
        if not first:
            raise FrameError("data of stream 0")
        del self._buffer[: _HEAD.size]
        if not length:
            return Data(first, b"", bool(flags & _FIN))
        self._stream, self._left, self._fin = first, length, bool(flags & _FIN)
        return self._part()

    def _part(self) -> Data | None:
        part = bytes(self._buffer[: self._left])
        if not part:
            return None
        del self._buffer[: len(part)]
        self._left -= len(part)
        return Data(self._stream, part, self._fin and not self._left)

    def _control(self, first: int, flags: int, length: int) -> Frame | None:
        version, kind = first >> 16 & 0x7FFF, first & 0xFFFF
        if version != _VERSION:
            raise FrameError(f"a frame of version {version}")
        if length > MAX_CONTROL:
            raise FrameError(f"a control frame of {length} bytes")
        if len(self._buffer) < _HEAD.size + length:
            return None
        body = bytes(self._buffer[_HEAD.size : _HEAD.size + length])
        del self._buffer[: _HEAD.size + length]
        if kind in _BEFORE_HEADERS:
            return self._with_headers(kind, flags, body)
        if kind == SETTINGS:
            return Ignored(kind)
        if length != _SIZES.get(kind):
            raise FrameError(f"a frame of type {kind} with {length} bytes")
        numbers = [number for (number,) in _NUMBER.iter_unpack(body)]
        if kind == RST_STREAM:
            return RstStream(numbers[0] & _LAST, numbers[1])
        if kind == PING:
            return Ping(numbers[0])
        return GoAway(numbers[0] & _LAST, numbers[1]) if kind == GOAWAY else Ignored(kind)

    def _with_headers(self, kind: int, flags: int, body: bytes) -> Frame:
        before = _BEFORE_HEADERS[kind]
        if len(body) < before:
            raise FrameError(f"a frame of type {kind} with {len(body)} bytes")
        headers = self._headers(body[before:])  # also of frames that are ignored: the packing goes on
        stream = _NUMBER.unpack_from(body)[0] & _LAST
        if not stream:
            raise FrameError("headers of stream 0")
        if kind == HEADERS:
            return Ignored(kind)
        return (SynStream if kind == SYN_STREAM else SynReply)(stream, headers, bool(flags & _FIN))

    def _headers(self, packed: bytes) -> dict[str, str]:
        try:
            block = self._inflate.decompress(packed, MAX_CONTROL)
        except zlib.error as error:
            raise FrameError(f"headers that cannot be unpacked: {error}") from None
        if len(block) >= MAX_CONTROL:
            raise FrameError("headers that are too long")
        return _parse(block)


def _parse(block: bytes) -> dict[str, str]:
    at = 0

    def number() -> int:
        nonlocal at
        if at + _NUMBER.size > len(block):
            raise FrameError("headers that are cut short")
        (found,) = _NUMBER.unpack_from(block, at)
        at += _NUMBER.size
        return int(found)

    def text() -> str:
        nonlocal at
        size = number()
        if size > len(block) - at:
            raise FrameError("a header that is cut short")
        at += size
        return block[at - size : at].decode("latin-1")

    headers: dict[str, str] = {}
    for _ in range(number()):
        name, value = text(), text()
        if name != name.lower() or name in headers:
            raise FrameError(f"the header {name[:100]!r} is not in lower case, or there twice")
        headers[name] = value.partition("\0")[0]
    if at != len(block):
        raise FrameError("more than the headers")
    return headers


class Writer:
    """Makes frames, to be sent in the order in which they were made: what packs the headers goes on from each."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def syn_stream(self, stream: int, headers: Mapping[str, str], *, fin: bool = False) -> bytes:
        return _control(SYN_STREAM, _HEAD.pack(stream, 0) + b"\0\0" + self._pack(headers), fin)

    def syn_reply(self, stream: int, headers: Mapping[str, str] | None = None, *, fin: bool = False) -> bytes:
        return _control(SYN_REPLY, _NUMBER.pack(stream) + self._pack(headers or {}), fin)

    def _pack(self, headers: Mapping[str, str]) -> bytes:
        block = [_NUMBER.pack(len(headers))]
        for name, value in headers.items():
            for each in (name.lower().encode("latin-1"), value.encode("latin-1")):
                block += [_NUMBER.pack(len(each)), each]
        return self._deflate.compress(b"".join(block)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def data(stream: int, payload: bytes, *, fin: bool = False) -> bytes:
    """:param payload: less than 16 MiB."""
    return _HEAD.pack(stream, (_FIN if fin else 0) << 24 | len(payload)) + payload


def rst_stream(stream: int, status: int) -> bytes:
    return _control(RST_STREAM, _HEAD.pack(stream, status))


def ping(id_: int) -> bytes:
    return _control(PING, _NUMBER.pack(id_))


def goaway(last: int, status: int = 0) -> bytes:
    return _control(GOAWAY, _HEAD.pack(last, status))


def _control(kind: int, body: bytes, fin: bool = False) -> bytes:
    return _HEAD.pack(_CONTROL | _VERSION << 16 | kind, (_FIN if fin else 0) << 24 | len(body)) + body
