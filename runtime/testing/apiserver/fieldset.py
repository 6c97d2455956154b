"""Sets of field paths, and their wire form ``fieldsV1``.

A path is a tuple of elements as ``fieldsV1`` writes them: ``f:NAME`` for a field or map key, ``k:{...}`` for the item
of a list by its keys, ``v:VALUE`` for the item of a set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import orjson

from runtime.types import JSONObject

Path: TypeAlias = tuple[str, ...]
Paths: TypeAlias = frozenset[Path]

EMPTY: Paths = frozenset()
_REMEMBERED = 500  # paths of a set at most: 256 of the longest would be hundreds of megabytes


def field_element(name: str) -> str:
    return f"f:{name}"


def key_element(keys: Mapping[str, object]) -> str:
    return f"k:{_compact(dict(sorted(keys.items())))}"


def value_element(value: object) -> str:
    return f"v:{_compact(value)}"


def _compact(value: object) -> str:
    return orjson.dumps(value).decode()


def encode(paths: Paths) -> JSONObject:
    """As ``fieldsV1``: a tree in which ``.`` marks an inner node that is itself a member. Not to be changed: objects
    that are made one like the other share it."""
    return _remembered(paths) if len(paths) <= _REMEMBERED else _encode(paths)


def _encode(paths: Paths) -> JSONObject:
    tree: JSONObject = {}
    members = set(paths)
    for path in sorted(members):
        node = tree
        for element in path:
            node = node.setdefault(element, {})
    _mark(tree, (), members)
    return tree


_remembered = lru_cache(maxsize=256)(_encode)


def _mark(node: JSONObject, path: Path, members: set[Path]) -> None:
    for element, child in list(node.items()):
        below = (*path, element)
        if child:
            _mark(child, below, members)
            if below in members:
                node[element] = {".": {}, **child}


def decode(tree: Mapping[str, Any]) -> Paths:
    """The opposite of :func:`encode`."""
    return frozenset(_members(tree, ()))


def _members(node: Mapping[str, Any], path: Path) -> Iterator[Path]:
    for element, child in node.items():
        if element == ".":
            yield path
        elif not child:
            yield (*path, element)
        else:
            yield from _members(child, (*path, element))


def text(path: Path) -> str:
    """A path as conflicts name it: ``.spec.containers[name="main"].image``."""
    return "".join(_element_text(element) for element in path)


def _element_text(element: str) -> str:
    kind, _, rest = element.partition(":")
    if kind == "f":
        return f".{rest}"
    if kind == "k":
        keys = json.loads(rest)
        return f"[{','.join(f'{name}={_compact(value)}' for name, value in keys.items())}]"
    return f"[={rest}]"
