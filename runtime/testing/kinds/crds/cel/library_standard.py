"""Operators, conversions, texts and times: what CEL itself has."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from runtime.testing.kinds.crds.cel.functions import declare
from runtime.testing.kinds.crds.cel.syntax import CelError
from runtime.testing.kinds.crds.cel.values import (
    ABSENT,
    Duration,
    Object,
    Optional,
    Timestamp,
    TypeValue,
    UInt,
    Value,
    checked,
    concatenated,
    duration,
    equal,
    timestamp,
    type_name,
)
from runtime.testing.kinds.crds.patterns import PatternError, go_pattern

_ZERO_TIME: Final = Timestamp(-62135596800 * 10**9)
NO_OVERLOAD: Final = "no such overload"
_ORDERED: Final = ("bool", "int", "uint", "double", "string", "bytes", "timestamp", "duration")
_NUMBER_KINDS: Final = ("int", "uint", "double")
_COMPARISONS: Final = (
    *(f"({each}, {each}) -> bool" for each in _ORDERED),
    *(f"({a}, {b}) -> bool" for a in _NUMBER_KINDS for b in _NUMBER_KINDS if a != b),
)
_NUMBERS: Final = tuple(f"({each}, {each}) -> {each}" for each in ("int", "uint", "double"))


# Logic. The evaluator takes care of what it must not evaluate; these are for the types.

for _name in ("_&&_", "_||_"):
    declare(_name, "(bool, bool) -> bool")
declare("_?_:_", "(bool, A, A) -> A")
declare("@not_strictly_false", "(bool) -> bool")
declare("_?._", "(A, string) -> optional(dyn)")


@declare("!_", "(bool) -> bool")
def _not(value: Value) -> Value:
    if not isinstance(value, bool):
        raise CelError(NO_OVERLOAD)
    return not value


# Comparison


declare("_==_", "(A, A) -> bool")(equal)


@declare("_!=_", "(A, A) -> bool")
def _not_equal(left: Value, right: Value) -> Value:
    return not equal(left, right)


def _comparable(left: Value, right: Value) -> None:
    number = (int, float)
    if isinstance(left, bool) is not isinstance(right, bool):
        raise CelError(NO_OVERLOAD)
    if isinstance(left, number) and isinstance(right, number):
        return
    if type(left) is not type(right) or not isinstance(left, str | bytes | Timestamp | Duration):
        raise CelError(NO_OVERLOAD)


def _comparison(compare: Callable[[Value, Value], bool]) -> Callable[[Value, Value], Value]:
    def run(left: Value, right: Value) -> Value:
        _comparable(left, right)
        return compare(left, right)

    return run


declare("_<_", *_COMPARISONS)(_comparison(lambda a, b: a < b))
declare("_<=_", *_COMPARISONS)(_comparison(lambda a, b: a <= b))
declare("_>_", *_COMPARISONS)(_comparison(lambda a, b: a > b))
declare("_>=_", *_COMPARISONS)(_comparison(lambda a, b: a >= b))


@declare("@in", "(A, list(A)) -> bool", "(A, map(A, B)) -> bool")
def _in(item: Value, container: Value) -> Value:
    if not isinstance(container, list | dict):
        raise CelError(NO_OVERLOAD)
    return any(equal(item, each) for each in container)


# Arithmetic


def _same_numbers(left: Value, right: Value) -> bool:
    return type(left) is type(right) and isinstance(left, int | float) and not isinstance(left, bool)


@declare(
    "_+_",
    *_NUMBERS,
    "(string, string) -> string",
    "(bytes, bytes) -> bytes",
    "(list(A), list(A)) -> list(A)",
    "(duration, duration) -> duration",
    "(timestamp, duration) -> timestamp",
    "(duration, timestamp) -> timestamp",
)
def _add(left: Value, right: Value) -> Value:
    if isinstance(left, str) and isinstance(right, str):
        return left + right
    if isinstance(left, bytes) and isinstance(right, bytes):
        return left + right
    if isinstance(left, list) and isinstance(right, list):
        return concatenated(left, right)
    if isinstance(left, Duration) and isinstance(right, Timestamp):
        left, right = right, left
    if isinstance(left, Timestamp | Duration) and isinstance(right, Duration):
        return _in_range(type(left)(left.nanoseconds + right.nanoseconds))
    if _same_numbers(left, right):
        return checked(type(left)(left + right))
    raise CelError(NO_OVERLOAD)


@declare(
    "_-_",
    *_NUMBERS,
    "(duration, duration) -> duration",
    "(timestamp, duration) -> timestamp",
    "(timestamp, timestamp) -> duration",
)
def _subtract(left: Value, right: Value) -> Value:
    if isinstance(left, Timestamp) and isinstance(right, Timestamp):
        return checked(Duration(left.nanoseconds - right.nanoseconds))
    if isinstance(left, Timestamp | Duration) and isinstance(right, Duration):
        return _in_range(type(left)(left.nanoseconds - right.nanoseconds))
    if _same_numbers(left, right):
        return checked(type(left)(left - right))
    raise CelError(NO_OVERLOAD)


@declare("_*_", *_NUMBERS)
def _multiply(left: Value, right: Value) -> Value:
    if not _same_numbers(left, right):
        raise CelError(NO_OVERLOAD)
    return checked(type(left)(left * right))


@declare("_/_", *_NUMBERS)
def _divide(left: Value, right: Value) -> Value:
    if not _same_numbers(left, right):
        raise CelError(NO_OVERLOAD)
    if isinstance(left, float):
        return _float_quotient(left, right)
    if right == 0:
        raise CelError("division by zero")
    quotient = abs(left) // abs(right)
    return checked(type(left)(quotient if (left < 0) == (right < 0) else -quotient))


def _float_quotient(left: float, right: float) -> float:
    if right:
        return left / right
    return math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left) * math.copysign(1, right)


@declare("_%_", "(int, int) -> int", "(uint, uint) -> uint")
def _modulo(left: Value, right: Value) -> Value:
    if not _same_numbers(left, right) or isinstance(left, float):
        raise CelError(NO_OVERLOAD)
    if right == 0:
        raise CelError("modulus by zero")
    remainder = abs(left) % abs(right)
    return type(left)(remainder if left >= 0 else -remainder)


@declare("-_", "(int) -> int", "(double) -> double", "(duration) -> duration")
def _negate(value: Value) -> Value:
    if isinstance(value, Duration):
        return Duration(-value.nanoseconds)
    if isinstance(value, bool | UInt) or not isinstance(value, int | float):
        raise CelError(NO_OVERLOAD)
    return checked(-value)


def _in_range(value: Value) -> Value:
    if isinstance(value, Timestamp) and not -62135596800 <= value.nanoseconds // 10**9 <= 253402300799:
        raise CelError("timestamp overflow")
    return checked(value)


# Containers


@declare(
    "_[_]",
    "(list(A), int) -> A",
    "(map(A, B), A) -> B",
    "(optional(list(A)), int) -> optional(A)",
    "(optional(map(A, B)), A) -> optional(B)",
)
def _index(container: Value, index: Value) -> Value:
    if isinstance(container, Optional):
        return _optional_index(container, index)
    if isinstance(container, list):
        if isinstance(index, float) and index.is_integer():
            index = int(index)
        if isinstance(index, bool) or not isinstance(index, int):
            raise CelError(f"unsupported index type '{type_name(index)}' in list")
        if not 0 <= index < len(container):
            raise CelError(f"index out of bounds: {index}")
        return container[index]
    if isinstance(container, dict) and not isinstance(container, Object):
        for key in container:
            if equal(key, index):
                return container[key]
        raise CelError(f"no such key: {index}")
    raise CelError(NO_OVERLOAD)


@declare(
    "_[?_]",
    "(list(A), int) -> optional(A)",
    "(map(A, B), A) -> optional(B)",
    "(optional(list(A)), int) -> optional(A)",
    "(optional(map(A, B)), A) -> optional(B)",
)
def _optional_index(container: Value, index: Value) -> Value:
    if isinstance(container, Optional):
        if not container.present:
            return ABSENT
        container = container.value
    try:
        return Optional(_index(container, index), present=True)
    except CelError as error:
        if str(error).startswith(("no such key", "index out of bounds")):
            return ABSENT
        raise


@declare("size", "(string) -> int", "(bytes) -> int", "(list(A)) -> int", "(map(A, B)) -> int")
@declare("size", "(string) -> int", "(bytes) -> int", "(list(A)) -> int", "(map(A, B)) -> int", member=True)
def _size(value: Value) -> Value:
    if not isinstance(value, str | bytes | list | dict):
        raise CelError(NO_OVERLOAD)
    return len(value)


@declare("cel.@mapInsert", "(map(A, B), A, B) -> map(A, B)", "(map(A, B), map(A, B)) -> map(A, B)")
def _insert(container: Value, *entry: Value) -> Value:
    new = entry[0] if len(entry) == 1 else {entry[0]: entry[1]}
    for key in new:
        if key in container:
            raise CelError(f"insert failed: key {key} already exists")
    return {**container, **new}


# Conversions


@declare("type", "(A) -> type(A)")
def _type(value: Value) -> Value:
    return TypeValue(type_name(value))


@declare("dyn", "(A) -> dyn")
def _dyn(value: Value) -> Value:
    return value


@declare("bool", "(bool) -> bool", "(string) -> bool")
def _bool(value: Value) -> Value:
    if isinstance(value, bool):
        return value
    if value in ("1", "t", "true", "TRUE", "True"):
        return True
    if value in ("0", "f", "false", "FALSE", "False"):
        return False
    raise CelError(f"type conversion error from 'string' to 'bool': {value}")


@declare(
    "int",
    "(int) -> int",
    "(double) -> int",
    "(duration) -> int",
    "(string) -> int",
    "(timestamp) -> int",
    "(uint) -> int",
)
def _int(value: Value) -> Value:
    if isinstance(value, Duration):
        return value.nanoseconds
    if isinstance(value, Timestamp):
        return value.nanoseconds // 10**9
    if isinstance(value, float) and (math.isnan(value) or not -(2.0**63) < value < 2.0**63):
        raise CelError("integer overflow")
    if isinstance(value, str) and (not value.lstrip("+-").isdecimal() or not value.isascii()):
        raise CelError(f"strconv.ParseInt: parsing {value!r}: invalid syntax")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise CelError(NO_OVERLOAD)
    return checked(int(value))


@declare("uint", "(uint) -> uint", "(double) -> uint", "(int) -> uint", "(string) -> uint")
def _uint(value: Value) -> Value:
    if isinstance(value, str) and (not value.isdecimal() or not value.isascii()):
        raise CelError(f"strconv.ParseUint: parsing {value!r}: invalid syntax")
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float | str)
        or (isinstance(value, float) and not 0 <= value < 2.0**64)
    ):
        raise CelError("unsigned integer overflow")
    return checked(UInt(int(value)))


@declare("double", "(double) -> double", "(int) -> double", "(string) -> double", "(uint) -> double")
def _double(value: Value) -> Value:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise CelError(NO_OVERLOAD)
    try:
        return float(value)
    except ValueError:
        raise CelError(f"strconv.ParseFloat: parsing {value!r}: invalid syntax") from None


@declare("bytes", "(bytes) -> bytes", "(string) -> bytes")
def _bytes(value: Value) -> Value:
    return value.encode() if isinstance(value, str) else value


@declare(
    "string",
    *(f"({each}) -> string" for each in (*_ORDERED, "ip", "cidr")),
)
def text_of(value: Value) -> str:
    """A value as ``string()`` shows it. Raises :class:`CelError` for values that have no text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, Duration):
        return f"{_plain(value.nanoseconds)}s"
    if isinstance(value, Timestamp):
        fraction = f"{value.nanoseconds % 10**9:09d}".rstrip("0")
        local = (value.moment + timedelta(seconds=value.offset)).isoformat(timespec="seconds").removesuffix("+00:00")
        minutes = abs(value.offset) // 60
        zone = f"{'-' if value.offset < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}" if value.offset else "Z"
        return f"{local}{f'.{fraction}' if fraction else ''}{zone}"
    if isinstance(value, TypeValue):
        return value.name
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise CelError("invalid UTF-8 in bytes, cannot convert to string") from None
    shown = getattr(value, "text", None)
    if shown is None:
        raise CelError(NO_OVERLOAD)
    return str(shown)


def _plain(nanoseconds: int) -> str:
    whole, fraction = divmod(abs(nanoseconds), 10**9)
    tail = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{'-' if nanoseconds < 0 else ''}{whole}{tail}"


def _float_text(value: float) -> str:
    """As Go's shortest form."""
    if math.isnan(value) or math.isinf(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    text = repr(value)
    if "e" in text:
        mantissa, _, exponent = text.partition("e")
        return f"{mantissa.removesuffix('.0')}e{exponent[0] if exponent[0] in '+-' else '+'}{exponent.lstrip('+-'):0>2}"
    return text


@declare("duration", "(duration) -> duration", "(int) -> duration", "(string) -> duration")
def _duration(value: Value) -> Value:
    if isinstance(value, str):
        return duration(value)
    return value if isinstance(value, Duration) else Duration(value)


@declare("timestamp", "(timestamp) -> timestamp", "(int) -> timestamp", "(string) -> timestamp")
def _timestamp(value: Value) -> Value:
    if isinstance(value, str):
        return timestamp(value)
    return value if isinstance(value, Timestamp) else _in_range(Timestamp(value * 10**9))


# Texts


def _text_test(test: Callable[[str, str], bool]) -> Callable[[Value, Value], Value]:
    def run(text: Value, part: Value) -> Value:
        if not isinstance(text, str) or not isinstance(part, str):
            raise CelError(NO_OVERLOAD)
        return test(text, part)

    return run


declare("contains", "(string, string) -> bool", member=True)(_text_test(lambda text, part: part in text))
declare("startsWith", "(string, string) -> bool", member=True)(_text_test(str.startswith))
declare("endsWith", "(string, string) -> bool", member=True)(_text_test(str.endswith))


@declare("matches", "(string, string) -> bool")
@declare("matches", "(string, string) -> bool", member=True)
def _matches(text: Value, pattern: Value) -> Value:
    if not isinstance(text, str) or not isinstance(pattern, str):
        raise CelError(NO_OVERLOAD)
    try:
        return go_pattern(pattern).search(text) is not None
    except PatternError as error:
        raise CelError(str(error)) from None


# Times


def _zone(name: str) -> ZoneInfo | timezone:
    sign, rest = (-1, name[1:]) if name.startswith("-") else (1, name.removeprefix("+"))
    hours, colon, minutes = rest.partition(":")
    if colon and hours.isdecimal() and minutes.isdecimal():
        return timezone(sign * timedelta(hours=int(hours), minutes=int(minutes)))
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise CelError(f"unknown time zone {name}") from None


def _time_part(read: Callable[[datetime], int]) -> Callable[..., Value]:
    def run(value: Value, zone: str = "UTC") -> Value:
        if not isinstance(value, Timestamp):
            raise CelError(NO_OVERLOAD)
        return read(value.moment.astimezone(_zone(zone)))

    return run


def _time_or_duration(read: Callable[[datetime], int], unit: int) -> Callable[..., Value]:
    part = _time_part(read)

    def run(value: Value, *zone: str) -> Value:
        if isinstance(value, Duration):
            return int(math.copysign(abs(value.nanoseconds) // unit, value.nanoseconds))
        return part(value, *zone)

    return run


_PARTS: Final[dict[str, Callable[[datetime], int]]] = {
    "getFullYear": lambda moment: moment.year,
    "getMonth": lambda moment: moment.month - 1,
    "getDayOfYear": lambda moment: moment.timetuple().tm_yday - 1,
    "getDayOfMonth": lambda moment: moment.day - 1,
    "getDate": lambda moment: moment.day,
    "getDayOfWeek": lambda moment: moment.isoweekday() % 7,
}
for _name, _read in _PARTS.items():
    declare(_name, "(timestamp) -> int", "(timestamp, string) -> int", member=True)(_time_part(_read))
_UNITS: Final[dict[str, tuple[Callable[[datetime], int], int]]] = {
    "getHours": (lambda moment: moment.hour, 3600 * 10**9),
    "getMinutes": (lambda moment: moment.minute, 60 * 10**9),
    "getSeconds": (lambda moment: moment.second, 10**9),
    "getMilliseconds": (lambda moment: moment.microsecond // 1000, 10**6),
}
for _name, (_read, _unit) in _UNITS.items():
    declare(_name, "(timestamp) -> int", "(timestamp, string) -> int", "(duration) -> int", member=True)(
        _time_or_duration(_read, _unit)
    )


# Optional values


@declare("optional.of", "(A) -> optional(A)")
def _of(value: Value) -> Value:
    return Optional(value, present=True)


@declare("optional.ofNonZeroValue", "(A) -> optional(A)")
def _of_non_zero(value: Value) -> Value:
    zero = value is None or (not isinstance(value, Duration | Timestamp) and not value)
    return ABSENT if zero or value in (Duration(0), _ZERO_TIME) else Optional(value, present=True)


@declare("optional.none", "() -> optional(A)")
def _none() -> Value:
    return ABSENT


@declare("value", "(optional(A)) -> A", member=True)
def _value(optional: Value) -> Value:
    if not optional.present:
        raise CelError("optional.none() dereference")
    return optional.value


@declare("hasValue", "(optional(A)) -> bool", member=True)
def _has_value(optional: Value) -> Value:
    return optional.present


@declare("or", "(optional(A), optional(A)) -> optional(A)", member=True)
def _or(optional: Value, other: Value) -> Value:
    return optional if optional.present else other


@declare("orValue", "(optional(A), A) -> A", member=True)
def _or_value(optional: Value, other: Value) -> Value:
    return optional.value if optional.present else other


@declare("optional.unwrap", "(list(optional(A))) -> list(A)")
@declare("unwrapOpt", "(list(optional(A))) -> list(A)", member=True)
def _unwrap(values: Value) -> Value:
    return [each.value for each in values if each.present]
