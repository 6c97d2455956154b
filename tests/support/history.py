"""What clients did to a register, and when: the material on which consistency is judged."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["write", "read"]
PENDING = math.inf


@dataclass(frozen=True, slots=True)
class Operation:
    """One call. Times are of one monotonic clock, in seconds.

    :ivar value: what was written, or read; None: the register was empty. No two writes write the same.
    :ivar returned: :data:`PENDING` of a write that may take effect at any time after it was called, or never: it was
        not answered, or with an error. A read without an answer is no operation.
    """

    client: str
    kind: Kind
    value: int | None
    called: float
    returned: float = PENDING

    @property
    def acknowledged(self) -> bool:
        return self.returned != PENDING


class History:
    """Operations as they end; from any thread."""

    def __init__(self, operations: Iterable[Operation] = ()) -> None:
        self._lock = threading.Lock()  # guards _operations
        self._operations = list(operations)

    def add(self, operation: Operation) -> None:
        with self._lock:
            self._operations.append(operation)

    @property
    def operations(self) -> list[Operation]:
        """In the order they were called."""
        with self._lock:
            return sorted(self._operations, key=lambda operation: operation.called)

    def acknowledged_writes(self) -> list[Operation]:
        """In the order they were acknowledged."""
        writes = [o for o in self.operations if o.kind == "write" and o.acknowledged]
        return sorted(writes, key=lambda operation: operation.returned)

    def save(self, path: Path) -> None:
        """One JSON object per line, so that a verdict can be looked into afterwards."""
        lines = [json.dumps({k: v for k, v in asdict(o).items() if v != PENDING}) for o in self.operations]
        path.write_text("".join(f"{line}\n" for line in lines))

    @classmethod
    def load(cls, path: Path) -> History:
        return cls(Operation(**json.loads(line)) for line in path.read_text().splitlines())


def longest_gap(times: Sequence[float], begin: float, end: float) -> float:
    """The longest time between ``begin`` and ``end`` in which nothing happened, in seconds."""
    inside = sorted(time for time in times if begin <= time <= end)
    return max(later - earlier for earlier, later in pairwise([begin, *inside, end]))
