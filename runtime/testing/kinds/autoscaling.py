"""HorizontalPodAutoscalers: two versions, one storage. They are stored as autoscaling/v2.

autoscaling/v1 has a field for the CPU only; the rest is kept in annotations there, as a real server does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import orjson

from runtime.types import JSONMapping, JSONObject

_PREFIX: Final = "autoscaling.alpha.kubernetes.io/"
_V1, _V2 = "autoscaling/v1", "autoscaling/v2"
# Where a source of metrics keeps its target: v2 field of the target -> v1 field of the source, by type of metric.
_TARGETS: Final[Mapping[str, Mapping[str, str]]] = {
    "containerResource": {"averageUtilization": "targetAverageUtilization", "averageValue": "targetAverageValue"},
    "external": {"value": "targetValue", "averageValue": "targetAverageValue"},
    "object": {"value": "targetValue", "averageValue": "averageValue"},
    "pods": {"averageValue": "targetAverageValue"},
    "resource": {"averageUtilization": "targetAverageUtilization", "averageValue": "targetAverageValue"},
}
_TYPES: Final = {"averageUtilization": "Utilization", "averageValue": "AverageValue", "value": "Value"}
_CURRENTS: Final[Mapping[str, Mapping[str, str]]] = {
    kind: {
        field: f"current{name.removeprefix('target')[:1].upper()}{name.removeprefix('target')[1:]}"
        for field, name in fields.items()
    }
    for kind, fields in _TARGETS.items()
}


def to_v2(obj: JSONObject) -> JSONObject:
    """An autoscaling/v1 object as it is stored."""
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    kept = metadata.get("annotations") or {}
    metrics = [_old_metric(each) for each in _read_list(kept, "metrics")]
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    if percent is not None:
        metrics.insert(0, _cpu("target", {"type": "Utilization", "averageUtilization": percent}))
    if metrics:
        spec["metrics"] = metrics
    behavior = _read(kept, "behavior")
    if behavior and isinstance(behavior, dict):
        spec["behavior"] = behavior
    current = [_old_status(each) for each in _read_list(kept, "current-metrics")]
    percent = status.pop("currentCPUUtilizationPercentage", None)
    if percent is not None:
        current.insert(0, _cpu("current", {"averageUtilization": percent}))
    status["currentMetrics"] = current or None
    conditions = _read_list(kept, "conditions")
    if conditions:
        status["conditions"] = conditions
    _annotate(metadata, dict.fromkeys(("metrics", "behavior", "current-metrics", "conditions")))
    return {**obj, "apiVersion": _V2, "spec": spec, "status": status}


def to_v1(obj: JSONObject) -> JSONObject:
    """A stored object as autoscaling/v1 shows it."""
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    metrics, current = spec.pop("metrics", None) or [], status.pop("currentMetrics", None) or []
    percent, metrics = _take_cpu(metrics, "target")
    if percent is not None:
        spec["targetCPUUtilizationPercentage"] = percent
    percent, current = _take_cpu(current, "current")
    if percent is not None:
        status["currentCPUUtilizationPercentage"] = percent
    _annotate(
        metadata,
        {
            "metrics": [_moved(each, "target", _TARGETS) for each in metrics],
            "behavior": spec.pop("behavior", None),
            "current-metrics": [_moved(each, "current", _CURRENTS) for each in current],
            "conditions": status.pop("conditions", None),
        },
    )
    return {**obj, "apiVersion": _V1, "spec": spec, "status": status}


def _cpu(field: str, value: JSONObject) -> JSONObject:
    return {"type": "Resource", "resource": {"name": "cpu", field: value}}


def _take_cpu(metrics: list[JSONObject], field: str) -> tuple[int | None, list[JSONObject]]:
    """The CPU's utilization, and the other metrics."""
    for index, each in enumerate(metrics):
        resource = each.get("resource") or {}
        percent = (resource.get(field) or {}).get("averageUtilization")
        if resource.get("name") == "cpu" and percent is not None:
            return percent, metrics[:index] + metrics[index + 1 :]
    return None, metrics


def _moved(metric: JSONMapping, field: str, names: Mapping[str, Mapping[str, str]]) -> JSONObject:
    """A metric of v2 in the words of v1: what stands below its target stands beside it."""
    kind = next((each for each in names if metric.get(each) is not None), "")
    source = dict(metric.get(kind) or {})
    values = source.pop(field, None) or {}
    source |= {name: values[each] for each, name in names.get(kind, {}).items() if each in values}
    identifier = source.pop("metric", None)
    if identifier is not None:
        source["metricName"] = identifier.get("name", "")
        if "selector" in identifier:
            source["metricSelector" if kind == "external" else "selector"] = identifier["selector"]
    if "describedObject" in source:
        source["target"] = source.pop("describedObject")
    return {"type": metric.get("type"), kind: source} if kind else {"type": metric.get("type")}


def _moved_back(field: str, names: Mapping[str, Mapping[str, str]]) -> Callable[[JSONMapping], JSONObject]:
    def move(metric: JSONMapping) -> JSONObject:
        kind = next((each for each in names if isinstance(metric.get(each), dict)), "")
        if not kind:
            return dict(metric)
        source = dict(metric[kind])
        if "target" in source:
            source["describedObject"] = source.pop("target")
        values: JSONObject = {each: source.pop(name) for each, name in names[kind].items() if name in source}
        if field == "target" and values:
            values["type"] = _TYPES[next(iter(values))]
        selector = source.pop("metricSelector" if kind == "external" else "selector", None)
        if "metricName" in source:
            source["metric"] = {"name": source.pop("metricName")} | ({"selector": selector} if selector else {})
        return {"type": metric.get("type"), kind: {**source, field: values}}

    return move


_old_metric = _moved_back("target", _TARGETS)
_old_status = _moved_back("current", _CURRENTS)


def _read(annotations: Mapping[str, str], name: str) -> object:
    """What an annotation keeps; None for one that somebody spoiled."""
    try:
        found: object = orjson.loads(annotations.get(_PREFIX + name) or "null")
    except ValueError:
        return None
    return found


def _read_list(annotations: Mapping[str, str], name: str) -> list[JSONObject]:
    found = _read(annotations, name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _annotate(metadata: JSONObject, values: Mapping[str, object]) -> None:
    annotations = dict(metadata.get("annotations") or {})
    for name, value in values.items():
        annotations.pop(_PREFIX + name, None)
        if value:
            annotations[_PREFIX + name] = orjson.dumps(value).decode()
    metadata.pop("annotations", None)
    if annotations:
        metadata["annotations"] = annotations
