"""Never two leaders that act, whatever goes wrong between them, the server and the clock.

Work is one ConfigMap, written with the resourceVersion that was read, as controllers do. It says itself who wrote, in
order; so does the server's audit log. The terms of two leaders must never interleave.
"""

from __future__ import annotations

import contextlib
import random
import re
import signal
import threading
import time
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from runtime.client import Client, ClientError, ConnectionFailed, Unstructured
from runtime.leaderelection import LeaderElector, LeaseLock, LeaseRecord
from runtime.testing import FakeAPIServer, FakeClock
from runtime.testing.apiserver.faults.rules import Fault
from tests.runtime.leaderelection.contender import BLANK, CONFIGMAPS, NAMESPACE, WORK, written_by
from tests.runtime.leaderelection.failover import Contest
from tests.runtime.leaderelection.leaderelection_support import eventually

# What strikes at once. What makes a request wait takes real time, see the slow test.
SUDDEN: list[dict[str, Any]] = [
    {"status": 500},
    {"status": 503, "retry_after": 0},
    {"status": 429, "retry_after": 0},
    {"verb": ["create", "update"], "status": 409, "reason": "Conflict"},
    {"verb": "get", "status": 404},
    {"drop": "before"},
    {"drop": "after"},
    {"reset": "before"},
    {"reset": "after"},
    {"truncate": True},
    {"verb": ["list", "watch"], "stale": True},
    {"compact": True},
    {"skew": 86400.0},
    {"skew": -86400.0},
    {"verb": "watch", "at": {"probability": 0.5}, "lose": True},
    {"verb": "watch", "at": {"probability": 0.5}, "duplicate": 2},
    {"verb": "watch", "at": {"probability": 0.3}, "truncate": True},
    {"verb": "watch", "at": {"probability": 0.3}, "status": 410},
    {"verb": "watch", "at": {"probability": 0.3}, "end": "before"},
    {"verb": "watch", "at": {"probability": 0.3}, "stall": True},
    {"restart": True, "times": 1},
]
WAITING: list[dict[str, Any]] = [
    {"delay": [0.1, 1.5]},
    {"stall": 1.5},
    {"verb": "watch", "stall": True},
    {"pause": 1.0, "times": 1},
    {"pause": 3.0, "times": 1},
    {"restart": 1.0, "times": 1},
    {"verb": "update", "delay": 2.5},
]


FAULTS = Path(__file__).parents[3] / "docs" / "faults.md"


def test_every_fault_there_is_is_among_them() -> None:
    chapter = FAULTS.read_text().partition("## What happens")[2].partition("## The whole server")[0]
    words = {
        word for line in re.findall(r"^\| (`.+?`) \|", chapter, re.MULTILINE) for word in re.findall(r"`(\w+)`", line)
    }
    assert len(words) > 12
    assert words <= {word for fault in SUDDEN + WAITING for word in fault}


class ShiftedClock:
    """The time of another clock, on a machine whose wall clock is wrong."""

    def __init__(self, clock: FakeClock, shift: float) -> None:
        self._clock = clock
        self._shift = timedelta(seconds=shift)
        self.monotonic = clock.monotonic
        self.wait = clock.wait
        self.wait_event = clock.wait_event
        self.sleep = clock.sleep

    def now(self) -> datetime:
        return self._clock.now() + self._shift


class HangingLock(LeaseLock):
    """Its writes hang while ``free`` is clear, before they are sent or after: the process is stopped there."""

    def __init__(self, client: Client, identity: str) -> None:
        super().__init__(client, NAMESPACE, "contest", identity)
        self.free = threading.Event()
        self.free.set()
        self.hangs = False
        self.sends_first = False

    def update(self, record: LeaseRecord, timeout: float) -> LeaseRecord:
        if not self.sends_first:
            self._hang()
        try:
            return super().update(record, timeout)
        finally:
            self._hang()

    def _hang(self) -> None:
        self.hangs = not self.free.is_set()
        self.free.wait()
        self.hangs = False


class Contestant:
    """One candidate. Its work does not care about its stop event: only the fence keeps it from writing."""

    def __init__(self, server: FakeAPIServer, identity: str, clock: FakeClock, shift: float) -> None:
        self.identity = identity
        self._clock = clock
        self.lock = HangingLock(Client(server.url, user_agent=identity), identity)
        self.elector = LeaderElector(
            self.lock,
            on_started_leading=lambda stop: None,
            on_stopped_leading=lambda: None,
            clock=ShiftedClock(clock, shift),
        )
        self.works = Client(server.url, user_agent=identity).fenced(self.elector.fence).resource(CONFIGMAPS, NAMESPACE)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.elector.run, args=(self.stop,), name=identity, daemon=True)
        self.thread.start()

    def act(self) -> None:
        with contextlib.suppress(ClientError):
            self.works.update(written_by(self.works.get(WORK).to_dict(), self.identity))

    def settle(self) -> None:
        eventually(
            lambda: self.lock.hangs or not self.thread.is_alive() or self.identity in self._clock.waiting_threads(),
            f"{self.identity} waits",
        )

    def end(self) -> None:
        self.lock.free.set()
        self.stop.set()
        self.thread.join(30)
        assert not self.thread.is_alive()


def terms_of(server: FakeAPIServer) -> list[str]:
    """Who wrote, in order, as the object has it."""

    def read() -> Unstructured | None:
        with contextlib.suppress(ConnectionFailed):  # it may just be coming up again
            return server.client().resource(CONFIGMAPS, NAMESPACE).get(WORK)
        return None

    terms: list[str] = eventually(read)["data"]["terms"].split()
    return terms


def check_terms(server: FakeAPIServer) -> list[str]:
    """Who wrote, in order; nobody in two terms."""
    stored = terms_of(server)
    assert len(stored) == len(set(stored)), f"writes interleave: {stored}"
    answered = [e.user_agent for e in server.requests.writes("configmaps") if e.name == WORK and e.code == 200]
    logged = [identity for identity, _ in groupby(answered) if identity.startswith("contestant")]
    assert len(logged) == len(set(logged)), f"writes interleave: {logged}"
    return stored


class Storm:
    """Two contestants at a time on one clock, and what happens to them by chance."""

    def __init__(self, server: FakeAPIServer, seed: int) -> None:
        self.server = server
        self.chance = random.Random(seed)
        self.clock = FakeClock()
        self.all: list[Contestant] = []
        self.present: list[Contestant] = [self.another(), self.another()]

    def another(self) -> Contestant:
        identity = f"contestant-{len(self.all)}"
        shift = self.chance.choice([0.0, -3600.0, 86400.0, -5.0])
        self.all.append(Contestant(self.server, identity, self.clock, shift))
        return self.all[-1]

    def step(self, longest: float) -> None:
        for contestant in self.present:
            contestant.settle()
        self.clock.advance(self.chance.uniform(0, longest))
        for contestant in self.all:  # those of before, too: they are the ones to be kept out
            contestant.act()
        assert sum(contestant.elector.fence() > 0 for contestant in self.all) <= 1
        for at, contestant in enumerate(self.present):
            contestant.settle()
            if not contestant.thread.is_alive():
                self.present[at] = self.another()

    def befall(self) -> None:
        """One thing that goes wrong, or gets right."""
        match self.chance.randrange(4):
            case 0:
                self.server.faults.clear()
            case 1 | 2:
                fault = {"probability": self.chance.choice([0.3, 0.7, 1.0]), **self.chance.choice(SUDDEN)}
                victim = {"user_agent": self.chance.choice(self.present).identity} if self.chance.random() < 0.5 else {}
                self.server.faults.add(**{"resource": "leases", **victim, **fault})
            case 3:
                lock = self.chance.choice(self.present).lock
                if lock.free.is_set():
                    lock.sends_first = self.chance.random() < 0.5
                    lock.free.clear()
                elif self.chance.random() < 0.4:  # long enough for another to lead
                    lock.free.set()

    def calm(self) -> None:
        self.server.faults.clear()
        for contestant in self.all:
            contestant.lock.free.set()

    def acts_again(self) -> bool:
        """Let some time pass; whether who leads now has the last word."""
        self.step(longest=2.0)
        last = terms_of(self.server)[-1:]
        return [each.identity for each in self.present if each.elector.fence() > 0] == last != []

    def end(self) -> None:
        self.calm()
        for contestant in self.all:
            contestant.end()


@pytest.mark.parametrize("seed", [*range(10), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(10, 60))])
def test_never_two_leaders_act(seed: int) -> None:
    with FakeAPIServer(seed=seed) as server:
        server.client().resource(CONFIGMAPS, NAMESPACE).create(BLANK)
        storm = Storm(server, seed)
        try:
            for _ in range(40):
                storm.befall()
                storm.step(longest=4.0)
            storm.calm()
            before = len(check_terms(server))
            eventually(storm.acts_again, "somebody acts again")
            assert len(check_terms(server)) >= max(before, 1)
        finally:
            storm.end()
        check_terms(server)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_never_two_processes_act(seed: int) -> None:
    """Whole managers; what goes wrong takes real time: requests that hang, a server that stands still, processes that
    are stopped for longer than their lease, and killed."""
    chance = random.Random(seed)
    with FakeAPIServer(seed=seed) as server, Contest(server, lease_duration=1.0) as contest:
        present = [contest.join(), contest.join()]
        contest.leads_any(present)
        faults: list[Fault] = []
        ends = time.monotonic() + 20
        while time.monotonic() < ends:
            fault = {"probability": chance.choice([0.2, 0.6, 1.0]), **chance.choice(SUDDEN + WAITING)}
            victim = {"user_agent": chance.choice(present)} if chance.random() < 0.5 else {}
            faults.append(server.faults.add(**{"resource": chance.choice(["leases", "*"]), **victim, **fault}))
            stopped = chance.choice(present) if chance.random() < 0.3 else None
            if stopped is not None:
                contest.signal(stopped, signal.SIGSTOP)
            time.sleep(chance.uniform(0.2, 1.5))
            if stopped is not None:
                contest.signal(stopped, signal.SIGCONT)
            if chance.random() < 0.7:
                server.faults.remove(faults[-1])
            if chance.random() < 0.1:
                contest.signal(chance.choice(present), signal.SIGKILL)
            present = [identity if contest.runs(identity) else contest.join() for identity in present]
        for each in faults:
            server.faults.remove(each)
        contest.leads_any(present)
        for identity in present:
            contest.signal(identity, signal.SIGKILL)
            contest.wait(identity)
        assert len(check_terms(server)) >= 2
        contest.check()
