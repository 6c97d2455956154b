"""From what the API server says to what the store holds and the handlers hear."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec

from runtime.client import Unstructured
from runtime.clock import Clock
from runtime.logging import Logger
from runtime.types import JSONObject

from .notes import Added, Note, Redelivered, Removed, Updated
from .projection import Transform
from .state import Health
from .store import Indexer, key_of

ADDED = "ADDED"
MODIFIED = "MODIFIED"
DELETED = "DELETED"
BOOKMARK = "BOOKMARK"

_FIRST_RETRY = 1.0  # seconds until a quarantined object is tried again, doubled each time
_LAST_RETRY = 300.0
_IDENTITY = ("name", "namespace", "uid", "resourceVersion")


class Event(msgspec.Struct, frozen=True, gc=False):
    """One change as a watch tells it; of a bookmark only the object's resource version means anything."""

    type: str
    object: Unstructured


class Replacement(Protocol):
    """A complete new content that is being received; without :meth:`commit` it has no effect."""

    def add(self, objects: Iterable[Unstructured]) -> None:
        """Objects of the new content."""

    def apply(self, events: Iterable[Event]) -> None:
        """Changes to what was added so far (R31)."""

    def commit(self, resource_version: str) -> None:
        """Make it the content, at once for every reader."""


class Sink(Protocol):
    """What a reflector fills; called by one thread."""

    def begin_replace(self) -> Replacement: ...

    def apply(self, events: Sequence[Event]) -> None:
        """Changes, in order."""


class _Try(NamedTuple):
    """What the transform made of an object; ``key`` and ``obj`` are None as far as it failed, with ``error``."""

    key: str | None
    obj: Unstructured | None
    error: BaseException | None


@dataclass(slots=True)
class _Quarantined:
    obj: Unstructured  # as received
    error: str
    attempts: int
    retry_at: float


class Ingest:
    """The :class:`Sink` of an informer: transforms, diffs, stores, and then tells the handlers.

    Every object goes through the transform once (R37); one that the transform, the key or an index function fails on
    is quarantined: what the cache held of it stays, it is counted and shown, and it is tried again (R21).

    :param distribute: called with the changes in order, under ``dispatch``, after the store holds them.
    :param wants_unchanged: whether anybody wants objects that a list repeats unchanged (I9).
    :param committed: called after a complete content is in the store and distributed, under ``dispatch``.
    :param dispatch: held while store and handlers' buffers are brought from one state to the next (I5).
    """

    def __init__(
        self,
        store: Indexer,
        *,
        transforms: Sequence[Transform],
        distribute: Callable[[Sequence[Note]], None],
        wants_unchanged: Callable[[], bool],
        committed: Callable[[], None],
        quarantine_grew: Callable[[], None],
        dispatch: threading.RLock,
        health: Health,
        clock: Clock,
        log: Logger,
    ) -> None:
        self._store = store
        self._transforms = transforms
        self._distribute = distribute
        self._wants_unchanged = wants_unchanged
        self._committed = committed
        self._quarantine_grew = quarantine_grew
        self._dispatch = dispatch
        self._health = health
        self._clock = clock
        self._log = log
        self._populated = False
        self._quarantine: dict[str, _Quarantined] = {}  # changed under the dispatch lock only

    # What the reflector calls

    def begin_replace(self) -> Replacement:
        return _ListDiff(self)

    def apply(self, events: Sequence[Event]) -> None:
        # Transforms are the user's code: they run before any lock is taken.
        prepared = [(event, _NOTHING if event.type == BOOKMARK else self._try(event.object)) for event in events]
        with self._dispatch:
            notes: list[Note] = []
            with self._store.transaction():
                for event, result in prepared:
                    self._apply_one(event, result, notes)
            if notes:
                self._distribute(notes)

    def _apply_one(self, event: Event, result: _Try, notes: list[Note]) -> None:
        key, obj, error = result
        if event.type == BOOKMARK:
            self._store.bookmark(event.object.resource_version)
        elif event.type == DELETED:
            self._quarantine.pop(_name_in_quarantine(key, event.object), None)
            if key is not None:  # what the transform says of it does not matter
                self._remove(key, event.object, obj, notes)
        elif key is not None and obj is not None:
            self._put(key, event.object, obj, notes, initial=False)
        elif error is not None:
            # In its turn: what came before it in the same batch must not release it again.
            self._quarantine_object(_name_in_quarantine(key, event.object), event.object, error)

    # One object

    def _try(self, obj: Unstructured) -> _Try:
        key: str | None = None
        try:
            key = key_of(obj)
            return _Try(key, self._transform(key, obj) if self._transforms else obj, None)
        except (Exception, SystemExit) as error:  # the transform is the user's: it may raise anything
            return _Try(key, None, error)

    def _transform(self, key: str, obj: Unstructured) -> Unstructured:
        result: JSONObject = obj.to_dict()
        for transform in self._transforms:
            result = transform(result)
            if not isinstance(result, dict):
                raise TypeError(f"the transform returned {type(result).__name__}, not the object as a dict")
        metadata = result.setdefault("metadata", {})
        if not isinstance(metadata, dict):
            raise TypeError(f"the transform made metadata a {type(metadata).__name__}")
        # The machinery lives on the identity, so a transform need not bother to keep it.
        given = obj["metadata"]
        for name in _IDENTITY:
            if name in given:
                metadata.setdefault(name, given[name])
        transformed = Unstructured(result)
        if key_of(transformed) != key or transformed.resource_version != obj.resource_version:
            raise ValueError(f"the transform changed the identity to {key_of(transformed)}; it must leave it alone")
        return transformed

    def _put(self, key: str, received: Unstructured, obj: Unstructured, notes: list[Note], *, initial: bool) -> None:
        """Store the object and note what that is to a handler. The caller holds both locks."""
        try:
            old = self._store.put(obj)
        except ValueError as error:  # an index function
            self._quarantine_object(key, received, error)
            return
        self._quarantine.pop(key, None)
        if old is None:
            notes.append(Added(key, obj, initial))
        elif old.uid != obj.uid:
            # Deleted and created again while nobody looked: two objects, whatever their common name.
            notes.append(Removed(key, old, None))
            notes.append(Added(key, obj, initial))
        elif old.resource_version == obj.resource_version and obj.resource_version:
            notes.append(Redelivered(key, obj))
        else:
            notes.append(Updated(key, old, obj))

    def _remove(self, key: str, received: Unstructured, final: Unstructured | None, notes: list[Note]) -> None:
        """Remove what a deletion event named. The caller holds both locks.

        A key that is not in the store was never shown to a handler, so its deletion is not either (against Q15).
        """
        old = self._store.delete(received)
        if old is None:
            return
        known = final is not None and final.uid == old.uid
        notes.append(Removed(key, old, final if known else None))

    # Quarantine

    def _quarantine_object(self, key: str, obj: Unstructured, error: BaseException) -> None:
        text = f"{type(error).__name__}: {error}"
        with self._dispatch:
            before = self._quarantine.get(key)
            attempts = before.attempts + 1 if before is not None else 1
            delay = min(_FIRST_RETRY * 2.0 ** min(attempts - 1, 20), _LAST_RETRY)
            self._quarantine[key] = _Quarantined(obj, text, attempts, self._clock.monotonic() + delay)
        self._health.object_failed(f"{key}: {text}")
        self._log.error(
            "object quarantined: the cache keeps its last good version; it will be tried again",
            key=key,
            resource_version=obj.resource_version,
            retry_in=delay,
            exc_info=error,
        )
        self._quarantine_grew()

    def quarantined(self) -> Mapping[str, str]:
        """Key -> error of what is in quarantine now. Never blocks."""
        # Without the lock, which an inline handler may hold for long: who asks for the state wants it then above all.
        # To copy a dict is one step for other threads.
        return {key: entry.error for key, entry in self._quarantine.copy().items()}

    def next_retry(self) -> float | None:
        """When the first quarantined object is due, in the clock's time; None if there is none."""
        with self._dispatch:
            return min((entry.retry_at for entry in self._quarantine.values()), default=None)

    def retry_quarantined(self) -> None:
        """Try those again that are due. May be called by another thread than the reflector's."""
        now = self._clock.monotonic()
        with self._dispatch:
            due = [(key, entry) for key, entry in self._quarantine.items() if entry.retry_at <= now]
        for key, entry in due:
            _, obj, error = self._try(entry.obj)
            with self._dispatch:
                # Meanwhile a newer version or its deletion may have come.
                if self._quarantine.get(key) is not entry:
                    continue
                if obj is None:
                    self._quarantine_object(key, entry.obj, error or ValueError("no object"))
                else:
                    self._put_late(key, entry.obj, obj)

    def _put_late(self, key: str, received: Unstructured, obj: Unstructured) -> None:
        notes: list[Note] = []
        with self._store.transaction():
            reached = self._store.resource_version
            self._put(key, received, obj, notes, initial=False)
            self._store.bookmark(reached)  # the object is older than what the store has reached since
        if notes:
            self._distribute(notes)

    # Replacing everything

    def unchanged(self, obj: Unstructured) -> Unstructured | None:
        """The cached object, if it is the same version of the same object."""
        cached = self._store.get(obj.key)
        if cached is None or not obj.resource_version:
            return None
        same = cached.uid == obj.uid and cached.resource_version == obj.resource_version
        return cached if same else None

    def commit(
        self,
        items: Mapping[str, tuple[Unstructured, Unstructured]],
        failed: Mapping[str, tuple[Unstructured, BaseException]],
        resource_version: str,
    ) -> None:
        """Make ``items`` (key -> as received, as transformed) the content, telling the differences only.

        Deletions are told first, then the rest in the list's order (Q8). What ``failed`` is listed, too: what the
        cache holds of it stays, and it goes into quarantine. That happens here and not while the list arrives, or a
        retry might store an object which the list's end then takes for a stranger.
        """
        with self._dispatch:
            initial, self._populated = not self._populated, True
            unchanged_too = self._wants_unchanged()
            notes: list[Note] = []
            for key in self._quarantine.keys() - failed.keys():
                del self._quarantine[key]
            with self._store.transaction():
                for key in self._store.list_keys():
                    if key not in items and key not in failed:
                        old = self._store.delete(key)
                        assert old is not None
                        notes.append(Removed(key, old, None))
                for key, (received, obj) in items.items():
                    if self._store.get(key) is not obj:
                        self._put(key, received, obj, notes, initial=initial)
                    elif unchanged_too:
                        notes.append(Redelivered(key, obj))
                for key, (received, error) in failed.items():
                    self._quarantine_object(key, received, error)
                self._store.bookmark(resource_version)
            if notes:
                self._distribute(notes)
            self._committed()


class _ListDiff:
    """A list on its way in, reduced page by page to what differs from the store.

    Of objects that have not changed the cached one is kept and the received one dropped, so the old content and
    the new one never exist twice.
    """

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._items: dict[str, tuple[Unstructured, Unstructured]] = {}
        self._failed: dict[str, tuple[Unstructured, BaseException]] = {}

    def add(self, objects: Iterable[Unstructured]) -> None:
        for received in objects:
            cached = self._ingest.unchanged(received)
            if cached is not None:
                self._items[cached.key] = (cached, cached)
                self._failed.pop(cached.key, None)
                continue
            key, obj, error = self._ingest._try(received)
            if key is not None and obj is not None:
                self._items[key] = (received, obj)
                self._failed.pop(key, None)
            elif error is not None:
                self._items.pop(key or "", None)
                self._failed[_name_in_quarantine(key, received)] = (received, error)

    def apply(self, events: Iterable[Event]) -> None:
        for event in events:
            received = event.object
            if event.type == DELETED:
                self._items.pop(received.key, None)
                self._failed.pop(received.key, None)
                self._failed.pop(_name_in_quarantine(None, received), None)
            elif event.type != BOOKMARK:
                self.add((received,))

    def commit(self, resource_version: str) -> None:
        self._ingest.commit(self._items, self._failed, resource_version)
        self._items, self._failed = {}, {}


_NOTHING = _Try(None, None, None)


def _name_in_quarantine(key: str | None, obj: Unstructured) -> str:
    return key or f"uid:{obj.uid}"
