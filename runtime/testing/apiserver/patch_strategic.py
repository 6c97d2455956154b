"""Strategic merge patch: a merge patch that merges lists by the merge key of their schema, with directives.

Directives: ``$patch: replace|delete|merge``, ``$retainKeys``, ``$setElementOrder/FIELD``,
``$deleteFromPrimitiveList/FIELD``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runtime.testing.apiserver.errors import StatusError
from runtime.testing.kinds.model import Kind
from runtime.types import JSONObject

_DIRECTIVE, _RETAIN = "$patch", "$retainKeys"
_ORDER, _DELETE_FROM = "$setElementOrder/", "$deleteFromPrimitiveList/"
_PREFIXES = (_ORDER, _DELETE_FROM)

Resolve = Callable[[Mapping[str, object]], Mapping[str, object]]
Schema = Mapping[str, Any]


def apply(kind: Kind, obj: JSONObject, patch: JSONObject) -> JSONObject:
    """``obj`` with ``patch`` merged in; shares parts with both. Raises 500, as the real server does, for an item
    without its merge key and for an unknown directive."""
    schema = kind.resolve(kind.schema) if kind.schema is not None else {}
    return _Merger(kind.resolve).merge(obj, patch, schema)


class _Merger:
    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve

    def merge(self, target: JSONObject, patch: JSONObject, schema: Schema) -> JSONObject:
        directive = patch.get(_DIRECTIVE)
        if directive is not None:
            rest = {name: value for name, value in patch.items() if name != _DIRECTIVE}
            if directive == "replace":
                return rest
            if directive == "delete":
                return {}
            if directive != "merge":
                raise _broken(f"unknown $patch directive {directive!r}")
            patch = rest
        result = self._retained(target, patch)
        for name, value in patch.items():
            if name == _RETAIN or name.startswith(_PREFIXES):
                continue
            if value is None:
                result.pop(name, None)
            else:
                result[name] = self._field(result.get(name), value, name, patch, schema)
        for name in patch:
            if name.startswith(_PREFIXES):
                self._list_directive(result, name, patch, schema)
        return result

    def _retained(self, target: JSONObject, patch: JSONObject) -> JSONObject:
        retain = patch.get(_RETAIN)
        if retain is None:
            return dict(target)
        if not isinstance(retain, list):
            raise _broken("$retainKeys must be a list")
        return {name: value for name, value in target.items() if name in retain}

    def _field(self, target: Any, value: Any, name: str, patch: JSONObject, schema: Schema) -> Any:
        node = self._child(schema, name)
        strategy = str(node.get("x-kubernetes-patch-strategy", "")).split(",")
        if isinstance(value, dict):
            if "replace" in strategy or not isinstance(target, dict):
                target = {}
            return self.merge(target, value, node)
        if isinstance(value, list) and "merge" in strategy:
            order = patch.get(_ORDER + name)
            return self._merge_list(target if isinstance(target, list) else [], value, node, order)
        return value

    def _merge_list(self, target: list[Any], patch: list[Any], node: Schema, order: Sequence[Any] | None) -> list[Any]:
        key = node.get("x-kubernetes-patch-merge-key")
        if key is None:
            added = [each for i, each in enumerate(patch) if each not in patch[:i]]
            return _ordered(added, [each for each in target if each not in added], target, order, _itself)
        items = self._child_items(node)
        replace = [each for each in patch if isinstance(each, dict) and each == {_DIRECTIVE: "replace"}]
        if replace:
            return [each for each in patch if each not in replace]
        kept = list(target)
        changed: list[Any] = []
        for each in patch:
            identity = _key_of(each, key)
            directive = each.get(_DIRECTIVE)
            there = next((old for old in kept if isinstance(old, dict) and old.get(key) == identity), None)
            kept = [old for old in kept if not (isinstance(old, dict) and old.get(key) == identity)]
            if directive == "delete":
                continue
            changed.append(self.merge(there if there is not None else {}, each, items))
        return _ordered(changed, kept, target, order, lambda item: item.get(key))

    def _list_directive(self, result: JSONObject, name: str, patch: JSONObject, schema: Schema) -> None:
        """A list that the patch does not name itself, but deletes from or orders."""
        prefix = _ORDER if name.startswith(_ORDER) else _DELETE_FROM
        field, values = name.removeprefix(prefix), patch[name]
        current = result.get(field)
        if not isinstance(values, list):
            raise _broken(f"{name} must be a list")
        if not isinstance(current, list):
            return
        if prefix == _DELETE_FROM:
            result[field] = [each for each in current if each not in values]
        elif field not in patch:
            node = self._child(schema, field)
            key = node.get("x-kubernetes-patch-merge-key")
            identity = _itself if key is None else (lambda item: item.get(key))
            result[field] = _ordered([], current, current, values, identity)

    def _child(self, schema: Schema, name: str) -> Schema:
        properties = schema.get("properties") or {}
        child = properties.get(name, schema.get("additionalProperties"))
        return self._resolve(child) if isinstance(child, Mapping) else {}

    def _child_items(self, node: Schema) -> Schema:
        items = node.get("items")
        return self._resolve(items) if isinstance(items, Mapping) else {}


def _ordered(
    patched: list[Any],
    others: list[Any],
    live: list[Any],
    order: Sequence[Any] | None,
    identity: Callable[[Any], Any],
) -> list[Any]:
    """The patched items with the others between them: one of these comes as early as it can without overtaking an
    item that stood before it.

    :param order: if given, the items it names come in this order, and the others are those it does not name.
    """
    places = {repr(identity(each)): place for place, each in enumerate(live)}
    if order is not None:
        wanted = {repr(identity(each)): place for place, each in enumerate(order)}
        every = [*patched, *others]
        patched = sorted(
            (each for each in every if repr(identity(each)) in wanted),
            key=lambda each: wanted[repr(identity(each))],
        )
        others = sorted(
            (each for each in every if repr(identity(each)) not in wanted),
            key=lambda each: places.get(repr(identity(each)), len(places)),
        )
    result: list[Any] = []
    rest = list(others)
    for each in patched:
        place = places.get(repr(identity(each)))
        while rest and place is not None and places.get(repr(identity(rest[0])), place) < place:
            result.append(rest.pop(0))
        result.append(each)
    return result + rest


def _itself(item: Any) -> Any:
    return item


def _key_of(item: Any, key: str) -> Any:
    if not isinstance(item, dict) or key not in item:
        raise _broken(f"{item!r} does not contain declared merge key: {key}")
    return item[key]


def _broken(message: str) -> StatusError:
    return StatusError(500, "", message)
