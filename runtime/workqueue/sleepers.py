"""The threads that are blocked in ``get()``: who is woken by an add, and who watches the delays."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from math import inf

from runtime.clock import Clock


class Sleeper:
    """One blocked thread."""

    __slots__ = ("_condition", "watches_until", "woken")

    def __init__(self) -> None:
        self.watches_until = inf  # the due time for which it watches the delays; inf: it does not
        self._condition = threading.Condition(threading.Lock())  # its own: nobody else is held up when it wakes
        self.woken = False

    def wake(self) -> None:
        with self._condition:
            self.woken = True
            self._condition.notify()

    def sleep(self, clock: Clock, seconds: float | None) -> None:
        """Block until woken or for ``seconds``; may return early."""
        with self._condition:
            if not self.woken:
                clock.wait(self._condition, seconds)


class Sleepers:
    """All blocked threads, in the order they came.

    Of those only one watches the delays, lest all wake for each item that becomes due.

    Waking takes no lock of the queue. For a wake-up not to be lost, a thread enters first and looks for work
    again then, and who makes work does that first and looks for sleepers then.
    """

    def __init__(self) -> None:
        self.asleep: deque[Sleeper] = deque()  # those that nobody has woken yet; its truth may be looked at freely
        self._all: set[Sleeper] = set()  # also those on their way out
        self.spares: list[Sleeper] = []  # whose threads left as they should
        self.next_watch = inf  # the earliest time one of them looks at the delays by itself

    def __len__(self) -> int:
        return len(self._all)

    def spare(self) -> Sleeper:
        """One to :meth:`enter`. They are used again, for making one costs as much as a sleep; if somebody still wakes
        the thread that had it before, that is one look at the queue for nothing."""
        return self.spares.pop() if self.spares else Sleeper()

    def enter(self, sleeper: Sleeper, next_due: float) -> None:
        """Register the calling thread. Called with the queue's lock held, as are the others but for the waking."""
        sleeper.woken = False
        sleeper.watches_until = inf
        if next_due < self.next_watch:
            sleeper.watches_until = self.next_watch = next_due
        self._all.add(sleeper)
        self.asleep.append(sleeper)

    def leave(self, sleeper: Sleeper) -> None:
        """The thread is awake, for whatever reason, or was interrupted before it slept. Who watches the delays from now
        on is the caller's concern."""
        if sleeper.watches_until == self.next_watch:
            self.next_watch = inf
        sleeper.watches_until = inf
        self._all.discard(sleeper)
        with contextlib.suppress(ValueError):  # somebody woke it
            self.asleep.remove(sleeper)

    def wake_one(self) -> None:
        """Wake the thread that sleeps longest, if any does. Any thread may call it at any time."""
        try:
            sleeper = self.asleep.popleft()
        except IndexError:
            return
        sleeper.wake()

    def wake_all(self) -> None:
        """Wake everybody, also whom an interrupted :meth:`wake_one` has forgotten. With the queue's lock held."""
        for sleeper in self._all:
            sleeper.wake()
