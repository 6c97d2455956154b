"""Measures one client in its own process, phase by phase.

What is timed begins just before the client starts, its imports excluded, and ends when the last key was enqueued.
All clients enqueue into the same queue.
"""

from __future__ import annotations

import gc
import json
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Literal, TypeAlias

from bench.gauges import cpu_seconds, reset_peak, resident, settled
from runtime.workqueue import Queue

Measure: TypeAlias = Literal["cpu", "memory", "latency"]

DEADLINE = 300.0
_COLLECTIONS = 5
_KEEP_SHORT = 256


class NotReached(Exception):
    """A client did not do its work in time. The message tells how far it came."""


class Meter:
    """Counts the notifications of a client and reads the gauges at the phases' ends.

    :ivar event: what a handler calls, with the key to reconcile; in one thread at a time.
    :ivar result: the figures so far.
    """

    def __init__(self, url: str, measure: Measure) -> None:
        self._url = url
        self.measure: Measure = measure
        # Where memory is measured, that of the client and not of the keys it has enqueued.
        self.event: Callable[[str], None] = self._enqueue_and_drain if measure == "memory" else self._enqueue
        self.result: dict[str, float] = {}
        self._queue: Queue[str] = Queue()
        self._latencies: list[int] = []
        self._count = 0
        self._target = -1
        self._reached = threading.Event()

    def _enqueue(self, key: str) -> None:
        self._queue.add(key)
        self._count += 1
        if self._count == self._target:
            self._reached.set()

    def _enqueue_and_drain(self, key: str) -> None:
        self._enqueue(key)
        if len(self._queue) >= _KEEP_SHORT:
            self.drain()

    def arrived(self, now: int, sent: str, key: str) -> None:
        """A notification reached its handler at ``now``; the server sent the event at ``sent`` (ns since 1970)."""
        if sent.strip("0"):
            self._latencies.append(now - int(sent))
        self._enqueue(key)

    def drain(self) -> None:
        """Work off the queue."""
        queue = self._queue
        while len(queue):
            queue.done(queue.get())

    def begin(self, notifications: int) -> None:
        """A phase begins; it ends after so many notifications."""
        self.drain()
        gc.collect()
        self._count, self._target = 0, notifications
        self._reached.clear()
        if not notifications:
            self._reached.set()
        self._cpu, self._wall = cpu_seconds(), time.perf_counter()

    def wait(self, also: Callable[[], bool] | None = None) -> None:
        """Until the phase's notifications have come and ``also`` is true.

        :raises NotReached: not within :data:`DEADLINE`.
        """
        if not self._reached.wait(DEADLINE):
            raise NotReached(f"{self._count} of {self._target} notifications within {DEADLINE:.0f} s")
        self.wait_for(also or (lambda: True), "a client that says it is ready")

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """:raises NotReached: not within :data:`DEADLINE`."""
        ends = time.monotonic() + DEADLINE
        while not condition():
            if time.monotonic() > ends:
                raise NotReached(f"no {what} within {DEADLINE:.0f} s; {self._count} notifications")
            time.sleep(0.002)

    def end(self, phase: str) -> None:
        """Record what the phase took."""
        self.result[f"{phase}_cpu"] = cpu_seconds() - self._cpu
        self.result[f"{phase}_wall"] = time.perf_counter() - self._wall
        if self.measure == "memory":
            self.result[f"{phase}_peak"] = resident("VmHWM")
            self.drain()
            self.result[f"{phase}_rss"] = settled()
            reset_peak()

    def collect_garbage(self) -> None:
        """Record how long a full collection stops the process: the median of a few."""
        gc.collect()  # what came since the last one is not what is asked for
        pauses = []
        for _ in range(_COLLECTIONS):
            began = time.perf_counter()
            gc.collect()
            pauses.append(time.perf_counter() - began)
        self.result["gc_pause"] = sorted(pauses)[_COLLECTIONS // 2]

    def latencies(self) -> None:
        """Record the distribution of what :meth:`arrived` was told."""
        ordered = sorted(self._latencies)
        if len(ordered) != self._target:
            raise NotReached(f"{len(ordered)} of {self._target} events carried the time they were sent")
        for name, part in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)):
            self.result[name] = ordered[int(part * (len(ordered) - 1))] / 1e9

    def tell(self, verb: str) -> object:
        """Ask the replay server for the next part of its script."""
        return control(self._url, verb)


def control(url: str, verb: str) -> object:
    """One request to ``/_bench/`` of the replay server."""
    with urllib.request.urlopen(f"{url}/_bench/{verb}", timeout=60) as answer:
        return json.load(answer)
