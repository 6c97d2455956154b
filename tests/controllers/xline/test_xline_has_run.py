"""That a cluster has run is marked on its volumes, before anything else says so; whatever the API server does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from controllers.xline import hasrun
from controllers.xline.names import CLAIMS, HAS_RUN, PODS
from controllers.xline.status import VOLUMES_NOT_MARKED, build_status
from crds.xlinecluster import XlineClusterStatus
from runtime.client import Unstructured
from tests.controllers.xline.xline_scene import Scene
from tests.controllers.xline.xline_stage import Stage
from tests.controllers.xline.xline_stage import stage as new_stage
from tests.controllers.xline.xline_world import NAMESPACE, World
from tests.support.etcd_process import wait_for

ID = "c0ffee"  # of a scene's members
ALL = dict.fromkeys(range(3), ID)


@pytest.fixture(scope="module")
def shared() -> Iterator[Stage]:
    with new_stage() as here:
        yield here


@pytest.fixture
def stage(shared: Stage) -> Iterator[Stage]:
    """Without anything of an earlier test."""
    yield shared
    shared.server.faults.clear()
    claims, pods = (shared.client.resource(gvr, namespace="ns") for gvr in (CLAIMS, PODS))
    for claim in claims.list():
        claims.patch(claim.name, {"metadata": {"finalizers": None}}, type="merge")
        claims.delete(claim.name)
    for pod in pods.list():
        pods.delete(pod.name, grace_period_seconds=0)


def marks(stage: Stage) -> dict[int, str | None]:
    claims = stage.client.resource(CLAIMS, namespace="ns").list()
    return {int(claim.name[-1]): claim.annotations.get(HAS_RUN) for claim in claims}


def look(stage: Stage, scene: Scene) -> tuple[bool, str]:
    """Whether the status may say it, too; and what is told."""
    done, problem = hasrun.mark(stage.world(scene), stage.ctx())
    assert problem is None or (problem.reason, problem.stops) == (VOLUMES_NOT_MARKED, False)
    return done, problem.message if problem is not None else ""


def refresh(stage: Stage, scene: Scene) -> None:
    """The cache catches up."""
    for claim in stage.client.resource(CLAIMS, namespace="ns").list():
        scene.claims[int(claim.name[-1])] = claim.to_dict()


def first_seen(stage: Stage) -> Scene:
    """Somebody leads, which the status does not know yet."""
    return stage.put_on(Scene(bootstrapped=False))


def test_nothing_is_marked_before_somebody_leads(stage: Stage) -> None:
    scene = stage.put_on(Scene(bootstrapped=False, leads=None).down(0, 1, 2))
    assert look(stage, scene) == (True, "")
    assert marks(stage) == dict.fromkeys(range(3))


@pytest.mark.parametrize("ran", [False, True])
def test_what_an_agent_has_seen_counts_before_its_pod_is_ready(stage: Stage, ran: bool) -> None:
    """It is ready no sooner than the status tells that the cluster has run; who reaches no member knows of no other."""
    scene = stage.put_on(Scene(bootstrapped=False, leads=None).down(0, 1, 2))
    scene.heartbeat(1, ran=ran)
    assert look(stage, scene) == (True, "")
    assert marks(stage) == dict.fromkeys(range(3), "" if ran else None), "whose id it is the agents will tell"
    found = build_status(stage.world(scene), XlineClusterStatus(), "").bootstrap
    assert found is not None
    assert found.completed is ran


def test_all_volumes_are_marked_with_the_id_of_the_cluster(stage: Stage) -> None:
    assert look(stage, first_seen(stage)) == (True, "")
    assert marks(stage) == ALL


def test_volumes_of_which_the_cache_has_not_heard_are_marked_before_the_status_tells(stage: Stage) -> None:
    scene = first_seen(stage)
    del scene.claims[2]
    assert look(stage, scene) == (True, "")
    assert marks(stage) == ALL


def test_volumes_of_others_are_left_alone(stage: Stage) -> None:
    scene = first_seen(stage)
    other = {"metadata": {"name": "data-demo-sts-7"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    other["spec"]["resources"] = {"requests": {"storage": "1Gi"}}  # type: ignore[index]
    stage.client.resource(CLAIMS, namespace="ns").create(other)
    look(stage, scene)
    assert marks(stage) == {**ALL, 7: None}


def test_a_settled_cluster_costs_no_request_and_a_new_volume_is_marked(stage: Stage) -> None:
    scene = stage.put_on(Scene())
    look(stage, scene)
    refresh(stage, scene)
    world, before = stage.world(scene), len(stage.server.requests)
    assert hasrun.mark(world, stage.ctx()) == (True, None)
    assert len(stage.server.requests) == before
    stage.client.resource(CLAIMS, namespace="ns").patch(
        "data-demo-sts-1", {"metadata": {"annotations": {HAS_RUN: None}}}, type="merge"
    )
    refresh(stage, scene)
    writes = len(stage.server.requests.writes())
    look(stage, scene)
    assert marks(stage) == ALL
    assert len(stage.server.requests.writes()) == writes + 1


def test_a_mark_of_before_the_id_was_known_gets_it(stage: Stage) -> None:
    scene = stage.put_on(Scene())
    for ordinal in range(3):
        patch = {"metadata": {"annotations": {HAS_RUN: ""}}}
        stage.client.resource(CLAIMS, namespace="ns").patch(f"data-demo-sts-{ordinal}", patch, type="merge")
    refresh(stage, scene)
    scene.down(0, 1, 2)  # nobody tells it
    world = stage.world(scene)
    assert hasrun.unmarked(world, [Unstructured(claim) for claim in scene.claims.values()]) == []
    scene.answers = {0, 1, 2}
    look(stage, scene)
    assert marks(stage) == ALL
    refresh(stage, scene)
    scene.down(0, 1, 2)
    look(stage, scene)
    assert marks(stage) == ALL, "and is not taken back by one who does not know it"


@pytest.mark.parametrize("known", [True, False])
def test_what_may_pass_keeps_the_status_from_saying_it_first_but_not_from_going_on_to(
    stage: Stage, known: bool
) -> None:
    scene = stage.put_on(Scene(bootstrapped=known))
    fault = stage.server.faults.add(verb="patch", resource="persistentvolumeclaims", status=500)
    done, told = look(stage, scene)
    assert not done
    found = build_status(stage.world(scene), XlineClusterStatus(), "", noted=done)
    assert found.bootstrap is not None
    assert found.bootstrap.completed is known
    assert "PersistentVolumeClaim data-demo-sts-0 cannot be marked" in told
    stage.server.faults.remove(fault)
    assert look(stage, scene) == (True, "")
    assert marks(stage) == ALL


@pytest.mark.parametrize("refusal", [400, 403, 422])
def test_who_may_not_mark_is_told_so_and_goes_on(stage: Stage, refusal: int) -> None:
    scene = first_seen(stage)
    fault = stage.server.faults.add(
        verb="patch", resource="persistentvolumeclaims", status=refusal, message="the Role is an old one"
    )
    done, told = look(stage, scene)
    assert done, "a cluster that serves its clients is worth more than one that could be made again in any case"
    assert "data-demo-sts-0" in told
    assert "the Role is an old one" in told
    assert fault.hits == 1, "one refusal is enough"
    stage.server.faults.remove(fault)
    scene.bootstrapped = True
    assert look(stage, scene) == (True, "")
    assert marks(stage) == ALL


def test_a_mark_whose_answer_is_lost_is_there() -> None:
    with new_stage() as stage:
        scene = first_seen(stage)
        stage.server.faults.add(verb="patch", resource="persistentvolumeclaims", drop="after", times=1)
        done, told = look(stage, scene)
        assert (done, bool(told)) == (False, True)
        assert marks(stage) == {0: ID, 1: None, 2: None}
        assert look(stage, scene) == (True, "")
        assert marks(stage) == ALL


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_volume_that_goes_meanwhile(stage: Stage, comes_back: bool) -> None:
    """The others are marked all the same, and one that has its name by now is looked at next time."""
    scene = stage.put_on(Scene())
    claims = stage.client.resource(CLAIMS, namespace="ns")
    was = claims.get("data-demo-sts-0").to_dict()
    claims.patch("data-demo-sts-0", {"metadata": {"finalizers": None}}, type="merge")
    claims.delete("data-demo-sts-0", grace_period_seconds=0)
    if comes_back:
        claims.create({"metadata": {"name": "data-demo-sts-0"}, "spec": was["spec"]})
    assert look(stage, scene) == (True, "")
    assert marks(stage) == ({0: None} if comes_back else {}) | {1: ID, 2: ID}
    refresh(stage, scene)
    look(stage, scene)
    assert marks(stage).get(0) == (ID if comes_back else None)


def test_the_status_waits_for_the_marks_and_so_do_clients(world: World) -> None:
    fault = world.server.faults.add(verb="patch", resource="persistentvolumeclaims", status=500)
    world.create()
    operator = world.start_operator()
    world.wait_children()
    world.run_pods()
    world.wait_event(VOLUMES_NOT_MARKED)
    looks = operator.looks
    for seen in (looks, looks + 1):
        world.touch()
        wait_for(lambda seen=seen: operator.looks > seen, what="a look")
    assert not world.status()["bootstrap"].get("completed")
    world.server.faults.remove(fault)
    world.wait_condition("Progressing", "False", "Complete")
    assert world.status()["bootstrap"]["completed"] is True
    claims = world.client.resource(CLAIMS, namespace=NAMESPACE)

    def marked() -> list[str]:
        return [claim.name for claim in claims.list() if HAS_RUN in claim.annotations]

    everyone = [f"data-demo-sts-{ordinal}" for ordinal in range(3)]
    assert marked() == everyone
    world.edit(paused=True)
    world.wait_condition("Progressing", "False", "Paused")
    claims.patch(everyone[1], {"metadata": {"annotations": {HAS_RUN: None}}}, type="merge")
    wait_for(lambda: marked() == everyone, what="the mark, for it changes nothing")
