"""Which rows of dead silos are removed: pure.

As in Orleans' own cleanup, rows go that are older than the expiration, and the oldest where there are too many. A row's
age counts from the last thing that was written in it, be it a vote; so one that was declared dead after it had been
silent for a week stays until everybody has seen it, the silo itself above all: it would take a missing row for leave to
insert itself again. For the same reason, nothing but the expiration removes a row within an hour.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from controllers.orleans.settings import Settings
from membership.orleans.entry import MembershipEntry
from membership.orleans.status import SiloStatus

_KEPT: Final = timedelta(hours=1)


class Removal(NamedTuple):
    """:ivar names: of the rows to remove now, the oldest first. :ivar next: when there will be another one; None: never
    of the rows there are."""

    names: tuple[str, ...]
    next: datetime | None


def removal(rows: Iterable[tuple[str, MembershipEntry]], now: datetime, settings: Settings) -> Removal:
    """What to remove of the rows, each with its name."""
    dead = sorted(
        ((last_written(entry), name) for name, entry in rows if entry.status is SiloStatus.DEAD),
        reverse=True,
    )
    names, later = [], []
    for place, (written, name) in enumerate(dead):
        due = _due(written, place, settings)
        if due is not None and due < now:
            names.append(name)
        elif due is not None:
            later.append(due)
    return Removal(tuple(reversed(names)), min(later, default=None))


def last_written(entry: MembershipEntry) -> datetime:
    """The latest time in a row: of start, life, or a vote."""
    return max(entry.last_alive, *(time for _, time in entry.suspect_times), entry.last_alive)


def _due(written: datetime, place: int, settings: Settings) -> datetime | None:
    """When a row is to go; ``place``: how many dead ones have been written later."""
    dues = []
    if settings.defunct_after is not None:
        dues.append(_plus(written, timedelta(seconds=settings.defunct_after)))
    if settings.max_defunct is not None and place >= settings.max_defunct:
        dues.append(_plus(written, _KEPT))
    return min(dues, default=None)


def _plus(moment: datetime, span: timedelta) -> datetime:
    """A time that .NET could not have meant is never over."""
    try:
        return moment + span
    except OverflowError:
        return datetime.max.replace(tzinfo=moment.tzinfo)
