"""What rolling, growing, replacing and recovering write to an API server: to what they saw, and to nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Literal

import pytest
from msgspec import structs

from controllers.xline import expansion, inplace, recovery, replacement, rollout
from controllers.xline.applying import apply_children
from controllers.xline.deletions import deletion
from controllers.xline.names import CLAIMS, PODS, STATEFULSETS
from controllers.xline.planning import Outdated, confirm
from controllers.xline.replacement import NODES
from controllers.xline.survey import Settings
from controllers.xline.workloads import ADVANCED_STATEFULSET, STATEFULSET, Workload
from controllers.xline.world import Refused
from crds.decoding import convert
from crds.xlinecluster import XLINECLUSTERS
from crds.xlineplan import MembershipPlan
from runtime.client import ApiError, ClientError, Conflict, Unstructured
from runtime.types import JSONObject
from tests.controllers.xline.xline_scene import NEW, OLD, Scene, ago, claim, template
from tests.controllers.xline.xline_stage import Stage
from tests.controllers.xline.xline_stage import stage as new_stage
from tests.support.waiting import eventually


@pytest.fixture
def stage() -> Iterator[Stage]:
    with new_stage() as here:
        yield here


# -- rolling

FORMER, PRESENT = template("etcd:v3.5.16"), template("etcd:v3.5.17")


def test_an_update_in_place_changes_image_and_revision_of_the_very_pod(stage: Stage) -> None:
    scene = stage.put_on(Scene(template=PRESENT).outdated(2, template=FORMER))
    stage.do(rollout.next_action(stage.world(scene)))
    live = stage.find(PODS, "demo-sts-2")
    assert live is not None
    assert live.uid == scene.pods[2]["metadata"]["uid"]
    assert live["spec"]["containers"][0]["image"] == "etcd:v3.5.17"
    assert live.labels["controller-revision-hash"] == NEW
    assert inplace.unfinished(live)
    assert any("UpdatingInPlace" in event for event in stage.recorder.events)


def test_a_pod_that_has_changed_since_is_left_to_the_next_look(stage: Stage) -> None:
    scene = stage.put_on(Scene(template=PRESENT).outdated(2, template=FORMER))
    stage.touch(PODS, "demo-sts-2")
    stage.do(rollout.next_action(stage.world(scene)))
    live = stage.find(PODS, "demo-sts-2")
    assert live is not None
    assert live.labels["controller-revision-hash"] == OLD
    assert stage.recorder.events == []


@pytest.mark.parametrize("drop", ["before", "after"])
def test_an_answer_that_is_lost_makes_no_second_member_go(stage: Stage, drop: Literal["before", "after"]) -> None:
    """Whether it was done or not, the next look takes the same member."""
    scene = stage.put_on(Scene(template=PRESENT).outdated(0, 1, 2, template=FORMER))
    stage.server.faults.add(verb="patch", resource="pods", drop=drop, times=1)
    with suppress(ClientError):
        stage.do(rollout.next_action(stage.world(scene)))
    pods = stage.client.resource(PODS, namespace="ns").list()
    changed = [pod.name for pod in pods if pod.annotations.get(inplace.REPLACED)]
    assert changed in ([], ["demo-sts-2"])
    for ordinal in range(3):
        live = stage.find(PODS, f"demo-sts-{ordinal}")
        assert live is not None
        scene.pods[ordinal] = live.to_dict()
    following = rollout.next_action(stage.world(scene))
    assert following is not None
    assert "demo-sts-2" in following.message


def test_the_pod_that_is_replaced_is_the_one_that_was_seen(stage: Stage) -> None:
    scene = stage.put_on(Scene().outdated(2))
    action = rollout.next_action(stage.world(scene))
    pods = stage.client.resource(PODS, namespace="ns")
    pods.delete("demo-sts-2", grace_period_seconds=0)
    pods.create({"metadata": {"name": "demo-sts-2"}, "spec": {"containers": [{"name": "xline", "image": "x"}]}})
    with pytest.raises(Conflict):
        stage.do(action)
    live = stage.find(PODS, "demo-sts-2")
    assert live is not None
    assert live.deletion_timestamp is None


def test_a_pod_that_somebody_has_marked_since_is_left_to_the_next_look(stage: Stage) -> None:
    scene = stage.put_on(Scene().outdated(2))
    action = rollout.next_action(stage.world(scene))
    stage.touch(PODS, "demo-sts-2")
    with pytest.raises(Conflict):
        stage.do(action)


def test_what_is_gone_already_is_as_well(stage: Stage) -> None:
    scene = stage.put_on(Scene())
    pod = Unstructured(scene.pods[0])
    stage.client.resource(PODS, namespace="ns").delete(pod.name, grace_period_seconds=0)
    deletion(stage.world(scene), PODS, pod, ("Gone", "it goes"))(stage.ctx())
    assert stage.recorder.events == [], "somebody else did it"


@pytest.mark.parametrize("what", ["plan", "spec"])
def test_nothing_is_taken_by_a_plan_or_spec_of_before(stage: Stage, what: str) -> None:
    """Another operator is a step ahead, or somebody has just paused the cluster."""
    in_place = stage.put_on(Scene(template=PRESENT).outdated(2, template=FORMER))
    update = rollout.next_action(stage.world(in_place))
    delete = deletion(stage.world(in_place), PODS, Unstructured(in_place.pods[1]), ("Gone", "it goes"))
    if what == "plan":
        plan = {"ordinals": [0, 1], "revision": 8}
        stage.clusters.patch("demo", {"status": {"plan": plan}}, type="merge", subresource="status")
    else:
        stage.clusters.patch("demo", {"spec": {"paused": True}}, type="merge")
    with pytest.raises(Outdated):
        stage.do(update)
    with pytest.raises(Outdated):
        delete(stage.ctx())
    assert stage.recorder.events == []
    assert {pod.resource_version for pod in stage.client.resource(PODS, namespace="ns").list()} == {
        found["metadata"]["resourceVersion"] for found in in_place.pods.values()
    }


def test_who_writes_anything_else_does_not_hold_it_up(stage: Stage) -> None:
    scene = stage.put_on(Scene().outdated(2))
    seen = stage.world(scene)
    stage.touch(XLINECLUSTERS, "demo")
    stage.clusters.patch("demo", {"status": {"message": "well"}}, type="merge", subresource="status")
    confirm(seen.obj, stage.ctx())
    stage.do(rollout.next_action(seen))
    live = stage.find(PODS, "demo-sts-2")
    assert live is None or live.deletion_timestamp is not None


def test_a_workload_is_not_shaped_by_a_plan_of_before(stage: Stage) -> None:
    """Whose cache of XlineClusters is two steps behind, and that of StatefulSets is not, would take two members."""
    five = stage.put_on(Scene(replicas=5))
    grown = replace(stage.world(five), workload=Workload(STATEFULSET))
    plan = Settings().plan(grown.cluster, grown.bootstrap, (0, 1, 2, 3, 4))
    _, problem = apply_children(grown, plan, stage.ctx())
    assert problem is None
    live = stage.find(STATEFULSETS, "demo-sts")
    assert live is not None
    assert live["spec"]["replicas"] == 5
    former = {"status": {"plan": {"ordinals": [0, 1, 2], "revision": 5}}}
    stale = Unstructured({**grown.obj.to_dict(), **former})
    behind = replace(
        grown,
        obj=stale,
        plan=MembershipPlan(ordinals=[0, 1, 2], revision=5),
        cluster=structs.replace(grown.cluster, spec=structs.replace(grown.cluster.spec, replicas=3)),
        workload=Workload(STATEFULSET, live),
    )
    with pytest.raises(Outdated):
        apply_children(behind, plan, stage.ctx())
    assert stage.find(STATEFULSETS, "demo-sts") == live


# -- growing


def growing(stage: Stage, *grown: int) -> Scene:
    scene = Scene(spec={"storage": {"size": "2Gi"}})
    for ordinal in grown:
        scene.claims[ordinal] = claim(ordinal, "2Gi")
    return stage.put_on(scene)


def test_a_claim_grows(stage: Stage) -> None:
    stage.do(expansion.next_action(stage.world(growing(stage))))
    claims = stage.client.resource(CLAIMS, namespace="ns").list()
    sizes = [found["spec"]["resources"]["requests"]["storage"] for found in claims]
    assert sizes == ["2Gi", "1Gi", "1Gi"]


def test_a_class_that_does_not_let_it_grow_is_told_by_field_claim_and_reason(stage: Stage) -> None:
    scene = growing(stage)
    message = "only dynamically provisioned pvc can be resized"
    stage.server.faults.add(verb="patch", resource="persistentvolumeclaims", status=403, message=message)
    with pytest.raises(Refused, match=r"spec\.storage\.size: claim data-demo-sts-0 .* 2Gi: .*can be resized") as told:
        stage.do(expansion.next_action(stage.world(scene)))
    assert told.value.reason == "ExpansionRefused"


def test_a_stateful_set_is_made_anew_without_touching_its_pods(stage: Stage) -> None:
    scene = growing(stage, 0, 1, 2)
    spec: JSONObject = {"serviceName": "s", "selector": {"matchLabels": {"a": "b"}}, "template": scene.template}
    spec["template"]["metadata"]["labels"] = {"a": "b"}
    live = stage.client.resource(STATEFULSETS, namespace="ns").create({"metadata": {"name": "demo-sts"}, "spec": spec})
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "demo-sts", "uid": live.uid, "controller": True}
    pods = stage.client.resource(PODS, namespace="ns")
    for pod in pods.list():
        pods.patch(pod.name, {"metadata": {"ownerReferences": [owner]}}, type="merge")
    seen = stage.world(scene)
    stage.do(expansion.next_action(replace(seen, workload=_as_seen(seen.workload, live))))
    eventually(lambda: stage.find(STATEFULSETS, "demo-sts") is None)
    assert [pod.name for pod in pods.list() if not pod.owner_references] == [f"demo-sts-{n}" for n in range(3)]


def _as_seen(scene: Workload, live: Unstructured) -> Workload:
    """The live object with the claims and the status of the scene's."""
    assert scene.obj is not None
    return Workload(scene.backend, Unstructured({**scene.obj.to_dict(), "metadata": live.to_dict()["metadata"]}))


def test_an_advanced_set_gets_the_new_size_in_place(stage: Stage) -> None:
    scene = growing(stage, 0, 1, 2)
    scene.backend = ADVANCED_STATEFULSET
    api = stage.client.resource(ADVANCED_STATEFULSET.gvr, namespace="ns")
    spec = {"selector": {}, "template": {}, "volumeClaimTemplates": [scene.claim_template, {"metadata": {"name": "x"}}]}
    kind = {"apiVersion": "apps.kruise.io/v1beta1", "kind": "StatefulSet", "metadata": {"name": "demo-sts"}}
    live = api.create({**kind, "spec": spec})
    stage.do(expansion.next_action(replace(stage.world(scene), workload=Workload(ADVANCED_STATEFULSET, live))))
    templates = api.get("demo-sts")["spec"]["volumeClaimTemplates"]
    assert templates[0]["spec"]["resources"]["requests"]["storage"] == "2Gi"
    assert templates[1] == {"metadata": {"name": "x"}}


# -- replacing


def dead(stage: Stage) -> Scene:
    scene = Scene(spec={"replaceDeadMembers": {"afterSeconds": 600}}).terminating(2, 700)
    return stage.put_on(scene)


def node(stage: Stage, ready: str) -> None:
    nodes = stage.client.resource(NODES)
    nodes.create({"metadata": {"name": "node-2"}})
    status = {"conditions": [{"type": "Ready", "status": ready}]}
    nodes.patch("node-2", {"status": status}, type="merge", subresource="status")


@pytest.mark.parametrize("state", ["False", "Unknown", "gone"])
def test_the_volume_of_a_member_on_a_dead_node_is_deleted(stage: Stage, state: str) -> None:
    scene = dead(stage)
    if state != "gone":
        node(stage, state)
    stage.do(replacement.next_action(stage.world(scene)))
    found = stage.find(CLAIMS, "data-demo-sts-2")
    assert found is None or found.deletion_timestamp is not None
    assert stage.find(PODS, "demo-sts-2") is not None


def test_on_a_node_that_is_ready_nothing_is_deleted(stage: Stage) -> None:
    scene = dead(stage)
    node(stage, "True")
    with pytest.raises(Refused, match="node node-2 is ready"):
        stage.do(replacement.next_action(stage.world(scene)))
    found = stage.find(CLAIMS, "data-demo-sts-2")
    assert found is not None
    assert found.deletion_timestamp is None


def test_who_may_not_look_at_nodes_deletes_nothing(stage: Stage) -> None:
    scene = dead(stage)
    stage.server.faults.add(verb="get", resource="nodes", status=403)
    with pytest.raises(Refused, match=r"spec\.replaceDeadMembers: .*get nodes"):
        stage.do(replacement.next_action(stage.world(scene)))
    stage.server.faults.clear()
    stage.server.faults.add(verb="get", resource="nodes", status=500)
    with pytest.raises(ApiError):
        stage.do(replacement.next_action(stage.world(scene)))
    assert stage.find(CLAIMS, "data-demo-sts-2") is not None


def test_its_pod_goes_without_waiting_for_the_node(stage: Stage) -> None:
    scene = dead(stage)
    scene.claims[2]["metadata"]["deletionTimestamp"] = ago(1)
    stage.do(replacement.next_action(stage.world(scene)))
    assert stage.find(PODS, "demo-sts-2") is None


# -- recovering


def test_the_plan_of_a_recovery_has_the_survivor_alone_and_the_pods_of_before(stage: Stage) -> None:
    clusters = stage.clusters
    spec: JSONObject = {"replicas": 3, "engine": "etcd", "recovery": {"survivor": "demo-sts-1", "id": "a"}}
    kind = {"apiVersion": "xline.io.datenlord.com/v1alpha1", "kind": "XlineCluster", "metadata": {"name": "demo"}}
    live = clusters.create({**kind, "spec": spec})
    scene = Scene(spec={"recovery": spec["recovery"]}).no_quorum().down(0, 2).down(1, started=True)
    stage.do(recovery.next_action(replace(scene.world(), obj=live)))
    begun = clusters.get("demo")["status"]["plan"]
    assert begun == {
        "ordinals": [1],
        "revision": 8,
        "recovery": {"survivor": "demo-sts-1", "id": "a", "pods": ["pod-0", "pod-1", "pod-2"]},
    }
    with pytest.raises(Conflict):  # another operator has seen the same
        stage.do(recovery.next_action(replace(scene.world(), obj=live)))
    scene.plan = convert(begun, MembershipPlan)
    alone = Scene(spec=scene.spec, plan=scene.plan, leads=1, listed={1}, answers={1}).heartbeat(1, recovered="a")
    for found in alone.pods.values():
        found["metadata"]["uid"] += "-new"
    alone.heartbeat(1, recovered="a")
    stage.do(recovery.next_action(replace(alone.world(), obj=clusters.get("demo"))))
    assert clusters.get("demo")["status"]["plan"] == {
        "ordinals": [1],
        "revision": 9,
        "recovery": {"survivor": "demo-sts-1", "id": "a", "completed": True},
    }
