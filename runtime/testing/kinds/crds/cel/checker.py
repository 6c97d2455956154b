"""The types of an expression's parts: what the real server refuses when the CRD is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from runtime.testing.kinds.crds.cel import syntax
from runtime.testing.kinds.crds.cel.functions import Overload, overloads
from runtime.testing.kinds.crds.cel.patterns import literal_problem
from runtime.testing.kinds.crds.cel.syntax import CelError, Node, failure
from runtime.testing.kinds.crds.cel.types import (
    BOOL,
    BY_NAME,
    DYN,
    INT,
    NULL,
    Type,
    Unifier,
    list_of,
    map_of,
    optional_of,
)

_LITERALS: Final = {**BY_NAME, "null": NULL}
_LOGICAL: Final = frozenset(("_&&_", "_||_"))


@dataclass
class Checked:
    """:param types: of all parts.
    :param calls: the overloads that a call may mean.
    :param type_names: parts that name a type.
    :param variables: those that the expression uses.
    """

    tree: Node
    types: dict[Node, Type] = field(default_factory=dict)
    calls: dict[Node, list[Overload]] = field(default_factory=dict)
    type_names: dict[Node, str] = field(default_factory=dict)
    variables: set[str] = field(default_factory=set)

    @property
    def result(self) -> Type:
        return self.types[self.tree]


def check(tree: Node, source: str, variables: Mapping[str, Type]) -> Checked:
    """:param tree: without macros.
    :raises CelError: if its parts do not fit together.
    """
    checker = _Checker(tree, source, variables)
    checker.infer(tree, {})
    for node, found in checker.checked.types.items():
        checker.checked.types[node] = checker.unifier.resolve(found)
    return checker.checked


class _Checker:
    def __init__(self, tree: Node, source: str, variables: Mapping[str, Type]) -> None:
        self.checked = Checked(tree)
        self.unifier = Unifier()
        self._source = source
        self._variables = variables
        self._mixed: set[Node] = set()  # list literals of anything: what is formatted

    def infer(self, node: Node, scope: Mapping[str, Type]) -> Type:
        found = self._infer(node, scope)
        self.checked.types[node] = found
        return self.unifier.resolve(found)

    def _infer(self, node: Node, scope: Mapping[str, Type]) -> Type:
        if isinstance(node, syntax.Literal):
            return _LITERALS[node.kind]
        if isinstance(node, syntax.Ident):
            return self._name(node, node.name, scope)
        if isinstance(node, syntax.Select):
            return self._select(node, scope)
        if isinstance(node, syntax.Call):
            return self._call(node, scope)
        if isinstance(node, syntax.ListLiteral):
            return self._list(node, scope)
        if isinstance(node, syntax.MapLiteral):
            return self._map(node, scope)
        if isinstance(node, syntax.Bind):
            return self.infer(node.body, {**scope, node.variable: self.infer(node.value, scope)})
        assert isinstance(node, syntax.Comprehension)
        return self._loop(node, scope)

    def _fail(self, node: Node, text: str) -> CelError:
        return CelError(failure(self._source, node.position, text))

    def _name(self, node: Node, name: str, scope: Mapping[str, Type]) -> Type:
        if name in scope:
            return scope[name]
        if name in self._variables:
            self.checked.variables.add(name)
            return self._variables[name]
        if name in BY_NAME:
            self.checked.type_names[node] = name
            return Type("type", (BY_NAME[name],))
        raise self._fail(node, f"undeclared reference to '{name}' (in container '')")

    def _select(self, node: syntax.Select, scope: Mapping[str, Type]) -> Type:
        qualified = _qualified(node)
        first = qualified.partition(".")[0]
        if qualified in BY_NAME and first not in scope and first not in self._variables:
            return self._name(node, qualified, scope)
        owner = self.infer(node.operand, scope)
        found = self._field(node, owner, node.name)
        return BOOL if node.test else found

    def _field(self, node: Node, owner: Type, name: str) -> Type:
        if owner.kind == "optional_type":
            return optional_of(self._field(node, self.unifier.resolve(owner.params[0]), name))
        if owner.kind == "object":
            if name not in owner.fields:
                raise self._fail(node, f"undefined field '{name}'")
            return owner.fields[name]
        if owner.kind == "map":
            return owner.params[1]
        if owner.kind in ("dyn", "param"):
            return DYN
        raise self._fail(node, f"type '{owner}' does not support field selection")

    def _call(self, node: syntax.Call, scope: Mapping[str, Type]) -> Type:
        if node.target is not None:
            # `sets.contains(a, b)`: the name of a function with a dot in it, not a call of something named sets.
            prefix = _qualified(node.target)
            first = prefix.partition(".")[0]
            is_name = bool(prefix) and first not in scope and first not in self._variables
            if is_name and overloads(f"{prefix}.{node.function}", member=False):
                node.function, node.target = f"{prefix}.{node.function}", None
        if node.function == "format" and node.target is not None:
            for each in node.arguments:
                self._mixed.update(_literals(each))
        given = [self.infer(each, scope) for each in node.arguments]
        member = node.target is not None
        if node.target is not None:
            given.insert(0, self.infer(node.target, scope))
        if node.function == "_?._":
            return self._optional_select(node, given[0])
        known = overloads(node.function, member=member)
        if not known:
            if not overloads(node.function, member=not member):
                raise self._fail(node, f"undeclared reference to '{node.function}' (in container '')")
            raise self._fail(node, _no_overload(node.function, given, member=member))
        if node.function in _LOGICAL:  # of which CEL says what is wrong with an operand, not that no overload fits
            for operand, found in zip(node.arguments, given, strict=True):
                self._demand(operand, found, BOOL)
        return self._resolve(node, known, given, member)

    def _optional_select(self, node: syntax.Call, owner: Type) -> Type:
        name = node.arguments[1]
        assert isinstance(name, syntax.Literal)
        inner = self.unifier.resolve(owner.params[0]) if owner.kind == "optional_type" else owner
        self.checked.calls[node] = []
        return optional_of(self._field(node, inner, str(name.value)))

    def _resolve(self, node: syntax.Call, known: Sequence[Overload], given: Sequence[Type], member: bool) -> Type:
        fitting: list[Overload] = []
        result: Type | None = None
        for each in known:
            *wanted, returned = self.unifier.instance([*each.types, each.result])
            if not self.unifier.assign(wanted, given):
                continue
            fitting.append(each)
            returned = self.unifier.resolve(returned)
            result = returned if result is None or str(result) == str(returned) else DYN
        if result is None:
            raise self._fail(node, _no_overload(node.function, given, member=member))
        problem = literal_problem(node)
        if problem:
            raise self._fail(node.arguments[0], problem)
        self.checked.calls[node] = fitting
        return result

    def _list(self, node: syntax.ListLiteral, scope: Mapping[str, Type]) -> Type:
        item: Type | None = None
        for index, each in enumerate(node.items):
            found = self.infer(each, scope)
            if index in node.optional:
                found = self._unwrapped(each, found)
            item = self._joined(each, item, found, mixed=node in self._mixed)
        return list_of(item or self.unifier.fresh())

    def _map(self, node: syntax.MapLiteral, scope: Mapping[str, Type]) -> Type:
        key: Type | None = None
        value: Type | None = None
        for index, (key_node, value_node) in enumerate(node.entries):
            mixed = node in self._mixed
            key = self._joined(key_node, key, self.infer(key_node, scope), mixed=mixed)
            found = self.infer(value_node, scope)
            if index in node.optional:
                found = self._unwrapped(value_node, found)
            value = self._joined(value_node, value, found, mixed=mixed)
        return map_of(key or self.unifier.fresh(), value or self.unifier.fresh())

    def _unwrapped(self, node: Node, found: Type) -> Type:
        if found.kind == "optional_type":
            return self.unifier.resolve(found.params[0])
        if found.kind == "dyn":
            return found
        raise self._fail(node, f"expected type 'optional_type({found})' but found '{found}'")

    def _joined(self, node: Node, before: Type | None, found: Type, *, mixed: bool = False) -> Type:
        """All items of a literal are of one type, unless they are ``mixed``."""
        if before is None or before is found:
            return found
        if "dyn" in (before.kind, found.kind):
            return DYN
        if self.unifier.assign([before], [found]):
            return self.unifier.resolve(before)
        if mixed:
            return DYN
        raise self._fail(node, f"expected type '{before}' but found '{found}'")

    def _loop(self, node: syntax.Comprehension, scope: Mapping[str, Type]) -> Type:
        over = self.infer(node.range, scope)
        if over.kind == "list":
            kinds = [over.params[0]] if len(node.variables) == 1 else [INT, over.params[0]]
        elif over.kind == "map":
            kinds = list(over.params[: len(node.variables)])
        elif over.kind in ("dyn", "param"):
            kinds = [DYN] * len(node.variables)
        else:
            text = f"expression of type '{over}' cannot be range of a comprehension (must be list, map, or dynamic)"
            raise self._fail(node.range, text)
        accumulated = self.infer(node.initial, scope)
        inner = {**scope, node.accumulator: accumulated}
        within = {**inner, **dict(zip(node.variables, kinds, strict=True))}
        self._demand(node.condition, self.infer(node.condition, within), BOOL)
        step = self.infer(node.step, within)
        if not self.unifier.assign([accumulated], [step]):
            raise self._fail(node.step, f"expected type '{accumulated}' but found '{step}'")
        return self.infer(node.result, inner)

    def _demand(self, node: Node, found: Type, wanted: Type) -> None:
        if not self.unifier.assign([wanted], [found]):
            raise self._fail(node, f"expected type '{wanted}' but found '{found}'")


def _literals(node: Node) -> Iterator[Node]:
    """A literal of a list or map, and those in it."""
    if isinstance(node, syntax.ListLiteral):
        below = node.items
    elif isinstance(node, syntax.MapLiteral):
        below = [value for _, value in node.entries]
    else:
        return
    yield node
    for each in below:
        yield from _literals(each)


def _qualified(node: Node) -> str:
    """``a.b.c`` as a name, empty for anything else."""
    if isinstance(node, syntax.Ident):
        return node.name
    if isinstance(node, syntax.Select) and not node.test:
        prefix = _qualified(node.operand)
        return f"{prefix}.{node.name}" if prefix else ""
    return ""


def _no_overload(function: str, given: Sequence[Type], *, member: bool) -> str:
    shown = [str(each) for each in given]
    applied = f"{shown[0]}.({', '.join(shown[1:])})" if member else f"({', '.join(shown)})"
    return f"found no matching overload for '{function}' applied to '{applied}'"
