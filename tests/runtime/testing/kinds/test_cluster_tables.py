"""The kinds that configure a cluster, as kubectl shows them."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from runtime.testing.kinds.table import table
from runtime.types import GVR
from tests.runtime.testing.kinds.kinds_helpers import JSON, Sandbox

NOW = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
CPU: dict[str, Any] = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
MEMORY: dict[str, Any] = {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}
QUEUE: dict[str, Any] = {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "3"}}
METRICS = [
    {"type": "Resource", "resource": CPU},
    {"type": "Resource", "resource": MEMORY},
    {"type": "External", "external": QUEUE},
]


@pytest.mark.parametrize(
    ("resource", "obj", "cells"),
    [
        (
            "resourcequotas",
            {"status": {"hard": {"limits.cpu": "2", "pods": "9"}, "used": {"pods": "3"}}},
            ["pods: 3/9", "limits.cpu: 0/2"],
        ),
        (
            "certificatesigningrequests",
            {
                "spec": {"signerName": "a/b", "username": "me", "expirationSeconds": 86400},
                "status": {"conditions": [{"type": "Approved"}], "certificate": "YQ=="},
            },
            ["a/b", "me", "1d", "Approved,Issued"],
        ),
        ("certificatesigningrequests", {"spec": {"signerName": "a/b"}}, ["a/b", "", "<none>", "Pending"]),
        ("apiservices", {"status": {"conditions": [{"type": "Available", "status": "True"}]}}, ["Local", "True"]),
        (
            "apiservices",
            {
                "spec": {"service": {"namespace": "n", "name": "s"}},
                "status": {"conditions": [{"type": "Available", "status": "False", "reason": "Gone"}]},
            },
            ["n/s", "False (Gone)"],
        ),
        ("storageclasses", {"provisioner": "p"}, ["p", "Delete", "Immediate", False]),
        (
            "csidrivers",
            {"spec": {"attachRequired": True, "volumeLifecycleModes": ["Persistent", "Ephemeral"]}},
            [True, False, False, "<unset>", False, "Persistent,Ephemeral"],
        ),
        ("csinodes", {"spec": {"drivers": [{}, {}]}}, [2]),
        ("resourceclaims", {"status": {"allocation": {}, "reservedFor": [{}]}}, ["allocated,reserved"]),
        ("resourceclaims", {}, ["pending"]),
        ("ipaddresses", {"spec": {"parentRef": {"resource": "services", "name": "s"}}}, ["services/s"]),
        ("servicecidrs", {"spec": {"cidrs": ["a", "b"]}}, ["a,b"]),
        (
            "prioritylevelconfigurations",
            {"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 3}}},
            ["Limited", 3, "<none>", "<none>", "<none>"],
        ),
        ("validatingadmissionpolicybindings", {"spec": {"policyName": "p", "paramRef": {"name": "c"}}}, ["p", "*/c"]),
        (
            "horizontalpodautoscalers",
            {
                "spec": {"metrics": METRICS, "maxReplicas": 5, "scaleTargetRef": {"kind": "Deployment", "name": "d"}},
                "status": {"currentMetrics": [{"resource": {"current": {"averageUtilization": 33}}}]},
            },
            ["Deployment/d", "cpu: 33%/80%, memory: <unknown>/1Gi + 1 more...", "<unset>", 5, 0],
        ),
        (
            "services",
            {
                "spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1", "externalIPs": ["1.1.1.1"]},
                "status": {"loadBalancer": {"ingress": [{"ip": "2.2.2.2"}, {"hostname": "h"}]}},
            },
            ["LoadBalancer", "10.0.0.1", "2.2.2.2,h,1.1.1.1", "<none>", "<none>"],
        ),
        ("priorityclasses", {"value": 3}, [3, False, "PreemptLowerPriority"]),
        ("priorityclasses", {"value": 3, "globalDefault": True, "preemptionPolicy": "Never"}, [3, True, "Never"]),
        ("ingressclasses", {"spec": {"controller": "c"}}, ["c", "<none>"]),
        (
            "ingressclasses",
            {"spec": {"controller": "c", "parameters": {"apiGroup": "g.io", "kind": "K", "name": "n"}}},
            ["c", "K.g.io/n"],
        ),
        (
            "podtemplates",
            {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}},
            ["c", "i", "a=b"],
        ),
        (
            "horizontalpodautoscalers",
            {"spec": {"metrics": METRICS[2:], "maxReplicas": 5}},
            ["/", "<unknown>/3 (avg)", "<unset>", 5, 0],
        ),
    ],
)
def test_cells(resource: str, obj: JSON, cells: list[Any], sandbox: Sandbox) -> None:
    metadata = {"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z"}
    made = table(sandbox.builtin(resource), [{**obj, "metadata": metadata}], list_meta={}, now=NOW)

    row = made["rows"][0]["cells"]
    assert len(row) == len(made["columnDefinitions"])
    assert row[0] == "x"
    assert [each for each in row[1:] if each != "60s"] == cells


def test_the_default_storage_class_says_so(sandbox: Sandbox) -> None:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"}
    obj = {"metadata": {"name": "x", "annotations": annotations}}
    made = table(sandbox.builtin("storageclasses"), [obj], list_meta={}, now=NOW)

    assert made["rows"][0]["cells"][0] == "x (default)"


def test_an_autoscaler_of_v1_shows_what_that_of_v2_does(sandbox: Sandbox) -> None:
    obj = {
        "apiVersion": "autoscaling/v1",
        "metadata": {"name": "x"},
        "spec": {"targetCPUUtilizationPercentage": 50, "maxReplicas": 3},
        "status": {"currentCPUUtilizationPercentage": 7},
    }
    before = copy.deepcopy(obj)
    kind = sandbox.kind(GVR("autoscaling", "v1", "horizontalpodautoscalers"))
    row = table(kind, [obj], list_meta={}, now=NOW)["rows"][0]
    assert row["cells"][2] == "cpu: 7%/50%"
    assert obj == before


def test_the_name_of_an_event_is_told_as_a_name(sandbox: Sandbox) -> None:
    made = table(sandbox.builtin("events"), [], list_meta={}, now=NOW)
    assert [each["name"] for each in made["columnDefinitions"] if each["format"] == "name"] == ["Name"]


def test_roles_of_a_node_come_from_two_labels(sandbox: Sandbox) -> None:
    labels = {"node-role.kubernetes.io/b": "", "node-role.kubernetes.io/": "", "kubernetes.io/role": "a"}
    made = table(sandbox.builtin("nodes"), [{"metadata": {"name": "x", "labels": labels}}], list_meta={}, now=NOW)
    assert made["rows"][0]["cells"][2] == "a,b"


def test_every_kind_has_as_many_cells_as_columns(sandbox: Sandbox) -> None:
    for kind in sandbox.registry.kinds():
        made = table(kind, [{"metadata": {"name": "x"}}], list_meta={}, now=NOW)
        assert len(made["rows"][0]["cells"]) == len(made["columnDefinitions"]), kind.gvr
