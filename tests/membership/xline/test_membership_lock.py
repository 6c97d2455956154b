"""The lock of a cluster's membership: over a real Lease, with API calls that fail and holders that die."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from membership.xline.lock import LockBusy, LockLost, MembershipLock
from runtime.client import Client, ClientError
from runtime.leaderelection import LEASES
from runtime.testing import FakeAPIServer, FakeClock

NAMESPACE = "default"


@pytest.fixture
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        yield server


@pytest.fixture
def client(server: FakeAPIServer) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def _holder(client: Client) -> str:
    lease = client.resource(LEASES, namespace=NAMESPACE).get("c-membership")
    return (lease.get("spec") or {}).get("holderIdentity") or ""


def _take_and_die(server: FakeAPIServer, lock: MembershipLock) -> None:
    with lock.held():
        server.faults.add(verb="update", resource="leases", drop="before")  # it is never given back
    server.faults.clear()


def test_one_has_it_at_a_time_and_gives_it_back(client: Client, clock: FakeClock) -> None:
    one = MembershipLock(client, NAMESPACE, "c", "c-0/a", clock=clock)
    two = MembershipLock(client, NAMESPACE, "c", "c-1/a", clock=clock)
    with one.held() as hold:
        hold.check()
        assert _holder(client) == "c-0/a"
        with pytest.raises(LockBusy) as busy, two.held():
            pass
        assert busy.value.holder == "c-0/a"
    assert _holder(client) == ""
    with two.held() as hold:
        hold.check()
        assert _holder(client) == "c-1/a"


def test_it_is_given_back_when_the_work_raises(client: Client, clock: FakeClock) -> None:
    lock = MembershipLock(client, NAMESPACE, "c", "c-0/a", clock=clock)
    with pytest.raises(ZeroDivisionError), lock.held():
        raise ZeroDivisionError
    assert _holder(client) == ""


def test_a_dead_holder_is_waited_for_its_time_and_no_longer(
    server: FakeAPIServer, client: Client, clock: FakeClock
) -> None:
    _take_and_die(server, MembershipLock(client, NAMESPACE, "c", "c-0/a", clock=clock))
    other = MembershipLock(client, NAMESPACE, "c", "c-1/a", clock=clock)

    def busy() -> bool:
        try:
            with other.held():
                return False
        except LockBusy:
            return True

    assert busy()
    clock.advance(15.0)
    assert busy()
    clock.advance(0.1)
    assert not busy()


def test_a_holder_that_renews_is_not_dead(client: Client, clock: FakeClock) -> None:
    one = MembershipLock(client, NAMESPACE, "c", "c-0/a", clock=clock)
    two = MembershipLock(client, NAMESPACE, "c", "c-1/a", clock=clock)
    with one.held() as hold:
        for _ in range(4):
            with pytest.raises(LockBusy), two.held():
                pass
            clock.advance(11.0)
            hold.check()  # 4 s are left: renewed
            assert hold.remaining == pytest.approx(15.0, abs=0.5)


def test_a_new_life_of_the_same_pod_waits_as_everybody(server: FakeAPIServer, client: Client, clock: FakeClock) -> None:
    _take_and_die(server, MembershipLock(client, NAMESPACE, "c", "c-0/a", clock=clock))
    again = MembershipLock(client, NAMESPACE, "c", "c-0/b", clock=clock)
    with pytest.raises(LockBusy), again.held():
        pass


def test_a_holder_that_hung_writes_nothing_more(client: Client, clock: FakeClock) -> None:
    slow = MembershipLock(client, NAMESPACE, "c", "c-0/a", clock=clock)
    with slow.held() as hold:
        clock.advance(15.0)
        with pytest.raises(LockLost):
            hold.check()


def test_a_holder_from_whom_it_was_taken_finds_out_before_it_writes(client: Client, clock: FakeClock) -> None:
    slow = MembershipLock(client, NAMESPACE, "c", "c-0/a", clock=clock)
    with slow.held() as hold:
        leases = client.resource(LEASES, namespace=NAMESPACE)
        body = leases.get("c-membership").to_dict()
        body["spec"]["holderIdentity"] = "c-1/a"
        leases.update(body)
        clock.advance(11.0)
        with pytest.raises(LockLost):
            hold.check()
    assert _holder(client) == "c-1/a"  # not given back for another


def test_a_lease_that_was_deleted_is_not_held(client: Client, clock: FakeClock) -> None:
    lock = MembershipLock(client, NAMESPACE, "c", "c-0/a", clock=clock)
    with lock.held() as hold:
        client.resource(LEASES, namespace=NAMESPACE).delete("c-membership")
        clock.advance(11.0)
        with pytest.raises(LockLost):
            hold.check()


@pytest.mark.parametrize("verb", ["create", "update"])
def test_an_answer_that_was_lost_leaves_it_to_the_same_agent(
    server: FakeAPIServer, client: Client, clock: FakeClock, verb: str
) -> None:
    server.faults.add(verb=verb, resource="leases", drop="after", times=1)
    lock = MembershipLock(client, NAMESPACE, "c", "c-0/a", clock=clock)
    other = MembershipLock(client, NAMESPACE, "c", "c-1/a", clock=clock)
    with contextlib.suppress(ClientError), lock.held() as hold:
        hold.check()
    with lock.held() as hold:
        hold.check()
        with pytest.raises(LockBusy), other.held():
            pass


@pytest.mark.parametrize("status", [409, 429, 500, 503])
def test_what_the_server_refuses_is_no_lock(
    server: FakeAPIServer, client: Client, clock: FakeClock, status: int
) -> None:
    with MembershipLock(client, NAMESPACE, "c", "c-0/a", clock=clock).held():
        pass
    server.faults.add(verb="update", resource="leases", status=status)
    worked = False
    with pytest.raises((ClientError, LockBusy)), MembershipLock(client, NAMESPACE, "c", "c-1/a", clock=clock).held():
        worked = True
    assert not worked


def test_a_lease_goes_with_its_cluster(client: Client, clock: FakeClock) -> None:
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "u-1"}
    with MembershipLock(client, NAMESPACE, "c", "c-0/a", owner=lambda: owner, clock=clock).held():
        pass
    lease = client.resource(LEASES, namespace=NAMESPACE).get("c-membership")
    assert [reference.uid for reference in lease.owner_references] == ["u-1"]


def test_who_has_it_already_does_not_give_it_back_early(client: Client, clock: FakeClock) -> None:
    """A member leaves while it defragments: the others must not begin before both are over."""
    lock = MembershipLock(client, NAMESPACE, "c", "c-0/a", clock=clock)
    other = MembershipLock(client, NAMESPACE, "c", "c-1/a", clock=clock)
    with lock.held() as long:
        clock.advance(12.0)
        with lock.held() as short:
            assert short.remaining == pytest.approx(15.0, abs=0.5)  # enough for what it is for
        assert _holder(client) == "c-0/a"
        with pytest.raises(LockBusy), other.held():
            pass
        clock.advance(11.0)
        long.check()
    assert _holder(client) == ""


def test_a_hold_that_is_over_is_no_hold_for_something_else(client: Client, clock: FakeClock) -> None:
    lock = MembershipLock(client, NAMESPACE, "c", "c-0/a", clock=clock)
    other = MembershipLock(client, NAMESPACE, "c", "c-1/a", clock=clock)
    with lock.held() as long:
        with pytest.raises(LockBusy), other.held():
            pass
        clock.advance(16.0)
        with other.held():
            with pytest.raises(LockBusy), lock.held():
                pass
            with pytest.raises(LockLost):
                long.check()
        with lock.held() as hold:
            hold.check(10.0)
        assert _holder(client) == ""


def test_one_that_is_abandoned_is_waited_for_by_everybody(client: Client, clock: FakeClock) -> None:
    lock = MembershipLock(client, NAMESPACE, "c", "c-0/a", clock=clock)
    other = MembershipLock(client, NAMESPACE, "c", "c-1/a", clock=clock)
    with lock.held() as hold:
        with pytest.raises(LockBusy), other.held():
            pass
        clock.advance(9.0)
        hold.abandon()
        with pytest.raises(LockBusy), lock.held():  # not even inside
            pass
    for each in (lock, other):
        with pytest.raises(LockBusy), each.held():
            pass
    clock.advance(14.0)  # its whole time from when it was abandoned
    for each in (lock, other):
        with pytest.raises(LockBusy), each.held():
            pass
    clock.advance(1.1)
    with lock.held() as hold:
        hold.check()
    assert _holder(client) == ""


def test_one_that_is_abandoned_without_an_api_server_is_not_taken_again_by_its_holder(
    server: FakeAPIServer, client: Client, clock: FakeClock
) -> None:
    lock = MembershipLock(client, NAMESPACE, "c", "c-0/a", clock=clock)
    with lock.held() as hold:
        server.faults.add(verb="update", resource="leases", drop="before")
        hold.abandon()
        server.faults.clear()
    with pytest.raises(LockBusy), lock.held():
        pass
    clock.advance(15.1)
    with lock.held():
        assert _holder(client) == "c-0/a~1"
