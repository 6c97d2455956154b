"""How this process itself is doing. Who does badly must not judge others: it misses answers by its own fault."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

from membership.orleans.address import SiloAddress
from membership.orleans.options import MembershipOptions
from runtime.clock import Clock

MAX_SCORE: Final = 8
_KEPT: Final = 256  # stalls


class LocalHealth:
    """Notices when the process did not run: stopped, swapped out, short of CPU, or its machine asleep. Any thread.

    Something must call :meth:`tick` regularly, from :meth:`begin` on. What comes late tells of a stall; and so does
    what has not come yet, so that a thread which runs first after a stall knows of it before the one that ticks.
    """

    def __init__(self, options: MembershipOptions, clock: Clock) -> None:
        self.interval: Final = min(1.0, options.probe_timeout / 5)
        self._unit = options.probe_timeout / 5  # of stall for a point of the score; a second by default
        self._recent = options.probe_timeout
        self._void = options.probe_timeout / 2
        self._clock = clock
        self._lock = threading.Lock()  # guards what follows
        self._last = clock.monotonic()
        self._stalls: deque[tuple[float, float]] = deque(maxlen=_KEPT)  # when it ended, seconds

    def begin(self) -> None:
        """Ticks come from now on."""
        with self._lock:
            self._last = self._clock.monotonic()

    def tick(self) -> float:
        """Seconds of the stall that has just ended, 0 if there was none worth a point of the score."""
        now = self._clock.monotonic()
        with self._lock:
            late = now - self._last - self.interval
            self._last = now
            if late < self.interval:
                return 0.0
            self._stalls.append((now, late))
        return late

    def stalled(self, since: float) -> float:
        """Seconds of the longest stall that has ended after ``since``, in monotonic time, or is ending now."""
        now = self._clock.monotonic()
        with self._lock:
            late = now - self._last - self.interval
            return max([0.0 if late < self.interval else late, *(n for end, n in self._stalls if end > since)])

    def missed_much(self, since: float) -> bool:
        """This process did not run for a long time at a stretch: answers it did not get since then prove nothing."""
        return self.is_long(self.stalled(since))

    def is_long(self, stall: float) -> bool:
        """So many seconds are half a probe's timeout or more."""
        return stall >= self._void

    def score(self) -> int:
        """0 (well) to 8: seconds of the longest stall in the last five seconds, where probes have five (in proportion,
        where they have another timeout)."""
        return min(MAX_SCORE, int(self.stalled(self._clock.monotonic() - self._recent) / self._unit))


class Contacts:
    """When other silos have last answered this one, or asked it something. Any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards _heard
        self._heard: dict[SiloAddress, float] = {}

    def heard(self, silo: SiloAddress) -> None:
        """There was a message of it just now."""
        now = self._clock.monotonic()
        with self._lock:
            self._heard[silo] = now

    def forget_but(self, silos: frozenset[SiloAddress]) -> None:
        """Others than these do not matter any more."""
        with self._lock:
            self._heard = {silo: time for silo, time in self._heard.items() if silo in silos}

    def any_since(self, since: float, among: frozenset[SiloAddress]) -> bool:
        """One of them has been heard of after ``since``, in monotonic time."""
        with self._lock:
            return any(self._heard.get(silo, float("-inf")) > since for silo in among)
