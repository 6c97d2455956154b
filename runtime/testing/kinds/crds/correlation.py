"""Which old value a new one replaces, and whether it changed: what ratcheting and transition rules go by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from runtime.testing.kinds import gojson
from runtime.testing.kinds.crds.schema import Node


class _Missing:
    """There is no old value, or none that corresponds."""


MISSING: Final = _Missing()


def old_items(node: Node, old: object) -> Mapping[str, object]:
    """The items of a map-like list by their keys; none of other lists, whose items cannot be told apart."""
    if node.list_type != "map" or not isinstance(old, list):
        return {}
    found: dict[str, object] = {}
    for item in old:
        key = list_key(node, item)
        if key is not None:
            found.setdefault(key, item)
    return found


def correlated(node: Node, value: object, old: object) -> list[object]:
    """For each item of a list, the old item that it replaces, or MISSING."""
    items = value if isinstance(value, list) else []
    known = old_items(node, old)
    if not known:
        return [MISSING] * len(items)
    return [known.get(list_key(node, item) or "", MISSING) for item in items]


def list_key(node: Node, item: object) -> str | None:
    """What tells an item of a map-like list from the others; None if it lacks a key."""
    if not isinstance(item, Mapping) or not node.list_keys:
        return None
    if any(not isinstance(item.get(name), str | int | float | bool) for name in node.list_keys):
        return None
    return gojson.value([item[name] for name in node.list_keys])


def old_property(old: object, name: str) -> object:
    """The property of the old value, MISSING if it has none."""
    return old.get(name, MISSING) if isinstance(old, dict) else MISSING


def correlated_property(node: Node, old: object, name: str) -> object:
    """As :func:`old_property`, but MISSING too for a property that the schema does not know."""
    if name not in node.properties and node.additional is None:
        return MISSING
    return old_property(old, name)


def unchanged(node: Node, value: object, old: object) -> bool:
    """Whether the value is what it was. The order of a map-like list does not matter.

    QUIRK kept: an object with a field that the schema does not know counts as changed, so a whole custom resource,
    whose metadata the schema does not describe, never is unchanged.
    """
    if old is MISSING:
        return False
    if isinstance(value, dict) and isinstance(old, dict):
        return len(value) == len(old) and all(_same_property(node, name, value, old) for name in value)
    if isinstance(value, list) and isinstance(old, list):
        if len(value) != len(old):
            return False
        if node.list_type == "map" and node.items is not None:
            items = node.items
            return all(unchanged(items, *pair) for pair in zip(value, correlated(node, value, old), strict=True))
    return same(value, old)


def _same_property(node: Node, name: str, value: Mapping[str, object], old: Mapping[str, object]) -> bool:
    child = node.properties.get(name, node.additional)
    return child is not None and name in old and unchanged(child, value[name], old[name])


def same(left: object, right: object) -> bool:
    """Equal as JSON: unlike in Python, 1 is not true."""
    if left is right:
        return True
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right
