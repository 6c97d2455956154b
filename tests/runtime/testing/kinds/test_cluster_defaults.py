"""Defaults of the kinds that configure a cluster, and of what is seldom written."""

from __future__ import annotations

from typing import Any

import pytest

from tests.runtime.testing.kinds.kinds_helpers import JSON, Sandbox

CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
POD = {"containers": [{"name": "m", "image": "a:1"}]}


def spec_of(sandbox: Sandbox, resource: str, spec: JSON) -> Any:
    return sandbox.write(resource, {"spec": spec}).obj["spec"]


def test_an_autoscaler_aims_at_the_cpu_unless_it_says_otherwise(sandbox: Sandbox) -> None:
    target = {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 3}
    assert spec_of(sandbox, "horizontalpodautoscalers", target)["metrics"] == [CPU]

    given = {**target, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 9}}}
    behavior = spec_of(sandbox, "horizontalpodautoscalers", given)["behavior"]
    assert behavior["scaleDown"]["policies"] == [{"type": "Percent", "value": 100, "periodSeconds": 15}]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 9
    assert (behavior["scaleUp"]["stabilizationWindowSeconds"], len(behavior["scaleUp"]["policies"])) == (0, 2)


def test_limits_follow_from_one_another(sandbox: Sandbox) -> None:
    limit = {"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}, "defaultRequest": {"cpu": "1"}}
    written = spec_of(sandbox, "limitranges", {"limits": [limit, {"type": "Pod", "max": {"cpu": "4"}}]})["limits"]

    assert written[0]["default"] == {"cpu": "2"}
    assert written[0]["defaultRequest"] == {"cpu": "1", "memory": "1Mi"}
    assert set(written[1]) == {"type", "max"}


@pytest.mark.parametrize(
    ("resource", "spec", "expected"),
    [
        ("networkpolicies", {"egress": [{"ports": [{"port": 53}]}]}, {"policyTypes": ["Ingress", "Egress"]}),
        ("ingressclasses", {"parameters": {"kind": "K", "name": "n"}}, {"parameters.scope": "Cluster"}),
        ("csidrivers", {}, {"attachRequired": True, "podInfoOnMount": False, "volumeLifecycleModes": ["Persistent"]}),
        ("apiservices", {"service": {"name": "s", "namespace": "n"}}, {"service.port": 443}),
        ("flowschemas", {}, {"matchingPrecedence": 1000, "priorityLevelConfiguration": {"name": ""}}),
        ("prioritylevelconfigurations", {"type": "Exempt", "exempt": {}}, {"exempt.lendablePercent": 0}),
        (
            "prioritylevelconfigurations",
            {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {"queues": 7}}}},
            {
                "limited.nominalConcurrencyShares": 30,
                "limited.limitResponse.queuing": {"queues": 7, "handSize": 8, "queueLengthLimit": 50},
            },
        ),
        (
            "validatingadmissionpolicies",
            {"matchConstraints": {"resourceRules": [{"apiGroups": [""]}]}, "validations": [{"expression": "true"}]},
            {"failurePolicy": "Fail", "matchConstraints.matchPolicy": "Equivalent"},
        ),
        (
            "resourceclaims",
            {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}},
            {
                "devices.requests": [
                    {
                        "name": "r",
                        "exactly": {"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1},
                    }
                ]
            },
        ),
        ("jobs", {"template": {"spec": POD}, "backoffLimitPerIndex": 1}, {"backoffLimit": 2**31 - 1}),
        ("statefulsets", {"updateStrategy": {"type": "RollingUpdate"}}, {"updateStrategy": {"type": "RollingUpdate"}}),
        (
            "services",
            {"externalIPs": ["1.2.3.4"], "ports": [{"port": 1, "protocol": ""}], "sessionAffinity": "ClientIP"},
            {"externalTrafficPolicy": "Cluster", "sessionAffinityConfig.clientIP.timeoutSeconds": 10800},
        ),
        (
            "persistentvolumes",
            {"rbd": {"monitors": ["m"], "image": "i"}},
            {"rbd": {"monitors": ["m"], "image": "i", "pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"}},
        ),
    ],
)
def test_defaults(resource: str, spec: JSON, expected: JSON, sandbox: Sandbox) -> None:
    written = spec_of(sandbox, resource, spec)

    for path, value in expected.items():
        found: Any = written
        for step in path.split("."):
            found = found[step]
        assert found == value, path


def test_ports_on_the_network_of_the_node_are_the_nodes_but_not_in_templates(sandbox: Sandbox) -> None:
    container = {"name": "m", "image": "a:1", "ports": [{"containerPort": 80}]}
    spec = {"hostNetwork": True, "containers": [container]}
    assert spec_of(sandbox, "pods", spec)["containers"][0]["ports"][0]["hostPort"] == 80
    template = spec_of(sandbox, "daemonsets", {"template": {"spec": spec}})["template"]
    assert "hostPort" not in template["spec"]["containers"][0]["ports"][0]


def test_a_job_that_has_no_labels_gets_those_of_its_pods(sandbox: Sandbox) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {**POD, "restartPolicy": "Never"}}
    pods = {"controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"}
    for given, own, expected in (
        (template, {}, {"a", *pods}),
        ({"spec": template["spec"]}, {}, pods),
        (template, {"a": "b"}, {"a"}),  # the same, but its own
        (template, {"c": "d"}, {"c"}),
    ):
        metadata = {"name": "j", "uid": "u", "labels": dict(own)}
        written = sandbox.write("jobs", {"metadata": metadata, "spec": {"template": given}})
        assert written.causes == []
        assert set(written.obj["metadata"]["labels"]) == expected
        assert pods <= set(written.obj["spec"]["template"]["metadata"]["labels"])
        assert written.obj["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}


def test_sources_of_volumes_have_defaults_in_pods_and_persistent_volumes(sandbox: Sandbox) -> None:
    for source, expected in (
        ({"hostPath": {"path": "/"}}, {"path": "/", "type": ""}),
        ({"iscsi": {"lun": 1}}, {"lun": 1, "iscsiInterface": "default"}),
    ):
        kind = next(iter(source))
        volume = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1"}, **source}
        written = spec_of(sandbox, "persistentvolumes", volume)[kind]
        assert {**written, **expected} == written
        pod = spec_of(sandbox, "pods", {**POD, "volumes": [{"name": "v", **source}]})
        assert {**pod["volumes"][0][kind], **expected} == pod["volumes"][0][kind]


def test_a_new_volume_says_since_when_it_waits(sandbox: Sandbox) -> None:
    metadata = {"name": "v", "creationTimestamp": "2026-01-01T00:00:00Z"}
    status = sandbox.write("persistentvolumes", {"metadata": metadata, "spec": {}}).obj["status"]
    assert status == {"phase": "Pending", "lastPhaseTransitionTime": "2026-01-01T00:00:00Z"}


def test_a_new_node_is_not_ready(sandbox: Sandbox) -> None:
    taint = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
    old = sandbox.write("nodes", {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}).obj
    assert old["spec"]["taints"] == [{"key": "a", "effect": "NoSchedule"}, taint]
    assert spec_of(sandbox, "nodes", {"taints": [taint]})["taints"] == [taint]
    other = {**taint, "effect": "NoExecute"}
    assert spec_of(sandbox, "nodes", {"taints": [other]})["taints"] == [other, taint]
    assert sandbox.write("nodes", {**old, "spec": {}}, old).obj["spec"] == {}


def test_what_a_node_has_can_all_be_given_away(sandbox: Sandbox) -> None:
    old = sandbox.write("nodes", {}).obj
    status = sandbox.write("nodes", {"status": {"capacity": {"cpu": "2"}}}, old, "status").obj["status"]
    assert status["allocatable"] == {"cpu": "2"}


def test_resources_are_no_finer_than_a_thousandth(sandbox: Sandbox) -> None:
    container = {"name": "m", "image": "a:1", "resources": {"limits": {"cpu": "100.5m", "memory": "1Gi"}}}
    limits = spec_of(sandbox, "pods", {"containers": [container]})["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "101m", "memory": "1Gi"}
