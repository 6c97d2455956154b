"""The figures a queue keeps about itself, as plain numbers; ``runtime.metrics`` collects them when scraped."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from math import inf
from random import random
from typing import Final

# Upper bounds in seconds, as in controller-runtime: 10 ns to 1000 s (section 5.1 of client-go.md).
DURATION_BUCKETS: tuple[float, ...] = tuple(10.0**exponent for exponent in range(-8, 4))

_RARE: Final = 1e-3  # seconds: hand-outs no closer than this are all measured; a measurement costs 3 microseconds
_LARGEST_MEAN: Final = 1024  # hand-outs per measurement in the fastest burst


@dataclass(frozen=True, slots=True)
class DurationStats:
    """A histogram: ``counts[i]`` durations <= ``DURATION_BUCKETS[i]`` and above the bucket before; the last
    count is of those above all buckets. Not cumulative. ``total_seconds`` is their sum."""

    counts: tuple[int, ...]
    total_seconds: float


@dataclass(frozen=True, slots=True)
class QueueStats:
    """One queue at one moment; the meaning of each figure is W16's.

    The two durations of a named queue count every item. Each is measured as long as hand-outs are a millisecond or
    more apart; in a burst some are, picked at random, which stand for those up to the next one measured.

    :ivar depth: items that want processing: queued, or added again while being processed.
    :ivar depth_by_priority: the same per priority, 0 and those that had items before included (the first 26); empty if
        the queue has no priorities.
    :ivar delayed: items waiting for their time.
    :ivar parked: items that were given back by :meth:`PriorityQueue.park` and wait to be ready again.
    :ivar adds: items accepted since the start; duplicates do not count.
    :ivar retries: calls of ``add_after`` and ``add_rate_limited`` since the start.
    :ivar unfinished_seconds: sum over the items being processed of the time since they were handed out.
    :ivar longest_running_seconds: the largest of those times.
    :ivar queue_duration: from add, or from the time a delayed item is due, to get; only of named queues (W15).
    :ivar work_duration: from get to done; only of named queues.
    """

    name: str
    depth: int
    depth_by_priority: Mapping[int, int]
    delayed: int
    processing: int
    parked: int
    adds: int
    retries: int
    unfinished_seconds: float
    longest_running_seconds: float
    queue_duration: DurationStats
    work_duration: DurationStats
    shutting_down: bool


class Durations:
    """A histogram of durations of which not all are measured. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all below
        self._counts = [0] * (len(DURATION_BUCKETS) + 1)
        self._total = 0.0
        self._recorded = 0  # how many durations the counts stand for
        self._last = 0.0  # the last one measured

    def add(self, seconds: float, happened: int) -> None:
        """Record one measured duration.

        :param happened: how many there were since the start, this one included.
        """
        with self._lock:
            self._catch_up(happened - 1)
            self._last = seconds
            self._put(seconds, 1)

    def snapshot(self, happened: int) -> DurationStats:
        """All up to now; ``happened`` as for :meth:`add`."""
        with self._lock:
            self._catch_up(happened)
            return DurationStats(tuple(self._counts), self._total)

    def _catch_up(self, happened: int) -> None:
        if happened > self._recorded:
            self._put(self._last, happened - self._recorded)

    def _put(self, seconds: float, count: int) -> None:
        self._counts[bisect_left(DURATION_BUCKETS, seconds)] += count
        self._total += seconds * count
        self._recorded += count


class Sampling:
    """Which hand-outs are measured: all while they are rare, in a burst one of many at random.

    The distance to the next is drawn at random, so that no regularity of the load decides what is seen. It grows no
    faster than twofold from one to the next, so that the start of a burst stands for little of it.
    """

    def __init__(self) -> None:
        self._mean = 1
        self._last_number = 0
        self._last_time = -inf

    def next_after(self, number: int, now: float) -> tuple[int, float]:
        """The ``number``-th hand-out is measured ``now``; returns the number and the time of the next, whichever
        comes first."""
        elapsed, passed = now - self._last_time, number - self._last_number
        affordable = int(passed * _RARE / elapsed) if elapsed > 0 else _LARGEST_MEAN
        self._mean = max(1, min(2 * self._mean, affordable, _LARGEST_MEAN))
        self._last_number, self._last_time = number, now
        return number + 1 + int(random() * (2 * self._mean - 1)), now + _RARE  # noqa: S311 - no secret


class Measured:
    """What a queue measures: the two durations of the hand-outs that are sampled."""

    def __init__(self) -> None:
        self.queued_for = Durations()
        self.worked_for = Durations()
        self.running: dict[Hashable, float] = {}  # the sampled items being processed -> seconds they were queued
        self._sampling = Sampling()

    def handed_out(self, item: Hashable, waited: float, number: int, now: float) -> tuple[int, float]:
        """Measure the ``number``-th hand-out; returns which is the next, as :meth:`Sampling.next_after` does."""
        self.queued_for.add(waited, number)
        self.running[item] = waited
        return self._sampling.next_after(number, now)

    def finished(self, item: Hashable, worked: float, number: int) -> None:
        """A hand-out that was measured is done; ``number`` of all are."""
        if self.running.pop(item, None) is not None:
            self.worked_for.add(worked, number)
