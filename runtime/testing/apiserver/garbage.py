"""The garbage collector: deletes what its owners left behind, and carries out foreground and orphan deletion.

With a real API server this is a part of its controller manager. Here it hears of every change from the store itself, so
that it can neither miss nor confuse one.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import Any, NamedTuple

from runtime.testing.apiserver import errors
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.crds import CRDS
from runtime.testing.apiserver.delete_options import BACKGROUND, FOREGROUND, ORPHAN, DeleteOptions
from runtime.testing.apiserver.deletes import Deleter
from runtime.testing.apiserver.log import Entry, Stored
from runtime.testing.apiserver.metadata import FOREGROUND_FINALIZER, ORPHAN_FINALIZER
from runtime.testing.apiserver.ownership import Ownership
from runtime.testing.apiserver.routing import Target
from runtime.testing.apiserver.store import StorageKey
from runtime.testing.apiserver.write_options import WriteOptions
from runtime.testing.apiserver.writes import Change, Writer
from runtime.testing.kinds.model import Kind
from runtime.types import JSONObject

_log = logging.getLogger("runtime.testing.apiserver")
_MANAGER = "kube-controller-manager"
_GLANCE = 0.05  # seconds between looks at the clock, which may be a test's
_RETRY, _LONGEST_RETRY = 1.0, 60.0  # seconds until what has failed is tried again, twice as many each time


class _Key(NamedTuple):
    resource: StorageKey
    namespace: str
    name: str


class _Owner(Enum):
    SOLID = auto()
    ABSENT = auto()
    WAITING = auto()  # it is being deleted in the foreground
    UNKNOWN = auto()  # of a kind that is not served, or out of reach


class GarbageCollector:
    """One thread, asleep as long as nothing has an owner.

    :param delay: seconds from a change to what follows of it. What follows of that follows at once.
    """

    def __init__(self, context: Context, delay: float) -> None:
        self._context = context
        self._delay = delay
        self._writer = Writer(context)
        self._deleter = Deleter(context)
        self._lock = threading.Lock()  # guards what changes() and the thread share:
        self._changes: list[tuple[float, _Key, Stored | None, Stored | None]] = []
        self._work = threading.Event()
        self._due: list[tuple[float, int, _Key]] = []  # a heap
        self._order = itertools.count()
        self._failed: dict[_Key, tuple[float, float]] = {}  # after how many seconds, and when, each is tried again
        self._owners: dict[_Key, tuple[str, ...]] = {}  # of each dependent, the uids of its owners
        self._dependents: dict[str, set[_Key]] = {}  # the opposite
        self._unknown: set[_Key] = set()  # dependents of kinds that are not served
        self._thread = threading.Thread(target=self._run, name="apiserver-garbage", daemon=True)

    def start(self) -> None:
        store = self._context.store
        with store.locked():
            store.on_change = self._changed
            self._restored()
        self._thread.start()

    def stop(self) -> None:
        """``context.stopping`` is set already."""
        with self._context.store.locked():  # a writer may be about to call it
            self._context.store.on_change = None
        self._work.set()
        self._thread.join()

    # -- what happens in the store, whose lock is held

    def _changed(self, resource: StorageKey, entry: Entry | None) -> None:
        if entry is None:
            self._restored()
        elif entry.new is None or resource == CRDS or _concerned(entry.new) or (entry.old and _owned(entry.old)):
            stored = entry.new or entry.old
            assert stored is not None
            self._remember(_Key(resource, stored.namespace, stored.name), entry.old, entry.new)

    def _restored(self) -> None:
        """Everything may be another."""
        store = self._context.store
        for resource in store.resources():
            for stored in store.snapshot(resource)[0]:
                if _concerned(stored):
                    self._remember(_Key(resource, stored.namespace, stored.name), None, stored)

    def _remember(self, key: _Key, old: Stored | None, new: Stored | None) -> None:
        mine = threading.current_thread() is self._thread
        at = self._context.clock.monotonic() + (0.0 if mine else self._delay)
        with self._lock:
            self._changes.append((at, key, old, new))
        self._work.set()

    # -- the thread

    def _run(self) -> None:
        while not self._context.stopping.is_set():
            self._work.wait(_GLANCE if self._due else None)
            self._work.clear()
            self._catch_up()
            while self._due and self._due[0][0] <= self._context.clock.monotonic():
                at, _, key = heapq.heappop(self._due)
                self._attend(key, at)
                if self._context.stopping.is_set():
                    return

    def _catch_up(self) -> None:
        """Note every change that has been heard of, in their order."""
        with self._lock:
            changes, self._changes = self._changes, []
        for at, key, old, new in changes:
            self._note(at, key, old, new)

    def _note(self, at: float, key: _Key, old: Stored | None, new: Stored | None) -> None:
        """Keep the index, and put down what has to be looked at."""
        self._index(key, new)
        if key.resource == CRDS and self._unknown:
            self._schedule(at, self._unknown)
            self._unknown = set()
        if new is not None:
            self._schedule(at, [key])
        if old is None:
            return
        metadata = old.metadata
        if new is None:
            self._schedule(at, self._dependents.get(metadata["uid"], ()))
        # An owner may have waited for this object, or for being given up by it.
        self._schedule(at, filter(None, (self._owner_key(key, each) for each in _references(metadata))))

    def _index(self, key: _Key, new: Stored | None) -> None:
        for uid in self._owners.pop(key, ()):
            self._dependents[uid].discard(key)
            if not self._dependents[uid]:
                del self._dependents[uid]
        uids = tuple({each["uid"] for each in _references(new.metadata)}) if new is not None and _owned(new) else ()
        if uids:
            self._owners[key] = uids
            for uid in uids:
                self._dependents.setdefault(uid, set()).add(key)

    def _schedule(self, at: float, keys: Iterable[_Key]) -> None:
        for key in keys:
            heapq.heappush(self._due, (at, next(self._order), key))

    def _attend(self, key: _Key, at: float) -> None:
        stored, kind = self._context.store.get(*key), self._kind_at(key.resource)
        failed = self._failed.pop(key, None)
        if stored is None or kind is None:
            return
        self._catch_up()  # all that this state depends on must be in the index
        try:
            if stored.deleting:
                self._finish(kind, key, stored)
            elif _owned(stored):
                self._judge(kind, key, stored)
        except errors.StatusError as error:
            if error.code not in (404, 409):
                _log.warning("garbage collection of %s %s/%s: %s", key.resource[1], key.namespace, key.name, error)
            # A change lets it be tried out of turn; the next turn stays the only one.
            self._failed[key] = failed if failed is not None and at < failed[1] else self._retry(key, failed)
        except Exception:
            _log.exception("garbage collection of %s %s/%s failed", key.resource[1], key.namespace, key.name)

    def _retry(self, key: _Key, failed: tuple[float, float] | None) -> tuple[float, float]:
        pause = min(2 * failed[0], _LONGEST_RETRY) if failed is not None else _RETRY
        due = self._context.clock.monotonic() + pause
        self._schedule(due, [key])
        return pause, due

    # -- owners that are being deleted

    def _finish(self, kind: Kind, key: _Key, owner: Stored) -> None:
        metadata = owner.metadata
        finalizers, dependents = metadata.get("finalizers") or (), self._dependents_of(metadata["uid"])
        if ORPHAN_FINALIZER in finalizers:
            for each, _ in dependents:
                self._drop_references(each, {metadata["uid"]})
            self._drop_finalizer(kind, key, ORPHAN_FINALIZER)
        elif FOREGROUND_FINALIZER in finalizers:
            now = self._context.clock.monotonic()
            self._schedule(now, [each for each, stored in dependents if not stored.deleting])
            if not any(_blocks(stored, metadata["uid"]) for _, stored in dependents):
                self._drop_finalizer(kind, key, FOREGROUND_FINALIZER)

    def _dependents_of(self, uid: str) -> list[tuple[_Key, Stored]]:
        found = [(key, self._context.store.get(*key)) for key in self._dependents.get(uid, ())]
        return [(key, stored) for key, stored in found if stored is not None]

    # -- dependents

    def _judge(self, kind: Kind, key: _Key, dependent: Stored) -> None:
        """Delete what has no owner any more; of several owners forget those that are gone."""
        metadata = dependent.metadata
        states = {each["uid"]: self._state_of(key, each) for each in _references(metadata)}
        if _Owner.UNKNOWN in states.values():
            self._unknown.add(key)
            return
        gone = {uid for uid, state in states.items() if state is not _Owner.SOLID}
        if len(gone) < len(states):
            if gone:
                self._drop_references(key, gone)
            return
        finalizers = metadata.get("finalizers") or ()
        policy = BACKGROUND
        if _Owner.WAITING in states.values() and self._dependents.get(metadata["uid"]):
            if self._unblocked(kind, key, dependent):
                return  # the change leads here again
            policy = FOREGROUND
        elif ORPHAN_FINALIZER in finalizers:
            policy = ORPHAN
        elif FOREGROUND_FINALIZER in finalizers:
            policy = FOREGROUND
        options = DeleteOptions(policy=policy, uid=metadata["uid"], version=str(dependent.version))
        self._deleter.delete(kind, key.namespace, key.name, options)

    def _unblocked(self, kind: Kind, key: _Key, dependent: Stored) -> bool:
        """Let the owners wait no longer for an object whose own dependents wait for theirs, for they may be the same;
        returns whether they did."""
        references = _references(dependent.metadata)
        blocking = any(each.get("blockOwnerDeletion") for each in references)
        if not blocking or not any(_waits(each) for _, each in self._dependents_of(dependent.uid)):
            return False

        def change(obj: JSONObject) -> JSONObject:
            for each in obj["metadata"].get("ownerReferences") or ():
                each["blockOwnerDeletion"] = False
            return obj

        self._write(kind, key, change)
        return True

    def _state_of(self, dependent: _Key, reference: JSONObject) -> _Owner:
        key = self._owner_key(dependent, reference)
        if key is None:
            return _Owner.UNKNOWN
        owner = self._context.store.get(*key)
        if owner is None or owner.uid != reference["uid"]:
            return _Owner.ABSENT
        return _Owner.WAITING if _waits(owner) else _Owner.SOLID

    def _owner_key(self, dependent: _Key, reference: JSONObject) -> _Key | None:
        """Where the owner must be; None for one of a kind or version that is not served, or in a namespace that nobody
        knows."""
        version, name = reference.get("apiVersion"), reference.get("kind")
        kinds = self._context.registry.kinds()
        kind = next((each for each in kinds if each.kind == name and each.gvr.api_version == version), None)
        if kind is None or (kind.namespaced and not dependent.namespace):
            return None
        namespace = dependent.namespace if kind.namespaced else ""
        return _Key(kind.storage_key, namespace, str(reference.get("name", "")))

    def _kind_at(self, resource: StorageKey) -> Kind | None:
        return next((each for each in self._context.registry.kinds() if each.storage_key == resource), None)

    # -- writes

    def _drop_references(self, key: _Key, uids: set[str]) -> None:
        kind = self._kind_at(key.resource)
        if kind is None:
            return
        self._change_list(kind, key, "ownerReferences", lambda reference: reference.get("uid") not in uids)

    def _drop_finalizer(self, kind: Kind, key: _Key, finalizer: str) -> None:
        self._change_list(kind, key, "finalizers", lambda each: each != finalizer)

    def _change_list(self, kind: Kind, key: _Key, field: str, keep: Callable[[Any], bool]) -> None:
        def change(obj: JSONObject) -> JSONObject:
            metadata = obj["metadata"]
            metadata[field] = [each for each in metadata.get(field) or () if keep(each)]
            if not metadata[field]:
                del metadata[field]
            return obj

        self._write(kind, key, change)

    def _write(self, kind: Kind, key: _Key, change: Change) -> None:
        target = Target(kind, key.namespace, key.name, "")
        self._writer.update(target, change, WriteOptions(manager=_MANAGER), Ownership(_MANAGER))


def _owned(stored: Stored) -> bool:
    return b'"ownerReferences":' in stored.body


def _concerned(stored: Stored) -> bool:
    """Whether there may be something to do about this object."""
    body = stored.body
    if _owned(stored):
        return True
    return b'"deletionTimestamp":' in body and (b'"foregroundDeletion"' in body or b'"orphan"' in body)


def _references(metadata: JSONObject) -> list[JSONObject]:
    return [each for each in metadata.get("ownerReferences") or () if each.get("uid")]


def _waits(stored: Stored) -> bool:
    """Whether an object is being deleted in the foreground."""
    return stored.deleting and FOREGROUND_FINALIZER in (stored.metadata.get("finalizers") or ())


def _blocks(dependent: Stored, owner_uid: str) -> bool:
    return any(each["uid"] == owner_uid and each.get("blockOwnerDeletion") for each in _references(dependent.metadata))
