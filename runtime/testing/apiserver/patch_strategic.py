"""Strategic merge patch: a merge patch that merges lists by the merge key of their schema, with directives.

Directives: ``$patch: replace|delete``, ``$retainKeys``, ``$setElementOrder/FIELD``,
``$deleteFromPrimitiveList/FIELD``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from runtime.testing.apiserver.errors import StatusError, bad_request
from runtime.testing.kinds.model import Kind
from runtime.types import JSONObject

_DIRECTIVE, _RETAIN = "$patch", "$retainKeys"
_ORDER, _DELETE_FROM = "$setElementOrder/", "$deleteFromPrimitiveList/"
_PREFIXES = (_ORDER, _DELETE_FROM)

Resolve = Callable[[Mapping[str, object]], Mapping[str, object]]
Schema = Mapping[str, Any]


def apply(kind: Kind, obj: JSONObject, patch: JSONObject) -> JSONObject:
    """``obj`` with ``patch`` merged in; shares parts with both.

    :raises StatusError: 400 for bad ``$retainKeys``; 500, as the real server's, for an item without its merge key, an
        unknown directive, and an order that the patch itself does not keep to.
    """
    schema = kind.resolve(kind.schema) if kind.schema is not None else {}
    return _Merger(kind.resolve).merge(obj, patch, schema)


class _Merger:
    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve

    def merge(self, target: JSONObject, patch: JSONObject, schema: Schema) -> JSONObject:
        if _DIRECTIVE in patch:
            return _directed(patch)
        result = self._retained(target, patch)
        for name, value in patch.items():
            if name == _RETAIN or name.startswith(_PREFIXES):
                continue
            if value is not None and name in result and type(result[name]) is type(value):
                result[name] = self._field(result[name], value, name, patch, schema)
                continue
            new = _as_new(value)
            if new is None:
                result.pop(name, None)
            else:
                result[name] = new
        for name in patch:
            if name.startswith(_PREFIXES):
                self._list_directive(result, name, patch, schema)
        return result

    def _retained(self, target: JSONObject, patch: JSONObject) -> JSONObject:
        retain = patch.get(_RETAIN)
        if retain is None:
            return dict(target)
        said = [
            name for name, value in patch.items() if value is not None and not name.startswith((_RETAIN, *_PREFIXES))
        ]
        if not isinstance(retain, list) or not all(name in retain for name in said):
            raise bad_request("invalid patch format of retainKeys")
        return {name: value for name, value in target.items() if name in retain}

    def _field(self, target: Any, value: Any, name: str, patch: JSONObject, schema: Schema) -> Any:
        node = self._child(schema, name)
        strategy = str(node.get("x-kubernetes-patch-strategy", "")).split(",")
        if isinstance(value, dict) and "replace" not in strategy:
            return self.merge(target, value, node)
        if isinstance(value, list) and "merge" in strategy:
            order = patch.get(_ORDER + name)
            return self._merge_list(target, value, node, order if isinstance(order, list) else None)
        return value

    def _merge_list(self, target: list[Any], patch: list[Any], node: Schema, order: Sequence[Any] | None) -> list[Any]:
        key = node.get("x-kubernetes-patch-merge-key")
        if key is None:
            added = _by(_itself, patch)
            others = [each for each in target if repr(each) not in added]
            return _ordered(list(added.values()), others, target, order, _itself)
        plain, gone, replaces = _sorted_out(patch, key)
        if replaces:
            return plain

        def identity(item: Any) -> Any:
            return _identity(item, key)

        deleted = {repr(each) for each in gone}
        kept = [each for each in target if repr(identity(each)) not in deleted]
        items, known, changed = self._child_items(node), _by(identity, kept), dict[str, Any]()
        for each in plain:
            name = repr(_key_of(each, key))
            there = changed.get(name, known.get(name))
            changed[name] = each if there is None else self.merge(there, each, items)
        others = [each for each in kept if repr(identity(each)) not in changed]
        return _ordered(list(changed.values()), others, target, order, identity)

    def _list_directive(self, result: JSONObject, name: str, patch: JSONObject, schema: Schema) -> None:
        """What is not said with the items of the list: what to delete from it, and in which order the rest comes."""
        prefix = _ORDER if name.startswith(_ORDER) else _DELETE_FROM
        field, values = name.removeprefix(prefix), patch[name]
        current = result.get(field)
        if prefix == _DELETE_FROM:
            if isinstance(current, list) and isinstance(values, list):
                gone = _by(_itself, values)
                result[field] = [each for each in current if repr(each) not in gone]
            return
        if not isinstance(values, list):
            raise _broken(f"{name} must be a list")
        key = self._child(schema, field).get("x-kubernetes-patch-merge-key")
        if field in patch:
            _check_order(patch[field], values, key)
        elif isinstance(current, list):
            result[field] = _ordered([], current, current, values, lambda item: _identity(item, key))

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
    rest = deque(others)
    for each in patched:
        place = places.get(repr(identity(each)))
        while rest and place is not None and places.get(repr(identity(rest[0])), place) < place:
            result.append(rest.popleft())
        result.append(each)
    return [*result, *rest]


def _directed(patch: JSONObject) -> JSONObject:
    """The map that takes the place of another as its directive says."""
    directive = patch[_DIRECTIVE]
    if directive == "replace":
        return {name: value for name, value in patch.items() if name != _DIRECTIVE}
    if directive == "delete":
        return {}
    raise _broken(f"unknown patch type: {directive}")


def _as_new(value: Any) -> Any:
    """A value that takes the place of nothing, or of one of another type: without nulls, and without maps that have a
    directive; None if it is such itself."""
    if isinstance(value, dict):
        if _DIRECTIVE in value:
            return None
        parts = ((name, _as_new(part)) for name, part in value.items())
        return {name: part for name, part in parts if part is not None}
    if isinstance(value, list):
        return [_as_new(each) for each in value if not (isinstance(each, dict) and _DIRECTIVE in each)]
    return value


def _sorted_out(patch: list[Any], key: str) -> tuple[list[Any], list[Any], bool]:
    """Of the items of a patch: those to be merged, the keys of those to be deleted, and whether the former replace
    everything."""
    plain, gone, replaces = [], [], False
    for each in patch:
        if not isinstance(each, dict) or _DIRECTIVE not in each:
            plain.append(each)
        elif each[_DIRECTIVE] == "delete":
            gone.append(_key_of(each, key))
        elif each[_DIRECTIVE] == "replace":
            replaces = True
        else:
            raise _broken(f"unknown patch type: {each[_DIRECTIVE]}")
    return plain, gone, replaces


def _check_order(patch: Any, order: list[Any], key: str | None) -> None:
    """The items of a patch must come in the order that it says itself."""
    if not isinstance(patch, list):
        raise _broken("$setElementOrder of what is no list")
    plain = [each for each in patch if not (isinstance(each, dict) and _DIRECTIVE in each)]
    rest = iter([_identity(each, key) for each in order])
    if order and not all(_identity(each, key) in rest for each in plain):
        raise _broken(f"The order in patch list:\n{patch}\n doesn't match $setElementOrder list:\n{order}\n")


def _identity(item: Any, key: str | None) -> Any:
    return item.get(key) if key is not None and isinstance(item, dict) else item


def _by(identity: Callable[[Any], Any], items: Iterable[Any]) -> dict[str, Any]:
    """The items by what tells them apart, of twins the first: lists may have ten thousands of them."""
    found: dict[str, Any] = {}
    for each in items:
        found.setdefault(repr(identity(each)), each)
    return found


def _itself(item: Any) -> Any:
    return item


def _key_of(item: Any, key: str) -> Any:
    if not isinstance(item, dict) or key not in item:
        raise _broken(f"{item!r} does not contain declared merge key: {key}")
    return item[key]


def _broken(message: str) -> StatusError:
    return StatusError(500, "", message)
