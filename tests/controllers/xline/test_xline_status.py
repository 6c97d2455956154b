"""From a look at a cluster to its status, and from two statuses to events."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from controllers.xline.events import between
from controllers.xline.members import EngineView, _agreed_leader
from controllers.xline.observed import Observed, workload_of
from controllers.xline.status import (
    INVALID_SPEC,
    SCALING_UNSUPPORTED,
    Problem,
    Subject,
    build_status,
    find,
    stuck_status,
)
from crds.xlinecluster import XlineClusterStatus
from membership.xline.client import MemberStatus
from runtime.client import Unstructured
from tests.controllers.xline.xline_objects import NOW, engine, listed, look, member_names, says, subject

NOTHING = XlineClusterStatus()


def status(
    about: Subject, observed: Observed, problem: Problem | None = None, old: XlineClusterStatus = NOTHING
) -> XlineClusterStatus:
    return build_status(about, observed, problem, old, NOW)


def conditions(found: XlineClusterStatus) -> dict[str, tuple[str, str]]:
    return {condition.type: (condition.status, condition.reason) for condition in found.conditions}


NOBODY = EngineView()
SCALING = Problem(SCALING_UNSUPPORTED, "spec.replicas: 5 are wanted; set it back to 3")


@pytest.mark.parametrize(
    ("about", "observed", "problem", "available", "progressing", "degraded"),
    [
        pytest.param(
            subject(), look(ready=0, view=NOBODY), None,
            ("False", "Bootstrapping"), ("True", "Bootstrapping"), ("False", "Bootstrapping"),
            id="just made",
        ),
        pytest.param(
            subject(), look(ready=1, view=engine(leader=None, silent=[2])), None,
            ("False", "Bootstrapping"), ("True", "Bootstrapping"), ("False", "Bootstrapping"),
            id="two run, nobody leads yet",
        ),
        pytest.param(
            subject(), look(ready=2, view=engine(silent=[2])), None,
            ("True", "QuorumHealthy"), ("True", "MembersNotReady"), ("True", "MembersNotReady"),
            id="a majority has formed, one is missing",
        ),
        pytest.param(
            subject(completed=True), look(), None,
            ("True", "QuorumHealthy"), ("False", "Complete"), ("False", "AsExpected"),
            id="all is well",
        ),
        pytest.param(
            subject(completed=True), look(settled=False), None,
            ("True", "QuorumHealthy"), ("True", "RollingOut"), ("False", "AsExpected"),
            id="members are being replaced",
        ),
        pytest.param(
            subject(completed=True), look(ready=2, view=engine(silent=[2])), None,
            ("True", "QuorumHealthy"), ("True", "MembersNotReady"), ("True", "MembersNotReady"),
            id="one is down",
        ),
        pytest.param(
            subject(completed=True), look(ready=0, view=engine(leader=None, silent=[1, 2])), None,
            ("False", "NoQuorum"), ("True", "MembersNotReady"), ("True", "MembersNotReady"),
            id="two are down",
        ),
        pytest.param(
            subject(completed=True), look(view=engine(leader=None)), None,
            ("False", "NoQuorum"), ("False", "Complete"), ("True", "NoLeader"),
            id="an election",
        ),
        pytest.param(
            subject(completed=True), look(view=NOBODY), None,
            ("True", "MembersReady"), ("False", "Complete"), ("False", "AsExpected"),
            id="the operator cannot reach members that are ready",
        ),
        pytest.param(
            subject(completed=True), look(view=EngineView(statuses={"demo-sts-2": says(2, 0)}, errors={})), None,
            ("True", "MembersReady"), ("False", "Complete"), ("False", "AsExpected"),
            id="all are ready, but the operator reaches only one, who follows a leader",
        ),
        pytest.param(
            subject(completed=True, replicas=5), look(), SCALING,
            ("True", "QuorumHealthy"), ("False", SCALING_UNSUPPORTED), ("False", "AsExpected"),
            id="another size is wanted",
        ),
        pytest.param(
            subject(completed=True), look(), Problem(INVALID_SPEC, "spec.x: no"),
            ("True", "QuorumHealthy"), ("False", INVALID_SPEC), ("True", INVALID_SPEC),
            id="the spec was broken while it runs",
        ),
    ],
)  # fmt: skip
def test_conditions(
    about: Subject,
    observed: Observed,
    problem: Problem | None,
    available: tuple[str, str],
    progressing: tuple[str, str],
    degraded: tuple[str, str],
) -> None:
    found = conditions(status(about, observed, problem))
    assert found == {"Available": available, "Progressing": progressing, "Degraded": degraded}


def test_healthy_status_in_full() -> None:
    found = status(subject(completed=True), look(view=engine(leader=1)))
    assert found.observed_generation == 4
    assert (found.replicas, found.ready_replicas, found.leader) == (3, 3, "demo-sts-1")
    assert found.message == "3 of 3 members are ready, demo-sts-1 leads"
    assert found.label_selector == "app.kubernetes.io/instance=demo,app.kubernetes.io/name=xlinecluster"
    assert [(m.name, m.id, m.ready, m.leader, m.version) for m in found.members] == [
        ("demo-sts-0", "1", True, False, "3.5.1"),
        ("demo-sts-1", "2", True, True, "3.5.1"),
        ("demo-sts-2", "3", True, False, "3.5.1"),
    ]
    assert found.bootstrap is not None
    assert found.bootstrap.cluster_id == "c0ffee"
    # The Go operator's fields.
    assert (found.stage, found.stage_status, found.last_message) == ("complete", "succeeded", None)
    assert (found.image, found.last_apply_spec_hash) == ("img:1", "abc")
    assert found.stateful_set_ref is not None
    assert found.service_ref is not None
    assert (found.stateful_set_ref.name, found.service_ref.name) == ("demo-sts", "demo-svc")


def test_the_same_look_later_gives_the_same_status() -> None:
    first = status(subject(completed=True), look())
    again = build_status(subject(completed=True), look(), None, first, NOW + timedelta(hours=1))
    assert msgspec.to_builtins(again) == msgspec.to_builtins(first)


def test_a_condition_changes_its_time_with_its_value_only() -> None:
    first = status(subject(completed=True), look())
    later = NOW + timedelta(minutes=5)
    second = build_status(subject(completed=True), look(ready=2, view=engine(silent=[2])), None, first, later)
    available, degraded = find(second.conditions, "Available"), find(second.conditions, "Degraded")
    assert available is not None
    assert degraded is not None
    assert available.last_transition_time == "2026-01-02T03:04:05Z"
    assert degraded.last_transition_time == "2026-01-02T03:09:05Z"


def test_conditions_of_others_stay() -> None:
    foreign = status(subject(), look()).conditions[0]
    old = XlineClusterStatus(conditions=[msgspec.structs.replace(foreign, type="Reviewed")])
    assert "Reviewed" in conditions(status(subject(), look(), None, old))


def test_bootstrap_is_completed_once_for_ever() -> None:
    first = status(subject(), look())
    assert first.bootstrap is not None
    assert first.bootstrap.completed
    outage = status(subject(completed=True), look(ready=0, view=NOBODY))
    assert outage.bootstrap is not None
    assert outage.bootstrap.completed


def test_a_stranger_in_the_list_degrades() -> None:
    view = engine()
    odd = EngineView(view.statuses, {}, view.leader, listed([*member_names(3), "other"]))
    found = status(subject(completed=True), look(view=odd))
    degraded = find(found.conditions, "Degraded")
    assert degraded is not None
    assert (degraded.status, degraded.reason) == ("True", "UnexpectedMembers")
    assert "other" in degraded.message


@pytest.mark.parametrize(("size", "odd"), [(1, True), (2, False), (3, True), (4, False)])
def test_an_even_number_is_accepted_and_commented(size: int, odd: bool) -> None:
    found = status(subject(size, completed=True), look(size, view=engine(size)))
    assert conditions(found)["Available"][0] == "True"
    assert found.message is not None
    assert ("even number" in found.message) is not odd
    warned = [event for event in between(NOTHING, found) if event.reason == "EvenReplicas"]
    assert bool(warned) is not odd
    assert list(between(found, found)) == []


def test_an_unreadable_spec_keeps_what_was_known() -> None:
    good = status(subject(completed=True), look())
    found = stuck_status(good, 9, Problem(INVALID_SPEC, "spec.replicas: Expected `int`"), NOW)
    assert found.bootstrap == good.bootstrap
    assert found.members == good.members
    assert conditions(found) == {
        "Available": ("True", "QuorumHealthy"),
        "Progressing": ("False", INVALID_SPEC),
        "Degraded": ("True", INVALID_SPEC),
    }
    assert found.observed_generation == 9
    assert [event.reason for event in between(good, found)] == [INVALID_SPEC]
    assert list(between(found, found)) == []


def reasons(old: XlineClusterStatus, new: XlineClusterStatus) -> list[tuple[str, str]]:
    return [(event.type, event.reason) for event in between(old, new)]


def test_events_from_nothing_to_running() -> None:
    starting = status(subject(), look(ready=0, view=NOBODY))
    assert reasons(NOTHING, starting) == []
    running = status(subject(), look(), None, starting)
    assert reasons(starting, running) == [
        ("Normal", "Bootstrapped"),
        ("Normal", "MemberReady"),
        ("Normal", "MemberReady"),
        ("Normal", "MemberReady"),
        ("Normal", "Available"),
    ]


def test_events_of_a_lost_leader_and_its_return() -> None:
    running = status(subject(completed=True), look())
    gone = {"demo-sts-0": False, "demo-sts-1": True, "demo-sts-2": True}
    electing = status(
        subject(completed=True), look(ready=2, pods=gone, view=engine(leader=None, silent=[0])), None, running
    )
    assert reasons(running, electing) == [
        ("Warning", "LeaderLost"),
        ("Warning", "MemberLost"),
        ("Warning", "Unavailable"),
    ]
    elected = status(
        subject(completed=True), look(ready=2, pods=gone, view=engine(leader=2, silent=[0])), None, electing
    )
    assert reasons(electing, elected) == [("Normal", "LeaderElected"), ("Normal", "Available")]
    back = status(subject(completed=True), look(view=engine(leader=2)), None, elected)
    assert reasons(elected, back) == [("Normal", "MemberReady")]


def test_event_of_a_leader_that_moves() -> None:
    before = status(subject(completed=True), look(view=engine(leader=0)))
    after = status(subject(completed=True), look(view=engine(leader=1)), None, before)
    assert reasons(before, after) == [("Normal", "LeaderChanged")]


def test_a_problem_is_told_once_and_again_after_a_change() -> None:
    old = status(subject(completed=True), look())
    new = status(subject(completed=True, replicas=5), look(), SCALING, old)
    assert reasons(old, new) == [("Warning", SCALING_UNSUPPORTED)]
    again = status(subject(completed=True, replicas=5), look(), SCALING, new)
    assert reasons(new, again) == []
    edited = msgspec.structs.replace(again, observed_generation=5)
    assert reasons(again, edited) == [("Warning", SCALING_UNSUPPORTED)]


@pytest.mark.parametrize(
    ("answers", "size", "leader"),
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
        ([], 3, None),
    ],
)
def test_a_leader_is_one_that_a_majority_of_all_members_names(
    answers: list[MemberStatus], size: int, leader: int | None
) -> None:
    statuses = {f"m{answer.member_id - 1}": answer for answer in answers}
    assert _agreed_leader(statuses, size) == (None if leader is None else f"m{leader}")


@pytest.mark.parametrize(
    ("spec", "reported", "settled"),
    [
        ({"replicas": 3}, {}, False),
        ({"replicas": 3}, {"observedGeneration": 2, "replicas": 3}, True),
        ({"replicas": 3}, {"observedGeneration": 1, "replicas": 3}, False),
        ({"replicas": 3}, {"observedGeneration": 2, "replicas": 2}, False),
        (
            {"replicas": 3},
            {"observedGeneration": 2, "replicas": 3, "currentRevision": "a", "updateRevision": "b"},
            False,
        ),
        (
            {"replicas": 3},
            {
                "observedGeneration": 2,
                "replicas": 3,
                "currentRevision": "a",
                "updateRevision": "b",
                "updatedReplicas": 3,
            },
            True,
        ),
    ],
)
def test_a_statefulset_is_settled_when_its_controller_is_done(
    spec: dict[str, int], reported: dict[str, int], settled: bool
) -> None:
    obj = Unstructured({"metadata": {"name": "x", "generation": 2}, "spec": spec, "status": reported})
    assert workload_of(obj).settled is settled


def test_a_member_of_another_cluster_degrades() -> None:
    """It was bootstrapped a second time: what clients write to it, the others never see."""
    about = subject(completed=True)
    about = replace(about, bootstrap=msgspec.structs.replace(about.bootstrap, cluster_id="c0ffee"))
    view = engine()
    statuses = {**view.statuses, "demo-sts-2": says(2, 2, cluster=0xBAD)}
    found = status(about, look(view=replace(view, statuses=statuses)))
    degraded = find(found.conditions, "Degraded")
    assert degraded is not None
    assert (degraded.status, degraded.reason) == ("True", "ForeignCluster")
    assert "demo-sts-2" in degraded.message
    assert found.bootstrap is not None
    assert found.bootstrap.cluster_id == "c0ffee"


def test_the_image_is_the_one_that_members_run() -> None:
    observed = look()
    observed = replace(observed, workload=replace(observed.workload, image="img:old"))
    assert status(subject(completed=True), observed).image == "img:old"
