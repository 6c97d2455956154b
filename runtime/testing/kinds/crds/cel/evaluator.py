"""What an expression is worth, and what it cost to find out."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Final

from runtime.testing.kinds.crds.cel import syntax
from runtime.testing.kinds.crds.cel.call_costs import LIST_COST, MAP_COST, PATTERN_FACTOR, TEXT_FACTOR
from runtime.testing.kinds.crds.cel.checker import Checked
from runtime.testing.kinds.crds.cel.functions import IMPLEMENTATIONS
from runtime.testing.kinds.crds.cel.library_kubernetes import Format
from runtime.testing.kinds.crds.cel.library_lists import ZEROS
from runtime.testing.kinds.crds.cel.library_standard import NO_OVERLOAD
from runtime.testing.kinds.crds.cel.syntax import CelError, Node
from runtime.testing.kinds.crds.cel.values import ABSENT, Invalid, Optional, TypeValue, UInt, Value, size

CALL_LIMIT: Final = 1_000_000
_COMPARING: Final = frozenset(["_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"])
_FREE: Final = frozenset(["_&&_", "_||_", "_?_:_", "@not_strictly_false"])


class CostExceeded(CelError):
    """The expression, or all together, cost more than is allowed. No further rules are run."""


class Evaluation:
    """One evaluation of one expression. ``cost`` is what it cost so far."""

    def __init__(self, checked: Checked, limit: int = CALL_LIMIT) -> None:
        self._checked = checked
        self._limit = limit
        self.cost = 0

    def run(self, variables: Mapping[str, Value]) -> Value:
        """:raises CelError: if the evaluation fails; :class:`CostExceeded` if it costs too much."""
        return self._value(self._checked.tree, dict(variables))

    def _spend(self, cost: int) -> None:
        self.cost += cost
        if self.cost > self._limit:
            raise CostExceeded("operation cancelled: actual cost limit exceeded")

    def _value(self, node: Node, scope: dict[str, Value]) -> Value:
        if isinstance(node, syntax.Literal):
            return UInt(node.value) if node.kind == "uint" else node.value  # type: ignore[call-overload]
        if isinstance(node, syntax.Ident):
            self._spend(1)
            if node in self._checked.type_names:
                return TypeValue(self._checked.type_names[node])
            if node.name not in scope:
                raise CelError(f"no such attribute(s): {node.name}")
            return _valid(scope[node.name])
        if isinstance(node, syntax.Select):
            return self._select(node, scope)
        if isinstance(node, syntax.Call):
            return self._call(node, scope)
        if isinstance(node, syntax.ListLiteral):
            return self._list(node, scope)
        if isinstance(node, syntax.MapLiteral):
            return self._map(node, scope)
        if isinstance(node, syntax.Bind):
            return self._value(node.body, {**scope, node.variable: self._value(node.value, scope)})
        assert isinstance(node, syntax.Comprehension)
        return self._loop(node, scope)

    def _select(self, node: syntax.Select, scope: dict[str, Value]) -> Value:
        if node in self._checked.type_names:
            self._spend(1)
            return TypeValue(self._checked.type_names[node])
        owner = self._value(node.operand, scope)
        if node.test:
            if isinstance(owner, Optional):
                return _optional_field(owner, node.name).present
            if not isinstance(owner, dict):
                raise CelError(NO_OVERLOAD)
            return node.name in owner and _is_valid(owner[node.name])
        self._spend(1)
        if isinstance(owner, Optional):
            return _optional_field(owner, node.name)
        if not isinstance(owner, dict):
            raise CelError(f"type '{type(owner).__name__}' does not support field selection")
        if node.name not in owner:
            raise CelError(f"no such key: {node.name}")
        return _valid(owner[node.name])

    def _list(self, node: syntax.ListLiteral, scope: dict[str, Value]) -> Value:
        found: list[Value] = []
        for index, each in enumerate(node.items):
            value = self._value(each, scope)
            if index not in node.optional:
                found.append(value)
            elif value.present:
                found.append(value.value)
        if not all(isinstance(each, syntax.Literal) for each in node.items):
            self._spend(LIST_COST)  # a list of literals is there before
        return found

    def _map(self, node: syntax.MapLiteral, scope: dict[str, Value]) -> Value:
        found: dict[Value, Value] = {}
        for index, (key_node, value_node) in enumerate(node.entries):
            key, value = self._value(key_node, scope), self._value(value_node, scope)
            if not isinstance(key, Hashable):
                raise CelError("unsupported key type")
            if index not in node.optional:
                found[key] = value
            elif value.present:
                found[key] = value.value
        self._spend(MAP_COST)
        return found

    def _loop(self, node: syntax.Comprehension, scope: dict[str, Value]) -> Value:
        over = self._value(node.range, scope)
        if not isinstance(over, list | dict):
            raise CelError(NO_OVERLOAD)
        # What failed inside is kept, as a later item may settle the matter: false for `all`, true for `exists`.
        result: Value = self._value(node.initial, scope)
        pairs = list(enumerate(over)) if isinstance(over, list) else list(over.items())
        for first, second in pairs:
            values = (first, second) if len(node.variables) == 2 else (second if isinstance(over, list) else first,)
            inner = {**scope, **dict(zip(node.variables, map(_valid, values), strict=True)), node.accumulator: result}
            if self._settled(node.condition, inner):
                break
            try:
                result = self._value(node.step, inner)
            except CostExceeded:
                raise
            except CelError as error:
                result = _Failed(error)
        return self._value(node.result, {**scope, node.accumulator: result})

    def _settled(self, condition: Node, scope: dict[str, Value]) -> bool:
        try:
            return self._value(condition, scope) is False
        except CostExceeded:
            raise
        except CelError:
            return False

    def _call(self, node: syntax.Call, scope: dict[str, Value]) -> Value:
        if node.function == "_&&_":
            return self._both(node, scope, decides=False)
        if node.function == "_||_":
            return self._both(node, scope, decides=True)
        if node.function == "_?_:_":
            return self._conditional(node, scope)
        if node.function == "@not_strictly_false":
            self._spend(1)
            try:
                return self._value(node.arguments[0], scope)
            except CostExceeded:
                raise
            except CelError:
                return True
        given = [] if node.target is None else [self._value(node.target, scope)]
        given += [self._value(each, scope) for each in node.arguments]
        if node.function == "_?._":
            self._spend(1)
            owner = given[0] if isinstance(given[0], Optional) else Optional(given[0], present=True)
            return _optional_field(owner, given[1])
        result = self._apply(node, given)
        self._spend(_call_cost(node.function, given, result))
        return result

    def _apply(self, node: syntax.Call, given: list[Value]) -> Value:
        try:
            result = IMPLEMENTATIONS[node.function](*given)
        except (TypeError, AttributeError, ValueError, OverflowError) as error:
            if isinstance(error, CelError):
                raise
            raise CelError(NO_OVERLOAD) from error  # a value of a type that only turned out now
        if node.function == "sum" and not given[0]:
            return ZEROS.get(self._checked.types[node].kind, result)
        return _valid(result)

    def _both(self, node: syntax.Call, scope: dict[str, Value], *, decides: bool) -> Value:
        """The value that decides does so even if the other side fails."""
        failed: CelError | None = None
        for each in node.arguments:
            try:
                value = self._value(each, scope)
            except CostExceeded:
                raise
            except CelError as error:
                failed = failed or error
                continue
            if value is decides:
                return decides
            if not isinstance(value, bool):
                failed = failed or CelError(NO_OVERLOAD)
        if failed is not None:
            raise failed
        return not decides

    def _conditional(self, node: syntax.Call, scope: dict[str, Value]) -> Value:
        condition, yes, no = node.arguments
        value = self._value(condition, scope)
        if not isinstance(value, bool):
            raise CelError(NO_OVERLOAD)
        return self._value(yes if value else no, scope)


class _Failed:
    """An accumulated value that could not be computed."""

    def __init__(self, error: CelError) -> None:
        self.error = error


def _valid(value: Value) -> Value:
    if isinstance(value, _Failed):
        raise value.error
    if isinstance(value, Invalid):
        raise CelError(value.reason)
    return value


def _is_valid(value: Value) -> bool:
    _valid(value)
    return True


def _optional_field(owner: Optional, name: str) -> Optional:
    if not owner.present:
        return ABSENT
    if not isinstance(owner.value, dict):
        raise CelError(NO_OVERLOAD)
    return Optional(_valid(owner.value[name]), present=True) if name in owner.value else ABSENT


# What calls cost


def _call_cost(function: str, given: list[Value], result: Value) -> int:
    if function in _FREE:
        return 0
    if function in _COMPARING:
        return math.ceil(min(size(given[0]), size(given[1])) * TEXT_FACTOR) if _sized(given) else 1
    if function == "_+_" and isinstance(result, str | bytes):
        return math.ceil((size(given[0]) + size(given[1])) * TEXT_FACTOR)
    if function == "@in" and isinstance(given[1], list):
        return len(given[1])
    if function in _LISTS:
        return _traversal(given[0])
    if function in _WALKS:
        return math.ceil(size(given[0]) * _WALKS[function] * TEXT_FACTOR)
    if function == "join":
        return math.ceil(size(result) * 2 * TEXT_FACTOR)
    if function in ("matches", "find", "findAll", "validate"):
        pattern = given[0].pattern_size if isinstance(given[0], Format) else size(given[1])
        text = size(given[1]) if isinstance(given[0], Format) else size(given[0])
        return math.ceil((1 + text) * TEXT_FACTOR) * math.ceil(pattern * PATTERN_FACTOR)
    if function == "contains":
        return math.ceil(size(given[0]) * TEXT_FACTOR) * math.ceil(size(given[1]) * TEXT_FACTOR)
    if function in ("containsIP", "containsCIDR"):
        return _network_cost(function, given)
    if function in _SETS:
        return math.ceil(_SETS[function] * len(given[0]) * len(given[1])) + 1
    return 1


def _sized(given: list[Value]) -> bool:
    return all(not hasattr(each, "type_name") for each in given)


def _network_cost(function: str, given: list[Value]) -> int:
    network = size(given[0])
    cost = math.ceil(2 * network * TEXT_FACTOR)
    if function == "containsCIDR":
        cost += math.ceil(network * TEXT_FACTOR) + 1
    return cost + (math.ceil(len(given[1]) * TEXT_FACTOR) if isinstance(given[1], str) else 0)


def _traversal(value: Value) -> int:
    if isinstance(value, str | bytes):
        return int((len(value.encode()) if isinstance(value, str) else len(value)) * TEXT_FACTOR)
    if isinstance(value, list):
        return sum(map(_traversal, value))
    if isinstance(value, dict):
        return sum(_traversal(key) + _traversal(each) for key, each in value.items())
    return 1


_LISTS: Final = frozenset(["isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"])
_SETS: Final = {"sets.contains": 1, "sets.intersects": 1, "sets.equivalent": 2}
_ONE_WALK: Final = (
    "url", "lowerAscii", "upperAscii", "substring", "trim", "cidr", "isIP", "isCIDR", "quantity", "isQuantity",
    "semver", "isSemver", "startsWith", "endsWith", "bytes", "strings.quote", "format",
)  # fmt: skip
_WALKS: Final[Mapping[str, int]] = {
    **dict.fromkeys(
        _ONE_WALK,
        1,
    ),
    **dict.fromkeys(["replace", "split", "ip.isCanonical"], 2),
    "ip": 1,
}
