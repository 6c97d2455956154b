"""Label and field selectors: read, match, write.

The grammar is the API server's. Labels: ``app=web, tier in (a,b), tier notin (c), key, !key, k==v, k!=v``. Fields:
``metadata.name=x, status.phase!=Running``. All requirements must hold; an empty selector matches everything.
``str()`` writes a selector in a form that reads back as an equal one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

EXISTS = "exists"
DOES_NOT_EXIST = "!"
EQUALS = "="
NOT_EQUALS = "!="
IN = "in"
NOT_IN = "notin"
GREATER = ">"
LESS = "<"

_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_TOKEN = re.compile(r"\s*(?:(?P<op>==|!=|=|!|\(|\)|,|>|<)|(?P<word>[^\s=!(),<>]+))")
_INTEGER = re.compile(r"[+-]?[0-9]+")


class SelectorError(ValueError):
    """A selector that cannot be read; the message quotes it and names the bad part."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label. ``values`` is sorted; empty for ``exists`` and ``!``."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, object]) -> bool:
        """Whether labels with this key satisfy the condition. ``!=`` and ``notin`` hold where it is absent."""
        value = labels.get(self.key)
        if type(value) is not str and self.key in labels:
            value = "" if value is None else str(value)
        return _TESTS[self.operator](value, self.values)  # type: ignore[arg-type]

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(self.values)})"
        return f"{self.key}{self.operator}{self.values[0]}"


def _greater(value: str | None, values: tuple[str, ...]) -> bool:
    return value is not None and _INTEGER.fullmatch(value) is not None and int(value) > int(values[0])


def _less(value: str | None, values: tuple[str, ...]) -> bool:
    return value is not None and _INTEGER.fullmatch(value) is not None and int(value) < int(values[0])


_TESTS: dict[str, Callable[[str | None, tuple[str, ...]], bool]] = {
    EXISTS: lambda value, _: value is not None,
    DOES_NOT_EXIST: lambda value, _: value is None,
    EQUALS: lambda value, values: value == values[0],
    NOT_EQUALS: lambda value, values: value != values[0],
    IN: lambda value, values: value is not None and value in values,
    NOT_IN: lambda value, values: value is None or value not in values,
    GREATER: _greater,
    LESS: _less,
}


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """Conditions on labels, all of which must hold."""

    requirements: tuple[Requirement, ...] = ()

    EVERYTHING: ClassVar[LabelSelector]

    @classmethod
    def parse(cls, text: str | LabelSelector | None) -> LabelSelector:
        """:raises SelectorError: the text is no selector."""
        if isinstance(text, LabelSelector):
            return text
        return cls(_Parser(text).parse()) if text and text.strip() else cls()

    @classmethod
    def from_dict(cls, selector: Mapping[str, Any] | None) -> LabelSelector:
        """Of a ``LabelSelector`` object as in specs: ``matchLabels`` and ``matchExpressions``.

        None selects nothing there, and is refused here because this type cannot say that.

        :raises SelectorError: naming the field.
        """
        if selector is None:
            raise SelectorError("no label selector: a missing one selects nothing, {} selects everything")
        found = [
            Requirement(_key(k, k), EQUALS, (_value(v, k),)) for k, v in (selector.get("matchLabels") or {}).items()
        ]
        for i, expression in enumerate(selector.get("matchExpressions") or ()):
            found.append(_expression(expression, f"matchExpressions[{i}]"))
        return cls(tuple(found))

    @classmethod
    def from_labels(cls, labels: Mapping[str, str]) -> LabelSelector:
        """That selects what has exactly these values for these keys."""
        return cls(tuple(Requirement(_key(k, k), EQUALS, (_value(v, k),)) for k, v in labels.items()))

    @property
    def empty(self) -> bool:
        """Whether it selects everything."""
        return not self.requirements

    def matches(self, labels: Mapping[str, object]) -> bool:
        """Whether labels satisfy every condition."""
        # A generator would cost more than the test, and this runs for each object of a cache.
        for requirement in self.requirements:  # noqa: SIM110
            if not requirement.matches(labels):
                return False
        return True

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


LabelSelector.EVERYTHING = LabelSelector()


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """Conditions on fields, all of which must hold. Each is (path, ``=`` or ``!=``, value)."""

    requirements: tuple[tuple[str, str, str], ...] = ()

    @classmethod
    def parse(cls, text: str | FieldSelector | None) -> FieldSelector:
        """``\\`` before ``,``, ``=`` or ``\\`` in a value takes it literally.

        :raises SelectorError: the text is no selector.
        """
        if isinstance(text, FieldSelector):
            return text
        if not text or not text.strip():
            return cls()
        return cls(tuple(_field_term(term, text) for term in _split_unescaped(text) if term))

    @property
    def empty(self) -> bool:
        """Whether it selects everything."""
        return not self.requirements

    @property
    def fields(self) -> tuple[str, ...]:
        """The paths it looks at."""
        return tuple(path for path, _, _ in self.requirements)

    def matches(self, fields: Mapping[str, str]) -> bool:
        """Whether fields, given as a mapping of path to value, satisfy every condition. An absent one is ``""``."""
        return all((fields.get(path, "") == value) == (op == EQUALS) for path, op, value in self.requirements)

    def __str__(self) -> str:
        return ",".join(f"{path}{op}{_escaped(value)}" for path, op, value in self.requirements)


class _Parser:
    """Recursive descent over the label selector grammar."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._scan()
        self._at = 0

    def parse(self) -> tuple[Requirement, ...]:
        found = [self._requirement()]
        while self._peek() == ",":
            self._next()
            found.append(self._requirement())
        if self._peek():
            raise self._error(f"expected ',' or the end, found {self._peek()!r}")
        return tuple(found)

    def _scan(self) -> list[str]:
        tokens: list[str] = []
        at, end = 0, len(self._text.rstrip())
        while at < end:
            match = _TOKEN.match(self._text, at)
            if match is None:
                raise self._error(f"unexpected {self._text[at:]!r}")
            tokens.append(match["op"] or match["word"])
            at = match.end()
        return tokens

    def _requirement(self) -> Requirement:
        if self._peek() == "!":
            self._next()
            return Requirement(self._key(), DOES_NOT_EXIST)
        key = self._key()
        operator = self._peek()
        if operator in ("", ","):
            return Requirement(key, EXISTS)
        self._next()
        if operator in (IN, NOT_IN):
            return Requirement(key, operator, self._values(key))
        if operator == "==":
            operator = EQUALS
        if operator not in (EQUALS, NOT_EQUALS, GREATER, LESS):
            raise self._error(f"after the key {key!r}: {operator!r} is no operator; one of = == != in notin > <")
        value = self._one_value(key)
        if operator in (GREATER, LESS) and not _INTEGER.fullmatch(value):
            raise self._error(f"{key!r} is compared with {value!r}, which is no integer")
        return Requirement(key, operator, (value,))

    def _key(self) -> str:
        token = self._next()
        if not token or not (token[0].isalnum() or token[0] in "._-/"):
            raise self._error(f"expected a label key, found {token or 'the end'!r}")
        return _key(token, self._text)

    def _one_value(self, key: str) -> str:
        if self._peek() in ("", ","):
            return ""
        return _value(self._next(), key, self._text)

    def _values(self, key: str) -> tuple[str, ...]:
        if self._next() != "(":
            raise self._error(f"the values of {key!r} must stand in parentheses")
        values: set[str] = set()
        while True:
            if self._peek() in (",", ")"):
                values.add("")
            else:
                values.add(_value(self._next(), key, self._text))
            after = self._next()
            if after == ")":
                return tuple(sorted(values))
            if after != ",":
                raise self._error(f"in the values of {key!r}: expected ',' or ')', found {after or 'the end'!r}")

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _error(self, what: str) -> SelectorError:
        return SelectorError(f"label selector {self._text!r}: {what}")


def _key(key: str, where: str) -> str:
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > 253 or not _PREFIX.fullmatch(prefix)):
        raise SelectorError(f"label selector {where!r}: {prefix!r} before the '/' of a key must be a DNS name")
    if not _NAME.fullmatch(name):
        raise SelectorError(
            f"label selector {where!r}: {name!r} is no label name: up to 63 letters, digits, '-', '_' and '.', "
            "with a letter or digit at both ends"
        )
    return key


def _value(value: object, key: str, where: str = "") -> str:
    if not isinstance(value, str) or (value and not _NAME.fullmatch(value)):
        raise SelectorError(
            f"label selector {where or key!r}: {value!r} is no value for {key!r}: empty, or up to 63 letters, digits, "
            "'-', '_' and '.', with a letter or digit at both ends"
        )
    return value


_EXPRESSION_OPERATORS = {"In": IN, "NotIn": NOT_IN, "Exists": EXISTS, "DoesNotExist": DOES_NOT_EXIST}


def _expression(expression: Mapping[str, Any], where: str) -> Requirement:
    operator = _EXPRESSION_OPERATORS.get(str(expression.get("operator")))
    if operator is None:
        allowed = ", ".join(_EXPRESSION_OPERATORS)
        raise SelectorError(f"{where}.operator: {expression.get('operator')!r} is none of {allowed}")
    key = _key(str(expression.get("key", "")), where)
    values: Iterable[object] = expression.get("values") or ()
    checked = tuple(sorted({_value(v, key, where) for v in values}))
    if bool(checked) != (operator in (IN, NOT_IN)):
        raise SelectorError(f"{where}.values: In and NotIn need some, Exists and DoesNotExist none")
    return Requirement(key, operator, checked)


def _split_unescaped(text: str) -> list[str]:
    """The text cut at each comma that no backslash escapes."""
    terms, start, at = [], 0, 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == ",":
            terms.append(text[start:at])
            start = at + 1
        at += 1
    terms.append(text[start:])
    return [term.strip() for term in terms]


def _field_term(term: str, text: str) -> tuple[str, str, str]:
    match = re.match(r"([^=!\\,\s]+)(!=|==|=)", term)
    if match is None:
        raise SelectorError(f"field selector {text!r}: {term!r} is no condition; write path=value or path!=value")
    raw = term[match.end() :]
    return match[1], NOT_EQUALS if match[2] == "!=" else EQUALS, _unescaped(raw, text)


def _unescaped(value: str, text: str) -> str:
    out: list[str] = []
    characters = iter(value)
    for c in characters:
        if c == "\\":
            escaped = next(characters, None)
            if escaped not in ("\\", ",", "="):
                raise SelectorError(f"field selector {text!r}: in {value!r}, a '\\' may only stand before , = and \\")
            out.append(escaped)
        elif c == "=":
            raise SelectorError(f"field selector {text!r}: in {value!r}, write '\\=' for '='")
        else:
            out.append(c)
    return "".join(out)


def _escaped(value: str) -> str:
    return re.sub(r"([\\,=])", r"\\\1", value)
