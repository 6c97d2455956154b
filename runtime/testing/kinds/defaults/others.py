"""Defaults of the remaining kinds."""

from __future__ import annotations

import base64
from typing import Final

from runtime.testing.kinds.defaults.pods import default_source
from runtime.types import JSONObject

RBAC: Final = "rbac.authorization.k8s.io"
PVC_FINALIZER: Final = "kubernetes.io/pvc-protection"
PV_FINALIZER: Final = "kubernetes.io/pv-protection"
_NAME_LABEL: Final = "kubernetes.io/metadata.name"


def default_secret(obj: JSONObject) -> None:
    obj.setdefault("type", "Opaque")
    written = obj.pop("stringData", None)
    if isinstance(written, dict) and written:
        data = obj.setdefault("data", {})
        for key, value in written.items():
            data[key] = base64.b64encode(str(value).encode()).decode()


def default_claim(obj: JSONObject) -> None:
    if isinstance(obj.get("spec"), dict):
        obj["spec"].setdefault("volumeMode", "Filesystem")


def create_claim(obj: JSONObject) -> None:
    obj["status"] = {"phase": "Pending"}
    _add_finalizer(obj, PVC_FINALIZER)


def default_volume(obj: JSONObject) -> None:
    spec = obj.get("spec")
    if isinstance(spec, dict):
        spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
        spec.setdefault("volumeMode", "Filesystem")
        default_source(spec)


def create_volume(obj: JSONObject) -> None:
    obj["status"] = {"phase": "Pending", "lastPhaseTransitionTime": obj["metadata"].get("creationTimestamp")}
    _add_finalizer(obj, PV_FINALIZER)


def _add_finalizer(obj: JSONObject, finalizer: str) -> None:
    finalizers = obj["metadata"].setdefault("finalizers", [])
    if finalizer not in finalizers:
        finalizers.append(finalizer)


def default_namespace(obj: JSONObject) -> None:
    metadata = obj.get("metadata")
    if isinstance(metadata, dict) and metadata.get("name"):
        labels = metadata.get("labels") or {}
        metadata["labels"] = {**labels, _NAME_LABEL: metadata["name"]}


def create_namespace(obj: JSONObject) -> None:
    default_namespace(obj)  # the name may have been generated only now
    finalizers = obj.setdefault("spec", {}).setdefault("finalizers", [])
    if "kubernetes" not in finalizers:
        finalizers.append("kubernetes")
    obj["status"] = {"phase": "Active"}


def update_namespace(obj: JSONObject, old: JSONObject, subresource: str | None) -> None:
    """Finalizers of the spec change through ``finalize`` only."""
    if subresource != "finalize":
        obj["spec"] = {**(obj.get("spec") or {}), "finalizers": (old.get("spec") or {}).get("finalizers", [])}
        if not obj["spec"]["finalizers"]:
            del obj["spec"]["finalizers"]


def default_binding(obj: JSONObject) -> None:
    if isinstance(obj.get("roleRef"), dict) and not obj["roleRef"].get("apiGroup"):
        obj["roleRef"]["apiGroup"] = RBAC
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in ("User", "Group") and not subject.get("apiGroup"):
            subject["apiGroup"] = RBAC


def default_role(obj: JSONObject) -> None:
    obj.setdefault("rules", None)


def default_storage_class(obj: JSONObject) -> None:
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


def default_priority_class(obj: JSONObject) -> None:
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")
