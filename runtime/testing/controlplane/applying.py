"""Manifests for a server that is reached over HTTP only."""

from __future__ import annotations

import time
from pathlib import Path

from runtime.client import ApiError, Client
from runtime.testing.controlplane.programs import ControlPlaneFailed
from runtime.testing.manifests import as_written
from runtime.types import GVR, JSONObject

_CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
_MANAGER = "apply_manifests"
_PATIENCE = 30.0  # seconds for a CRD to be served


def apply_object(client: Client, path: Path, obj: JSONObject, namespace: str) -> JSONObject:
    """Server-side apply, by force. A CRD's kinds are served when this returns.

    :param path: the file it is from, for messages.
    :param namespace: if the object is in one and names none.
    :returns: the stored object.
    :raises ValueError: the server knows no such kind, or the object has no metadata.
    :raises ApiError: it was refused.
    """
    api_version, kind = str(obj.get("apiVersion")), str(obj.get("kind"))
    resource = client.discovery.resource_for(api_version, kind)
    if not isinstance(obj.get("metadata"), dict):
        raise ValueError(f"{path}: {kind} has no metadata")
    if resource is None:
        raise ValueError(f"{path}: the server knows no kind {kind} in {api_version}; apply its CRD first")
    obj = as_written(obj)
    where = str(obj["metadata"].get("namespace") or namespace) if resource.namespaced else None
    applied = client.resource(resource.gvr, where).apply(obj, field_manager=_MANAGER, force=True)
    if resource.gvr == _CRDS:
        _await_served(client, applied.to_dict())
    return client.resource(resource.gvr, where).get(applied.name).to_dict()


def _await_served(client: Client, crd: JSONObject) -> None:
    """Established, and in discovery in every version."""
    spec, name = crd["spec"], crd["metadata"]["name"]
    wanted = [GVR(spec["group"], each["name"], spec["names"]["plural"]) for each in spec["versions"] if each["served"]]
    deadline = time.monotonic() + _PATIENCE
    while not (_is_established(client, name) and all(_is_served(client, gvr) for gvr in wanted)):
        if time.monotonic() > deadline:
            raise ControlPlaneFailed(f"CustomResourceDefinition {name} is not served after {_PATIENCE:g} s")
        time.sleep(0.05)


def _is_established(client: Client, name: str) -> bool:
    conditions = (client.resource(_CRDS).get(name).to_dict().get("status") or {}).get("conditions") or []
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


def _is_served(client: Client, gvr: GVR) -> bool:
    if not client.discovery.has(gvr):
        return False
    try:
        client.resource(gvr).list(limit=1)
    except ApiError:
        return False
    return True
