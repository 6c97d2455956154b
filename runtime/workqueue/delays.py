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
        self.due_at: dict[T, tuple[float, int]] = {}  # live items; the owner may test it for being empty
        # Entries are numbers only, so a cancelled one keeps no item alive and garbage collections pass them by.
        self._heap: list[tuple[float, int]] = []  # due time, sequence number
        self._items: dict[int, T] = {}  # live items by sequence number
        self._sequence = 0

    def put(self, item: T, due: float) -> None:
        """Have ``item`` come out at ``due``; of two times for one item the earlier is kept (W9)."""
        known = self.due_at.get(item)
        if known is not None:
            if known[0] <= due:
                return
            self.cancel(item)
        self._sequence += 1
        entry = due, self._sequence
        heapq.heappush(self._heap, entry)
        self._items[self._sequence] = item
        self.due_at[item] = entry

    def cancel(self, item: T) -> None:
        """Drop ``item``, if it waits."""
        known = self.due_at.pop(item, None)
        if known is None:
            return
        del self._items[known[1]]
        # Most entries come out by themselves; only many cancelled ones are worth a sweep.
        if len(self._heap) > 64 + 2 * len(self._items):
            self._heap = [entry for entry in self._heap if entry[1] in self._items]
            heapq.heapify(self._heap)

    def next_due(self) -> float:
        """When the first item is due; ``inf`` if there is none."""
        heap = self._heap
        while heap and heap[0][1] not in self._items:
            heapq.heappop(heap)
        return heap[0][0] if heap else inf

    def first_due(self, now: float) -> tuple[T, float] | None:
        """The first item due at ``now``, with its time. It stays until :meth:`drop_first`."""
        due = self.next_due()
        return (self._items[self._heap[0][1]], due) if due <= now + _ROUNDING else None

    def drop_first(self) -> None:
        """The owner has taken on what :meth:`first_due` gave it."""
        number = self._heap[0][1]
        self.due_at.pop(self._items[number], None)  # first: an exception must not leave it there with nothing to come
        del self._items[number]
        heapq.heappop(self._heap)

    def clear(self) -> None:
        """Drop them all."""
        self.due_at.clear()
        self._items.clear()
        self._heap.clear()
