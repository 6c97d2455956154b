"""Which rows of dead silos are removed: pure.

As in Orleans' own cleanup, rows go that are older than the expiration, and the oldest where there are too many. A row's
age counts from the last thing that was written in it, be it a vote; so one that was declared dead after it had been
silent for a week stays until everybody has seen it, the silo itself above all: it would take a missing row for leave to
insert itself again. For the same reason, nothing but the expiration removes a row that was not seen to be dead for an
hour: by no clock but our own, and that may be fast by more than it takes everybody to see it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from controllers.orleans.settings import Settings
from membership.orleans.entry import MembershipEntry
from membership.orleans.status import SiloStatus

_KEPT: Final = 3600.0  # seconds


class Found(NamedTuple):
    """A row. :ivar name: of the object. :ivar stood: seconds since it was first seen as it is."""

    name: str
    entry: MembershipEntry
    stood: float


class Removal(NamedTuple):
    """:ivar names: of the rows to remove now, the oldest first. :ivar next: when there will be another one; None: never
    of the rows there are."""

    names: tuple[str, ...]
    next: datetime | None


def removal(rows: Iterable[Found], now: datetime, settings: Settings) -> Removal:
    """What to remove of the rows."""
    dead = sorted(
        (row for row in rows if row.entry.status is SiloStatus.DEAD),
        key=lambda row: (last_written(row.entry), row.name),
        reverse=True,
    )
    names, later = [], []
    for place, row in enumerate(dead):
        due = _due(row, place, now, settings)
        if due is not None and due <= now:
            names.append(row.name)
        elif due is not None:
            later.append(due)
    return Removal(tuple(reversed(names)), min(later, default=None))


def last_written(entry: MembershipEntry) -> datetime:
    """The latest time in a row: of start, life, or a vote."""
    return max(entry.last_alive, *(time for _, time in entry.suspect_times), entry.last_alive)


def _due(row: Found, place: int, now: datetime, settings: Settings) -> datetime | None:
    """When a row is to go; ``place``: how many dead ones have been written later."""
    dues = []
    if settings.defunct_after is not None:
        dues.append(_plus(last_written(row.entry), settings.defunct_after))
    if settings.max_defunct is not None and place >= settings.max_defunct:
        dues.append(_plus(now, _KEPT - row.stood))
    return min(dues, default=None)


def _plus(moment: datetime, seconds: float) -> datetime:
    """A time that .NET could not have meant is never over."""
    try:
        return moment + timedelta(seconds=seconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=moment.tzinfo)
