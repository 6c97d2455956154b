"""Bringing what was recorded to the API server.

A series is to the sink what an object is to a controller: recording changes the series and queues it, a worker looks at
it and tells the server what it does not know yet. So repetitions that come faster than the server answers are one
request, a count is never taken back, and a failure of one series holds up no other (E8, V5).
"""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections import Counter
from collections.abc import Mapping
from math import inf
from typing import Final

from runtime.client import AlreadyExists, ApiError, Cancelled, Client, ClientError, Conflict, Interrupt
from runtime.clock import Clock
from runtime.logging import get_logger
from runtime.record.apis import EVENTS, EventAPI, Told, WhichAPI, is_terminating
from runtime.record.correlator import Correlator, CorrelatorOptions, Match, Series
from runtime.record.event import EventNames, Occurrence
from runtime.record.recent import RecentEvent, RecentEvents
from runtime.record.writer import Writer
from runtime.workqueue import DelayingQueue, ShutDown

__all__ = ["DROP_CAUSES", "Sink"]

MAX_QUEUED: Final = 1000  # series that wait to be told, those to be tried again included (E1, V5)
MAX_WORKERS: Final = 8
MAX_TRIES: Final = 12
RETRY_PAUSE: Final = 10.0  # seconds; the first one is drawn from 0 to this (E8)
DROP_CAUSES: Final = ("invalid", "queue_full", "spam", "rejected", "unreachable", "shutdown")
_SHORTEST_REST: Final = 1.0  # seconds
_LAST_CALL: Final = 2.0  # seconds for those that are on their way when the time to flush is over to be cut off

_log = get_logger("runtime.record")


class Sink:
    """Correlates and writes events, in threads of its own, of which the first begins with the first event.

    QUIRK (E8): in client-go an event that waits for its next try holds up all behind it, or in events.k8s.io one of
    eight workers; here it steps aside. Answers that may pass (429, 5xx, a conflict) are tried again, too.
    """

    def __init__(
        self, client: Client, clock: Clock, names: EventNames, options: CorrelatorOptions | None, api: WhichAPI
    ) -> None:
        self._abandon = Interrupt()  # set: the flush at shutdown has taken too long
        self._clock = clock
        self._options = options or CorrelatorOptions()
        self._writer = Writer(client.bound(stop=self._abandon), clock, api)
        self._names = names
        self._begin_empty(closed=False)
        _sinks.add(self)

    def _begin_empty(self, closed: bool) -> None:
        self._queue: DelayingQueue[Series] = DelayingQueue(clock=self._clock)
        self._lock = threading.Lock()  # guards everything below, and all series; never held during a request
        self._correlator = Correlator(self._clock, self._names, self._options)
        self._recent = RecentEvents()
        self._waiting: set[Series] = set()  # to be told, whenever the queue hands them out
        self._workers: list[threading.Thread] = []
        self._busy = 0  # workers that look at a series
        self._unstaffed = False  # no worker could be started, and that was told
        self._closed = closed
        self._written = 0
        self._merged = 0
        self._dropped: Counter[str] = Counter()

    def put(self, occurrence: Occurrence) -> None:
        """Take an event; drop and count it if too many wait, its budget is spent, or the sink is shut down.

        Never waits for the API.
        """
        self._recent.add(occurrence)
        with self._lock:
            if self._closed:
                self._dropped["shutdown"] += 1
                return
            if not self._workers:
                self._staff()
            unstaffed = not self._workers and not self._unstaffed
            self._unstaffed = not self._workers
            match = self._correlator.find(occurrence)
            series = match.series
            if series is None or self._has_ended(series):
                self._begin(match)
            elif self._is_outworn(series, match.occurrence) and self._can_tell(match.occurrence):
                self._start(match)
            else:
                self._merged += 1
                series.add(match.occurrence, self._clock.monotonic())
                self._changed(series)
        if unstaffed:
            _log.warning("events wait: no thread can be started to write them; the next event, or the end, tries again")

    def recent(self) -> list[RecentEvent]:
        """What was put in last, the latest first, be it written or not."""
        return self._recent.latest()

    def drop(self, cause: str) -> None:
        """Count an event that never got here."""
        with self._lock:
            self._dropped[cause] += 1

    @property
    def written(self) -> int:
        """Writes that stored an event or its new count."""
        return self._written

    @property
    def merged(self) -> int:
        """Events that are told in the count of another one."""
        return self._merged

    @property
    def queued(self) -> int:
        """Events on the server, or to be, that wait to be written."""
        return len(self._waiting)

    @property
    def dropped(self) -> Mapping[str, int]:
        """Events that were not written, by cause (:data:`DROP_CAUSES`)."""
        with self._lock:
            return dict(self._dropped)

    def shutdown(self, timeout: float | None) -> bool:
        """Tell what is not told, each with one more try, and end the threads (E9).

        :param timeout: seconds; what is not written then is dropped. ``None``: as long as it takes.
        :returns: False if events were dropped for lack of time.
        """
        with self._lock:
            self._closed = True
            for series in {*self._waiting, *self._correlator.series()}:
                if series.untold:
                    self._enqueue(series)  # one that is being written is looked at once more
            if self._waiting and not self._workers:
                self._staff()
            self._queue.shut_down()
        ended = self._join(timeout)
        if not ended:
            self._abandon.set()
            self._join(_LAST_CALL)
        with self._lock:
            waiting = list(self._waiting)
            lost = sum(series.untold for series in waiting)
            for series in waiting:
                self._lose(series, "shutdown")
        if lost:
            _log.warning("events dropped at the end, the API server did not take them", events=lost, in_time=ended)
        return ended

    def end_in_child(self) -> None:
        """In a forked process: the threads are the parent's, and what waits is theirs to tell. What is recorded here is
        dropped, for the client's connections are the parent's, too.
        """
        self._begin_empty(closed=True)

    def _join(self, timeout: float | None) -> bool:
        # In real time: what is waited for is the network, and threads.
        until = inf if timeout is None else time.monotonic() + timeout
        ours = threading.current_thread()  # who handles log lines may shut us down
        while worker := next((each for each in self._workers if each.is_alive() and each is not ours), None):
            worker.join(None if timeout is None else max(0.0, until - time.monotonic()))
            if worker.is_alive():
                return False
        return True

    # What follows from a change of a series. With the lock held.

    def _begin(self, match: Match) -> None:
        if not self._has_room:
            self._dropped["queue_full"] += 1
        elif not self._correlator.allows(match.occurrence):
            self._dropped["spam"] += 1
        else:
            self._start(match)

    def _start(self, match: Match) -> None:
        series, replaced = self._correlator.begin(match)
        self._enqueue(series)
        if replaced is not None and replaced.untold:
            self._enqueue(replaced)  # nothing is added to it any more

    def _is_outworn(self, series: Series, occurrence: Occurrence) -> bool:
        """A note cannot be changed: for a new one to be seen there has to be a new event now and then (V2)."""
        return (
            series.combined
            and series.api is EVENTS
            and series.first.message != occurrence.message
            and self._clock.monotonic() >= series.began_at + self._options.finish_seconds
        )

    def _changed(self, series: Series) -> None:
        """The server does not know all of it: tell it now, or later."""
        if series in self._waiting:
            return
        if not self._correlator.holds(series):
            tell = True  # nothing will be added to it
        elif series.api is EVENTS:
            tell = series.told == 1 and self._has_room  # V3
        else:
            tell = self._can_tell(series.first)
        if tell:
            self._enqueue(series)
        else:
            self._rest(series)

    def _can_tell(self, occurrence: Occurrence) -> bool:
        """Whether there is room in the queue and in the budget, which this takes."""
        return self._has_room and self._correlator.allows(occurrence)

    @property
    def _has_room(self) -> bool:
        return len(self._waiting) < MAX_QUEUED

    def _enqueue(self, series: Series) -> None:
        self._waiting.add(series)
        series.is_watched = False  # an add takes the place of the delayed one
        self._queue.add(series)

    def _has_ended(self, series: Series) -> bool:
        """V4: it was silent for so long that a repetition begins another one."""
        silent_until = series.seen_at + self._options.finish_seconds
        return series.api is EVENTS and not series.untold and self._clock.monotonic() >= silent_until

    def _rest(self, series: Series) -> None:
        """Nothing is to be told now: have it looked at when something may be, if ever.

        An event that has happened but once is not: with thousands of them the queue would hold more than the cache.
        """
        options, now = self._options, self._clock.monotonic()
        finish_at = series.seen_at + options.finish_seconds
        if series.api is EVENTS:
            if not self._correlator.holds(series):
                return
            if not series.untold and (series.told == 1 or now >= finish_at):
                return
            if series.told > 1:
                finish_at = min(finish_at, series.told_at + options.refresh_seconds)
        elif not series.untold:
            return
        if not series.is_watched:
            series.is_watched = True
            self._queue.add_after(series, max(finish_at - now, _SHORTEST_REST))

    def _is_due(self, series: Series) -> bool:
        options, now = self._options, self._clock.monotonic()
        if series.untold and now >= series.seen_at + options.finish_seconds:
            return True
        return series.api is EVENTS and series.told > 1 and now >= series.told_at + options.refresh_seconds

    def _lose(self, series: Series, cause: str) -> None:
        """Give up on it: the next occurrence begins another one."""
        if series.untold:
            self._dropped[cause] += series.untold
        series.is_over = True
        self._waiting.discard(series)
        self._correlator.forget(series)

    def _staff(self) -> None:
        """See to it that somebody has time for what is queued, or falls due: one more than are at work."""
        if self._busy == len(self._workers) < MAX_WORKERS:
            worker = threading.Thread(target=self._work, name=f"event-sink-{len(self._workers)}", daemon=True)
            try:
                worker.start()
            except RuntimeError:  # the machine, or an interpreter that ends, has no thread for us
                return  # those there are do it all; where there is none, it is tried again
            self._workers.append(worker)

    # In the workers.

    def _work(self) -> None:
        while True:
            try:
                series = self._queue.get()
            except ShutDown:
                return
            try:
                self._look_at(series)
            finally:
                self._queue.done(series)

    def _look_at(self, series: Series) -> None:
        with self._lock:
            if series.is_over:
                return
            if series not in self._waiting:
                series.is_watched = False
                if not self._is_due(series):
                    self._rest(series)
                    return
                self._waiting.add(series)
            self._busy += 1
            self._staff()
        try:
            while self._attempt(series):
                pass
        finally:
            with self._lock:
                self._busy -= 1

    def _attempt(self, series: Series) -> bool:
        """Write once. True: try again at once."""
        with self._lock:
            told, api, maybe_told = series.to_tell(), series.api, series.maybe_told
        try:
            written_to = self._writer.write(told, api, maybe_told)
        except AlreadyExists as error:
            series.tries += 1
            if series.told or series.tries >= MAX_TRIES:
                self._failed(series, told, error)
                return False
            with self._lock:
                self._correlator.rename(series)
            return True
        except Exception as error:
            series.tries += 1
            self._failed(series, told, error)
            return False
        with self._lock:
            self._was_told(series, told, written_to)
        return False

    def _was_told(self, series: Series, told: Told, api: EventAPI) -> None:
        self._written += 1
        series.api, series.told, series.told_at = api, told.count, self._clock.monotonic()
        series.tries = series.maybe_told = 0
        if series.is_over:
            return
        if self._closed and series.untold:
            return  # it is queued again
        self._waiting.discard(series)
        if series.untold:
            self._changed(series)
        else:
            self._rest(series)

    def _failed(self, series: Series, told: Told, error: Exception) -> None:
        if isinstance(error, Cancelled):
            cause, tell = "shutdown", _log.debug
        elif not isinstance(error, ClientError):  # a fault of ours must not end the thread
            cause, tell = "rejected", _log.error
        elif not _may_pass(error):
            cause, tell = "rejected", _log.debug if is_terminating(error) else _log.warning
        elif series.tries < MAX_TRIES:
            with self._lock:
                self._try_again(series, told, error)
            return
        else:
            cause, tell = "rejected" if isinstance(error, ApiError) else "unreachable", _log.warning
        # Without the lock: who handles log lines may record an event.
        tell("event dropped", cause=cause, event_reason=told.first.reason, tries=series.tries, error=str(error))
        with self._lock:
            self._lose(series, cause)

    def _try_again(self, series: Series, told: Told, error: ClientError) -> None:
        if error.ambiguous and not series.maybe_told:
            series.maybe_told = told.count
        pause = RETRY_PAUSE * random.random() if series.tries == 1 else RETRY_PAUSE  # noqa: S311
        asked = error.retry_after if isinstance(error, ApiError) else None
        # After shutdown the queue takes nothing: this was the last try, or the last one is queued already.
        self._queue.add_after(series, max(pause, asked or 0.0))


_sinks: weakref.WeakSet[Sink] = weakref.WeakSet()


def _after_fork() -> None:
    for sink in list(_sinks):
        sink.end_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _may_pass(error: ClientError) -> bool:
    """Whether the same write may succeed later (E8)."""
    return not isinstance(error, ApiError) or error.retryable or isinstance(error, Conflict | AlreadyExists)
