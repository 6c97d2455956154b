"""Numbers that are cheap to count and turned into metrics only when somebody scrapes.

A counter of prometheus_client costs about a microsecond per increment and its import 0.1 s; these cost a lock and
an addition, and need nothing imported.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Sequence

__all__ = ["Counter", "Histogram", "HistogramSnapshot"]

HistogramSnapshot = tuple[tuple[float, ...], tuple[int, ...], float]
"""Upper bounds; observations per bucket, not cumulative, one more than bounds; sum."""


class Counter:
    """A number that threads add to; a gauge, too, since it may go down."""

    __slots__ = ("_lock", "_value")

    def __init__(self, value: float = 0) -> None:
        self._value = value
        self._lock = threading.Lock()

    def add(self, amount: float = 1) -> None:
        with self._lock:
            self._value += amount

    @property
    def value(self) -> float:
        return self._value


class Histogram:
    """Observations counted in buckets with the given upper bounds (inclusive), plus their sum."""

    __slots__ = ("_bounds", "_counts", "_lock", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0
        self._lock = threading.Lock()  # guards counts and sum: a scrape sees both of one moment

    def observe(self, value: float) -> None:
        index = bisect_left(self._bounds, value)
        with self._lock:
            self._counts[index] += 1
            self._sum += value

    def snapshot(self) -> HistogramSnapshot:
        with self._lock:
            return self._bounds, tuple(self._counts), self._sum
