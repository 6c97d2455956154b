"""Protobuf's wire format: numbers, lengths and fields, whatever they mean."""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_SIGN = 1 << 63
_MODULUS = 1 << 64
_MAX_BYTES = 10  # of a varint


class ProtobufError(Exception):
    """Bytes that are no protobuf, or a value that has none."""


def varint(value: int) -> bytes:
    """A whole number; a negative one as its 64-bit complement."""
    value &= _MODULUS - 1
    if value < 0x80:
        return value.to_bytes(1, "little")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def key(number: int, wire_type: int) -> bytes:
    """What stands before a field's value."""
    return varint(number << 3 | wire_type)


def message(number: int, value: bytes) -> bytes:
    """A field with a length: a message, a text, bytes."""
    return key(number, LENGTH) + varint(len(value)) + value


def text(number: int, value: str) -> bytes:
    return message(number, value.encode())


def number(field: int, value: int) -> bytes:
    return key(field, VARINT) + varint(value)


def signed(value: int) -> int:
    """The int64 that a varint stands for."""
    return value - _MODULUS if value >= _SIGN else value


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at ``at`` and where it ends. Raises :class:`ProtobufError`."""
    value = shift = 0
    for position in range(at, at + _MAX_BYTES):
        if position >= len(data):
            raise ProtobufError("unexpected EOF")
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value % _MODULUS, position + 1
        shift += 7
    raise ProtobufError("proto: integer overflow")


def fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Number, wire type and value of each field: an int for varints, bytes for all else.

    :raises ProtobufError: where the bytes end too soon, or are no field.
    """
    at, end = 0, len(data)
    while at < end:
        tag, at = read_varint(data, at)
        found, wire_type = tag >> 3, tag & 7
        if not 0 < found < 1 << 31:
            raise ProtobufError(f"proto: illegal tag {found} (wire type {wire_type})")
        if wire_type == VARINT:
            value, at = read_varint(data, at)
            yield found, wire_type, value
            continue
        if wire_type == LENGTH:
            size, at = read_varint(data, at)
        elif wire_type in (FIXED64, FIXED32):
            size = 8 if wire_type == FIXED64 else 4
        else:
            raise ProtobufError(f"proto: illegal wireType {wire_type}")
        if size > end - at:
            raise ProtobufError("unexpected EOF")
        yield found, wire_type, data[at : at + size]
        at += size
