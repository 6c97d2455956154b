"""Fewer events that say more: similar ones are combined, repeated ones counted, floods cut off (E3 to E6)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from runtime.clock import Clock
from runtime.flowcontrol import TokenBucket
from runtime.record.event import timestamp
from runtime.types import JSONObject

__all__ = ["Correlated", "Correlator", "CorrelatorOptions"]

COMBINED_PREFIX: Final = "(combined from similar events): "

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class CorrelatorOptions:
    """Client-go's numbers (E4 to E6).

    :ivar max_similar: distinct messages of one reason about one object, from which on they are combined ...
    :ivar similar_seconds: ... unless the last of them is longer ago than this.
    :ivar burst: events about one object from one source before the filter drops them ...
    :ivar refill_seconds: ... and the time in which it allows one more.
    :ivar cache_size: objects, messages and filters remembered, each.
    """

    max_similar: int = 10
    similar_seconds: float = 600.0
    burst: int = 25
    refill_seconds: float = 300.0
    cache_size: int = 4096


@dataclass(frozen=True, slots=True)
class Correlated:
    """What to write.

    :ivar event: the event, with name, count and first time of the one it repeats.
    :ivar patch: merge patch of the stored event ``event`` repeats; None: create it.
    :ivar key: under which the server's answer is to be remembered.
    """

    event: JSONObject
    patch: JSONObject | None
    key: Hashable


@dataclass(slots=True)
class _Similar:
    messages: set[str]
    last_seen: float


@dataclass(slots=True)
class _Seen:
    count: int
    first: str
    name: str
    stored: int = 0  # the count that the server has


class Correlator:
    """One per sink. Not thread-safe: it belongs to the thread that writes.

    QUIRK (E5): client-go joins the parts of a key without a separator, so different events may collide; here the
    key is a tuple.
    """

    def __init__(
        self,
        clock: Clock,
        new_name: Callable[[str], str],
        options: CorrelatorOptions | None = None,
    ) -> None:
        self._clock = clock
        self._new_name = new_name
        self._options = options or CorrelatorOptions()
        size = self._options.cache_size
        self._similar: _Recent[_Similar] = _Recent(size)
        self._seen: _Recent[_Seen] = _Recent(size)
        self._buckets: _Recent[TokenBucket] = _Recent(size)

    def correlate(self, event: JSONObject) -> Correlated | None:
        """What to write for a new event; None if the filter drops it, which counts it all the same (E6)."""
        event, key = self._aggregate(event)
        correlated = self._count(event, key)
        return correlated if self._allowed(event) else None

    def stored(self, key: Hashable, event: JSONObject) -> None:
        """The server has accepted; ``event`` is its answer (E7)."""
        metadata = event.get("metadata", {})
        seen = self._seen.get(key)
        if seen is not None:
            seen.name = metadata.get("name") or seen.name
            seen.stored = max(seen.stored, event.get("count") or 0)

    def is_outdated(self, correlated: Correlated) -> bool:
        """Whether the server has a higher count of that event: to write this one would take it back."""
        seen = self._seen.get(correlated.key)
        return seen is not None and seen.stored > correlated.event["count"]

    def _aggregate(self, event: JSONObject) -> tuple[JSONObject, Hashable]:
        """From the tenth distinct message on, one event stands for all (E4)."""
        options, now = self._options, self._clock.monotonic()
        key = _aggregate_key(event)
        similar = self._similar.get(key)
        if similar is None or now - similar.last_seen > options.similar_seconds:
            similar = _Similar(set(), now)
            self._similar.put(key, similar)
        similar.messages.add(event["message"])
        similar.last_seen = now
        if len(similar.messages) < options.max_similar:
            return event, _dedupe_key(event)
        similar.messages.pop()
        name = self._new_name(event["involvedObject"]["name"])
        combined = event | {
            "metadata": event["metadata"] | {"name": name},
            "message": COMBINED_PREFIX + event["message"],
        }
        return combined, key

    def _count(self, event: JSONObject, key: Hashable) -> Correlated:
        seen = self._seen.get(key)
        if seen is None:
            self._seen.put(key, _Seen(1, event["firstTimestamp"], event["metadata"]["name"]))
            return Correlated(event, None, key)
        seen.count += 1
        last = timestamp(self._clock.now())
        changed = {"count": seen.count, "lastTimestamp": last, "message": event["message"]}
        repeated = (
            event
            | changed
            | {
                "firstTimestamp": seen.first,
                "metadata": event["metadata"] | {"name": seen.name},
            }
        )
        return Correlated(repeated, changed, key)

    def _allowed(self, event: JSONObject) -> bool:
        """A token bucket per source, object and type (E6)."""
        key = (*_source_key(event), *_object_key(event), event["type"])
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = TokenBucket(1.0 / self._options.refill_seconds, self._options.burst, clock=self._clock)
            self._buckets.put(key, bucket)
        return bucket.try_accept()


class _Recent(Generic[V]):
    """The most recently used entries of a dict, up to a size."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[Hashable, V] = OrderedDict()

    def get(self, key: Hashable) -> V | None:
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: Hashable, value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)


def _source_key(event: JSONObject) -> tuple[str, str]:
    source = event["source"]
    return source.get("component", ""), source.get("host", "")


def _object_key(event: JSONObject) -> tuple[str, ...]:
    about = event["involvedObject"]
    return tuple(about.get(key, "") for key in ("kind", "namespace", "name", "uid", "apiVersion"))


def _aggregate_key(event: JSONObject) -> Hashable:
    return (
        *_source_key(event),
        *_object_key(event),
        event["type"],
        event["reason"],
        event["reportingComponent"],
        event["reportingInstance"],
    )


def _dedupe_key(event: JSONObject) -> Hashable:
    return (
        *_source_key(event),
        *_object_key(event),
        event["involvedObject"].get("fieldPath", ""),
        event["type"],
        event["reason"],
        event["message"],
    )
