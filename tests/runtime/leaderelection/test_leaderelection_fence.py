"""When a leader may write, whatever its threads do (complaint 21), in the time of a fake clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from runtime.client import Client, ConnectionFailed, NotLeading
from runtime.clock import BOOT, SYSTEM
from runtime.leaderelection import LeaderElector, LeaseLock, LeaseRecord
from runtime.testing import FakeAPIServer, FakeClock
from runtime.types import GVR
from tests.runtime.leaderelection.leaderelection_support import Campaign, eventually

CONFIGMAPS = GVR("", "v1", "configmaps")


def write(client: Client, name: str) -> None:
    client.resource(CONFIGMAPS, "default").create({"metadata": {"name": name}})


class StuckLock(LeaseLock):
    """Its updates hang while ``stuck`` is clear, with no regard to their timeout: a name that is not resolved, a
    credentials plugin that does not answer, a process that is stopped."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.free = threading.Event()
        self.free.set()
        self.in_update = threading.Event()

    def update(self, record: LeaseRecord, timeout: float) -> LeaseRecord:
        self.in_update.set()
        self.free.wait()
        return super().update(record, timeout)


class Leader:
    """An elector over a :class:`StuckLock`, in threads of its own."""

    def __init__(self, server: FakeAPIServer, clock: FakeClock) -> None:
        self.clock = clock
        self.lock = StuckLock(Client(server.url), "default", "test", "a")
        self.led, self.ended = threading.Event(), threading.Event()
        self.told: threading.Event | None = None
        self.elector = LeaderElector(
            self.lock, on_started_leading=self.work, on_stopped_leading=lambda: None, clock=clock
        )
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.elector.run, args=(self.stop,), name="leader", daemon=True)
        self.thread.start()
        assert self.led.wait(30)

    def work(self, stop: threading.Event) -> None:
        self.told = stop
        self.led.set()
        self.ended.wait()

    def settle(self) -> None:
        eventually(lambda: "leader" in self.clock.waiting_threads())

    def hang(self) -> None:
        """Let it be stuck in its next renewal."""
        self.settle()
        self.lock.free.clear()
        self.lock.in_update.clear()
        self.clock.advance(2)
        assert self.lock.in_update.wait(30)


@contextmanager
def leader(server: FakeAPIServer, clock: FakeClock) -> Iterator[Leader]:
    leading = Leader(server, clock)
    try:
        yield leading
    finally:
        leading.ended.set()
        leading.stop.set()
        leading.lock.free.set()
        leading.thread.join(30)
        assert not leading.thread.is_alive()


def test_the_fence_is_open_until_shortly_before_the_lease_ends(campaign: Campaign, clock: FakeClock) -> None:
    """Counted from when the last renewal was sent."""
    a = campaign("a")
    a.leads()
    a.settle()
    assert a.elector.fence() == 14
    clock.advance(1.5)
    assert a.elector.fence() == 12.5
    a.step(0.5)
    assert a.elector.fence() == 14
    a.stop.set()
    a.ends()
    assert a.elector.fence() == 0


def test_the_time_that_a_renewal_takes_is_not_added(server: FakeAPIServer, clock: FakeClock) -> None:
    """Others may have seen it right after it was sent, and count from then."""

    class LateLock(LeaseLock):
        def create(self, record: LeaseRecord, timeout: float) -> LeaseRecord:
            stored = super().create(record, timeout)
            clock.advance(3)
            return stored

    led, end, left = threading.Event(), threading.Event(), list[float]()

    def work(stop: threading.Event) -> None:
        left.append(elector.fence())
        led.set()

    lock = LateLock(Client(server.url), "default", "test", "a")
    elector = LeaderElector(lock, on_started_leading=work, on_stopped_leading=lambda: None, clock=clock)
    thread = threading.Thread(target=elector.run, args=(end,), name="leader", daemon=True)
    thread.start()
    assert led.wait(30)
    end.set()
    thread.join(30)
    assert not thread.is_alive()
    assert left == [11]


@pytest.mark.parametrize(("lease", "renew", "left"), [(15, 10, 14), (60, 15, 59), (2, 1, 1.5), (1.2, 1, 1.1)])
def test_the_margin_is_a_second_or_half_of_what_there_is(
    lease: float, renew: float, left: float, campaign: Campaign
) -> None:
    a = campaign("a", lease_duration=lease, renew_deadline=renew, retry_period=0.5)
    a.leads()
    assert a.elector.fence() == pytest.approx(left)


def test_a_standby_has_a_closed_fence(campaign: Campaign) -> None:
    campaign("a").leads()
    b = campaign("b")
    b.settle()
    assert b.elector.fence() == 0
    assert not b.elector.is_leader


def test_a_leader_that_does_not_notice_cannot_write_any_more(server: FakeAPIServer, clock: FakeClock) -> None:
    with leader(server, clock) as a, server.client() as client:
        fenced = client.fenced(a.elector.fence)
        a.hang()
        write(fenced, "in-time")
        clock.advance(11.9)
        write(fenced, "last")
        clock.advance(0.1)
        assert a.lock.in_update.is_set()  # it is stuck still, and has not noticed
        assert a.thread.is_alive()
        with pytest.raises(NotLeading):
            write(fenced, "late")
        write(client, "unfenced")
        names = {entry.name for entry in server.requests if entry.resource == "configmaps"}
        assert names == {"in-time", "last", "unfenced"}


def test_the_work_is_told_to_stop_though_the_renewal_hangs(server: FakeAPIServer, clock: FakeClock) -> None:
    with leader(server, clock) as a:
        a.hang()
        assert a.told is not None
        clock.wait_for_waiters(1, timed=True)  # the guard
        clock.advance(7.9)
        clock.wait_for_waiters(1, timed=True)
        assert not a.told.is_set()
        clock.advance(0.1)
        assert a.told.wait(30)


def test_a_renewal_that_succeeds_after_the_work_was_told_to_stop_makes_no_leader(
    server: FakeAPIServer, clock: FakeClock
) -> None:
    with leader(server, clock) as a:
        a.hang()
        assert a.told is not None
        clock.advance(8)
        assert a.told.wait(30)
        a.ended.set()
        a.lock.free.set()  # the answer comes at last, within the lease
        a.thread.join(30)
        assert not a.thread.is_alive()
        assert a.elector.fence() == 0


def test_all_calls_of_one_renewal_together_end_in_time(server: FakeAPIServer, clock: FakeClock) -> None:
    """Each takes all the time it is given, and they are three: the renewal, and reading and writing after it failed."""

    class SlowLock(LeaseLock):
        slow = False

        def get(self, timeout: float) -> LeaseRecord:
            record = super().get(10.0)
            if self.slow:
                clock.advance(max(timeout, 0.0))
            return record

        def update(self, record: LeaseRecord, timeout: float) -> LeaseRecord:
            if not self.slow:
                return super().update(record, timeout)
            clock.advance(max(timeout, 0.0))
            raise ConnectionFailed("lost", sent=True)

    lock = SlowLock(Client(server.url), "default", "test", "a")
    led, stopped_at = threading.Event(), list[float]()

    def work(stop: threading.Event) -> None:
        lock.slow = True
        led.set()
        stop.wait()
        stopped_at.append(clock.monotonic())

    elector = LeaderElector(
        lock, on_started_leading=work, on_stopped_leading=lambda: None, release_on_cancel=False, clock=clock
    )
    thread = threading.Thread(target=elector.run, args=(threading.Event(),), name="leader", daemon=True)
    thread.start()
    assert led.wait(30)
    eventually(lambda: "leader" in clock.waiting_threads())
    clock.advance(2)
    thread.join(30)
    assert not thread.is_alive()
    assert stopped_at == [10.0]
    assert clock.monotonic() <= 15


def test_the_fence_is_open_while_the_work_winds_down_and_closed_when_it_is_given_up(campaign: Campaign) -> None:
    a = campaign("a", stop_timeout=20)
    a.may_end.clear()
    a.leads()
    a.stop.set()
    assert a.told_to_stop.wait(30)
    for _ in range(9):
        a.step(2)
        assert a.elector.fence() == 14
    a.step(2)
    a.ends()
    assert a.working
    assert a.elector.fence() == 0
    a.may_end.set()
    eventually(lambda: not a.working)


def test_the_fence_is_closed_before_the_lease_is_released(server: FakeAPIServer, campaign: Campaign) -> None:
    a = campaign("a")
    a.leads()
    a.settle()
    open_at_requests: list[bool] = []

    def look(_: object) -> bool:
        open_at_requests.append(a.elector.fence() > 0)
        return False

    server.faults.add(look, resource="leases", status=500)
    a.stop.set()
    a.ends()
    assert open_at_requests == [False, False]  # get and update


def test_a_lease_can_be_left_to_run_out(server: FakeAPIServer, campaign: Campaign) -> None:
    a = campaign("a")
    a.leads()
    a.elector.keep_lease()
    a.stop.set()
    a.ends()
    assert a.lock.get(10.0).holder == "a"
    assert not a.elector.is_leader


def test_a_leader_that_finds_a_lease_without_a_term_in_other_hands_has_lost(
    server: FakeAPIServer, campaign: Campaign
) -> None:
    """It may be taken at once, and yet somebody else has led."""
    a = campaign("a")
    a.leads()
    a.settle()
    stolen = a.lock.lease
    assert stolen is not None
    taken = stolen.to_dict()
    taken["spec"] = {"holderIdentity": "thief"}
    server.client().resource(GVR("coordination.k8s.io", "v1", "leases"), "default").update(taken)
    a.step(2)
    a.ends()
    assert a.lock.get(10.0).holder == "thief"


def test_time_in_which_the_machine_sleeps_counts() -> None:
    with FakeAPIServer() as server:
        lock = LeaseLock(server.client(), "default", "test", "a")
        for given in (None, SYSTEM):
            elector = LeaderElector(
                lock, on_started_leading=lambda stop: None, on_stopped_leading=lambda: None, clock=given
            )
            assert elector._clock is BOOT
    kind = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    before = time.clock_gettime(kind)
    assert before <= BOOT.monotonic() <= time.clock_gettime(kind)
