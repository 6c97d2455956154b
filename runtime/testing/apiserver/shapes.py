"""What of a new object decides which of its fields somebody owns: far less than the whole of it.

Thousands of objects that are made one like the other differ in their values. Which fields they have is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import orjson

from runtime.types import JSONMapping

_Part: TypeAlias = tuple[str, ...] | str | bytes | None
Shape: TypeAlias = tuple[_Part, ...]

_END = None
_NAME = 200  # bytes: the text, the path that ends with it, its place in a tree


def shape_of(obj: JSONMapping, empty: JSONMapping) -> Shape:
    """Equal for objects of one type in which the same fields differ from ``empty``: the names in it, and the values
    of its lists, whose items may be told apart by them, and of what ``empty`` has, too."""
    found: list[_Part] = []
    _walk(obj, empty, found)
    return tuple(found)


def size_of(shape: Shape) -> int:
    """How many bytes it takes to remember it and what follows from it, roughly: lists make it as long as the object."""
    return sum(len(each) * (_NAME if isinstance(each, tuple) else 1) for each in shape if each is not _END)


def _walk(value: Mapping[str, Any], empty: Mapping[str, Any] | None, found: list[_Part]) -> None:
    found.append(tuple(value))
    for name, each in value.items():
        if type(each) is dict:
            found.append(name)
            below = empty.get(name) if empty else None
            _walk(each, below if type(below) is dict else None, found)
        elif type(each) is list or (empty and name in empty):
            found.append(name)
            found.append(orjson.dumps(each))
    found.append(_END)
