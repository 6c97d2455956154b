"""What of a new object decides which of its fields somebody owns: far less than the whole of it.

Thousands of objects that are made one like the other differ in their values. Which fields they have is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import orjson

from runtime.types import JSONMapping

Shape: TypeAlias = tuple[object, ...]

_END = None


def shape_of(obj: JSONMapping, empty: JSONMapping) -> Shape:
    """Equal for objects of one type in which the same fields differ from ``empty``: the names in it, and the values
    of its lists, whose items may be told apart by them, and of what ``empty`` has, too."""
    found: list[object] = []
    _walk(obj, empty, found)
    return tuple(found)


def _walk(value: Mapping[str, Any], empty: Mapping[str, Any] | None, found: list[object]) -> None:
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
