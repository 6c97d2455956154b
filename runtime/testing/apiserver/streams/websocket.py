"""WebSocket frames (RFC 6455), without extensions."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NORMAL, PROTOCOL_ERROR, UNSUPPORTED_DATA = 1000, 1002, 1003  # why a connection is closed
_KEY: Final = 16  # bytes
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MASK: Final = 4
_MAX_CONTROL: Final = 125
_FIN, _RESERVED, _MASKED = 0x80, 0x70, 0x80


class FrameError(Exception):
    """What the peer sent is no frame that may stand there: the connection cannot go on."""


def accept(key: str) -> str | None:
    """What the server answers to ``Sec-WebSocket-Key``; None: that is none."""
    try:
        whole = len(base64.b64decode(key, validate=True)) == _KEY
    except (binascii.Error, ValueError):
        return None
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode() if whole else None  # noqa: S324


@dataclass(frozen=True, slots=True)
class Part:
    """A control frame, or a message, or the part of it that has arrived.

    :param opcode: of the message: TEXT or BINARY; or CLOSE, PING, PONG.
    :param first: it begins a message.
    """

    opcode: int
    data: bytes
    first: bool = True
    last: bool = True


class Reader:
    """Turns bytes as they come into parts of messages. Holds no more than one control frame.

    :param masked: whether the peer must mask what it sends, as clients do; a server must not.
    """

    def __init__(self, *, masked: bool = True) -> None:
        self._masked = masked
        self._buffer = bytearray()
        self._message: int | None = None  # opcode of the message that has begun
        self._begun = False  # a part of it has been given out
        self._left = 0  # bytes of the frame that is arriving
        self._final = False
        self._mask = b""

    def feed(self, data: bytes) -> Iterator[Part]:
        """What is there now, to be taken before the next call. :raises FrameError:"""
        self._buffer += data
        while (part := self._next()) is not None:
            yield part

    def _next(self) -> Part | None:
        if self._left:
            return self._payload()
        head = self._head()
        if head is None:
            return None
        size, opcode, final, length = head
        mask = bytes(self._buffer[size - _MASK : size]) if self._masked else b""
        if opcode & 8:
            if not final or length > _MAX_CONTROL or (opcode == CLOSE and length == 1):
                raise FrameError("a control frame that is too long, in parts, or half a reason")
            if len(self._buffer) < size + length:
                return None
            payload = bytes(self._buffer[size : size + length])
            del self._buffer[: size + length]
            return Part(opcode, _unmask(payload, mask))
        if (opcode == CONTINUATION) == (self._message is None):
            raise FrameError("a message within a message, or a part of none")
        del self._buffer[:size]
        if opcode != CONTINUATION:
            self._message, self._begun = opcode, False
        self._left, self._final, self._mask = length, final, mask
        return self._payload() if length else self._given(b"")

    def _head(self) -> tuple[int, int, bool, int] | None:
        """Size of the head, opcode, whether it is a message's last frame, and length; None: not there yet."""
        if len(self._buffer) < 2:
            return None
        first, second = self._buffer[0], self._buffer[1]
        opcode = first & 0x0F
        if first & _RESERVED or opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise FrameError(f"a frame that begins with {first:#04x}")
        if bool(second & _MASKED) != self._masked:
            raise FrameError("a frame that is not masked" if self._masked else "a frame that is masked")
        length = second & 0x7F
        extra = {126: 2, 127: 8}.get(length, 0)
        size = 2 + extra + (_MASK if self._masked else 0)
        if len(self._buffer) < size:
            return None
        if extra:
            (length,) = struct.unpack_from(">H" if extra == 2 else ">Q", self._buffer, 2)
        if length >> 63:
            raise FrameError("a frame of a negative length")
        return size, opcode, bool(first & _FIN), length

    def _payload(self) -> Part | None:
        part = bytes(self._buffer[: self._left])
        if not part:
            return None
        del self._buffer[: len(part)]
        self._left -= len(part)
        mask, turn = self._mask, len(part) % _MASK
        self._mask = mask[turn:] + mask[:turn]
        return self._given(_unmask(part, mask))

    def _given(self, data: bytes) -> Part:
        assert self._message is not None
        last = self._final and not self._left
        part = Part(self._message, data, not self._begun, last)
        self._begun = True
        if last:
            self._message = None
        return part


def encode(opcode: int, data: bytes, mask: bytes = b"", *, final: bool = True) -> bytes:
    """One frame.

    :param mask: of 4 bytes, for a client.
    """
    masked = _MASKED if mask else 0
    length = len(data)
    if length <= _MAX_CONTROL:
        size = bytes([masked | length])
    elif length < 1 << 16:
        size = struct.pack(">BH", masked | 126, length)
    else:
        size = struct.pack(">BQ", masked | 127, length)
    return bytes([(_FIN if final else 0) | opcode]) + size + mask + _unmask(data, mask)


def close(code: int) -> bytes:
    return encode(CLOSE, struct.pack(">H", code))


def _unmask(data: bytes, mask: bytes) -> bytes:
    if not mask or not data:
        return data
    size = len(data)
    key = (mask * (size // _MASK + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")
