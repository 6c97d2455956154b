"""The threads that are blocked in ``get()``: who is woken by an add, and who watches the delays."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Protocol

from runtime.clock import SYSTEM, Clock


class Gate(Protocol):
    """What one thread sleeps at, once: a lock that is taken, and released to wake the thread. There is nothing
    cheaper to wait for."""

    def acquire(self, blocking: bool = True, timeout: float = -1, /) -> bool:
        """Take it, waiting for its release if ``blocking``; False: it was not released."""

    def release(self) -> None:
        """:raises RuntimeError: it is not taken."""


class ClockGate:
    """A lock that is waited for in the time of ``clock``, which knows how to wait for conditions. A wait may end
    early."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._condition = threading.Condition(threading.Lock())
        self._taken = False

    def acquire(self, blocking: bool = True, timeout: float = -1, /) -> bool:
        with self._condition:
            if self._taken and blocking:
                self._clock.wait(self._condition, None if timeout < 0 else timeout)
            released, self._taken = not self._taken, True
            return released

    def release(self) -> None:
        with self._condition:
            if not self._taken:
                raise RuntimeError("release unlocked lock")
            self._taken = False
            self._condition.notify()


class Sleepers:
    """All blocked threads, in the order they came.

    Of those only one watches the delays, lest all wake for each item that becomes due.

    Waking takes no lock of the queue. For a wake-up not to be lost, a thread enters first and looks for work
    again then, and who makes work does that first and looks for sleepers then.
    """

    def __init__(self, clock: Clock) -> None:
        self.asleep: deque[Gate] = deque()  # of those that nobody has woken yet; its truth may be looked at freely
        self.next_watch = inf  # the earliest time one of them looks at the delays by itself
        self.gate: Callable[[], Gate] = threading.Lock if clock is SYSTEM else partial(ClockGate, clock)
        self._all: dict[Gate, float] = {}  # also of those on their way out -> until when it watches, as enter() told it

    def __len__(self) -> int:
        return len(self._all)

    def enter(self, gate: Gate, next_due: float) -> float:
        """The calling thread is about to sleep at ``gate``, a new one. Called with the queue's lock held, as are the
        others but for :meth:`wake_one`.

        :returns: the due time for which it watches the delays; ``inf``: it does not.
        """
        gate.acquire(False)
        watches_until = next_due if next_due < self.next_watch else inf
        self._all[gate] = watches_until
        self.next_watch = min(self.next_watch, watches_until)
        self.asleep.append(gate)
        return watches_until

    def leave(self, gate: Gate, woken: bool) -> None:
        """The thread is awake, for whatever reason, or was interrupted before it slept. Who watches the delays from now
        on is the caller's concern. To leave twice does no harm.

        :param woken: ``gate`` was released.
        """
        if self._all.get(gate, inf) == self.next_watch:
            self.next_watch = inf
        self._all.pop(gate, None)
        if not woken:
            with contextlib.suppress(ValueError):  # somebody is just waking it
                self.asleep.remove(gate)

    def wake_one(self) -> None:
        """Wake the thread that sleeps longest, if any does. Any thread may call it at any time."""
        try:
            self.asleep.popleft().release()
        except (IndexError, RuntimeError):  # there is none; wake_all was faster
            return

    def wake_all(self) -> None:
        """Wake everybody, also whom an interrupted :meth:`wake_one` has forgotten."""
        self.asleep.clear()  # as wake_one does: one that is left there by a thread long gone would swallow a wake-up
        for gate in self._all:
            with contextlib.suppress(RuntimeError):  # it is awake already
                gate.release()
