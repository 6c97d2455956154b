"""Which rows of dead silos may go, and who removes them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from membership.orleans.access import TABLE_ERRORS
from membership.orleans.address import SiloAddress
from membership.orleans.entry import MembershipEntry
from membership.orleans.options import MembershipOptions
from membership.orleans.status import SiloStatus
from membership.orleans.views import MembershipView
from runtime.clock import Clock
from runtime.logging import get_logger

_log = get_logger(__name__)


def cleaner(view: MembershipView) -> SiloAddress | None:
    """Who removes them, so that not all silos do: the first active one in the order of addresses."""
    return min((member.silo_address for member in view.active), default=None)


def cutoff(view: MembershipView, now: datetime, options: MembershipOptions, *, due: bool) -> datetime | None:
    """Dead silos whose last sign of life is before this moment may go; ``None``: nobody's.

    Those that are expired, if it is time to look for them (``due``). And the oldest of more than
    ``max_defunct_entries``, by the latest of alive time and votes, but never one that is among the newest by that: a
    silo that was declared dead just now is to be seen by all.
    """
    dead = [member for member in view.members if member.status is SiloStatus.DEAD]
    moments = []
    if due:
        expired = now - timedelta(seconds=options.defunct_expiration)
        if any(member.last_alive < expired for member in dead):
            moments.append(expired)
    if options.max_defunct_entries is not None and len(dead) > options.max_defunct_entries:
        moment = _excess(dead, options.max_defunct_entries, now)
        if any(member.last_alive < moment for member in dead):
            moments.append(moment)
    return max(moments, default=None)


class Cleaning:
    """One silo's part in it. One thread.

    :param view: what the table says.
    :param remove: removes from it those who have lived last before a moment. What it raises is logged, if it is one of
        :data:`.access.TABLE_ERRORS`.
    """

    def __init__(
        self,
        me: SiloAddress,
        options: MembershipOptions,
        clock: Clock,
        *,
        view: Callable[[], MembershipView],
        remove: Callable[[datetime], None],
    ) -> None:
        self._me = me
        self._options = options
        self._clock = clock
        self._view = view
        self._remove = remove
        self._looked: float | None = None  # when expired ones were looked for last

    def step(self) -> float | None:
        """Remove what may go now.

        :returns: seconds after which to look again if nothing changes.
        """
        period, view = self._options.defunct_cleanup_period, self._view()
        if cleaner(view) != self._me:
            return period
        now = self._clock.monotonic()
        due = period is not None and (self._looked is None or now - self._looked >= period)
        if due:
            self._looked = now
        before = cutoff(view, self._clock.now(), self._options, due=due)
        if before is not None:
            try:
                self._remove(before)
                _log.info("entries of dead silos were removed", before=before.isoformat())
            except TABLE_ERRORS as error:
                _log.warning("entries of dead silos could not be removed", error=str(error))
        return period


def _excess(dead: list[MembershipEntry], kept: int, now: datetime) -> datetime:
    """Before which those that are too many have lived last; the table removes by that time and no other."""
    newest = sorted(dead, key=lambda member: (_last_change(member), member.silo_address), reverse=True)[:kept]
    return min((member.last_alive for member in newest), default=now)


def _last_change(member: MembershipEntry) -> datetime:
    return max([member.last_alive, *(time for _, time in member.suspect_times)])
