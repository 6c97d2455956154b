"""A type check of CEL rules against the schema: what the real server refuses when the CRD is written.

It knows the types of fields, literals, operators and the common functions; what it does not know is ``dyn`` and fits
everywhere. So it never refuses a good rule, and finds misspelt fields, wrong operands and rules that are no bool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from runtime.types import JSONMapping

# A node of the syntax tree: lark's Tree, or a Token (a str). celpy's grammar names the nodes.
Tree: TypeAlias = Any
_Infer: TypeAlias = Callable[[Tree, Mapping[str, "Type"]], "Type"]

_BOOL_FUNCTIONS: Final = frozenset(
    [
        "startsWith",
        "endsWith",
        "contains",
        "matches",
        "has",
        "all",
        "exists",
        "exists_one",
        "isSorted",
        "isQuantity",
        "isURL",
        "isIP",
        "isCIDR",
        "hasValue",
        "isGreaterThan",
        "isLessThan",
        "isInteger",
        "equivalent",
        "intersects",
        "containsIP",
    ]
)
_INT_FUNCTIONS: Final = frozenset(
    [
        "size",
        "indexOf",
        "lastIndexOf",
        "compareTo",
        "asInteger",
        "family",
        "sign",
        "getFullYear",
        "getMonth",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getHours",
        "getMinutes",
        "getSeconds",
        "getMilliseconds",
        "int",
    ]
)
_TEXT_FUNCTIONS: Final = frozenset(
    [
        "lowerAscii",
        "upperAscii",
        "trim",
        "replace",
        "substring",
        "charAt",
        "join",
        "find",
        "format",
        "string",
        "getScheme",
        "getHost",
        "getHostname",
        "getPort",
        "getEscapedPath",
    ]
)
_CONVERSIONS: Final = {
    "double": "double",
    "bool": "bool",
    "bytes": "bytes",
    "duration": "duration",
    "timestamp": "timestamp",
    "uint": "uint",
}
_MACROS: Final = frozenset({"all", "exists", "exists_one", "map", "filter"})
_NAMESPACES: Final = frozenset({"sets", "math", "optional", "format"})
_SCALARS: Final = frozenset({"bool", "int", "double", "string", "bytes", "duration", "timestamp", "uint"})
_OPERATORS: Final = {
    "relation_lt": "<",
    "relation_le": "<=",
    "relation_ge": ">=",
    "relation_gt": ">",
    "relation_eq": "==",
    "relation_ne": "!=",
}
_ARITHMETIC: Final = {
    "addition_add": "+",
    "addition_sub": "-",
    "multiplication_mul": "*",
    "multiplication_div": "/",
    "multiplication_mod": "%",
}


@dataclass(frozen=True)
class Type:
    """:param kind: bool, int, string, list, map, object, dyn ...
    :param fields: of an object; ``item``: of a list or map.
    """

    kind: str
    fields: Mapping[str, Type] = field(default_factory=dict)
    item: Type | None = None

    def __str__(self) -> str:
        return self.kind


DYN: Final = Type("dyn")
_BOOL, _INT, _TEXT = Type("bool"), Type("int"), Type("string")


class _Problem(Exception):
    """The rule is refused."""


def rule_problem(schema: JSONMapping, tree: Tree, *, optional_old_self: bool, result: str, is_root: bool) -> str:
    """Why the real server would refuse the expression, empty if it would not.

    :param tree: the parsed expression.
    :param result: the type that it has to have.
    :param is_root: the schema is the whole object's, which has a name.
    """
    self_type = type_of(schema, is_root=is_root)
    names = {
        "self": self_type,
        "oldSelf": DYN if optional_old_self else self_type,
        **dict.fromkeys(_NAMESPACES, DYN),
    }
    try:
        found = _infer(tree, names)
    except _Problem as problem:
        return f"compilation failed: ERROR: <input>: {problem}"
    if found.kind in (result, "dyn"):
        return ""
    return f"compilation failed: cel expression must evaluate to a {result}"


def type_of(schema: JSONMapping, *, is_root: bool = False) -> Type:
    """The CEL type of a value of that schema."""
    from runtime.testing.kinds.crds.cel_values import escaped

    kind = schema.get("type")
    if schema.get("x-kubernetes-int-or-string") or not kind:
        return DYN
    if kind == "array":
        return Type("list", item=type_of(schema.get("items") or {}))
    if kind == "object":
        if isinstance(schema.get("additionalProperties"), Mapping):
            return Type("map", item=type_of(schema["additionalProperties"]))
        if schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("additionalProperties"):
            return DYN
        properties = schema.get("properties") or {}
        fields = {escaped(name): type_of(each) for name, each in properties.items()}
        if is_root or schema.get("x-kubernetes-embedded-resource"):
            metadata = Type("object", {"name": _TEXT, "generateName": _TEXT})
            fields |= {"apiVersion": _TEXT, "kind": _TEXT, "metadata": metadata}
        return Type("object", fields)
    if kind == "string":
        formats = {"date-time": "timestamp", "date": "timestamp", "duration": "duration", "byte": "bytes"}
        return Type(formats.get(str(schema.get("format")), "string"))
    return Type({"integer": "int", "number": "double", "boolean": "bool"}.get(str(kind), "dyn"))


def _infer(tree: Tree, names: Mapping[str, Type]) -> Type:
    handler = _HANDLERS.get(getattr(tree, "data", ""))
    if handler is not None:
        return handler(tree, names)
    below = [each for each in getattr(tree, "children", ()) if hasattr(each, "data")]
    found = [_infer(each, names) for each in below]
    return found[0] if len(found) == 1 else DYN


def _conditional(tree: Tree, names: Mapping[str, Type]) -> Type:
    parts = [_infer(each, names) for each in tree.children]
    if len(parts) == 1:
        return parts[0]
    _demand(parts[0], "bool", "_?_:_")
    left, right = parts[1], parts[2]
    if "dyn" in (left.kind, right.kind):
        return DYN
    if left.kind != right.kind:
        raise _Problem(_no_overload("_?_:_", *parts))
    return left


def _logical(operator: str) -> _Infer:
    def infer(tree: Tree, names: Mapping[str, Type]) -> Type:
        parts = [_infer(each, names) for each in tree.children]
        if len(parts) == 1:
            return parts[0]
        for each in parts:
            _demand(each, "bool", operator)
        return _BOOL

    return infer


def _relation(tree: Tree, names: Mapping[str, Type]) -> Type:
    if len(tree.children) == 1:
        return _infer(tree.children[0], names)
    operation, right_tree = tree.children
    left, right = _infer(operation.children[0], names), _infer(right_tree, names)
    operator = _OPERATORS.get(str(operation.data))
    if operator is not None:
        # Numbers of different kinds may be ordered, but not tested for equality.
        numbers = {"int", "uint", "double"}
        ordered = operator not in ("==", "!=") and {left.kind, right.kind} <= numbers
        if not ordered:
            _demand_same(left, right, f"_{operator}_")
    return _BOOL


def _arithmetic(tree: Tree, names: Mapping[str, Type]) -> Type:
    if len(tree.children) == 1:
        return _infer(tree.children[0], names)
    operation, right_tree = tree.children
    left, right = _infer(operation.children[0], names), _infer(right_tree, names)
    operator = _ARITHMETIC[str(operation.data)]
    times = {"duration", "timestamp"}
    if left.kind in times or right.kind in times or "dyn" in (left.kind, right.kind):
        return DYN
    _demand_same(left, right, f"_{operator}_")
    if operator != "+" and left.kind in ("string", "bytes", "list", "bool"):
        raise _Problem(_no_overload(f"_{operator}_", left, right))
    return left


def _unary(tree: Tree, names: Mapping[str, Type]) -> Type:
    if len(tree.children) == 1:
        return _infer(tree.children[0], names)
    operation, operand = tree.children
    found = _infer(operand, names)
    if operation.data == "unary_not":
        _demand(found, "bool", "!_")
        return _BOOL
    return found


def _ident(tree: Tree, names: Mapping[str, Type]) -> Type:
    name = str(tree.children[0])
    if name in names:
        return names[name]
    if name in _SCALARS | {"list", "map", "null_type", "type", "int", "google"}:
        return DYN
    raise _Problem(f"undeclared reference to '{name}' (in container '')")


def _member_dot(tree: Tree, names: Mapping[str, Type]) -> Type:
    owner, name = _infer(tree.children[0], names), str(tree.children[1])
    if owner.kind == "object":
        if name not in owner.fields:
            raise _Problem(f"undefined field '{name}'")
        return owner.fields[name]
    if owner.kind == "map":
        return owner.item or DYN
    if owner.kind != "dyn":
        raise _Problem(f"type '{owner}' does not support field selection")
    return DYN


def _member_index(tree: Tree, names: Mapping[str, Type]) -> Type:
    owner = _infer(tree.children[0], names)
    _infer(tree.children[1], names)
    if owner.kind in ("list", "map"):
        return owner.item or DYN
    if owner.kind in _SCALARS:
        raise _Problem(_no_overload("_[_]", owner, DYN))
    return DYN


def _member_call(tree: Tree, names: Mapping[str, Type]) -> Type:
    owner, function = _infer(tree.children[0], names), str(tree.children[1])
    arguments = _arguments(tree.children[2:] if len(tree.children) > 2 else [])
    if function in _MACROS and arguments:
        return _macro(owner, function, arguments, names)
    for each in arguments:
        _infer(each, names)
    return _function_result(function, owner)


def _macro(owner: Type, function: str, arguments: list[Tree], names: Mapping[str, Type]) -> Type:
    variable = next((str(each.children[0]) for each in arguments[0].find_data("ident")), "")
    item = _TEXT if owner.kind in ("map", "object") else owner.item or DYN
    inner = {**names, variable: item}
    results = [_infer(each, inner) for each in arguments[1:]]
    if owner.kind in _SCALARS:
        raise _Problem(
            f"expression of type '{owner}' cannot be range of a comprehension (must be list, map, or dynamic)"
        )
    if function == "map":
        return Type("list", item=results[-1] if results else DYN)
    if results:
        _demand(results[0], "bool", function)
    if function == "filter":
        return owner if owner.kind == "list" else DYN
    return _BOOL


def _call(tree: Tree, names: Mapping[str, Type]) -> Type:
    function = str(tree.children[0])
    arguments = [_infer(each, names) for each in _arguments(tree.children[1:])]
    if function in _CONVERSIONS:
        return Type(_CONVERSIONS[function])
    return _function_result(function, arguments[0] if arguments else DYN)


def _function_result(function: str, owner: Type) -> Type:
    if function in _BOOL_FUNCTIONS:
        return _BOOL
    if function in _INT_FUNCTIONS:
        if function == "size" and owner.kind in ("int", "bool", "double"):
            raise _Problem(_no_overload("size", owner))
        return _INT
    if function in _TEXT_FUNCTIONS:
        return _TEXT
    return DYN


def _literal(tree: Tree, names: Mapping[str, Type]) -> Type:
    del names
    token = tree.children[0]
    return {
        "INT_LIT": _INT,
        "UINT_LIT": Type("uint"),
        "FLOAT_LIT": Type("double"),
        "STRING_LIT": _TEXT,
        "MLSTRING_LIT": _TEXT,
        "BYTES_LIT": Type("bytes"),
        "BOOL_LIT": _BOOL,
    }.get(getattr(token, "type", ""), DYN)


def _list(tree: Tree, names: Mapping[str, Type]) -> Type:
    items = [_infer(each, names) for each in _arguments(tree.children)]
    kinds = {each.kind for each in items}
    return Type("list", item=items[0] if len(kinds) == 1 else DYN)


def _unknown(tree: Tree, names: Mapping[str, Type]) -> Type:
    del tree, names
    return DYN


def _arguments(children: list[Tree]) -> list[Tree]:
    return list(children[0].children) if children and children[0] is not None else []


def _demand(found: Type, kind: str, operator: str) -> None:
    if found.kind not in (kind, "dyn"):
        raise _Problem(_no_overload(operator, found))


def _demand_same(left: Type, right: Type, operator: str) -> None:
    if "dyn" in (left.kind, right.kind) or left.kind == right.kind:
        return
    raise _Problem(_no_overload(operator, left, right))


def _no_overload(operator: str, *operands: Type) -> str:
    shown = ", ".join(map(str, operands))
    return f"found no matching overload for '{operator}' applied to '({shown})'"


_HANDLERS: Final[Mapping[str, _Infer]] = {
    "expr": _conditional,
    "conditionalor": _logical("_||_"),
    "conditionaland": _logical("_&&_"),
    "relation": _relation,
    "addition": _arithmetic,
    "multiplication": _arithmetic,
    "unary": _unary,
    "ident": _ident,
    "member_dot": _member_dot,
    "member_index": _member_index,
    "member_dot_arg": _member_call,
    "member_object": _unknown,
    "ident_arg": _call,
    "literal": _literal,
    "list_lit": _list,
    "map_lit": _unknown,
}
