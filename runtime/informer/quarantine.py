"""Objects that could not be cached: remembered, shown, and fetched again until they can be (R21)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Self

from runtime.client import Unstructured
from runtime.clock import Clock

from .store import can_be_key

_FIRST_RETRY = 1.0  # seconds until a quarantined object is fetched, doubled each time
_LAST_RETRY = 300.0


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
        text = f"{type(error).__name__}: {error}"
        return cls(key_in_quarantine(obj), obj.namespace, obj.name, obj.resource_version, text)

    @property
    def fetchable(self) -> bool:
        return not self.key.startswith("uid:")


@dataclass(frozen=True, slots=True)
class Held:
    """One object in quarantine.

    :ivar attempts: how often it has failed, or could not be fetched.
    :ivar retry_at: when it is fetched, in the clock's monotonic time; None: never.
    """

    failure: Failure
    attempts: int
    retry_at: float | None


class Quarantine:
    """What is held, by key. Changed under the informer's dispatch lock only.

    :ivar held: to be read.
    :param grew: called after something was put in or put off.
    """

    def __init__(self, clock: Clock, grew: Callable[[], None]) -> None:
        self._clock = clock
        self._grew = grew
        self.held: dict[str, Held] = {}

    def hold(self, failure: Failure, at_least: float = 0.0) -> None:
        """Put in what failed, or failed again; it is due after a back-off that doubles with each attempt.

        :param at_least: seconds it is left alone in any case.
        """
        before = self.held.get(failure.key)
        attempts = before.attempts + 1 if before is not None else 1
        delay = max(min(_FIRST_RETRY * 2.0 ** min(attempts - 1, 20), _LAST_RETRY), at_least)
        retry_at = self._clock.monotonic() + delay if failure.fetchable else None
        self.held[failure.key] = Held(failure, attempts, retry_at)
        self._grew()

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

    def next_retry(self) -> float | None:
        """When the first one is due, in the clock's monotonic time; None if none ever is."""
        return min((held.retry_at for held in self.held.values() if held.retry_at is not None), default=None)

    def due(self) -> list[Held]:
        """Those whose time it is, the longest due first."""
        now = self._clock.monotonic()
        due = [(held.retry_at, key) for key, held in self.held.items() if held.retry_at is not None]
        return [self.held[key] for retry_at, key in sorted(due) if retry_at <= now]


def key_in_quarantine(obj: Unstructured) -> str:
    """The object's key, if it can have one."""
    return obj.key if can_be_key(obj.namespace, obj.name) else f"uid:{obj.uid}"
