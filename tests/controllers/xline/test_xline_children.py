"""The objects of a cluster, field by field where a field carries a promise."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest

from controllers.xline.children import Plan, children
from membership.xline.settings import SettingError
from tests.controllers.xline.xline_plans import plan


def made(plan: Plan) -> dict[str, Any]:
    return {str(child): child.manifest for child in children(plan)}


def container(plan: Plan) -> dict[str, Any]:
    (found,) = made(plan)["StatefulSet demo-sts"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def test_names_and_order() -> None:
    assert [str(child) for child in children(plan())] == [
        "Service demo-svc",
        "Service demo-client",
        "PodDisruptionBudget demo-pdb",
        "ServiceAccount demo-agent",
        "Role demo-agent",
        "RoleBinding demo-agent",
        "StatefulSet demo-sts",
    ]


def test_the_same_plan_gives_the_same_objects_and_keeps_no_hand_on_them() -> None:
    first = made(plan(engine="etcd"))
    second = copy.deepcopy(made(plan(engine="etcd")))
    assert first == second


@pytest.mark.parametrize("engine", ["etcd", "xline"])
def test_headless_service_publishes_members_that_are_not_ready(engine: str) -> None:
    spec = made(plan(engine=engine))["Service demo-svc"]["spec"]
    assert spec["clusterIP"] == "None"
    assert spec["publishNotReadyAddresses"] is True
    assert {port["port"] for port in spec["ports"]} >= {2379, 2380, 2382}


def test_client_service_leads_to_ready_members_only() -> None:
    spec = made(plan())["Service demo-client"]["spec"]
    assert "publishNotReadyAddresses" not in spec
    assert "clusterIP" not in spec
    assert [port["port"] for port in spec["ports"]] == [2379]


def test_all_select_the_same_pods_which_carry_the_labels() -> None:
    objects = made(plan())
    template = objects["StatefulSet demo-sts"]["spec"]["template"]
    selectors = [
        objects["Service demo-svc"]["spec"]["selector"],
        objects["Service demo-client"]["spec"]["selector"],
        objects["PodDisruptionBudget demo-pdb"]["spec"]["selector"]["matchLabels"],
        objects["StatefulSet demo-sts"]["spec"]["selector"]["matchLabels"],
    ]
    assert selectors == [selectors[0]] * 4
    assert selectors[0].items() <= template["metadata"]["labels"].items()
    assert selectors[0]["app.kubernetes.io/instance"] == "demo"


@pytest.mark.parametrize(("size", "allowed"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (7, 3)])
def test_disruptions_leave_a_majority(size: int, allowed: int) -> None:
    budget = made(plan(replicas=size))["PodDisruptionBudget demo-pdb"]
    assert budget["spec"]["maxUnavailable"] == allowed
    assert size - allowed > size / 2


def test_members_are_those_frozen_not_those_wanted_now() -> None:
    stateful_set = made(plan(size=3, replicas=5))["StatefulSet demo-sts"]
    assert "demo-sts-3" not in str(stateful_set)


def test_disruptions_are_counted_by_the_members_that_there_shall_be() -> None:
    shrunk = dataclasses.replace(plan(size=5, replicas=5), ordinals=(0, 1, 4))
    assert made(shrunk)["PodDisruptionBudget demo-pdb"]["spec"]["maxUnavailable"] == 1
    assert made(plan(size=5, replicas=3))["PodDisruptionBudget demo-pdb"]["spec"]["maxUnavailable"] == 2


def test_members_find_each_other_and_have_time_to_stop() -> None:
    spec = made(plan())["StatefulSet demo-sts"]["spec"]
    assert spec["serviceName"] == "demo-svc"
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] == 60


def test_what_the_user_sets_reaches_the_pod() -> None:
    spec: dict[str, Any] = {
        "image": "me/xline:v0.7.0",
        "imagePullPolicy": "Never",
        "resources": {"limits": {"cpu": "1"}},
        "bootstrapArgs": {"quota": 8589934592},
        "extraArgs": ["--extra=1"],
        "agent": {"image": "me/agent:1"},
        "podTemplate": {
            "metadata": {
                "labels": {"team": "a", "app.kubernetes.io/instance": "mine"},
                "annotations": {"note": "x"},
            },
            "spec": {
                "nodeSelector": {"disk": "fast"},
                "tolerations": [{"operator": "Exists"}],
                "affinity": {"podAntiAffinity": {}},
                "securityContext": {"fsGroup": 5},
                "priorityClassName": "high",
                "serviceAccountName": "sa",
                "imagePullSecrets": [{"name": "s"}],
                "topologySpreadConstraints": [{"maxSkew": 1}],
            },
        },
    }
    template = made(plan(**spec))["StatefulSet demo-sts"]["spec"]["template"]
    assert template["metadata"]["labels"]["team"] == "a"
    assert template["metadata"]["labels"]["app.kubernetes.io/instance"] == "demo"  # ours win: it is the selector
    assert template["metadata"]["annotations"] == {"note": "x"}
    wanted = spec["podTemplate"]["spec"]
    assert {key: template["spec"][key] for key in wanted} == wanted
    found = container(plan(**spec))
    assert found["image"] == "me/xline:v0.7.0"
    assert found["imagePullPolicy"] == "Never"
    assert found["resources"] == {"limits": {"cpu": "1"}}
    (agent,) = template["spec"]["initContainers"]
    assert agent["image"] == "me/agent:1"
    assert "--quota=8589934592" in agent["args"]
    assert "--extra=1" in agent["args"]


@pytest.mark.parametrize(
    ("storage", "claim"),
    [
        ({}, {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}),
        (
            {"size": "8Gi", "storageClassName": "fast"},
            {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "8Gi"}},
                "storageClassName": "fast",
            },
        ),
        (
            {"storageClassName": ""},  # "no class" is not the same as "the default class"
            {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
                "storageClassName": "",
            },
        ),
    ],
)
def test_every_member_has_a_volume(storage: dict[str, str], claim: dict[str, Any]) -> None:
    (found,) = made(plan(storage=storage))["StatefulSet demo-sts"]["spec"]["volumeClaimTemplates"]
    assert found["metadata"]["name"] == "data"
    assert found["spec"] == claim


def test_a_setting_that_the_engine_lacks_is_an_error_naming_the_field() -> None:
    with pytest.raises(SettingError, match=r"spec\.bootstrapArgs\.gc-interval"):
        children(plan(engine="etcd", bootstrapArgs={"gc-interval": "1s"}))


def test_volumes_tell_whose_data_they_hold() -> None:
    """Should the XlineCluster be deleted, or its status be lost."""
    (found,) = made(plan(engine="etcd"))["StatefulSet demo-sts"]["spec"]["volumeClaimTemplates"]
    assert found["metadata"]["annotations"] == {
        "xline.io.datenlord.com/engine": "etcd",
        "xline.io.datenlord.com/initial-members": "demo-sts-0,demo-sts-1,demo-sts-2",
        "xline.io.datenlord.com/cluster-token": "demo-12345678",
        "xline.io.datenlord.com/run-as": "65532",
    }


def allowed(rules: list[dict[str, Any]], verb: str, resource: str, name: str) -> bool:
    """Whether a Role's rules allow it; ``resource`` as ``pods`` or ``leases.coordination.k8s.io``."""
    plural, _, group = resource.partition(".")
    return any(
        group in rule["apiGroups"]
        and plural in rule["resources"]
        and verb in rule["verbs"]
        and ("resourceNames" not in rule or name in rule["resourceNames"])
        for rule in rules
    )


@pytest.mark.parametrize(
    ("verb", "resource", "name", "expected"),
    [
        ("get", "xlineclusters.xline.io.datenlord.com", "demo", True),
        ("watch", "xlineclusters.xline.io.datenlord.com", "demo", True),
        ("get", "xlineclusters.xline.io.datenlord.com", "other", False),
        ("patch", "xlineclusters.xline.io.datenlord.com", "demo", False),
        ("get", "pods", "any", True),
        ("patch", "pods", "demo-sts-0", True),
        ("patch", "pods", "demo-sts-98", True),  # the highest ordinal there can be
        ("patch", "pods", "somebody-elses", False),
        ("delete", "pods", "demo-sts-0", False),
        ("get", "persistentvolumeclaims", "data-demo-sts-3", True),
        ("get", "persistentvolumeclaims", "somebody-elses", False),
        ("create", "leases.coordination.k8s.io", "", True),
        ("update", "leases.coordination.k8s.io", "demo-membership", True),
        ("update", "leases.coordination.k8s.io", "xline-operator", False),
        ("get", "secrets", "certs", False),
        ("patch", "events.events.k8s.io", "e", True),
        ("create", "events", "e", True),
    ],
)
def test_agents_may_do_what_they_need_and_no_more(verb: str, resource: str, name: str, expected: bool) -> None:
    assert allowed(made(plan())["Role demo-agent"]["rules"], verb, resource, name) is expected


def test_the_role_is_bound_to_the_account_of_the_pods() -> None:
    objects = made(plan())
    assert objects["RoleBinding demo-agent"]["roleRef"]["name"] == objects["Role demo-agent"]["metadata"]["name"]
    (subject,) = objects["RoleBinding demo-agent"]["subjects"]
    account = objects["StatefulSet demo-sts"]["spec"]["template"]["spec"]["serviceAccountName"]
    assert subject == {"kind": "ServiceAccount", "name": account, "namespace": "ns"}


def test_an_account_of_the_users_own_is_bound_but_not_made() -> None:
    objects = made(plan(podTemplate={"spec": {"serviceAccountName": "mine"}}))
    assert "ServiceAccount demo-agent" not in objects
    assert objects["RoleBinding demo-agent"]["subjects"][0]["name"] == "mine"
