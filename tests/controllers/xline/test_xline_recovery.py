"""A lost majority is recovered from when somebody asks for it, and never else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controllers.xline import pausing, recovery
from controllers.xline.decide import decide
from controllers.xline.planning import published
from crds.xlineplan import MembershipPlan, Recovery
from runtime.types import JSONObject
from tests.controllers.xline.xline_scene import Scene, ago

ASKED = {"recovery": {"survivor": "demo-sts-1", "id": "a"}}


def broken(spec: JSONObject | None = None, plan: MembershipPlan | None = None, **how: object) -> Scene:
    """Two of three are gone; the third waits for them."""
    scene = Scene(spec=ASKED if spec is None else spec, plan=plan, **how)  # type: ignore[arg-type]
    return scene.no_quorum().down(0, 2, waiting="CrashLoopBackOff").down(1, started=True)


def begun(*pods: str, completed: bool = False, id: str = "a") -> MembershipPlan:
    asked = Recovery(survivor="demo-sts-1", id=id, pods=list(pods), completed=completed)
    return MembershipPlan(ordinals=[1], revision=8, recovery=asked)


def next_(scene: Scene) -> tuple[str, str]:
    action = recovery.next_action(scene.world())
    return (action.reason, action.message) if action else ("", "")


def refusal(scene: Scene) -> str:
    """Refused, and hence not begun."""
    world = scene.world()
    assert recovery.next_action(world) is None
    found = recovery.refusal(world)
    assert found is not None
    assert found[0] == "RecoveryRefused"
    return found[1]


def test_unasked_nothing_is_recovered() -> None:
    world = broken({}).world()
    assert recovery.next_action(world) is None
    assert recovery.refusal(world) is None


def test_it_begins_with_the_plan() -> None:
    world = broken().world()
    assert recovery.refusal(world) is None
    reason, message = next_(broken())
    assert reason == "Recovering"
    assert "demo-sts-1 alone is kept" in message


def test_asked_for_while_a_majority_lives_it_is_refused_for_good() -> None:
    scene = Scene(spec=ASKED)
    reason, message = next_(scene)
    assert reason == "RecoveryRefused"
    assert "demo-sts-0 leads" in message
    spent = MembershipPlan(ordinals=[0, 1, 2], revision=8, refused_recovery="a")
    assert recovery.next_action(Scene(spec=ASKED, plan=spent).world()) is None
    assert "was refused" in refusal(broken(plan=spent)), "nor when the majority is lost on another day"
    again = {"recovery": {"survivor": "demo-sts-1", "id": "b"}}
    assert next_(broken(again, plan=spent))[0] == "Recovering"


def test_asked_for_by_the_manifest_that_creates_the_cluster_it_is_refused_for_good() -> None:
    """It goes on with volumes of its former life, in which that recovery was carried out, or refused; nobody is up."""
    scene = broken(plan=MembershipPlan(ordinals=[0, 1, 2]))
    world = scene.world()
    assert decide(world).phase == "Bootstrapping"
    first = published(world.plan, world.cluster.spec)
    assert "just created" in refusal(broken(plan=first))
    again = {"recovery": {"survivor": "demo-sts-1", "id": "b"}}
    assert next_(broken(again, plan=first))[0] == "Recovering", "a majority may be lost for all that"
    assert published(world.plan, broken({}).world().cluster.spec).refused_recovery == ""


def test_while_it_is_not_sure_it_waits() -> None:
    follows = Scene(spec=ASKED)
    follows.listed = set()
    world = replace(follows.world(), leader=None)
    assert recovery.next_action(world) is None
    found = recovery.refusal(world)
    assert found is not None
    assert "still follow a leader" in found[1]
    unseen = Scene(spec=ASKED, answers=set()).no_quorum().down(2)
    assert "demo-sts-0, demo-sts-1 are ready" in refusal(unseen), "the operator alone sees nobody"


def test_one_ready_pod_of_three_is_no_majority() -> None:
    scene = Scene(spec=ASKED, answers=set()).no_quorum().down(0, 2)
    assert next_(scene)[0] == "Recovering"


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"recovery": {"survivor": "demo-sts-7", "id": "a"}}, "there is no member demo-sts-7"),
        ({"recovery": {"survivor": "other-sts-1", "id": "a"}}, "there is no member other-sts-1"),
        ({**ASKED, "engine": "xline"}, "restore a backup"),
    ],
)
def test_it_is_refused_where_it_cannot_be_done(spec: JSONObject, text: str) -> None:
    assert text in refusal(broken(spec))


def test_it_is_refused_without_the_survivors_volume() -> None:
    scene = broken()
    scene.claims[1]["metadata"]["deletionTimestamp"] = ago(1)
    assert "data-demo-sts-1 is gone" in refusal(scene)
    del scene.claims[1]
    assert "data-demo-sts-1 is gone" in refusal(scene)


def test_it_is_refused_to_a_cluster_that_never_ran() -> None:
    assert "never run" in refusal(broken(bootstrapped=False))


def test_an_id_is_good_for_one_recovery() -> None:
    done = begun(completed=True)
    again = broken(plan=done)
    assert recovery.next_action(again.world()) is None
    assert recovery.refusal(again.world()) is None, "that is the request that was carried out"
    other = broken({"recovery": {"survivor": "demo-sts-2", "id": "a"}}, plan=done)
    assert "needs another id" in refusal(other)
    assert next_(broken({"recovery": {"survivor": "demo-sts-1", "id": "b"}}, plan=done))[0] == "Recovering"


def test_every_pod_of_before_is_replaced_the_survivors_last() -> None:
    scene = broken(plan=begun("pod-0", "pod-1", "pod-2"))
    replaced = []
    for _ in range(3):
        reason, message = next_(scene)
        assert reason == "Recovering"
        (name,) = [f"demo-sts-{n}" for n in range(3) if f"Pod of demo-sts-{n} " in message]
        replaced.append(name)
        scene.pods[int(name[-1])]["metadata"]["uid"] = f"new-{name}"
    assert replaced == ["demo-sts-0", "demo-sts-2", "demo-sts-1"]
    action = recovery.next_action(scene.world())
    assert action is not None
    assert action.do is None


def test_one_that_is_going_already_is_not_told_again() -> None:
    scene = broken(plan=begun("pod-0", "pod-1", "pod-2")).terminating(0)
    assert "Pod of demo-sts-2 " in next_(scene)[1]


def test_it_is_finished_even_if_the_request_is_taken_back() -> None:
    assert next_(broken({}, plan=begun("pod-0")))[0] == "Recovering"


OTHER = {"recovery": {"survivor": "demo-sts-2", "id": "b"}}


def test_another_survivor_may_be_named_where_the_first_does_not_start() -> None:
    """Else a survivor whose data cannot be read would be the end of the others' data, too."""
    stuck = broken(OTHER, plan=begun("pod-9")).down(1, waiting="CrashLoopBackOff")
    reason, message = next_(stuck)
    assert reason == "Recovering"
    assert "recovery b begins: demo-sts-2 alone is kept" in message
    del stuck.claims[2]
    assert "recovery a: demo-sts-1 makes" in next_(stuck)[1], "the first goes on as long as the other cannot be done"
    found = recovery.refusal(stuck.world())
    assert found is not None
    assert "data-demo-sts-2 is gone" in found[1]


def test_no_other_survivor_takes_the_place_of_one_that_leads() -> None:
    scene = alone(recovered="a")
    scene.spec = OTHER
    assert next_(scene)[0] == "Recovered"


def alone(**said: object) -> Scene:
    scene = Scene(spec=ASKED, plan=begun("pod-9"), leads=1, listed={1}, answers={1})
    return scene.heartbeat(1, **said)


def test_it_is_complete_when_engine_and_agent_say_so() -> None:
    assert next_(alone(recovered="a"))[0] == "Recovered"


@pytest.mark.parametrize("said", [{"recovered": ""}, {"recovered": "b"}, {"recovered": "a", "state": "CatchUp"}])
def test_not_before_the_agent_has_taken_the_start_back_that_makes_a_new_cluster(said: JSONObject) -> None:
    assert next_(alone(**said))[0] == "Recovering"


def test_not_before_the_survivor_leads() -> None:
    scene = alone(recovered="a")
    scene.leads = None
    scene.listed = set()
    assert next_(scene)[0] == "Recovering"


def test_what_comes_after_is_not_its_business() -> None:
    assert recovery.next_action(Scene(spec=ASKED, plan=begun(completed=True), ordinals=[1], leads=1).world()) is None


def test_a_paused_cluster_is_left_alone() -> None:
    action = pausing.next_action(Scene(spec={"paused": True}).world())
    assert action is not None
    assert action.do is None
    assert pausing.next_action(Scene().world()) is None
