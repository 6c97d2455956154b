"""What the controller remembers of clusters from one look to the next. An operator that starts anew remembers nothing,
and what it would have done is done a little later."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

from controllers.orleans.pods import Binding
from controllers.orleans.silence import Silence
from runtime.types import Request

T = TypeVar("T")


class Told(NamedTuple):
    """Something that is so, and of which an event tells once for as long as it stays so."""

    type: str
    reason: str
    message: str


class Since(Generic[T]):
    """Since when something has the value that it has."""

    def __init__(self) -> None:
        self._seen: tuple[T, float] | None = None

    def look(self, value: T, now: float) -> float:
        """Seconds for which it has been ``value``, up to ``now``."""
        if self._seen is None or self._seen[0] != value:
            self._seen = (value, now)
        return now - self._seen[1]


class Recall:
    """Of one cluster; for one thread at a time.

    :ivar pods: that silos were seen to run in, by the names of their rows.
    :ivar version: of the table. :ivar pending: id of the change under way. :ivar unwritten: whether a status waits.
    """

    def __init__(self, step: float) -> None:
        self.silence = Silence(step)
        self.pods: dict[str, Binding] = {}
        self.version = Since[int | None]()
        self.pending = Since[str | None]()
        self.unwritten = Since[bool]()
        self._told: frozenset[Told] = frozenset()

    def news(self, standing: Iterable[Told]) -> list[Told]:
        """What of it was not so at the last look."""
        now = dict.fromkeys(standing)
        fresh = [told for told in now if told not in self._told]
        self._told = frozenset(now)
        return fresh


class Memory:
    """By cluster. Any thread."""

    def __init__(self, step: float) -> None:
        self._make: Callable[[], Recall] = lambda: Recall(step)
        self._lock = threading.Lock()  # guards _recalls, not what is in them
        self._recalls: dict[Request, Recall] = {}

    def of(self, key: Request) -> Recall:
        with self._lock:
            return self._recalls.setdefault(key, self._make())

    def forget(self, key: Request) -> None:
        with self._lock:
            self._recalls.pop(key, None)
