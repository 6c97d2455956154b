"""What happens when a CustomResourceDefinition is written or deleted: its kinds come and go, and its status says so."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from runtime.testing.apiserver import errors
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.log import Stored
from runtime.testing.apiserver.store import Changed, StorageKey
from runtime.testing.kinds.crds.naming import is_true, set_condition
from runtime.testing.kinds.model import Kind
from runtime.types import GVR, JSONObject

CRDS: Final = ("apiextensions.k8s.io", "customresourcedefinitions")
FINALIZER: Final = "customresourcecleanup.apiextensions.k8s.io"
_TERMINATING: Final = "Terminating"
_PENDING: Final = (
    "InstanceDeletionPending",
    "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
)
_COMPLETED: Final = ("InstanceDeletionCompleted", "removed all instances")
_NEVER_SERVED: Final = ("NeverEstablished", "resource was never established")
_IN_PROGRESS: Final = ("InstanceDeletionInProgress", "CustomResource deletion is in progress")


def after_write(context: Context, stored: Stored) -> Stored:
    """Do what the controllers of a real server do with a new or changed CRD, step by step: look at its names, serve
    its kinds, publish its status. CRDs that waited for a name are looked at again. Returns its present state."""
    present = _settle(context, stored)
    _settle_others(context, present.obj)
    return present


def _settle(context: Context, stored: Stored) -> Stored:
    while True:
        obj = stored.obj
        if obj["metadata"].get("deletionTimestamp"):
            return stored
        status = context.registry.install_crd(obj)
        if status == obj.get("status"):
            return stored
        obj["status"] = status
        try:
            stored = context.store.update(CRDS, stored, obj)
        except Changed as changed:
            if changed.current is None:
                return stored
            stored = changed.current


def _settle_others(context: Context, crd: JSONObject) -> None:
    group, name = crd["spec"]["group"], crd["metadata"]["name"]
    for each in context.store.snapshot(CRDS)[0]:
        obj = each.obj
        if obj["spec"]["group"] != group or each.name == name:
            continue
        if not is_true((obj.get("status") or {}).get("conditions") or (), "NamesAccepted"):
            _settle(context, each)


def mark_deleted(obj: JSONObject, now: datetime) -> None:
    """What the deletion of a CRD sets: its objects are deleted before it goes."""
    metadata = obj["metadata"]
    if FINALIZER not in (metadata.get("finalizers") or ()):
        metadata["finalizers"] = [*(metadata.get("finalizers") or ()), FINALIZER]
    _set_terminating(obj, True, _PENDING, now)


def mark_in_progress(obj: JSONObject, now: datetime) -> bool:
    """Say that the objects of a CRD are being deleted; returns whether that is news."""
    before = (obj.get("status") or {}).get("conditions")
    _set_terminating(obj, True, _IN_PROGRESS, now)
    return bool(obj["status"]["conditions"] != before)


def mark_finished(obj: JSONObject, now: datetime, *, served: bool) -> None:
    """Say that a CRD that others keep has no objects any more."""
    _set_terminating(obj, False, _COMPLETED if served else _NEVER_SERVED, now)


def _set_terminating(obj: JSONObject, status: bool, reason: tuple[str, str], now: datetime) -> None:
    known = obj.setdefault("status", {})
    conditions = [dict(each) for each in known.get("conditions") or ()]
    set_condition(conditions, _TERMINATING, status, *reason, now)
    known["conditions"] = conditions


def check_creatable(context: Context, kind: Kind, name: str) -> None:
    """:raises StatusError: 403 for an object whose CRD is being deleted, 404 for one whose CRD has gone meanwhile."""
    if not kind.custom:
        return
    crd = context.store.get(CRDS, "", f"{kind.gvr.resource}.{kind.gvr.group}")
    if crd is None:
        raise errors.not_found(kind, name)
    if crd.deleting:
        raise errors.forbidden(kind, name, "create not allowed while custom resource definition is terminating")


def instances_of(crd: JSONObject) -> StorageKey:
    """Where the objects of a CRD's kinds are stored."""
    spec = crd.get("spec") or {}
    return spec.get("group", ""), (spec.get("names") or {}).get("plural", "")


def kind_of(context: Context, crd: JSONObject) -> Kind | None:
    """One of the kinds that a CRD serves, None if it serves none."""
    group, plural = instances_of(crd)
    for version in (crd.get("spec") or {}).get("versions") or ():
        kind = context.registry.lookup(GVR(group, version.get("name", ""), plural))
        if kind is not None and kind.custom:
            return kind
    return None


def after_removal(context: Context, crd: JSONObject) -> None:
    """A CRD has gone: its kinds are served no longer, their watches end, and others that waited for one of its names
    get it."""
    unregister(context, crd)
    _settle_others(context, crd)


def unregister(context: Context, crd: JSONObject) -> None:
    """Serve the CRD's kinds no longer; their watches end."""
    context.registry.remove_crd(crd)
    context.store.log(instances_of(crd)).wake()
