"""Declaring silos dead, and removing rows: through the table, on what it holds now.

What a look has found comes from caches, which may be old: the process may have slept, or the API server been away. So
before anything is written, the rows are read anew and judged again; each row once more just before its turn; and each
write asks for the row that was read then, but for a sign of life that comes in this moment. Killed between any two
calls, or answered by nobody, a change is either in the table as a whole or not at all, and the next look finds which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from controllers.orleans.census import Row
from controllers.orleans.settings import OPERATOR
from controllers.orleans.silence import sign_of
from controllers.orleans.verdicts import Verdict
from membership.orleans.entry import MembershipTableData
from membership.orleans.table import KubeMembershipTable
from membership.orleans.votes import declared_dead

_TRIES = 3  # others write the table, too

Judge = Callable[[MembershipTableData], Sequence[Verdict]]


def declare_dead(
    table: KubeMembershipTable, doomed: Iterable[Verdict], judge: Judge, now: Callable[[], datetime]
) -> Iterator[tuple[Verdict, bool]]:
    """Declare these silos dead, one after the other, if fresh rows say the same of them.

    :param judge: the verdicts by these rows.
    :returns: each verdict that fresh rows have not upheld, with False; and that on each silo that has been declared
        dead just now, with True. Where others have written each time, nothing: it is to be tried again.
    :raises ClientError: and ``TableError``: what became of the one at hand is not known.
    """
    upheld = {verdict.member.name: verdict for verdict in judge(table.read_all()) if verdict.dead}
    for verdict in doomed:
        fresh = upheld.get(verdict.member.name)
        if fresh is None:
            yield verdict, False
        elif _declare(table, fresh, now):
            yield fresh, True


def remove(table: KubeMembershipTable, rows: Sequence[Row]) -> Iterator[Row]:
    """Remove these rows, unless they have changed.

    :returns: each that has been removed just now.
    :raises ClientError: and ``TableError``: as above.
    """
    for row in rows:
        if table.delete_row(row.entry.silo_address, row.etag):
            yield row


def _declare(table: KubeMembershipTable, verdict: Verdict, now: Callable[[], datetime]) -> bool:
    """False: it was no longer the row that was judged, or others have written each time."""
    judged = verdict.member.entry
    for _ in range(_TRIES):
        # However long the judgement took, for each of many: a sign of life may have come since.
        data = table.read_row(judged.silo_address)
        found = data.get(judged.silo_address)
        if found is None or sign_of(found[0]) != sign_of(judged):
            return False
        entry, etag = found
        if table.update_row(declared_dead(entry, OPERATOR, now()), etag, data.version.next()):
            return True
    return False
