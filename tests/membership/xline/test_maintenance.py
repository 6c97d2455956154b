"""Upkeep of a member's database: when it is due, what stands in its way, and what is said; on a clock of the test.

The server is one that says what the test has it say, and defragments for as long as the test wants. Real ones are
looked after in ``test_agent_upkeep.py``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import grpc
import pytest

from membership.xline.changes import Session
from membership.xline.client import EngineClient, ListedMember, MemberList, MemberStatus
from membership.xline.engines import ETCD, XLINE, EngineProfile
from membership.xline.lock import LockBusy, MembershipLock
from membership.xline.maintenance import PAUSE, RETRY, SHORT_PAUSE, WORTH, Maintenance, is_fragmented, quota_of, wasted
from membership.xline.model import Identity, PublishedPlan
from membership.xline.proto import engine_pb2 as messages
from membership.xline.reach import Contact, Survey
from runtime.client import Client
from runtime.leaderelection import LEASES
from runtime.testing import FakeAPIServer, FakeClock
from tests.support.waiting import eventually

IDENTITY = Identity("default", "c", "c-sts-0", "uid-0", 0, "etcd", "http://c-sts-0:2380", "http://c-sts-0:2379")
PLAN = PublishedPlan("u", "1", False, False, False, True, 1, "t", (), frozenset({0, 1, 2}), 3, defragment_above=50)
MIB = 1 << 20
QUOTA = 200 * MIB


class Server:
    """A member's maintenance calls. ``defragmentations`` counts those begun; each lasts until ``go`` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.defragmentations = 0
        self.alarms: list[tuple[int, int]] = []
        self.refuse: grpc.StatusCode | None = None
        self._pool = futures.ThreadPoolExecutor(4)
        self._server = grpc.server(self._pool)
        handlers = {
            "Defragment": _handler(self._defragment, messages.DefragmentRequest),
            "Alarm": _handler(self._alarm, messages.AlarmRequest),
        }
        methods = grpc.method_handlers_generic_handler("etcdserverpb.Maintenance", handlers)
        self._server.add_generic_rpc_handlers((methods,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def _defragment(self, _request: object, context: grpc.ServicerContext) -> messages.DoneResponse:
        self.defragmentations += 1
        if self.refuse is not None:
            context.abort(self.refuse, "no")
        self.go.wait(60)
        return messages.DoneResponse()

    def _alarm(self, request: messages.AlarmRequest, _context: grpc.ServicerContext) -> messages.AlarmResponse:
        if request.action == messages.DEACTIVATE:
            self.alarms.remove((request.member_id, request.alarm))
        raised = [messages.AlarmMember(member_id=member, alarm=kind) for member, kind in self.alarms]  # type: ignore[arg-type]
        return messages.AlarmResponse(alarms=raised)

    def close(self) -> None:
        self.go.set()
        self._server.stop(0).wait()
        self._pool.shutdown()


def _handler(method: Callable[..., Any], request: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        method,
        request_deserializer=request.FromString,
        response_serializer=lambda message: message.SerializeToString(),
    )


class World:
    """Three voters; the own one is member 1, and 3 leads."""

    def __init__(self, server: Server, api: Client, clock: FakeClock, profile: EngineProfile) -> None:
        self.server = server
        self.api = api
        self.lock = MembershipLock(api, "default", "c", "c-sts-0/x", clock=clock)
        self.other_lock = MembershipLock(api, "default", "c", "c-sts-1/y", clock=clock)
        self.clock = clock
        self.plan = PLAN
        self.leader = 3
        self.members = [_member(id) for id in (1, 2, 3)]
        self.answers = {1, 2, 3}
        self.sizes = dict.fromkeys((1, 2, 3), (100 * MIB, 100 * MIB))
        self.errors: tuple[str, ...] = ()
        self.told: list[str] = []
        self.handed_over = 0
        self.client = EngineClient(f"127.0.0.1:{server.port}")
        self.maintenance = Maintenance(
            IDENTITY,
            profile,
            self.session,
            self.hand_over,
            lambda: EngineClient(f"127.0.0.1:{server.port}"),
            QUOTA,
            lambda reason, message: self.told.append(f"{reason} {message}"),
            clock,
        )

    def status(self, id: int) -> MemberStatus:
        size, used = self.sizes[id]
        is_learner = next(member.is_learner for member in self.members if member.id == id)
        return MemberStatus(1, id, "3.5.1", self.leader, 1, 1, 1, 1, size, used, is_learner, self.errors)

    def survey(self) -> Survey:
        contacts = [Contact(f"c-sts-{id - 1}", self.client, self.status(id)) for id in sorted(self.answers)]
        return Survey(contacts[0], tuple(contacts[1:]))

    def listing(self) -> MemberList:
        return MemberList(1, tuple(self.members))

    @contextmanager
    def session(self) -> Iterator[Session]:
        with self.lock.held() as hold:
            survey = self.survey()
            assert survey.own is not None
            yield Session(hold, self.plan, survey, self.listing(), survey.own)

    def hand_over(self, _survey: Survey, _deadline: float) -> str:
        self.handed_over += 1
        self.leader = 2
        return ""

    def look(self) -> str:
        return self.maintenance.cycle(self.survey(), self.listing(), self.plan)

    def finish(self) -> None:
        """The server has done what it was asked to."""
        self.server.go.set()
        eventually(lambda: "being defragmented" not in self.look(), "its end", 60.0)
        self.server.go.clear()

    def fragmented(self, *ids: int) -> None:
        for id in ids:
            self.sizes[id] = (100 * MIB, 20 * MIB)


def _member(id: int, *, learner: bool = False) -> ListedMember:
    name = f"c-sts-{id - 1}"
    return ListedMember(id, name, (f"http://{name}:2380",), (f"http://{name}:2379",), learner)


@pytest.fixture
def make() -> Iterator[Callable[..., World]]:
    worlds: list[World] = []
    server = Server()
    with FakeAPIServer() as api, api.client() as client:

        def one(profile: EngineProfile = ETCD) -> World:
            worlds.append(World(server, client, FakeClock(), profile))
            return worlds[-1]

        yield one
        server.go.set()
        for world in worlds:
            world.maintenance.close()
            world.client.close()
    server.close()


@pytest.fixture
def world(make: Callable[..., World]) -> World:
    return make()


BEING_DONE = "its database is being defragmented"


def test_a_fragmented_database_is_defragmented_once_and_again_after_a_while(world: World) -> None:
    world.fragmented(1)
    assert world.look() == BEING_DONE
    assert world.look() == BEING_DONE
    world.finish()
    assert world.server.defragmentations == 1
    assert world.told == [f"Defragmented the database of c-sts-0 was defragmented; it had {100 * MIB} bytes"]
    world.clock.advance(PAUSE - 1)
    assert world.look() == ""
    world.clock.advance(1)
    assert world.look() == BEING_DONE


@pytest.mark.parametrize(
    ("size", "used", "above", "due"),
    [
        (100 * MIB, 50 * MIB, 50, False),
        (100 * MIB, 50 * MIB - 1, 50, True),
        (2 * WORTH, WORTH, 10, True),
        (2 * WORTH, WORTH + 1, 10, False),  # not worth it
        (100 * MIB, 0, 10, False),  # an old server that does not know
        (-1, -1, 10, False),
        (100 * MIB, 120 * MIB, 10, False),
    ],
)
def test_when_a_database_is_fragmented(world: World, size: int, used: int, above: int, due: bool) -> None:
    status = replace(world.status(1), db_size=size, db_size_in_use=used)
    assert is_fragmented(status, above) is due
    assert wasted(status) >= 0


@pytest.mark.parametrize("change", [{"defragment_above": None}, {"stale": True}, {"paused": True}, {"deleting": True}])
def test_nothing_is_done_unasked(world: World, change: dict[str, Any]) -> None:
    world.fragmented(1)
    world.errors = ("memberID:1 alarm:NOSPACE ",)
    world.plan = replace(PLAN, **change)
    assert world.look() == ""
    assert world.told == []
    assert world.server.defragmentations == 0


@pytest.mark.parametrize(
    ("obstacle", "why"), [("down", "member c-sts-1 is not healthy"), ("learner", "a member is joining")]
)
def test_only_while_all_members_are_voters_and_well(world: World, obstacle: str, why: str) -> None:
    world.fragmented(1)
    if obstacle == "down":
        world.answers.discard(2)
    else:
        world.members.append(_member(4, learner=True))
    assert why in world.look()
    world.answers.add(2)
    world.members = world.members[:3]
    world.clock.advance(RETRY - 1)
    assert world.look() == ""
    world.clock.advance(1)
    assert world.look() == BEING_DONE


def test_one_member_at_a_time(world: World) -> None:
    world.fragmented(1)
    other = world.other_lock
    with other.held(), pytest.raises(LockBusy):
        world.look()
    world.clock.advance(RETRY)
    assert world.look() == BEING_DONE
    with pytest.raises(LockBusy), other.held():
        pass
    for _ in range(10):  # longer than the lock lasts unless it is kept
        world.clock.advance(5.0)
        assert world.look() == BEING_DONE
        with pytest.raises(LockBusy), other.held():
            pass
    world.finish()
    with other.held():
        pass


def test_what_the_same_agent_changes_meanwhile_does_not_let_others_begin(world: World) -> None:
    world.fragmented(1)
    assert world.look() == BEING_DONE
    with world.session():  # it leaves, or cleans up
        pass
    with pytest.raises(LockBusy), world.other_lock.held():
        pass
    world.finish()
    with world.other_lock.held():
        pass


def test_the_leader_lets_the_others_go_first_and_then_hands_over(world: World) -> None:
    world.leader = 1
    world.fragmented(1, 2)
    assert "the followers come first" in world.look()
    world.sizes[2] = (20 * MIB, 20 * MIB)
    world.clock.advance(RETRY)
    assert "handed over" in world.look()
    assert world.handed_over == 1
    world.clock.advance(RETRY)
    assert world.look() == BEING_DONE  # a follower by now


def test_the_only_member_does_it_as_the_leader(world: World) -> None:
    world.leader = 1
    world.members, world.answers = world.members[:1], {1}
    world.fragmented(1)
    assert world.look() == BEING_DONE
    assert world.handed_over == 0


def test_a_lock_that_is_lost_meanwhile_is_taken_calmly(world: World) -> None:
    world.fragmented(1)
    assert world.look() == BEING_DONE
    world.clock.advance(100.0)  # nobody has looked for so long that the lock is over
    assert world.look() == BEING_DONE
    world.finish()
    assert world.told[0].startswith("Defragmented")


def test_an_end_of_the_agent_does_not_wait_for_the_server(world: World) -> None:
    world.fragmented(1)
    world.look()
    eventually(lambda: world.server.defragmentations == 1, "the call", 60.0)
    world.maintenance.close()
    lease = world.api.resource(LEASES, namespace="default").get("c-membership")
    assert lease["spec"]["holderIdentity"] == ""


def test_a_failure_is_told(world: World) -> None:
    world.fragmented(1)
    world.server.refuse = grpc.StatusCode.INTERNAL
    world.look()
    world.finish()
    assert world.told[0].startswith("DefragmentationFailed the database of c-sts-0 was not defragmented: Defragment at")


def test_xline_cannot_and_that_is_said_once(make: Callable[..., World]) -> None:
    world = make(XLINE)
    world.fragmented(1)
    for _ in range(3):
        assert world.look() == ""
        world.clock.advance(PAUSE)
    assert world.told == ["DefragmentationUnsupported xline cannot defragment its database"]
    assert world.server.defragmentations == 0


def test_an_etcd_that_does_not_have_the_call_is_skipped_too(world: World) -> None:
    world.fragmented(1)
    world.server.refuse = grpc.StatusCode.UNIMPLEMENTED
    world.look()
    world.finish()
    assert world.told == ["DefragmentationUnsupported etcd cannot defragment its database"]


# ---- want of room


def test_the_own_alarm_is_taken_back_when_there_is_room_and_nobody_elses(world: World) -> None:
    world.errors = ("memberID:1 alarm:NOSPACE ",)
    world.server.alarms = [(1, messages.NOSPACE), (2, messages.NOSPACE), (1, messages.CORRUPT), (9, messages.NOSPACE)]
    world.look()
    assert world.server.alarms == [(2, messages.NOSPACE), (1, messages.CORRUPT), (9, messages.NOSPACE)]
    assert world.told == ["AlarmDisarmed the alarm NOSPACE of member 1 was taken back: there is room"]


def test_the_leader_takes_alarms_of_members_back_that_are_gone(world: World) -> None:
    world.leader = 1
    world.errors = ("memberID:9 alarm:NOSPACE ",)
    world.server.alarms = [(2, messages.NOSPACE), (9, messages.NOSPACE)]
    world.look()
    assert world.server.alarms == [(2, messages.NOSPACE)]


def test_a_full_database_is_defragmented_whatever_it_says_and_complained_of(world: World) -> None:
    world.errors = ("memberID:1 alarm:NOSPACE ",)
    world.server.alarms = [(1, messages.NOSPACE)]
    world.sizes[1] = (190 * MIB, 190 * MIB)
    assert world.look() == BEING_DONE
    assert world.server.alarms == [(1, messages.NOSPACE)]
    assert [text.split()[0] for text in world.told] == ["NoSpace"]
    assert str(QUOTA) in world.told[0]
    world.finish()
    world.clock.advance(SHORT_PAUSE)
    assert world.look() == BEING_DONE
    assert [text.split()[0] for text in world.told] == ["NoSpace", "Defragmented", "NoSpace"]
    world.sizes[1] = (20 * MIB, 20 * MIB)
    world.finish()
    world.look()
    assert world.server.alarms == []


@pytest.mark.parametrize(
    ("profile", "flags", "quota"),
    [
        (ETCD, (), 2 << 30),
        (ETCD, ("--name=x", "--quota-backend-bytes=1000"), 1000),
        (ETCD, ("--quota-backend-bytes=0",), 2 << 30),
        (ETCD, ("--quota-backend-bytes=-1",), 0),
        (ETCD, ("--quota-backend-bytes=1", "--quota-backend-bytes=7"), 7),
        (ETCD, ("--quota=7",), 2 << 30),
        (XLINE, (), 8 << 30),
        (XLINE, ("--quota=7",), 7),
    ],
)
def test_the_quota_is_the_servers(profile: EngineProfile, flags: tuple[str, ...], quota: int) -> None:
    assert quota_of(profile, flags) == quota
