"""Which silos have stopped to write their alive time, as seen by one observer.

By the observer's own clock, and by how long an alive time has stood still, not by what it says: clocks of machines
differ. While the observer could not reach the table, others could not either, perhaps: then all periods begin anew.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import datetime

from membership.orleans.address import SiloAddress
from membership.orleans.entry import MembershipEntry
from membership.orleans.status import SiloStatus
from runtime.clock import SYSTEM, Clock


class Observations:
    """What has changed in the rows of the table since when. Any thread."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SYSTEM
        self._lock = threading.Lock()  # guards what follows
        self._last = self._clock.monotonic()  # when the table was read last
        self._alive: dict[SiloAddress, tuple[datetime, float]] = {}  # alive time, and since when it is that
        self._status: dict[SiloAddress, tuple[SiloStatus, float]] = {}

    def observe(self, members: Iterable[MembershipEntry]) -> None:
        """The table was read just now, and these are its rows."""
        now = self._clock.monotonic()
        with self._lock:
            alive, status = self._alive, self._status
            self._alive, self._status, self._last = {}, {}, now
            for member in members:
                silo = member.silo_address
                # Not the later of it and the start: that would stand still after a clock was set back.
                time, state = member.i_am_alive_time, member.status
                seen, what = alive.get(silo), status.get(silo)
                self._alive[silo] = seen if seen is not None and seen[0] == time else (time, now)
                self._status[silo] = what if what is not None and what[0] is state else (state, now)

    def interrupted(self) -> None:
        """The table could not be reached, or this process did not run: what stood still meanwhile proves nothing."""
        now = self._clock.monotonic()
        with self._lock:
            self._last = now
            self._alive = {silo: (time, now) for silo, (time, _) in self._alive.items()}
            self._status = {silo: (status, now) for silo, (status, _) in self._status.items()}

    def silent(self, silo: SiloAddress) -> float:
        """Seconds, up to the last reading, in which its alive time has stood still."""
        with self._lock:
            seen = self._alive.get(silo)
            return 0.0 if seen is None else self._last - seen[1]

    def unchanged(self, silo: SiloAddress, status: SiloStatus) -> float:
        """Seconds, up to the last reading, for which its status has been this one; 0 if it is another."""
        with self._lock:
            seen = self._status.get(silo)
            return 0.0 if seen is None or seen[0] is not status else self._last - seen[1]
