"""Which member comes or goes next, and when: against a model of everything around, and example by example."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.xline import scaling
from controllers.xline.leadership import WAITING_FOR_HEALTH
from controllers.xline.workloads import ADVANCED_STATEFULSET, BACKENDS, STATEFULSET, Backend
from controllers.xline.world import Action, World
from crds.xlineplan import Change, MembershipPlan
from tests.controllers.xline.xline_model import Model
from tests.controllers.xline.xline_scene import Scene, ago, claim

EVENTS = (
    "reshape", "act", "controller", "kubelet", "agents", "clean", "kill", "revive", "delete_pod", "elect", "scale",
)  # fmt: skip
NUMBERED = {"kill", "revive", "delete_pod", "elect", "scale"}
KINDS = st.sampled_from(sorted(BACKENDS.values(), key=lambda backend: backend.kind))


def settle(model: Model) -> list[int]:
    """Everything goes on, in good health, until nothing is left to do. Returns the leaders there were."""
    leaders = []
    for _ in range(200):
        model.calm()
        for step in (model.reshape, model.act, model.controller, model.kubelet, model.agents, model.clean):
            step()
        if model.leader is not None:
            leaders.append(model.leader)
        if model.is_done and model.next_action() is None:
            return leaders
    raise AssertionError(f"still at work: {model}; next: {model.next_action()}")


@settings(max_examples=80, deadline=None)
@given(
    KINDS,
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 11)), max_size=40),
)
def test_whatever_happens_it_is_one_step_at_a_time_never_the_leader_and_it_ends(
    backend: Backend, size: int, events: list[tuple[str, int]]
) -> None:
    """The model itself checks each Pod that is taken and each change of the plan."""
    model = Model.of(backend, list(range(size)), leader=0)
    for name, number in events:
        step = getattr(model, name)
        if name in NUMBERED:
            step(number)
        else:
            step()
    settle(model)
    assert len(model.plan.ordinals) == model.target


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_the_last_but_one_that_ends_before_it_has_left_does_not_take_the_majority_with_it(backend: Backend) -> None:
    """Killed, or while the API server is down: one of two voters is left, which cannot remove the other."""
    model = Model.of(backend, [0, 1], leader=0)
    model.target = 1
    model.act()
    model.reshape()
    model.controller()
    model.listed[1].alive = False
    model.elect(0)
    model.kubelet()
    assert not model.quorum
    settle(model)
    assert model.voters == {0}


@given(KINDS, st.integers(1, 6), st.integers(0, 5), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_from_any_size_to_any_other_with_any_leader(backend: Backend, size: int, leader: int, target: int) -> None:
    first = leader % size
    model = Model.of(backend, list(range(size)), leader=first)
    model.target = target
    leaders = settle(model)
    if backend.any_order:
        assert set(leaders) <= {first}, "it stays, so nobody has to elect"
    else:
        assert tuple(model.plan.ordinals) == tuple(range(target))
    revisions = abs(target - size) + 1
    assert model.plan.revision == revisions, "one step for each member"


def shapes(leader: int, size: int, target: int, ordinals: list[int] | None = None) -> list[tuple[int, ...]]:
    """The ordinals that an AdvancedStatefulSet runs, step by step."""
    model = Model.of(ADVANCED_STATEFULSET, ordinals or list(range(size)), leader)
    model.target = target
    seen = [model.running]
    for _ in range(100):
        for step in (model.reshape, model.act, model.controller, model.kubelet, model.agents):
            step()
            if model.running != seen[-1]:
                seen.append(model.running)
        if model.is_done:
            return seen
    raise AssertionError(f"{model}")


@pytest.mark.parametrize(
    ("leader", "steps"),
    [
        (0, [(0, 1, 2, 3), (0, 1, 2)]),
        (1, [(0, 1, 2, 3), (0, 1, 2)]),
        (2, [(0, 1, 2, 3), (0, 1, 2)]),
        (3, [(0, 1, 2, 3), (0, 1, 3)]),
        (4, [(0, 1, 2, 4), (0, 1, 4)]),
    ],
)
def test_five_to_three_keeps_the_leader_where_it_is(leader: int, steps: list[tuple[int, ...]]) -> None:
    assert shapes(leader, 5, 3)[1:] == steps


def test_growing_fills_the_gaps_first() -> None:
    """Clearing all reservations at once would take the leader's Pod."""
    assert shapes(4, 3, 5, [0, 1, 4])[1:] == [(0, 1, 2, 4), (0, 1, 2, 3, 4)]


def action(world: World) -> Action | None:
    return scaling.departure(world) or scaling.arrival(world) or scaling.next_action(world)


def told(world: World) -> tuple[str, str]:
    found = action(world)
    assert found is not None
    return found.reason, found.message


def test_nothing_is_done_about_the_right_number() -> None:
    world = Scene().world()
    assert action(world) is None
    assert scaling.shape(world) == (0, 1, 2)


def test_no_member_is_added_while_one_is_down_and_it_is_named() -> None:
    scene = Scene(replicas=3)
    scene.replicas = 5
    reason, message = told(scene.down(1).world())
    assert reason == WAITING_FOR_HEALTH
    assert "demo-sts-1 is not well" in message


@pytest.mark.parametrize("scene", [Scene(leads=None), Scene(listed=set()), Scene(bootstrapped=False)])
@pytest.mark.parametrize("target", [1, 2, 5])
def test_no_step_begins_while_it_is_not_known_how_things_are(scene: Scene, target: int) -> None:
    scene.replicas = target
    assert told(scene.world())[0] == WAITING_FOR_HEALTH


def test_a_member_that_is_down_goes_first() -> None:
    scene = Scene(replicas=5, backend=ADVANCED_STATEFULSET, leads=0).down(2)
    scene.replicas = 4
    assert scaling.victim(scene.world()) == 2
    assert told(scene.world())[0] == scaling.REMOVING_MEMBER


def test_a_statefulset_waits_for_a_member_that_is_down_below_the_top() -> None:
    """It could only lose another one, and be left with less than it had."""
    scene = Scene(replicas=5, backend=STATEFULSET).down(2)
    scene.replicas = 4
    reason, message = told(scene.world())
    assert reason == WAITING_FOR_HEALTH
    assert "demo-sts-4 does not go while demo-sts-2 is not well" in message


def test_of_two_that_are_down_one_goes_only_if_the_others_are_a_majority() -> None:
    five = Scene(replicas=5, backend=ADVANCED_STATEFULSET).down(2, 3)
    five.replicas = 3
    assert told(five.world())[0] == scaling.REMOVING_MEMBER
    four = Scene(replicas=4, backend=ADVANCED_STATEFULSET, leads=0).down(2, 3)
    four.replicas = 3
    assert told(four.world())[0] == WAITING_FOR_HEALTH


def stepping(kind: str, member: int, ordinals: list[int]) -> MembershipPlan:
    return MembershipPlan(ordinals=ordinals, revision=8, change=Change(kind=kind, member=f"demo-sts-{member}"))  # type: ignore[arg-type]


def test_the_leader_hands_over_before_its_pod_is_taken() -> None:
    scene = Scene(replicas=3, leads=2, plan=stepping("Remove", 2, [0, 1]), lag={0: 5})
    scene.replicas = 2
    world = scene.world()
    assert scaling.shape(world) == (0, 1, 2)
    reason, message = told(world)
    assert reason == "MovingLeader"
    assert message.endswith("from demo-sts-2 to demo-sts-1"), "it has applied more"
    scene.leads = 0
    assert scaling.shape(scene.world()) == (0, 1)


def test_leadership_does_not_go_to_a_member_that_goes_next() -> None:
    scene = Scene(replicas=5, leads=4, plan=stepping("Remove", 4, [0, 1, 2, 3]), lag={0: 5, 1: 5, 2: 4})
    scene.replicas = 3
    assert told(scene.world())[1].endswith("from demo-sts-4 to demo-sts-2"), "demo-sts-3 has applied most"


def test_a_member_that_goes_stays_while_another_is_down() -> None:
    """It went down after the plan was made: taking one more would cost the majority."""
    scene = Scene(replicas=3, leads=0, plan=stepping("Remove", 2, [0, 1])).down(1)
    scene.replicas = 2
    world = scene.world()
    assert scaling.shape(world) == (0, 1, 2)
    assert told(world)[0] == WAITING_FOR_HEALTH


def test_nobody_else_goes_before_a_member_that_waits_to() -> None:
    """Not even one that is not well, and that could go at once."""
    plan = stepping("Remove", 3, [0, 1, 2])
    scene = Scene(replicas=4, leads=0, backend=ADVANCED_STATEFULSET, plan=plan).down(1)
    scene.replicas = 2
    world = scene.world()
    wait = scaling.departure(world)
    assert wait is not None
    assert (wait.reason, wait.blocks) == (WAITING_FOR_HEALTH, False)
    assert scaling.next_action(world) is None


def test_a_member_that_goes_stays_while_nobody_leads_who_could_tell_that_it_is_one() -> None:
    scene = Scene(replicas=3, plan=stepping("Remove", 2, [0, 1])).no_quorum()
    scene.replicas = 2
    world = scene.world()
    assert scaling.shape(world) == (0, 1, 2)
    assert told(world)[0] == WAITING_FOR_HEALTH


def test_a_pod_that_ends_anyway_is_not_brought_back_to_take_it_again() -> None:
    scene = Scene(replicas=3, leads=0, plan=stepping("Remove", 2, [0, 1])).down(1).terminating(2)
    scene.replicas = 2
    assert scaling.shape(scene.world()) == (0, 1)


def test_a_member_that_goes_is_kept_if_it_is_wanted_again_in_time() -> None:
    scene = Scene(replicas=3, plan=stepping("Remove", 2, [0, 1]))
    world = scene.world()
    assert scaling.shape(world) == (0, 1, 2)
    assert told(world)[0] == scaling.KEEPING_MEMBER


def stranded(seconds: float = 31, voters: int = 2) -> Scene:
    scene = Scene(replicas=1, plan=stepping("Remove", 1, [0])).down(0).unserved(seconds, voters)
    scene.claims[1] = claim(1)
    return scene


def test_a_member_that_went_without_leaving_is_brought_back_if_there_is_no_majority_without_it() -> None:
    reason, message = told(stranded().world())
    assert reason == scaling.KEEPING_MEMBER
    assert "demo-sts-1 becomes a member: nobody leads" in message


def test_it_is_not_brought_back_after_a_moment_without_a_leader_nor_if_it_had_left() -> None:
    assert action(stranded(seconds=29).world()) is None
    assert action(stranded(voters=1).world()) is None
    led = Scene(replicas=1, plan=stepping("Remove", 1, [0])).unserved(31, voters=2)
    led.claims[1], led.leads, led.listed = claim(1), 0, {0}
    assert action(led.world()) is None, "the condition is of the look before"
    served = stranded()
    served.status["conditions"][0]["status"] = "True"
    assert action(served.world()) is None
    empty = stranded()
    del empty.claims[1]
    assert action(empty.world()) is None, "without its data it is of no help"
    leaving = stranded()
    leaving.claims[1]["metadata"]["deletionTimestamp"] = ago(1)
    assert action(leaving.world()) is None


def test_a_member_that_joins_is_given_up_if_it_is_wanted_no_more() -> None:
    scene = Scene(replicas=4, listed={0, 1, 2}, plan=stepping("Add", 3, [0, 1, 2, 3])).down(3)
    assert told(scene.world())[0] == scaling.WAITING_FOR_MEMBER
    scene.replicas = 3
    assert told(scene.world())[0] == scaling.REMOVING_MEMBER


def test_a_member_that_a_statefulset_cannot_take_alone_joins_first() -> None:
    """After a recovery number 2 was alone, and 0 joins: without it 2 would have to go."""
    plan = stepping("Add", 0, [0, 2])
    scene = Scene(replicas=1, ordinals=[0, 1, 2], leads=2, listed={2}, plan=plan).down(0, 1)
    assert told(scene.world())[0] == scaling.WAITING_FOR_MEMBER
    scene = Scene(replicas=1, ordinals=[0, 2], leads=2, listed={2}, plan=plan, backend=ADVANCED_STATEFULSET).down(0)
    assert told(scene.world())[0] == scaling.REMOVING_MEMBER


def test_a_member_that_joins_and_never_gets_well_is_told_of_with_its_agents_words() -> None:
    scene = Scene(replicas=4, listed={0, 1, 2}, plan=stepping("Add", 3, [0, 1, 2, 3])).down(3)
    scene.heartbeat(3, state="WaitPeers", detail="nobody answers at demo-sts-0")
    assert "nobody answers at demo-sts-0" in told(scene.world())[1]


def test_a_joining_member_of_a_template_that_was_broken_gets_a_new_pod() -> None:
    scene = Scene(replicas=4, listed={0, 1, 2}, plan=stepping("Add", 3, [0, 1, 2, 3])).down(3).outdated(3)
    assert told(scene.world())[0] == scaling.REPLACING_POD
    assert told(scene.terminating(3).world())[0] == scaling.WAITING_FOR_MEMBER


def test_the_next_step_waits_until_pod_and_member_are_gone() -> None:
    scene = Scene(replicas=5, ordinals=[0, 1, 2, 3], plan=stepping("Remove", 4, [0, 1, 2, 3]))
    scene.replicas = 3
    scene.pods[4] = {**scene.pods[3], "metadata": {**scene.pods[3]["metadata"], "name": "demo-sts-4"}}
    scene.listed = {0, 1, 2, 3, 4}
    assert "its Pod is still there" in told(scene.terminating(4).world())[1]
    del scene.pods[4]
    assert "the leader's agent" in told(scene.world())[1]
    scene.listed = {0, 1, 2, 3}
    assert told(scene.world())[0] == scaling.REMOVING_MEMBER


def test_ordinals_that_a_new_statefulset_runs_below_the_survivor_of_a_recovery_are_nobody_yet() -> None:
    world = Scene(replicas=3, ordinals=[2], listed={2}, leads=2).world()
    made = replace(world, members={2: world.members[2]})
    assert made.workload.ordinals == (0, 1, 2)
    assert scaling.departure(made) is None


def test_a_pod_that_hangs_on_a_dead_node_is_told_of_with_what_ends_it() -> None:
    scene = Scene(replicas=4, ordinals=[0, 1, 2], plan=stepping("Remove", 3, [0, 1, 2]))
    scene.replicas = 3
    scene.pods[3] = {**scene.pods[2], "metadata": {**scene.pods[2]["metadata"], "name": "demo-sts-3"}}
    assert "--force" not in told(scene.terminating(3, 30).world())[1]
    assert "kubectl delete pod demo-sts-3 --force" in told(scene.terminating(3, 90).world())[1]


def test_why_a_member_is_not_well_is_told_as_far_as_it_is_known() -> None:
    scene = Scene(replicas=3)
    scene.replicas = 5
    scene.down(1, waiting="CrashLoopBackOff")
    assert "demo-sts-1 is not well (container xline: CrashLoopBackOff)" in told(scene.world())[1]
    scene = Scene(replicas=3)
    scene.replicas = 5
    scene.down(1).heartbeat(1, state="Partitioned", detail="no leader")
    assert "demo-sts-1 is not well (no leader)" in told(scene.world())[1]
    scene.down(2)
    assert "demo-sts-1, demo-sts-2 are not well" in told(scene.world())[1]


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_the_volume_of_a_member_that_left_goes_if_that_is_asked_for(policy: str) -> None:
    scene = Scene(
        replicas=3,
        plan=stepping("Remove", 3, [0, 1, 2]),
        spec={"storage": {"retentionPolicy": {"whenScaled": policy}}},
    )
    scene.claims[3] = {**scene.claims[2], "metadata": {**scene.claims[2]["metadata"], "name": "data-demo-sts-3"}}
    scene.listed = {0, 1, 2, 3}
    assert told(scene.world())[0] == scaling.WAITING_FOR_DEPARTURE, "not as long as it is a member"
    scene.listed = {0, 1, 2}
    found = action(scene.world())
    assert (found.reason if found else None) == (scaling.DELETING_VOLUME if policy == "Delete" else None)
    assert scaling.departure(scene.no_quorum().world()) is None, "who is a member is not known"


def test_an_engine_that_cannot_change_its_members_is_not_asked_to() -> None:
    scene = Scene(replicas=5, ordinals=[0, 1, 2], spec={"engine": "xline", "image": "xline:v0.6.1"})
    world = scene.world()
    assert action(world) is None
    assert "set it back to 3" in scaling.refusal(world)
    assert scaling.refusal(Scene(replicas=5, ordinals=[0, 1, 2]).world()) == ""
