"""Namespaces: which exist from the start, and that objects need one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from runtime.testing.apiserver import errors
from runtime.testing.apiserver.log import Stored
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


def deletion_conditions(
    before: Sequence[JSONObject], remaining: Iterable[tuple[Kind, Stored]], now: str
) -> list[JSONObject]:
    """The conditions of a namespace that is being emptied: what is left in it, and what finalizers keep that."""
    resources: Counter[str] = Counter()
    finalizers: Counter[str] = Counter()
    for kind, stored in remaining:
        resources[f"{kind.gvr.resource}.{kind.gvr.group}"] += 1
        finalizers.update(stored.metadata.get("finalizers") or ())
    found = dict(_SATISFIED)
    if resources:
        listed = ", ".join(f"{name} has {count} resource instances" for name, count in sorted(resources.items()))
        found["NamespaceContentRemaining"] = (
            "True",
            "SomeResourcesRemain",
            f"Some resources are remaining: {listed}",
        )
    if finalizers:
        listed = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(finalizers.items()))
        found["NamespaceFinalizersRemaining"] = (
            "True",
            "SomeFinalizersRemain",
            f"Some content in the namespace has finalizers remaining: {listed}",
        )
    return [*_foreign(before), *(_condition(before, name, *what, now) for name, what in found.items())]


_SATISFIED = {
    "NamespaceDeletionDiscoveryFailure": ("False", "ResourcesDiscovered", "All resources successfully discovered"),
    "NamespaceDeletionGroupVersionParsingFailure": (
        "False",
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    "NamespaceDeletionContentFailure": (
        "False",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    "NamespaceContentRemaining": ("False", "ContentRemoved", "All content successfully removed"),
    "NamespaceFinalizersRemaining": (
        "False",
        "ContentHasNoFinalizers",
        "All content-preserving finalizers finished",
    ),
}


def _foreign(conditions: Sequence[JSONObject]) -> list[JSONObject]:
    return [each for each in conditions if each.get("type") not in _SATISFIED]


def _condition(before: Sequence[JSONObject], name: str, status: str, reason: str, message: str, now: str) -> JSONObject:
    old = next((each for each in before if each.get("type") == name), None)
    since = old["lastTransitionTime"] if old is not None and old.get("status") == status else now
    return {"type": name, "status": status, "lastTransitionTime": since, "reason": reason, "message": message}


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
