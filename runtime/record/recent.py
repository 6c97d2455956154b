"""What was recorded last in this process, for people who look at it and not at the cluster."""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime
from typing import Final, NamedTuple

from runtime.record.event import Occurrence

__all__ = ["RecentEvent", "RecentEvents"]

_MOST: Final = 100


class RecentEvent(NamedTuple):
    """Events that say the same.

    :ivar last: the one that was recorded last.
    :ivar times: how often that was, without a break of a hundred others.
    """

    last: Occurrence
    first_at: datetime
    times: int


class RecentEvents:
    """The last hundred different ones. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _known
        self._known: OrderedDict[tuple[object, ...], RecentEvent] = OrderedDict()  # the latest is the last

    def add(self, occurrence: Occurrence) -> None:
        about = occurrence.source, occurrence.regarding.identity, occurrence.type, occurrence.reason, occurrence.message
        with self._lock:
            before = self._known.pop(about, None)
            first_at, times = (occurrence.at, 1) if before is None else (before.first_at, before.times + 1)
            self._known[about] = RecentEvent(occurrence, first_at, times)
            if len(self._known) > _MOST:
                self._known.popitem(last=False)

    def latest(self) -> list[RecentEvent]:
        """The latest first."""
        with self._lock:
            return list(reversed(self._known.values()))
