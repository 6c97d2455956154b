"""What Kubernetes adds to CEL: functions on lists, texts, quantities, addresses, sets and optionals."""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import cast
from urllib.parse import SplitResult, parse_qs, urlsplit

from celpy import celtypes
from celpy.evaluation import CELEvalError

from runtime.testing.kinds.crds.cel_values import ABSENT, Namespace, Optional
from runtime.testing.kinds.crds.patterns import PatternError, go_pattern
from runtime.testing.kinds.quantity import QuantityError, parse_quantity

Value = celtypes.Value
_OPTIONAL_ACCESS = re.compile(r"((?:[A-Za-z_]\w*)(?:\.[A-Za-z_]\w*)*)\.\?([A-Za-z_]\w*)")
_VERB = re.compile(r"%(?:\.(\d+))?([sdfeboxX%])")


def rewrite_optional_access(source: str) -> str:
    """``a.b.?c`` as ``optionalField(a.b, 'c')``: the parser does not know the operator."""
    previous = ""
    while previous != source:
        previous = source
        source = _OPTIONAL_ACCESS.sub(r"optionalField(\1, '\2')", source)
    return source


def _bool(value: object) -> celtypes.BoolType:
    return celtypes.BoolType(bool(value))


def _text(value: str) -> celtypes.StringType:
    return celtypes.StringType(value)


def _int(value: int) -> celtypes.IntType:
    return celtypes.IntType(value)


def _list(values: Iterable[object]) -> celtypes.ListType:
    return celtypes.ListType([cast(Value, each) for each in values])


# Lists


def _is_sorted(values: Sequence[object]) -> Value:
    return _bool(all(not cast(int, a) > cast(int, b) for a, b in itertools.pairwise(values)))


def _sum(values: Sequence[object]) -> Value:
    total: object = _int(0)
    for index, each in enumerate(values):
        total = each if index == 0 else cast(int, total) + cast(int, each)
    return cast(Value, total)


def _least(values: Sequence[object]) -> Value:
    if not values:
        raise CELEvalError("min called on empty list")
    return cast(Value, min(cast(Sequence[int], values)))


def _greatest(values: Sequence[object]) -> Value:
    if not values:
        raise CELEvalError("max called on empty list")
    return cast(Value, max(cast(Sequence[int], values)))


def _index_of(values: object, wanted: object, start: int = 0) -> Value:
    if isinstance(values, str):
        return _int(values.find(str(wanted), start))
    places = [index for index, each in enumerate(cast(Sequence[object], values)) if each == wanted]
    return _int(places[0] if places else -1)


def _last_index_of(values: object, wanted: object, start: int | None = None) -> Value:
    if isinstance(values, str):
        end = len(values) if start is None else start + len(str(wanted))
        return _int(values.rfind(str(wanted), 0, end))
    places = [index for index, each in enumerate(cast(Sequence[object], values)) if each == wanted]
    return _int(places[-1] if places else -1)


# Texts


def _join(values: Sequence[object], separator: str = "") -> Value:
    return _text(separator.join(str(each) for each in values))


def _split(text: str, separator: str, limit: int = -1) -> Value:
    if limit == 0:
        return _list([])
    pieces = list(text) if not separator else text.split(separator, -1 if limit < 0 else limit - 1)
    return _list(_text(each) for each in pieces)


def _substring(text: str, start: int, end: int | None = None) -> Value:
    stop = len(text) if end is None else end
    if not 0 <= start <= stop <= len(text):
        raise CELEvalError(f"index out of range: {start}")
    return _text(text[start:stop])


def _replace(text: str, old: str, new: str, limit: int = -1) -> Value:
    return _text(text.replace(old, new, limit))


def _char_at(text: str, index: int) -> Value:
    if not 0 <= index <= len(text):
        raise CELEvalError(f"index out of range: {index}")
    return _text(text[index : index + 1])


def _regex(pattern: str) -> re.Pattern[str]:
    try:
        return go_pattern(str(pattern))
    except PatternError as error:
        raise CELEvalError(str(error)) from None


def _matches(text: str, pattern: str) -> Value:
    return _bool(_regex(pattern).search(text))


def _find(text: str, pattern: str) -> Value:
    found = _regex(pattern).search(text)
    return _text(found.group() if found else "")


def _find_all(text: str, pattern: str, limit: int = -1) -> Value:
    found = [_text(each.group()) for each in _regex(pattern).finditer(text)]
    return _list(found if limit < 0 else found[:limit])


def _format(text: str, arguments: Sequence[object]) -> Value:
    remaining = iter(arguments)

    def fill(match: re.Match[str]) -> str:
        digits, verb = match.groups()
        if verb == "%":
            return "%"
        try:
            given = next(remaining)
        except StopIteration:
            raise CELEvalError("index out of range: too few arguments for format") from None
        if verb == "s":
            return str(given)
        if verb in "fe":
            return f"{float(cast(float, given)):.{digits or 6}{verb}}"
        return f"{int(cast(int, given)):{verb}}"

    return _text(_VERB.sub(fill, text))


# Quantities


class Quantity:
    """A parsed quantity; compares by value."""

    def __init__(self, value: Fraction) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)


def _is_quantity(text: object) -> Value:
    try:
        parse_quantity(str(text))
    except QuantityError:
        return _bool(False)
    return _bool(True)


def _quantity(text: object) -> Value:
    try:
        return cast(Value, Quantity(parse_quantity(str(text))))
    except QuantityError as error:
        raise CELEvalError(str(error)) from None


def _amount(given: object) -> Fraction:
    if isinstance(given, Quantity):
        return given.value
    return Fraction(int(cast(int, given)))


def _compare(left: object, right: object) -> Value:
    a, b = _amount(left), _amount(right)
    return _int((a > b) - (a < b))


def _as_integer(given: Quantity) -> Value:
    if given.value.denominator != 1:
        raise CELEvalError("cannot convert value to integer")
    return _int(int(given.value))


# Addresses and URLs


def _parses(parse: Callable[[str], object], text: object) -> Value:
    try:
        parse(str(text))
    except ValueError:
        return _bool(False)
    return _bool(True)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    if "/" not in text:
        raise ValueError(f"{text!r} has no prefix length")
    return ipaddress.ip_network(text, strict=False)


def _parsed(parse: Callable[[str], object], text: object) -> Value:
    try:
        return cast(Value, parse(str(text)))
    except ValueError as error:
        raise CELEvalError(str(error)) from None


def _absolute_url(text: str) -> SplitResult:
    parts = urlsplit(text)
    if not (parts.scheme or text.startswith("/")):
        raise ValueError(f"parse {text!r}: invalid URI for request")
    return parts


def _family(given: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Value:
    return _int(given.version)


def _contains_ip(network: ipaddress.IPv4Network, address: object) -> Value:
    return _bool(ipaddress.ip_address(str(address)) in network)


def _query(url: SplitResult) -> Value:
    result = celtypes.MapType()
    for name, values in parse_qs(url.query, keep_blank_values=True).items():
        result[_text(name)] = _list(_text(each) for each in values)
    return result


# Sets; `contains` is also a method of texts


def _contains(*arguments: object) -> Value:
    if isinstance(arguments[0], Namespace):
        _, outer, inner = arguments
        return _bool(all(each in cast(Sequence[object], outer) for each in cast(Sequence[object], inner)))
    whole, part = arguments
    return _bool(str(part) in str(whole))


def _equivalent(_: Namespace, left: Sequence[object], right: Sequence[object]) -> Value:
    return _bool(all(each in right for each in left) and all(each in left for each in right))


def _intersects(_: Namespace, left: Sequence[object], right: Sequence[object]) -> Value:
    return _bool(any(each in right for each in left))


# Optionals


def _optional_field(owner: object, name: str) -> Value:
    if isinstance(owner, Optional):
        owner = owner.value
    if isinstance(owner, celtypes.MapType) and name in owner:
        return cast(Value, Optional(owner[celtypes.StringType(name)]))
    return cast(Value, ABSENT)


def _value(given: Optional) -> Value:
    if given.value is None:
        raise CELEvalError("optional.none() dereference")
    return cast(Value, given.value)


def _or_value(given: Optional, fallback: Value) -> Value:
    return fallback if given.value is None else cast(Value, given.value)


def _math(function: Callable[[Iterable[int]], int]) -> Callable[..., Value]:
    def call(_: Namespace, *arguments: object) -> Value:
        values = arguments[0] if len(arguments) == 1 and isinstance(arguments[0], list) else arguments
        return cast(Value, function(cast(Iterable[int], values)))

    return call


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "isSorted": _is_sorted,
    "sum": _sum,
    "min": _least,
    "max": _greatest,
    "indexOf": _index_of,
    "lastIndexOf": _last_index_of,
    "join": _join,
    "split": _split,
    "substring": _substring,
    "replace": _replace,
    "charAt": _char_at,
    "lowerAscii": lambda text: _text(str(text).lower()),
    "upperAscii": lambda text: _text(str(text).upper()),
    "trim": lambda text: _text(str(text).strip()),
    "matches": _matches,
    "find": _find,
    "findAll": _find_all,
    "format": _format,
    "isQuantity": _is_quantity,
    "quantity": _quantity,
    "isGreaterThan": lambda a, b: _bool(_amount(a) > _amount(b)),
    "isLessThan": lambda a, b: _bool(_amount(a) < _amount(b)),
    "compareTo": _compare,
    "add": lambda a, b: cast(Value, Quantity(_amount(a) + _amount(b))),
    "sub": lambda a, b: cast(Value, Quantity(_amount(a) - _amount(b))),
    "sign": lambda given: _int((_amount(given) > 0) - (_amount(given) < 0)),
    "isInteger": lambda given: _bool(_amount(given).denominator == 1),
    "asInteger": _as_integer,
    "asApproximateFloat": lambda given: celtypes.DoubleType(float(_amount(given))),
    "isIP": lambda text: _parses(ipaddress.ip_address, text),
    "ip": lambda text: _parsed(ipaddress.ip_address, text),
    "isCIDR": lambda text: _parses(_network, text),
    "cidr": lambda text: _parsed(_network, text),
    "family": _family,
    "containsIP": _contains_ip,
    "isURL": lambda text: _parses(_absolute_url, text),
    "url": lambda text: _parsed(_absolute_url, text),
    "getScheme": lambda url: _text(url.scheme),
    "getHost": lambda url: _text(url.netloc.rpartition("@")[2]),
    "getHostname": lambda url: _text(url.hostname or ""),
    "getPort": lambda url: _text(str(url.port or "")),
    "getEscapedPath": lambda url: _text(url.path),
    "getQuery": _query,
    "contains": _contains,
    "equivalent": _equivalent,
    "intersects": _intersects,
    "greatest": _math(max),
    "least": _math(min),
    "optionalField": _optional_field,
    "hasValue": lambda given: _bool(given.value is not None),
    "value": _value,
    "orValue": _or_value,
    "of": lambda _, given: cast(Value, Optional(given)),
    "none": lambda _: cast(Value, ABSENT),
}
