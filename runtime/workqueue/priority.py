"""A queue with priorities, in which nothing starves."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from itertools import islice
from typing import TypeVar

from runtime.clock import Clock
from runtime.workqueue.ageing import AgeingOrder
from runtime.workqueue.delaying import RateLimitingQueue
from runtime.workqueue.limiters import RateLimiter
from runtime.workqueue.places import Place, Whereabouts
from runtime.workqueue.queue import ADD, PLAIN, RETRY, UNPARK

T = TypeVar("T", bound=Hashable)


class PriorityQueue(RateLimitingQueue[T]):
    """A :class:`RateLimitingQueue` that hands out the highest priority first, FIFO within one (P2).

    One entry per item, ready or waiting: adding it again keeps the higher priority and the earlier time, where no
    delay means now, so the smaller of two delays wins (P3, P7). Raising its priority moves it to the end of the higher
    class, lowering is ignored (P1). Adders never wait for a lock (P6).
    A ready item is served within 60 s whatever is added above it. QUIRK (P4): controller-runtime has no ageing,
    and drops what is queued at shut-down; this one drains like the other queues (W5).
    """

    def __init__(self, rate_limiter: RateLimiter | None = None, name: str = "", clock: Clock | None = None) -> None:
        self._priorities: dict[T, int] = {}  # of what is ready, wanted again or delayed; if not 0
        self._running_priorities: dict[T, int] = {}  # what those being processed were handed out with; not 0
        self._seen = {0}  # an item of priority 0 may go straight to a worker and leave no trace
        super().__init__(rate_limiter, name, clock)

    def add(self, item: T, priority: int = 0, after: float = 0.0) -> None:
        """Have ``item`` processed in ``after`` seconds; higher ``priority`` first."""
        if item in self._queued and not self._notes and self._priorities.get(item, 0) >= priority:
            return
        self._leave_note(ADD if priority or after > 0 else PLAIN, item, priority, after)

    def add_after(self, item: T, delay: float, priority: int | None = None) -> None:
        """As :meth:`DelayingQueue.add_after`, except that a ready item stays ready and takes no delay.

        :param priority: ``None`` keeps that with which the item is being processed, else 0 (C7).
        """
        self._leave_note(RETRY, item, self.priority(item) if priority is None else priority, delay)

    def add_rate_limited(self, item: T, priority: int | None = None) -> None:
        """As :meth:`RateLimitingQueue.add_rate_limited`; ``priority`` as for :meth:`add_after`."""
        self.add_after(item, self._rate_limiter.when(item), priority)

    def priority(self, item: T) -> int:
        """The priority with which ``item`` is being processed; 0 if nobody processes it."""
        return self._running_priorities.get(item, 0)

    def park(self, item: T, seconds: float) -> None:
        """Give ``item`` back unprocessed, in place of :meth:`done`: it is ready again after :meth:`unpark`.

        Nobody gets it meanwhile: what is added of it, now or with a delay, only raises its priority. It comes back
        with its priority, at the head of that class and no younger than it was, for its turn had come before. A
        shut-down lets it come back at once, to be handed out with the rest (W5).

        Takes the lock, unlike ``done``: it is for the rare item that cannot be processed yet.

        :param seconds: it comes back after so long in any case.
        """
        try:
            with self._lock:
                self._take_in()
                self._park(item, seconds)
        except BaseException:
            self._repair()
            raise

    def unpark(self, item: T) -> None:
        """Have ``item`` ready again if it is parked; no effect otherwise. Waits for no lock, as :meth:`add`."""
        self._leave_note(UNPARK, item, 0, 0.0)

    def places(self, asked: Iterable[T], most: int) -> dict[T, Place]:
        """Where items are at this moment: those ``asked`` for, as far as they are known, and ``most`` each of those
        being processed, parked, and ready, of which these are the ones that became ready first.

        What is ready and being processed, too, or parked and to be ready at some time, is in the former place. Costs a
        step for each item returned, however long the queue is.
        """
        asked = list(asked)
        with self._lock:
            self._take_in()
            now = self._monotonic()
            found: dict[T, Place] = {}
            for item, (due, _) in [(item, self._delayed[item]) for item in asked if item in self._delayed]:
                found[item] = Place("delayed", max(0.0, due - now), self._priorities.get(item, 0))
            processing = dict(self._processing)  # a done() takes no lock
            states: tuple[tuple[Whereabouts, Mapping[T, float], Mapping[T, int]], ...] = (
                ("queued", self._queued, self._priorities),
                ("parked", self._parked, self._priorities),
                ("running", processing, self._running_priorities),
            )
            for where, since, priorities in states:
                for item in (*islice(since, most), *(item for item in asked if item in since)):
                    found[item] = Place(where, max(0.0, now - since[item]), priorities.get(item, 0))
        return found

    def done(self, item: T) -> None:
        if self._running_priorities:
            self._running_priorities.pop(item, None)
        super().done(item)

    # All below is called with the lock held.

    def _prioritize(self, item: T, priority: int, delay: float) -> float:
        # Or will be, when it is done or comes back.
        ready = item in self._queued or item in self._again or item in self._parked
        if ready or item in self._delayed:
            known = self._priorities.get(item, 0)
            if priority > known:
                self._priorities[item] = priority
                if item in self._queued:
                    self._order.raise_from(item, known)
        elif priority:
            self._priorities[item] = priority
        return 0.0 if ready else delay

    def _park(self, item: T, seconds: float) -> None:
        handed_out = self._processing.get(item)
        if handed_out is None:
            self._log_stray(item)
            return
        priority = self._running_priorities.pop(item, 0)
        if item in self._again or item in self._delayed:  # which end here: it comes back sooner, or soon after
            priority = max(priority, self._priorities.pop(item, 0))
        if priority:
            self._priorities[item] = priority
        self._delays.cancel(item)
        self._parked[item] = handed_out
        self._given_back += 1
        self._again.pop(item, None)
        self._finish(item, None)
        if self._closed or seconds <= 0:
            self._unpark(item)
        else:
            due = self._monotonic() + seconds
            self._delays.put(item, due)
            if due < self._sleepers.next_watch:
                self._sleepers.wake_one()

    def _unpark(self, item: T) -> None:
        since = self._parked[item]
        if item in self._queued or item in self._processing:  # an exception cut this short before
            self._want_known(item, since)
        else:
            # Those behind it in its class were there before it was handed out, some of them for longer.
            self._queued[item] = min(since, self._order.oldest(self._priorities.get(item, 0)))
            self._order.push_first(item)
        del self._parked[item]

    def _arrange(self) -> None:
        self._order: AgeingOrder[T] = AgeingOrder(
            self._queued, self._priorities, self._running_priorities, self._seen, self._monotonic
        )
        self._push, self._pop, self._touch = self._order.push, self._order.pop, None
        for item in self._queued:
            if item in self._running_priorities:  # an exception interrupted its hand-out
                self._priorities[item] = self._running_priorities.pop(item)
            self._order.push(item)

    def _drop(self, item: T) -> None:
        self._priorities.pop(item, None)

    def _depth_by_priority(self) -> dict[int, int]:
        depths = dict.fromkeys(sorted(self._seen), 0)
        for priority, items in self._order.depths().items():
            depths[priority] = items
        for item in list(self._again):
            priority = self._priorities.get(item, 0)
            depths[priority] = depths.get(priority, 0) + 1
        return depths

    def _close(self) -> None:
        if not self._closed:
            self._take_in()
            for item in list(self._parked):
                self._unpark(item)
        super()._close()
        for item in self._priorities.keys() - self._queued.keys() - self._again.keys():  # delayed, so dropped
            del self._priorities[item]
