"""The events of one resource as the watches that show the same of it send them: encoded once, joined once.

Twenty watches of one collection send the same bytes. A feed cuts its log into blocks, and each watch sends whole blocks
as they are: what a change costs the second watch is a system call per block, however many events are in it.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right, insort
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.testing.apiserver.log import Entry, ResourceLog

_EVENTS = 512  # of a block at most
_BYTES = 512 * 1024  # after which a block takes no more
_KEPT = 64  # blocks for those that come behind ...
_KEPT_BYTES = 4 * 1024 * 1024  # ... and their bytes; who lags further behind encodes for itself
# Seconds between two blocks, for each watch of the resource: twenty watches that woke up for every one of ten thousand
# changes a second would do little else than wake up. After a quiet moment a change is told at once. As long as blocks
# come out larger than `_BUSY` the time grows: who writes so much needs the interpreter more than those who watch.
_GATHER = 0.0005
_GATHER_MOST = 0.05
_BUSY = 64  # events


class Lost(Exception):
    """The events from there on are forgotten."""


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive events, as they are sent.

    :param end: the absolute index in the log after its last entry.
    :param version: of its last entry.
    :param data: empty if none of them is shown.
    """

    end: int
    version: int
    data: bytes


@dataclass(frozen=True, slots=True)
class _Failure:
    """The event at this absolute index could not be encoded then."""

    index: int
    at: float
    error: Exception


class Feed:
    """Of one log, for watches that show every event in the same bytes. Thread-safe.

    :param monotonic: seconds of real time.
    """

    def __init__(self, log: ResourceLog, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.watches = 0  # that have it open; the log counts them
        self._log = log
        self._monotonic = monotonic
        self._lock = threading.Lock()  # guards everything below; who waits for it most often wants what is being made
        self._blocks: dict[int, Block] = {}  # by the absolute index of their first entry, in order of their making
        self._starts: list[int] = []  # the same, sorted
        self._bytes = 0
        self._told = 0  # the absolute index up to which blocks have been made; those that come behind delay nobody
        self._next_at = float("-inf")  # when the next block after it should be made
        self._failure: _Failure | None = None  # the last

    def take(self, index: int, encode: Callable[[Entry], bytes], *, at_once: bool) -> Block | None:
        """The block that begins at this absolute index of the log; None if there is nothing (yet) that should be sent.

        :param encode: one event as it is sent, empty if it is not shown.
        :param at_once: do not wait for more events.
        :raises Lost: that part of the log is forgotten.
        :raises Exception: what ``encode`` raised, for others who have waited meanwhile, too.
        """
        if self._log.end == index:  # looked at first: it needs no lock
            return None
        began = self._monotonic()
        with self._lock:
            if self._log.slice(index, 0) is None:
                raise Lost
            found = self._blocks.get(index)
            if found is None and (at_once or self.pause(index) <= 0):
                failure = self._failure
                if failure is not None and failure.index == index and began < failure.at:
                    raise failure.error  # a webhook that never answers takes half a minute each time
                found = self._make(index, encode)
            return found

    def pause(self, index: int) -> float:
        """Seconds until the block that begins there should be made: others may join it."""
        if index < self._told or self._log.end - index >= _EVENTS:
            return 0.0
        return self._next_at - self._monotonic()

    def _make(self, index: int, encode: Callable[[Entry], bytes]) -> Block:
        # Who began within a block of the others goes on with the next of theirs, made or not yet: else they would
        # overtake each other for ever, and neither gather nor share anything.
        following = bisect_right(self._starts, index)
        most = self._starts[following] - index if following < len(self._starts) else _EVENTS
        if index < self._told:
            most = min(most, self._told - index)
        entries = self._log.slice(index, min(most, _EVENTS))
        if entries is None:
            raise Lost
        parts: list[bytes] = []
        size = 0
        for entry in entries:
            try:
                parts.append(encode(entry))
            except Exception as error:
                if parts:
                    break  # what comes before it is told first
                self._failure = _Failure(index, self._monotonic(), error)
                raise
            size += len(parts[-1])
            if size >= _BYTES:
                break
        made = Block(index + len(parts), entries[len(parts) - 1].version, b"".join(parts))
        if made.end > self._told:
            self._told = made.end
            pause = _GATHER * self._log.watches * max(1.0, len(parts) / _BUSY)
            self._next_at = self._monotonic() + min(pause, _GATHER_MOST)
        if self.watches > 1:
            self._keep(index, made)
        return made

    def _keep(self, index: int, made: Block) -> None:
        self._blocks[index] = made
        insort(self._starts, index)
        self._bytes += len(made.data)
        while len(self._blocks) > _KEPT or self._bytes > _KEPT_BYTES:
            oldest = next(iter(self._blocks))
            self._bytes -= len(self._blocks.pop(oldest).data)
            self._starts.remove(oldest)
