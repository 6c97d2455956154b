"""The values of CEL: those of JSON as Python has them, typed by the schema, and those that JSON has not."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import total_ordering
from typing import Any, Final

from runtime.testing.kinds.crds.cel.syntax import CelError
from runtime.testing.kinds.crds.cel.types import DURATION, TIMESTAMP, describes_meta, escaped
from runtime.testing.kinds.crds.schema import METADATA_FIELDS
from runtime.testing.kinds.crds.schema import Node as Schema

_UNITS: Final = {
    "h": 3600 * 10**9,
    "m": 60 * 10**9,
    "s": 10**9,
    "ms": 10**6,
    **dict.fromkeys(("us", "µs", "μs"), 1000),
    "ns": 1,
}
_DURATION_PART: Final = re.compile(r"(\d+)(?:\.(\d*))?(ns|us|µs|μs|ms|s|m|h)|\.(\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_TIME: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(Z|z|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_DURATION: Final = 2**63 - 1
Value = Any  # what an expression may be worth: CEL is dynamic at heart


class UInt(int):
    """An unsigned integer."""


@total_ordering
@dataclass(frozen=True, slots=True)
class Duration:
    nanoseconds: int

    def __lt__(self, other: Duration) -> bool:
        return self.nanoseconds < other.nanoseconds


@total_ordering
@dataclass(frozen=True, slots=True)
class Timestamp:
    """:param nanoseconds: since 1970.
    :param offset: the seconds east of Greenwich that it was written with; it does not tell moments apart.
    """

    nanoseconds: int
    offset: int = field(default=0, compare=False)

    def __lt__(self, other: Timestamp) -> bool:
        return self.nanoseconds < other.nanoseconds

    @property
    def moment(self) -> datetime:
        """To the microsecond."""
        return _EPOCH + timedelta(microseconds=self.nanoseconds // 1000)


@dataclass(frozen=True, slots=True)
class TypeValue:
    """A type as a value: what ``type(x)`` gives."""

    name: str


@dataclass(frozen=True, slots=True)
class Optional:
    """:param present: whether there is a value, which may be null."""

    value: Value = None
    present: bool = False


ABSENT: Final = Optional()


class SetList(list[Value]):
    """A list of which the order does not matter, and which holds everything once."""


class MapList(list[Value]):
    """A list of objects that are told apart by some of their fields."""

    def __init__(self, items: list[Value], keys: tuple[str, ...]) -> None:
        super().__init__(items)
        self.keys = keys

    def key_of(self, item: Value) -> tuple[Value, ...]:
        fields = item if isinstance(item, dict) else {}
        return tuple(fields.get(escaped(each) or each) for each in self.keys)


class Object(dict[str, Value]):
    """The fields of an object, as a rule writes them."""


@dataclass(frozen=True, slots=True)
class Invalid:
    """A value that is not what its schema says: whoever uses it learns why."""

    reason: str


def equal(left: Value, right: Value) -> bool:
    """Values of different kinds are not equal, numbers are if they are worth the same."""
    numbers = (int, float)
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, numbers) and isinstance(right, numbers):
        return left == right
    if isinstance(left, list) and isinstance(right, list):
        return _equal_lists(left, right)
    if isinstance(left, dict) and isinstance(right, dict):
        return len(left) == len(right) and all(key in right and equal(left[key], right[key]) for key in left)
    if isinstance(left, Optional) and isinstance(right, Optional):
        return left.present == right.present and equal(left.value, right.value)
    return type(left) is type(right) and bool(left == right)


def _equal_lists(left: list[Value], right: list[Value]) -> bool:
    if len(left) != len(right):
        return False
    special = next((each for each in (left, right) if isinstance(each, SetList | MapList)), None)
    if isinstance(special, SetList):
        return all(any(equal(a, b) for b in right) for a in left)
    if isinstance(special, MapList):
        return all(any(special.key_of(a) == special.key_of(b) and equal(a, b) for b in right) for a in left)
    return all(map(equal, left, right))


def concatenated(left: list[Value], right: list[Value]) -> list[Value]:
    """The sum of two lists: to a set what is new is added, to a map-like list too, or put in the place of the old."""
    if isinstance(left, SetList):
        return SetList([*left, *(b for b in right if not any(equal(a, b) for a in left))])
    if isinstance(left, MapList):
        merged = list(left)
        places = {left.key_of(each): index for index, each in enumerate(left)}
        for each in right:
            place = places.get(left.key_of(each))
            if place is None:
                merged.append(each)
            else:
                merged[place] = each
        return MapList(merged, left.keys)
    return [*left, *right]


# From JSON


def to_cel(schema: Schema, value: object, *, is_resource: bool = False) -> Value:
    """``value`` as rules see it.

    :param is_resource: it has an apiVersion, a kind, and names in its metadata, whatever the schema says.
    """
    if value is None:
        return None
    if schema.int_or_string:
        if isinstance(value, bool) or not isinstance(value, int | str):
            return Invalid("invalid data, expected XIntOrString value to be either a string or integer")
        return value
    if "object" in schema.types:
        return _object(schema, value, is_resource)
    if "array" in schema.types:
        return _list(schema, value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _number(schema, value)
    return _text(schema, value) if isinstance(value, str) else value


def _object(schema: Schema, value: object, is_resource: bool) -> Value:
    if not isinstance(value, dict):
        return Invalid("invalid data, expected a map for the provided schema with type=object")
    if schema.additional is not None and not schema.properties:
        return {name: to_cel(schema.additional, given) for name, given in value.items()}
    found = Object()
    own_meta = is_resource and not describes_meta(schema.properties)
    for name, given in value.items():
        if own_meta and name in METADATA_FIELDS:
            found[name] = _names(given) if name == "metadata" else given
        elif name not in schema.properties:
            found[f"\0{name}"] = given  # no rule can name it, but it tells objects apart
        elif given is not None:
            child = schema.properties[name]
            found[escaped(name) or f"\0{name}"] = to_cel(child, given, is_resource=child.embedded)
    return found


def _names(metadata: object) -> Value:
    fields = metadata if isinstance(metadata, dict) else {}
    return Object({name: fields[name] for name in ("name", "generateName") if name in fields})


def _list(schema: Schema, value: object) -> Value:
    if not isinstance(value, list):
        return Invalid("invalid data, expected an array for the provided schema with type=array")
    items = [to_cel(schema.items, each, is_resource=schema.items.embedded) if schema.items else each for each in value]
    if schema.list_type == "set":
        return SetList(items)
    return MapList(items, schema.list_keys) if schema.list_type == "map" else items


def _number(schema: Schema, value: float) -> Value:
    if "number" in schema.types:
        return float(value)
    return int(value) if "integer" in schema.types and float(value).is_integer() else value


def _text(schema: Schema, value: str) -> Value:
    form = schema.format if schema.types == ("string",) else ""
    try:
        if form in ("date-time", "date"):
            return timestamp(value if form == "date-time" else f"{value}T00:00:00Z")
        if form == "duration":
            return duration(value)
        if form == "byte":
            return base64.b64decode(value, validate=True)
    except (CelError, binascii.Error, ValueError) as error:
        return Invalid(f"Invalid {form} {value}, caused by: {error}")
    return value


def duration(text: str) -> Duration:
    """Go's durations: ``1h30m``.

    :raises CelError: for anything else.
    """
    body = text[1:] if text[:1] in ("+", "-") else text
    total, end = 0, 0
    for match in _DURATION_PART.finditer(body):
        if match.start() != end:
            break
        end = match.end()
        whole, fraction = match.group(1) or "0", match.group(2) or match.group(4) or ""
        scale = _UNITS[match.group(3) or match.group(5)]
        total += int(whole) * scale + (int(fraction) * scale // 10 ** len(fraction) if fraction else 0)
    if body != "0" and (not body or end != len(body)):
        raise CelError(f'time: invalid duration "{text}"')
    found = Duration(-total if text.startswith("-") else total)
    checked(found)
    return found


def timestamp(text: str) -> Timestamp:
    """:raises CelError: for anything but RFC 3339."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise CelError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}"')
    *fields, fraction, zone = match.groups()
    try:
        offset = "+00:00" if zone in "Zz" else zone
        moment = datetime.fromisoformat("{}-{}-{}T{}:{}:{}".format(*fields) + offset)
    except ValueError as error:
        raise CelError(f'parsing time "{text}": {error}') from None
    seconds = int((moment - _EPOCH).total_seconds())
    zone_offset = moment.utcoffset() or timedelta()
    return Timestamp(seconds * 10**9 + int(((fraction or "") + "0" * 9)[:9]), int(zone_offset.total_seconds()))


def checked(value: Value) -> Value:
    """:raises CelError: if an integer or a duration does not fit into 64 bits."""
    if isinstance(value, Duration):
        if not -_MAX_DURATION <= value.nanoseconds <= _MAX_DURATION:
            raise CelError("range error: duration overflow")
    elif isinstance(value, UInt):
        if not 0 <= value < 2**64:
            raise CelError("unsigned integer overflow")
    elif isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        raise CelError("integer overflow")
    return value


def type_name(value: Value) -> str:
    """The name of the value's type."""
    for kind, name in _NAMES.items():
        if isinstance(value, kind):
            return name
    own: str | None = getattr(value, "type_name", None)
    return own if own is not None else "object"


_NAMES: Final[Mapping[type, str]] = {
    type(None): "null_type",
    bool: "bool",
    UInt: "uint",
    int: "int",
    float: "double",
    str: "string",
    bytes: "bytes",
    list: "list",
    Object: "object",
    dict: "map",
    Duration: DURATION.kind,
    Timestamp: TIMESTAMP.kind,
    TypeValue: "type",
    Optional: "optional_type",
}


def size(value: Value) -> int:
    """What cost is counted by: characters, bytes, items; 1 for anything else."""
    own = getattr(value, "cost_size", None)
    if own is not None:
        return int(own)
    return len(value) if isinstance(value, str | bytes | list | dict) else 1
