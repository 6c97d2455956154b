"""What happens when a CustomResourceDefinition is written or deleted: kinds come and go."""

from __future__ import annotations

from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.log import Stored
from runtime.testing.apiserver.store import Changed
from runtime.testing.apiserver.writes import present
from runtime.testing.kinds.model import Kind
from runtime.types import JSONObject

CRDS = ("apiextensions.k8s.io", "customresourcedefinitions")


def after_write(context: Context, kind: Kind, stored: Stored) -> Stored:
    """Register the kinds that a stored CRD defines and publish its status; returns its present state."""
    while True:
        obj = present(kind, stored)
        if obj["metadata"].get("deletionTimestamp"):
            return stored
        status = context.registry.install_crd(obj)
        if status == obj.get("status"):
            return stored
        obj["status"] = status
        try:
            return context.store.update(kind.storage_key, stored, obj)
        except Changed as changed:
            if changed.current is None:
                return stored
            stored = changed.current


def after_delete(context: Context, kind: Kind, stored: Stored, *, removed: bool) -> None:
    """With its CRD, a kind's objects and the kind itself go."""
    if kind.storage_key != CRDS or not removed:
        return
    obj: JSONObject = present(kind, stored)
    spec = obj.get("spec") or {}
    key = (spec.get("group", ""), (spec.get("names") or {}).get("plural", ""))
    context.registry.remove_crd(obj)
    for each in context.store.snapshot(key)[0]:
        current: Stored | None = each
        while current is not None:
            try:
                context.store.delete(key, current)
                current = None
            except Changed as changed:
                current = changed.current
    context.store.log(key).wake()
