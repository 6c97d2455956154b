"""From the text of an expression to its tree. The grammar is that of ``celpy``, with the optional syntax added."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|X[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}|.)", re.DOTALL)
_ESCAPED: Final = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "?": "?", '"': '"', "'": "'", "`": "`",
}  # fmt: skip
_RESERVED: Final = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)
_ADDED: Final = (
    ("| member_object | primary", "| member_object | member_opt_dot | member_opt_index | primary"),
    (
        'member_index   : member "[" expr "]"',
        """member_index   : member "[" expr "]"
member_opt_dot : member ".?" IDENT
member_opt_index : member "[?" expr "]"
optional_expr  : "?" expr""",
    ),
    ('exprlist       : expr ("," expr)*', 'exprlist       : (expr | optional_expr) ("," (expr | optional_expr))* ","?'),
    (
        'mapinits       : expr ":" expr ("," expr ":" expr)*',
        'mapinits       : mapinit ("," mapinit)* ","?\nmapinit        : (expr | optional_expr) ":" expr',
    ),
)
_BINARY: Final = {
    "relation_lt": "_<_",
    "relation_le": "_<=_",
    "relation_gt": "_>_",
    "relation_ge": "_>=_",
    "relation_eq": "_==_",
    "relation_ne": "_!=_",
    "relation_in": "@in",
    "addition_add": "_+_",
    "addition_sub": "_-_",
    "multiplication_mul": "_*_",
    "multiplication_div": "_/_",
    "multiplication_mod": "_%_",
}
_DEEPEST: Final = 250  # expressions in each other
TOO_DEEP: Final = f"ERROR: <input>:-1:0: expression recursion limit exceeded: {_DEEPEST}"
_LOCK: Final = threading.Lock()  # guards the parser, which is not safe for threads


class CelError(ValueError):
    """An expression that does not compile, or whose evaluation failed. The text says why.

    ``cost`` is what a failed evaluation cost nonetheless.
    """

    cost = 0


@dataclass(slots=True, eq=False)
class Node:
    """:param position: where it stands in the text, as ``line:column``."""

    position: str = field(default="1:1", kw_only=True)


@dataclass(slots=True, eq=False)
class Literal(Node):
    """:param kind: the name of the value's type."""

    value: object
    kind: str


@dataclass(slots=True, eq=False)
class Ident(Node):
    name: str


@dataclass(slots=True, eq=False)
class Select(Node):
    """:param test: ``has(operand.name)``."""

    operand: Node
    name: str
    test: bool = False


@dataclass(slots=True, eq=False)
class Call(Node):
    """:param target: what stands before the dot of a member call."""

    function: str
    target: Node | None
    arguments: list[Node]


@dataclass(slots=True, eq=False)
class ListLiteral(Node):
    """:param optional: the indices of items that are left out if they are absent."""

    items: list[Node]
    optional: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class MapLiteral(Node):
    entries: list[tuple[Node, Node]]
    optional: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class Comprehension(Node):
    """A loop over a list or the keys of a map: what the macros are made of.

    :param variables: one, or two for index and item, or key and value.
    """

    range: Node
    variables: tuple[str, ...]
    accumulator: str
    initial: Node
    condition: Node
    step: Node
    result: Node


@dataclass(slots=True, eq=False)
class Bind(Node):
    """A name for a value: what ``optMap`` is made of."""

    variable: str
    value: Node
    body: Node


@functools.lru_cache(maxsize=1)
def _parser() -> Any:
    try:  # a tenth of a second that only CRDs with rules shall pay
        import celpy
        from celpy.celparser import CELParser
        from lark import Lark
    except ImportError as error:
        # No verdict on the rule: who wrote it shall not look for what is wrong with it.
        raise ImportError("CEL rules need the package cel-python: pip install 'xline-operator[local]'") from error
    grammar = (Path(celpy.__file__).parent / "cel.lark").read_text(encoding="utf-8")
    for old, new in _ADDED:
        if old not in grammar:
            raise CelError(f"this version of cel-python has another grammar: no {old!r}")
        grammar = grammar.replace(old, new)
    return Lark(
        grammar,
        parser="lalr",
        start="expr",
        g_regex_flags=re.MULTILINE,
        lexer_callbacks={"IDENT": CELParser.ambiguous_literals},
        propagate_positions=True,
        maybe_placeholders=False,
        priority="invert",
    )


def parse(source: str) -> Node:
    """:raises CelError: if ``source`` is not CEL.
    :raises ImportError: the package ``cel-python`` is missing.
    """
    with _LOCK:
        parser = _parser()
        from lark.exceptions import UnexpectedInput

        try:
            tree = parser.parse(source)
        except UnexpectedInput as error:
            line, column = getattr(error, "line", None) or -1, getattr(error, "column", None) or -1
            if line < 0:  # the end came too early
                lines = source.split("\n")
                line, column = len(lines), len(lines[-1]) + 1
            found = getattr(getattr(error, "token", None), "type", "")
            what = "mismatched input '<EOF>'" if found == "$END" else "unexpected input"
            raise CelError(failure(source, f"{line}:{column}", f"Syntax error: {what}")) from None
    _check_depth(tree)
    try:
        return _convert(tree)
    except _BadLiteral as error:
        raise CelError(failure(source, error.position, error.text)) from None


def _check_depth(tree: Any) -> None:
    """Refuse what the parser of CEL does not go down to.

    :raises CelError: as it says it.
    """
    left = [(tree, 0)]
    while left:
        part, depth = left.pop()
        depth += part.data == "expr"
        if depth > _DEEPEST:
            raise CelError(TOO_DEEP)
        left.extend((each, depth) for each in part.children if hasattr(each, "data"))


def failure(source: str, position: str, text: str) -> str:
    """What is wrong in an expression, with the place, as CEL shows it."""
    line, _, column = position.partition(":")
    lines = source.split("\n")
    shown = lines[int(line) - 1] if int(line) <= len(lines) else ""
    return f"ERROR: <input>:{position}: {text}\n | {shown}\n | {'.' * (int(column) - 1)}^"


class _BadLiteral(Exception):
    def __init__(self, position: str, text: str) -> None:
        super().__init__(text)
        self.position, self.text = position, text


def _position(tree: Any) -> str:
    meta = getattr(tree, "meta", tree)
    return f"{getattr(meta, 'line', 1) or 1}:{getattr(meta, 'column', 1) or 1}"


def _after(tree: Any, back: int = 0) -> str:
    """The position right behind ``tree``, or so many characters before that."""
    meta = getattr(tree, "meta", tree)
    return f"{getattr(meta, 'end_line', 1) or 1}:{(getattr(meta, 'end_column', 1) or 1) - back}"


def _before(token: Any, length: int) -> str:
    """The position of an operator that stands right before ``token``."""
    return f"{token.line}:{max(token.column - length, 1)}"


def _convert(tree: Any) -> Node:
    """A loop where it can be: a parenthesis is nine levels of the grammar with nothing in them."""
    while True:
        handler = _HANDLERS.get(tree.data)
        if handler is not None and (len(tree.children) > 1 or tree.data not in _LEVELS):
            return handler(tree)
        tree = tree.children[0]


def _expr(tree: Any) -> Node:
    return Call("_?_:_", None, [_convert(each) for each in tree.children], position=_position(tree))


def _logical(function: str) -> Callable[[Any], Node]:
    """The terms of a chain in a balanced tree, as CEL has them: a chain may be long."""

    def convert(tree: Any) -> Node:
        name, rest = tree.data, []
        while tree.data == name and len(tree.children) > 1:
            tree, last = tree.children
            rest.append(last)
        terms = [tree, *reversed(rest)]
        return balanced([_convert(each) for each in terms], [_position(each) for each in terms], 0, len(rest) - 1)

    def balanced(terms: list[Node], positions: list[str], low: int, high: int) -> Node:
        """Of the operators between these places."""
        middle = (low + high + 1) // 2
        left = terms[middle] if middle == low else balanced(terms, positions, low, middle - 1)
        right = terms[middle + 1] if middle == high else balanced(terms, positions, middle + 1, high)
        return Call(function, None, [left, right], position=positions[middle + 1])

    return convert


def _binary(tree: Any) -> Node:
    operation, right = tree.children
    arguments = [_convert(operation.children[0]), _convert(right)]
    function = _BINARY[operation.data]
    # CEL names the place of the operator, which is the last thing in its part of the tree.
    return Call(function, None, arguments, position=_after(operation, len(function.strip("_@"))))


def _unary(tree: Any) -> Node:
    operator, operand = tree.children
    inner = _convert(operand)
    if operator.data == "unary_not":
        return Call("!_", None, [inner], position=_position(tree))
    if isinstance(inner, Literal) and inner.kind in ("int", "double") and isinstance(inner.value, int | float):
        return Literal(-inner.value, inner.kind, position=_position(tree))
    return Call("-_", None, [inner], position=_position(tree))


def _member_dot(tree: Any) -> Node:
    return Select(_convert(tree.children[0]), str(tree.children[1]), position=_before(tree.children[1], 1))


def _member_call(tree: Any) -> Node:
    function = str(tree.children[1])
    return Call(function, _convert(tree.children[0]), _arguments(tree.children[2:]), position=_after(tree.children[1]))


def _member_index(tree: Any) -> Node:
    return Call("_[_]", None, [_convert(each) for each in tree.children], position=_after(tree.children[0]))


def _optional_dot(tree: Any) -> Node:
    name = Literal(str(tree.children[1]), "string", position=_position(tree.children[1]))
    return Call("_?._", None, [_convert(tree.children[0]), name], position=_before(tree.children[1], 2))


def _optional_index(tree: Any) -> Node:
    return Call("_[?_]", None, [_convert(each) for each in tree.children], position=_after(tree.children[0]))


def _object(tree: Any) -> Node:
    raise _BadLiteral(_position(tree), "undeclared reference: rules construct no objects of named types")


def _ident(tree: Any) -> Node:
    name = str(tree.children[0])
    if name in _RESERVED:
        raise _BadLiteral(_position(tree), f"Syntax error: reserved identifier: {name}")
    return Ident(name, position=_position(tree))


def _call(tree: Any) -> Node:
    return Call(str(tree.children[0]), None, _arguments(tree.children[1:]), position=_after(tree.children[0]))


def _list(tree: Any) -> Node:
    children = tree.children[0].children if tree.children else []
    optional = frozenset(index for index, each in enumerate(children) if each.data == "optional_expr")
    return ListLiteral([_convert(each) for each in children], optional, position=_position(tree))


def _map(tree: Any) -> Node:
    children = tree.children[0].children if tree.children else []
    optional = frozenset(index for index, each in enumerate(children) if each.children[0].data == "optional_expr")
    entries = [(_convert(each.children[0]), _convert(each.children[1])) for each in children]
    return MapLiteral(entries, optional, position=_position(tree))


def _arguments(children: list[Any]) -> list[Node]:
    return [_convert(each) for each in children[0].children] if children else []


def _literal(tree: Any) -> Node:
    token = tree.children[0]
    text, position = str(token), _position(token)
    if token.type in ("INT_LIT", "UINT_LIT"):
        value = int(text.rstrip("uU"), 0 if "x" in text.lower() else 10)
        unsigned = token.type == "UINT_LIT"
        good = 0 <= value < 2**64 if unsigned else -(2**63) <= value < 2**63
        if not good and (unsigned or value != 2**63):  # behind a minus sign there is one more
            raise _BadLiteral(position, f"Syntax error: invalid {'u' if unsigned else ''}int literal")
        return Literal(value, "uint" if unsigned else "int", position=position)
    if token.type == "FLOAT_LIT":
        return Literal(float(text), "double", position=position)
    if token.type == "BOOL_LIT":
        return Literal(text == "true", "bool", position=position)
    if token.type == "NULL_LIT":
        return Literal(None, "null", position=position)
    if token.type == "BYTES_LIT":
        return Literal(_unquoted(text[1:], position, raw_bytes=True).encode("latin-1"), "bytes", position=position)
    return Literal(_unquoted(text, position), "string", position=position)


def _unquoted(text: str, position: str, *, raw_bytes: bool = False) -> str:
    raw = text[0] in "rR"
    text = text[1:] if raw else text
    quotes = 3 if text[:3] in ('"""', "'''") else 1
    body = text[quotes:-quotes]
    if raw or "\\" not in body:
        return body.encode().decode("latin-1") if raw_bytes else body

    def replacement(match: re.Match[str]) -> str:
        code = match.group(1)
        if len(code) == 1:
            if code not in _ESCAPED:
                raise _BadLiteral(position, f"Syntax error: token recognition error at: '\\{code}'")
            return _ESCAPED[code]
        if code[0] in "xXuU":
            number = int(code[1:], 16)
            if 0xD800 <= number < 0xE000 or number > 0x10FFFF:
                raise _BadLiteral(position, "Syntax error: invalid unicode code point")
            char = chr(number)
            return char if code[0] in "xX" or not raw_bytes else char.encode().decode("latin-1")
        return chr(int(code, 8))

    pieces: list[str] = []
    end = 0
    for match in _ESCAPE.finditer(body):
        plain = body[end : match.start()]
        pieces += [plain.encode().decode("latin-1") if raw_bytes else plain, replacement(match)]
        end = match.end()
    rest = body[end:]
    return "".join([*pieces, rest.encode().decode("latin-1") if raw_bytes else rest])


# Whose parts are the next level alone where the text has no operator of theirs.
_LEVELS: Final = frozenset(
    ["expr", "conditionalor", "conditionaland", "relation", "addition", "multiplication", "unary"]
)
_HANDLERS: Final[Mapping[str, Callable[[Any], Node]]] = {
    "expr": _expr,
    "conditionalor": _logical("_||_"),
    "conditionaland": _logical("_&&_"),
    "relation": _binary,
    "addition": _binary,
    "multiplication": _binary,
    "unary": _unary,
    "member_dot": _member_dot,
    "member_dot_arg": _member_call,
    "member_index": _member_index,
    "member_opt_dot": _optional_dot,
    "member_opt_index": _optional_index,
    "member_object": _object,
    "ident": _ident,
    "dot_ident": _ident,
    "ident_arg": _call,
    "dot_ident_arg": _call,
    "list_lit": _list,
    "map_lit": _map,
    "literal": _literal,
}
