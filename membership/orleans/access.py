"""One agent's use of the membership table: one sequence of reads and writes at a time, each made known before the next.

So what the agent learns of the table it learns in the order in which it came to be, whichever thread has read it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final, Protocol

from membership.orleans.entry import MembershipEntry, MembershipTableData, TableVersion
from membership.orleans.errors import TableError
from membership.orleans.rows import MalformedRow
from runtime.client import AlreadyExists, ClientError, Conflict, NotFound
from runtime.clock import Clock
from runtime.logging import get_logger

#: What a table that cannot be reached, or cannot do it now, raises.
TABLE_ERRORS: Final = (ClientError, MalformedRow)

_log = get_logger(__name__)


class Table(Protocol):
    """The operations of a membership table that an agent uses; :class:`.table.KubeMembershipTable` has them."""

    def initialize_membership_table(self, try_init_table_version: bool) -> None: ...

    def read_all(self) -> MembershipTableData: ...

    def insert_row(self, entry: MembershipEntry, version: TableVersion) -> bool: ...

    def update_row(self, entry: MembershipEntry, etag: str, version: TableVersion) -> bool: ...

    def update_i_am_alive(self, entry: MembershipEntry) -> None: ...

    def cleanup_defunct_silo_entries(self, before: datetime, *, only_dead: bool = False) -> None: ...


class TableAccess:
    """Any thread. What the table raises is let out.

    :param learned: called with all that is read or written, by the thread that did it, one at a time.
    :param written: called after that, when it was written, with the row and the version. Must not block.
    :param failed: called whenever the table cannot be read or written. That others are faster is no failure.
    """

    def __init__(
        self,
        table: Table,
        clock: Clock,
        *,
        learned: Callable[[MembershipTableData], None],
        written: Callable[[MembershipEntry, int], None],
        failed: Callable[[], None],
    ) -> None:
        self._table = table
        self._clock = clock
        self._learned = learned
        self._written = written
        self._failed = failed
        self._turn = threading.RLock()  # guards the order of reads and writes
        self._trouble: float | None = None

    def trouble_since(self, since: float) -> bool:
        """The table could not be reached at some time after ``since``, in monotonic time."""
        return self._trouble is not None and self._trouble > since

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """While entered no other thread reads or writes rows by this object."""
        with self._turn:
            yield

    def initialize(self) -> None:
        with self._watching():
            self._table.initialize_membership_table(True)

    def read(self) -> MembershipTableData:
        """All rows."""
        with self._turn:
            with self._watching():
                data = self._table.read_all()
            self._learned(data)
            return data

    def write(self, data: MembershipTableData, entry: MembershipEntry) -> bool:
        """Insert or update a row, as an answer to ``data``.

        :returns: False: the table has changed since; read it again.
        """
        found = data.get(entry.silo_address)
        with self._turn:
            with self._watching():
                version = data.version.next()
                if found is None:
                    written = self._table.insert_row(entry, version)
                else:
                    written = self._table.update_row(entry, found[1], version)
            if written:
                # Nobody else has written at this version. Etags of what was written are not known, nor needed.
                others = [member for member in data.members if member[0].silo_address != entry.silo_address]
                self._learned(MembershipTableData([*others, (entry, "")], version, data.malformed))
                self._written(entry, version.version)
            return written

    def write_alive(self, entry: MembershipEntry) -> None:
        with self._watching():
            self._table.update_i_am_alive(entry)

    def clean(self, before: datetime) -> None:
        """Remove dead silos. That it fails tells nothing of the table: who has not the right to delete rows may still
        judge others."""
        self._table.cleanup_defunct_silo_entries(before, only_dead=True)

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        try:
            yield
        except (TableError, Conflict, AlreadyExists, NotFound):
            raise
        except ClientError:
            self._trouble = self._clock.monotonic()
            self._failed()
            raise
