"""Namespaces: which exist from the start, that objects need one, and how a deleted one is emptied."""

from __future__ import annotations

from runtime.testing.apiserver import errors
from runtime.testing.apiserver.store import Store
from runtime.testing.kinds.model import Kind

NAMESPACES = ("", "namespaces")
INITIAL = ("default", "kube-system", "kube-public", "kube-node-lease")


def check_namespace(store: Store, kind: Kind, namespace: str, name: str) -> None:
    """Raises 404 when the namespace does not exist, 403 when it is being deleted. Call under the store's lock."""
    found = store.get(NAMESPACES, "", namespace)
    if found is None:
        raise errors.namespace_not_found(namespace)
    if found.obj["metadata"].get("deletionTimestamp"):
        why = f"unable to create new content in namespace {namespace} because it is being terminated"
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {namespace} is being terminated",
            "field": "metadata.namespace",
        }
        raise errors.forbidden(kind, name, why, [cause])
