"""Objects that could not be cached: remembered, shown, and fetched again until they can be (R21)."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Self

from runtime.client import Unstructured
from runtime.clock import Clock

from .state import text_of
from .store import can_be_key

_FIRST_RETRY = 1.0  # seconds until a quarantined object is fetched, doubled each time
_LAST_RETRY = 300.0
_BATCH = 20  # objects fetched in one go, so that a resync need not wait for thousands
_PACE = 0.05  # seconds between two objects: a broken transform, which fails on all, is no reason to flood the server
_STALE = 100  # entries of the agenda that may stand for nothing


@dataclass(frozen=True, slots=True)
class Failure:
    """An object that the transform, the key or an index function fails on. Of the object itself nothing is kept.

    :ivar key: its key; ``uid:...`` for one that cannot have a key. Such a one is not fetched: there is no name to ask
        for, only an event or a list can heal it.
    """

    key: str
    namespace: str
    name: str
    resource_version: str
    error: str

    @classmethod
    def of(cls, obj: Unstructured, error: BaseException) -> Self:
        return cls(key_in_quarantine(obj), obj.namespace, obj.name, obj.resource_version, text_of(error))

    @property
    def fetchable(self) -> bool:
        return not self.key.startswith("uid:")


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """One object in quarantine.

    :ivar attempts: how often it has failed, or could not be fetched.
    """

    failure: Failure
    attempts: int


class Quarantine:
    """What is held, by key. Changed under the informer's dispatch lock only.

    What it does for one object costs the same however many are held: when a transform is broken that is all of them.

    :ivar held: to be read.
    :ivar grew: something was put in or put off since somebody set this to False.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.held: dict[str, Held] = {}
        self.grew = False
        # By time; of what was released or put off meanwhile entries stay until they come up, or are too many.
        self._agenda: list[tuple[float, int, Held]] = []
        self._numbers = itertools.count()
        self._next_batch = -math.inf

    def hold(self, failure: Failure, at_least: float = 0.0) -> None:
        """Put in what failed, or failed again; it is due after a back-off that doubles with each attempt.

        :param at_least: seconds it is left alone in any case.
        """
        before = self.held.get(failure.key)
        attempts = before.attempts + 1 if before is not None else 1
        held = self.held[failure.key] = Held(failure, attempts)
        self.grew = True
        if not failure.fetchable:
            return
        delay = max(min(_FIRST_RETRY * 2.0 ** min(attempts - 1, 20), _LAST_RETRY), at_least)
        heapq.heappush(self._agenda, (self._clock.monotonic() + delay, next(self._numbers), held))
        if len(self._agenda) > 2 * len(self.held) + _STALE:
            self._agenda = [entry for entry in self._agenda if self._stands(entry)]
            heapq.heapify(self._agenda)

    def release(self, obj: Unstructured) -> None:
        """A version of it could be cached, or it is gone."""
        if self.held:
            self.held.pop(key_in_quarantine(obj), None)

    def keep_only(self, keys: Collection[str]) -> None:
        """Release all but these."""
        for key in [key for key in self.held if key not in keys]:
            del self.held[key]

    def errors(self) -> Mapping[str, str]:
        """Key -> error. May be called by any thread, without the lock, and never blocks."""
        # An inline handler may hold the lock for long: who asks for the state wants it then above all.
        # To copy a dict is one step for other threads.
        return {key: held.failure.error for key, held in self.held.copy().items()}

    def next_due(self) -> float | None:
        """When the first one is to be fetched, in the clock's monotonic time; None if none ever is."""
        due = self._first_due()
        return None if due is None else max(due, self._next_batch)

    def take_batch(self) -> list[Held]:
        """Some of those whose time it is, the longest due first; none until the last batch has had its share of time.
        Each has to be held again, or released."""
        now = self._clock.monotonic()
        if now < self._next_batch:
            return []
        batch = self._take(now, _BATCH)
        self._next_batch = now + len(batch) * _PACE
        return batch

    def take_due(self) -> list[Held]:
        """All of them. Each has to be held again, or released."""
        return self._take(self._clock.monotonic(), None)

    def _take(self, now: float, limit: int | None) -> list[Held]:
        due: list[Held] = []
        while limit is None or len(due) < limit:
            moment = self._first_due()
            if moment is None or moment > now:
                break
            due.append(heapq.heappop(self._agenda)[2])
        return due

    def _first_due(self) -> float | None:
        while self._agenda and not self._stands(self._agenda[0]):
            heapq.heappop(self._agenda)
        return self._agenda[0][0] if self._agenda else None

    def _stands(self, entry: tuple[float, int, Held]) -> bool:
        return self.held.get(entry[2].failure.key) is entry[2]


def key_in_quarantine(obj: Unstructured) -> str:
    """The object's key, if it can have one."""
    return obj.key if can_be_key(obj.namespace, obj.name) else f"uid:{obj.uid}"
