"""The operator on a real HTTP API server: what it makes, repairs, refuses and leaves alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controllers.xline import names as known
from controllers.xline import reconciler
from controllers.xline.workloads import ADVANCED_STATEFULSETS
from crds.xlinecluster import XLINECLUSTERS
from runtime.client import Invalid, ResourceClient
from runtime.testing.nodes.controllers import ADVANCED_STATEFULSET_CRD
from runtime.types import GVR
from tests.controllers.xline.xline_world import CHILDREN, NAMESPACE, World
from tests.support.etcd_process import wait_for

GO_MANIFEST = {
    "apiVersion": "xline.io.datenlord.com/v1alpha1",
    "kind": "XlineCluster",
    "metadata": {
        "name": "demo",
        "labels": {
            "app.kubernetes.io/name": "xlinecluster",
            "app.kubernetes.io/instance": "xlinecluster-sample",
            "app.kubernetes.io/created-by": "xline-operator",
        },
    },
    "spec": {
        "image": "phoenix500526/xline:v0.6.1",
        "imagePullPolicy": "IfNotPresent",
        "replicas": 3,
        "bootstrapArgs": {
            "jaeger-offline": True,
            "log-level": "debug",
            "heartbeat-interval": "300ms",
            "batch-max-size": "2MB",
            "retry-count": 5,
            "client-use-backoff": True,
        },
    },
}


def agent_args(world: World) -> list[str]:
    (container,) = world.children()["statefulsets/demo-sts"]["spec"]["template"]["spec"]["initContainers"]
    return list(container["args"])


def test_a_go_manifest_applies_unchanged_and_yields_its_names(world: World) -> None:
    stored = world.client.resource(XLINECLUSTERS, namespace=NAMESPACE).create(GO_MANIFEST)
    assert GO_MANIFEST["spec"].items() <= stored["spec"].items()  # type: ignore[attr-defined]
    world.start_operator()
    world.wait_children()
    stateful_set = world.children()["statefulsets/demo-sts"]
    assert stateful_set["spec"]["serviceName"] == "demo-svc"
    (container,) = stateful_set["spec"]["template"]["spec"]["containers"]
    assert container["name"] == "xline"
    assert container["image"] == "phoenix500526/xline:v0.6.1"
    for flag in ("--jaeger-offline", "--log-level=debug", "--retry-count=5", "--batch-max-size=2MB"):
        assert flag in agent_args(world)
    wait_for(lambda: world.status().get("stage") == "complete", what="the Go operator's stage")
    assert world.status()["statefulSetRef"] == {"name": "demo-sts", "namespace": NAMESPACE}
    assert world.status()["serviceRef"] == {"name": "demo-svc", "namespace": NAMESPACE}


def test_children_belong_to_the_cluster_and_are_announced(world: World) -> None:
    made = world.create()
    world.start_operator()
    world.wait_children()
    for child in world.children().values():
        owner = child.controller_owner
        assert owner is not None
        assert (owner.uid, owner.block_owner_deletion) == (made.uid, True)
    wait_for(lambda: world.reasons().count("Created") >= 1, what="events")
    wait_for(lambda: "Bootstrapping" in world.reasons(), what="event Bootstrapping")


def test_from_starting_to_ready(world: World) -> None:
    world.create()
    operator = world.start_operator()
    world.wait_condition("Progressing", "True", "Bootstrapping")
    assert world.condition("Available") == ("False", "Bootstrapping")
    world.run_pods({0: True, 1: False, 2: False})
    wait_for(lambda: world.status().get("readyReplicas") == 1, what="one ready member")
    assert world.condition("Available")[0] == "False"
    world.run_pods()
    world.wait_condition("Progressing", "False", "Complete")
    status = world.status()
    assert world.condition("Available") == ("True", "MembersReady")
    assert world.condition("Degraded") == ("False", "AsExpected")
    assert (status["replicas"], status["readyReplicas"]) == (3, 3)
    assert status["observedGeneration"] == world.cluster().generation
    assert [member["name"] for member in status["members"]] == ["demo-sts-0", "demo-sts-1", "demo-sts-2"]
    assert all(member["ready"] for member in status["members"])
    assert status["bootstrap"]["completed"] is True
    world.wait_event("Bootstrapped")
    world.settle(operator)
    world.run_pods({0: True, 1: True, 2: False})
    world.wait_condition("Degraded", "True", "MembersNotReady")
    world.wait_event("MemberLost")


def test_a_converged_cluster_costs_no_write(world: World) -> None:
    world.create()
    operator = world.start_operator()
    world.wait_children()
    world.run_pods()
    world.wait_condition("Progressing", "False", "Complete")
    world.settle(operator)
    before, looks = len(world.writes()), operator.looks
    for _ in range(3):
        seen = operator.looks
        world.touch()
        wait_for(lambda seen=seen: operator.looks > seen, what="a look")
    assert operator.looks >= looks + 3
    assert world.writes()[before:] == []


def test_a_restarted_operator_writes_nothing_to_a_converged_cluster(world: World) -> None:
    world.create()
    first = world.start_operator()
    world.wait_children()
    world.run_pods()
    world.wait_condition("Progressing", "False", "Complete")
    world.settle(first)
    world.stop_operators()
    before = len(world.writes())
    second = world.start_operator()
    wait_for(lambda: second.looks >= 1 or len(world.writes()) > before, what="the first look")
    world.settle(second)
    assert world.writes()[before:] == []


@pytest.mark.parametrize(
    "child", ["services/demo-svc", "services/demo-client", "poddisruptionbudgets/demo-pdb", "statefulsets/demo-sts"]
)
def test_a_child_that_is_deleted_is_made_again(world: World, child: str) -> None:
    world.create()
    operator = world.start_operator()
    world.wait_children()
    world.run_pods()
    world.wait_condition("Progressing", "False", "Complete")
    world.settle(operator)
    old = world.children()[child]
    gvr = next(gvr for gvr in (known.SERVICES, known.BUDGETS, known.STATEFULSETS) if gvr.resource in child)
    world.client.resource(gvr, namespace=NAMESPACE).delete(old.name)
    wait_for(lambda: child in world.children() and world.children()[child].uid != old.uid, what="a new one")
    assert "was missing" in world.wait_event("DriftRepaired")
    new = world.children()[child]
    ignored = {"clusterIP", "clusterIPs"}
    assert {k: v for k, v in new["spec"].items() if k not in ignored} == {
        k: v for k, v in old["spec"].items() if k not in ignored
    }


@pytest.mark.parametrize(
    ("child", "drift", "path", "value"),
    [
        ("services/demo-svc", {"spec": {"publishNotReadyAddresses": False}}, "publishNotReadyAddresses", True),
        (
            "services/demo-client",
            {"spec": {"selector": {"app.kubernetes.io/instance": "other"}}},
            "selector",
            {"app.kubernetes.io/instance": "demo", "app.kubernetes.io/name": "xlinecluster"},
        ),
        ("poddisruptionbudgets/demo-pdb", {"spec": {"maxUnavailable": 3}}, "maxUnavailable", 1),
        ("statefulsets/demo-sts", {"spec": {"replicas": 1}}, "replicas", 3),
    ],
)
def test_drift_is_repaired(world: World, child: str, drift: dict[str, Any], path: str, value: object) -> None:
    world.create()
    operator = world.start_operator()
    world.wait_children()
    world.settle(operator)
    gvr = next(gvr for gvr in (known.SERVICES, known.BUDGETS, known.STATEFULSETS) if gvr.resource in child)
    changed = world.client.resource(gvr, namespace=NAMESPACE).patch(child.split("/")[1], drift, type="merge")
    assert changed["spec"].get(path) != value
    wait_for(lambda: world.children()[child]["spec"].get(path) == value, what="the repair")
    assert "was changed by somebody" in world.wait_event("DriftRepaired")


def test_what_others_add_to_a_child_is_left_alone(world: World) -> None:
    world.create()
    operator = world.start_operator()
    world.wait_children()
    world.settle(operator)
    services = world.client.resource(known.SERVICES, namespace=NAMESPACE)
    services.patch("demo-client", {"metadata": {"annotations": {"mesh": "on"}}}, type="merge")
    before = len(world.writes())
    world.settle(operator)
    assert world.writes()[before:] == []
    assert services.get("demo-client").annotations["mesh"] == "on"


def test_a_changed_spec_reaches_the_members(world: World) -> None:
    world.create()
    operator = world.start_operator()
    world.wait_children()
    world.settle(operator)
    world.edit(image="quay.io/coreos/etcd:v3.5.9", bootstrapArgs={"quota": 8589934592})

    def updated() -> bool:
        (container,) = world.children()["statefulsets/demo-sts"]["spec"]["template"]["spec"]["containers"]
        return container["image"].endswith(":v3.5.9") and "--quota-backend-bytes=8589934592" in agent_args(world)

    wait_for(updated, what="the new image and flag")
    assert "StatefulSet demo-sts" in world.wait_event("Updated")
    world.edit(bootstrapArgs=None)
    wait_for(
        lambda: "quota" not in str(world.children()["statefulsets/demo-sts"]["spec"]["template"]),
        what="the flag going",
    )


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
    world.create()
    operator = world.start_operator()
    world.wait_children()
    world.run_pods()
    world.wait_condition("Progressing", "False", "Complete")
    world.settle(operator)
    before = {name: child.resource_version for name, child in world.children().items()}
    world.edit(extraArgs=["--name=other"])
    world.wait_condition("Progressing", "False", "InvalidSpec")
    assert "spec.extraArgs[0]" in world.wait_event("InvalidSpec")
    assert world.condition("Available")[0] == "True"
    assert {name: child.resource_version for name, child in world.children().items()} == before


def test_nobody_comes_or_goes_while_it_is_not_known_who_leads(world: World) -> None:
    """These Pods have no servers that could say so."""
    world.create()
    operator = world.start_operator()
    world.wait_children()
    world.run_pods()
    world.wait_condition("Progressing", "False", "Complete")
    world.settle(operator)
    before = {name: child.resource_version for name, child in world.children().items()}
    world.edit(replicas=5)
    world.wait_condition("Progressing", "True", "WaitingForHealth")
    assert "it is not known who leads" in world.status()["message"]
    assert world.status()["phase"] == "Scaling"
    world.settle(operator)
    assert {name: child.resource_version for name, child in world.children().items()} == before
    assert world.status()["plan"]["ordinals"] == [0, 1, 2]
    assert world.status()["observedGeneration"] == world.cluster().generation
    world.edit(replicas=3)
    world.wait_condition("Progressing", "False", "Complete")


def test_a_cluster_of_an_engine_that_cannot_scale_stays_as_it_is_and_says_so(world: World) -> None:
    world.create(engine="xline", image="ghcr.io/xline-kv/xline:v0.6.1")
    operator = world.start_operator()
    world.wait_children()
    world.run_pods()
    world.wait_condition("Progressing", "False", "Complete")
    world.settle(operator)
    world.edit(replicas=5)
    world.wait_condition("Progressing", "False", "ScalingUnsupported")
    assert "spec.replicas" in world.wait_event("ScalingUnsupported")
    assert world.condition("Available")[0] == "True"
    assert world.condition("Degraded") == ("False", "AsExpected")
    assert world.children()["statefulsets/demo-sts"]["spec"]["replicas"] == 3


def test_the_plan_is_published_before_anything_changes(world: World) -> None:
    world.create()
    world.start_operator()
    wait_for(lambda: world.status().get("plan"), what="the plan")
    assert world.status()["plan"] == {"ordinals": [0, 1, 2], "revision": 1}


def test_a_switch_of_the_workloads_kind_is_refused_and_nothing_else(world: World) -> None:
    world.create(workload="StatefulSet")
    operator = world.start_operator()
    world.wait_children()
    world.run_pods()
    world.wait_condition("Progressing", "False", "Complete")
    world.settle(operator)
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


def test_a_paused_cluster_is_left_alone(world: World) -> None:
    world.create()
    operator = world.start_operator()
    world.wait_children()
    world.run_pods()
    world.wait_condition("Progressing", "False", "Complete")
    world.settle(operator)
    world.edit(paused=True, replicas=5, resources={"limits": {"cpu": "2"}})
    world.wait_condition("Progressing", "False", "Paused")
    assert world.status()["phase"] == "Paused"
    world.client.resource(known.SERVICES, namespace=NAMESPACE).delete("demo-client")
    world.settle(operator)
    assert "services/demo-client" not in world.children()
    assert "cpu" not in str(world.children()["statefulsets/demo-sts"]["spec"]["template"])
    world.edit(paused=False, replicas=3)
    world.wait_children()
    wait_for(lambda: "cpu" in str(world.children()["statefulsets/demo-sts"]["spec"]["template"]), what="the change")


def test_a_workload_that_rolled_by_itself_does_so_no_longer(world: World) -> None:
    """An earlier operator made it so, and the server filled in how."""
    world.create()
    operator = world.start_operator()
    world.wait_children()
    world.settle(operator)
    sets = world.client.resource(known.STATEFULSETS, namespace=NAMESPACE)
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    sets.patch("demo-sts", {"spec": {"updateStrategy": rolling}}, type="merge")
    wait_for(lambda: sets.get("demo-sts")["spec"]["updateStrategy"] == {"type": "OnDelete"}, what="the repair")


def test_a_first_ordinal_that_somebody_has_set_is_taken_out_again(world: World) -> None:
    """Pods 0 and 1 would end at once, and 3 and 4 are nobody."""
    world.create()
    world.start_operator()
    world.wait_children()
    world.run_pods()
    world.wait_condition("Progressing", "False", "Complete")
    stateful_sets = world.client.resource(known.STATEFULSETS, namespace=NAMESPACE)
    stateful_sets.patch("demo-sts", {"spec": {"ordinals": {"start": 2}}}, type="merge")
    wait_for(lambda: not stateful_sets.get("demo-sts")["spec"].get("ordinals"), what="the ordinals of before")
    assert stateful_sets.get("demo-sts")["spec"]["replicas"] == 3
    assert world.status()["plan"]["ordinals"] == [0, 1, 2]


def test_the_members_survive_the_loss_of_the_status(world: World) -> None:
    world.create()
    operator = world.start_operator()
    world.wait_children()
    world.settle(operator)
    world.stop_operators()
    clusters = world.client.resource(XLINECLUSTERS, namespace=NAMESPACE)
    before = world.status()["bootstrap"]
    clusters.patch("demo", {"status": None}, type="merge", subresource="status")
    world.edit(replicas=5)
    world.start_operator()
    wait_for(lambda: "bootstrap" in world.status(), what="the bootstrap")
    after = world.status()["bootstrap"]
    assert (after["members"], after["token"]) == (before["members"], before["token"])
    assert after["runAs"] == before["runAs"] == 65532
    assert world.children()["statefulsets/demo-sts"]["spec"]["replicas"] == 3


def test_they_do_so_in_an_advanced_set(world: World) -> None:
    world.server.apply_manifests(ADVANCED_STATEFULSET_CRD)
    world.create(workload="AdvancedStatefulSet")
    world.start_operator()
    wait_for(lambda: world.get(ADVANCED_STATEFULSETS, "demo-sts") is not None, what="the workload")
    world.stop_operators()
    before = world.status()["bootstrap"]
    clusters = world.client.resource(XLINECLUSTERS, namespace=NAMESPACE)
    clusters.patch("demo", {"status": None}, type="merge", subresource="status")
    world.edit(replicas=5)
    world.start_operator()
    wait_for(lambda: "bootstrap" in world.status(), what="the bootstrap")
    assert world.status()["bootstrap"]["members"] == before["members"]


@pytest.mark.parametrize(("users", "expected"), [(("65532",) * 3, 65532), (("65532", "65532", None), None)])
def test_former_volumes_decide_as_whom_members_run(
    world: World, users: tuple[str | None, ...], expected: int | None
) -> None:
    for ordinal, user in enumerate(users):
        world.make_claim(ordinal, annotations={known.RUN_AS: user} if user else {})
    world.create()
    world.start_operator()
    wait_for(lambda: "bootstrap" in world.status(), what="the bootstrap")
    assert world.status()["bootstrap"].get("runAs") == expected


def test_an_even_number_is_accepted_with_a_warning(world: World) -> None:
    world.create(replicas=4)
    world.start_operator()
    world.wait_children()
    assert "3 or 5" in world.wait_event("EvenReplicas")
    assert world.children()["poddisruptionbudgets/demo-pdb"]["spec"]["maxUnavailable"] == 1


def test_a_single_member_is_a_cluster(world: World) -> None:
    world.create(replicas=1)
    world.start_operator()
    world.wait_children()
    world.run_pods()
    world.wait_condition("Available", "True", "MembersReady")


def test_nothing_is_made_for_a_cluster_that_is_being_deleted(world: World) -> None:
    world.create()
    clusters = world.client.resource(XLINECLUSTERS, namespace=NAMESPACE)
    clusters.patch("demo", {"metadata": {"finalizers": ["test/hold"]}}, type="merge")
    clusters.delete("demo")
    assert world.cluster().deletion_timestamp is not None
    operator = world.start_operator()
    wait_for(lambda: operator.looks >= 1, what="a look")
    assert world.writes() == []
    clusters.patch("demo", {"metadata": {"finalizers": None}}, type="merge")


def test_a_cluster_that_is_held_says_that_it_is_being_deleted_and_is_left_alone(world: World) -> None:
    ready_and_settled(world)
    clusters = world.client.resource(XLINECLUSTERS, namespace=NAMESPACE)
    clusters.patch("demo", {"metadata": {"finalizers": ["test/hold"]}}, type="merge")
    clusters.delete("demo")
    wait_for(lambda: world.status().get("phase") == "Deleting", what="the phase")
    before = world.writes()
    world.client.resource(known.SERVICES, namespace=NAMESPACE).delete("demo-client")
    world.settle(world.operators[0])
    assert world.writes()[len(before) :] == []
    clusters.patch("demo", {"metadata": {"finalizers": None}}, type="merge")


def test_volumes_go_with_the_cluster_unless_they_are_retained(world: World) -> None:
    made = world.create(storage={"retentionPolicy": {"whenDeleted": "Delete"}})
    operator = world.start_operator()
    world.wait_children()
    world.make_claim(0)
    world.make_claim(1, labels={"team": "other"})  # put there by somebody else
    world.make_claim(7)  # of a member that has left
    claims = world.client.resource(known.CLAIMS, namespace=NAMESPACE)

    def owners(ordinal: int) -> list[str]:
        return [reference.uid for reference in claims.get(f"data-demo-sts-{ordinal}").owner_references]

    wait_for(lambda: owners(0) == owners(7) == [made.uid], what="the cluster owning its claims")
    world.settle(operator)
    assert owners(1) == [], "somebody else's claim"
    world.edit(storage={"retentionPolicy": {"whenDeleted": "Retain"}})
    wait_for(lambda: owners(0) == owners(7) == [], what="the claims being let go")
    assert owners(1) == []


def test_a_second_cluster_of_the_name_waits_for_the_first_ones_objects(world: World) -> None:
    world.create()
    world.start_operator()
    world.wait_children()
    old = {name: child.uid for name, child in world.children().items()}
    clusters = world.client.resource(XLINECLUSTERS, namespace=NAMESPACE)
    clusters.delete("demo")
    wait_for(lambda: world.get(XLINECLUSTERS, "demo") is None, what="the deletion")
    made = world.create()
    for _, child in sorted(world.children().items()):  # what a garbage collector does some time later
        owner = child.controller_owner
        if owner is not None and owner.uid != made.uid:
            gvr = next(g for g in CHILDREN if _serves(g, child.kind))
            world.client.resource(gvr, namespace=NAMESPACE).delete(child.name)
    world.wait_children()
    wait_for(lambda: not set(old.values()) & {child.uid for child in world.children().values()}, what="new objects")
    assert world.status()["bootstrap"]["token"] == f"demo-{made.uid[:8]}"


def _serves(gvr: Any, kind: str) -> bool:
    return bool(gvr.resource == f"{kind.lower()}s")


def test_what_another_operator_froze_in_between_is_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second operator writes between our look at the live object and our own write."""
    world.create()
    theirs = {"members": ["demo-sts-0", "demo-sts-1", "demo-sts-2"], "token": "theirs"}
    written: list[str] = []
    patch = ResourceClient.patch

    def late(self: ResourceClient, name: str, body: Any, **options: Any) -> Any:
        if not written and "bootstrap" in body.get("status", {}):
            written.append("theirs")
            patch(self, name, {"status": {"bootstrap": theirs}}, type="merge", subresource="status")
        return patch(self, name, body, **options)

    monkeypatch.setattr(ResourceClient, "patch", late)
    world.start_operator()
    world.wait_children()
    assert written == ["theirs"]
    assert world.status()["bootstrap"]["token"] == "theirs"


def test_two_operators_by_mistake_agree(world: World) -> None:
    world.create()
    first, second = world.start_operator(), world.start_operator()
    world.wait_children()
    world.run_pods()
    world.wait_condition("Progressing", "False", "Complete")
    world.settle(first)
    world.settle(second)
    before = len(world.writes())
    world.settle(first)
    world.settle(second)
    assert world.writes()[before:] == []
    assert len(world.status()["bootstrap"]["members"]) == 3


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
    body = {**GO_MANIFEST, "metadata": {"name": name}}
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


def test_scale_subresource_reads_and_writes_replicas(world: World) -> None:
    world.create()
    world.start_operator()
    world.wait_children()
    world.run_pods()
    wait_for(lambda: world.status().get("replicas") == 3, what="status.replicas")
    clusters = world.client.resource(XLINECLUSTERS, namespace=NAMESPACE)
    path = f"{XLINECLUSTERS.prefix}/namespaces/{NAMESPACE}/xlineclusters/demo/scale"
    scale = json.loads(world.client.request("GET", path).body)
    assert scale["spec"]["replicas"] == 3
    assert scale["status"]["replicas"] == 3
    assert "app.kubernetes.io/instance=demo" in scale["status"]["selector"]
    clusters.patch("demo", {"spec": {"replicas": 5}}, type="merge", subresource="scale")
    assert world.cluster()["spec"]["replicas"] == 5


def test_children_are_not_made_again_for_a_cluster_whose_deletion_the_cache_has_missed(world: World) -> None:
    """The garbage collector deletes a child, and the operator hears of that before it hears of the cluster's end."""
    world.create()
    operator = world.start_operator()
    world.wait_children()
    world.settle(operator)
    before = len(world.writes())
    # The watch of clusters says nothing any more; all other watches go on.
    stalled = world.server.faults.add(verb="watch", resource="xlineclusters", status=503, retry_after=1)
    world.server.close_connections()
    wait_for(lambda: stalled.hits > 0, what="the watch of clusters being refused")
    world.client.resource(XLINECLUSTERS, namespace=NAMESPACE).delete("demo")
    looks = operator.looks
    world.client.resource(known.SERVICES, namespace=NAMESPACE).delete("demo-client")
    wait_for(lambda: operator.looks > looks, what="a look")
    assert world.writes()[before:] == []
    assert "services/demo-client" not in world.children()


@pytest.mark.parametrize("claims", [[0], [0, 1], [0, 1, 2, 3], [1, 2, 3]])
def test_retained_volumes_that_do_not_fit_are_not_started_upon(world: World, claims: list[int]) -> None:
    """A member goes on with the membership on its volume: one of three would wait for the others for ever."""
    for ordinal in claims:
        world.make_claim(ordinal)
    world.create()
    world.start_operator()
    world.wait_condition("Progressing", "False", "FormerData")
    assert ("spec.workload" if len(claims) == 3 else "spec.replicas") in world.wait_event("FormerData")
    assert world.children() == {}
    for ordinal in claims:
        world.remove_claim(ordinal)
    world.touch()
    world.wait_children()


def test_retained_volumes_that_fit_are_gone_on_with(world: World) -> None:
    for ordinal in range(3):
        world.make_claim(ordinal)
    world.create()
    world.start_operator()
    world.wait_children()
    world.wait_event("DataFound")


def test_volumes_of_a_deleted_cluster_are_waited_for_not_reused(world: World) -> None:
    """They are half deleted: a mixture of old and new members would be two clusters."""
    gone = {"apiVersion": XLINECLUSTERS.api_version, "kind": "XlineCluster", "name": "demo", "uid": "former"}
    for ordinal in range(3):
        world.make_claim(ordinal, owner=gone)
    world.create()
    operator = world.start_operator()
    wait_for(lambda: operator.looks > 0, what="a look")
    assert world.writes() == []
    for ordinal in range(3):
        claim = world.get(known.CLAIMS, f"data-demo-sts-{ordinal}")
        assert claim is not None
        assert [reference.uid for reference in claim.owner_references] == ["former"]
        world.remove_claim(ordinal)
    world.touch()
    world.wait_children()


TOKEN, ENGINE = "xline.io.datenlord.com/cluster-token", "xline.io.datenlord.com/engine"


def test_on_volumes_of_a_former_cluster_its_token_is_kept(world: World) -> None:
    """It may have been deleted before all members had started. Those that had know each other by its token."""
    for ordinal in range(3):
        world.make_claim(ordinal, annotations={TOKEN: "demo-former", ENGINE: "etcd"})
    world.create()
    world.start_operator()
    world.wait_children()
    assert "--token=demo-former" in agent_args(world)


def test_volumes_of_an_advanced_set_with_gaps_are_gone_on_with_by_one(world: World) -> None:
    """The leader stays when a cluster shrinks, whatever its ordinal."""
    for ordinal in (0, 1, 4):
        world.make_claim(ordinal, annotations={TOKEN: "demo-former", ENGINE: "etcd"})
    world.create()
    world.start_operator()
    world.wait_condition("Progressing", "False", "FormerData")
    assert "spec.workload" in world.wait_event("FormerData")
    world.edit(workload="AdvancedStatefulSet")
    wait_for(lambda: "bootstrap" in world.status(), what="the bootstrap")
    found = world.status()["bootstrap"]
    assert (found["members"], found["token"]) == (["demo-sts-0", "demo-sts-1", "demo-sts-4"], "demo-former")


@pytest.mark.parametrize(
    ("tokens", "engine", "words"),
    [
        (["a", "a", "b"], "etcd", "different clusters"),
        (["a", "a", "a"], "xline", "spec.engine"),
    ],
)
def test_volumes_that_cannot_be_one_cluster_of_this_engine_are_not_started_upon(
    world: World, tokens: list[str], engine: str, words: str
) -> None:
    for ordinal, token in enumerate(tokens):
        world.make_claim(ordinal, annotations={TOKEN: token, ENGINE: engine})
    world.create()
    world.start_operator()
    world.wait_condition("Progressing", "False", "FormerData")
    assert words in world.wait_event("FormerData")
    assert world.children() == {}


def ready_and_settled(world: World) -> None:
    world.create()
    operator = world.start_operator()
    world.wait_children()
    world.run_pods()
    world.wait_condition("Progressing", "False", "Complete")
    world.settle(operator)


def test_a_cluster_that_has_lost_a_majority_of_its_volumes_is_not_made_anew_on_empty_ones(world: World) -> None:
    """Its members would begin anew under the same identities, and forget what was acknowledged."""
    ready_and_settled(world)
    world.remove_claim(1)
    world.remove_claim(2)
    world.client.resource(known.STATEFULSETS, namespace=NAMESPACE).delete("demo-sts")
    world.wait_condition("Degraded", "True", "VolumesLost")
    assert "data-demo-sts-1, data-demo-sts-2" in world.wait_event("VolumesLost")
    assert "statefulsets/demo-sts" not in world.children()
    world.make_claim(1)  # a person brings it back
    world.wait_children()


def test_a_cluster_that_has_lost_fewer_volumes_goes_on(world: World) -> None:
    """The agent of the member that lost its disk lets it join anew."""
    ready_and_settled(world)
    world.remove_claim(1)
    world.client.resource(known.STATEFULSETS, namespace=NAMESPACE).delete("demo-sts")
    world.wait_event("DriftRepaired")
    world.wait_children()


def test_children_that_were_orphaned_are_taken_up_as_they_are(world: World) -> None:
    """`kubectl delete --cascade=orphan`, then create: the members that run must not even be restarted."""
    world.create()
    operator = world.start_operator()
    world.wait_children()
    world.run_pods()
    world.wait_condition("Progressing", "False", "Complete")
    world.settle(operator)
    before = world.children()["statefulsets/demo-sts"]
    world.stop_operators()
    clusters = world.client.resource(XLINECLUSTERS, namespace=NAMESPACE)
    clusters.delete("demo")  # there is no garbage collector here: the children are let go below
    for gvr, names in CHILDREN.items():
        for name in names:
            world.client.resource(gvr, namespace=NAMESPACE).patch(
                name, {"metadata": {"ownerReferences": None}}, type="merge"
            )
    wait_for(lambda: world.get(XLINECLUSTERS, "demo") is None, what="the deletion")
    made = world.create()
    world.start_operator()
    wait_for(lambda: "bootstrap" in world.status(), what="the bootstrap")

    def adopted() -> bool:
        owners = [child.controller_owner for child in world.children().values()]
        return all(owner is not None and owner.uid == made.uid for owner in owners)

    wait_for(adopted, what="the children being taken up")
    after = world.children()["statefulsets/demo-sts"]
    assert (after.uid, after.generation) == (before.uid, before.generation)


def test_what_may_not_be_made_is_told(world: World) -> None:
    """By an admission plugin, a quota, or for want of a right."""
    world.server.faults.add(verb="patch", resource="statefulsets", status=403, message="exceeded quota: small")
    world.create()
    world.start_operator()
    world.wait_condition("Progressing", "False", "Rejected")
    assert "exceeded quota: small" in world.wait_event("Rejected")
    world.server.faults.clear()
    world.touch()
    world.wait_children()


def test_members_are_not_rolled_from_the_old_xline_to_the_new_one(world: World) -> None:
    """They speak through other ports: halfway neither half has a majority."""
    world.create(engine="xline", image="ghcr.io/xline-kv/xline:v0.6.1")
    operator = world.start_operator()
    world.wait_children()
    world.run_pods()
    world.wait_condition("Progressing", "False", "Complete")
    world.settle(operator)
    before = {name: child.resource_version for name, child in world.children().items()}
    world.edit(image="ghcr.io/xline-kv/xline:v0.7.0")
    world.wait_condition("Progressing", "False", "InvalidSpec")
    assert "spec.image" in world.wait_event("InvalidSpec")
    assert {name: child.resource_version for name, child in world.children().items()} == before
    assert world.status()["image"] == "ghcr.io/xline-kv/xline:v0.6.1"


def test_what_a_new_cluster_waits_for_is_told_if_it_takes_long(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "_PATIENCE", 0.0)
    gone = {"apiVersion": XLINECLUSTERS.api_version, "kind": "XlineCluster", "name": "demo", "uid": "former"}
    for ordinal in range(3):
        world.make_claim(ordinal, owner=gone)
    world.create()
    world.start_operator()
    world.wait_condition("Progressing", "False", "WaitingForDeletion")
    assert "data-demo-sts-" in world.wait_event("WaitingForDeletion")
    assert world.children() == {}
    for ordinal in range(3):
        world.remove_claim(ordinal)
    world.wait_children()
    world.wait_condition("Progressing", "True", "Bootstrapping")
