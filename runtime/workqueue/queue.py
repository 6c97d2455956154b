"""The queue itself: at most one worker per item, delays without a thread, counters for the metrics.

Who may touch what, and why nothing is lost:

* ``add`` and ``done`` never wait for a lock (P6): a thread that lost the CPU while it held one would hold up all
  others. They only leave a note in ``_notes``; that one ``deque.append``, which is atomic, is the moment they happen.
* All else belongs to the holder of ``_lock``, who first takes in the notes, in their order. So whoever looks at the
  queue sees every add and done that returned before, and each finds the queue as its order demands.
* The one exception is a ``done`` that finds no notes: nothing is pending that it would have to come after, so it
  removes its item from ``_processing`` at once, and looks into ``_again`` then. The lock's holder who takes in an add
  of an item being processed writes ``_again``, then looks into ``_processing``. Each writes before it looks, so at
  least one sees the other; and only the holder moves the item on, so that is done once.
* Only ``get`` puts an item into ``_processing``, with the lock, out of ``_queued``: never two workers.
* A thread that finds nothing registers as sleeping and looks for notes once more; an add leaves its note and looks
  for sleepers then. Again at least one sees the other: no wake-up is lost. A thread that gets up, woken or not, looks
  for notes once it is no longer registered: it may be the one that an add has counted on.
* An exception may strike anywhere (a signal handler's, an item's own ``__eq__``). Then all sleepers are woken, and the
  order of the ready items is made anew out of ``_queued``, ``_again`` and ``_processing``, each of which changes in one
  step.

Items need an equality and a hash that agree. These may be written in Python: nothing above needs two operations
on a dict to be atomic together, and of no dict two threads insert into it.
"""

from __future__ import annotations

import queue as stdlib_queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from math import inf
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from runtime.clock import SYSTEM, Clock
from runtime.logging import get_logger
from runtime.workqueue.delays import Delays
from runtime.workqueue.locking import attempt, give_way
from runtime.workqueue.sleepers import Gate, Sleepers
from runtime.workqueue.stats import DURATION_BUCKETS, Measured, QueueStats

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_log = get_logger(__name__)

T = TypeVar("T", bound=Hashable)

_NOTHING: Final[Any] = object()
_MANY_NOTES: Final = 1000  # more are taken in by the thread that adds: they may all be of one item

# What a note tells.
PLAIN: Final = 0  # an add without priority and delay
ADD: Final = 1
RETRY: Final = 2
RETURN: Final = 3  # the item was added while being processed, and is not processed any more
DONE: Final = 4
UNPARK: Final = 5  # the item need not stay parked any longer


class ShutDown(Exception):
    """Raised by ``get`` once the queue is shut down and empty: the worker's signal to end."""


class ReadyOrder(Protocol[T]):
    """The order in which ready items are handed out (W17). Called by one thread at a time."""

    def push(self, item: T, /) -> None:
        """``item`` is ready; it is not among those pushed already."""

    def touch(self, item: T, /) -> None:
        """``item``, which was pushed, is added once more (W2)."""

    def pop(self) -> T:
        """Remove the next item and return it. Called only if there is one."""


class Queue(Generic[T]):
    """Distinct items, FIFO unless told otherwise, each processed by at most one worker at a time (W1).

    ``add`` of an item that is queued changes nothing; of one that is being processed, queues it once more at
    the end when it is ``done`` (W2). Every ``get`` needs its ``done``. Items are compared by equality
    and hash. Every method may be called from any thread; none but ``get`` and ``shut_down_with_drain`` blocks.

    :param name: of the queue in metrics and logs; without one no durations are recorded (W15).
    :param clock: the time to measure and wait in; ``None`` is the machine's.
    :param order: makes the order in which ready items are handed out; ``None`` is FIFO (W17). Called at the start, and
        again if an exception, say of a signal handler, struck while the order was at work.
    """

    def __init__(
        self, name: str = "", clock: Clock | None = None, *, order: Callable[[], ReadyOrder[T]] | None = None
    ) -> None:
        self.name = name
        self._clock = clock or SYSTEM
        self._monotonic: Callable[[], float] = time.monotonic if self._clock is SYSTEM else self._clock.monotonic
        self._lock = threading.Lock()
        self._attempt = attempt(self._lock)
        self._drained = threading.Condition(self._lock)
        self._notes: deque[tuple[int, T, float, int, float]] = deque()  # kind, item, time, priority, delay
        self._queued: dict[T, float] = {}  # ready item -> since when
        self._again: dict[T, float] = {}  # item that was added while being processed -> when
        self._processing: dict[T, float] = {}  # item -> when it was handed out
        self._parked: dict[T, float] = {}  # item that was given back for a while -> when it had been handed out
        self._delays: Delays[T] = Delays()
        self._delayed = self._delays.due_at  # item -> when it is due
        self._new_order = order
        self._arrange()
        self._sleepers = Sleepers(self._clock)
        self._asleep = self._sleepers.asleep
        self._closed = False
        self._drains = 0
        self._handed_out = 0
        self._given_back = 0
        self._retries = 0
        self._suspected: object = None  # the note that raised when last tried; True: something raised
        self._measured = Measured()
        self._sampled = self._measured.running
        # Measured next is the hand-out with this number, or the first after this time.
        self._next_sample, self._next_sample_time = (1, -inf) if name else (sys.maxsize, inf)

    def add(self, item: T) -> None:
        """Have ``item`` processed. A delayed add of it that is still pending is cancelled.

        Ignored after shut-down (W5). QUIRK (W10): client-go leaves the delayed add pending and processes the
        item again when it is due.
        """
        if item in self._queued and not (self._notes or self._delayed or self._touch):
            return
        self._leave_note(PLAIN, item, 0, 0.0)

    def get(self, timeout: float | None = None) -> T:
        """The next item; the caller owes a :meth:`done` for it (W3). Blocks until there is one.

        Nothing of the queue keeps an item alive once it is done (W7).

        :param timeout: seconds to wait at most; ``None`` waits for ever, 0 not at all.
        :raises ShutDown: the queue was shut down and nothing is queued any more (W5).
        :raises queue.Empty: nothing came within ``timeout``.
        """
        notes, item, deadline, gate, woken = self._notes, _NOTHING, None, None, False
        try:
            while True:
                tries = 0
                for _ in iter(self._attempt, True):
                    tries = give_way(tries)
                try:
                    if gate is not None:
                        self._sleepers.leave(gate, woken)
                    if len(notes) == 1 and self._goes_straight(notes[0]):
                        _, item, since, _, _ = notes[0]
                        now = self._processing[item] = self._monotonic()
                        notes.popleft()
                    else:
                        if notes or self._delayed:
                            self._take_in()
                        if self._queued:
                            item = self._pop()
                            now = self._processing[item] = self._monotonic()
                            since = self._queued.pop(item)
                    if item is not _NOTHING:
                        number = self._handed_out = self._handed_out + 1
                        if number >= self._next_sample or now >= self._next_sample_time:
                            self._measure(item, now - since, number, now)
                        if gate is not None and (self._queued or self._delayed):
                            self._wake_another()
                        return item  # type: ignore[no-any-return]
                    deadline = self._deadline(timeout) if deadline is None else deadline
                    gate = self._sleepers.gate()
                    seconds = self._lie_down(gate, deadline)
                finally:
                    self._lock.release()
                # Whoever left a note meanwhile may not have seen that somebody sleeps.
                woken = not notes and gate.acquire(True, seconds)
        except (ShutDown, stdlib_queue.Empty):
            raise
        except BaseException:
            self._repair(item, gate)
            raise

    def done(self, item: T) -> None:
        """``item`` is processed; if it was added meanwhile it is queued again now, at the end (W2).

        QUIRK (W8): for an item nobody processes, client-go corrupts its order; here it is ignored and logged.
        """
        try:
            if self._notes:
                if item in self._processing:
                    self._leave_note(DONE, item, 0, 0.0)
                else:
                    self._log_stray(item)
            else:
                self._finish(item, None)
                if item in self._again:
                    self._leave_note(RETURN, item, 0, 0.0)
            if self._drains:
                self._notify_drained()
        except BaseException:
            self._repair()
            raise

    def __len__(self) -> int:
        """Items that a ``get`` would return now; not the delayed nor those being processed (W4)."""
        with self._lock:
            self._take_in()
            return len(self._queued)

    def retain(self, keep: Callable[[T], bool]) -> None:
        """Forget the ready items for which ``keep`` is False, as if they had never been added.

        One that is added again while this runs is not forgotten. Takes time in proportion to what is ready.

        :param keep: called with the queue's lock held: quick, and not calling the queue.
        """
        with self._lock:
            self._take_in()
            ready = list(self._queued.items())
            judged = 0
            try:
                for item, since in ready:
                    # Before it is judged: from here on an add leaves a note, before it was relying on the entry.
                    del self._queued[item]
                    if keep(item):
                        self._queued[item] = since
                    else:
                        self._drop(item)
                    judged += 1
            finally:
                self._queued.update(ready[judged:])  # not judged, because an exception struck
                self._arrange()

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
        processed, so it may return between two items; and its delays end up to ten seconds later (W12).

        :param timeout: seconds; ``None`` waits for ever.
        :returns: True when drained; False on timeout, or if :meth:`shut_down` was called meanwhile.
        """
        with self._lock:
            deadline = None if timeout is None else self._monotonic() + timeout
            self._close()
            self._drains += 1
            try:
                while self._drains and not self._is_drained():
                    left = None if deadline is None else deadline - self._monotonic()
                    if left is not None and left <= 0:
                        break
                    self._clock.wait(self._drained, left)
            finally:
                self._drains = max(0, self._drains - 1)
            return self._is_drained()

    def waited(self, item: T) -> float | None:
        """Seconds that ``item``, which is being processed, was queued. None if that was not measured: in a burst it is
        of some items only, and never in a queue without a name (see :class:`QueueStats`)."""
        return self._sampled.get(item)

    @property
    def shutting_down(self) -> bool:
        """Whether the queue takes no more items."""
        return self._closed

    def stats(self) -> QueueStats:
        """Figures for the metrics at this moment (W16). Costs one pass over the items being processed."""
        with self._lock:
            self._take_in()
            now = self._monotonic()
            ages = [now - started for started in list(self._processing.values())]
            depth = len(self._queued) + len(self._again)
            measured = self._handed_out if self.name else 0
            return QueueStats(
                name=self.name,
                depth=depth,
                depth_by_priority=self._depth_by_priority(),
                delayed=len(self._delayed) - len(self._parked),
                processing=len(ages),
                parked=len(self._parked),
                adds=self._handed_out - self._given_back + depth + len(self._parked),
                retries=self._retries,
                unfinished_seconds=sum(ages, 0.0),
                longest_running_seconds=max(ages, default=0.0),
                queue_duration=self._measured.queued_for.snapshot(measured),
                work_duration=self._measured.worked_for.snapshot(measured - len(ages)),
                shutting_down=self._closed,
            )

    def metrics(self) -> Iterable[Metric]:
        """``workqueue_*`` of this queue; a source for :class:`runtime.metrics.Collector`. Imports prometheus_client."""
        from runtime.metrics.families import queue_metrics

        return queue_metrics([self.stats()], DURATION_BUCKETS)

    def _leave_note(self, kind: int, item: T, priority: int, delay: float) -> None:
        """Tell whoever holds the lock next; wake somebody if nobody would look."""
        if self._closed and kind <= RETRY:
            return
        if kind:
            hash(item)  # what cannot be an item is refused here and not in another thread; add() has looked it up
        try:
            now = self._monotonic()
            self._notes.append((kind, item, now, priority, delay))
            if self._asleep and (delay <= 0 or now + delay < self._sleepers.next_watch):
                self._sleepers.wake_one()
            # Last: what it may raise is the fault of another item, and must not cost this one its note.
            if len(self._notes) > _MANY_NOTES:
                self._take_in_many()
        except BaseException:
            self._repair()
            raise

    def _take_in_many(self) -> None:
        for _ in iter(self._attempt, True):
            return  # whoever holds the lock takes them in
        try:
            self._take_in()
        finally:
            self._lock.release()

    # All below is called with the lock held, but for the last few.

    def _goes_straight(self, note: tuple[int, T, float, int, float]) -> bool:
        """Whether all there is to do is to hand out the one item that was added: no need to queue it first."""
        return not (
            note[0]
            or self._queued
            or self._delayed
            or self._again
            or self._closed
            or self._touch
            or self._suspected
            or note[1] in self._processing
        )

    def _take_in(self) -> None:
        """Do what the notes tell, and queue the delayed items whose time has come: no thread does it."""
        notes, queued = self._notes, self._queued
        try:
            while notes:
                kind, item, now, priority, delay = notes[0]
                if kind >= RETURN:
                    self._take_back(kind, item, now)
                elif not self._closed:
                    if kind == RETRY:
                        self._retries += 1
                    if self._prioritize is not None:
                        delay = self._prioritize(item, priority, delay)
                    if delay > 0:
                        self._delays.put(item, now + delay)
                    elif item not in self._parked:  # else it comes back anyway
                        if self._delayed:
                            self._delays.cancel(item)
                        if item in queued or item in self._processing or item in self._again:
                            self._want_known(item, now)
                        else:
                            queued[item] = now
                            self._push(item)
                notes.popleft()  # only now: an exception must not lose it. To do it twice does no harm.
            if self._delayed:
                self._take_in_due()
        except BaseException as error:
            self._suspect(notes[0] if notes and isinstance(error, Exception) else None)
            self._arrange()
            self._sleepers.wake_all()
            raise
        self._suspected = None

    def _take_back(self, kind: int, item: T, now: float) -> None:
        """``item`` was handed out; what becomes of it?"""
        if kind == DONE:
            self._finish(item, now)
        elif kind == UNPARK and item in self._parked:
            self._delays.cancel(item)
            self._unpark(item)
        self._move_from_again(item)

    def _take_in_due(self) -> None:
        now = self._monotonic()
        while (first := self._delays.first_due(now)) is not None:
            item, due = first
            if item in self._parked:
                self._unpark(item)
            elif item in self._queued or item in self._processing or item in self._again:
                self._want_known(item, due)
            else:
                self._queued[item] = min(due, now)
                self._push(item)
            self._delays.drop_first()
            if len(self._queued) > 1:  # more than the caller, or the thread that watches, takes away
                self._sleepers.wake_one()

    def _want_known(self, item: T, now: float) -> None:
        """``item``, which is to be processed, is queued, being processed, or was so a moment ago."""
        if item in self._queued:
            if self._touch is not None:
                self._touch(item)
        elif item not in self._again:
            self._again[item] = now
            if item not in self._processing:  # else whoever is done with it finds it in _again
                self._move_from_again(item)

    def _move_from_again(self, item: T) -> None:
        since = self._again.get(item)
        if since is None or item in self._processing:
            return
        if item not in self._queued:
            self._queued[item] = since
            self._push(item)
        self._again.pop(item)

    def _measure(self, item: T, waited: float, number: int, now: float) -> None:
        self._next_sample, self._next_sample_time = self._measured.handed_out(item, waited, number, now)

    def _wake_another(self) -> None:
        """The calling thread leaves; somebody else must take what it leaves behind, and watch the delays."""
        if self._queued or self._delays.next_due() < self._sleepers.next_watch:
            self._sleepers.wake_one()

    def _deadline(self, timeout: float | None) -> float:
        return inf if timeout is None else self._monotonic() + timeout

    def _lie_down(self, gate: Gate, deadline: float) -> float:
        """Register the calling thread as sleeping at ``gate``; raises what ``get`` raises if it must not sleep.

        :returns: for how many seconds at most; -1: for ever.
        """
        if self._closed:
            raise ShutDown
        now = self._monotonic()
        if deadline <= now:
            self._wake_another()
            raise stdlib_queue.Empty
        until = min(deadline, self._sleepers.enter(gate, self._delays.next_due() if self._delayed else inf))
        return -1 if until == inf else min(max(until - now, 0.0), threading.TIMEOUT_MAX)

    def _close(self) -> None:
        if not self._closed:
            self._take_in()
            self._closed = True
            self._delays.clear()
        self._sleepers.wake_all()

    def _is_drained(self) -> bool:
        self._take_in()
        return not (self._processing or self._queued or self._again or self._parked)

    def _drop(self, item: T) -> None:
        """``item``, which was ready, is forgotten."""

    def _depth_by_priority(self) -> dict[int, int]:
        return {}

    # Notes the priority of an item that was added, and tells its delay; None: there are no priorities.
    _prioritize: Callable[[T, int, float], float] | None = None

    def _unpark(self, item: T) -> None:
        """Queue ``item``, which is parked: only who can park has any."""
        raise NotImplementedError

    def _arrange(self) -> None:
        """Make the order of the ready items anew."""
        self._push: Callable[[T], None]
        self._pop: Callable[[], T]
        self._touch: Callable[[T], None] | None = None
        if self._new_order is None:
            fifo = deque(self._queued)
            self._push, self._pop = fifo.append, fifo.popleft
        else:
            order = self._new_order()
            self._push, self._pop, self._touch = order.push, order.pop, order.touch
            for item in self._queued:
                order.push(item)

    def _suspect(self, note: object) -> None:
        """Taking in ``note`` raised. Once may be a signal; twice, the item is at fault, and would block all others."""
        if note is not None and note is self._suspected:
            self._notes.popleft()
            _log.error("an item was dropped: it cannot be compared or ordered", queue=self.name, exc_info=True)
        self._suspected = note

    # Called without the lock, too.

    def _finish(self, item: T, now: float | None) -> None:
        """Nobody processes ``item`` any more, since ``now``."""
        started = self._processing.pop(item, None)
        if started is None:
            self._log_stray(item)
        elif self._sampled and item in self._sampled:
            worked = (self._monotonic() if now is None else now) - started
            self._measured.finished(item, worked, self._handed_out - len(self._processing))

    def _log_stray(self, item: T) -> None:
        _log.warning("done() ignored: nobody is processing the item", queue=self.name, item=item)

    def _notify_drained(self) -> None:
        with self._lock:
            if self._is_drained():
                self._drained.notify_all()

    def _repair(self, item: T = _NOTHING, gate: Gate | None = None) -> None:
        """An exception cut an operation short: complete or undo it.

        :param item: was being handed out.
        :param gate: the calling thread is among the sleepers, or was.
        """
        with self._lock:
            if gate is not None:  # who is registered but does not sleep would swallow a wake-up
                self._sleepers.leave(gate, woken=False)
            if item is not _NOTHING and item in self._processing:
                self._queued.setdefault(item, self._processing[item])
                self._processing.pop(item)
            for added in list(self._again):
                if added not in self._processing:
                    self._queued.setdefault(added, self._again[added])
                    self._again.pop(added)
            for parked in self._parked.keys() - self._delayed.keys():  # nothing else would bring it back
                self._delays.put(parked, self._monotonic())
            self._suspected = self._suspected or True
            self._arrange()
            self._sleepers.wake_all()
            self._drained.notify_all()
