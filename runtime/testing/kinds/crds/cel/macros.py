"""The macros of CEL: calls that are written out as loops before types are checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from runtime.testing.kinds.crds.cel.syntax import (
    Bind,
    Call,
    CelError,
    Comprehension,
    Ident,
    ListLiteral,
    Literal,
    MapLiteral,
    Node,
    Select,
    failure,
)

ACCUMULATOR: Final = "@result"
_Expand = Callable[[Node, list[Node], "_Maker"], Node]


def expand(node: Node, source: str) -> Node:
    """The tree with all macros written out; changes ``node``.

    :raises CelError: for a macro with arguments that it cannot take.
    """
    if isinstance(node, Select):
        node.operand = expand(node.operand, source)
    elif isinstance(node, ListLiteral):
        node.items = [expand(each, source) for each in node.items]
    elif isinstance(node, MapLiteral):
        node.entries = [(expand(key, source), expand(value, source)) for key, value in node.entries]
    elif isinstance(node, Call):
        if node.function == "has" and node.target is None and len(node.arguments) == 1:
            return _has(node, source)
        if node.target is not None:
            node.target = expand(node.target, source)
        macro = _MACROS.get((node.function, len(node.arguments)))
        # Arguments are expanded after the macro is, which looks at their form; this order keeps that simple.
        node.arguments = [expand(each, source) for each in node.arguments]
        if macro is not None and node.target is not None:
            return macro(node.target, node.arguments, _Maker(node.position, source))
    return node


def _has(node: Call, source: str) -> Node:
    argument = node.arguments[0]
    if not isinstance(argument, Select):
        raise CelError(failure(source, argument.position, "invalid argument to has() macro"))
    operand = expand(argument.operand, source)
    return Select(operand, argument.name, test=True, position=node.position)


class _Maker:
    """Makes the nodes of one macro, all at its position."""

    def __init__(self, position: str, source: str) -> None:
        self.position, self._source = position, source

    def name(self, node: Node) -> str:
        if not isinstance(node, Ident):
            raise CelError(failure(self._source, node.position, "argument must be a simple name"))
        if node.name == ACCUMULATOR:
            raise CelError(failure(self._source, node.position, "iteration variable overwrites accumulator variable"))
        return node.name

    def names(self, *nodes: Node) -> tuple[str, ...]:
        found = tuple(map(self.name, nodes))
        if len(set(found)) != len(found):
            text = f"duplicate iteration variable name: {found[0]}"
            raise CelError(failure(self._source, nodes[0].position, text))
        return found

    def call(self, function: str, *arguments: Node, target: Node | None = None) -> Call:
        return Call(function, target, list(arguments), position=self.position)

    def literal(self, value: object, kind: str) -> Literal:
        return Literal(value, kind, position=self.position)

    def accumulated(self) -> Ident:
        return Ident(ACCUMULATOR, position=self.position)

    def loop(
        self, over: Node, variables: tuple[str, ...], initial: Node, condition: Node, step: Node, result: Node
    ) -> Node:
        return Comprehension(over, variables, ACCUMULATOR, initial, condition, step, result, position=self.position)

    def always(self) -> Literal:
        return self.literal(True, "bool")


def _all(over: Node, arguments: list[Node], make: _Maker) -> Node:
    *variables, test = arguments
    condition = make.call("@not_strictly_false", make.accumulated())
    step = make.call("_&&_", make.accumulated(), test)
    return make.loop(over, make.names(*variables), make.always(), condition, step, make.accumulated())


def _exists(over: Node, arguments: list[Node], make: _Maker) -> Node:
    *variables, test = arguments
    condition = make.call("@not_strictly_false", make.call("!_", make.accumulated()))
    step = make.call("_||_", make.accumulated(), test)
    initial = make.literal(False, "bool")
    return make.loop(over, make.names(*variables), initial, condition, step, make.accumulated())


def _exists_one(over: Node, arguments: list[Node], make: _Maker) -> Node:
    *variables, test = arguments
    more = make.call("_+_", make.accumulated(), make.literal(1, "int"))
    step = make.call("_?_:_", test, more, make.accumulated())
    result = make.call("_==_", make.accumulated(), make.literal(1, "int"))
    return make.loop(over, make.names(*variables), make.literal(0, "int"), make.always(), step, result)


def _appending(over: Node, variables: list[Node], test: Node | None, item: Node, make: _Maker) -> Node:
    step: Node = make.call("_+_", make.accumulated(), ListLiteral([item], position=make.position))
    if test is not None:
        step = make.call("_?_:_", test, step, make.accumulated())
    initial = ListLiteral([], position=make.position)
    return make.loop(over, make.names(*variables), initial, make.always(), step, make.accumulated())


def _map(over: Node, arguments: list[Node], make: _Maker) -> Node:
    variable, *tests, item = arguments
    return _appending(over, [variable], tests[0] if tests else None, item, make)


def _filter(over: Node, arguments: list[Node], make: _Maker) -> Node:
    variable, test = arguments
    item = Ident(make.name(variable), position=variable.position)
    return _appending(over, [variable], test, item, make)


def _transform_list(over: Node, arguments: list[Node], make: _Maker) -> Node:
    first, second, *tests, item = arguments
    return _appending(over, [first, second], tests[0] if tests else None, item, make)


def _inserting(over: Node, arguments: list[Node], make: _Maker, *, entry: bool) -> Node:
    first, second, *tests, value = arguments
    variables = make.names(first, second)
    inserted = [value] if entry else [Ident(variables[0], position=first.position), value]
    step: Node = make.call("cel.@mapInsert", make.accumulated(), *inserted)
    if tests:
        step = make.call("_?_:_", tests[0], step, make.accumulated())
    initial = MapLiteral([], position=make.position)
    return make.loop(over, variables, initial, make.always(), step, make.accumulated())


def _transform_map(over: Node, arguments: list[Node], make: _Maker) -> Node:
    return _inserting(over, arguments, make, entry=False)


def _transform_entry(over: Node, arguments: list[Node], make: _Maker) -> Node:
    return _inserting(over, arguments, make, entry=True)


def _sort_by(over: Node, arguments: list[Node], make: _Maker) -> Node:
    variable, key = arguments
    held = Ident("@__sortBy_input__", position=make.position)
    keys = _appending(held, [variable], None, key, make)
    body = make.call("@sortByAssociatedKeys", keys, target=held)
    return Bind(held.name, over, body, position=make.position)


def _optional_map(wrap: bool) -> _Expand:
    def expand_it(target: Node, arguments: list[Node], make: _Maker) -> Node:
        variable, body = arguments
        value = make.call("value", target=target)
        inner: Node = Bind(make.name(variable), value, body, position=make.position)
        if wrap:
            inner = make.call("optional.of", inner)
        has_value = make.call("hasValue", target=target)
        return make.call("_?_:_", has_value, inner, make.call("optional.none"))

    return expand_it


_MACROS: Final[Mapping[tuple[str, int], _Expand]] = {
    ("all", 2): _all,
    ("all", 3): _all,
    ("exists", 2): _exists,
    ("exists", 3): _exists,
    ("exists_one", 2): _exists_one,
    ("existsOne", 2): _exists_one,
    ("existsOne", 3): _exists_one,
    ("map", 2): _map,
    ("map", 3): _map,
    ("filter", 2): _filter,
    ("transformList", 3): _transform_list,
    ("transformList", 4): _transform_list,
    ("transformMap", 3): _transform_map,
    ("transformMap", 4): _transform_map,
    ("transformMapEntry", 3): _transform_entry,
    ("transformMapEntry", 4): _transform_entry,
    ("sortBy", 2): _sort_by,
    ("optMap", 2): _optional_map(wrap=True),
    ("optFlatMap", 2): _optional_map(wrap=False),
}
