"""What the real server says of a selector that it cannot read."""

from __future__ import annotations

import re
from typing import Final, NoReturn

from runtime.testing.kinds import gojson, names
from runtime.testing.kinds.objectmeta import attached_problems

_TOKEN: Final = re.compile(r"[ \t\r\n]*(?:(?P<symbols>[=!(),<>]+)|(?P<word>[^ \t\r\n=!(),<>]+))")
_SYMBOLS: Final = frozenset({")", ",", "!", "==", "=", ">", "<", "!=", "("})
_WORDS: Final = frozenset({"in", "notin"})
_BINARY: Final = ("in", "notin", "=", "==", "!=", "gt", "lt")  # as a message lists them
_OPERATORS: Final = frozenset({"in", "notin", "=", "==", "!=", ">", "<"})
_END: Final = ""
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")


def label_selector_error(text: str) -> str:
    """Why this is no label selector; empty if it is one."""
    try:
        _Reader(text).read()
    except _Unreadable as error:
        return str(error)
    return ""


def field_selector_error(text: str) -> str:
    """Why what cannot be read is no field selector."""
    for part in sorted(_terms(text)):
        term = re.search("!=|==|=", part)
        if term is None:
            return f"invalid selector: '{text}'; can't understand '{part}'"
        wrong = _wrong_value(part[term.end() :])
        if wrong:
            return wrong
    return f"invalid selector: '{text}'"


class _Unreadable(Exception):
    pass


class _Reader:
    """Reads as far as the real server does, with its words for where it stops."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0

    def read(self) -> None:
        while True:
            word = self._ahead()
            if word == _END:
                return
            if not _is_identifier(word) and word != "!":
                _fail(f"found '{word}', expected: !, identifier, or 'end of string'")
            try:
                self._requirement()
            except _Unreadable as error:
                _fail(f"unable to parse requirement: {error}")
            word = self._next()
            if word == _END:
                return
            if word != ",":
                _fail(f"found '{word}', expected: ',' or 'end of string'")
            word = self._ahead()
            if not _is_identifier(word) and word != "!":
                _fail(f"found '{word}', expected: identifier after ','")

    def _requirement(self) -> None:
        key = self._next()
        absent = key == "!"
        if absent:
            key = self._next()
        if not _is_identifier(key):
            _fail(f"found '{key}', expected: identifier")
        problems = names.bad_qualified_name(key)
        if problems:
            _fail(f"<nil>: Invalid value: {gojson.quoted(key)}: {'; '.join(problems)}")
        if absent or self._ahead() in (_END, ","):
            return
        operator = self._next()
        if operator not in _OPERATORS:
            _fail(f"found '{operator}', expected: {', '.join(_BINARY)}")
        values = self._values() if operator in _WORDS else {self._value()}
        self._judge(key, operator, sorted(values))

    @staticmethod
    def _judge(key: str, operator: str, values: list[str]) -> None:
        found = []
        for index, value in enumerate(values):
            if operator in (">", "<") and not (_INTEGER.fullmatch(value) and -(2**63) <= int(value) < 2**63):
                why = "for 'Gt', 'Lt' operators, the value must be an integer"
                found.append(f"values[{index}]: Invalid value: {gojson.quoted(value)}: {why}")
        for index, value in enumerate(values):
            problems = attached_problems({"labels": {"key": value}}, "")
            found += [f"values[{index}][{key}]: {problem.message}" for problem in problems]
        if found:
            _fail(found[0] if len(found) == 1 else f"[{', '.join(found)}]")

    def _values(self) -> set[str]:
        word = self._next()
        if word != "(":
            _fail(f"found '{word}' expected: '('")
        word = self._ahead()
        if word == ")":
            self._next()
            return {""}
        if not _is_identifier(word) and word != ",":
            _fail(f"found '{word}', expected: ',', ')' or identifier")
        values = self._listed()
        word = self._next()
        if word != ")":
            _fail(f"found '{word}', expected: ')'")
        return values

    def _listed(self) -> set[str]:
        values: set[str] = set()
        while True:
            word = self._next()
            if _is_identifier(word):
                values.add(word)
                after = self._ahead()
                if after == ")":
                    return values
                if after != ",":
                    _fail(f"found '{after}', expected: ',' or ')'")
            elif word == ",":
                if not values or self._ahead() == ",":
                    values.add("")
                if self._ahead() == ")":
                    return values | {""}
            else:
                _fail(f"found '{word}', expected: ',', or identifier")

    def _value(self) -> str:
        if self._ahead() in (_END, ","):
            return ""
        word = self._next()
        if not _is_identifier(word):
            _fail(f"found '{word}', expected: identifier")
        return word

    def _ahead(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else _END

    def _next(self) -> str:
        word = self._ahead()
        self._at += 1
        return word


def _fail(why: str) -> NoReturn:
    raise _Unreadable(why)


def _is_identifier(word: str) -> bool:
    """``in`` and ``notin`` are, too, where no operator can stand."""
    return word != _END and word[0] not in "=!(),<>"


def _tokens(text: str) -> list[str]:
    found: list[str] = []
    for match in _TOKEN.finditer(text):
        if match["word"] is not None:
            found.append(match["word"])
        else:
            found.extend(_symbols(match["symbols"]))
    return found


def _symbols(text: str) -> list[str]:
    """The longest operators that there are, from the left."""
    found: list[str] = []
    while text:
        length = 2 if text[:2] in _SYMBOLS else 1
        found.append(text[:length])
        text = text[length:]
    return found


def _terms(text: str) -> list[str]:
    """The text cut at each comma that no backslash escapes."""
    return [match[0] for match in re.finditer(r"(?:\\.|[^\\,]|\\$)+", text, re.DOTALL)]


def _wrong_value(value: str) -> str:
    """QUIRK kept: a character that should have been escaped is told by its number."""
    characters = iter(value)
    for char in characters:
        escaped = next(characters, "") if char == "\\" else None
        if escaped is not None and escaped not in ("\\", ",", "="):
            return f"invalid field selector: invalid escape sequence: \\{escaped}"
        if char in ",=":
            return f"invalid field selector: unescaped character in value: {ord(char)}"
    return ""
