"""What the operator, or the API server, does not do for a spec, and where that is said."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.xline import names as known
from crds.xlinecluster import XLINECLUSTERS
from runtime.client import Invalid
from runtime.types import GVR
from tests.controllers.xline.xline_world import NAMESPACE, World
from tests.support.etcd_process import wait_for


def test_a_foreign_object_of_the_same_name_is_never_overwritten(world: World) -> None:
    services = world.client.resource(known.SERVICES, namespace=NAMESPACE)
    foreign = services.create({"metadata": {"name": "demo-client"}, "spec": {"ports": [{"port": 80}]}})
    world.create()
    world.start_operator()
    world.wait_condition("Progressing", "False", "NameTaken")
    assert world.condition("Degraded") == ("True", "NameTaken")
    assert "demo-client" in world.wait_event("NameTaken")
    assert services.get("demo-client").resource_version == foreign.resource_version
    assert world.status()["stage"] == "Xline/Service"
    assert world.status()["stageStatus"] == "failed"
    assert "demo-client" in world.status()["lastMessage"]
    assert world.get(known.STATEFULSETS, "demo-sts") is None
    services.delete("demo-client")
    world.touch()
    world.wait_children()
    wait_for(lambda: world.status().get("stage") == "complete", what="recovery")


def test_an_object_of_another_controller_is_never_overwritten(world: World) -> None:
    budgets = world.client.resource(known.BUDGETS, namespace=NAMESPACE)
    # One that exists: else the garbage collector takes the budget away.
    other = world.client.resource(GVR("", "v1", "configmaps"), namespace=NAMESPACE).create({"metadata": {"name": "x"}})
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": other.uid, "controller": True}
    foreign = budgets.create(
        {"metadata": {"name": "demo-pdb", "ownerReferences": [owner]}, "spec": {"maxUnavailable": 9}}
    )
    world.create()
    world.start_operator()
    world.wait_condition("Progressing", "False", "NameTaken")
    wait_for(lambda: world.get(known.STATEFULSETS, "demo-sts") is not None, what="the members")
    assert budgets.get("demo-pdb").resource_version == foreign.resource_version


def test_a_setting_that_the_engine_lacks_is_told_with_the_field(world: World) -> None:
    world.create(bootstrapArgs={"gc-interval": "20s"})
    world.start_operator()
    world.wait_condition("Progressing", "False", "InvalidSpec")
    assert "spec.bootstrapArgs.gc-interval" in world.wait_event("InvalidSpec")
    assert "spec.bootstrapArgs.gc-interval" in world.status()["message"]
    assert world.children() == {}
    assert "bootstrap" not in world.status()  # so that the number of members may still change
    world.edit(bootstrapArgs=None, replicas=5)
    world.wait_children()
    assert world.children()["statefulsets/demo-sts"]["spec"]["replicas"] == 5


def test_a_setting_that_goes_wrong_later_leaves_the_members_alone(world: World) -> None:
    world.bring_up()
    before = {name: child.resource_version for name, child in world.children().items()}
    world.edit(extraArgs=["--name=other"])
    world.wait_condition("Progressing", "False", "InvalidSpec")
    assert "spec.extraArgs[0]" in world.wait_event("InvalidSpec")
    assert world.condition("Available")[0] == "True"
    assert {name: child.resource_version for name, child in world.children().items()} == before


def test_a_cluster_of_an_engine_that_cannot_scale_stays_as_it_is_and_says_so(world: World) -> None:
    world.bring_up(engine="xline", image="ghcr.io/xline-kv/xline:v0.6.1")
    world.edit(replicas=5)
    world.wait_condition("Progressing", "False", "ScalingUnsupported")
    assert "spec.replicas" in world.wait_event("ScalingUnsupported")
    assert world.condition("Available")[0] == "True"
    assert world.condition("Degraded") == ("False", "AsExpected")
    assert world.children()["statefulsets/demo-sts"]["spec"]["replicas"] == 3


def test_a_switch_of_the_workloads_kind_is_refused_and_nothing_else(world: World) -> None:
    world.bring_up(workload="StatefulSet")
    world.edit(workload="AdvancedStatefulSet", resources={"limits": {"cpu": "2"}})
    assert "spec.workload" in world.wait_event("WorkloadChanged")
    assert world.status()["workload"] == "StatefulSet"
    wait_for(
        lambda: "'cpu': '2'" in str(world.children()["statefulsets/demo-sts"]["spec"]["template"]),
        what="the other change",
    )
    assert world.condition("Degraded") == ("False", "AsExpected")


def test_an_advanced_statefulset_that_nobody_serves_is_told_of_and_nothing_is_made(world: World) -> None:
    world.create(workload="AdvancedStatefulSet")
    world.start_operator()
    world.wait_condition("Progressing", "False", "WorkloadUnavailable")
    assert "install OpenKruise" in world.wait_event("WorkloadUnavailable")
    assert world.children() == {}
    assert world.status()["phase"] == "Failed"


def test_an_even_number_is_accepted_with_a_warning(world: World) -> None:
    world.create(replicas=4)
    world.start_operator()
    world.wait_children()
    assert "3 or 5" in world.wait_event("EvenReplicas")
    assert world.children()["poddisruptionbudgets/demo-pdb"]["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"replicas": 0}, "spec.replicas"),
        ({"replicas": 100}, "spec.replicas"),
        ({"replicas": "three"}, "spec.replicas"),
        ({"engine": "redis"}, "spec.engine"),
        ({"imagePullPolicy": "Sometimes"}, "spec.imagePullPolicy"),
        ({"bootstrapArgs": {"log-level": "loud"}}, "spec.bootstrapArgs.log-level"),
        ({"bootstrapArgs": {"gc-interval": "20"}}, "spec.bootstrapArgs.gc-interval"),
        ({"bootstrapArgs": {"auth-private-key": "/k"}}, "spec.bootstrapArgs"),
        ({"storage": {"size": "huge"}}, "spec.storage.size"),
        ({"extraArgs": ["-v"]}, "spec.extraArgs[0]"),
    ],
)
def test_the_server_refuses_what_is_malformed_and_names_the_field(
    world: World, spec: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as caught:
        world.create(**spec)
    assert field in [cause.field for cause in caught.value.causes]


@pytest.mark.parametrize("name", ["x" * 49, "1demo", "de.mo"])
def test_the_server_refuses_a_name_that_no_service_can_have(world: World, name: str) -> None:
    body = {
        "apiVersion": XLINECLUSTERS.api_version,
        "kind": "XlineCluster",
        "metadata": {"name": name},
        "spec": {"replicas": 3},
    }
    with pytest.raises(Invalid) as caught:
        world.client.resource(XLINECLUSTERS, namespace=NAMESPACE).create(body)
    assert "metadata.name" in [cause.field for cause in caught.value.causes]


@pytest.mark.parametrize(
    "change",
    [{"engine": "xline"}, {"storage": {"size": "512Mi"}}, {"storage": {"storageClassName": "fast"}}],
)
def test_the_server_refuses_changes_of_what_cannot_change(world: World, change: dict[str, Any]) -> None:
    world.create()
    with pytest.raises(Invalid, match=r"cannot (change|shrink)"):
        world.edit(**change)


@pytest.mark.parametrize("refusal", [400, 403])
def test_what_may_not_be_made_is_told(world: World, refusal: int) -> None:
    """By a quota, for want of a right, or by an admission webhook, which says it with 400 unless it names another."""
    world.server.faults.add(verb="patch", resource="statefulsets", status=refusal, message="exceeded quota: small")
    world.create()
    world.start_operator()
    world.wait_condition("Progressing", "False", "Rejected")
    assert "exceeded quota: small" in world.wait_event("Rejected")
    world.server.faults.clear()
    world.touch()
    world.wait_children()


def test_members_are_not_rolled_from_the_old_xline_to_the_new_one(world: World) -> None:
    """They speak through other ports: halfway neither half has a majority."""
    world.bring_up(engine="xline", image="ghcr.io/xline-kv/xline:v0.6.1")
    before = {name: child.resource_version for name, child in world.children().items()}
    world.edit(image="ghcr.io/xline-kv/xline:v0.7.0")
    world.wait_condition("Progressing", "False", "InvalidSpec")
    assert "spec.image" in world.wait_event("InvalidSpec")
    assert {name: child.resource_version for name, child in world.children().items()} == before
    assert world.status()["image"] == "ghcr.io/xline-kv/xline:v0.6.1"
