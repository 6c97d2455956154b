"""The JSONPath of printer columns: fields, indices, wildcards and equality filters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_FIELD = re.compile(r"\.((?:\\.|[^.\[\]\\])+)")
_QUOTED = re.compile(r"\[(['\"])(.*?)\1\]")
_INDEX = re.compile(r"\[(-?\d+)\]")
_SLICE = re.compile(r"\[(-?\d*):(-?\d*)\]")
_WILDCARD = re.compile(r"\[\*\]|\.\*")
_FILTER = re.compile(
    r"\[\?\(\s*@((?:\.[^\s=!<>&|()]+)+)\s*(?:(==|!=|<=|>=|<|>)\s*(\"[^\"]*\"|'[^']*'|[^\s)]+)\s*)?\)\]"
)

Step = Callable[[list[object]], list[object]]


class JSONPathError(ValueError):
    """A path that is not understood."""


@dataclass(frozen=True)
class JSONPath:
    """A compiled path."""

    source: str
    steps: tuple[Step, ...]

    def find(self, obj: object) -> list[object]:
        """All values there, in order; empty if something on the way is missing."""
        values = [obj]
        for step in self.steps:
            values = step(values)
        return values


def compile_path(source: str) -> JSONPath:
    """:raises JSONPathError: naming the part that is not understood."""
    text = source.strip().removeprefix("{").removesuffix("}").removeprefix("$").removeprefix("@")
    if text and text[0] not in ".[":
        text = f".{text}"
    steps: list[Step] = []
    position = 0
    while position < len(text):
        for pattern, make in _PARTS:
            match = pattern.match(text, position)
            if match is not None:
                steps.append(make(match))
                position = match.end()
                break
        else:
            raise JSONPathError(f"jsonPath {source!r}: cannot understand {text[position:]!r}")
    return JSONPath(source, tuple(steps))


def _field(name: str) -> Step:
    def step(values: list[object]) -> list[object]:
        return [each[name] for each in values if isinstance(each, Mapping) and name in each]

    return step


def _index(position: int) -> Step:
    def step(values: list[object]) -> list[object]:
        lists = [each for each in values if isinstance(each, list)]
        return [each[position] for each in lists if -len(each) <= position < len(each)]

    return step


def _slice(start: str, stop: str) -> Step:
    window = slice(int(start) if start else None, int(stop) if stop else None)

    def step(values: list[object]) -> list[object]:
        return [item for each in values if isinstance(each, list) for item in each[window]]

    return step


def _every(values: list[object]) -> list[object]:
    found: list[object] = []
    for each in values:
        if isinstance(each, Mapping):
            found += each.values()
        elif isinstance(each, list):
            found += each
    return found


def _filter(match: re.Match[str]) -> Step:
    path, operator, literal = match.groups()
    inner = compile_path(path)
    expected = _literal(literal) if operator else None

    def keeps(item: object) -> bool:
        found = inner.find(item)
        return bool(found) and (not operator or _compare(found[0], operator, expected))

    def step(values: list[object]) -> list[object]:
        return [item for each in values if isinstance(each, list) for item in each if keeps(item)]

    return step


def _literal(text: str) -> object:
    if text[:1] in "'\"":
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return text


def _compare(value: object, operator: str, expected: object) -> bool:
    if operator == "==":
        return value == expected
    if operator == "!=":
        return value != expected
    if not isinstance(value, int | float) or not isinstance(expected, int | float):
        return False
    return {
        "<": value < expected,
        "<=": value <= expected,
        ">": value > expected,
        ">=": value >= expected,
    }[operator]


_PARTS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Step]], ...] = (
    (_WILDCARD, lambda _: _every),
    (_FILTER, _filter),
    (_QUOTED, lambda match: _field(match.group(2))),
    (_INDEX, lambda match: _index(int(match.group(1)))),
    (_SLICE, lambda match: _slice(match.group(1), match.group(2))),
    (_FIELD, lambda match: _field(re.sub(r"\\(.)", r"\1", match.group(1)))),
)
