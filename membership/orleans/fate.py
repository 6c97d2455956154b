"""What the table says about the silo that reads it: that it lives on, or why it must end."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from membership.orleans.address import SiloAddress
from membership.orleans.entry import MembershipEntry, MembershipTableData
from membership.orleans.names import row_name
from membership.orleans.status import SiloStatus

_SAME: Final = timedelta(milliseconds=1)  # start times are kept that exactly by all who may have written the row back


class TerminationReason(enum.Enum):
    """Why a silo has ended that was not asked to."""

    DECLARED_DEAD = "declared dead"
    ROW_GONE = "row gone"
    NEWER_GENERATION = "newer generation"
    JOIN_FAILED = "join failed"


@dataclass(frozen=True, slots=True)
class Termination:
    """The end of a silo; ``message`` is for people."""

    reason: TerminationReason
    message: str

    def __str__(self) -> str:
        return self.message


def same_start(one: MembershipEntry, other: MembershipEntry) -> bool:
    """Both rows are of the same process: address, names and start time are equal."""
    return (
        (one.silo_address, one.host_name, one.silo_name) == (other.silo_address, other.host_name, other.silo_name)
    ) and abs(one.start_time - other.start_time) < _SAME


def fate(own: MembershipEntry, data: MembershipTableData, *, written: bool) -> Termination | None:
    """Whether the silo of ``own`` must end, by what it has just read.

    :param own: what it would write itself; not its status.
    :param written: its row has been in the table already.
    """
    me = own.silo_address
    newer = [
        member
        for member, _ in data.members
        if member.silo_address.is_successor_of(me) and member.status is not SiloStatus.DEAD
    ]
    if newer:
        successor = max(member.silo_address for member in newer)
        return Termination(
            TerminationReason.NEWER_GENERATION, f"silo {successor} has been started in place of {me}, which ends"
        )
    found = data.get(me)
    if found is None:
        # A row that cannot be read is there all the same, and can be mended.
        there = not written or any(name == row_name(me) for name, _ in data.malformed)
        return None if there else Termination(TerminationReason.ROW_GONE, f"the row of {me} is gone from the table")
    row = found[0]
    if not same_start(row, own):
        what = (
            f"the row of {me} is of another process: silo {row.silo_name!r} on host {row.host_name!r}, "
            f"started {row.start_time.isoformat()}"
        )
        return Termination(TerminationReason.ROW_GONE, what)
    if row.status is SiloStatus.DEAD:
        by = ", ".join(str(voter) for voter, _ in row.suspect_times) or "somebody"
        return Termination(TerminationReason.DECLARED_DEAD, f"{me} was declared dead by {by}")
    return None


def predecessors(me: SiloAddress, members: Iterable[MembershipEntry]) -> list[MembershipEntry]:
    """Earlier starts of the same silo that the table does not have for dead yet: they cannot be alive."""
    return [
        member
        for member in members
        if member.silo_address.same_endpoint(me)
        and member.silo_address.generation < me.generation
        and member.status is not SiloStatus.DEAD
    ]
