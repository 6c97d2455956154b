"""Who owns which fields: ``metadata.managedFields``.

Every write is recorded: an update takes over what it changes, an apply owns what it says, and may not change what
somebody else has (unless it forces it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runtime.testing.apiserver import fieldset
from runtime.testing.apiserver.errors import StatusError, bad_request, quote
from runtime.testing.apiserver.fieldset import EMPTY, Path, Paths
from runtime.testing.apiserver.shapes import Shape, shape_of, size_of
from runtime.testing.apiserver.typed import (
    Type,
    compare,
    field_paths,
    merge,
    remove,
    type_of,
    with_parents,
)
from runtime.testing.kinds.behaviour import BuiltinBehaviour
from runtime.testing.kinds.gotypes import fit
from runtime.testing.kinds.model import Kind
from runtime.types import JSONObject

UPDATE, APPLY = "Update", "Apply"
BEFORE_FIRST_APPLY = "before-first-apply"
_ANCIENT = "ancient-changes"
_MAX_UPDATERS = 10
_FIELDS_TYPE = "FieldsV1"

# Nobody owns what only the server sets.
_UNOWNED = frozenset(
    {("f:apiVersion",), ("f:kind",), ("f:metadata",)}
    | {
        ("f:metadata", f"f:{name}")
        for name in (
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "clusterName",
            "generation",
            "managedFields",
            "resourceVersion",
        )
    }
)


@dataclass(frozen=True, slots=True)
class Manager:
    """Identifies one entry."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    paths: Paths
    time: str | None


Managed = dict[Manager, Entry]
# From a live object to the wanted one.
Change = Callable[[JSONObject], JSONObject]


@dataclass(frozen=True, slots=True)
class Ownership:
    """The manager of one update, to record it."""

    manager: str
    subresource: str = ""

    def record(self, kind: Kind, old: JSONObject | None, obj: JSONObject, now: str) -> None:
        """Set ``obj``'s managedFields after an update of ``old`` (None: it was created)."""
        metadata = obj["metadata"]
        if "managedFields" in metadata and _is_reset(metadata["managedFields"]):
            del metadata["managedFields"]
            return
        given = metadata.pop("managedFields", None)
        if old is None and not given:
            self._record_new(kind, obj, now)
            return
        before = (old or {}).get("metadata", {}).get("managedFields")
        if old is not None and before is None and not given:
            return  # not tracked since it was reset; the first apply begins anew
        managed = _given_or(given, before)
        me = Manager(self.manager, UPDATE, kind.gvr.api_version, self.subresource)
        base = _bare(old) if old is not None else _empty(kind)
        self._take_over(managed, me, base, _bare(obj), kind, now)
        _write(metadata, managed)

    def _record_new(self, kind: Kind, obj: JSONObject, now: str) -> None:
        """What :meth:`_take_over` comes to where there was nothing, and nobody else: it is the same for every object of
        the same shape."""
        empty = _empty(kind)
        shape = shape_of(obj, empty)
        like = (kind, self.subresource, shape)
        fields = _NEW.get(like)
        if fields is None:
            paths = _owned(compare(empty, obj, type_of(kind)).changed, kind, self.subresource)
            fields = fieldset.encode(paths)
            if size_of(shape) <= _NEW_LARGEST:
                if len(_NEW) >= _NEW_KEPT:
                    _NEW.clear()
                _NEW[like] = fields
        if fields:
            me = Manager(self.manager, UPDATE, kind.gvr.api_version, self.subresource)
            obj["metadata"]["managedFields"] = [_encoded(me, now, fields)]

    def _take_over(self, managed: Managed, me: Manager, old: JSONObject, new: JSONObject, kind: Kind, now: str) -> None:
        difference = compare(old, new, type_of(kind))
        changed = _owned(difference.changed, kind, self.subresource)
        gone = _owned(difference.removed, kind, self.subresource)
        for manager, entry in list(managed.items()):
            _keep(managed, manager, entry, entry.paths - changed - gone)
        if changed:
            had = managed.get(me)
            # The scale subresource records no time, as the real server's does not.
            time = None if self.subresource == "scale" else now
            managed[me] = Entry(changed | (had.paths if had else EMPTY), time)
        _cap(managed)


def apply(
    kind: Kind,
    live: JSONObject | None,
    config: JSONObject,
    manager: str,
    now: str,
    *,
    subresource: str = "",
    force: bool = False,
    allowed: Paths = EMPTY,
) -> JSONObject:
    """The object that results from applying ``config`` to ``live`` (None: it is created), with its managedFields.

    :param allowed: fields that others have, too, and that are applied as if forced when there are no other conflicts.
    :raises StatusError: 409 that names each field, its owner, and what they conflict in.
    """
    node = type_of(kind)
    me = Manager(manager, APPLY, kind.gvr.api_version, subresource)
    base: JSONObject = live if live is not None else {"metadata": {}}
    managed = _tracked(kind, base, node, live)
    wanted, current = _bare(config), _bare(base)
    before = managed.get(me)
    said = field_paths(wanted, node)
    paths = _owned(said, kind, subresource)
    merged = merge(current, wanted, node)
    if paths:
        managed[me] = Entry(paths, now)
    else:
        managed.pop(me, None)
    merged = _pruned(merged, node, before.paths if before else EMPTY, managed, said)
    difference = compare(current, merged, node)
    changed = _owned(difference.changed, kind, subresource)
    _settle(managed, me, changed, _owned(difference.removed, kind, subresource), force=force, allowed=allowed)
    metadata = merged.setdefault("metadata", {})
    same = merged_equal(merged, base) and _same_owners(managed, decode(base["metadata"].get("managedFields") or ()))
    if same:
        metadata["managedFields"] = base["metadata"].get("managedFields") or []
    else:
        _write(metadata, managed)
    return merged


def _tracked(kind: Kind, base: JSONObject, node: Type, live: JSONObject | None) -> Managed:
    """The present owners; an object that was never tracked belongs to ``before-first-apply``."""
    managed = decode(base["metadata"].get("managedFields") or ())
    if live is not None and not managed:
        owner = Manager(BEFORE_FIRST_APPLY, UPDATE, kind.gvr.api_version)
        paths = _owned(compare(_empty(kind), _bare(live), node).changed, kind, "")
        if paths:
            managed[owner] = Entry(paths, None)
    return managed


def _pruned(merged: JSONObject, node: Type, before: Paths, managed: Managed, said: Paths) -> JSONObject:
    """Without what this manager applied before, applies no longer, and nobody else owns.

    :param said: all that it applies now, even what cannot be owned.
    """
    if not before:
        return merged
    owned = said.union(*(entry.paths for entry in managed.values()))
    doomed = with_parents(before, node) - with_parents(owned, node)
    result = remove(merged, doomed, node) if doomed else merged
    return result if isinstance(result, dict) else {}


def _settle(managed: Managed, me: Manager, changed: Paths, gone: Paths, *, force: bool, allowed: Paths) -> None:
    """Take from the other managers what the apply changes or removes; raises 409 if that is not wanted."""
    conflicts = {
        manager: entry.paths & changed for manager, entry in managed.items() if manager != me and entry.paths & changed
    }
    real = {manager: paths - allowed for manager, paths in conflicts.items() if paths - allowed}
    if real and not force:
        raise _conflict(real)
    for manager, entry in list(managed.items()):
        if manager != me:
            _keep(managed, manager, entry, entry.paths - conflicts.get(manager, EMPTY) - gone)


def _keep(managed: Managed, manager: Manager, entry: Entry, paths: Paths) -> None:
    if not paths:
        del managed[manager]
    elif paths != entry.paths:
        managed[manager] = replace(entry, paths=paths)


def merged_equal(merged: JSONObject, base: JSONObject) -> bool:
    return _bare(merged) == _bare(base)


def _same_owners(one: Managed, other: Managed) -> bool:
    return {m: e.paths for m, e in one.items()} == {m: e.paths for m, e in other.items()}


def _owned(paths: Iterable[Path], kind: Kind, subresource: str) -> Paths:
    """Without what cannot be owned: server-set metadata, and what this write resets."""
    kept = frozenset(paths) - _UNOWNED
    if subresource == "status":
        return frozenset(path for path in kept if path[0] == "f:status" or _changed_with_status(path, kind))
    if subresource == "" and "status" in kind.subresources:
        return frozenset(path for path in kept if path[0] != "f:status")
    return kept


def _changed_with_status(path: Path, kind: Kind) -> bool:
    """Whether this is metadata that a write to the status may change, too: never that of a custom resource."""
    behaviour = kind.behaviour
    if path[0] != "f:metadata" or not isinstance(behaviour, BuiltinBehaviour):
        return False
    return path[1].removeprefix("f:") not in behaviour.status_keeps


def _bare(obj: JSONObject) -> JSONObject:
    """The object without its managedFields. Shallow."""
    metadata = {k: v for k, v in obj.get("metadata", {}).items() if k != "managedFields"}
    return {**obj, "metadata": metadata}


def _empty(kind: Kind) -> JSONObject:
    """What an object of this kind is before anyone sets anything: of built-in kinds, what Go writes of an empty one.
    Not to be changed."""
    found = _EMPTY.get(kind)
    if found is None:
        found = {"metadata": {}}
        if not kind.custom and kind.schema is not None:
            fit(kind.schema, found, kind.kind)
        if len(_EMPTY) > _EMPTY_KEPT:
            _EMPTY.clear()  # kinds of CRDs come and go
        _EMPTY[kind] = found
    return found


_EMPTY: dict[Kind, JSONObject] = {}
_EMPTY_KEPT = 1000
# The fields of a new object, encoded, by kind, subresource and shape.
_NEW: dict[tuple[Kind, str, Shape], JSONObject] = {}
_NEW_KEPT = 256
_NEW_LARGEST = 16 * 1024  # bytes of a shape: 256 objects of the largest kind would be hundreds of megabytes


def _cap(managed: Managed) -> None:
    """The oldest updaters are merged into one, so that the list cannot grow for ever."""
    updaters = [m for m in managed if m.operation == UPDATE and not m.subresource]
    if len(updaters) <= _MAX_UPDATERS:
        return
    updaters.sort(key=lambda m: managed[m].time or "")
    oldest = updaters[: len(updaters) - _MAX_UPDATERS + 1]
    merged = frozenset().union(*(managed[m].paths for m in oldest))
    api_version, time = oldest[0].api_version, managed[oldest[-1]].time
    for manager in oldest:
        del managed[manager]
    managed[Manager(_ANCIENT, UPDATE, api_version)] = Entry(merged, time)


def _given_or(given: Any, before: Any) -> Managed:
    """The owners which the client has sent back; those before if it sent none, or nothing that can be read."""
    if isinstance(given, list) and given:
        try:
            return decode(given)
        except StatusError:
            pass
    return decode(before or ())


def decode(entries: Sequence[Any]) -> Managed:
    """From the wire. Raises 400 for what is no list of complete entries."""
    managed: Managed = {}
    for entry in entries:
        if not isinstance(entry, dict):
            raise bad_request("metadata.managedFields must be a list of objects")
        if entry.get("operation") not in (UPDATE, APPLY):
            raise bad_request(f"metadata.managedFields: unknown operation {quote(entry.get('operation'))}")
        if not entry.get("apiVersion") or entry.get("fieldsType") != _FIELDS_TYPE:
            raise bad_request("metadata.managedFields: an entry must have an apiVersion, and fieldsType FieldsV1")
        manager = Manager(
            str(entry.get("manager", "")),
            str(entry["operation"]),
            str(entry.get("apiVersion", "")),
            str(entry.get("subresource", "")),
        )
        managed[manager] = Entry(fieldset.decode(entry.get("fieldsV1") or {}), entry.get("time"))
    return managed


def _write(metadata: JSONObject, managed: Managed) -> None:
    if not managed:
        metadata.pop("managedFields", None)
        return
    metadata["managedFields"] = [
        _encoded(manager, entry.time, fieldset.encode(entry.paths))
        for manager, entry in sorted(managed.items(), key=lambda each: _order(*each))
    ]


def _order(manager: Manager, entry: Entry) -> tuple[str, str, str, str, str]:
    return manager.operation, entry.time or "", manager.name, manager.api_version, manager.subresource


def _encoded(manager: Manager, time: str | None, fields: JSONObject) -> JSONObject:
    encoded: JSONObject = {
        "manager": manager.name,
        "operation": manager.operation,
        "apiVersion": manager.api_version,
    }
    if time:
        encoded["time"] = time
    encoded["fieldsType"] = _FIELDS_TYPE
    encoded["fieldsV1"] = fields
    if manager.subresource:
        encoded["subresource"] = manager.subresource
    return encoded


def _is_reset(value: object) -> bool:
    """One empty entry: the client asks to forget all owners."""
    return value == [{}]


def _conflict(conflicts: dict[Manager, Paths]) -> StatusError:
    """The 409 of an apply: each field with its owner."""
    named = sorted((fieldset.text(path), _describe(manager)) for manager, paths in conflicts.items() for path in paths)
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {owner}", "field": path}
        for path, owner in sorted(named, key=lambda each: (each[1], each[0]))
    ]
    if len(causes) == 1:
        message = f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        owners = list(dict.fromkeys(str(cause["message"]) for cause in causes))
        lines = [f"Apply failed with {len(causes)} conflicts: " + _fields_of(owners[0], causes)]
        lines.extend(_fields_of(owner, causes) for owner in owners[1:])
        message = "\n".join(lines)
    return StatusError(409, "Conflict", message, {"causes": causes})


def _fields_of(owner: str, causes: Sequence[JSONObject]) -> str:
    fields = [f"- {cause['field']}" for cause in causes if cause["message"] == owner]
    return "\n".join([owner.replace("conflict with", "conflicts with", 1) + ":", *fields])


def _describe(manager: Manager) -> str:
    text = quote(manager.name)
    if manager.subresource:
        text += f" with subresource {quote(manager.subresource)}"
    return f"{text} using {manager.api_version}" if manager.operation == UPDATE else text
