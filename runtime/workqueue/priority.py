"""A queue with priorities, in which nothing starves."""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict
from collections.abc import Callable, Hashable
from operator import neg
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
        self._running_priorities.pop(item, None)  # atomic; the item is still ours
        super().done(item)

    # All below is called with the lock held.

    def _add(self, item: T, priority: int, after: float) -> None:
        if self._closed:
            return
        known = self._priorities.get(item)
        if known is None or priority > known:
            self._priorities[item] = priority
            if known is not None and item in self._dirty and item not in self._processing:
                self._order.raise_from(item, known)
        if item in self._dirty:
            return
        if after > 0:
            self._put_delayed(item, after)
            return
        if known is not None:
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


class AgeingOrder(Generic[T]):
    """The order of a :class:`PriorityQueue`. Not thread-safe. Every step is O(1) in the number of items.

    :param wanted: the priority of each item that is appended; handing it out moves it to ``running``.
    """

    def __init__(self, wanted: dict[T, int], running: dict[T, int], monotonic: Callable[[], float]) -> None:
        self._wanted = wanted
        self._running = running
        self._monotonic = monotonic
        # FIFOs as OrderedDict: unlike a deque it can lose an item in the middle, unlike a dict its head is cheap.
        self._since: OrderedDict[T, float] = OrderedDict()  # all ready items -> when they became so
        self._classes: dict[int, OrderedDict[T, None]] = {}
        self._levels: list[int] = []  # the keys of _classes, the highest first
        self._aged_in_a_row = 0

    def append(self, item: T, /) -> None:
        self._since[item] = self._monotonic()
        fifo = self._classes.get(self._wanted[item])
        if fifo is None:
            fifo = self._new_class(self._wanted[item])
        fifo[item] = None

    def raise_from(self, item: T, left: int) -> None:
        """Move a ready item from the class it left to the end of the one it is wanted in; its age stays."""
        del self._classes[left][item]
        priority = self._wanted[item]
        fifo = self._classes.get(priority)
        if fifo is None:
            fifo = self._new_class(priority)
        fifo[item] = None

    def popleft(self) -> T:
        for level in self._levels:
            fifo = self._classes[level]
            if fifo:
                break
        if len(fifo) != len(self._since) and self._is_turn_of_oldest(level):
            self._aged_in_a_row += 1
            item = next(iter(self._since))
            del self._classes[self._wanted[item]][item], self._since[item]
        else:
            self._aged_in_a_row = 0
            item = fifo.popitem(last=False)[0]
            del self._since[item]
        self._running[item] = self._wanted.pop(item)
        return item

    def __len__(self) -> int:
        return len(self._since)

    def depths(self) -> dict[int, int]:
        """Ready items per priority."""
        return {level: len(fifo) for level, fifo in self._classes.items() if fifo}

    def _is_turn_of_oldest(self, highest: int) -> bool:
        """Whether the item that is ready for the longest time goes before those of the highest class."""
        item, since = next(iter(self._since.items()))
        if self._wanted[item] == highest:
            return False
        age = self._monotonic() - since
        return age >= AGED and self._aged_in_a_row < (_OVERDUE_IN_A_ROW if age >= OVERDUE else 1)

    def _new_class(self, priority: int) -> OrderedDict[T, None]:
        if len(self._levels) >= _LEVELS_KEPT:
            for level in [level for level in self._levels if not self._classes[level]]:
                del self._classes[level]
            self._levels = [level for level in self._levels if level in self._classes]
        fifo = self._classes[priority] = OrderedDict()
        insort(self._levels, priority, key=neg)
        return fifo
