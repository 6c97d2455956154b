"""Items that become ready later: a heap of due times with at most one live entry per item."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from math import inf
from typing import Final, Generic, TypeVar

T = TypeVar("T", bound=Hashable)

# What adding and subtracting floats may leave between a due time and the clock that reached it.
_ROUNDING: Final = 1e-9


class Delays(Generic[T]):
    """Not thread-safe: the queue that owns it calls with its lock held.

    Items due at different times come out in time order, at equal times in the order they were put in (W11).
    """

    def __init__(self) -> None:
        # A cell holds its item, or nothing once that is cancelled: the heap must not keep such an item alive.
        self.due_at: dict[T, tuple[float, list[T]]] = {}  # live items; the owner may test it for being empty
        self._heap: list[tuple[float, int, list[T]]] = []  # no two have the same number, so cells are never compared
        self._sequence = 0

    def put(self, item: T, due: float) -> None:
        """Have ``item`` come out at ``due``; of two times for one item the earlier is kept (W9)."""
        known = self.due_at.get(item)
        if known is not None:
            if known[0] <= due:
                return
            self.cancel(item)
        self._sequence += 1
        cell = [item]
        heapq.heappush(self._heap, (due, self._sequence, cell))
        self.due_at[item] = due, cell

    def cancel(self, item: T) -> None:
        """Drop ``item``, if it waits."""
        known = self.due_at.pop(item, None)
        if known is None:
            return
        known[1].clear()
        # Most entries come out by themselves; only many cancelled ones are worth a sweep.
        if len(self._heap) > 64 + 2 * len(self.due_at):
            self._heap = [entry for entry in self._heap if entry[2]]
            heapq.heapify(self._heap)

    def first_due(self, now: float) -> tuple[T, float] | None:
        """The first item due at ``now``, with its time. It stays until the owner, who has taken it on, cancels it."""
        due = self.next_due()
        return (self._heap[0][2][0], due) if due <= now + _ROUNDING else None

    def next_due(self) -> float:
        """When the first item is due; ``inf`` if there is none."""
        heap = self._heap
        while heap and not heap[0][2]:
            heapq.heappop(heap)
        return heap[0][0] if heap else inf

    def clear(self) -> None:
        """Drop them all."""
        self.due_at.clear()
        self._heap.clear()
