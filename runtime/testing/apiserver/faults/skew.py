"""A wall clock that is wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from runtime.clock import Clock

MOST = 30 * 365 * 86400.0  # seconds: two of them lead to no year that dates do not know


class SkewedClock:
    """Another clock whose wall-clock time is off. Time is measured as by the other one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._thread = threading.local()  # .skew: of the request that this thread serves
        self._skew = 0.0

    @property
    def skew(self) -> float:
        """Seconds by which it is ahead."""
        return self._skew

    @skew.setter
    def skew(self, seconds: float) -> None:
        if not abs(seconds) <= MOST:
            raise ValueError(f"a skew is from {-MOST:.0f} to {MOST:.0f} seconds, got {seconds}")
        self._skew = seconds

    @property
    def off(self) -> float:
        """Seconds by which it is ahead for the present thread."""
        return self._skew + float(getattr(self._thread, "skew", 0.0))

    @contextmanager
    def skewed(self, seconds: float) -> Iterator[None]:
        """Let the present thread see it so much further ahead."""
        before = getattr(self._thread, "skew", 0.0)
        self._thread.skew = before + seconds
        try:
            yield
        finally:
            self._thread.skew = before

    def now(self) -> datetime:
        off = self.off
        return self._clock.now() + timedelta(seconds=off) if off else self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def wait(self, condition: threading.Condition, timeout: float | None = None) -> bool:
        return self._clock.wait(condition, timeout)

    def wait_event(self, event: threading.Event, timeout: float | None = None) -> bool:
        return self._clock.wait_event(event, timeout)

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)
