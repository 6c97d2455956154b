"""What a standby learns of the Lease between its tries, in the time of a fake clock that stands still."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from runtime.client import WatchEvent
from runtime.leaderelection import LEASES, LeaseLock, LeaseRecord
from runtime.testing import FakeAPIServer, FakeClock
from tests.runtime.leaderelection.leaderelection_support import Campaign, Candidate, eventually

LONGEST_RETRY = 4.4  # seconds between a candidate's tries: 2 * (1 + 1.2)


def watches(server: FakeAPIServer, user_agent: str = "b") -> list[int]:
    """The codes that the standby's watches were answered."""
    asked = [entry for entry in server.requests if entry.verb == "watch" and entry.resource == "leases"]
    return [entry.code for entry in asked if entry.user_agent == user_agent]


def standby(server: FakeAPIServer, campaign: Campaign, **options: Any) -> Candidate:
    """One that has seen who leads, and watches."""
    b = campaign("b", **options)
    eventually(lambda: watches(server), "the standby watches")
    b.settle()
    return b


def test_the_next_leads_at_once_when_the_lease_is_released(server: FakeAPIServer, campaign: Campaign) -> None:
    a = campaign("a")
    a.leads()
    b = standby(server, campaign)
    a.stop.set()
    a.ends()
    b.leads()  # no time has passed
    eventually(lambda: b.leaders == ["a", "b"])


def test_a_lease_that_is_deleted_is_made_anew_by_its_leader(
    server: FakeAPIServer, campaign: Campaign, clock: FakeClock
) -> None:
    """It does not know for up to a retry period, and goes on: nobody else may lead meanwhile."""
    a = campaign("a", retry_period=6.0)
    a.leads()
    b = standby(server, campaign)
    leases = server.client().resource(LEASES, namespace="default")
    leases.delete("test")
    for _ in range(2):  # its tries find no Lease
        a.settle()
        b.step(2.2)
        assert not b.elector.is_leader
    a.step(1.6)
    assert leases.get("test")["spec"]["holderIdentity"] == "a"
    assert a.working
    assert not b.working


def test_a_lease_that_is_deleted_after_its_leader_died_is_made_when_the_term_is_over(
    server: FakeAPIServer, campaign: Campaign
) -> None:
    leases = server.client().resource(LEASES, namespace="default")
    leases.create({"metadata": {"name": "test"}, "spec": {"holderIdentity": "dead", "leaseDurationSeconds": 15}})
    b = standby(server, campaign)
    leases.delete("test")
    for _ in range(14):
        b.step(1)
    assert not b.working
    b.step(1)
    b.leads()


def test_the_term_of_a_leader_that_died_counts_from_its_last_renewal(
    server: FakeAPIServer, campaign: Campaign, clock: FakeClock
) -> None:
    """Not from the next try of the standby, which may be 4.4 seconds later."""
    leases = server.client().resource(LEASES, namespace="default")
    spec = {"holderIdentity": "dead", "leaseDurationSeconds": 15, "renewTime": "2001-01-01T00:00:00.000000Z"}
    leases.create({"metadata": {"name": "test"}, "spec": spec})
    b = standby(server, campaign, retry_period=8.0)  # it tries after 8 to 17.6 seconds
    b.step(1)
    renewed = leases.get("test").to_dict()
    renewed["spec"]["renewTime"] = "2001-01-01T00:00:01.000000Z"
    leases.update(renewed)
    eventually(lambda: b.elector._observed.renewed == "2001-01-01T00:00:01.000000Z", "the renewal is seen")
    for _ in range(14):
        b.step(1)
    assert not b.working
    b.step(1)
    b.leads()


def test_a_takeover_whose_answer_was_lost_is_seen(server: FakeAPIServer, campaign: Campaign) -> None:
    a = campaign("a")
    a.leads()
    b = standby(server, campaign)
    server.faults.add(verb="update", user_agent="b", resource="leases", drop="after", times=1)
    a.stop.set()
    a.ends()
    b.leads()  # no time has passed


def test_who_leads_is_told_without_waiting_for_a_try(server: FakeAPIServer, campaign: Campaign) -> None:
    leases = server.client().resource(LEASES, namespace="default")
    leases.create({"metadata": {"name": "test"}, "spec": {"holderIdentity": "one", "leaseDurationSeconds": 15}})
    b = standby(server, campaign)
    taken = leases.get("test").to_dict()
    taken["spec"]["holderIdentity"] = "two"
    leases.update(taken)
    eventually(lambda: b.leaders == ["one", "two"])
    assert b.elector.leader == "two"


@pytest.mark.parametrize("refusal", [{"status": 403}, {"status": 405}, {"status": 500}, {"stall": True}], ids=str)
def test_a_standby_that_cannot_watch_has_its_regular_tries(
    refusal: dict[str, Any], server: FakeAPIServer, campaign: Campaign
) -> None:
    server.faults.add(verb="watch", resource="leases", **refusal)
    a = campaign("a")
    a.leads()
    b = campaign("b")
    b.settle()
    a.stop.set()
    a.ends()
    assert not b.working
    b.step(LONGEST_RETRY)
    b.leads()


@pytest.mark.parametrize(("status", "asked"), [(403, [403]), (500, [500, 200])])
def test_who_may_not_watch_asks_once(
    status: int, asked: list[int], server: FakeAPIServer, campaign: Campaign, clock: FakeClock
) -> None:
    server.faults.add(verb="watch", resource="leases", status=status, times=1)
    campaign("a").leads()
    b = standby(server, campaign)
    lookout = "leader-lookout-test"
    if status == 403:
        eventually(lambda: lookout not in [thread.name for thread in threading.enumerate()])
    else:
        eventually(lambda: lookout in clock.waiting_threads())
        clock.advance(2)
    b.settle()
    eventually(lambda: watches(server) == asked)


def test_a_watch_that_ends_is_followed_by_another(server: FakeAPIServer, campaign: Campaign, clock: FakeClock) -> None:
    a = campaign("a")
    a.leads()
    b = standby(server, campaign)
    server.close_connections()
    eventually(lambda: "leader-lookout-test" in clock.waiting_threads())
    clock.advance(2)
    eventually(lambda: watches(server) == [200, 200])
    a.settle()
    a.stop.set()
    a.ends()
    b.leads()


def test_old_events_are_no_news(server: FakeAPIServer) -> None:
    """A watch that lags behind the reads must not make a standby believe in the leader of before."""
    leases = server.client().resource(LEASES, namespace="default")
    old = leases.create({"metadata": {"name": "test"}, "spec": {"holderIdentity": "one", "leaseDurationSeconds": 15}})
    present = leases.patch("test", {"spec": {"holderIdentity": "two"}})
    lock = LeaseLock(server.client(), "default", "test", "b")
    told = lock.told(WatchEvent("ADDED", old))
    assert told is not None
    assert told.holder == "one"
    lock.get(10.0)
    assert lock.told(WatchEvent("ADDED", old)) is None
    assert lock.told(WatchEvent("ADDED", present)) is None
    assert lock.told(WatchEvent("DELETED", old)) is None
    assert lock.told(WatchEvent("BOOKMARK", leases.patch("test", {"spec": {"holderIdentity": "three"}}))) is None
    leases.delete("test")
    again = leases.create({"metadata": {"name": "test"}})
    assert lock.told(WatchEvent("DELETED", again)) is None
    assert lock.told(WatchEvent("ADDED", again)) == LeaseRecord()


def test_a_standby_leaves_nothing_behind(server: FakeAPIServer, campaign: Campaign) -> None:
    campaign("a").leads()
    b = standby(server, campaign)
    b.stop.set()
    b.ends()
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith(("leader-lookout", "leader-stop"))]
