"""delete and deletecollection: at once, gracefully, or when the last finalizer has gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from runtime.testing.apiserver import errors
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.crds import CRDS
from runtime.testing.apiserver.log import Stored
from runtime.testing.apiserver.namespaces import IMMORTAL, NAMESPACES
from runtime.testing.apiserver.options import boolean, integer
from runtime.testing.apiserver.selection import Selection
from runtime.testing.apiserver.store import Changed
from runtime.testing.apiserver.writes import present, to_storage
from runtime.testing.kinds.model import FieldError, Kind
from runtime.types import JSONObject

T = TypeVar("T")

_MAX_RETRIES = 50
_FOREGROUND, _ORPHAN = "foregroundDeletion", "orphan"
_POLICIES = ("Foreground", "Background", "Orphan")
_DEFAULT_GRACE = 30
# What the server itself finishes (see lifecycle).
_FINISHED_LATER = (NAMESPACES, CRDS)
# The real server answers a deletion of these with the object even when it is gone at once.
_RETURNED = frozenset(
    {
        ("", "pods"),
        ("", "services"),
        ("", "serviceaccounts"),
        ("", "persistentvolumeclaims"),
        ("", "persistentvolumes"),
        ("", "resourcequotas"),
        ("", "podtemplates"),
        ("storage.k8s.io", "storageclasses"),
    }
)


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """:param grace: seconds; None for the object's own."""

    grace: int | None = None
    policy: str = ""
    uid: str = ""
    version: str = ""
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Deleted:
    """:param stored: the last state; ``removed``: the object is gone."""

    stored: Stored
    removed: bool


def parse_options(body: object, query: Mapping[str, str]) -> DeleteOptions:
    """From the body if there is one, else from the query. Raises 400 and 422."""
    if body is None:
        options = DeleteOptions(integer(query.get("gracePeriodSeconds", "")), query.get("propagationPolicy", ""))
        if boolean(query.get("orphanDependents", "")):
            options = replace(options, policy="Orphan")
    else:
        options = _from_body(body)
    if query.get("dryRun") == "All":
        options = replace(options, dry_run=True)
    if options.policy and options.policy not in _POLICIES:
        supported = ", ".join(errors.quote(each) for each in (*_POLICIES, "nil"))
        message = f"Invalid value: {errors.quote(options.policy)}: supported values: {supported}"
        raise errors.invalid_options("DeleteOptions", [FieldError("FieldValueInvalid", "propagationPolicy", message)])
    return options


def _from_body(body: object) -> DeleteOptions:
    if not isinstance(body, dict):
        raise errors.bad_request("the body of a DELETE must be a DeleteOptions object")
    conditions = _typed(body, "preconditions", dict) or {}
    policy = _typed(body, "propagationPolicy", str) or ""
    if _typed(body, "orphanDependents", bool):
        policy = "Orphan"
    return DeleteOptions(
        _typed(body, "gracePeriodSeconds", int),
        policy,
        _typed(conditions, "uid", str) or "",
        _typed(conditions, "resourceVersion", str) or "",
        _typed(body, "dryRun", list) == ["All"],
    )


def _typed(body: Mapping[str, Any], name: str, kind: type[T]) -> T | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise errors.bad_request(f"DeleteOptions.{name} must be of type {kind.__name__}, not {type(value).__name__}")
    return value


class Deleter:
    """Deletes objects of any kind."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def delete(self, kind: Kind, namespace: str, name: str, options: DeleteOptions) -> Deleted:
        """Raises 404 and 409."""
        store = self._context.store
        for _ in range(_MAX_RETRIES):
            current = store.get(kind.storage_key, namespace, name)
            if current is None:
                raise errors.not_found(kind, name)
            self._check(kind, current, options)
            try:
                return self._delete_once(kind, current, options)
            except Changed:
                continue
        raise errors.conflict(kind, name)

    def delete_collection(
        self, kind: Kind, namespace: str, selection: Selection, options: DeleteOptions
    ) -> list[Stored]:
        """Delete all that is selected, one by one; returns them as they were."""
        objects, _ = self._context.store.snapshot(kind.storage_key, namespace)
        chosen = [each for each in objects if selection.matches(each)]
        deleted = []
        for each in chosen:
            try:
                deleted.append(self.delete(kind, each.namespace, each.name, options).stored)
            except errors.StatusError as error:
                if error.code != 404:
                    raise
        return deleted

    def _check(self, kind: Kind, current: Stored, options: DeleteOptions) -> None:
        if kind.storage_key == NAMESPACES and current.name in IMMORTAL:
            raise errors.forbidden(kind, current.name, "this namespace may not be deleted")
        why = ""
        if options.uid and options.uid != current.uid:
            why = (
                f"the UID in the precondition ({options.uid}) does not match the UID in record ({current.uid}). "
                "The object might have been deleted and then recreated"
            )
        elif options.version and options.version != str(current.version):
            why = (
                f"the ResourceVersion in the precondition ({options.version}) does not match the ResourceVersion "
                f"in record ({current.version}). The object might have been modified"
            )
        if why:
            # QUIRK kept: these name the kind, not the resource.
            what = f"{errors.qualified(kind.gvr.group, kind.kind)} {errors.quote(current.name)}"
            found = {**errors.details(kind, current.name), "kind": kind.kind}
            message = f"Operation cannot be fulfilled on {what}: {why}"
            raise errors.StatusError(409, "Conflict", message, found)

    def _delete_once(self, kind: Kind, current: Stored, options: DeleteOptions) -> Deleted:
        obj = present(kind, current)
        marked = self._mark(kind, obj, options)
        kept = bool(obj["metadata"].get("finalizers")) or _namespace_kept(kind, obj)
        if not kept and not obj["metadata"].get("deletionGracePeriodSeconds"):
            return self._remove(kind, current, obj, options, marked=marked)
        if not marked or options.dry_run:
            return Deleted(self._shown(current, obj), removed=False)
        stored = self._context.store.update(kind.storage_key, current, to_storage(kind, obj))
        if kind.storage_key in _FINISHED_LATER:
            self._context.on_terminating()
        return Deleted(stored, removed=False)

    def _remove(self, kind: Kind, current: Stored, obj: JSONObject, options: DeleteOptions, *, marked: bool) -> Deleted:
        """Pods, whose watchers must see the end of the grace period, get a last change before they go."""
        if options.dry_run:
            return Deleted(self._shown(current, obj), removed=True)
        store = self._context.store
        if kind.graceful_deletion and marked:
            with store.locked():
                current = store.update(kind.storage_key, current, to_storage(kind, obj))
                return Deleted(store.delete(kind.storage_key, current), removed=True)
        return Deleted(store.delete(kind.storage_key, current), removed=True)

    def _mark(self, kind: Kind, obj: JSONObject, options: DeleteOptions) -> bool:
        """Set what a deletion sets; returns whether anything changed."""
        metadata = obj["metadata"]
        before = (
            metadata.get("deletionTimestamp"),
            metadata.get("deletionGracePeriodSeconds"),
            list(metadata.get("finalizers") or ()),
        )
        finalizers = _finalizers(before[2], options.policy)
        if finalizers:
            metadata["finalizers"] = finalizers
        else:
            metadata.pop("finalizers", None)
        if not metadata.get("deletionTimestamp"):
            grace = self._grace(kind, obj, options)
            metadata["deletionTimestamp"] = _time(self._context.clock.now() + timedelta(seconds=grace))
            metadata["deletionGracePeriodSeconds"] = grace
            if kind.has_generation:
                metadata["generation"] = metadata.get("generation", 0) + 1
        elif kind.graceful_deletion:
            _shorten(metadata, options.grace)
        if kind.storage_key == NAMESPACES:
            obj.setdefault("status", {})["phase"] = "Terminating"
        after = (
            metadata.get("deletionTimestamp"),
            metadata.get("deletionGracePeriodSeconds"),
            list(metadata.get("finalizers") or ()),
        )
        return after != before

    def _grace(self, kind: Kind, obj: JSONObject, options: DeleteOptions) -> int:
        if not kind.graceful_deletion:
            return 0
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        # A pod that no kubelet has, or that has ended, has nobody to wait for.
        if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
            return 0
        own = spec.get("terminationGracePeriodSeconds")
        wanted = options.grace if options.grace is not None else _DEFAULT_GRACE if own is None else int(own)
        return _not_negative(wanted)

    def _shown(self, current: Stored, obj: JSONObject) -> Stored:
        return Stored(current.key, current.namespace, current.name, current.version, obj)


def _not_negative(grace: int) -> int:
    """QUIRK kept: a negative grace period means one second, not none."""
    return grace if grace >= 0 else 1


def _shorten(metadata: JSONObject, wanted: int | None) -> None:
    """A repeated deletion may shorten what was granted, never lengthen it, and only if it says so itself."""
    granted = metadata.get("deletionGracePeriodSeconds") or 0
    if wanted is None or _not_negative(wanted) >= granted:
        return
    grace = _not_negative(wanted)
    due = datetime.fromisoformat(metadata["deletionTimestamp"])
    metadata["deletionTimestamp"] = _time(due - timedelta(seconds=granted - grace))
    metadata["deletionGracePeriodSeconds"] = grace


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def returns_object(kind: Kind) -> bool:
    """Whether a completed deletion is answered with the object instead of a Status."""
    return kind.storage_key in _RETURNED


def _finalizers(present_ones: list[str], policy: str) -> list[str]:
    """The finalizers that ask the garbage collector for its part, as the policy says; without one, those the object
    already has stay."""
    if not policy:
        return present_ones
    kept = [each for each in present_ones if each not in (_FOREGROUND, _ORPHAN)]
    if policy == "Foreground":
        kept.append(_FOREGROUND)
    elif policy == "Orphan":
        kept.append(_ORPHAN)
    return kept


def _namespace_kept(kind: Kind, obj: JSONObject) -> bool:
    return kind.storage_key == NAMESPACES and bool((obj.get("spec") or {}).get("finalizers"))
