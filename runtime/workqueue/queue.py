"""The queue itself: at most one worker per item, delays without a thread, counters for the metrics."""

from __future__ import annotations

import queue as stdlib_queue
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from math import inf
from typing import Generic, Protocol, TypeVar

from runtime.clock import SYSTEM, Clock
from runtime.logging import get_logger
from runtime.workqueue.delays import Delays
from runtime.workqueue.stats import Durations, QueueStats

_log = get_logger(__name__)

T = TypeVar("T", bound=Hashable)


class ShutDown(Exception):
    """Raised by ``get`` once the queue is shut down and empty: the worker's signal to end."""


class ReadyOrder(Protocol[T]):
    """The order in which ready items are handed out. Called with the queue's lock held."""

    def append(self, item: T, /) -> None: ...

    def popleft(self) -> T: ...

    def __len__(self) -> int: ...


class Queue(Generic[T]):
    """A FIFO of distinct items, each processed by at most one worker at a time (W1).

    ``add`` of an item that is queued changes nothing; of one that is being processed, queues it once more at
    the end when it is ``done`` (W2). Every ``get`` needs its ``done``. Items are compared by equality
    and hash. Every method may be called from any thread; none but ``get`` and ``shut_down_with_drain`` blocks.

    :param name: of the queue in metrics and logs; without one no durations are recorded (W15).
    :param clock: the time to measure and wait in; ``None`` is the machine's.
    """

    def __init__(self, name: str = "", clock: Clock | None = None) -> None:
        self.name = name
        self._clock = clock or SYSTEM
        self._monotonic: Callable[[], float] = time.monotonic if self._clock is SYSTEM else self._clock.monotonic
        # A bare lock is entered in C, a Condition in Python: three times the cost of a whole add.
        self._lock = threading.Lock()  # guards everything below
        self._ready_or_closed = threading.Condition(self._lock)
        self._drained = threading.Condition(self._lock)
        self._ready: ReadyOrder[T] = self._new_ready_order()
        self._dirty: dict[T, float] = {}  # item that wants processing -> when it was added
        self._processing: dict[T, float] = {}  # item -> when it was handed out
        self._delays: Delays[T] = Delays()
        self._delayed = self._delays.due_at  # item -> when it is due; looked at by every add and get
        self._sleeping = 0  # threads blocked in get()
        self._next_wake = inf  # the earliest time a sleeping get() will look at the delays by itself
        self._closed = False
        self._drains = 0
        self._adds = 0
        self._retries = 0
        self._timed = bool(name)
        self._queued_for = Durations()
        self._worked_for = Durations()

    def add(self, item: T) -> None:
        """Have ``item`` processed. A delayed add of it that is still pending is cancelled.

        Ignored after shut-down (W5). QUIRK (W10): client-go leaves the delayed add pending and processes the
        item again when it is due.
        """
        with self._lock:
            if self._delayed:
                self._delays.cancel(item)
            if item in self._dirty or self._closed:
                return
            self._dirty[item] = self._monotonic()
            self._adds += 1
            if item in self._processing:
                return
            self._ready.append(item)
            if self._sleeping:
                self._ready_or_closed.notify()

    def get(self, timeout: float | None = None) -> T:
        """The next item; the caller owes a :meth:`done` for it. Blocks until there is one.

        :param timeout: seconds to wait at most; ``None`` waits for ever, 0 not at all.
        :raises ShutDown: the queue was shut down and nothing is queued any more (W5).
        :raises queue.Empty: nothing came within ``timeout``.
        """
        with self._lock:
            if self._delayed:
                self._enqueue_due()
            if not self._ready:
                self._wait_until_ready(timeout)
            item = self._ready.popleft()
            added = self._dirty.pop(item)
            now = self._processing[item] = self._monotonic()
            if self._timed:
                self._queued_for.add(now - added)
            return item

    def done(self, item: T) -> None:
        """``item`` is processed; if it was added meanwhile it is queued again now, at the end (W2).

        QUIRK (W8): for an item nobody processes, client-go corrupts its order; here it is ignored and logged.
        """
        with self._lock:
            started = self._processing.pop(item, None)
            if started is None:
                _log.warning("done() ignored: nobody is processing the item", queue=self.name, item=item)
                return
            if self._timed:
                self._worked_for.add(self._monotonic() - started)
            if item in self._dirty:
                self._ready.append(item)
                if self._sleeping:
                    self._ready_or_closed.notify()
            elif self._drains and self._is_drained():
                self._drained.notify_all()

    def __len__(self) -> int:
        """Items that a ``get`` would return now; not the delayed nor those being processed (W4)."""
        with self._lock:
            self._enqueue_due()
            return len(self._ready)

    def shut_down(self) -> None:
        """Take no more items; ``get`` returns what is queued, then raises :class:`ShutDown` (W5).

        Items added while they were processed are still queued at ``done``. Delayed items are dropped (W11).
        A running :meth:`shut_down_with_drain` is released.
        """
        with self._lock:
            self._close()
            self._drains = 0
            self._drained.notify_all()

    def shut_down_with_drain(self, timeout: float | None = None) -> bool:
        """Shut down, and wait until all that is queued or being processed is done (W6).

        Somebody has to go on calling ``get`` and ``done`` for that. QUIRK: client-go waits only for items being
        processed, so it may return between two items.

        :param timeout: seconds; ``None`` waits for ever.
        :returns: True when drained; False on timeout, or if :meth:`shut_down` was called meanwhile.
        """
        with self._lock:
            deadline = None if timeout is None else self._monotonic() + timeout
            self._close()
            self._drains += 1
            while not self._is_drained():
                left = None if deadline is None else deadline - self._monotonic()
                if not self._drains or (left is not None and left <= 0):
                    break
                self._clock.wait(self._drained, left)
            self._drains = max(0, self._drains - 1)
            return self._is_drained()

    @property
    def shutting_down(self) -> bool:
        """Whether the queue takes no more items."""
        return self._closed

    def stats(self) -> QueueStats:
        """Figures for the metrics at this moment (W16). Costs one pass over the items being processed."""
        with self._lock:
            self._enqueue_due()
            now = self._monotonic()
            ages = [now - started for started in self._processing.values()]
            return QueueStats(
                name=self.name,
                depth=len(self._dirty),
                depth_by_priority=self._depth_by_priority(),
                delayed=len(self._delayed),
                processing=len(ages),
                adds=self._adds,
                retries=self._retries,
                unfinished_seconds=sum(ages, 0.0),
                longest_running_seconds=max(ages, default=0.0),
                queue_duration=self._queued_for.snapshot(),
                work_duration=self._worked_for.snapshot(),
                shutting_down=self._closed,
            )

    # All below is called with the lock held.

    def _new_ready_order(self) -> ReadyOrder[T]:
        return deque()

    def _depth_by_priority(self) -> dict[int, int]:
        return {}

    def _close(self) -> None:
        if not self._closed:
            self._enqueue_due()
            self._closed = True
            self._delays.clear()
        self._ready_or_closed.notify_all()

    def _is_drained(self) -> bool:
        return not self._processing and not self._ready

    def _enqueue_due(self) -> None:
        """Queue the delayed items whose time has come. No thread does it: whoever looks at the queue does."""
        if not self._delayed:
            return
        now = self._monotonic()
        for item in self._delays.pop_due(now):
            self._make_ready(item, now)

    def _make_ready(self, item: T, now: float) -> None:
        if item in self._dirty:
            return
        self._dirty[item] = now
        self._adds += 1
        if item not in self._processing:
            self._ready.append(item)
            if self._sleeping:
                self._ready_or_closed.notify()

    def _wait_until_ready(self, timeout: float | None) -> None:
        """Block until an item is ready, or raise.

        Of many sleeping threads only one watches the delays (the one which set ``_next_wake``), lest all wake
        for each due item. It hands that over by waking another when it leaves.
        """
        deadline = inf if timeout is None else self._monotonic() + timeout
        self._sleeping += 1
        try:
            while True:
                if self._closed:
                    if self._ready:
                        return
                    raise ShutDown
                now = self._monotonic()
                if deadline <= now:
                    raise stdlib_queue.Empty
                due = self._delays.next_due()
                watches = due < self._next_wake
                wake = min(due, deadline) if watches else deadline
                if watches:
                    self._next_wake = due
                try:
                    self._clock.wait(self._ready_or_closed, None if wake == inf else max(wake - now, 0.0))
                finally:  # also when a signal's handler raised: somebody else must watch the delays then
                    if watches and self._next_wake == due:
                        self._next_wake = inf
                self._enqueue_due()
                if self._ready:
                    return
        finally:
            self._sleeping -= 1
            if self._sleeping and (self._ready or self._delays.next_due() < self._next_wake):
                self._ready_or_closed.notify()
