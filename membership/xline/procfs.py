"""What the kernel tells of processes."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import NamedTuple


class ProcessState(NamedTuple):
    """:ivar state: one letter, ``Z`` for one that has ended and was not waited for.
    :ivar started: ticks after the machine's start; it stays when the process becomes another program.
    """

    state: str
    started: int

    @property
    def lives(self) -> bool:
        return self.state not in "ZX"


def state_of(pid: int) -> ProcessState | None:
    """None: there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return ProcessState(fields[0], int(fields[19]))
    except (OSError, IndexError):
        return None


def own_children() -> set[int]:
    """The numbers of this process's children, adopted ones too."""
    found: set[int] = set()
    for task in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # that thread has just ended
            found.update(map(int, task.read_text().split()))
    return found
