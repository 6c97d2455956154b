"""Candidates that compete for one lease on a real API server, in the time of a fake clock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from runtime.client import Client
from runtime.leaderelection import LeaderElector, LeaseLock
from tests.support.waiting import eventually as eventually


class Candidate:
    """An elector in a thread of its own, and what its callbacks saw."""

    def __init__(self, client: Client, identity: str, clock: Any, **options: Any) -> None:
        self.clock = clock
        self.stop = threading.Event()
        self.leaders: list[str] = []
        self.working = False
        self.started = 0
        self.stopped = 0
        self.may_end = threading.Event()
        self.may_end.set()
        self.told_to_stop = threading.Event()
        self.error: BaseException | None = None
        self.lock = LeaseLock(client, "default", "test", identity, **options.pop("lock", {}))
        work = options.pop("work", self.work)
        self.elector = LeaderElector(
            self.lock,
            on_started_leading=work,
            on_stopped_leading=self.on_stopped,
            on_new_leader=self.leaders.append,
            clock=clock,
            **options,
        )
        self.thread = threading.Thread(target=self.run, name=f"candidate-{identity}", daemon=True)
        self.thread.start()

    def run(self) -> None:
        try:
            self.elector.run(self.stop)
        except BaseException as error:
            self.error = error

    def work(self, stop: threading.Event) -> None:
        self.started += 1
        self.working = True
        stop.wait()
        self.told_to_stop.set()
        self.may_end.wait()
        self.working = False

    def on_stopped(self) -> None:
        self.stopped += 1

    def leads(self) -> None:
        eventually(lambda: self.working and self.elector.is_leader, f"{self.elector.identity} leads")

    def ends(self) -> None:
        self.thread.join(10)
        assert not self.thread.is_alive(), f"{self.elector.identity} does not end"

    def step(self, seconds: float) -> None:
        """Let this candidate's time pass once it waits for it, and wait until it waits again or has ended."""
        self.settle()
        self.clock.advance(seconds)
        self.settle()

    def settle(self) -> None:
        """Wait until the elector's own thread waits for the clock."""
        eventually(
            lambda: not self.thread.is_alive() or self.thread.name in self.clock.waiting_threads(),
            f"{self.thread.name} waits",
        )


Campaign = Callable[..., Candidate]
