"""What an operator finds of earlier clusters of the name, or of a status that was lost: data is gone on with, or is in
the way, and is never overwritten."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.xline import names as known
from controllers.xline import reconciler
from controllers.xline.workloads import ADVANCED_STATEFULSETS
from crds.xlinecluster import XLINECLUSTERS
from runtime.testing.nodes.controllers import ADVANCED_STATEFULSET_CRD
from tests.controllers.xline.xline_world import CHILDREN, NAMESPACE, World
from tests.support.etcd_process import wait_for


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


def test_on_volumes_of_a_former_cluster_its_token_is_kept(world: World) -> None:
    """It may have been deleted before all members had started. Those that had know each other by its token."""
    for ordinal in range(3):
        world.make_claim(ordinal, annotations={known.TOKEN: "demo-former", known.ENGINE: "etcd"})
    world.create()
    world.start_operator()
    world.wait_children()
    assert "--token=demo-former" in world.agent_args()


def test_on_volumes_of_a_cluster_that_has_run_nobody_begins_anew(world: World) -> None:
    """One word is enough: the others may have been made since, or were being marked when it was deleted."""
    world.make_claim(0)
    world.make_claim(1, labels={}, annotations={known.HAS_RUN: ""})  # put there by somebody else
    world.make_claim(2, annotations={known.HAS_RUN: "c0ffee"})
    world.create()
    world.start_operator()
    assert "has run" in world.wait_event("DataFound")
    wait_for(lambda: "bootstrap" in world.status(), what="the bootstrap")
    found = world.status()["bootstrap"]
    assert (found["completed"], found["clusterId"]) == (True, "c0ffee")
    first = next(entry for entry in world.writes() if entry.verb in ("create", "patch"))
    assert (first.resource, first.subresource) == ("xlineclusters", "status")
    world.wait_children()


def test_a_recovery_that_still_stands_in_the_manifest_is_not_carried_out_on_them(world: World) -> None:
    """Nobody is up yet, but nothing is lost; the survivor of then would drop what was acknowledged since."""
    for ordinal in range(3):
        world.make_claim(ordinal, annotations={known.HAS_RUN: "c0ffee"})
    world.create(recovery={"survivor": "demo-sts-1", "id": "of-then"})
    world.start_operator()
    assert "of-then was refused" in world.wait_event("RecoveryRefused")
    plan = world.status()["plan"]
    assert (plan["ordinals"], plan["refusedRecovery"], plan.get("recovery")) == ([0, 1, 2], "of-then", None)
    assert world.children()["statefulsets/demo-sts"]["spec"]["replicas"] == 3


def test_volumes_that_are_not_marked_may_be_of_a_cluster_that_never_ran(world: World) -> None:
    for ordinal in range(3):
        world.make_claim(ordinal)
    world.create()
    world.start_operator()
    assert "has run" not in world.wait_event("DataFound")
    world.wait_children()
    assert not world.status()["bootstrap"].get("completed")


def test_volumes_that_somebody_has_put_there_are_a_clusters_once_they_were_used(world: World) -> None:
    world.make_claim(0, labels={})
    world.make_claim(1, labels={}, annotations={known.HAS_RUN: "c0ffee"})
    world.create(restoreFrom={"name": "latest", "destination": {"volume": {"claimName": "backups"}}})
    world.start_operator()
    message = world.wait_event("FormerData")
    assert "spec.restoreFrom" in message
    assert "data-demo-sts-1" in message
    assert "data-demo-sts-0" not in message
    assert world.children() == {}


def test_that_it_has_run_survives_the_loss_of_the_status(world: World) -> None:
    world.bring_up()
    world.stop_operators()
    world.run_pods({0: False, 1: False, 2: False})
    clusters = world.client.resource(XLINECLUSTERS, namespace=NAMESPACE)
    clusters.patch("demo", {"status": None}, type="merge", subresource="status")
    world.start_operator()
    wait_for(lambda: "bootstrap" in world.status(), what="the bootstrap")
    assert world.status()["bootstrap"]["completed"] is True


def test_a_workload_of_another_engine_is_not_taken_over(world: World) -> None:
    world.bring_up()
    world.stop_operators()
    clusters = world.client.resource(XLINECLUSTERS, namespace=NAMESPACE)
    clusters.delete("demo", propagation_policy="Orphan")
    wait_for(lambda: world.get(XLINECLUSTERS, "demo") is None, what="the deletion")
    world.create(engine="xline")
    world.start_operator()
    assert "StatefulSet demo-sts runs etcd" in world.wait_event("FormerData")


def test_volumes_of_an_advanced_set_with_gaps_are_gone_on_with_by_one(world: World) -> None:
    """The leader stays when a cluster shrinks, whatever its ordinal."""
    for ordinal in (0, 1, 4):
        world.make_claim(ordinal, annotations={known.TOKEN: "demo-former", known.ENGINE: "etcd"})
    world.create()
    world.start_operator()
    world.wait_condition("Progressing", "False", "FormerData")
    assert "spec.workload" in world.wait_event("FormerData")
    world.edit(workload="AdvancedStatefulSet")
    wait_for(lambda: "bootstrap" in world.status(), what="the bootstrap")
    found = world.status()["bootstrap"]
    assert (found["members"], found["token"]) == (["demo-sts-0", "demo-sts-1", "demo-sts-4"], "demo-former")


@pytest.mark.parametrize(
    ("tokens", "ids", "engine", "words"),
    [
        (["a", "a", "b"], ["1", "1", "1"], "etcd", "different clusters (a, b"),
        (["a", "a", "a"], ["1", "", "2"], "etcd", "different clusters (1, 2"),
        (["a", "a", "a"], ["1", "1", "1"], "xline", "spec.engine"),
    ],
)
def test_volumes_that_cannot_be_one_cluster_of_this_engine_are_not_started_upon(
    world: World, tokens: list[str], ids: list[str], engine: str, words: str
) -> None:
    for ordinal, (token, mark) in enumerate(zip(tokens, ids, strict=True)):
        annotations = {known.TOKEN: token, known.ENGINE: engine, known.HAS_RUN: mark}
        world.make_claim(ordinal, annotations=annotations)
    world.create()
    world.start_operator()
    world.wait_condition("Progressing", "False", "FormerData")
    assert words in world.wait_event("FormerData")
    assert world.children() == {}


def test_a_cluster_that_has_lost_a_majority_of_its_volumes_is_not_made_anew_on_empty_ones(world: World) -> None:
    """Its members would begin anew under the same identities, and forget what was acknowledged."""
    world.bring_up()
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
    world.bring_up()
    world.remove_claim(1)
    world.client.resource(known.STATEFULSETS, namespace=NAMESPACE).delete("demo-sts")
    world.wait_event("DriftRepaired")
    world.wait_children()


def test_children_that_were_orphaned_are_taken_up_as_they_are(world: World) -> None:
    """`kubectl delete --cascade=orphan`, then create: the members that run must not even be restarted."""
    world.bring_up()
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
