"""From what the API server says to what the store holds and the handlers hear."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from runtime.client import ApiError, Unstructured
from runtime.clock import Clock
from runtime.logging import Logger

from .notes import Added, Note, Redelivered, Removed, Updated
from .projection import Transform
from .quarantine import Failure, Held, Quarantine, key_in_quarantine
from .shaping import shape
from .state import Health
from .store import Content, Indexer, Transaction, can_be_key, check_key
from .versions import is_at_least, is_comparable, is_older

ADDED = "ADDED"
MODIFIED = "MODIFIED"
DELETED = "DELETED"
BOOKMARK = "BOOKMARK"

_NOTHING: dict[str, Unstructured] = {}
_SUPERSEDED = 1000  # versions that came and went within one replacement and may be kept until its end


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


class Ingest:
    """The :class:`Sink` of an informer: transforms, diffs, stores, and then tells the handlers.

    Every object goes through the transform once (R37, Q6: that of a deletion event, too, but nothing that is inferred);
    one that the transform, the key or an index function fails on is quarantined: what the cache held of it stays, it
    is counted and shown, and it is fetched again (R21, Q14).

    A batch is what came together (Q11). Readers of the store see it whole or not at all (Q12), with the version it
    leads to; only then are the handlers told, change by change in the order of the batch, across all keys (Q1). So a
    handler may find the store ahead of the change it is told of, never behind it (I3). The transforms run without a
    lock; index functions under the store's; inline handlers under ``dispatch``, see :class:`Registration`.

    Once the store is closed nothing has an effect any more (R25).

    :param distribute: called with the changes in order, under ``dispatch``, after the store holds them.
    :param wants_unchanged: whether anybody wants objects that a list repeats unchanged (I9).
    :param committed: called after a complete content is in the store and distributed, under ``dispatch``.
    :param fetch: reads one object, by namespace and name, from the server; None if it is not in the collection.
    :param dispatch: held while store and handlers' buffers are brought from one state to the next (I5).
    :ivar populated: whether a complete content has been committed.
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
        fetch: Callable[[str, str], Unstructured | None],
        dispatch: threading.RLock,
        health: Health,
        clock: Clock,
        log: Logger,
    ) -> None:
        self._store = store
        self._transforms = transforms
        self.shape = shape  # what applies them; ingests that share a watch share this, too
        self._distribute = distribute
        self._wants_unchanged = wants_unchanged
        self._committed = committed
        self._fetch = fetch
        self._dispatch = dispatch
        self._health = health
        self._log = log
        self.populated = False
        self._quarantine = Quarantine(clock)
        self._quarantine_grew = quarantine_grew
        # Keys whose cached object was fetched, and its version: until the collection gets there, what it says of them
        # is older than what the cache holds. A list from before what the cache has seen is no such news: then the
        # server was restored, and counts anew. Changed under the dispatch lock.
        self._ahead: dict[str, str] = {}

    # What the reflector calls

    def begin_replace(self) -> Replacement:
        return _ListDiff(self)

    def apply(self, events: Sequence[Event]) -> None:
        shaped: list[Unstructured | Failure] | None = None
        if self._transforms:  # they are the user's code, and run before any lock is taken
            shaped = [self._shape_event(event) for event in events]
        with self._dispatch:
            if self._store.closed:
                return
            notes: list[Note] = []
            with self._store.transaction() as transaction:
                version = ""
                for number, event in enumerate(events):
                    received = event.object
                    obj = received if shaped is None else shaped[number]
                    version = received.resource_version or version
                    if event.type == BOOKMARK or (self._ahead and self._is_old_news(received)):
                        continue
                    if event.type == DELETED:
                        self._delete(transaction, received, obj, notes)
                    elif isinstance(obj, Failure):
                        # In its turn: what came before it in the same batch must not release it again.
                        self._quarantine.hold(obj)
                    elif self._put(transaction, obj, notes) and self._quarantine.held:
                        self._quarantine.release(obj)
                transaction.reach(version)
            self._forget_what_was_passed()
            self._tell(notes)

    # One object

    def _shape(self, obj: Unstructured) -> Unstructured | Failure:
        try:
            check_key(obj)
            return self.shape(obj, self._transforms) if self._transforms else obj
        except (Exception, SystemExit) as error:  # the transform is the user's: it may raise anything
            return self._failed(obj, error)

    def _shape_event(self, event: Event) -> Unstructured | Failure:
        if event.type == BOOKMARK:
            return event.object
        if event.type != DELETED:
            return self._shape(event.object)
        try:
            return self.shape(event.object, self._transforms)
        except (Exception, SystemExit) as error:
            what = "the transform failed on a deleted object: handlers are told of what the cache held"
            self._log.warning(what, key=event.object.key, exc_info=error)
            return Failure.of(event.object, error)

    def _failed(self, obj: Unstructured, error: BaseException) -> Failure:
        failure = Failure.of(obj, error)
        self._health.object_failed(f"{failure.key}: {failure.error}")
        self._log.error(
            "object cannot be cached: the cache keeps its last good version, and the object will be fetched again",
            key=failure.key,
            resource_version=failure.resource_version,
            exc_info=error,
        )
        return failure

    def _put(self, transaction: Transaction, obj: Unstructured, notes: list[Note]) -> bool:
        """Store the object and note what that is to a handler; False if it went into quarantine instead."""
        try:
            old = transaction.put(obj)
        except ValueError as error:  # it has no key, or an index function failed
            self._quarantine.hold(self._failed(obj, error))
            return False
        if old is None:
            notes.append(Added(obj, False))
        else:
            self._note_change(old, obj, notes, initial=False)
        return True

    def _note_change(self, old: Unstructured, obj: Unstructured, notes: list[Note], *, initial: bool) -> None:
        if old.uid != obj.uid:
            # Deleted and created again while nobody looked: two objects, whatever their common name (S1).
            notes.append(Removed(old, None))
            notes.append(Added(obj, initial))
        elif old.resource_version != obj.resource_version or not obj.resource_version:
            notes.append(Updated(old, obj))
        elif self._wants_unchanged():
            notes.append(Redelivered(obj))

    def _delete(
        self, transaction: Transaction, received: Unstructured, final: Unstructured | Failure, notes: list[Note]
    ) -> None:
        """Remove what a deletion event named, whatever the transform says of it.

        A key that is not in the store was never shown to a handler, so its deletion is not either (against Q15).
        """
        self._quarantine.release(received)
        old = transaction.delete(received.namespace, received.name)
        if old is not None:
            if isinstance(final, Failure) or final.uid != old.uid:
                notes.append(Removed(old, None))
            else:
                notes.append(Removed(old, final))

    def _is_old_news(self, received: Unstructured) -> bool:
        """Whether the cache holds something newer of that key, which was fetched."""
        fetched = self._ahead.get(received.key)
        return fetched is not None and is_older(received.resource_version, fetched)

    def _tell(self, notes: list[Note]) -> None:
        if notes:
            self._distribute(notes)
        self._plan_retries()

    def _forget_what_was_passed(self) -> None:
        """What was fetched and the collection has reached meanwhile is ahead of nothing any more."""
        if self._ahead:
            version = self._store.resource_version
            self._ahead = {key: fetched for key, fetched in self._ahead.items() if not is_at_least(version, fetched)}

    # Quarantine

    def _plan_retries(self) -> None:
        if self._quarantine.grew:
            self._quarantine.grew = False
            self._quarantine_grew()

    @property
    def quarantine(self) -> Quarantine:
        return self._quarantine

    def next_retry(self) -> float | None:
        """When the first quarantined object is fetched, in the clock's time; None if none is."""
        with self._dispatch:
            return self._quarantine.next_due()

    def retry_quarantined(self) -> None:
        """Fetch those again that are due. May be called by another thread than the reflector's.

        What is fetched is newer than what the collection has said of the object so far, or it is dropped: the cache
        never goes back in time. That an object is not there is left for its deletion event, or a list, to tell.
        """
        with self._dispatch:
            due = self._quarantine.take_batch()
        for number, held in enumerate(due):
            try:
                obj = self._fetch(held.failure.namespace, held.failure.name)
            except Exception as error:
                self._log.warning("quarantined object could not be fetched", key=held.failure.key, error=str(error))
                # The server that failed on one would do so on all.
                self._put_off(due[number:], (error.retry_after or 0.0) if isinstance(error, ApiError) else 0.0)
                return
            self._settle(held, None if obj is None else self._shape(obj))

    def _put_off(self, due: Sequence[Held], at_least: float) -> None:
        """Try these, and all others that are due, later."""
        with self._dispatch:
            for held in (*due, *self._quarantine.take_due()):
                if self._quarantine.held.get(held.failure.key) is held:
                    self._quarantine.hold(held.failure, at_least)
            self._plan_retries()

    def _settle(self, held: Held, fetched: Unstructured | Failure | None) -> None:
        key = held.failure.key
        with self._dispatch:
            # Meanwhile a newer version or its deletion may have come, or the end.
            if self._quarantine.held.get(key) is not held or self._store.closed:
                return
            if fetched is None or is_older(fetched.resource_version, held.failure.resource_version):
                self._quarantine.hold(held.failure)
                self._plan_retries()
            elif isinstance(fetched, Failure):
                self._quarantine.hold(fetched)
                self._plan_retries()
            else:
                notes: list[Note] = []
                with self._store.transaction() as transaction:
                    # The store's version stays: of the rest of the collection nothing newer is known.
                    stored = self._put(transaction, fetched, notes)
                version = fetched.resource_version
                if stored and is_comparable(version) and not is_at_least(self._store.resource_version, version):
                    self._ahead[key] = version
                self._tell(notes)
                if stored:  # only now: who sees the quarantine empty may rely on the handlers having been told
                    self._quarantine.release(fetched)

    # Replacing everything

    def commit(
        self,
        content: Content,
        arrived: Sequence[Unstructured],
        failed: dict[str, Failure],
        resource_version: str,
    ) -> None:
        """Make ``content`` the content, telling the differences only.

        Deletions are told first, then the rest in the order of ``arrived`` (Q7, Q8); what stands there but is not in
        the content was superseded. What ``failed`` is listed, too: its last good version stays, and it goes into
        quarantine. That happens here and not while the list arrives, or a retry might store an object which the list's
        end then takes for a stranger.
        """
        with self._dispatch:
            if self._store.closed:
                return
            initial, self.populated = not self.populated, True
            unchanged = self._wants_unchanged()
            notes: list[Note] = []
            with self._store.transaction() as transaction:
                before = transaction.content
                if is_older(resource_version, self._store.resource_version):
                    self._ahead.clear()
                self._keep_what_is_better(before, content, failed, resource_version)
                for namespace, objects in before.items():
                    listed = content.get(namespace, {})
                    gone = [obj for name, obj in objects.items() if name not in listed]
                    notes += [Removed(obj, None) for obj in gone]
                    for obj in gone:
                        transaction.unfile(obj)
                for obj in arrived:
                    namespace, name = obj.namespace, obj.name
                    if content.get(namespace, _NOTHING).get(name) is not obj:
                        continue
                    old = before.get(namespace, _NOTHING).get(name)
                    if old is obj:
                        if unchanged:
                            notes.append(Redelivered(obj))
                    elif not self._file(transaction, content, obj, failed):
                        continue
                    elif old is None:
                        notes.append(Added(obj, initial))
                    else:
                        self._note_change(old, obj, notes, initial=initial)
                transaction.swap(content)
                transaction.reach(resource_version)
            self._hold_only(failed)
            self._forget_what_was_passed()
            self._tell(notes)
            self._committed()

    def _hold_only(self, failed: dict[str, Failure]) -> None:
        """Have in quarantine what failed of a list, and nothing else."""
        self._quarantine.keep_only(failed)
        for key, failure in failed.items():
            if not is_older(failure.resource_version, self._ahead.get(key, "")):
                self._quarantine.hold(failure)

    def seed_from(self, other: Ingest) -> None:
        """Take over what another ingest of the same collection and with the same transforms holds, as a replacement.

        The objects are shared, and not transformed again. What is in the other's quarantine is fetched for this one,
        too. Nothing may be applied to the other one meanwhile.
        """
        with other._dispatch, other._store.transaction() as transaction:
            content = {namespace: objects.copy() for namespace, objects in transaction.content.items()}
            failed = {held.failure.key: held.failure for held in other._quarantine.held.values()}
            version = other._store.resource_version
            ahead = other._ahead.copy()
        with self._dispatch:
            self.commit(content, [obj for objects in content.values() for obj in objects.values()], failed, version)
            self._ahead.update(ahead)

    def _keep_what_is_better(
        self, before: Content, content: Content, failed: dict[str, Failure], resource_version: str
    ) -> None:
        """Have the new content hold the cached object of what failed and never was good in it, and of what is newer
        than the list."""
        for failure in failed.values():
            if failure.name not in content.get(failure.namespace, ()):
                _restore(before, content, failure.namespace, failure.name)
        for key, fetched in self._ahead.items():
            if is_older(resource_version, fetched):
                namespace, _, name = key.rpartition("/")
                _restore(before, content, namespace, name)

    def _file(self, transaction: Transaction, content: Content, obj: Unstructured, failed: dict[str, Failure]) -> bool:
        """Have the indices know a new object of the new content; False if one could not: then it failed, too."""
        try:
            transaction.file(obj)
        except ValueError as error:  # an index function failed
            failed[obj.key] = self._failed(obj, error)
            _restore(transaction.content, content, obj.namespace, obj.name)
            return False
        return True


class _ListDiff:
    """A list on its way in, reduced page by page to what differs from the store.

    Of objects that have not changed the cached one is kept and the received one dropped, so the old content and
    the new one never exist twice: what exists twice is references. The new content becomes the store's as it is.
    """

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._content: Content = {}
        self._arrived: list[Unstructured] = []
        self._failed: dict[str, Failure] = {}
        self._compact_at = _SUPERSEDED

    def add(self, objects: Iterable[Unstructured]) -> None:
        ingest, content = self._ingest, self._content
        # Only compared with, so no lock is needed: the commit looks again.
        cached = ingest._store.transaction().content
        as_it_is = not ingest._transforms
        for received in objects:
            namespace, name = received.namespace, received.name
            known = cached.get(namespace, _NOTHING).get(name)
            obj: Unstructured | Failure
            if known is not None and _same_version(known, received):
                obj = known
            elif as_it_is and can_be_key(namespace, name):
                obj = received
            else:
                obj = ingest._shape(received)
            if self._failed:
                self._failed.pop(key_in_quarantine(received), None)
            if isinstance(obj, Failure):
                self._failed[obj.key] = obj
                continue
            self._arrived.append(obj)
            listed = content.get(namespace)
            if listed is None:
                content[namespace] = {obj.name: obj}
            else:
                if name in listed:  # a key must be the name of the object it stands for
                    del listed[name]
                listed[obj.name] = obj

    def apply(self, events: Iterable[Event]) -> None:
        written: list[Unstructured] = []
        for event in events:
            received = event.object
            if event.type == DELETED:
                self.add(written)
                written = []
                self._forget(received.namespace, received.name)
                self._failed.pop(key_in_quarantine(received), None)
            elif event.type != BOOKMARK:
                written.append(received)
        self.add(written)
        if len(self._arrived) > self._compact_at:
            self._compact()

    def _compact(self) -> None:
        """Let go of what later events superseded."""
        self._arrived = [obj for obj in self._arrived if self._listed(obj.namespace, obj.name) is obj]
        self._compact_at = 2 * len(self._arrived) + _SUPERSEDED

    def commit(self, resource_version: str) -> None:
        content, arrived, failed = self._content, self._arrived, self._failed
        self._content, self._arrived, self._failed = {}, [], {}
        self._ingest.commit(content, arrived, failed, resource_version)

    def _listed(self, namespace: str, name: str) -> Unstructured | None:
        return self._content.get(namespace, {}).get(name)

    def _forget(self, namespace: str, name: str) -> None:
        objects = self._content.get(namespace)
        if objects is not None and objects.pop(name, None) is not None and not objects:
            del self._content[namespace]


def _same_version(cached: Unstructured, received: Unstructured) -> bool:
    version = received.resource_version
    return bool(version) and cached.resource_version == version and cached.uid == received.uid


def _restore(before: Content, content: Content, namespace: str, name: str) -> None:
    """Have ``content`` hold under that name what ``before`` held, be it nothing."""
    objects = content.get(namespace)
    if objects is not None:
        objects.pop(name, None)
    old = before.get(namespace, {}).get(name)
    if old is not None:
        content.setdefault(namespace, {})[old.name] = old
    elif objects is not None and not objects:
        del content[namespace]
