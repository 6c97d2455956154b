"""The figures a queue keeps about itself, as plain numbers; ``runtime.metrics`` collects them when scraped."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

# Upper bounds in seconds, as in controller-runtime: 10 ns to 1000 s (section 5.1 of client-go.md).
DURATION_BUCKETS: tuple[float, ...] = tuple(10.0**exponent for exponent in range(-8, 4))


@dataclass(frozen=True, slots=True)
class DurationStats:
    """A histogram: ``counts[i]`` durations <= ``DURATION_BUCKETS[i]`` and above the bucket before; the last
    count is of those above all buckets. Not cumulative. ``total_seconds`` is their sum."""

    counts: tuple[int, ...]
    total_seconds: float


@dataclass(frozen=True, slots=True)
class QueueStats:
    """One queue at one moment; the meaning of each figure is W16's.

    :ivar depth: items that want processing: queued, or added again while being processed.
    :ivar depth_by_priority: queued items per priority; empty unless the queue has priorities.
    :ivar delayed: items waiting for their time.
    :ivar adds: items accepted since the start; duplicates do not count.
    :ivar retries: calls of ``add_after`` and ``add_rate_limited`` since the start.
    :ivar unfinished_seconds: sum over the items being processed of the time since they were handed out.
    :ivar longest_running_seconds: the largest of those times.
    :ivar queue_duration: from add to get; only of named queues (W15).
    :ivar work_duration: from get to done; only of named queues.
    """

    name: str
    depth: int
    depth_by_priority: Mapping[int, int]
    delayed: int
    processing: int
    adds: int
    retries: int
    unfinished_seconds: float
    longest_running_seconds: float
    queue_duration: DurationStats
    work_duration: DurationStats
    shutting_down: bool


class Durations:
    """Collects durations; they are put into buckets later, many at once, off the path that is timed."""

    _BATCH = 4096

    def __init__(self) -> None:
        self._counts = [0] * (len(DURATION_BUCKETS) + 1)
        self._total = 0.0
        self._unsorted: list[float] = []

    def add(self, seconds: float) -> None:
        self._unsorted.append(seconds)
        if len(self._unsorted) >= self._BATCH:
            self._sort_in()

    def snapshot(self) -> DurationStats:
        self._sort_in()
        return DurationStats(tuple(self._counts), self._total)

    def _sort_in(self) -> None:
        counts = self._counts
        for seconds in self._unsorted:
            counts[bisect_left(DURATION_BUCKETS, seconds)] += 1
        self._total += sum(self._unsorted)
        self._unsorted.clear()
