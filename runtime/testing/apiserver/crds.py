"""What happens when a CustomResourceDefinition is written: its kinds are served, and its status says so."""

from __future__ import annotations

from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.log import Stored
from runtime.testing.apiserver.store import Changed, StorageKey
from runtime.testing.apiserver.writes import present
from runtime.testing.kinds.model import Kind
from runtime.types import JSONObject

CRDS = ("apiextensions.k8s.io", "customresourcedefinitions")
FINALIZER = "customresourcecleanup.apiextensions.k8s.io"


def after_write(context: Context, kind: Kind, stored: Stored) -> Stored:
    """Register the kinds that a stored CRD defines, and publish its status and its finalizer; returns its present
    state."""
    while True:
        obj = present(kind, stored)
        if obj["metadata"].get("deletionTimestamp"):
            return stored
        status = context.registry.install_crd(obj)
        finalizers = obj["metadata"].get("finalizers") or []
        if status == obj.get("status") and FINALIZER in finalizers:
            return stored
        obj["status"] = status
        obj["metadata"]["finalizers"] = [*finalizers, *([] if FINALIZER in finalizers else [FINALIZER])]
        try:
            return context.store.update(kind.storage_key, stored, obj)
        except Changed as changed:
            if changed.current is None:
                return stored
            stored = changed.current


def instances_of(crd: JSONObject) -> StorageKey:
    """Where the objects of a CRD's kinds are stored."""
    spec = crd.get("spec") or {}
    return spec.get("group", ""), (spec.get("names") or {}).get("plural", "")


def unregister(context: Context, crd: JSONObject) -> None:
    """Serve the CRD's kinds no longer; its watches end."""
    context.registry.remove_crd(crd)
    context.store.log(instances_of(crd)).wake()
