"""The binding subresource of Pods: what a scheduler writes to give a Pod its node."""

from __future__ import annotations

from runtime.testing.apiserver import errors
from runtime.testing.kinds.model import FieldError, Kind
from runtime.types import JSONObject


def bind(kind: Kind, pod: JSONObject, binding: JSONObject, timestamp: str) -> JSONObject:
    """The Pod on the node that the Binding names.

    :raises StatusError: 422 without a node's name; 409 when the Pod has a node, is going, or is not the one meant.
    """
    node = (binding.get("target") or {}).get("name")
    name = pod["metadata"]["name"]
    if not node:
        raise errors.invalid("", "Binding", name, [FieldError("FieldValueRequired", "target.name", "Required value")])
    wanted = (binding.get("metadata") or {}).get("uid")
    if wanted and wanted != pod["metadata"]["uid"]:
        why = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {pod['metadata']['uid']}"
        raise errors.conflict(kind, name, why)
    if pod["metadata"].get("deletionTimestamp"):
        raise errors.conflict(kind, name, f"pod {name} is being deleted, cannot be assigned to a host")
    current = (pod.get("spec") or {}).get("nodeName")
    if current:
        raise errors.conflict(kind, name, f'pod {name} is already assigned to node "{current}"')
    pod["spec"]["nodeName"] = node
    conditions = pod.setdefault("status", {}).setdefault("conditions", [])
    conditions[:] = [c for c in conditions if c.get("type") != "PodScheduled"]
    conditions.append(
        {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": timestamp}
    )
    return pod
