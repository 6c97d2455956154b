"""How long silos have been silent, told by no clock but our own.

A row says when its silo last lived by the silo's clock. That time may look old because our clock is fast, because the
silo's is slow, or because nobody could write for a while: the API server was down, or it was the operator that slept.
So silence is measured in what was seen: for how long the time has stood still, and for how much of that while others of
the cluster have gone on writing theirs. Where nobody writes, nobody is late. How often they write is seen as well:
every 30 seconds by default, and every five minutes before Orleans 9.1.

This is kept in memory, as a candidate of an election keeps when it last saw the lease move. An operator that starts
anew knows nothing, and begins to count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from membership.orleans.entry import MembershipEntry
from membership.orleans.status import SiloStatus
from membership.orleans.times import MIN_TIME


class Sign(NamedTuple):
    """What of a row only its own silo changes while it lives."""

    alive: datetime
    status: SiloStatus


class Quiet(NamedTuple):
    """For how long a sign has not changed.

    :ivar seen: seconds that we have watched it.
    :ivar missed: the part of them in which other silos of the cluster have given signs.
    :ivar period: seconds between two signs of the slowest of the cluster's silos, by its own clock; 0: no two were
        seen of any.
    """

    seen: float
    missed: float
    period: float = 0.0


UNSEEN = Quiet(0.0, 0.0)

_LONGEST = 86400.0  # seconds from one sign to the next; beyond that a clock has jumped


def sign_of(entry: MembershipEntry) -> Sign:
    """The sign of life in a row: its start until there is another. Not the later of the two, which would stand still
    after a clock was set back."""
    given = entry.i_am_alive_time != MIN_TIME
    return Sign(entry.i_am_alive_time if given else entry.start_time, entry.status)


@dataclass(slots=True)
class _Silo:
    sign: Sign
    changed: float  # when we first saw this sign
    seen: float = 0.0
    missed: float = 0.0
    intervals: tuple[float, ...] = ()  # seconds from one sign to the next, the last two

    @property
    def interval(self) -> float:
        """The shorter one: the other may be that in which the API server was away."""
        return min(self.intervals, default=0.0)


class Silence:
    """The silos of one cluster. For one thread at a time.

    :param step: seconds; the most that one look may add. Between two looks further apart nobody has watched.
    """

    def __init__(self, step: float) -> None:
        self._step = step
        self._silos: dict[str, _Silo] = {}
        self._looked: float | None = None  # None: not yet, or without a connection
        self._moved: float | None = None  # when a silo last gave a sign
        self._period = 0.0

    def look(self, signs: Mapping[str, Sign], now: float, connected: bool = True) -> dict[str, Quiet]:
        """Take note of the rows, told by their names, as they are now.

        :param now: of a monotonic clock.
        :param connected: whether the cache hears of changes; while it does not, no time passes.
        """
        moved = [
            name
            for name, sign in signs.items()
            if sign.status is not SiloStatus.DEAD and (known := self._silos.get(name)) and known.sign != sign
        ]
        if connected and self._looked is not None:
            for silo in self._silos.values():
                silo.seen += min(now - self._looked, self._step)
        if moved and connected:
            for silo in self._silos.values():
                since = silo.changed if self._moved is None else max(silo.changed, self._moved)
                silo.missed += min(now - since, self._step)
        if moved:
            self._moved = now
        self._looked = now if connected else None
        self._silos = {name: self._next(name, sign, now) for name, sign in signs.items()}
        living = [silo for silo in self._silos.values() if silo.sign.status is not SiloStatus.DEAD]
        self._period = max((silo.interval for silo in living), default=0.0)
        return {name: self.of(name, silo.sign) for name, silo in self._silos.items()}

    def of(self, name: str, sign: Sign) -> Quiet:
        """What the last look found, if the row still bears that sign."""
        known = self._silos.get(name)
        if known is None or known.sign != sign:
            return UNSEEN
        return Quiet(known.seen, known.missed, self._period)

    def stood(self, name: str, now: float) -> float:
        """Seconds since the last look, or one before, first found the sign that the row bears; watched or not."""
        known = self._silos.get(name)
        return 0.0 if known is None else now - known.changed

    def _next(self, name: str, sign: Sign, now: float) -> _Silo:
        known = self._silos.get(name)
        if known is None:
            return _Silo(sign, now)
        if known.sign == sign:
            return known
        interval = (sign.alive - known.sign.alive).total_seconds()
        told = 0 < interval <= _LONGEST and sign.status is known.sign.status
        return _Silo(sign, now, intervals=(*known.intervals[-1:], interval) if told else known.intervals)
