"""What the membership table holds: rows, their version, and both together as one snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from membership.orleans.address import SiloAddress
from membership.orleans.status import SiloStatus
from membership.orleans.times import MIN_TIME


@dataclass(slots=True)
class MembershipEntry:
    """One row: one start of a silo, and what the cluster thinks of it.

    Yours to change: readers of the table get entries of their own.

    :param suspect_times: who suspects it of being dead and since when. Kept to the millisecond.
    :param proxy_port: port for clients; 0 if the silo is no gateway.
    :param host_name: of the machine, or the Pod, it runs on.
    :param silo_name: what its configuration calls it; on Kubernetes usually the Pod's name.
    :param start_time: when it started; kept to the microsecond, as is
    :param i_am_alive_time: when it last said that it lives. Both have a timezone; year 1 means never.
    """

    silo_address: SiloAddress
    status: SiloStatus
    suspect_times: list[tuple[SiloAddress, datetime]] = field(default_factory=list)
    proxy_port: int = 0
    host_name: str = ""
    silo_name: str = ""
    start_time: datetime = MIN_TIME
    i_am_alive_time: datetime = MIN_TIME

    @property
    def last_alive(self) -> datetime:
        """The later of start and the last sign of life: a silo that has just started has given none yet."""
        return max(self.start_time, self.i_am_alive_time)


@dataclass(frozen=True, slots=True)
class TableVersion:
    """The version of the whole table: grows by one with each row inserted or updated.

    :param etag: resourceVersion of the object which holds it; ``""`` (with version 0) if there is none.
    """

    version: int
    etag: str

    def next(self) -> TableVersion:
        """What a writer who has read this one asks for."""
        return TableVersion(self.version + 1, self.etag)


@dataclass(frozen=True, slots=True)
class MembershipTableData:
    """Rows with their etags, and the version of the table they belong to.

    :param members: each row with its etag, which an update of it has to name.
    :param malformed: objects that are meant to be rows of this table but cannot be read, each with what is wrong.
        They are not among the members.
    """

    members: list[tuple[MembershipEntry, str]]
    version: TableVersion
    malformed: Sequence[tuple[str, str]] = ()

    def get(self, address: SiloAddress) -> tuple[MembershipEntry, str] | None:
        """The row of that silo with its etag."""
        return next((member for member in self.members if member[0].silo_address == address), None)
