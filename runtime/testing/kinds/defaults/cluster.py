"""Defaults of the kinds that configure a cluster: scaling, networking, storage drivers, admission, flow control."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from runtime.types import JSONObject

_CPU_TARGET: Final = {"type": "Utilization", "averageUtilization": 80}
_SCALE_UP: Final[JSONObject] = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
_SCALE_DOWN: Final[JSONObject] = {
    "selectPolicy": "Max",
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
}
_NOT_READY: Final = "node.kubernetes.io/not-ready"
_LIMITED: Final = {"nominalConcurrencyShares": 30, "lendablePercent": 0}
_EXEMPT: Final = {"nominalConcurrencyShares": 0, "lendablePercent": 0}
_QUEUING: Final = {"handSize": 8, "queues": 64, "queueLengthLimit": 50}


def default_autoscaler(obj: JSONObject) -> None:
    spec = obj["spec"]
    spec.setdefault("minReplicas", 1)
    if obj.get("apiVersion") == "autoscaling/v1":
        return
    if not spec.get("metrics"):
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": dict(_CPU_TARGET)}}]
    behavior = spec.get("behavior")
    if behavior is not None:
        for name, rules in (("scaleUp", _SCALE_UP), ("scaleDown", _SCALE_DOWN)):
            behavior[name] = {**copy.deepcopy(rules), **behavior.get(name, {})}


def default_network_policy(obj: JSONObject) -> None:
    spec = obj["spec"]
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for rule in (*(spec.get("ingress") or ()), *(spec.get("egress") or ())):
        for port in rule.get("ports") or ():
            port.setdefault("protocol", "TCP")


def default_ingress_class(obj: JSONObject) -> None:
    parameters = obj["spec"].get("parameters")
    if parameters is not None:
        _fill(parameters, {"scope": "Cluster"})


def default_node(obj: JSONObject) -> None:
    status = obj["status"]
    if status.get("capacity") and "allocatable" not in status:
        status["allocatable"] = dict(status["capacity"])


def taint_node(obj: JSONObject) -> None:
    """A new Node has to show that it is ready before Pods come to it (admission plugin TaintNodesByCondition)."""
    taints = obj.setdefault("spec", {}).setdefault("taints", [])
    if not any(each.get("key") == _NOT_READY and each.get("effect") == "NoSchedule" for each in taints):
        taints.append({"key": _NOT_READY, "effect": "NoSchedule"})


def default_limit_range(obj: JSONObject) -> None:
    """The most is the default limit, a default limit is the default request, and so is the least."""
    for limit in obj["spec"].get("limits") or ():
        if limit.get("type") != "Container":
            continue
        default = {**(limit.get("max") or {}), **(limit.get("default") or {})}
        request = {**(limit.get("min") or {}), **default, **(limit.get("defaultRequest") or {})}
        for field, amounts in (("default", default), ("defaultRequest", request)):
            if amounts:
                limit[field] = amounts


def default_csi_driver(obj: JSONObject) -> None:
    spec = obj["spec"]
    spec.setdefault("attachRequired", True)
    for field in ("podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"):
        spec.setdefault(field, False)
    spec.setdefault("fsGroupPolicy", "ReadWriteOnceWithFSType")
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def default_webhooks(obj: JSONObject) -> None:
    mutating = obj.get("kind") == "MutatingWebhookConfiguration"
    for hook in obj.get("webhooks") or ():
        hook.setdefault("failurePolicy", "Fail")
        hook.setdefault("matchPolicy", "Equivalent")
        hook.setdefault("namespaceSelector", {})
        hook.setdefault("objectSelector", {})
        hook.setdefault("timeoutSeconds", 10)
        if mutating:
            hook.setdefault("reinvocationPolicy", "Never")
        _default_rules(hook.get("rules"))
        service = (hook.get("clientConfig") or {}).get("service")
        if service is not None:
            service.setdefault("port", 443)


def default_admission_policy(obj: JSONObject) -> None:
    spec = obj["spec"]
    spec.setdefault("failurePolicy", "Fail")
    if obj.get("kind") == "MutatingAdmissionPolicy":
        spec.setdefault("reinvocationPolicy", "Never")
    _default_match(spec.get("matchConstraints"))


def default_admission_binding(obj: JSONObject) -> None:
    _default_match(obj["spec"].get("matchResources"))


def _default_match(match: JSONObject | None) -> None:
    if match is None:
        return
    match.setdefault("namespaceSelector", {})
    match.setdefault("objectSelector", {})
    match.setdefault("matchPolicy", "Equivalent")
    _default_rules(match.get("resourceRules"))
    _default_rules(match.get("excludeResourceRules"))


def _default_rules(rules: list[JSONObject] | None) -> None:
    for rule in rules or ():
        rule.setdefault("scope", "*")


def default_api_service(obj: JSONObject) -> None:
    service = obj["spec"].get("service")
    if service is not None:
        service.setdefault("port", 443)


def default_flow_schema(obj: JSONObject) -> None:
    spec = obj["spec"]
    if not spec.get("matchingPrecedence"):
        spec["matchingPrecedence"] = 1000


def default_priority_level(obj: JSONObject) -> None:
    spec = obj["spec"]
    for field, values in (("exempt", _EXEMPT), ("limited", _LIMITED)):
        if spec.get(field) is not None:
            _fill(spec[field], values)
    queuing = ((spec.get("limited") or {}).get("limitResponse") or {}).get("queuing")
    if queuing is not None:
        for field, value in _QUEUING.items():
            if not queuing.get(field):
                queuing[field] = value


def _fill(obj: JSONObject, values: Mapping[str, object]) -> None:
    """Go shows some fields as null when they are not set."""
    for field, value in values.items():
        if obj.get(field) is None:
            obj[field] = value


def default_device_claim(obj: JSONObject) -> None:
    """A claim for devices, or a template of one."""
    spec = obj["spec"]
    for request in ((spec.get("spec") or spec).get("devices") or {}).get("requests") or ():
        for each in (request.get("exactly"), *(request.get("firstAvailable") or ())):
            if each is None:
                continue
            each.setdefault("allocationMode", "ExactCount")
            if each["allocationMode"] == "ExactCount" and not each.get("count"):
                each["count"] = 1


def default_resource_slice(obj: JSONObject, now: datetime) -> None:
    for device in obj["spec"].get("devices") or ():
        for taint in device.get("taints") or ():
            taint.setdefault("timeAdded", now.strftime("%Y-%m-%dT%H:%M:%SZ"))
