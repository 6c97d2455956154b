"""Fewer events that say more: similar ones are combined, repeated ones are a series, floods are cut off (E3 to E6).

One correlator serves both APIs. Client-go's recorder of events.k8s.io has none (V8) and loses every note but the first
(V2): here another note is another event, as long as the budget lasts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from runtime.clock import Clock
from runtime.flowcontrol import TokenBucket
from runtime.record.apis import EventAPI, Told
from runtime.record.event import MAX_NOTE, EventNames, Occurrence, cut

__all__ = ["Correlator", "CorrelatorOptions", "Match", "Series"]

COMBINED_PREFIX: Final = "(combined from similar events): "

Key: TypeAlias = tuple[Hashable, ...]
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class CorrelatorOptions:
    """Client-go's numbers (E4 to E6, V4). Times are seconds.

    :ivar max_similar: distinct messages of one reason about one object, from which on they are combined ...
    :ivar similar_seconds: ... unless the last of them is longer ago than this.
    :ivar burst: the budget: so many events of one type about one object from one source are written at once ...
    :ivar refill_seconds: ... and one more in this time. What an event of events.k8s.io has grown to is told besides.
    :ivar cache_size: objects, messages and budgets remembered, each.
    :ivar finish_seconds: of silence, after which an event's last count is told, if it was not yet. In events.k8s.io the
        series ends then, and the next repetition begins another.
    :ivar refresh_seconds: after which a series of events.k8s.io that goes on is told again, before the server's TTL
        (an hour) deletes it.
    :raises ValueError: one of them is not above zero.
    """

    max_similar: int = 10
    similar_seconds: float = 600.0
    burst: int = 25
    refill_seconds: float = 300.0
    cache_size: int = 4096
    finish_seconds: float = 360.0
    refresh_seconds: float = 1800.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above zero, not {getattr(self, name)!r}")


@dataclass(slots=True, eq=False)
class Series:
    """One event on the server, or one to be: what happened since it began, and what the server knows of it.

    :ivar key: under which the correlator finds it.
    :ivar combined: it stands for events with different messages.
    :ivar count: occurrences so far.
    :ivar seen_at: time of the last one, on the monotonic clock as all that end in ``_at``.
    :ivar api: through which it was created.
    :ivar told: the count that the server has; 0: it has no such event.
    :ivar maybe_told: the count of a create that was not answered, and may have taken effect.
    :ivar tries: failed in a row.
    :ivar is_watched: somebody will look whether it is to be told by then.
    :ivar is_over: nobody is to look at it again: it was dropped.
    """

    key: Key
    name: str
    first: Occurrence
    combined: bool
    began_at: float
    last: datetime
    seen_at: float
    message: str
    count: int = 1
    api: EventAPI | None = None
    told: int = 0
    told_at: float = 0.0
    maybe_told: int = 0
    tries: int = 0
    is_watched: bool = False
    is_over: bool = False

    @property
    def untold(self) -> int:
        """Occurrences that the server does not know of."""
        return self.count - self.told

    def add(self, occurrence: Occurrence, now: float) -> None:
        """It has happened again."""
        self.count += 1
        self.last, self.seen_at, self.message = occurrence.at, now, occurrence.message

    def to_tell(self) -> Told:
        return Told(self.name, self.first, self.count, self.last, self.message)


class Match(NamedTuple):
    """Where an occurrence belongs.

    :ivar occurrence: what is to be told of it there.
    :ivar series: None: there is none yet.
    """

    key: Key
    occurrence: Occurrence
    combined: bool
    series: Series | None


@dataclass(slots=True)
class _Similar:
    last_seen: float
    messages: set[str] = field(default_factory=set)


class Correlator:
    """Finds the series that an occurrence belongs to. Not thread-safe.

    QUIRK (E5): client-go joins the parts of a key without a separator, so different events may collide; here the
    key is a tuple. It holds what V2's key holds and the message, but not the object's resourceVersion, with which in
    client-go each change of the object ends the series of events.k8s.io.
    """

    def __init__(self, clock: Clock, names: EventNames, options: CorrelatorOptions | None = None) -> None:
        self._clock = clock
        self._names = names
        self._options = options or CorrelatorOptions()
        size = self._options.cache_size
        self._similar: _Recent[_Similar] = _Recent(size)
        self._series: _Recent[Series] = _Recent(size)
        self._budgets: _Recent[TokenBucket] = _Recent(size)

    def find(self, occurrence: Occurrence) -> Match:
        """From the tenth distinct message on, one series stands for all (E4)."""
        options, now = self._options, self._clock.monotonic()
        key = _similar_key(occurrence)
        similar = self._similar.get(key)
        if similar is None or now - similar.last_seen > options.similar_seconds:
            similar = _Similar(now)
            self._similar.put(key, similar)
        similar.messages.add(occurrence.message)
        similar.last_seen = now
        if len(similar.messages) < options.max_similar:
            key = (*key, occurrence.message)
            return Match(key, occurrence, False, self._series.get(key))
        similar.messages.pop()
        occurrence = replace(occurrence, message=cut(COMBINED_PREFIX + occurrence.message, MAX_NOTE))
        return Match(key, occurrence, True, self._series.get(key))

    def begin(self, match: Match) -> tuple[Series, Series | None]:
        """A new series of one occurrence; and the one that is forgotten for it, if one is."""
        occurrence, now = match.occurrence, self._clock.monotonic()
        series = Series(
            match.key,
            self._names.new(occurrence.regarding.name, occurrence.at),
            occurrence,
            match.combined,
            began_at=now,
            last=occurrence.at,
            seen_at=now,
            message=occurrence.message,
        )
        return series, self._series.put(match.key, series)

    def rename(self, series: Series) -> None:
        """Somebody else's event has its name."""
        series.name = self._names.new(series.first.regarding.name, series.first.at)

    def allows(self, occurrence: Occurrence) -> bool:
        """Whether the budget for its object and type has room for one more write, which it takes (E6)."""
        key = (occurrence.source, occurrence.regarding.identity, occurrence.type)
        budget = self._budgets.get(key)
        if budget is None:
            budget = TokenBucket(1.0 / self._options.refill_seconds, self._options.burst, clock=self._clock)
            self._budgets.put(key, budget)
        return budget.try_accept()

    def holds(self, series: Series) -> bool:
        """Whether further occurrences may be added to it."""
        return self._series.peek(series.key) is series

    def forget(self, series: Series) -> None:
        """The next occurrence begins another one."""
        if self.holds(series):
            self._series.pop(series.key)

    def series(self) -> Iterable[Series]:
        """All that are held."""
        return self._series.values()


def _similar_key(occurrence: Occurrence) -> Key:
    return (
        occurrence.source,
        occurrence.regarding.identity,
        occurrence.related.identity if occurrence.related is not None else None,
        occurrence.type,
        occurrence.reason,
        occurrence.action,
    )


class _Recent(Generic[V]):
    """The most recently used entries of a dict, up to a size."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[Key, V] = OrderedDict()

    def get(self, key: Key) -> V | None:
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def peek(self, key: Key) -> V | None:
        return self._entries.get(key)

    def put(self, key: Key, value: V) -> V | None:
        """Returns what had to go for it: what was there under ``key``, or the entry that was not used for longest."""
        replaced = self._entries.pop(key, None)
        self._entries[key] = value
        if replaced is None and len(self._entries) > self._size:
            return self._entries.popitem(last=False)[1]
        return replaced

    def pop(self, key: Key) -> None:
        self._entries.pop(key, None)

    def values(self) -> Iterable[V]:
        return self._entries.values()
