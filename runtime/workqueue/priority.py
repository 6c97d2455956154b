"""A queue with priorities, in which nothing starves."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from runtime.clock import Clock
from runtime.workqueue.delaying import RateLimitingQueue
from runtime.workqueue.limiters import RateLimiter
from runtime.workqueue.queue import ReadyOrder

T = TypeVar("T", bound=Hashable)

# An item ready for AGED seconds competes with higher priorities for every second hand-out; one ready for
# OVERDUE seconds gets nine of ten, which serves it within a minute of becoming ready as long as there are
# workers for it at all. The rest stays with the live changes: behind the initial list of a big cluster, all of it
# overdue, a live change still waits for ten items and not for ten thousand.
AGED = 20.0
OVERDUE = 45.0
_OVERDUE_IN_A_ROW = 9
_LEVELS_KEPT = 16  # empty classes of a few priorities are kept for the next item, of many are not


class PriorityQueue(RateLimitingQueue[T]):
    """A :class:`RateLimitingQueue` that hands out the highest priority first, FIFO within one (P2).

    One entry per item, ready or waiting: adding it again keeps the higher priority and the earlier time, where no
    delay means now; raising its priority moves it to the end of the higher class, lowering is ignored (P1, P3).
    A ready item is served within 60 s whatever is added above it. QUIRK (P4): controller-runtime has no ageing,
    and drops what is queued at shut-down; this one drains like the other queues (W5).
    """

    def __init__(self, rate_limiter: RateLimiter | None = None, name: str = "", clock: Clock | None = None) -> None:
        self._priorities: dict[T, int] = {}  # of the items that are ready, dirty or delayed
        self._running_priorities: dict[T, int] = {}  # what those being processed were handed out with
        super().__init__(rate_limiter, name, clock)

    def add(self, item: T, priority: int = 0, after: float = 0.0) -> None:
        """Have ``item`` processed in ``after`` seconds; higher ``priority`` first."""
        with self._lock:
            self._add(item, priority, after)

    def add_after(self, item: T, delay: float, priority: int | None = None) -> None:
        """As :meth:`DelayingQueue.add_after`, except that a ready item stays ready and takes no delay.

        :param priority: ``None`` keeps that with which the item is being processed, else 0 (C7).
        """
        with self._lock:
            self._retries += 1
            if priority is None:
                priority = self._running_priorities.get(item, 0)
            self._add(item, priority, delay)

    def add_rate_limited(self, item: T, priority: int | None = None) -> None:
        """As :meth:`RateLimitingQueue.add_rate_limited`; ``priority`` as for :meth:`add_after`."""
        self.add_after(item, self._rate_limiter.when(item), priority)

    def priority(self, item: T) -> int:
        """The priority with which ``item`` is being processed; 0 if nobody processes it."""
        with self._lock:
            return self._running_priorities.get(item, 0)

    def done(self, item: T) -> None:
        with self._lock:
            self._running_priorities.pop(item, None)
        super().done(item)

    # All below is called with the lock held.

    def _add(self, item: T, priority: int, after: float) -> None:
        if self._closed:
            return
        known = self._priorities.get(item)
        raised = known is None or priority > known
        if raised:
            self._priorities[item] = priority
        if item in self._dirty:
            if raised and item not in self._processing:
                self._order.raise_to(item, priority)
        elif after > 0:
            self._put_delayed(item, after)
        else:
            self._delays.cancel(item)
            self._make_ready(item, self._monotonic())

    def _new_ready_order(self) -> ReadyOrder[T]:
        self._order: AgeingOrder[T] = AgeingOrder(self._priorities, self._running_priorities, self._monotonic)
        return self._order

    def _depth_by_priority(self) -> dict[int, int]:
        return self._order.depths()

    def _close(self) -> None:
        super()._close()
        for item in self._priorities.keys() - self._dirty.keys():  # the delayed ones were dropped
            del self._priorities[item]


@dataclass(eq=False, slots=True)
class _Ready(Generic[T]):
    """A ready item. ``item`` is ``None`` once it was handed out; the deques drop such entries later."""

    item: T | None
    priority: int
    since: float


class AgeingOrder(Generic[T]):
    """The order of a :class:`PriorityQueue`. Not thread-safe.

    An entry stands in the FIFO of its priority and in the FIFO of all. Leaving one of them marks the entry, and
    the other drops it when it comes to its head: every step is O(1) in the number of items.

    :param wanted: the priority of each item that is appended; handing it out moves it to ``running``.
    """

    def __init__(self, wanted: dict[T, int], running: dict[T, int], monotonic: Callable[[], float]) -> None:
        self._wanted = wanted
        self._running = running
        self._monotonic = monotonic
        self._entries: dict[T, _Ready[T]] = {}
        self._classes: dict[int, deque[_Ready[T]]] = {}
        self._levels: list[int] = []  # the keys of _classes, the highest last
        self._oldest: deque[_Ready[T]] = deque()
        self._aged_in_a_row = 0

    def append(self, item: T, /) -> None:
        entry = self._entries[item] = _Ready(item, self._wanted[item], self._monotonic())
        self._class(entry.priority).append(entry)
        self._oldest.append(entry)

    def raise_to(self, item: T, priority: int) -> None:
        """Move a ready item to the end of a higher class; its age stays."""
        entry = self._entries[item]
        left, entry.priority = entry.priority, priority
        self._class(priority).append(entry)
        self._drop_stale(left)

    def popleft(self) -> T:
        entry = self._first_of_highest()
        oldest = self._first_of_all()
        if oldest.priority < entry.priority and self._is_turn_of(oldest):
            self._aged_in_a_row += 1
            entry = oldest
        else:
            self._aged_in_a_row = 0
        item = entry.item
        assert item is not None
        entry.item = None
        del self._entries[item]
        self._running[item] = self._wanted.pop(item)
        self._drop_stale(entry.priority)
        return item

    def __len__(self) -> int:
        return len(self._entries)

    def depths(self) -> dict[int, int]:
        """Ready items per priority."""
        counts: dict[int, int] = {}
        for entry in self._entries.values():
            counts[entry.priority] = counts.get(entry.priority, 0) + 1
        return counts

    def _is_turn_of(self, oldest: _Ready[T]) -> bool:
        age = self._monotonic() - oldest.since
        return age >= AGED and self._aged_in_a_row < (_OVERDUE_IN_A_ROW if age >= OVERDUE else 1)

    def _class(self, priority: int) -> deque[_Ready[T]]:
        fifo = self._classes.get(priority)
        if fifo is None:
            fifo = self._classes[priority] = deque()
            insort(self._levels, priority)
        return fifo

    def _first_of_highest(self) -> _Ready[T]:
        while True:
            level = self._levels[-1]
            fifo = self._classes[level]
            while fifo and (fifo[0].item is None or fifo[0].priority != level):
                fifo.popleft()
            if fifo:
                return fifo[0]
            del self._classes[level], self._levels[-1]

    def _first_of_all(self) -> _Ready[T]:
        oldest = self._oldest
        while oldest[0].item is None:
            oldest.popleft()
        return oldest[0]

    def _drop_stale(self, level: int) -> None:
        """Clean up after an entry has left its class: the head of that, and the FIFO of all if half is stale."""
        fifo = self._classes[level]
        while fifo and (fifo[0].item is None or fifo[0].priority != level):
            fifo.popleft()
        if not fifo and len(self._levels) > _LEVELS_KEPT:
            del self._classes[level]
            self._levels.remove(level)
        if len(self._oldest) > 64 + 2 * len(self._entries):
            self._oldest = deque(entry for entry in self._oldest if entry.item is not None)
