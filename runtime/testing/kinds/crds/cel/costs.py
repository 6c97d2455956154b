"""What an expression may cost at most, by the sizes that the schema allows: how the real server judges rules when the
CRD is written. The unit is its own; the limits are its too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.testing.kinds.crds.cel import syntax
from runtime.testing.kinds.crds.cel.call_costs import (
    ESTIMATES,
    LIST_COST,
    MAP_COST,
    MOST,
    NOTHING,
    ONE,
    TEXT_FACTOR,
    UNKNOWN,
    Call,
    Estimate,
    Part,
    Path,
    Range,
)
from runtime.testing.kinds.crds.cel.checker import Checked
from runtime.testing.kinds.crds.cel.functions import Overload
from runtime.testing.kinds.crds.cel.macros import ACCUMULATOR
from runtime.testing.kinds.crds.cel.syntax import Node
from runtime.testing.kinds.crds.cel.types import SCALARS, Type


@dataclass(frozen=True)
class _Entry:
    """The sizes of a container's keys and values."""

    kind: str
    key: Range
    value: Range


@dataclass(frozen=True)
class _Local:
    path: Path
    size: Range | None
    entry: _Entry | None


def estimate(checked: Checked, root: Type) -> int:
    """The most that the expression may cost.

    :param root: the type of ``self``, whose sizes count.
    """
    return _Coster(checked, root).cost(checked.tree).most


class _Coster:
    def __init__(self, checked: Checked, root: Type) -> None:
        self._checked, self._root = checked, root
        self._paths: dict[Node, Path] = {}
        self._sizes: dict[Node, Range] = {}
        self._entries: dict[Node, _Entry] = {}
        self._locals: dict[str, list[_Local]] = {}

    def cost(self, node: Node) -> Range:
        if isinstance(node, syntax.Ident):
            self._paths[node] = self._local(node).path if self._is_local(node) else (node.name,)
            return ONE
        if isinstance(node, syntax.Select):
            return self._select(node)
        if isinstance(node, syntax.Call):
            return self._call(node)
        if isinstance(node, syntax.ListLiteral):
            return self._list(node)
        if isinstance(node, syntax.MapLiteral):
            return self._map(node)
        if isinstance(node, syntax.Comprehension):
            return self._loop(node)
        if isinstance(node, syntax.Bind):
            return self._bind(node)
        return NOTHING  # a literal

    # -- what is known of a part

    def _is_local(self, node: Node) -> bool:
        return isinstance(node, syntax.Ident) and bool(self._locals.get(node.name))

    def _local(self, node: Node) -> _Local:
        assert isinstance(node, syntax.Ident)
        return self._locals[node.name][-1]

    def _path(self, node: Node) -> Path:
        return self._local(node).path if self._is_local(node) else self._paths.get(node, ())

    def _size(self, node: Node) -> Range | None:
        if node in self._sizes:
            return self._sizes[node]
        found = _literal_size(node) or self.sized(self._path(node))
        if found is not None:
            return found
        if _is_scalar(self._checked.types[node]):
            return ONE
        return self._local(node).size if self._is_local(node) else None

    def sized(self, path: Path) -> Range | None:
        """The size that the schema allows at a path, None if it does not say."""
        if not path:
            return None
        here = self._root
        for name in path[1:]:
            if name in ("@items", "@values") and here.kind in ("list", "map"):
                here = here.params[-1]
            elif name == "@keys" and here.kind == "map":
                here = here.params[0]
            elif name in here.fields:
                here = here.fields[name]
            else:
                return None
        return Range(0, here.max_elements)

    def _size_or_unknown(self, node: Node) -> Range:
        found = self._size(node)
        return UNKNOWN if found is None else found

    def _entry(self, node: Node) -> _Entry | None:
        if node in self._entries:
            return self._entries[node]
        return self._local(node).entry if self._is_local(node) else None

    def _part(self, node: Node) -> Part:
        path = self._path(node)
        if path and path[0] == ACCUMULATOR:
            path = ()
        return Part(node, self._checked.types[node], path, self._size(node))

    # -- the parts

    def _select(self, node: syntax.Select) -> Range:
        if node in self._checked.type_names:
            return ONE
        total = self.cost(node.operand)
        if node.test:
            return total
        if self._checked.types[node.operand].kind in ("map", "object", "param"):
            total = total.plus(ONE)
        self._paths[node] = (*self._path(node.operand), node.name)
        return total

    def _list(self, node: syntax.ListLiteral) -> Range:
        total, item = NOTHING, Range(MOST if node.items else 0, 0)
        for each in node.items:
            total = total.plus(self.cost(each))
            item = item.or_(self._size_or_unknown(each))
        self._entries[node] = _Entry("list", ONE, item)
        return total.plus(Range(LIST_COST, LIST_COST))

    def _map(self, node: syntax.MapLiteral) -> Range:
        start = Range(MOST if node.entries else 0, 0)
        total, key, value = NOTHING, start, start
        for key_node, value_node in node.entries:
            total = total.plus(self.cost(key_node)).plus(self.cost(value_node))
            key = key.or_(self._size_or_unknown(key_node))
            value = value.or_(self._size_or_unknown(value_node))
        self._entries[node] = _Entry("map", key, value)
        return total.plus(Range(MAP_COST, MAP_COST))

    def _bind(self, node: syntax.Bind) -> Range:
        total = Range(LIST_COST, LIST_COST).plus(self.cost(node.value))
        self._push(node.variable, self._path(node.value), self._size(node.value), self._entry(node.value))
        total = total.plus(self.cost(node.body))
        self._locals[node.variable].pop()
        self._copy(node, node.body)
        return total

    def _copy(self, node: Node, source: Node) -> None:
        size, entry = self._size(source), self._entry(source)
        if size is not None:
            self._sizes[node] = size
        if entry is not None:
            self._entries[node] = entry

    def _push(self, name: str, path: Path, size: Range | None, entry: _Entry | None = None) -> None:
        self._locals.setdefault(name, []).append(_Local(path, size, entry))

    def _loop(self, node: syntax.Comprehension) -> Range:
        total = self.cost(node.range).plus(self.cost(node.initial))
        initial = node.initial
        self._push(node.accumulator, self._path(initial), self._size(initial), self._entry(initial))
        self._push_variables(node)
        each = self.cost(node.condition).plus(self.cost(node.step))
        for name in node.variables:
            self._locals[name].pop()
        total = total.plus(self.cost(node.result))
        self._locals[node.accumulator].pop()
        count = self._size_or_unknown(node.range)
        total = total.plus(count.times(each))
        if isinstance(initial, syntax.Literal):
            size = self._size(initial)
            if size is not None:
                self._sizes[node] = size
        else:
            self._sizes[node] = count
            entry = self._entry(node.step)
            if entry is not None:
                self._entries[node] = entry
        return total

    def _push_variables(self, node: syntax.Comprehension) -> None:
        entry, path = self._entry(node.range), self._path(node.range)
        is_list = (entry.kind if entry is not None else self._checked.types[node.range].kind) == "list"
        if len(node.variables) == 2:
            key, value = ("@indices", "@items") if is_list else ("@keys", "@values")
            self._push(node.variables[0], (*path, key), entry.key if entry else None)
            self._push(node.variables[1], (*path, value), entry.value if entry else None)
            return
        size = None if entry is None else entry.value if is_list else entry.key
        self._push(node.variables[0], (*path, "@items" if is_list else "@keys"), size)

    # -- calls

    def _call(self, node: syntax.Call) -> Range:
        if node.function == "dyn" and len(node.arguments) == 1:
            total = self.cost(node.arguments[0]).plus(ONE)
            self._copy(node, node.arguments[0])
            return total
        costs = [self.cost(each) for each in node.arguments]
        arguments = [self._part(each) for each in node.arguments]
        target: Part | None = None
        total = NOTHING
        if node.target is not None:
            total = self.cost(node.target)
            target = self._part(node.target)
        spent = NOTHING
        for each in costs:
            spent = spent.plus(each)
        found, size = Range(MOST, 0), None
        for overload in self._overloads(node):
            cost, own = self._function(node, overload, target, arguments, costs, spent)
            found = found.or_(cost)
            if own is not None:
                size = own if size is None else size.or_(own)
        size = self._indexed(node, arguments, size)
        if size is None:
            size = self._size(node)
        if size is not None:
            self._sizes[node] = size
        return total.plus(found)

    def _overloads(self, node: Node) -> Sequence[Overload | None]:
        return self._checked.calls.get(node) or (None,)

    def _indexed(self, node: syntax.Call, arguments: Sequence[Part], size: Range | None) -> Range | None:
        if node.function != "_[_]":
            return size
        container = arguments[0]
        step = {"list": "@items", "map": "@values"}.get(container.type.kind)
        if step is None:
            return size
        self._paths[node] = (*self._path(container.node), step)
        entry = self._entry(container.node)
        return entry.value if entry is not None else size

    def _function(
        self,
        node: syntax.Call,
        overload: Overload | None,
        target: Part | None,
        arguments: Sequence[Part],
        costs: Sequence[Range],
        spent: Range,
    ) -> Estimate:
        name = node.function
        if name in ("_&&_", "_||_"):
            return Estimate(Range(costs[0].least, costs[0].plus(costs[1]).most))
        if name == "_?_:_":
            yes, no = (self._entry(each.node) for each in arguments[1:])
            if yes is not None and no is not None:
                self._entries[node] = _Entry(yes.kind, yes.key.or_(no.key), yes.value.or_(no.value))
            size = self._known(arguments[1]).or_(self._known(arguments[2]))
            return Estimate(costs[0].plus(costs[1].or_(costs[2])), size)
        estimator = ESTIMATES.get(name)
        if estimator is not None:
            found = estimator(Call(self.sized, overload, target, arguments))
            if found is not None:
                return Estimate(found.cost.plus(spent), found.size)
        if name == "_+_" and overload is not None and overload.types[0].kind in ("string", "bytes", "list"):
            self._merge_entries(node, arguments)
            size = self._known(arguments[0]).plus(self._known(arguments[1]))
            cost = ONE if overload.types[0].kind == "list" else size.scaled(TEXT_FACTOR)
            return Estimate(cost.plus(spent), size)
        return Estimate(ONE.plus(spent))

    def _merge_entries(self, node: Node, arguments: Sequence[Part]) -> None:
        left, right = (self._entry(each.node) for each in arguments)
        if left is not None and right is not None:
            self._entries[node] = _Entry(left.kind, left.key.or_(right.key), left.value.or_(right.value))

    @staticmethod
    def _known(part: Part) -> Range:
        return UNKNOWN if part.size is None else part.size


def _literal_size(node: Node) -> Range | None:
    if isinstance(node, syntax.Literal):
        size = len(node.value) if isinstance(node.value, str | bytes) else 1
    elif isinstance(node, syntax.ListLiteral):
        size = len(node.items)
    elif isinstance(node, syntax.MapLiteral):
        size = len(node.entries)
    else:
        return None
    return Range(size, size)


def _is_scalar(kind: Type) -> bool:
    return kind.kind in SCALARS or (kind.kind == "optional_type" and _is_scalar(kind.params[0]))
