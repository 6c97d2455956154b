"""The clean task: every row's proof, its grace, what resets it, and what stands in its way; on a clock of the test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from membership.xline.clean import FRESH, GAP, PAUSE, Row, grace
from membership.xline.client import ListedMember
from membership.xline.lock import LockBusy, MembershipLock
from runtime.client import ClientError
from runtime.testing import FakeAPIServer, FakeClock
from tests.membership.xline.cleaning_world import (
    CLUSTER_ID,
    NAMESPACE,
    PLAN,
    STEP,
    World,
    learner,
    voter,
)


@pytest.fixture
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        yield server


@pytest.fixture
def world(server: FakeAPIServer) -> Iterator[World]:
    with server.client() as client:
        world = World(client, FakeClock())
        yield world
        world.close()


def test_of_a_cluster_that_is_well_nobody_is_suspected_and_no_server_is_asked(world: World) -> None:
    world.client.close()
    assert world.for_seconds(100) == ""
    assert world.removed == []


def test_a_member_out_of_the_plan_is_removed_after_its_grace(world: World) -> None:
    world.unwanted()
    world.for_seconds(grace(Row.UNWANTED, PLAN))
    assert world.removed == []
    world.clock.advance(STEP)
    assert world.look() == ""
    assert world.removed == [3]


@pytest.mark.parametrize("contact", ["answer", "pod", "another agent"])
def test_any_contact_begins_the_grace_anew(world: World, contact: str) -> None:
    world.unwanted()
    world.for_seconds(40)
    if contact == "answer":
        world.answers.add(3)
        world.look()
        world.answers.discard(3)
    elif contact == "pod":
        world.pod(2)
        world.look()
        world.no_pod(2)
    else:
        world.beat(1, member=2, reachable=(0, 2))
        world.look()
        world.beat(1, member=2, reachable=(0,))
    world.for_seconds(grace(Row.UNWANTED, PLAN))
    assert world.removed == []
    world.for_seconds(15)
    assert world.removed == [3]


def test_a_heartbeat_that_stands_still_is_no_contact(world: World) -> None:
    world.unwanted()
    world.beat(1, member=2, reachable=(0, 2))
    world.for_seconds(FRESH + grace(Row.UNWANTED, PLAN))
    assert world.removed == []
    world.for_seconds(20)
    assert world.removed == [3]


@pytest.mark.parametrize(
    "change",
    [
        {"stale": True},
        {"paused": True},
        {"deleting": True},
        {"ordinals": None},
        {"token": "another"},
        {"ordinals": frozenset({0, 1, 2})},
    ],
)
def test_without_a_plan_that_says_so_nobody_is_removed(world: World, change: dict[str, object]) -> None:
    world.unwanted()
    world.plan = replace(world.plan, **change)  # type: ignore[arg-type]
    world.for_seconds(200)
    assert world.removed == []
    world.plan = replace(PLAN, ordinals=frozenset({0, 1}))
    world.for_seconds(grace(Row.UNWANTED, PLAN))
    assert world.removed == []  # its time began with the plan


def test_who_does_not_lead_removes_nobody(world: World) -> None:
    world.unwanted()
    world.leader = 2
    world.for_seconds(200)
    world.answers.discard(1)  # the own server does not even answer
    assert world.look() == "another member leads"
    assert world.removed == []


def test_a_gap_between_looks_is_no_time_that_counts(world: World) -> None:
    world.unwanted()
    world.for_seconds(40)
    world.clock.advance(GAP + STEP)
    world.for_seconds(grace(Row.UNWANTED, PLAN))
    assert world.removed == []


def test_an_api_server_that_fails_ends_all_suspicion(world: World, server: FakeAPIServer) -> None:
    world.unwanted()
    world.for_seconds(40)
    server.faults.add(verb="list", resource="pods", status=500)
    with pytest.raises(ClientError):
        world.look()
    server.faults.clear()
    world.for_seconds(grace(Row.UNWANTED, PLAN))
    assert world.removed == []


def test_everything_is_judged_anew_inside_the_lock(world: World) -> None:
    world.unwanted()

    def comes_back() -> None:
        world.pod(2)
        world.inside = lambda: None

    world.inside = comes_back
    said = world.for_seconds(60)
    assert world.removed == []
    assert "is no longer unwanted" in said


@pytest.mark.parametrize(
    "change", [{"ordinals": frozenset({0, 1, 2})}, {"paused": True}, {"deleting": True}, {"stale": True}]
)
def test_the_plan_that_counts_is_the_one_read_inside_the_lock(world: World, change: dict[str, object]) -> None:
    world.unwanted()
    world.for_seconds(grace(Row.UNWANTED, PLAN))
    seen = (world.survey(), world.listing(), world.plan)
    world.plan = replace(world.plan, **change)  # type: ignore[arg-type]
    world.clock.advance(STEP)
    assert world.cleaner.cycle(*seen) != ""
    assert world.removed == []


def test_another_row_inside_the_lock_has_its_own_grace(world: World) -> None:
    dead(world)
    dead_plan, world.plan = world.plan, replace(world.plan, ordinals=frozenset({0, 1}))

    def wanted_again() -> None:
        world.plan = dead_plan

    world.inside = wanted_again
    said = world.for_seconds(60)
    assert "is no longer unwanted" in said
    assert world.removed == []


def test_what_stands_in_its_way_is_judged_anew_inside_the_lock(world: World) -> None:
    world.unwanted()
    world.pod(3)
    world.inside = lambda: world.members.append(learner(3, 9)) if len(world.members) == 3 else None
    said = world.for_seconds(60)
    assert world.removed == []
    assert "has not become a voter" in said


def test_another_holder_of_the_lock_is_waited_for_and_no_longer(world: World) -> None:
    world.unwanted()
    other = MembershipLock(world.client, NAMESPACE, "c", "c-sts-1/y", clock=world.clock)
    world.for_seconds(grace(Row.UNWANTED, PLAN))
    world.clock.advance(STEP)
    with other.held(), pytest.raises(LockBusy):
        world.look()
    assert world.removed == []
    world.look()
    assert world.removed == [3]


def test_a_holder_of_the_lock_that_has_died_costs_no_time_of_its_own(world: World, server: FakeAPIServer) -> None:
    other = MembershipLock(world.client, NAMESPACE, "c", "c-sts-1/y", clock=world.clock)
    with other.held():
        server.faults.add(verb="update", resource="leases", drop="before")  # it is never given back
    server.faults.clear()
    world.unwanted()
    world.for_seconds(grace(Row.UNWANTED, PLAN))
    world.clock.advance(STEP)
    assert world.look() == ""
    assert world.removed == [3]


def test_the_majority_is_guarded(world: World) -> None:
    world.unwanted()
    world.answers.discard(2)  # two of three are down: nothing could be agreed on
    said = world.for_seconds(200)
    assert world.removed == []
    assert "1 of the 3 voters is healthy" in said


def test_no_voter_goes_while_another_member_is_joining(world: World) -> None:
    world.unwanted()
    world.plan = replace(world.plan, ordinals=frozenset({0, 1, 3}))
    world.pod(3)
    world.members.append(learner(3, 9))
    said = world.for_seconds(100)
    assert world.removed == []
    assert "has not become a voter" in said
    world.members[-1] = voter(3, 9)
    world.answers.add(9)
    world.for_seconds(15)
    assert world.removed == [3]


def test_who_answers_has_joined_whatever_the_list_says(world: World) -> None:
    """Xline's members tell their name and addresses once, and it may be lost."""
    world.unwanted()
    world.members[1] = replace(voter(1), name="", client_urls=())
    world.for_seconds(60)
    assert world.removed == [3]


def test_learners_go_before_voters_in_whose_way_they_are(world: World) -> None:
    world.unwanted()
    world.for_seconds(20)
    world.members.append(learner(3, 9))
    world.for_seconds(120)
    assert world.removed == [9, 3]


def test_no_more_go_than_the_plan_can_spare(world: World) -> None:
    world.members += [voter(3), voter(4)]
    world.answers = {1, 2, 3}
    world.plan = replace(PLAN, ordinals=frozenset({0, 1, 2, 5, 6, 7, 8}))
    said = world.for_seconds(100)
    assert world.removed == [4]  # four are left, a majority of the seven that are wanted
    said = world.for_seconds(100)
    assert world.removed == [4]
    assert "only 3 voters would be left" in said


def test_one_at_a_time_with_a_pause(world: World) -> None:
    world.members += [voter(3), voter(4)]
    world.for_seconds(grace(Row.UNWANTED, PLAN))
    world.clock.advance(STEP)
    world.look()
    assert world.removed == [4]
    world.for_seconds(PAUSE)
    assert world.removed == [4]
    world.clock.advance(STEP)
    world.look()
    assert world.removed == [4, 5]


def test_a_removal_without_an_answer_is_not_repeated_before_the_list_shows_it(world: World) -> None:
    world.unwanted()
    world.lost_answer = True
    world.for_seconds(200)
    assert world.removed == [3]
    world.members.pop()
    world.members.append(voter(2, 77))
    world.for_seconds(60)
    assert world.removed == [3, 77]


def test_a_removal_that_fails_is_tried_again_after_a_pause(world: World) -> None:
    world.unwanted()
    world.fails = RuntimeError("no answer")
    world.for_seconds(grace(Row.UNWANTED, PLAN))
    world.clock.advance(STEP)
    with pytest.raises(RuntimeError):
        world.look()
    world.fails = None
    world.for_seconds(PAUSE)
    assert world.removed == []
    world.for_seconds(15)
    assert world.removed == [3]


# ---- members that never started


def test_an_entry_whose_url_runs_as_another_is_removed(world: World) -> None:
    world.members.append(learner(2, 9))
    world.for_seconds(grace(Row.DUPLICATE, PLAN))
    assert world.removed == []
    world.clock.advance(STEP)
    world.look()
    assert world.removed == [9]


def test_an_entry_whose_pod_says_it_is_another_is_removed(world: World) -> None:
    world.plan = replace(PLAN, ordinals=frozenset({0, 1, 2, 3}))
    world.members = [voter(0), voter(1), voter(2), replace(voter(3), peer_urls=("http://old:2380",)), learner(3, 9)]
    world.answers = {1, 2, 3, 4}
    world.pod(3)
    world.for_seconds(100)
    assert world.removed == []  # nobody says so
    world.for_seconds(20, lambda: world.beat(3, member=9))
    assert world.removed == []  # it says it is this one
    world.for_seconds(grace(Row.DUPLICATE, PLAN), lambda: world.beat(3, member=4))
    assert world.removed == []
    world.for_seconds(15, lambda: world.beat(3, member=4))
    assert world.removed == [9]


def test_what_the_pod_says_of_another_cluster_is_no_proof(world: World) -> None:
    world.plan = replace(PLAN, ordinals=frozenset({0, 1, 2, 3}))
    world.members = [voter(0), voter(1), voter(2), replace(voter(3), peer_urls=("http://old:2380",)), learner(3, 9)]
    world.answers = {1, 2, 3, 4}
    world.pod(3)
    world.for_seconds(100, lambda: world.beat(3, member=4, cluster=CLUSTER_ID + 1))
    assert world.removed == []


def test_a_voter_that_never_started_is_left_to_somebody_who_knows_why(world: World) -> None:
    world.members[2] = replace(voter(2), name="", client_urls=())
    world.down()
    world.for_seconds(700)
    assert world.removed == []


def test_of_two_that_never_started_neither_is_called_a_duplicate(world: World) -> None:
    world.plan = replace(PLAN, ordinals=frozenset({0, 1, 2, 3}))
    world.pod(3)
    world.members += [learner(3, 8), learner(3, 9)]
    world.for_seconds(100)
    assert world.removed == []


@pytest.mark.parametrize("pod", ["gone", "failed"])
def test_a_learner_that_never_started_and_has_no_pod_is_removed_after_ten_minutes(world: World, pod: str) -> None:
    world.plan = replace(PLAN, ordinals=frozenset({0, 1, 2, 3}))
    world.members.append(learner(3, 9))
    if pod == "failed":
        world.pod(3, phase="Failed")
    world.for_seconds(600)
    assert world.removed == []
    world.for_seconds(15)
    assert world.removed == [9]


def test_a_learner_whose_pod_runs_has_all_the_time_it_needs(world: World) -> None:
    world.plan = replace(PLAN, ordinals=frozenset({0, 1, 2, 3}))
    world.members.append(learner(3, 9))
    world.pod(3)
    world.for_seconds(700)
    assert world.removed == []


def test_a_learner_that_has_started_comes_back_by_itself(world: World) -> None:
    world.plan = replace(PLAN, ordinals=frozenset({0, 1, 2, 3}))
    world.members.append(learner(3, 9, started=True))
    world.for_seconds(700)
    assert world.removed == []


# ---- members that are wanted, and dead


def dead(world: World) -> None:
    """Member 3 is down since its volume was taken away; all were well before."""
    world.well(400.0)
    world.clock.advance(STEP)
    world.down()
    world.claim(2)


def test_a_dead_member_whose_volume_is_gone_is_removed_where_that_is_asked_for(world: World) -> None:
    dead(world)
    world.for_seconds(400)
    assert world.removed == []
    world.for_seconds(15)
    assert world.removed == [3]


def test_a_claim_that_is_about_to_go_is_gone(world: World) -> None:
    world.well(300.0)
    world.down()
    world.claims.delete("data-c-sts-2")
    assert world.claims.get("data-c-sts-2").deletion_timestamp is not None  # something protects it
    world.for_seconds(320)
    assert world.removed == [3]


def test_what_may_not_be_seen_is_no_proof_and_no_obstacle(world: World, server: FakeAPIServer) -> None:
    dead(world)
    server.faults.add(verb="get", resource="persistentvolumeclaims", status=403)
    world.for_seconds(700)
    assert world.removed == []
    world.plan = replace(world.plan, ordinals=frozenset({0, 1}))
    world.for_seconds(60)
    assert world.removed == [3]


def test_a_member_that_has_come_back_on_another_volume_is_known_by_that(world: World) -> None:
    dead(world)
    world.members[2], world.answers = voter(2, 33), {1, 2, 33}
    world.pod(2)
    world.look()
    world.answers.discard(33)
    world.no_pod(2)
    world.for_seconds(700)
    assert world.removed == []


def test_a_volume_that_was_changed_under_a_member_that_is_well_is_its_own(world: World) -> None:
    world.well(300.0)
    world.claim(2)
    world.for_seconds(100)
    world.down()
    world.for_seconds(700)
    assert world.removed == []


def test_it_is_not_removed_unasked(world: World) -> None:
    dead(world)
    world.plan = PLAN
    world.for_seconds(700)
    assert world.removed == []


def test_nor_if_its_volume_is_the_one_it_had(world: World) -> None:
    world.well(300.0)
    world.down()
    world.for_seconds(700)
    assert world.removed == []


def test_nor_if_nobody_knows_which_volume_it_had(world: World) -> None:
    world.plan = replace(PLAN, replace_after=300.0)
    world.down()
    world.for_seconds(700)
    assert world.removed == []


@pytest.mark.parametrize(("state", "removed"), [("LostDisk", [3]), ("Restart", [])])
def test_its_agent_may_say_that_the_disk_is_lost(world: World, state: str, removed: list[int]) -> None:
    dead(world)
    world.pod(2)
    world.for_seconds(420, lambda: world.beat(2, state=state))
    assert world.removed == removed


def test_a_time_that_is_too_short_is_not_honoured() -> None:
    assert grace(Row.DEAD, replace(PLAN, replace_after=1.0)) == 300.0
    assert grace(Row.DEAD, replace(PLAN, replace_after=900.0)) == 900.0


# ---- members of somebody else


def test_a_foreign_member_is_reported_once_and_left_alone(world: World) -> None:
    world.members.append(ListedMember(0xF0, "stranger", ("http://elsewhere:2380",), ("http://elsewhere:2379",), False))
    world.for_seconds(200)
    assert world.removed == []
    assert len(world.told) == 1
    assert world.told[0].startswith("ForeignMember member stranger (f0)")
    world.members.pop()
    world.look()
    world.members.append(ListedMember(0xF0, "stranger", ("http://elsewhere:2380",), ("http://elsewhere:2379",), False))
    world.for_seconds(100)
    assert len(world.told) == 2
