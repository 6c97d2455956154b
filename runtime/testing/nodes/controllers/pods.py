"""The Pod and the claims of one ordinal."""

from __future__ import annotations

import copy
from datetime import datetime

from runtime.client import Unstructured
from runtime.testing.nodes.controllers.workload import Workload
from runtime.types import JSONObject

REVISION_LABEL = "controller-revision-hash"
POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
POD_INDEX_LABEL = "apps.kubernetes.io/pod-index"


def owner_reference(owner: Unstructured, *, controller: bool) -> JSONObject:
    reference: JSONObject = {
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
    }
    if controller:
        reference |= {"controller": True, "blockOwnerDeletion": True}
    return reference


def build_pod(workload: Workload, ordinal: int, template: JSONObject, revision: str) -> JSONObject:
    """The Pod of an ordinal: the template, with its identity, its claims and its owner."""
    name = workload.pod_name(ordinal)
    spec: JSONObject = copy.deepcopy(template.get("spec") or {})
    spec |= {"hostname": name, "subdomain": workload.service_name}
    claims = {claim["metadata"]["name"]: claim for claim in workload.claim_templates}
    volumes = [v for v in spec.get("volumes") or [] if v["name"] not in claims]
    volumes += [
        {"name": claim, "persistentVolumeClaim": {"claimName": workload.claim_name(claim, ordinal)}} for claim in claims
    ]
    if volumes:
        spec["volumes"] = volumes
    metadata: JSONObject = copy.deepcopy(template.get("metadata") or {})
    labels = metadata.setdefault("labels", {})
    labels |= {REVISION_LABEL: revision, POD_NAME_LABEL: name, POD_INDEX_LABEL: str(ordinal)}
    metadata |= {
        "name": name,
        "namespace": workload.namespace,
        "ownerReferences": [owner_reference(workload.owner, controller=True)],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def build_claims(workload: Workload, ordinal: int) -> list[JSONObject]:
    """The PersistentVolumeClaims of an ordinal, labelled with the set's selector as the real controller does."""
    labels = (workload.selector or {}).get("matchLabels") or {}
    claims = []
    for template in workload.claim_templates:
        metadata: JSONObject = copy.deepcopy(template["metadata"])
        metadata |= {
            "name": workload.claim_name(template["metadata"]["name"], ordinal),
            "namespace": workload.namespace,
            "labels": {**(metadata.get("labels") or {}), **labels},
        }
        if workload.delete_claims_with_set:
            metadata["ownerReferences"] = [owner_reference(workload.owner, controller=False)]
        spec = copy.deepcopy(template["spec"])
        claims.append({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec})
    return claims


def revision_of(pod: Unstructured) -> str:
    return pod.labels.get(REVISION_LABEL, "")


def condition(pod: Unstructured, kind: str) -> JSONObject | None:
    status: JSONObject = pod.get("status") or {}
    return next((c for c in status.get("conditions") or [] if c.get("type") == kind), None)


def is_ready(pod: Unstructured) -> bool:
    """Running and Ready, and not on its way out."""
    ready = condition(pod, "Ready")
    phase = (pod.get("status") or {}).get("phase")
    return ready is not None and ready.get("status") == "True" and phase == "Running" and pod.deletion_timestamp is None


def seconds_until_available(pod: Unstructured, min_ready_seconds: float, now: datetime) -> float | None:
    """0 when available; seconds still to wait when ready but too young; None when not ready, or for an unknown time."""
    if not is_ready(pod):
        return None
    if min_ready_seconds <= 0:
        return 0.0
    text = (condition(pod, "Ready") or {}).get("lastTransitionTime")
    if not text:
        return None  # it does not say since when
    since = datetime.fromisoformat(text)
    return max(0.0, min_ready_seconds - (now - since).total_seconds())


def has_ended(pod: Unstructured) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")
