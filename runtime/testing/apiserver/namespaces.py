"""Namespaces: which exist from the start, and that objects need one."""

from __future__ import annotations

from runtime.testing.apiserver import errors
from runtime.testing.apiserver.store import Store
from runtime.testing.kinds.model import Kind
from runtime.types import JSONObject

NAMESPACES = ("", "namespaces")
INITIAL = ("default", "kube-system", "kube-public", "kube-node-lease")
IMMORTAL = frozenset({"default", "kube-system", "kube-public"})
FINALIZER = "kubernetes"
NAME_LABEL = "kubernetes.io/metadata.name"


def begin(obj: JSONObject) -> None:
    """What every new namespace has."""
    finalizers = obj.setdefault("spec", {}).setdefault("finalizers", [])
    if FINALIZER not in finalizers:
        finalizers.append(FINALIZER)
    obj["status"] = {"phase": "Active"}
    obj["metadata"].setdefault("labels", {})[NAME_LABEL] = obj["metadata"]["name"]


def keep_finalizers(obj: JSONObject, old: JSONObject, subresource: str) -> None:
    """``spec.finalizers`` changes through the finalize subresource only, which changes nothing else."""
    if subresource == "finalize":
        finalizers = (obj.get("spec") or {}).get("finalizers") or []
        metadata = obj["metadata"]
        obj.clear()
        obj.update(old)
        obj["metadata"] = {**old["metadata"], "managedFields": metadata.get("managedFields")}
        if obj["metadata"]["managedFields"] is None:
            del obj["metadata"]["managedFields"]
        obj["spec"] = {**(old.get("spec") or {}), "finalizers": finalizers}
        if not finalizers:
            del obj["spec"]["finalizers"]
        return
    kept = (old.get("spec") or {}).get("finalizers")
    if kept is not None:
        obj.setdefault("spec", {})["finalizers"] = list(kept)
    obj["metadata"].setdefault("labels", {})[NAME_LABEL] = obj["metadata"]["name"]


def check_namespace(store: Store, kind: Kind, namespace: str, name: str) -> None:
    """Raises 404 when the namespace does not exist, 403 when it is being deleted. Call under the store's lock."""
    found = store.get(NAMESPACES, "", namespace)
    if found is None:
        raise errors.namespace_not_found(namespace)
    if found.deleting:
        why = f"unable to create new content in namespace {namespace} because it is being terminated"
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {namespace} is being terminated",
            "field": "metadata.namespace",
        }
        raise errors.forbidden(kind, name, why, [cause])
