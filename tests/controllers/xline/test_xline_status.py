"""From a look at a cluster to its status, and from two statuses to events."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from controllers.xline.decide import Decision
from controllers.xline.events import between
from controllers.xline.members import EngineView, claimed_leader, has_majority
from controllers.xline.status import INVALID_SPEC, Problem, build_status, find, stuck_status
from controllers.xline.workloads import Workload
from controllers.xline.world import Action, World
from crds.xlinecluster import XlineClusterStatus
from membership.xline.client import ListedMember, MemberStatus
from tests.controllers.xline.xline_scene import NOW, Scene

NOTHING = XlineClusterStatus()
REFUSED = Problem("ScalingUnsupported", "spec.replicas: 5 are wanted; set it back to 3", stops=False)
SCALING = Decision("Scaling", Action("WaitingForMember", "demo-sts-3 joins"))


def status(
    world: World, problem: Problem | None = None, old: XlineClusterStatus = NOTHING, decision: Decision | None = None
) -> XlineClusterStatus:
    return build_status(world, old, "abc", problem, decision or Decision())


def conditions(found: XlineClusterStatus) -> dict[str, tuple[str, str]]:
    return {condition.type: (condition.status, condition.reason) for condition in found.conditions}


def starting(ready: int = 0, leads: int | None = None) -> Scene:
    """Its first ``ready`` members are; nobody has led yet."""
    scene = Scene(bootstrapped=False, leads=leads)
    return scene.down(*range(ready, 3))


def unheard(world: World, *answering: int) -> World:
    """The operator reaches only some members, and they follow the first."""
    statuses = {name: said for name, said in world.engine.statuses.items() if int(name[-1]) in answering}
    return replace(world, leader=None, engine=EngineView(statuses, {}, None, ()))


@pytest.mark.parametrize(
    ("world", "problem", "decision", "phase", "available", "progressing", "degraded"),
    [
        pytest.param(
            starting().world(), None, None, "Bootstrapping",
            ("False", "Bootstrapping"), ("True", "Bootstrapping"), ("False", "Bootstrapping"),
            id="just made",
        ),
        pytest.param(
            starting(1).world(), None, None, "Bootstrapping",
            ("False", "Bootstrapping"), ("True", "Bootstrapping"), ("False", "Bootstrapping"),
            id="one runs, nobody leads yet",
        ),
        pytest.param(
            starting(2, leads=0).world(), None, None, "Degraded",
            ("True", "QuorumHealthy"), ("True", "MembersNotReady"), ("True", "MembersNotReady"),
            id="a majority has formed, one is missing",
        ),
        pytest.param(
            Scene().world(), None, None, "Running",
            ("True", "QuorumHealthy"), ("False", "Complete"), ("False", "AsExpected"),
            id="all is well",
        ),
        pytest.param(
            Scene(observed=False).world(), None, None, "Updating",
            ("True", "QuorumHealthy"), ("True", "RollingOut"), ("False", "AsExpected"),
            id="the workload's controller has not seen our change",
        ),
        pytest.param(
            Scene().world(), None, SCALING, "Scaling",
            ("True", "QuorumHealthy"), ("True", "WaitingForMember"), ("False", "AsExpected"),
            id="a member joins",
        ),
        pytest.param(
            Scene().down(1).world(), None, None, "Degraded",
            ("True", "QuorumHealthy"), ("True", "MembersNotReady"), ("True", "MembersNotReady"),
            id="one is down",
        ),
        pytest.param(
            Scene().no_quorum().down(0, 1, 2).world(), None, None, "Degraded",
            ("False", "NoQuorum"), ("True", "MembersNotReady"), ("True", "MembersNotReady"),
            id="all are down",
        ),
        pytest.param(
            Scene().no_quorum().world(), None, None, "Degraded",
            ("False", "NoQuorum"), ("False", "Complete"), ("True", "NoLeader"),
            id="an election",
        ),
        pytest.param(
            unheard(Scene().world()), None, None, "Running",
            ("True", "MembersReady"), ("False", "Complete"), ("False", "AsExpected"),
            id="the operator cannot reach members that are ready",
        ),
        pytest.param(
            unheard(Scene().world(), 2), None, None, "Running",
            ("True", "MembersReady"), ("False", "Complete"), ("False", "AsExpected"),
            id="all are ready, but the operator reaches only one, who follows a leader",
        ),
        pytest.param(
            Scene().world(), REFUSED, None, "Running",
            ("True", "QuorumHealthy"), ("False", "ScalingUnsupported"), ("False", "AsExpected"),
            id="a wish is refused",
        ),
        pytest.param(
            Scene().world(), Problem(INVALID_SPEC, "spec.x: no"), None, "Failed",
            ("True", "QuorumHealthy"), ("False", INVALID_SPEC), ("True", INVALID_SPEC),
            id="the spec was broken while it runs",
        ),
        pytest.param(
            Scene(spec={"paused": True}).world(), None, Decision("Paused", Action("Paused", "")), "Paused",
            ("True", "QuorumHealthy"), ("False", "Paused"), ("False", "AsExpected"),
            id="paused",
        ),
    ],
)  # fmt: skip
def test_conditions(
    world: World,
    problem: Problem | None,
    decision: Decision | None,
    phase: str,
    available: tuple[str, str],
    progressing: tuple[str, str],
    degraded: tuple[str, str],
) -> None:
    found = status(world, problem, decision=decision)
    assert conditions(found) == {"Available": available, "Progressing": progressing, "Degraded": degraded}
    assert found.phase == phase


def test_healthy_status_in_full() -> None:
    found = status(Scene(leads=1).heartbeat(2, state="Running", detail="").world())
    assert found.observed_generation == 1
    assert (found.replicas, found.ready_replicas, found.voters, found.leader) == (3, 3, 3, "demo-sts-1")
    assert found.message == "3 of 3 members are ready, demo-sts-1 leads"
    assert found.label_selector == "app.kubernetes.io/instance=demo,app.kubernetes.io/name=xlinecluster"
    assert [(m.name, m.id, m.ready, m.leader, m.version, m.state) for m in found.members] == [
        ("demo-sts-0", "1", True, False, "3.5.17", ""),
        ("demo-sts-1", "2", True, True, "3.5.17", ""),
        ("demo-sts-2", "3", True, False, "3.5.17", "Running"),
    ]
    assert found.bootstrap is not None
    assert found.bootstrap.cluster_id == "c0ffee"
    assert found.workload == "StatefulSet"
    # The Go operator's fields.
    assert (found.stage, found.stage_status, found.last_message) == ("complete", "succeeded", None)
    assert (found.image, found.last_apply_spec_hash) == ("quay.io/coreos/etcd:v3.5.17", "abc")
    assert found.stateful_set_ref is not None
    assert found.service_ref is not None
    assert (found.stateful_set_ref.name, found.service_ref.name) == ("demo-sts", "demo-svc")


def test_what_is_being_done_is_in_the_message() -> None:
    assert (status(Scene().world(), decision=SCALING).message or "").endswith("; demo-sts-3 joins")


def test_a_member_that_leaves_is_shown_until_it_is_gone_and_a_learner_as_one() -> None:
    scene = Scene(replicas=4, learners={3})
    scene.plan = msgspec.structs.replace(scene.world().plan, ordinals=[0, 1, 2])
    found = status(scene.world())
    assert [(member.name, member.learner) for member in found.members][3] == ("demo-sts-3", True)
    assert (found.voters, found.replicas, found.ready_replicas) == (3, 4, 3)
    scene.listed = {0, 1, 2}
    assert len(status(scene.world()).members) == 3


def test_what_others_write_into_the_status_stays() -> None:
    plan = Scene().world().plan
    old = XlineClusterStatus(plan=plan, voters=3)
    found = status(Scene().no_quorum().world(), old=old)
    assert found.plan == plan
    assert found.voters == 3, "as it was when it was known last"


def test_the_same_look_later_gives_the_same_status() -> None:
    first = status(Scene().world())
    again = status(replace(Scene().world(), now=NOW + timedelta(hours=1)), old=first)
    assert msgspec.to_builtins(again) == msgspec.to_builtins(first)


def test_a_condition_changes_its_time_with_its_value_only() -> None:
    first = status(Scene().world())
    second = status(replace(Scene().down(2).world(), now=NOW + timedelta(minutes=5)), old=first)
    available, degraded = find(second.conditions, "Available"), find(second.conditions, "Degraded")
    assert available is not None
    assert degraded is not None
    assert available.last_transition_time == "2026-01-02T03:04:05Z"
    assert degraded.last_transition_time == "2026-01-02T03:09:05Z"


def test_conditions_of_others_stay() -> None:
    foreign = status(Scene().world()).conditions[0]
    old = XlineClusterStatus(conditions=[msgspec.structs.replace(foreign, type="Reviewed")])
    assert "Reviewed" in conditions(status(Scene().world(), old=old))


def test_bootstrap_is_completed_once_for_ever() -> None:
    first = status(starting(3, leads=0).world())
    assert first.bootstrap is not None
    assert first.bootstrap.completed
    outage = status(Scene().no_quorum().down(0, 1, 2).world())
    assert outage.bootstrap is not None
    assert outage.bootstrap.completed


def test_a_stranger_in_the_list_degrades() -> None:
    world = Scene().world()
    odd = ListedMember(99, "other", (), (), False)
    found = status(replace(world, strangers=(odd,)))
    degraded = find(found.conditions, "Degraded")
    assert degraded is not None
    assert (degraded.status, degraded.reason) == ("True", "UnexpectedMembers")
    assert "member other (63)" in degraded.message
    assert "etcdctl member remove" in degraded.message


@pytest.mark.parametrize(("size", "odd"), [(1, True), (2, False), (3, True), (4, False)])
def test_an_even_number_is_accepted_and_commented(size: int, odd: bool) -> None:
    found = status(Scene(replicas=size).world())
    assert conditions(found)["Available"][0] == "True"
    assert found.message is not None
    assert ("even number" in found.message) is not odd
    warned = [event for event in between(NOTHING, found) if event.reason == "EvenReplicas"]
    assert bool(warned) is not odd
    assert list(between(found, found)) == []


def test_an_even_number_on_the_way_is_not_commented() -> None:
    scaling = status(Scene(replicas=4).world(), decision=SCALING)
    assert "even" not in (scaling.message or "")
    assert "EvenReplicas" not in [event.reason for event in between(NOTHING, scaling)]
    there = status(Scene(replicas=4).world(), old=scaling)
    assert [event.reason for event in between(scaling, there)][-2:] == ["Scaled", "EvenReplicas"]


def test_an_unreadable_spec_keeps_what_was_known() -> None:
    good = status(Scene().world())
    found = stuck_status(good, 9, Problem(INVALID_SPEC, "spec.replicas: Expected `int`"), NOW)
    assert found.bootstrap == good.bootstrap
    assert found.members == good.members
    assert conditions(found) == {
        "Available": ("True", "QuorumHealthy"),
        "Progressing": ("False", INVALID_SPEC),
        "Degraded": ("True", INVALID_SPEC),
    }
    assert (found.observed_generation, found.phase) == (9, "Failed")
    assert [event.reason for event in between(good, found)] == [INVALID_SPEC]
    assert list(between(found, found)) == []


def reasons(old: XlineClusterStatus, new: XlineClusterStatus) -> list[tuple[str, str]]:
    return [(event.type, event.reason) for event in between(old, new)]


def test_events_from_nothing_to_running() -> None:
    begun = status(starting().world())
    assert reasons(NOTHING, begun) == []
    running = status(starting(3, leads=0).world(), old=begun)
    assert reasons(begun, running) == [
        ("Normal", "Bootstrapped"),
        ("Normal", "MemberReady"),
        ("Normal", "MemberReady"),
        ("Normal", "MemberReady"),
        ("Normal", "Available"),
    ]


def test_events_of_a_lost_leader_and_its_return() -> None:
    running = status(Scene().world())
    electing = status(Scene(leads=None, listed=set()).down(0).world(), old=running)
    assert reasons(running, electing) == [
        ("Warning", "LeaderLost"),
        ("Warning", "MemberLost"),
        ("Warning", "Unavailable"),
    ]
    elected = status(Scene(leads=2).down(0).world(), old=electing)
    assert reasons(electing, elected) == [("Normal", "LeaderElected"), ("Normal", "Available")]
    back = status(Scene(leads=2).world(), old=elected)
    assert reasons(elected, back) == [("Normal", "MemberReady")]


def test_event_of_a_leader_that_moves() -> None:
    before = status(Scene(leads=0).world())
    assert reasons(before, status(Scene(leads=1).world(), old=before)) == [("Normal", "LeaderChanged")]


def test_a_member_that_leaves_is_not_told_of_as_lost() -> None:
    plan = Scene().world().plan
    before = status(Scene().world(), old=XlineClusterStatus(plan=plan))
    leaving = msgspec.structs.replace(plan, ordinals=[0, 1])
    scene = Scene(plan=leaving).terminating(2)
    after = status(scene.world(), old=msgspec.structs.replace(before, plan=leaving))
    assert reasons(before, after) == []


def test_a_problem_is_told_once_and_again_after_a_change() -> None:
    old = status(Scene().world())
    new = status(Scene().world(), REFUSED, old)
    assert reasons(old, new) == [("Warning", "ScalingUnsupported")]
    again = status(Scene().world(), REFUSED, new)
    assert reasons(new, again) == []
    edited = msgspec.structs.replace(again, observed_generation=5)
    assert reasons(again, edited) == [("Warning", "ScalingUnsupported")]


def says(member: int, leader: int, *, term: int = 2, learner: bool = False) -> MemberStatus:
    """Member number ``member`` (its id is that plus 1) says that number ``leader`` leads; -1: nobody."""
    found = Scene(replicas=9).world().engine.statuses[f"demo-sts-{member}"]
    return replace(found, leader_id=leader + 1, term=term, is_learner=learner)


@pytest.mark.parametrize(
    ("answers", "voters", "leader"),
    [
        ([says(0, 0), says(1, 0), says(2, 0)], 3, 0),
        ([says(0, 0), says(1, 0)], 3, 0),
        ([says(0, 0)], 3, None),  # one of three is no majority, whatever it believes
        ([says(0, 0)], 1, 0),
        ([says(1, 0), says(2, 0)], 3, None),  # the named one does not answer
        ([says(0, 0), says(1, 1, term=3), says(2, 1, term=3)], 3, 1),  # a deposed one has not noticed yet
        ([says(0, 0), says(1, 0), says(2, -1, term=3)], 3, None),  # an election of a newer term is on
        ([says(0, -1), says(1, -1)], 3, None),
        ([says(0, 0), says(1, 0)], 4, None),  # half is no majority
        ([says(0, 0), says(1, 0, learner=True)], 2, None),  # a learner has no vote
        ([says(0, 0), says(1, 0, learner=True)], 1, 0),  # and needs none
        ([], 3, None),
    ],
)
@pytest.mark.parametrize("lists", [True, False])
def test_a_leader_is_one_that_a_majority_of_all_voters_names(
    answers: list[MemberStatus], voters: int, leader: int | None, lists: bool
) -> None:
    statuses = {f"m{answer.member_id - 1}": answer for answer in answers}
    learner = ListedMember(99, "learner", (), (), True)
    voting = [ListedMember(n, f"m{n}", (), (), False) for n in range(voters)]
    listed = [*voting, learner] if lists else []
    candidate = claimed_leader(statuses)
    found = candidate if candidate and has_majority(candidate, statuses, listed, voters) else None
    assert found == (None if leader is None else f"m{leader}")


def test_a_member_of_another_cluster_degrades() -> None:
    """It was bootstrapped a second time: what clients write to it, the others never see."""
    world = Scene().world()
    odd = replace(world.engine.statuses["demo-sts-2"], cluster_id=0xBAD)
    engine = replace(world.engine, statuses={**world.engine.statuses, "demo-sts-2": odd})
    bootstrap = msgspec.structs.replace(world.bootstrap, cluster_id="c0ffee")
    found = status(replace(world, engine=engine, bootstrap=bootstrap))
    degraded = find(found.conditions, "Degraded")
    assert degraded is not None
    assert (degraded.status, degraded.reason) == ("True", "ForeignCluster")
    assert "demo-sts-2" in degraded.message
    assert found.bootstrap is not None
    assert found.bootstrap.cluster_id == "c0ffee"


def test_the_image_is_the_one_that_members_run() -> None:
    world = Scene(spec={"image": "quay.io/coreos/etcd:v3.6.1"}).world()
    assert status(world).image == "quay.io/coreos/etcd:v3.5.17"
    unmade = replace(world, workload=Workload(world.backend))
    assert status(unmade).image == "quay.io/coreos/etcd:v3.6.1"
