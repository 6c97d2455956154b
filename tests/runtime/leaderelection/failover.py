"""How long nobody leads: ``python -m tests.runtime.leaderelection.failover --rounds 100``.

Two processes compete for a lease. The leader is killed, or told to stop, again and again, at any moment between two
renewals, and a new standby takes its place. Every write is in the API server's audit log: those of two leaders never
interleave, and none is made twice. Exits with 1 if they do.
"""

from __future__ import annotations

import argparse
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Self

from runtime.testing import FakeAPIServer
from runtime.testing.apiserver.faults.rules import Asked
from tests.runtime.leaderelection.contender import BLANK, CONFIGMAPS, LEASE, NAMESPACE, WORK
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Takeover:
    """Seconds until the first write of the next leader was there: since the signal, and since the last write of the
    Lease by the one before, a renewal or its release."""

    since_signal: float
    since_lease: float


class Contest:
    """A server, and contenders as processes. Each has an identity of its own, and works as long as it leads."""

    def __init__(self, server: FakeAPIServer, lease_duration: float = 2.0) -> None:
        self.server = server
        self.lease_duration = lease_duration
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._seen_lock = threading.Lock()  # guards the three below
        self._watching: set[str] = set()
        self._wrote_lease: dict[str, float] = {}
        self._wrote: dict[str, list[float]] = {}
        server.client().resource(CONFIGMAPS, NAMESPACE).create(BLANK)
        server.faults.add(self._see, status=500)  # strikes nothing: it only looks

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    def join(self) -> str:
        """Start a contender; returns its identity."""
        identity = f"contender-{len(self._processes)}"
        command = [sys.executable, "-m", "tests.runtime.leaderelection.contender"]
        command += [self.server.url, identity, str(self.lease_duration)]
        self._processes[identity] = subprocess.Popen(command, cwd=ROOT)
        return identity

    def leads(self, identity: str, writes: int = 3) -> None:
        eventually(lambda: self.writes(identity) >= writes, f"{identity} writes")

    def leads_any(self, identities: Sequence[str]) -> None:
        """Wait until one of them writes, now."""
        before = sum(map(self.writes, identities))
        eventually(lambda: sum(map(self.writes, identities)) > before, f"one of {identities} writes", timeout=60)

    def stands_by(self, identity: str) -> None:
        eventually(lambda: identity in self._watching, f"{identity} watches the lease")

    def writes(self, identity: str) -> int:
        with self._seen_lock:
            return len(self._wrote.get(identity, ()))

    def signal(self, identity: str, number: signal.Signals) -> float:
        """Send it; returns when."""
        sent = time.monotonic()
        self._processes[identity].send_signal(number)
        return sent

    def runs(self, identity: str) -> bool:
        return self._processes[identity].poll() is None

    def wait(self, identity: str) -> int:
        """The exit status, once it has ended."""
        return self._processes[identity].wait(60)

    def took_over(self, leader: str, standby: str, ended: float) -> Takeover:
        """Wait until the standby works, after the leader was sent its signal."""
        self.leads(standby, writes=1)
        self.wait(leader)
        with self._seen_lock:
            began = self._wrote[standby][0]
            return Takeover(began - ended, began - self._wrote_lease[leader])

    def check(self) -> list[str]:
        """Who has led so far, in order, as the audit log has it.

        :raises AssertionError: writes of two leaders interleave.
        """
        terms = [identity for identity, _ in groupby(self._written())]
        assert len(terms) == len(set(terms)), f"writes interleave: {terms}"
        return terms

    def check_at_the_end(self) -> int:
        """How many writes there were; nobody writes any more.

        :raises AssertionError: the audit log has others than the object tells of: one was lost, or made twice.
        """
        data = self.server.client().resource(CONFIGMAPS, NAMESPACE).get(WORK)["data"]
        assert data["terms"].split() == self.check()
        assert int(data["writes"]) == len(self._written())
        return len(self._written())

    def _written(self) -> list[str]:
        writes = self.server.requests.writes("configmaps")
        return [entry.user_agent for entry in writes if entry.name == WORK and entry.code == 200]

    def _see(self, asked: Asked) -> bool:
        now, who = time.monotonic(), asked.user_agent
        with self._seen_lock:
            if asked.resource == "leases" and asked.verb == "watch":
                self._watching.add(who)
            elif asked.resource == "leases" and asked.verb == "update":
                self._wrote_lease[who] = now
            elif asked.resource == "configmaps" and asked.verb == "update":
                self._wrote.setdefault(who, []).append(now)
        return False


def rounds(contest: Contest, count: int, number: signal.Signals, seed: int) -> list[Takeover]:
    """End the leader ``count`` times."""
    moment = random.Random(seed)
    leader = contest.join()
    contest.leads(leader)
    standby = contest.join()
    taken = []
    for _ in range(count):
        contest.stands_by(standby)
        time.sleep(moment.uniform(0, contest.lease_duration / 5))  # any moment between two renewals
        ended = contest.signal(leader, number)
        third = contest.join()
        taken.append(contest.took_over(leader, standby, ended))
        contest.check()
        leader, standby = standby, third
    for identity in (standby, leader):
        contest.signal(identity, signal.SIGKILL)
        contest.wait(identity)
    return taken


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100, help="leaders to end (default: %(default)s)")
    parser.add_argument("--lease", type=int, default=2, help="seconds of the lease (default: %(default)s)")
    parser.add_argument("--signal", choices=["KILL", "TERM"], default="KILL", help="how (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    options = parser.parse_args(argv)
    with FakeAPIServer() as server, Contest(server, options.lease) as contest:
        taken = rounds(contest, options.rounds, signal.Signals[f"SIG{options.signal}"], options.seed)
        leaders, writes = len(contest.check()), contest.check_at_the_end()
    print(f"{options.rounds} leaders ended by SIG{options.signal}, lease {options.lease} s ({LEASE}):")
    for name, figures in (
        ("since the signal", [one.since_signal for one in taken]),
        ("since the lease was last written", [one.since_lease for one in taken]),
    ):
        low, middle, high = min(figures), statistics.median(figures), max(figures)
        print(f"  first write {name}: min {low:.3f}  median {middle:.3f}  max {high:.3f} s")
    print(f"  {writes} writes of {leaders} leaders: none interleaved, none twice")
    return 0


if __name__ == "__main__":
    sys.exit(main())
