"""The binding subresource of Pods: what a scheduler writes to give a Pod its node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.testing.apiserver import errors
from runtime.types import JSONObject


def bind(pod: JSONObject, binding: JSONObject, timestamp: str) -> JSONObject:
    """The Pod on the node that the Binding, a valid one, names, with the Binding's annotations and labels.

    :raises StatusError: 409 when the Pod has a node, is not to be scheduled yet, is going, or is not the one meant.
    """
    given, metadata, spec = binding["metadata"], pod["metadata"], pod.setdefault("spec", {})
    name = metadata["name"]
    for each, what in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        if given.get(each) and given[each] != metadata[each]:
            raise _conflict(
                name,
                f"Precondition failed: {what} in precondition: {given[each]}, {what} in object meta: {metadata[each]}",
            )
    if metadata.get("deletionTimestamp"):
        raise _conflict(name, f"pod {name} is being deleted, cannot be assigned to a host")
    if spec.get("nodeName"):
        raise _conflict(name, f'pod {name} is already assigned to node "{spec["nodeName"]}"')
    if spec.get("schedulingGates"):
        raise _conflict(name, f"pod {name} has non-empty .spec.schedulingGates")
    spec["nodeName"] = binding["target"]["name"]
    for each in ("annotations", "labels"):
        if given.get(each):
            metadata[each] = {**(metadata.get(each) or {}), **given[each]}
    pod.setdefault("status", {}).pop("nominatedNodeName", None)
    set_pod_condition(pod, {"type": "PodScheduled", "status": "True"}, timestamp)
    return pod


def set_pod_condition(pod: JSONObject, condition: Mapping[str, Any], timestamp: str) -> None:
    """Put the condition in the place of the one of its type, which tells since when it is as it is, or at the end."""
    conditions = pod.setdefault("status", {}).setdefault("conditions", [])
    new = {"lastProbeTime": None, "lastTransitionTime": timestamp, **condition}
    for place, old in enumerate(conditions):
        if old.get("type") == new["type"]:
            if old.get("status") == new["status"]:
                new["lastTransitionTime"] = old.get("lastTransitionTime")
            conditions[place] = new
            return
    conditions.append(new)


def _conflict(name: str, why: str) -> errors.StatusError:
    """QUIRK kept: this conflict alone names the subresource, too."""
    details = {"name": name, "kind": "pods/binding"}
    message = f"Operation cannot be fulfilled on pods/binding {errors.quote(name)}: {why}"
    return errors.StatusError(409, "Conflict", message, details)
