"""delete and deletecollection: at once, gracefully, or when the last finalizer has gone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from runtime.testing.apiserver import errors
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.crds import CRDS, mark_deleted
from runtime.testing.apiserver.delete_options import FOREGROUND, ORPHAN, DeleteOptions
from runtime.testing.apiserver.log import Stored
from runtime.testing.apiserver.metadata import FOREGROUND_FINALIZER, ORPHAN_FINALIZER
from runtime.testing.apiserver.namespaces import IMMORTAL, NAMESPACES
from runtime.testing.apiserver.store import Changed
from runtime.testing.apiserver.writes import present, to_storage
from runtime.testing.kinds.model import Kind
from runtime.types import JSONObject

_MAX_RETRIES = 50
_DEFAULT_GRACE = 30
# What the server itself finishes (see lifecycle).
_FINISHED_LATER = (NAMESPACES, CRDS)
# The real server answers a deletion of these with the object even when it is gone at once.
_RETURNED = frozenset(
    {
        *(
            ("", each)
            for each in (
                "pods",
                "services",
                "serviceaccounts",
                "persistentvolumeclaims",
                "persistentvolumes",
                "resourcequotas",
                "podtemplates",
            )
        ),
        *(
            ("storage.k8s.io", each)
            for each in ("csidrivers", "csinodes", "storageclasses", "volumeattachments", "volumeattributesclasses")
        ),
        *(
            ("resource.k8s.io", each)
            for each in ("deviceclasses", "resourceclaims", "resourceclaimtemplates", "resourceslices")
        ),
    }
)
_JOBS = ("batch", "jobs")
# Whose dependents stay if the request does not say what shall become of them, and whom nobody can depend on.
_ORPHANED = frozenset({_JOBS, ("", "replicationcontrollers")})
_NEVER_COLLECTED = frozenset({("", "events")})
_JOBS_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)


@dataclass(frozen=True, slots=True)
class Deleted:
    """:param stored: the last state; ``removed``: the object is gone."""

    stored: Stored
    removed: bool


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
            self.check(kind, current, options)
            try:
                return self._delete_once(kind, current, options)
            except Changed:
                continue
        raise errors.conflict(kind, name)

    def delete_all(self, kind: Kind, chosen: Iterable[Stored], options: DeleteOptions) -> None:
        """Delete one by one what a deletecollection has chosen; what is gone meanwhile is skipped. Raises 409."""
        for each in chosen:
            try:
                self.delete(kind, each.namespace, each.name, options)
            except errors.StatusError as error:
                if error.code != 404:
                    raise

    def check(self, kind: Kind, current: Stored, options: DeleteOptions) -> None:
        """Raise 403 for what may never be deleted, 409 for an object that is not as the preconditions say."""
        if kind.storage_key == NAMESPACES and current.name in IMMORTAL:
            raise errors.forbidden(kind, current.name, "this namespace may not be deleted")
        if kind.storage_key in _FINISHED_LATER:
            why = _own_mismatch(current, options)
            if why:
                raise errors.conflict(kind, current.name, why)
            return
        why = _mismatch(current, options)
        if why:
            # QUIRK kept: these name the kind, not the resource.
            what = f"{errors.qualified(kind.gvr.group, kind.kind)} {errors.quote(current.name)}"
            found = {**errors.details(kind, current.name), "kind": kind.kind}
            message = f"Operation cannot be fulfilled on {what}: {why}"
            raise errors.StatusError(409, "Conflict", message, found)

    def _delete_once(self, kind: Kind, current: Stored, options: DeleteOptions) -> Deleted:
        obj = present(kind, current)
        if _pending(kind, obj, options) or (obj["metadata"].get("deletionTimestamp") and _namespace_kept(kind, obj)):
            return Deleted(current, removed=False)
        anew = not obj["metadata"].get("deletionTimestamp")
        marked = self._mark_crd(obj) if kind.storage_key == CRDS and anew else self._mark(kind, obj, options)
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
        finalizers = _finalizers(kind, before[2], options.policy)
        if finalizers:
            metadata["finalizers"] = finalizers
        else:
            metadata.pop("finalizers", None)
        if not metadata.get("deletionTimestamp"):
            grace = self._grace(kind, obj, options)
            metadata["deletionTimestamp"] = _time(self._context.clock.now() + timedelta(seconds=grace))
            if kind.storage_key != NAMESPACES:
                metadata["deletionGracePeriodSeconds"] = grace
            if metadata.get("generation", 0) > 0:
                metadata["generation"] += 1
        elif kind.graceful_deletion and options.grace is not None:
            _shorten(metadata, options.grace, self._context.clock.now())
        elif kind.storage_key == CRDS:
            metadata["deletionGracePeriodSeconds"] = 0
        if kind.storage_key == NAMESPACES:
            obj.setdefault("status", {})["phase"] = "Terminating"
        after = (
            metadata.get("deletionTimestamp"),
            metadata.get("deletionGracePeriodSeconds"),
            list(metadata.get("finalizers") or ()),
        )
        return after != before

    def _mark_crd(self, obj: JSONObject) -> bool:
        """QUIRK kept: the policy does not matter, there is no grace period before it is deleted once more, and the
        generation stays."""
        now = self._context.clock.now()
        obj["metadata"]["deletionTimestamp"] = _time(now)
        mark_deleted(obj, now)
        return True

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


def _mismatch(current: Stored, options: DeleteOptions) -> str:
    """What an object is not as the preconditions say; empty if it is."""
    if options.uid is not None and options.uid != current.uid:
        return (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({current.uid}). "
            "The object might have been deleted and then recreated"
        )
    if options.version is not None and options.version != str(current.version):
        return (
            f"the ResourceVersion in the precondition ({options.version}) does not match the ResourceVersion "
            f"in record ({current.version}). The object might have been modified"
        )
    return ""


def _own_mismatch(current: Stored, options: DeleteOptions) -> str:
    """QUIRK kept: namespaces and CRDs say the same in other words."""
    for what, wanted, found in (
        ("UID", options.uid, current.uid),
        ("ResourceVersion", options.version, str(current.version)),
    ):
        if wanted is not None and wanted != found:
            return f"Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
    return ""


def _not_negative(grace: int) -> int:
    """QUIRK kept: a negative grace period means one second, not none."""
    return grace if grace >= 0 else 1


def _pending(kind: Kind, obj: JSONObject, options: DeleteOptions) -> bool:
    """A graceful deletion that is under way takes a shorter grace period and nothing else."""
    granted = obj["metadata"].get("deletionGracePeriodSeconds") or 0
    if not kind.graceful_deletion or not obj["metadata"].get("deletionTimestamp") or not granted:
        return False
    return options.grace is None or _not_negative(options.grace) >= granted


def _shorten(metadata: JSONObject, wanted: int, now: datetime) -> None:
    """The new period begins with the old one. If it would be over, it ends now, and whoever waits for it, as a kubelet,
    still has to end it himself."""
    granted = metadata.get("deletionGracePeriodSeconds") or 0
    grace = _not_negative(wanted)
    if grace >= granted:
        return
    due = datetime.fromisoformat(metadata["deletionTimestamp"]) - timedelta(seconds=granted - grace)
    if due < now:
        due, grace = now, min(grace, 1)
    metadata["deletionTimestamp"] = _time(due)
    metadata["deletionGracePeriodSeconds"] = grace


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def returns_object(kind: Kind) -> bool:
    """Whether a completed deletion is answered with the object instead of a Status."""
    return kind.storage_key in _RETURNED


def _finalizers(kind: Kind, present_ones: list[str], policy: str) -> list[str]:
    """The finalizers that ask the garbage collector for its part, as the policy says; without one, those the object
    already has stay."""
    kept = [each for each in present_ones if each not in (FOREGROUND_FINALIZER, ORPHAN_FINALIZER)]
    if kind.storage_key in _NEVER_COLLECTED:
        return kept
    if not policy:
        if len(kept) < len(present_ones) or kind.storage_key not in _ORPHANED:
            return present_ones
        policy = ORPHAN
    if policy == FOREGROUND:
        kept.append(FOREGROUND_FINALIZER)
    elif policy == ORPHAN:
        kept.append(ORPHAN_FINALIZER)
    return kept


def warnings_of(kind: Kind, options: DeleteOptions) -> list[str]:
    """What the deletion of such an object is warned about."""
    return [_JOBS_WARNING] if kind.storage_key == _JOBS and not options.policy else []


def _namespace_kept(kind: Kind, obj: JSONObject) -> bool:
    return kind.storage_key == NAMESPACES and bool((obj.get("spec") or {}).get("finalizers"))
