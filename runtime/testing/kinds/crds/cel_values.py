"""JSON values as CEL sees them, typed by the schema."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Final, cast

from celpy import celtypes
from celpy.adapter import json_to_cel

from runtime.testing.kinds.crds.schema import Node

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = frozenset(
    [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)
_ESCAPES = (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__"))
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
# What the real server shows of metadata to rules.
_METADATA = ("name", "generateName")


class Optional:
    """CEL's optional value: what ``oldSelf`` is with ``optionalOldSelf``, and what ``.?field`` gives."""

    def __init__(self, value: object | None) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Optional) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]


ABSENT: Final = Optional(None)


class Namespace(celtypes.StringType):
    """The receiver of functions that are written like methods of a name: ``sets.contains(a, b)``."""


NAMESPACES: Final[Mapping[str, object]] = {
    name: Namespace(name) for name in ("sets", "math", "optional", "format", "quantities")
}


def to_cel(node: Node | None, value: object) -> object:
    """``value`` with CEL's types. Where the schema says nothing, JSON's own types decide."""
    if value is None:
        return None
    if isinstance(value, dict):
        return _map(node, value)
    if isinstance(value, list):
        items = node.items if node is not None else None
        return celtypes.ListType([cast(celtypes.Value, to_cel(items, item)) for item in value])
    if isinstance(value, str):
        return _text(node, value)
    if isinstance(value, int) and not isinstance(value, bool) and node is not None and "number" in node.types:
        return celtypes.DoubleType(value)
    if isinstance(value, float) and node is not None and "integer" in node.types and value.is_integer():
        return celtypes.IntType(int(value))
    return json_to_cel(cast("int | float | bool", value))


def _map(node: Node | None, value: Mapping[str, object]) -> celtypes.MapType:
    result = celtypes.MapType()
    declared = node is not None and bool(node.properties)
    for name, given in value.items():
        child = node.properties.get(name, node.additional) if node is not None else None
        if name == "metadata" and child is not None and not child.properties and isinstance(given, dict):
            given = {each: given[each] for each in _METADATA if each in given}
        key = escaped(name) if declared and node is not None and name in node.properties else name
        result[celtypes.StringType(key)] = cast(celtypes.Value, to_cel(child, given))
    return result


def escaped(name: str) -> str:
    """A property's name as a rule has to write it."""
    if name in _RESERVED:
        return f"__{name}__"
    if _NAME.fullmatch(name) and "__" not in name:
        return name
    for plain, written in _ESCAPES:
        name = name.replace(plain, written)
    return name


def _text(node: Node | None, value: str) -> object:
    form = node.format if node is not None and node.types == ("string",) else ""
    try:
        if form in ("date-time", "date"):
            text = value if "T" in value.upper() else f"{value}T00:00:00Z"
            return celtypes.TimestampType(text)
        if form == "duration":
            return celtypes.DurationType(duration(value))
        if form == "byte":
            return celtypes.BytesType(base64.b64decode(value))
    except ValueError:
        return celtypes.StringType(value)  # malformed: named by the schema's own validation
    return celtypes.StringType(value)


def duration(text: str) -> timedelta:
    """Go's durations: ``1h30m``.

    :raises ValueError: for anything else.
    """
    body = text.lstrip("+-")
    if body == "0":
        return timedelta()
    parts = _DURATION_PART.findall(body)
    if not parts or "".join(number + unit for number, unit in parts) != body:
        raise ValueError(f"{text!r} is not a duration such as 1h30m")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return timedelta(seconds=-seconds if text.startswith("-") else seconds)
