"""What was done to a membership table, and whether it is explained by one change after the other.

Each change writes a mark into the row's silo name: the version it leads to, and who made it. So what a reader sees
tells of which changes it is the outcome.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from membership.orleans import MembershipTableData, SiloAddress
from tests.support.history import PENDING, Operation
from tests.support.linearizability import check_register


@dataclass(frozen=True, slots=True)
class Write:
    """A change that was tried.

    :ivar result: None if nobody knows: its writer died.
    """

    mark: str
    row: SiloAddress
    called: float
    returned: float
    result: bool | None

    @property
    def version(self) -> int:
        return version_of(self.mark)


@dataclass(frozen=True, slots=True)
class Read:
    called: float
    returned: float
    version: int
    marks: dict[SiloAddress, str]


def mark_of(version: int, who: str) -> str:
    return f"{version}:{who}"


def version_of(mark: str) -> int:
    return int(mark.partition(":")[0])


@dataclass
class TableHistory:
    """What several threads did, each telling it when it is over.

    :param initial: what the table held before: each row's mark. The last of them is the version.
    """

    initial: dict[SiloAddress, str]
    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)  # guards both lists

    def wrote(self, write: Write) -> None:
        with self._lock:
            self.writes.append(write)

    def read(self, called: float, returned: float, data: MembershipTableData) -> None:
        marks = {member.silo_address: member.silo_name for member, _ in data.members}
        with self._lock:
            self.reads.append(Read(called, returned, data.version.version, marks))

    def check(self) -> None:
        """:raises AssertionError: no order of the changes explains what was read."""
        first = self._version(self.initial)
        changes = self._changes()
        last = max((read.version for read in self.reads), default=first)
        assert sorted(v for v in changes if v <= last) == list(range(first + 1, last + 1)), "a version has no change"
        contents = self._contents(first, changes)
        for read in self.reads:
            assert read.marks == contents[read.version], f"rows of another version than {read.version}"
        check_register(self._operations(changes), initial=first)

    def _version(self, marks: dict[SiloAddress, str]) -> int:
        return max((version_of(mark) for mark in marks.values()), default=0)

    def _changes(self) -> dict[int, Write]:
        """Version -> the change that led to it: said so by its writer, or by what was read."""
        by_mark = {write.mark: write for write in self.writes}
        assert len(by_mark) == len(self.writes), "two changes have the same mark"
        seen = {mark for read in self.reads for mark in read.marks.values()} - set(self.initial.values())
        refused = {write.mark for write in self.writes if write.result is False}
        assert not seen & refused, f"in the table, though their writers were told otherwise: {seen & refused}"
        changes: dict[int, Write] = {}
        for write in self.writes:
            if write.result or write.mark in seen:
                other = changes.setdefault(write.version, write)
                assert other is write, f"two changes to one version: {other.mark} and {write.mark}"
        for write in sorted(self.writes, key=lambda write: write.called):
            if write.result is None:  # died, and was overwritten before anybody looked: perhaps
                changes.setdefault(write.version, write)
        return changes

    def _contents(self, first: int, changes: dict[int, Write]) -> dict[int, dict[SiloAddress, str]]:
        contents = {first: dict(self.initial)}
        for version in sorted(changes):
            if version - 1 in contents:
                contents[version] = {**contents[version - 1], changes[version].row: changes[version].mark}
        return contents

    def _operations(self, changes: dict[int, Write]) -> Iterable[Operation]:
        for write in changes.values():
            ended = write.returned if write.result else PENDING
            yield Operation(write.mark, "write", write.version, write.called, ended)
        for number, read in enumerate(self.reads):
            yield Operation(f"reader-{number}", "read", read.version, read.called, read.returned)
