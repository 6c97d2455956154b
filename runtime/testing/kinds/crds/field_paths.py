"""Paths to a field of a schema: the ``fieldPath`` of a CEL rule and the ``jsonPath`` of a selectable field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.types import JSONMapping

_PART = re.compile(r"[.\[\]]|'(?:\\.|[^'\\])*'|'.*|[^.\[\]]+", re.DOTALL)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}


class FieldPathError(ValueError):
    """Not a path, or not one to a field of the schema; the text says why."""


@dataclass(frozen=True)
class FieldPath:
    """:param text: the path as field errors show it, without a dot in front (``spec.limits[cpu]``).
    :param root: its first step.
    :param schema: of the field.
    """

    text: str
    root: str
    schema: JSONMapping


def resolve_field_path(source: str, schema: JSONMapping, *, brackets: bool = True) -> FieldPath:
    """:param brackets: whether ``['name']`` is allowed as well as ``.name``.
    :raises FieldPathError: for anything that is no path to a field of ``schema``.
    """
    parts = _PART.findall(source)
    text, root, position = "", "", 0

    def take() -> str:
        nonlocal position
        if position >= len(parts):
            raise FieldPathError("unexpected end of JSON path")
        position += 1
        return str(parts[position - 1])

    while position < len(parts):
        part = take()
        if part == "[":
            if not brackets:
                raise FieldPathError("array notation is not allowed")
            name = _unquoted(take())
        elif part == ".":
            name = take()
        else:
            raise FieldPathError(f"expected [ or . but got: {part}")
        schema, named = _step(schema, name)
        if part == "[":
            closing = take()
            if closing != "]":
                raise FieldPathError(f"expected ] but got {closing}")
        text += f".{name}" if named else f"[{name}]"
        root = root or name
    return FieldPath(text.removeprefix("."), root, schema)


def _step(schema: JSONMapping, name: str) -> tuple[JSONMapping, bool]:
    properties = schema.get("properties")
    if properties:
        if name not in properties:
            raise FieldPathError("does not refer to a valid field")
        return properties[name], True
    additional = schema.get("additionalProperties")
    if not isinstance(additional, Mapping):
        raise FieldPathError("does not refer to a valid field")
    return additional, False


def _unquoted(part: str) -> str:
    if len(part) < 2 or part[0] != "'" or part[-1] != "'":
        raise FieldPathError(f"expected single quoted string but got {part}")

    def replacement(match: re.Match[str]) -> str:
        if match.group(1) not in _ESCAPES:
            raise FieldPathError(f"invalid string literal: invalid escape char {match.group()}")
        return _ESCAPES[match.group(1)]

    return re.sub(r"\\(.)", replacement, part[1:-1], flags=re.DOTALL)
