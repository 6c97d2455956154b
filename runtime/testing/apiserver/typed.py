"""Values walked along their schema: which fields they have, how two differ, what a merge of them is.

The schema says of each list and map whether it is one value (atomic) or made of parts that can be owned one by one.
Where it says nothing, as for unknown fields, maps are made of parts and lists are one value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.testing.apiserver.fieldset import (
    Path,
    Paths,
    field_element,
    key_element,
    text,
    value_element,
)
from runtime.testing.kinds.model import Kind

_MISSING: Any = object()


class Type:
    """One node of a schema. Children are made when first asked for, so that recursive schemas are no trouble."""

    def __init__(self, schema: Mapping[str, Any], resolve: Any) -> None:
        self._schema = schema
        self._resolve = resolve
        self._fields: dict[str, Type] = {}
        self._others: Type | None = None
        self._item: Type | None = None
        self.atomic = _is_atomic(schema)
        self.keys: tuple[str, ...] = _list_keys(schema)
        self.is_set = not self.atomic and not self.keys and _is_list(schema) and _is_set(schema)
        untyped = schema.get("x-quantity") or schema.get("x-kubernetes-int-or-string")
        self.type = "" if untyped else str(schema.get("type", ""))
        self._properties: Mapping[str, Any] = schema.get("properties") or {}

    def names(self, name: str) -> bool:
        """Whether this is a struct with that field."""
        return name in self._properties

    def child(self, name: str) -> Type:
        """The type of a field, or of a map's values."""
        found = self._fields.get(name)
        if found is not None:
            return found
        known = self._properties.get(name)
        if known is not None:
            found = self._fields[name] = self._made(known)
            return found
        if self._others is None:
            self._others = self._made(self._schema.get("additionalProperties"))
        return self._others

    @property
    def item(self) -> Type:
        if self._item is None:
            self._item = self._made(self._schema.get("items"))
        return self._item

    @property
    def required(self) -> Sequence[str]:
        return self._schema.get("required") or ()

    def fields(self) -> Iterator[str]:
        yield from self._properties

    @property
    def default(self) -> Any:
        return self._schema.get("default", _MISSING)

    def _made(self, schema: Any) -> Type:
        return Type(self._resolve(schema) if isinstance(schema, Mapping) else {}, self._resolve)


def _is_list(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "array" or "items" in schema


def _is_atomic(schema: Mapping[str, Any]) -> bool:
    if not _is_list(schema):
        return schema.get("x-kubernetes-map-type") == "atomic"
    declared = schema.get("x-kubernetes-list-type")
    if declared:
        return bool(declared == "atomic")
    return "merge" not in str(schema.get("x-kubernetes-patch-strategy", ""))


def _list_keys(schema: Mapping[str, Any]) -> tuple[str, ...]:
    if schema.get("x-kubernetes-list-type") == "map":
        return tuple(schema.get("x-kubernetes-list-map-keys") or ())
    key = schema.get("x-kubernetes-patch-merge-key")
    if key and "x-kubernetes-list-type" not in schema and not _is_atomic(schema):
        return (key,)
    return ()


def _is_set(schema: Mapping[str, Any]) -> bool:
    return "merge" in str(schema.get("x-kubernetes-patch-strategy", "")) or (
        schema.get("x-kubernetes-list-type") == "set"
    )


def type_of(kind: Kind) -> Type:
    """The type of a kind's objects."""
    found = _TYPES.get(kind)
    if found is None:
        schema = kind.resolve(kind.schema) if kind.schema is not None else {}
        found = Type(schema, kind.resolve)
        if len(_TYPES) > _TYPES_KEPT:
            _TYPES.clear()  # kinds of CRDs come and go
        _TYPES[kind] = found
    return found


_TYPES: dict[Kind, Type] = {}
_TYPES_KEPT = 1000


# -- which fields a value has


def field_paths(value: Any, node: Type) -> Paths:
    """The fields that applying ``value`` makes one's own: the leaves, and the items of lists."""
    found: set[Path] = set()
    _collect(value, node, (), found)
    return frozenset(found)


def _collect(value: Any, node: Type, path: Path, found: set[Path]) -> None:
    if node.atomic or not isinstance(value, (dict, list)):
        found.add(path)
    elif isinstance(value, dict):
        for name, child in value.items():
            below = (*path, field_element(name))
            _collect(child, node.child(name), below, found)
            if child is None or child == {} or not node.names(name):
                found.add(below)
    elif not _granular(node):
        found.add(path)
    else:
        for element, item in _items(value, node):
            below = (*path, element)
            _collect(item, node.item, below, found)
            found.add(below)


def _granular(node: Type) -> bool:
    """Whether a list's items are owned one by one."""
    return bool(node.keys) or node.is_set


def _items(value: Sequence[Any], node: Type) -> list[tuple[str, Any]]:
    return [(item_element(item, node), item) for item in value]


def item_element(item: Any, node: Type) -> str:
    if not node.keys:
        return value_element(item)
    keys = {key: _key_value(item, key, node) for key in node.keys}
    return key_element({key: None if value is _MISSING else value for key, value in keys.items()})


def _key_value(item: Any, key: str, node: Type) -> Any:
    """What identifies an item of a list, or its default."""
    value = item.get(key, _MISSING) if isinstance(item, dict) else _MISSING
    if value is _MISSING:
        value = node.item.child(key).default
    return "TCP" if value is _MISSING and key == "protocol" else value


# -- whether a value can be read by its type


def misfits(value: Any, node: Type, path: str = "") -> Iterator[str]:
    """Why fields of ``value`` could not be owned: values of another type than the schema's, items that cannot be told
    apart."""
    expected = _EXPECTED.get(node.type)
    if value is not None and expected is not None and not _is_of(value, expected[1]):
        yield f"{path}: expected {expected[0]}, got {value!r}"
    elif isinstance(value, dict):
        for name, child in value.items():
            yield from misfits(child, node.child(name), f"{path}.{name}")
    elif isinstance(value, list):
        granular = _granular(node)
        if granular:
            yield from _item_misfits(value, node, path)
        for index, item in enumerate(value):
            name = text((item_element(item, node),)) if granular else f"[{index}]"
            yield from misfits(item, node.item, f"{path}{name}")


_EXPECTED: Mapping[str, tuple[str, tuple[type, ...]]] = {
    "object": ("map", (dict,)),
    "array": ("list", (list,)),
    "integer": ("numeric (int or float)", (int, float)),
    "number": ("numeric (int or float)", (int, float)),
    "string": ("string", (str,)),
    "boolean": ("boolean", (bool,)),
}


def _is_of(value: object, types: tuple[type, ...]) -> bool:
    return isinstance(value, types) and isinstance(value, bool) is (types == (bool,))


def _item_misfits(items: Sequence[Any], node: Type, path: str) -> Iterator[str]:
    seen: set[str] = set()
    for index, item in enumerate(items):
        missing = [key for key in node.keys if _key_value(item, key, node) is _MISSING]
        for key in missing:
            why = f'associative list with keys has an element that omits key field "{key}"'
            yield f"{path}: element {index}: {why} (and doesn't have default value)"
        element = item_element(item, node)
        if element in seen and not missing:
            yield f"{path}: duplicate entries for key {text((element,))}"
        seen.add(element)


def with_parents(paths: Paths, node: Type) -> Paths:
    """``paths`` and every struct field above one of them, which a set of leaves leaves out."""
    found = set(paths)
    for path in paths:
        current: Type | None = node
        for length, element in enumerate(path, start=1):
            if current is None:
                break
            kind, _, name = element.partition(":")
            if kind == "f":
                if current.names(name):
                    found.add(path[:length])
                current = current.child(name)
            else:
                current = current.item
    return frozenset(found)


# -- how two values differ


@dataclass(slots=True)
class Difference:
    added: set[Path] = field(default_factory=set)
    modified: set[Path] = field(default_factory=set)
    removed: set[Path] = field(default_factory=set)

    @property
    def changed(self) -> Paths:
        return frozenset(self.added | self.modified)


def compare(old: Any, new: Any, node: Type) -> Difference:
    """What must be done to ``old`` so that it becomes ``new``."""
    difference = Difference()
    _compare(old, new, node, (), difference)
    return difference


def _compare(old: Any, new: Any, node: Type, path: Path, difference: Difference) -> None:
    if old is _MISSING:
        if new is not _MISSING:
            _add(new, node, path, difference.added)
        return
    if _is_leaf(old, new, node):
        _compare_leaf(old, new, path, difference)
        return
    if path and new is _MISSING:
        difference.removed.add(path)
    if old == new:
        return
    if isinstance(old, dict) or isinstance(new, dict):
        before = old if isinstance(old, dict) else {}
        after = new if isinstance(new, dict) else {}
        for name, value in after.items():
            below = (*path, field_element(name))
            if name in before:
                _compare(before[name], value, node.child(name), below, difference)
            elif isinstance(value, (dict, list)):
                _add(value, node.child(name), below, difference.added)
            else:
                difference.added.add(below)
        for name in before.keys() - after.keys():
            _compare(before[name], _MISSING, node.child(name), (*path, field_element(name)), difference)
    else:
        was = dict(_items(old if isinstance(old, list) else (), node))
        now = dict(_items(new if isinstance(new, list) else (), node))
        for element in {**was, **now}:
            below = (*path, element)
            _compare(was.get(element, _MISSING), now.get(element, _MISSING), node.item, below, difference)


def _add(new: Any, node: Type, path: Path, added: set[Path]) -> None:
    """All that is new where nothing was: the common case, of every creation."""
    added.add(path)
    if node.atomic or not new:
        return
    if isinstance(new, dict):
        for name, value in new.items():
            below = (*path, f"f:{name}")
            if isinstance(value, (dict, list)):
                _add(value, node.child(name), below, added)
            else:
                added.add(below)
    elif isinstance(new, list) and _granular(node):
        for element, value in dict(_items(new, node)).items():
            _add(value, node.item, (*path, element), added)


def _compare_leaf(old: Any, new: Any, path: Path, difference: Difference) -> None:
    if new is _MISSING:
        difference.removed.add(path)
    elif old != new or isinstance(old, bool) is not isinstance(new, bool):
        difference.modified.add(path)


def _is_leaf(old: Any, new: Any, node: Type) -> bool:
    if node.atomic:
        return True
    if isinstance(old, dict) and isinstance(new, dict):
        return not (old or new)
    if isinstance(old, dict) or isinstance(new, dict):
        others = [v for v in (old, new) if v is not _MISSING and v is not None]
        return not all(isinstance(v, dict) for v in others) or not any(others)
    if isinstance(old, list) or isinstance(new, list):
        others = [v for v in (old, new) if v is not _MISSING and v is not None]
        return not _granular(node) or not all(isinstance(v, list) for v in others) or not any(others)
    return True


# -- merging what is applied into what is there


def merge(live: Any, config: Any, node: Type) -> Any:
    """``live`` with everything that ``config`` says, nulls as well. Shares parts with both."""
    if config is None or node.atomic:
        return config
    if isinstance(config, dict):
        result = dict(live) if isinstance(live, dict) else {}
        for name, value in config.items():
            result[name] = merge(result.get(name), value, node.child(name))
        return result
    if isinstance(config, list) and _granular(node):
        return _merge_items(live if isinstance(live, list) else [], config, node)
    return config


def _merge_items(live: list[Any], config: list[Any], node: Type) -> list[Any]:
    """Applied items in the order in which they are applied; an item that is not applied stays behind the one it
    stood behind."""
    there = _items(live, node)
    known = dict(there)
    applied = dict(_items(config, node))
    result: list[Any] = []
    position = 0
    done: set[str] = set()
    for element, item in applied.items():
        upcoming = next((each for each in applied if each in known and each not in done), None)
        while position < len(there) and there[position][0] != upcoming:
            if there[position][0] not in applied:
                result.append(there[position][1])
            position += 1
        if position < len(there) and there[position][0] == element:
            position += 1
        result.append(merge(known.get(element), item, node.item))
        done.add(element)
    result.extend(item for element, item in there[position:] if element not in applied)
    return result


def remove(value: Any, paths: Paths, node: Type) -> Any:
    """``value`` without the fields and items of ``paths``, each with all that is below it; None if nothing is left of
    something from which anything was removed."""
    below: dict[str, set[Path]] = {}
    for path in paths:
        below.setdefault(path[0], set()).add(path[1:])
    if isinstance(value, dict) and not node.atomic:
        result = {}
        for name, child in value.items():
            rest = below.get(field_element(name))
            if rest is None:
                result[name] = child
            elif () not in rest:
                kept = remove(child, frozenset(rest), node.child(name))
                if kept is not None:
                    result[name] = kept
        return result or None
    if isinstance(value, list) and _granular(node):
        items = []
        for element, item in _items(value, node):
            rest = below.get(element)
            if rest is None:
                items.append(item)
            elif () not in rest:
                kept = remove(item, frozenset(rest), node.item)
                if kept is not None:
                    items.append(kept)
        return items or None
    return value
