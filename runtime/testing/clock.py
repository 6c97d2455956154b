"""A clock whose time only the test moves."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass(eq=False, slots=True)
class _Waiter:
    """One thread that is blocked in this clock. ``deadline``: nanoseconds since the start, ``None`` if only
    a notify ends its wait. ``alone``: what it waits on if nobody else may be woken with it."""

    condition: threading.Condition
    deadline: int | None
    thread: str
    alone: threading.Lock | None = None

    def wait(self) -> None:
        """Until a notify of the condition, which the caller holds, or :meth:`wake`."""
        if self.alone is None:
            self.condition.wait()
            return
        waiters = _waiters_of(self.condition)
        self.alone.acquire()
        waiters.append(self.alone)
        self.condition.release()
        try:
            self.alone.acquire()
        finally:
            self.condition.acquire()
            if self.alone in waiters:  # interrupted
                waiters.remove(self.alone)

    def wake(self) -> None:
        with self.condition:
            if self.alone is None:
                self.condition.notify_all()
            elif self.alone in _waiters_of(self.condition):
                _waiters_of(self.condition).remove(self.alone)
                self.alone.release()


def _waiters_of(condition: threading.Condition) -> deque[threading.Lock]:
    """What a notify releases. Private, as the condition of an Event is, but the same in every Python this project
    supports."""
    found: deque[threading.Lock] = condition._waiters  # type: ignore[attr-defined]
    return found


class FakeClock:
    """Implements :class:`runtime.clock.Clock`, which whatever keeps time takes (T6); it stands still until
    :meth:`advance`.

    Waiting threads really block (no polling) and are woken by a notify, by their event, or by an advance
    past their deadline. An advance is one jump: a loop that sleeps one second wakes once from
    ``advance(10)``, with the time ten seconds later.

    A test that advances must know that the other thread waits already, or its wait would begin only
    after the jump: call :meth:`wait_for_waiters` first. (:meth:`wait` on a condition covers that race itself:
    it returns early, as its contract allows, if time has moved since its thread last read it.)

    :param start: what :meth:`now` says at the beginning, timezone-aware; a fixed date by default, so that a
        test does the same every day. Two clocks with different starts are two machines with skewed clocks.
    """

    def __init__(self, start: datetime = _EPOCH) -> None:
        if start.tzinfo is None:
            raise ValueError(f"start must be timezone-aware, got {start!r}")
        self._start = start
        self._elapsed_ns = 0  # whole nanoseconds: ten times advance(0.1) is exactly one second
        self._waiters: list[_Waiter] = []
        self._waiters_lock = threading.Lock()  # guards _waiters and writes of _elapsed_ns
        self._waiters_changed = threading.Condition(self._waiters_lock)
        self._seen = threading.local()  # .elapsed_ns: the time this thread last read

    def monotonic(self) -> float:
        elapsed_ns = self._seen.elapsed_ns = self._elapsed_ns
        return elapsed_ns / 1e9

    def now(self) -> datetime:
        return self._start + timedelta(microseconds=self._elapsed_ns / 1000)

    def advance(self, seconds: float) -> None:
        """Move the time forward and wake every thread whose deadline it reached.

        Takes the lock of each condition it wakes, so never call it holding one of those.
        """
        if seconds < 0:
            raise ValueError(f"time cannot go back: advance({seconds})")
        with self._waiters_lock:
            self._elapsed_ns += round(seconds * 1e9)
            due = [w for w in self._waiters if w.deadline is not None and w.deadline <= self._elapsed_ns]
            # Gone at once, so that nobody takes them for still waiting before they had a chance to run.
            self._waiters = [w for w in self._waiters if w not in due]
        for waiter in due:
            waiter.wake()

    def wait(self, condition: threading.Condition, timeout: float | None = None) -> bool:
        if timeout is not None:
            now = self._elapsed_ns
            seen, self._seen.elapsed_ns = getattr(self._seen, "elapsed_ns", now), now
            if seen != now:
                return True
        return self._block(condition, self._deadline(timeout))

    def wait_event(self, event: threading.Event, timeout: float | None = None) -> bool:
        deadline = self._deadline(timeout)
        # The condition that Event.set() notifies. Private, but the only way to wait for it and for an
        # advance at once without polling; the same attribute in every Python this project supports.
        condition: threading.Condition = event._cond  # type: ignore[attr-defined]
        with condition:
            while not event.is_set():
                # Alone, for who waits for the event without the clock takes any notify for the event.
                if not self._block(condition, deadline, threading.Lock()):
                    return event.is_set()
        return True

    def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            return
        deadline = self._deadline(seconds)
        alone = threading.Condition()
        with alone:
            while self._block(alone, deadline):
                pass

    @property
    def waiters(self) -> int:
        """How many threads are blocked in this clock now, with a deadline or without."""
        with self._waiters_lock:
            return len(self._waiters)

    def waiting_threads(self) -> list[str]:
        """The names of the threads that are blocked in this clock now."""
        with self._waiters_lock:
            return [w.thread for w in self._waiters]

    def wait_for_waiters(self, count: int = 1, timeout: float = 10.0, *, timed: bool = False) -> None:
        """Block, in real time, until at least ``count`` threads are blocked in this clock.

        :param timeout: real seconds; then ``TimeoutError``, naming the threads that do wait.
        :param timed: count only those with a deadline, that is those an advance can wake.
        """

        def blocked() -> list[_Waiter]:
            return [w for w in self._waiters if w.deadline is not None or not timed]

        with self._waiters_changed:
            if not self._waiters_changed.wait_for(lambda: len(blocked()) >= count, timeout):
                found = [
                    f"{w.thread} until {'notified' if w.deadline is None else w.deadline / 1e9}" for w in blocked()
                ]
                raise TimeoutError(f"{len(found)} of {count} threads wait on the clock after {timeout} s: {found}")

    def _deadline(self, timeout: float | None) -> int | None:
        """``timeout`` seconds from now, in nanoseconds since the start."""
        if timeout is None:
            return None
        if 0 < timeout < 1e-9:
            # The rest that floating point leaves of `due - now`. If time stood still for it, the caller would
            # find itself too early for ever.
            with self._waiters_lock:
                self._elapsed_ns += 1
        return self._elapsed_ns + max(round(timeout * 1e9), 0)

    def _block(self, condition: threading.Condition, deadline: int | None, alone: threading.Lock | None = None) -> bool:
        """Wait for a notify of ``condition`` (held by the caller); False once the deadline has come."""
        waiter = _Waiter(condition, deadline, threading.current_thread().name, alone)
        with self._waiters_changed:
            if deadline is not None and deadline <= self._elapsed_ns:
                return False
            self._waiters.append(waiter)
            self._waiters_changed.notify_all()
        try:
            # An advance from here on needs the condition's lock, which this wait gives up: none is missed.
            waiter.wait()
        finally:
            with self._waiters_changed:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        return deadline is None or self._elapsed_ns < deadline
