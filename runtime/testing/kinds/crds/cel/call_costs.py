"""What calls of functions may cost at most, by the sizes of what they are given."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from runtime.testing.kinds.crds.cel import syntax
from runtime.testing.kinds.crds.cel.functions import Overload
from runtime.testing.kinds.crds.cel.syntax import Node
from runtime.testing.kinds.crds.cel.types import Type

MOST: Final = 2**64 - 1
TEXT_FACTOR: Final = 0.1  # to walk through a text, per character
PATTERN_FACTOR: Final = 0.25  # of a regular expression, per character
LIST_COST, MAP_COST = 10, 30
_SLOT: Final = 128 * PATTERN_FACTOR  # of the pattern behind a named format
Path = tuple[str, ...]


class Range(NamedTuple):
    """From least to most: of a size or of a cost."""

    least: int
    most: int

    def plus(self, other: Range) -> Range:
        return Range(bounded(self.least + other.least), bounded(self.most + other.most))

    def times(self, other: Range) -> Range:
        return Range(bounded(self.least * other.least), bounded(self.most * other.most))

    def scaled(self, factor: float) -> Range:
        return Range(_scaled(self.least, factor), _scaled(self.most, factor))

    def or_(self, other: Range) -> Range:
        return Range(min(self.least, other.least), max(self.most, other.most))


def bounded(value: int) -> int:
    return min(value, MOST)


def _scaled(value: int, factor: float) -> int:
    exact = float(value) * factor
    return MOST if exact >= 2.0**64 else math.ceil(exact)


NOTHING, ONE, UNKNOWN = Range(0, 0), Range(1, 1), Range(0, MOST)


@dataclass(frozen=True)
class Part:
    """What an estimate may know of a target or an argument."""

    node: Node
    type: Type
    path: Path
    size: Range | None


class Estimate(NamedTuple):
    cost: Range
    size: Range | None = None


@dataclass(frozen=True)
class Call:
    """:param sized: the size that the schema allows at a path."""

    sized: Callable[[Path], Range | None]
    overload: Overload | None
    target: Part | None
    arguments: Sequence[Part]

    def size(self, part: Part) -> Range:
        """By the schema if the expression does not tell."""
        if part.size is not None:
            return part.size
        return self.sized(part.path) or UNKNOWN

    @property
    def subject(self) -> Part:
        """The target, or the first argument of a function that is no member."""
        return self.target if self.target is not None else self.arguments[0]

    def items(self, part: Part) -> tuple[Type, Range] | None:
        """Type and size of a list's items."""
        if not part.type.params:
            return None
        kind = part.type.params[0]
        size = self.sized((*part.path, "@items")) if part.path else None
        return kind, size or UNKNOWN


Estimator = Callable[[Call], "Estimate | None"]


def _fixed(cost: Range) -> Estimator:
    return lambda _: Estimate(cost)


def _walk(factor: float = 1, *, keeps_size: bool = False) -> Estimator:
    """To walk through the text that the function is about."""

    def run(call: Call) -> Estimate:
        size = call.size(call.subject)
        return Estimate(size.scaled(factor * TEXT_FACTOR), size if keeps_size else None)

    return run


def _part_walk(call: Call) -> Estimate:
    return Estimate(call.size(call.arguments[0]).scaled(TEXT_FACTOR))


def _list_walk(call: Call) -> Estimate | None:
    target = call.subject
    found = call.items(target)
    if found is None:
        return Estimate(call.size(target).scaled(TEXT_FACTOR))
    kind, size = found
    each = ONE.plus(size.scaled(TEXT_FACTOR)) if kind.kind in ("string", "bytes") else ONE
    return Estimate(call.size(target).times(each))


def _replace(call: Call) -> Estimate:
    size, old, new = call.size(call.subject), call.size(call.arguments[0]), call.size(call.arguments[1])
    most, kept_most = _replacements(size.most, old.least, new.most <= old.least)
    least, kept_least = _replacements(size.least, old.most, old.most <= new.least)
    result = Range(least, most).times(new).plus(Range(kept_least, kept_most))
    return Estimate(size.scaled(2 * TEXT_FACTOR), result)


def _replacements(size: int, old: int, stays: bool) -> tuple[int, int]:
    """How often something is replaced, and how much stays."""
    if old == 0:
        return bounded(size + 1), size
    if stays:
        return 0, size
    return math.ceil(size / old), 0


def _split(call: Call) -> Estimate:
    size = call.size(call.subject)
    most = size.most
    if len(call.arguments) > 1:
        limit = call.arguments[1].node
        if isinstance(limit, syntax.Literal) and isinstance(limit.value, int):
            most = limit.value if limit.value >= 0 else MOST
    return Estimate(size.scaled(2 * TEXT_FACTOR), Range(0, most))


def _join(call: Call) -> Estimate:
    count, items = call.size(call.subject), call.items(call.subject)
    size = count.times(items[1]) if items is not None else NOTHING
    if call.arguments:
        separators = Range(max(count.least - 1, 0), max(count.most - 1, 0))
        size = size.plus(call.size(call.arguments[0]).times(separators))
    return Estimate(size.scaled(TEXT_FACTOR), size)


def _pattern(call: Call) -> Estimate:
    text, pattern = call.subject, call.arguments[-1 if call.target is None else 0]
    size = call.size(text)
    cost = size.plus(ONE).scaled(TEXT_FACTOR).times(call.size(pattern).scaled(PATTERN_FACTOR))
    return Estimate(cost, Range(0, size.most))


def _matches(call: Call) -> Estimate:
    # QUIRK kept: written as a function, `matches(text, pattern)`, it costs one.
    return Estimate(_pattern(call).cost) if call.target is not None else Estimate(ONE)


def _contains(call: Call) -> Estimate:
    text, part = call.size(call.subject).scaled(TEXT_FACTOR), call.size(call.arguments[0]).scaled(TEXT_FACTOR)
    return Estimate(text.times(part))


def _in(call: Call) -> Estimate | None:
    if call.overload is not None and call.overload.types[1].kind == "list":
        return Estimate(call.size(call.arguments[1]).scaled(1))
    return None


def _equality(call: Call) -> Estimate | None:
    left, right = call.arguments
    if left.type.kind in _CHEAP_TO_COMPARE and left.type.kind == right.type.kind:
        return Estimate(ONE)
    return _compare(call)


def _order(call: Call) -> Estimate | None:
    if call.overload is not None and call.overload.types[0].kind in ("string", "bytes"):
        return _compare(call)
    return None


def _compare(call: Call) -> Estimate:
    left, right = (UNKNOWN if each.size is None else each.size for each in call.arguments)
    most = min(left.most, right.most)
    return Estimate(Range(1 if most else 0, most).scaled(TEXT_FACTOR))


def _to_bytes(call: Call) -> Estimate | None:
    if call.overload is None or call.overload.types[0].kind != "string":
        return None
    size = call.size(call.arguments[0])
    return Estimate(size.scaled(TEXT_FACTOR), Range(size.least, bounded(size.most * 4)))


def _to_text(call: Call) -> Estimate | None:
    if call.overload is None or call.overload.types[0].kind != "bytes":
        return None
    size = call.size(call.arguments[0])
    return Estimate(size.scaled(TEXT_FACTOR), Range(size.least // 4, size.most))


def _quote(call: Call) -> Estimate:
    size = call.size(call.arguments[0])
    return Estimate(size.scaled(TEXT_FACTOR), Range(bounded(size.least + 2), bounded(size.most * 2 + 2)))


def _ip(call: Call) -> Estimate | None:
    return Estimate(ONE) if call.target is not None else _walk()(call)


def _network(kind: str) -> Estimator:
    def run(call: Call) -> Estimate:
        cost = Range(8, 32).scaled(TEXT_FACTOR)
        if kind == "cidr":
            cost = cost.plus(Range(4, 16).scaled(TEXT_FACTOR)).plus(ONE)
        if call.overload is not None and call.overload.types[1].kind == "string":
            cost = cost.plus(call.size(call.arguments[0]).scaled(TEXT_FACTOR))
        return Estimate(cost)

    return run


def _validate(call: Call) -> Estimate:
    return Estimate(call.size(call.arguments[0]).scaled(TEXT_FACTOR).scaled(_SLOT))


def _sets(factor: float) -> Estimator:
    def run(call: Call) -> Estimate:
        left, right = (call.size(each) for each in call.arguments)
        return Estimate(left.times(right).scaled(factor).plus(ONE))

    return run


def _allocating(factor: float, size: Range) -> Estimate:
    return Estimate(size.scaled(factor).plus(ONE).plus(Range(LIST_COST, LIST_COST)), size)


def _number(part: Part, otherwise: int) -> int:
    node = part.node
    known = isinstance(node, syntax.Literal) and isinstance(node.value, int)
    return max(int(node.value), 0) if known else otherwise  # type: ignore[attr-defined]


def _slice(call: Call) -> Estimate:
    size = call.size(call.subject)
    length = max(_number(call.arguments[1], size.most) - _number(call.arguments[0], 0), 0)
    return _allocating(1, Range(length, length))


def _list_range(call: Call) -> Estimate:
    length = _number(call.arguments[0], MOST)
    return _allocating(1, Range(length, length))


def _reverse(call: Call) -> Estimate:
    return _allocating(1, call.size(call.subject))


def _flatten(call: Call) -> Estimate:
    return _allocating(_number(call.arguments[0], MOST) if call.arguments else 1, call.size(call.subject))


def _distinct(call: Call) -> Estimate:
    size = call.size(call.subject)
    return _allocating(2, size.times(size))


def _sort(call: Call) -> Estimate:
    by = call.arguments[0] if call.arguments else call.subject
    size = call.size(by)
    text = bool(by.type.params) and by.type.params[0].kind in ("string", "bytes")
    return _allocating(2 + TEXT_FACTOR if text else 2, size.times(size))


_CHEAP_TO_COMPARE: Final = frozenset(["net.IP", "net.CIDR", "kubernetes.Quantity", "kubernetes.Semver"])
_CHEAP: Final = (
    "masked", "prefixLength", "family", "isUnspecified", "isLoopback", "isLinkLocalMulticast",
    "isLinkLocalUnicast", "isGlobalUnicast", "format.named", "sign", "asInteger", "isInteger",
    "asApproximateFloat", "isGreaterThan", "isLessThan", "compareTo", "add", "sub", "major", "minor", "patch",
    "getScheme", "getHostname", "getHost", "getPort", "getEscapedPath", "getQuery",
)  # fmt: skip
ESTIMATES: Final[Mapping[str, Estimator]] = {
    **dict.fromkeys(_CHEAP, _fixed(ONE)),
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _list_walk),
    **dict.fromkeys(("url", "lowerAscii", "upperAscii", "substring", "trim"), _walk(keeps_size=True)),
    **dict.fromkeys(("cidr", "isIP", "isCIDR", "quantity", "isQuantity", "semver", "isSemver"), _walk()),
    **dict.fromkeys(("find", "findAll"), _pattern),
    **dict.fromkeys(("startsWith", "endsWith"), _part_walk),
    **dict.fromkeys(("_==_", "_!=_"), _equality),
    **dict.fromkeys(("_<_", "_<=_", "_>_", "_>=_"), _order),
    **dict.fromkeys(("sort", "@sortByAssociatedKeys"), _sort),
    **dict.fromkeys(("sets.contains", "sets.intersects"), _sets(1)),
    "sets.equivalent": _sets(2),
    "replace": _replace,
    "split": _split,
    "join": _join,
    "ip": _ip,
    "ip.isCanonical": _walk(2),
    "containsIP": _network("ip"),
    "containsCIDR": _network("cidr"),
    "validate": _validate,
    "format": _walk(),
    "bytes": _to_bytes,
    "string": _to_text,
    "strings.quote": _quote,
    "@in": _in,
    "matches": _matches,
    "contains": _contains,
    "slice": _slice,
    "lists.range": _list_range,
    "reverse": _reverse,
    "flatten": _flatten,
    "distinct": _distinct,
}
