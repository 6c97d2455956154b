"""Lists and sets: the extensions of CEL, and Kubernetes' own library of lists."""

from __future__ import annotations

import functools
import itertools
from typing import Final

from runtime.testing.kinds.crds.cel.functions import declare
from runtime.testing.kinds.crds.cel.library_standard import NO_OVERLOAD
from runtime.testing.kinds.crds.cel.syntax import CelError
from runtime.testing.kinds.crds.cel.values import Duration, Timestamp, UInt, Value, checked, equal

_COMPARABLE: Final = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
_LONGEST: Final = 10_000_000
_SUMMABLE: Final = ("int", "uint", "double", "duration")


def _less(left: Value, right: Value) -> bool:
    if type(left) is not type(right) or not isinstance(left, int | float | str | bytes | Duration | Timestamp):
        raise CelError(NO_OVERLOAD)
    return bool(left < right)


def _compare(left: Value, right: Value) -> int:
    return -1 if _less(left, right) else int(_less(right, left))


_ORDER: Final = functools.cmp_to_key(_compare)


@declare("isSorted", *(f"(list({each})) -> bool" for each in _COMPARABLE), member=True)
def _is_sorted(values: Value) -> Value:
    return all(not _less(second, first) for first, second in itertools.pairwise(values))


@declare("sum", *(f"(list({each})) -> {each}" for each in _SUMMABLE), member=True)
def _sum(values: Value) -> Value:
    """The zero of an empty list is that of its type, which the value does not tell: see ``zero``."""
    total: Value = values[0] if values else 0
    for each in values[1:]:
        if isinstance(each, Duration):
            total = checked(Duration(total.nanoseconds + each.nanoseconds))
        else:
            total = checked(type(each)(total + each))
    return total


@declare("max", *(f"(list({each})) -> {each}" for each in _COMPARABLE), member=True)
def _max(values: Value) -> Value:
    if not values:
        raise CelError("max called on empty list")
    return max(values, key=_ORDER)


@declare("min", *(f"(list({each})) -> {each}" for each in _COMPARABLE), member=True)
def _min(values: Value) -> Value:
    if not values:
        raise CelError("min called on empty list")
    return min(values, key=_ORDER)


@declare("slice", "(list(A), int, int) -> list(A)", member=True)
def _slice(values: Value, start: Value, end: Value) -> Value:
    if start < 0 or end < 0:
        raise CelError(f"cannot slice({start}, {end}), negative indexes not supported")
    if start > end:
        raise CelError(f"cannot slice({start}, {end}), start index must be less than or equal to end index")
    if end > len(values):
        raise CelError(f"cannot slice({start}, {end}), list is length {len(values)}")
    return list(values[start:end])


@declare("flatten", "(list(list(A))) -> list(A)", "(list(dyn), int) -> list(dyn)", member=True)
def _flatten(values: Value, depth: int = 1) -> Value:
    if depth < 0:
        raise CelError("level must be non-negative")
    found: list[Value] = []
    for each in values:
        found += _flatten(each, depth - 1) if isinstance(each, list) and depth else [each]
    return found


@declare("sort", *(f"(list({each})) -> list({each})" for each in _COMPARABLE), member=True)
def _sort(values: Value) -> Value:
    return sorted(values, key=_ORDER)


@declare("@sortByAssociatedKeys", *(f"(list(A), list({each})) -> list(A)" for each in _COMPARABLE), member=True)
def _sort_by_keys(values: Value, keys: Value) -> Value:
    if len(values) != len(keys):
        raise CelError("@sortByAssociatedKeys() expected a list of the same size as the associated keys list")
    order = sorted(range(len(values)), key=lambda index: _ORDER(keys[index]))
    return [values[index] for index in order]


@declare("lists.range", "(int) -> list(int)")
def _range(count: Value) -> Value:
    if count > _LONGEST:  # made before it is paid for
        raise CelError(f"lists.range: more than {_LONGEST} elements")
    return list(range(count))


@declare("reverse", "(list(A)) -> list(A)", member=True)
def _reverse(values: Value) -> Value:
    return values[::-1]


@declare("distinct", "(list(A)) -> list(A)", member=True)
def _distinct(values: Value) -> Value:
    found: list[Value] = []
    for each in values:
        if not any(equal(each, known) for known in found):
            found.append(each)
    return found


def _subset(inner: Value, outer: Value) -> bool:
    return all(any(equal(each, other) for other in outer) for each in inner)


@declare("sets.contains", "(list(A), list(A)) -> bool")
def _contains(outer: Value, inner: Value) -> Value:
    return _subset(inner, outer)


@declare("sets.equivalent", "(list(A), list(A)) -> bool")
def _equivalent(left: Value, right: Value) -> Value:
    return _subset(left, right) and _subset(right, left)


@declare("sets.intersects", "(list(A), list(A)) -> bool")
def _intersects(left: Value, right: Value) -> Value:
    return any(equal(each, other) for each in left for other in right)


ZEROS: Final[dict[str, Value]] = {
    "int": 0,
    "uint": UInt(0),
    "double": 0.0,
    "google.protobuf.Duration": Duration(0),
}
