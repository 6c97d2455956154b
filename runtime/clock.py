"""The time as a parameter, so that tests can own it.

Everything in the library that waits or measures takes ``clock=``; ``None`` means :data:`SYSTEM`.
``runtime.testing.FakeClock`` is the implementation whose time only a test moves.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What a component may ask of time. Every method may be called from any thread."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary origin; never goes back. The only time to measure with."""

    def now(self) -> datetime:
        """Wall-clock time with its timezone (UTC), for timestamps that others read."""

    def wait(self, condition: threading.Condition, timeout: float | None = None) -> bool:
        """``condition.wait(timeout)`` with the timeout, in seconds, in this clock's time.

        The caller holds the condition's lock, as for :meth:`threading.Condition.wait`, and checks its
        predicate again afterwards: the wait may return early. ``None`` waits for a notify only.
        Returns False if the timeout passed without one.
        """

    def wait_event(self, event: threading.Event, timeout: float | None = None) -> bool:
        """``event.wait(timeout)`` in this clock's time: True once the event is set, False on timeout."""

    def sleep(self, seconds: float) -> None:
        """Block the caller for that long in this clock's time; returns at once for <= 0."""


class SystemClock:
    """The machine's own time."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def wait(self, condition: threading.Condition, timeout: float | None = None) -> bool:
        return condition.wait(_possible(timeout))

    def wait_event(self, event: threading.Event, timeout: float | None = None) -> bool:
        return event.wait(_possible(timeout))

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(min(seconds, threading.TIMEOUT_MAX))


def _possible(timeout: float | None) -> float | None:
    """Waits of centuries are refused by the platform; nobody sees the end of the longest it can do either."""
    return timeout if timeout is None or timeout < threading.TIMEOUT_MAX else threading.TIMEOUT_MAX


class BootClock(SystemClock):
    """The machine's own time, where that in which it slept counts too: for what others measure meanwhile.

    Waits do not count it: after a sleep they end late. Without CLOCK_BOOTTIME (it is Linux') this is :data:`SYSTEM`.
    """

    def monotonic(self) -> float:
        return time.clock_gettime(_BOOTTIME)


SYSTEM: Clock = SystemClock()
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
BOOT: Clock = BootClock()
