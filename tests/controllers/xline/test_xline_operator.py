"""The operator on a real HTTP API server: what it makes, repairs, refuses and leaves alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controllers.xline import names as known
from crds.xlinecluster import XLINECLUSTERS
from runtime.client import ResourceClient
from tests.controllers.xline.xline_world import NAMESPACE, World
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
        assert flag in world.agent_args()
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
    operator = world.bring_up()
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
    world.bring_up()
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
        return container["image"].endswith(":v3.5.9") and "--quota-backend-bytes=8589934592" in world.agent_args()

    wait_for(updated, what="the new image and flag")
    assert "StatefulSet demo-sts" in world.wait_event("Updated")
    world.edit(bootstrapArgs=None)
    wait_for(
        lambda: "quota" not in str(world.children()["statefulsets/demo-sts"]["spec"]["template"]),
        what="the flag going",
    )


def test_nobody_comes_or_goes_while_it_is_not_known_who_leads(world: World) -> None:
    """These Pods have no servers that could say so."""
    operator = world.bring_up()
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


def test_the_plan_is_published_before_anything_changes(world: World) -> None:
    world.create()
    world.start_operator()
    wait_for(lambda: world.status().get("plan"), what="the plan")
    assert world.status()["plan"] == {"ordinals": [0, 1, 2], "revision": 1}


def test_a_paused_cluster_is_left_alone(world: World) -> None:
    operator = world.bring_up()
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
    world.bring_up()
    clusters = world.client.resource(XLINECLUSTERS, namespace=NAMESPACE)
    clusters.patch("demo", {"metadata": {"finalizers": ["test/hold"]}}, type="merge")
    clusters.delete("demo")
    wait_for(lambda: world.status().get("phase") == "Deleting", what="the phase")
    before = world.writes()
    world.client.resource(known.SERVICES, namespace=NAMESPACE).delete("demo-client")
    world.settle(world.operators[0])
    assert world.writes()[len(before) :] == []
    clusters.patch("demo", {"metadata": {"finalizers": None}}, type="merge")


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
