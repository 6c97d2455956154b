"""The clean task: every row's proof, its grace, what resets it, and what stands in its way; on a clock of the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import msgspec
import pytest

from membership.xline import guard
from membership.xline.changes import Session
from membership.xline.clean import FRESH, GAP, PAUSE, Choice, Cleaner, Row, grace
from membership.xline.client import EngineClient, ListedMember, MemberList, MemberStatus
from membership.xline.lock import LockBusy, MembershipLock
from membership.xline.matching import Matching
from membership.xline.metrics import AgentMetrics
from membership.xline.model import HEARTBEAT, Heartbeat, Identity, PublishedPlan, member_selector
from membership.xline.reach import Contact, Survey
from runtime.client import Client, ClientError, NotFound
from runtime.testing import FakeAPIServer, FakeClock
from runtime.types import GVR, JSONObject

NAMESPACE = "default"
TOKEN = "c-1"
CLUSTER_ID = 0xC1
PODS = GVR("", "v1", "pods")
CLAIMS = GVR("", "v1", "persistentvolumeclaims")
STEP = 5.0

PLAN = PublishedPlan(
    uid="u",
    resource_version="1",
    stale=False,
    deleting=False,
    paused=False,
    bootstrapped=True,
    cluster_id=CLUSTER_ID,
    token=TOKEN,
    initial=("c-sts-0", "c-sts-1", "c-sts-2"),
    ordinals=frozenset({0, 1, 2}),
    size=3,
)
IDENTITY = Identity(NAMESPACE, "c", "c-sts-0", "uid-0", 0, "etcd", "http://c-sts-0:2380", "http://c-sts-0:2379")


def voter(ordinal: int, id: int | None = None) -> ListedMember:
    name = f"c-sts-{ordinal}"
    return ListedMember(id or ordinal + 1, name, (f"http://{name}:2380",), (f"http://{name}:2379",), False)


def learner(ordinal: int, id: int, *, started: bool = False) -> ListedMember:
    member = replace(voter(ordinal, id), is_learner=True)
    return member if started else replace(member, name="", client_urls=())


class World:
    """A cluster as its leader's agent sees it, with real Pods on a real API server. ``removed`` is what came of it."""

    def __init__(self, client: Client, clock: FakeClock) -> None:
        self.client = client
        self.clock = clock
        self.pods = client.resource(PODS, namespace=NAMESPACE)
        self.claims = client.resource(CLAIMS, namespace=NAMESPACE)
        self.plan = PLAN
        self.members = [voter(0), voter(1), voter(2)]
        self.answers = {1, 2, 3}
        self.leader = 1
        self.removed: list[int] = []
        self.told: list[str] = []
        self.inside: Callable[[], None] = lambda: None
        self.fails: Exception | None = None
        self.lost_answer = False
        self.sequence = 0
        self.metrics = AgentMetrics(IDENTITY)
        lock = MembershipLock(client, NAMESPACE, "c", "c-sts-0/x", clock=clock)
        self.lock = lock
        self._via = EngineClient("127.0.0.1:9")
        matching = Matching("c-sts", {}, {})
        self.cleaner = Cleaner(
            IDENTITY, TOKEN, self.remove_if, lock.watch, lambda: matching, client, self.metrics, self.tell, clock
        )
        for ordinal in range(3):
            self.pod(ordinal)

    def close(self) -> None:
        self._via.close()

    def tell(self, reason: str, message: str) -> None:
        self.told.append(f"{reason} {message}")

    def survey(self) -> Survey:
        contacts = [
            Contact(f"c-sts-{id - 1}", self._via, self.status(id))
            for id in sorted(self.answers)
            if any(member.id == id for member in self.members)
        ]
        own = next((contact for contact in contacts if contact.status.member_id == 1), None)
        return Survey(own, tuple(contact for contact in contacts if contact is not own))

    def status(self, id: int) -> MemberStatus:
        is_learner = next(member.is_learner for member in self.members if member.id == id)
        return MemberStatus(CLUSTER_ID, id, "3.5.1", self.leader, 1, 1, 1, 1, 0, 0, is_learner, ())

    def listing(self) -> MemberList:
        return MemberList(CLUSTER_ID, 1, tuple(sorted(self.members, key=lambda member: member.id)))

    def remove_if(self, choose: Callable[[Session], Choice]) -> str:
        """As MembershipChanges does it: lock, read anew, guard, remove by id."""
        with self.lock.held() as hold:
            self.inside()
            survey, listing = self.survey(), self.listing()
            assert survey.own is not None
            chosen = choose(Session(hold, self.plan, survey, listing, survey.own))
            if isinstance(chosen, str):
                return chosen
            member, _ = chosen
            why = guard.may_remove(listing, survey.healthy(), member.id)
            if why:
                return why
            if self.fails is not None:
                raise self.fails
            self.removed.append(member.id)
            if not self.lost_answer:
                self.members.remove(member)
        return ""

    # ---- Pods

    def pod(self, ordinal: int, *, phase: str = "Running") -> None:
        name = f"c-sts-{ordinal}"
        pod: JSONObject = {
            "metadata": {"name": name, "labels": member_selector("c")},
            "spec": {"containers": [{"name": "xline", "image": "etcd"}]},
        }
        self.pods.create(pod)
        self.pods.patch(name, {"status": {"phase": phase}}, type="merge", subresource="status")

    def no_pod(self, ordinal: int) -> None:
        self.pods.delete(f"c-sts-{ordinal}", grace_period_seconds=0)

    def beat(
        self,
        ordinal: int,
        *,
        member: int = 0,
        state: str = "Running",
        reachable: tuple[int, ...] = (),
        cluster: int = CLUSTER_ID,
    ) -> None:
        """The Pod's agent says this, anew."""
        name = f"c-sts-{ordinal}"
        self.sequence += 1
        beat = Heartbeat(
            sequence=self.sequence,
            incarnation="i",
            cluster_uid="u",
            pod=name,
            pod_uid=self.pods.get(name).uid,
            ordinal=ordinal,
            state=state,
            member_id=f"{member:x}" if member else "",
            cluster_id=f"{cluster:x}",
            reachable=tuple(f"c-sts-{other}" for other in reachable),
        )
        annotation = {HEARTBEAT: msgspec.json.encode(beat).decode()}
        self.pods.patch(name, {"metadata": {"annotations": annotation}}, type="merge")

    def claim(self, ordinal: int) -> None:
        name = f"data-c-sts-{ordinal}"
        with suppress(NotFound):
            self.claims.delete(name)
            self.claims.patch(name, {"metadata": {"finalizers": None}}, type="merge")
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        self.claims.create({"metadata": {"name": name}, "spec": spec})

    # ---- time

    def look(self) -> str:
        return self.cleaner.cycle(self.survey(), self.listing(), self.plan)

    def for_seconds(self, seconds: float, each: Callable[[], None] = lambda: None) -> str:
        """Look every few seconds, for the last time before so much time has gone by. Returns all that was said."""
        said: dict[str, None] = {}
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() + STEP < end:
            each()
            said[self.look()] = None
            self.clock.advance(STEP)
        return "\n".join(said)

    # ---- states of the cluster

    def unwanted(self) -> None:
        """Member 3 is not in the plan any more, and neither its Pod nor its server is there."""
        self.plan = replace(self.plan, ordinals=frozenset({0, 1}))
        self.answers.discard(3)
        self.no_pod(2)


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
    world.answers.discard(3)
    world.no_pod(2)
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
    world.plan = replace(PLAN, replace_after=400.0)
    for ordinal in range(3):
        world.claim(ordinal)
    world.look()
    world.clock.advance(STEP)
    world.answers.discard(3)
    world.no_pod(2)
    world.claim(2)


def test_a_dead_member_whose_volume_is_gone_is_removed_where_that_is_asked_for(world: World) -> None:
    dead(world)
    world.for_seconds(400)
    assert world.removed == []
    world.for_seconds(15)
    assert world.removed == [3]


def test_a_claim_that_is_about_to_go_is_gone(world: World) -> None:
    world.plan = replace(PLAN, replace_after=300.0)
    for ordinal in range(3):
        world.claim(ordinal)
    world.look()
    world.answers.discard(3)
    world.no_pod(2)
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
    world.plan = replace(PLAN, replace_after=300.0)
    for ordinal in range(3):
        world.claim(ordinal)
    world.look()
    world.claim(2)
    world.for_seconds(100)
    world.answers.discard(3)
    world.no_pod(2)
    world.for_seconds(700)
    assert world.removed == []


def test_it_is_not_removed_unasked(world: World) -> None:
    dead(world)
    world.plan = PLAN
    world.for_seconds(700)
    assert world.removed == []


def test_nor_if_its_volume_is_the_one_it_had(world: World) -> None:
    world.plan = replace(PLAN, replace_after=300.0)
    for ordinal in range(3):
        world.claim(ordinal)
    world.look()
    world.answers.discard(3)
    world.no_pod(2)
    world.for_seconds(700)
    assert world.removed == []


def test_nor_if_nobody_knows_which_volume_it_had(world: World) -> None:
    world.plan = replace(PLAN, replace_after=300.0)
    world.answers.discard(3)
    world.no_pod(2)
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
