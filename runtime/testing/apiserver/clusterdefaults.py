"""What new objects take over from others in the cluster: default classes, and the topology of their node (the admission
plugins DefaultStorageClass, DefaultIngressClass and PodTopologyLabels)."""

from __future__ import annotations

from typing import Final

from runtime.testing.apiserver.store import StorageKey, Store
from runtime.testing.kinds.model import Kind
from runtime.types import JSONObject

_PODS: Final[StorageKey] = ("", "pods")
_NODES: Final[StorageKey] = ("", "nodes")
_CLAIMS: Final[StorageKey] = ("", "persistentvolumeclaims")
_INGRESSES: Final[StorageKey] = ("networking.k8s.io", "ingresses")
_STORAGE_CLASSES: Final[StorageKey] = ("storage.k8s.io", "storageclasses")
_INGRESS_CLASSES: Final[StorageKey] = ("networking.k8s.io", "ingressclasses")
_DEFAULT_STORAGE: Final = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
_DEFAULT_INGRESS: Final = ("ingressclass.kubernetes.io/is-default-class",)
_OLD_STORAGE: Final = "volume.beta.kubernetes.io/storage-class"
_OLD_INGRESS: Final = "kubernetes.io/ingress.class"
_TOPOLOGY: Final = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone")


def take_over(store: Store, kind: Kind, obj: JSONObject) -> None:
    """Complete a new object."""
    if kind.storage_key == _PODS:
        node = (obj.get("spec") or {}).get("nodeName")
        if node:
            label(store, obj, node)
    elif kind.storage_key == _CLAIMS and _annotation(obj, _OLD_STORAGE) is None:
        _choose(store, _STORAGE_CLASSES, _DEFAULT_STORAGE, obj, "storageClassName")
    elif kind.storage_key == _INGRESSES and not _annotation(obj, _OLD_INGRESS):
        _choose(store, _INGRESS_CLASSES, _DEFAULT_INGRESS, obj, "ingressClassName")


def label(store: Store, obj: JSONObject, node_name: str) -> None:
    """Give a Pod, or a Binding of one, the labels that say where its node is; a node that there is not has none."""
    node = store.get(_NODES, "", node_name)
    found = {name: node.labels[name] for name in _TOPOLOGY if name in node.labels} if node is not None else {}
    if found:
        obj["metadata"]["labels"] = {**(obj["metadata"].get("labels") or {}), **found}


def _annotation(obj: JSONObject, name: str) -> str | None:
    return (obj["metadata"].get("annotations") or {}).get(name)


def _choose(store: Store, classes: StorageKey, annotations: tuple[str, ...], obj: JSONObject, field: str) -> None:
    """Of several defaults the newest, by seconds, and of these the first by name."""
    spec = obj.setdefault("spec", {})
    if spec.get(field) is not None:
        return
    marked = [
        (each.metadata["creationTimestamp"], each.name)
        for each in store.snapshot(classes)[0]
        if any((each.metadata.get("annotations") or {}).get(name) == "true" for name in annotations)
    ]
    if marked:
        newest = max(created for created, _ in marked)
        spec[field] = min(name for created, name in marked if created == newest)
