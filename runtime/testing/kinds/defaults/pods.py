"""Defaults of Pods and of the Pod templates of workloads."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Final

from runtime.quantity import parse_quantity
from runtime.types import JSONMapping, JSONObject

_TAG = re.compile(r":[\w][\w.-]{0,127}$", re.ASCII)
_MODE: Final = 0o644
_MODE_SOURCES: Final = ("secret", "configMap", "downwardAPI", "projected")
_TOLERATED: Final = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_SOURCES: Final[Mapping[str, JSONMapping]] = {
    "azureDisk": {"cachingMode": "ReadWrite", "fsType": "ext4", "kind": "Shared", "readOnly": False},
    "hostPath": {"type": ""},
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"keyring": "/etc/ceph/keyring", "pool": "rbd", "user": "admin"},
    "scaleIO": {"fsType": "xfs", "storageMode": "ThinProvisioned"},
}
# Fields of a volume that are no source of it.
_VOLUME_FIELDS: Final = frozenset({"name"})


def default_pod(pod: JSONObject) -> None:
    """Defaults of a Pod, with those that admission adds on a real server."""
    spec = pod.get("spec")
    if not isinstance(spec, dict):
        return
    default_pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        _requests_from_limits(container)
        if spec.get("hostNetwork"):
            _publish_ports(container)
    for condition in (pod.get("status") or {}).get("conditions") or ():
        condition.setdefault("lastProbeTime", None)
        condition.setdefault("lastTransitionTime", None)


def default_template(template: object) -> None:
    """Defaults of a workload's Pod template."""
    if isinstance(template, dict) and isinstance(template.get("spec"), dict):
        default_pod_spec(template["spec"])


def default_pod_spec(spec: JSONObject) -> None:
    """What Pods and templates have in common."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for container in _containers(spec):
        _default_container(container)
    for volume in spec.get("volumes") or ():
        _default_volume(volume)


def admit_pod(pod: JSONObject) -> None:
    """What admission adds to a new Pod: service account, tolerations; and its first status."""
    spec = pod.setdefault("spec", {})
    spec.setdefault("serviceAccountName", "default")
    spec["serviceAccount"] = spec["serviceAccountName"]
    tolerations = spec.setdefault("tolerations", [])
    for key in _TOLERATED:
        if not any(_tolerates(each, key) for each in tolerations):
            tolerations.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(spec)}


def update_pod(pod: JSONObject, old: JSONObject, subresource: str | None) -> None:
    """Of a Pod, ``ephemeralcontainers`` and ``resize`` change what their names say and nothing else."""
    if subresource not in ("ephemeralcontainers", "resize"):
        if subresource == "status" and not (pod.get("status") or {}).get("qosClass"):
            pod["status"] = {**(pod.get("status") or {}), "qosClass": (old.get("status") or {}).get("qosClass")}
        return
    spec, kept = pod.get("spec") or {}, copy.deepcopy(old["spec"])
    if subresource == "ephemeralcontainers":
        kept.pop("ephemeralContainers", None)
        if spec.get("ephemeralContainers"):
            kept["ephemeralContainers"] = spec["ephemeralContainers"]
    else:
        for field in ("containers", "initContainers"):
            _take_resources(spec.get(field) or [], kept.get(field) or [])
    pod["spec"] = kept
    for field in ("labels", "annotations", "finalizers", "ownerReferences"):
        pod["metadata"].pop(field, None)
        if field in old["metadata"]:
            pod["metadata"][field] = copy.deepcopy(old["metadata"][field])


def _take_resources(wanted: list[JSONObject], kept: list[JSONObject]) -> None:
    for container in kept:
        found = next((each for each in wanted if each.get("name") == container.get("name")), {})
        for field in ("resources", "resizePolicy"):
            if field in found:
                container[field] = found[field]


def _tolerates(toleration: JSONMapping, key: str) -> bool:
    return toleration.get("key", key) in (key, "") and toleration.get("effect", "NoExecute") in ("NoExecute", "")


def qos_class(spec: JSONMapping) -> str:
    """Guaranteed, Burstable or BestEffort."""
    guaranteed, anything = True, False
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        resources = container.get("resources") or {}
        requests, limits = _compute(resources.get("requests")), _compute(resources.get("limits"))
        anything = anything or bool(requests or limits)
        guaranteed = guaranteed and set(limits) == {"cpu", "memory"} and requests == limits
    if not anything:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _compute(quantities: JSONMapping | None) -> dict[str, Fraction]:
    wanted = {
        name: parse_quantity(str((quantities or {})[name])) for name in ("cpu", "memory") if name in (quantities or {})
    }
    return {name: amount for name, amount in wanted.items() if amount}


def _containers(spec: JSONMapping) -> Iterator[JSONObject]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for each in spec.get(field) or ():
            if isinstance(each, dict):
                yield each


def _publish_ports(container: JSONObject) -> None:
    """On the node's network, a port is the node's."""
    for port in container.get("ports") or ():
        if port.get("containerPort"):
            port.setdefault("hostPort", port["containerPort"])


def _default_container(container: JSONObject) -> None:
    for variable in container.get("env") or ():
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            reference.setdefault("apiVersion", "v1")
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = _pull_policy(str(container.get("image") or ""))
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(field) is not None:
            _default_probe(container[field])
    for handler in (container.get("lifecycle") or {}).values():
        if isinstance(handler, dict):
            _default_http(handler)


def _pull_policy(image: str) -> str:
    if "@" in image:
        return "IfNotPresent"
    tag = _TAG.search(image.rpartition("/")[2])
    return "Always" if tag is None or tag.group() == ":latest" else "IfNotPresent"


def _default_probe(probe: JSONObject) -> None:
    _default_http(probe)
    for field, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        if not probe.get(field):
            probe[field] = value


def _default_http(handler: JSONObject) -> None:
    get = handler.get("httpGet")
    if isinstance(get, dict):
        get.setdefault("path", "/")
        get.setdefault("scheme", "HTTP")


def _default_volume(volume: JSONObject) -> None:
    if not set(volume) - _VOLUME_FIELDS:
        volume["emptyDir"] = {}
    for field in _MODE_SOURCES:
        source = volume.get(field)
        if isinstance(source, dict):
            source.setdefault("defaultMode", _MODE)
    image = volume.get("image")
    if image is not None:
        image.setdefault("pullPolicy", _pull_policy(str(image.get("reference") or "")))
    default_source(volume)
    claim = (volume.get("ephemeral") or {}).get("volumeClaimTemplate") or {}
    if isinstance(claim.get("spec"), dict):
        claim["spec"].setdefault("volumeMode", "Filesystem")
    _default_projections(volume)


def default_source(volume: JSONMapping) -> None:
    """What a volume of a Pod and a PersistentVolume have in common."""
    for kind, values in _SOURCES.items():
        if isinstance(volume.get(kind), dict):
            for field, value in values.items():
                volume[kind].setdefault(field, value)


def _default_projections(volume: JSONMapping) -> None:
    sources = [volume, *((volume.get("projected") or {}).get("sources") or ())]
    for source in sources:
        for item in (source.get("downwardAPI") or {}).get("items") or ():
            if isinstance(item.get("fieldRef"), dict):
                item["fieldRef"].setdefault("apiVersion", "v1")
        if isinstance(source.get("serviceAccountToken"), dict):
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)


def _requests_from_limits(container: JSONObject) -> None:
    resources = container.get("resources") or {}
    limits = resources.get("limits")
    if limits:
        requests = resources.setdefault("requests", {})
        for name, amount in limits.items():
            requests.setdefault(name, copy.copy(amount))
