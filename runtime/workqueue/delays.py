"""Items that become ready later: a heap of due times with at most one live entry per item."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from dataclasses import dataclass, field
from math import inf
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

# What adding and subtracting floats may leave between a due time and the clock that reached it.
_ROUNDING = 1e-9


@dataclass(order=True, slots=True)
class _Entry(Generic[T]):
    due: float
    sequence: int
    item: T | None = field(compare=False)  # None: cancelled, so that the heap does not keep the item alive


class Delays(Generic[T]):
    """Not thread-safe: the queue that owns it calls with its lock held.

    Items due at different times come out in time order, at equal times in the order they were put in (W11).
    """

    def __init__(self) -> None:
        self.due_at: dict[T, _Entry[T]] = {}  # live entries; the owner may test it for being empty
        self._heap: list[_Entry[T]] = []
        self._sequence = 0

    def put(self, item: T, due: float) -> bool:
        """Have ``item`` come out at ``due``; of two times for one item the earlier is kept (W9).

        :returns: whether ``item`` is now the first to come out.
        """
        known = self.due_at.get(item)
        if known is not None:
            if known.due <= due:
                return False
            self.cancel(item)
        self._sequence += 1
        entry = self.due_at[item] = _Entry(due, self._sequence, item)
        heapq.heappush(self._heap, entry)
        return self._heap[0] is entry

    def cancel(self, item: T) -> None:
        entry = self.due_at.pop(item, None)
        if entry is None:
            return
        entry.item = None
        # Most entries come out by themselves; only many cancelled ones are worth a sweep.
        if len(self._heap) > 64 + 2 * len(self.due_at):
            self._heap = [entry for entry in self._heap if entry.item is not None]
            heapq.heapify(self._heap)

    def pop_due(self, now: float) -> list[T]:
        """Remove and return what is due at ``now``, the earliest first."""
        heap, due = self._heap, []
        while heap and heap[0].due <= now + _ROUNDING:
            item = heapq.heappop(heap).item
            if item is not None:
                del self.due_at[item]
                due.append(item)
        return due

    def next_due(self) -> float:
        """When the first item is due; ``inf`` if there is none."""
        heap = self._heap
        while heap and heap[0].item is None:
            heapq.heappop(heap)
        return heap[0].due if heap else inf

    def clear(self) -> None:
        self.due_at.clear()
        self._heap.clear()
