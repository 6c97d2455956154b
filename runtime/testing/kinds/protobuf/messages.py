"""Messages of the built-in kinds: from protobuf to the JSON that Go makes of it, and back.

Which fields there are is ``schemas/protobuf.json``; ``schemas/generate_protobuf.py`` tells how to read it. It is loaded
with the first message that is asked for.
"""

from __future__ import annotations

import base64
import functools
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, cast

import orjson

from runtime.testing.kinds import schemas
from runtime.testing.kinds.protobuf import special
from runtime.testing.kinds.protobuf.wire import (
    FIXED64,
    LENGTH,
    VARINT,
    ProtobufError,
    fields,
    key,
    message,
    read_varint,
    signed,
    text,
    varint,
)

_SINGLE, _LIST, _MAP = "", "[]", "{}"
_SCALARS: Final = {"string": LENGTH, "bytes": LENGTH, "int": VARINT, "bool": VARINT, "double": FIXED64}
_ZEROS: Final[Mapping[str, object]] = {"string": "", "bytes": "", "int": 0, "bool": False, "double": 0.0}


class Codec(Protocol):
    """Reads and writes one message."""

    def decode(self, data: bytes) -> Any:
        """The JSON value; None where JSON leaves it out. Raises :class:`ProtobufError`."""

    def encode(self, value: Any) -> bytes:
        """Raises :class:`ProtobufError` for a value that has no such form."""


@functools.cache
def table() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """Package -> message -> field -> number and type."""
    data = Path(schemas.__file__).with_name("protobuf.json").read_bytes()
    return cast(Mapping[str, Mapping[str, Mapping[str, str]]], orjson.loads(data))


@functools.cache
def codec(package: str, name: str) -> Codec:
    """The codec of one message. Raises :class:`KeyError` if there is no such message."""
    found: Codec | None = special.CODECS.get(f"{package}.{name}")
    if found is not None:
        return found
    if f"{package}.{name}" in _EITHER:
        return _Either(package, *_EITHER[f"{package}.{name}"])
    described = table()[package][name]
    if "" in described:
        return _Wrapper(_field(package, "", described[""]))
    return _Message(tuple(_field(package, field, how) for field, how in described.items()))


@dataclass(frozen=True, slots=True)
class _Field:
    """:param shape: of one value, a list or a map.
    :param kind: a scalar's name, or ``message``, which then is ``package`` and ``message``.
    :param presence: "*" shown when present, "!" always shown, "" shown unless it is zero.
    """

    name: str
    number: int
    shape: str
    kind: str
    presence: str
    package: str
    message: str

    @property
    def inline(self) -> bool:
        return self.name.startswith("~")

    @property
    def codec(self) -> Codec:
        return codec(self.package, self.message)

    # -- values

    def value(self, wire_type: int, raw: int | bytes) -> Any:
        expected = _SCALARS.get(self.kind, LENGTH)
        if wire_type != expected:
            raise ProtobufError(f"proto: wrong wireType = {wire_type} for field {self.name.lstrip('~') or 'Items'}")
        if isinstance(raw, int):
            return raw != 0 if self.kind == "bool" else signed(raw)
        if self.kind == "string":
            return raw.decode("utf-8", "replace")
        if self.kind == "bytes":
            return base64.b64encode(raw).decode()
        return struct.unpack("<d", raw)[0] if self.kind == "double" else self.codec.decode(raw)

    def values(self, wire_type: int, raw: int | bytes) -> Iterator[Any]:
        """What one occurrence of a list's field holds: numbers may come packed."""
        if wire_type == LENGTH and isinstance(raw, bytes) and _SCALARS.get(self.kind) == VARINT:
            at = 0
            while at < len(raw):
                number, at = read_varint(raw, at)
                yield self.value(VARINT, number)
        else:
            yield self.value(wire_type, raw)

    def entry(self, wire_type: int, raw: int | bytes) -> tuple[str, Any]:
        """What one occurrence of a map's field holds."""
        if wire_type != LENGTH or isinstance(raw, int):
            raise ProtobufError(f"proto: wrong wireType = {wire_type} for field {self.name}")
        name, value = "", _ZEROS[self.kind] if self.kind in _ZEROS else self.codec.decode(b"")
        for number, inner, part in fields(raw):
            if number == 1 and isinstance(part, bytes):
                name = part.decode("utf-8", "replace")
            elif number == 2:
                value = self.value(inner, part)
        return name, value

    def encoded(self, value: Any, number: int | None = None) -> bytes:
        """One value with what stands before it."""
        number = self.number if number is None else number
        if self.kind == "string":
            return text(number, _typed(value, str))
        if self.kind == "int":
            return key(number, VARINT) + varint(_typed(value, int))
        if self.kind == "bool":
            return key(number, VARINT) + varint(_typed(value, bool))
        if self.kind == "double":
            return key(number, FIXED64) + struct.pack("<d", value)
        if self.kind == "bytes":
            return message(number, base64.b64decode(_typed(value, str)))
        return message(number, self.codec.encode(value))

    def write(self, value: Any) -> bytes:
        """The whole field."""
        if self.shape == _LIST:
            return b"".join(self.encoded(each) for each in _typed(value, list))
        if self.shape == _MAP:
            entries = sorted(_typed(value, dict).items())
            return b"".join(message(self.number, text(1, name) + self.encoded(each, 2)) for name, each in entries)
        return self.encoded(value)


def _field(package: str, name: str, described: str) -> _Field:
    number, _, how = described.partition(" ")
    shape = how[:2] if how.startswith((_LIST, _MAP)) else _SINGLE
    how = how.removeprefix(shape)
    presence = how[-1] if how[-1] in "*!" else ""
    how = how.removesuffix(presence)
    if how in _SCALARS:
        return _Field(name, int(number), shape, how, presence, "", "")
    other, _, short = how.rpartition(".")
    return _Field(name, int(number), shape, "message", presence, other or package, short)


class _Message:
    """A struct."""

    def __init__(self, described: tuple[_Field, ...]) -> None:
        self._by_number = {each.number: each for each in described}
        self._in_order = sorted(described, key=lambda each: each.number)
        always = (each for each in described if each.presence == "!" and not each.shape)
        # Go's zero values, which JSON shows; no bytes at all are null there.
        self._zeros = {each.name: _ZEROS[each.kind] for each in always if each.kind in _ZEROS and each.kind != "bytes"}

    def decode(self, data: bytes) -> dict[str, Any]:
        found: dict[str, Any] = dict(self._zeros)
        for number, wire_type, raw in fields(data):
            field = self._by_number.get(number)
            if field is None:
                continue  # of a newer version
            if field.shape == _LIST:
                found.setdefault(field.name, []).extend(field.values(wire_type, raw))
            elif field.shape == _MAP:
                name, value = field.entry(wire_type, raw)
                found.setdefault(field.name, {})[name] = value
            else:
                self._put(found, field, field.value(wire_type, raw))
        return found

    def _put(self, found: dict[str, Any], field: _Field, value: Any) -> None:
        if field.inline:
            found.update(value)
        elif value is None or (value == _ZEROS.get(field.kind) and not field.presence):
            found.pop(field.name, None)
        else:
            found[field.name] = value

    def encode(self, value: Any) -> bytes:
        given = _typed(value, dict)
        parts: list[bytes] = []
        for field in self._in_order:
            if field.inline:
                parts.append(message(field.number, field.codec.encode(given)))
                continue
            each = given.get(field.name)
            if each is not None:
                parts.append(field.write(each))
        return b"".join(parts)


class _Wrapper:
    """A list that is a message of its own in protobuf only."""

    def __init__(self, field: _Field) -> None:
        self._field = field

    def decode(self, data: bytes) -> list[Any]:
        found: list[Any] = []
        for number, wire_type, raw in fields(data):
            if number == self._field.number:
                found.extend(self._field.values(wire_type, raw))
        return found

    def encode(self, value: Any) -> bytes:
        return self._field.write(value)


class _Either:
    """A schema of a CRD, or something else in its place.

    :param other: the other field: a list of schemas, a list of texts, or a boolean.
    """

    def __init__(self, package: str, name: str, other: str) -> None:
        described = table()[package][name]
        self._schema = _field(package, "schema", described["schema"])
        self._other = _field(package, other, described[other])

    def decode(self, data: bytes) -> Any:
        schema: Any = None
        listed: list[Any] = []
        allowed = False
        for number, wire_type, raw in fields(data):
            if number == self._schema.number:
                schema = self._schema.value(wire_type, raw)
            elif number == self._other.number and self._other.kind == "bool":
                allowed = self._other.value(wire_type, raw)
            elif number == self._other.number:
                listed.extend(self._other.values(wire_type, raw))
        if schema is not None:
            return schema
        return allowed if self._other.kind == "bool" else listed or None

    def encode(self, value: Any) -> bytes:
        if isinstance(value, dict):
            allowed = self._other.encoded(True) if self._other.kind == "bool" else b""
            return self._schema.encoded(value) + allowed
        return self._other.write(value)


_CRD: Final = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1"
_EITHER: Final = {
    f"{_CRD}.JSONSchemaPropsOrArray": ("JSONSchemaPropsOrArray", "jSONSchemas"),
    f"{_CRD}.JSONSchemaPropsOrBool": ("JSONSchemaPropsOrBool", "allows"),
    f"{_CRD}.JSONSchemaPropsOrStringArray": ("JSONSchemaPropsOrStringArray", "property"),
}


def _typed(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ProtobufError(f"{value!r} is no {kind.__name__}")
    return value
