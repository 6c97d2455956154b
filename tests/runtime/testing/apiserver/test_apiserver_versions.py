"""One object, read and written through two versions of its kind."""

from __future__ import annotations

from typing import Any

import pytest

from tests.runtime.testing.apiserver.apiserver_helpers import Http

V1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers"
V2 = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
TARGET = {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}
METRICS: list[Any] = [
    {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
    {
        "type": "Object",
        "object": {
            "describedObject": {"kind": "Service", "name": "s"},
            "metric": {"name": "hits", "selector": {"matchLabels": {"a": "b"}}},
            "target": {"type": "Value", "value": "5"},
        },
    },
    {
        "type": "External",
        "external": {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "3"}},
    },
]


def cpu(percent: int) -> Any:
    return {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}},
    }


def test_the_cpu_of_v1_is_a_metric_of_v2(api: Http) -> None:
    spec = {"scaleTargetRef": TARGET, "maxReplicas": 4, "targetCPUUtilizationPercentage": 60}
    created = api.made(V1, "h", spec=spec)
    assert (created["apiVersion"], created["spec"]["targetCPUUtilizationPercentage"]) == ("autoscaling/v1", 60)
    assert "annotations" not in created["metadata"]

    found = api.get(f"{V2}/h").body
    assert (found["apiVersion"], found["spec"]["metrics"]) == ("autoscaling/v2", [cpu(60)])
    assert found["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]
    assert [each["spec"]["metrics"] for each in api.get(V2).body["items"]] == [[cpu(60)]]


def test_what_v1_has_no_field_for_comes_through_it_unharmed(api: Http) -> None:
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 9}}
    spec = {"scaleTargetRef": TARGET, "maxReplicas": 4, "metrics": [*METRICS, cpu(70)], "behavior": behavior}
    api.made(V2, "h", spec=spec, metadata={"annotations": {"mine": "1"}})
    old = api.get(f"{V1}/h").body
    assert old["spec"]["targetCPUUtilizationPercentage"] == 70
    assert set(old["spec"]) == {"scaleTargetRef", "minReplicas", "maxReplicas", "targetCPUUtilizationPercentage"}

    old["spec"]["maxReplicas"] = 9
    assert api.put(f"{V1}/h", old).status == 200
    found = api.get(f"{V2}/h").body
    assert found["spec"]["metrics"] == [cpu(70), *METRICS]
    assert found["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 9
    assert (found["spec"]["maxReplicas"], found["metadata"]["annotations"]) == (9, {"mine": "1"})


def test_what_was_measured_is_told_by_both(api: Http) -> None:
    api.made(V2, "h", spec={"scaleTargetRef": TARGET, "maxReplicas": 4})
    measured = [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 33}}}]
    conditions = [{"type": "AbleToScale", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    status = {"currentMetrics": measured, "conditions": conditions, "currentReplicas": 2, "desiredReplicas": 3}
    assert api.merge(f"{V2}/h/status", {"status": status}).status == 200

    old = api.get(f"{V1}/h").body
    assert old["status"] == {"currentReplicas": 2, "desiredReplicas": 3, "currentCPUUtilizationPercentage": 33}
    assert "AbleToScale" in old["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/conditions"]
    assert api.merge(f"{V1}/h/status", {"status": {"currentReplicas": 3}}).body["status"]["currentReplicas"] == 3
    assert api.get(f"{V2}/h").body["status"]["currentMetrics"] == measured


@pytest.mark.parametrize("spoiled", ["nonsense", "{}", "[1]"])
def test_a_spoiled_annotation_is_forgotten(api: Http, spoiled: str) -> None:
    annotations = {f"autoscaling.alpha.kubernetes.io/{name}": spoiled for name in ("metrics", "behavior", "conditions")}
    api.made(V1, "h", spec={"scaleTargetRef": TARGET, "maxReplicas": 4}, metadata={"annotations": annotations})
    assert "annotations" not in api.get(f"{V2}/h").body["metadata"]
