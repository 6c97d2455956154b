"""Read your own writes: a reconcile never sees a cache that is older than what it wrote itself the last time.

Without it a reconcile that runs again at once lists its children, does not find the one it has just created, and
creates another. Neither client-go nor controller-runtime has this (decision 5); kube-controller-manager has for some of
its controllers (``ConsistencyStore``). Nobody is blocked meanwhile: the key is parked in the queue, and the cache that
reaches what was written has it ready again.

What is waited for, of resources that are cached:

- a write that was answered: its version. Of several to a resource the highest counts. What the label selector of the
  cache leaves out is not waited for; what its field selector does, is passed with the next bookmark.
- a deletion that took effect at once, which has no version: that this object, told by its uid, is gone. (One that the
  cache has not seen at all, and that was not made by this key, counts as gone.)
- a write whose answer was lost, an eviction, the deletion of a collection: nothing tells a version. When the key runs
  again, the server is asked for that object, or for all where the name is unknown: the version that is there, or the
  absence, is what is waited for. That holds the write if it has taken effect by then.

The wait ends when it makes no sense any more, and not before, since what runs on a stale cache makes the second
child: there is no deadline while the cache has no watch, or the server cannot be asked, for that is a question of time.
It begins anew when that is over, for the cache has to catch up first. A cache that is not complete yet cannot be read
either, and is waited for from when it is: its list may have been made before the write.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Final, NamedTuple, TypeAlias

from runtime.client import ApiError, Cancelled, Client, ClientError, Expired, Unstructured, Write
from runtime.controller.environment import SharedCaches
from runtime.informer import Indexer, SharedIndexInformer
from runtime.informer.versions import Notice, is_comparable, is_older
from runtime.logging import get_logger
from runtime.metrics import ReconcileStats
from runtime.types import GVR, Request
from runtime.workqueue import PriorityQueue

__all__ = ["OwnWrites", "Wait"]

_UNKNOWN_FOR: Final = 3600.0  # seconds for which a key that has not run again is told apart from one that never will
_ASK_FOR: Final = 2.0  # seconds for an answer, doubling with each that does not come
_MOST_DOUBLINGS: Final = 3
_ASK_AGAIN: Final = 1.0  # seconds before a server that does not answer is asked again
_LOOK_AGAIN: Final = 10.0  # seconds, at most, between looks whether a cache that is waited for has its watch
_FEW: Final = 64  # keys of which it is not worth to find out what has been seen meanwhile
_NOT_SERVED: Final = 404  # HTTP status
_REFUSALS: Final = (403, _NOT_SERVED)
_NOT_STORED: Final = frozenset({"token"})  # subresources whose creation changes no object

_log = get_logger("runtime.controller")

_Place: TypeAlias = tuple[GVR, str]  # resource, namespace


class _Version(NamedTuple):
    """Not reached yet."""

    place: _Place
    version: str

    def __str__(self) -> str:
        return f"version {self.version}"


class _Deleted(NamedTuple):
    """Not gone yet."""

    place: _Place
    name: str
    uid: str

    def __str__(self) -> str:
        return f"the end of {self.name} ({self.uid})"


class _Unknown(NamedTuple):
    """Nobody has told its version; of any object, if it has no name."""

    place: _Place
    name: str
    written_at: float

    def __str__(self) -> str:
        return f"what has become of {self.name or 'all'}, which the server does not tell"


_Unseen: TypeAlias = _Version | _Deleted | _Unknown


class Wait(NamedTuple):
    """What a parked key waits for.

    :ivar namespace: in which the resource was written; ``""`` for cluster-scoped ones.
    :ivar missing: what the cache does not show yet, in words.
    :ivar seconds: for which the key has waited.
    :ivar watch_lost: the cache has no watch now, so that it cannot show it: no patience runs out meanwhile.
    """

    resource: GVR
    namespace: str
    missing: str
    seconds: float
    watch_lost: bool


@dataclass(slots=True)
class _Written:
    """What was written for one key and not been seen, as far as anybody has looked."""

    versions: dict[_Place, str] = field(default_factory=dict)
    deleted: dict[tuple[_Place, str], str] = field(default_factory=dict)  # place, name -> uid
    unknown: dict[tuple[_Place, str], float] = field(default_factory=dict)  # place, name -> when it was written
    parked_at: float | None = None  # when the key had to wait first
    patient_since: float = 0.0  # when that, or the last outage that was noticed since, was
    unanswered: int = 0  # questions to the server
    notice: tuple[Indexer, Notice] | None = None
    complained: bool = False
    gave_up: bool = False

    @property
    def empty(self) -> bool:
        return not (self.versions or self.deleted or self.unknown)


class OwnWrites:
    """What was written for each key and has not been seen in the caches yet. Thread-safe.

    Patience is in real time: the network is, even where a test owns the clock, which the queue then looks again by.

    :param client: asks for versions that no answer told.
    :param primary: the resource whose objects the keys are, if it is one: whose object is written by another key waits
        for that, too.
    :param patience: seconds a key waits for a cache that has its watch; 0: never, and nothing is remembered.
    """

    def __init__(
        self,
        caches: SharedCaches,
        queue: PriorityQueue[Request],
        client: Client,
        stats: ReconcileStats,
        primary: GVR | None,
        patience: float,
    ) -> None:
        self._caches = caches
        self._queue = queue
        self._client = client
        self._stats = stats
        self._primary = primary
        self._patience = patience
        self._look_again = min(_LOOK_AGAIN, max(patience / 10, 0.1))
        self._lock = threading.Lock()  # guards all below; stores are asked while it is held, and never take it
        self._written: dict[Request, _Written] = {}
        self._sweep_at = _FEW
        self._closed = False

    def note(self, request: Request, write: Write) -> None:
        """Remember a write made while reconciling ``request``."""
        if self._patience <= 0 or write.subresource in _NOT_STORED:
            return
        if self._informer((write.gvr, write.namespace)) is None:
            return
        with self._lock:
            if self._closed:
                return
            self._note(request, write)
            if write.gvr == self._primary and write.name and (write.namespace, write.name) != request:
                self._note(Request(write.namespace, write.name), write)
            if len(self._written) > self._sweep_at:
                self._sweep()

    def admit(self, request: Request) -> bool:
        """Whether ``request``, which a worker has got, may be reconciled.

        :returns: False: it is parked in the queue, which must not be told that it is done.
        """
        if request not in self._written:
            return True
        while True:
            with self._lock:
                written = self._written.get(request)
                unseen = None if written is None else self._first_unseen(written)
                if written is None or unseen is None:
                    self._admitted(request, written)
                    return True
                left = self._left(request, written, unseen)
                if left <= 0:
                    self._give_up(request, written, unseen)
                    continue
            if isinstance(unseen, _Unknown):
                if not self._find_out(request, written, unseen):
                    self._queue.park(request, _ASK_AGAIN)
                    return False
            elif self._park(request, written, unseen, left):
                return False

    def waits(self) -> dict[Request, Wait]:
        """The keys that had to wait and have not run since."""
        with self._lock:
            now = time.monotonic()
            return {
                request: Wait(*unseen.place, str(unseen), now - parked_at, self._has_lost_its_watch(unseen.place))
                for request, written in self._written.items()
                if (parked_at := written.parked_at) is not None and (unseen := self._first_unseen(written)) is not None
            }

    def close(self) -> None:
        """Remember nothing, from now on either."""
        with self._lock:
            self._closed = True
            for request in list(self._written):
                self._forget(request)

    def __len__(self) -> int:
        """Keys of which something is remembered: those with writes that were not seen, and a few more."""
        return len(self._written)

    def _park(self, request: Request, written: _Written, unseen: _Version | _Deleted, left: float) -> bool:
        """False: it was seen just now."""
        informer = self._cache(unseen.place)
        if informer is None:
            return False
        wake = partial(self._queue.unpark, request)
        notice = _notice(informer.indexer, unseen, wake)
        if notice is None:
            return False
        with self._lock:
            _forget_notice(written)
            written.notice = informer.indexer, notice
        self._queue.park(request, min(left, self._look_again))
        if notice.reached:  # perhaps before it was parked
            wake()
        return True

    def _informer(self, place: _Place) -> SharedIndexInformer | None:
        """Whose progress tells what has been seen; None: nobody reads it from a cache, nor soon will."""
        informer = self._caches.cached(*place)
        if informer is None or informer.indexer.closed:
            return None
        return None if not informer.has_synced() and informer.sync_state.refused in _REFUSALS else informer

    def _cache(self, place: _Place) -> SharedIndexInformer | None:
        """The same; None also as long as it is not complete."""
        informer = self._informer(place)
        return informer if informer is not None and informer.has_synced() else None

    def _find_out(self, request: Request, written: _Written, unknown: _Unknown) -> bool:
        """Look at the server for what there is to wait for. False: it does not answer.

        All keys learn from it that wait for the same: a server that fails many creations is not asked by each of them
        for everything there is.
        """
        place, name = unknown.place, unknown.name
        asked_at = time.monotonic()
        resource = self._client.resource(place[0], place[1] or None)
        which = f"metadata.name={name}" if name else None  # no get: who has a cache may list
        with self._lock:
            cached = self._cached(place, name)
        try:
            pages = resource.pages(field_selector=which, timeout=_ASK_FOR * 2**written.unanswered)
            listed = {obj.uid: obj for page in pages for obj in page}
        except Cancelled:  # at the end, when nobody is interested any more
            return False
        except ClientError as error:
            written.unanswered = min(written.unanswered + 1, _MOST_DOUBLINGS)
            refused = isinstance(error, ApiError) and not error.retryable and not isinstance(error, Expired)
            with self._lock:
                if refused:
                    self._give_up(request, written, unknown, str(error))
                else:
                    self._complain(request, written, unknown, str(error))
            return refused
        with self._lock:
            written.unanswered = 0
            known = {obj.uid for obj in cached}
            versions: dict[_Place, str] = {}
            for obj in listed.values():
                told = obj.uid in known or self._caches.selects(place[0], obj)
                if told and is_comparable(obj.resource_version):
                    _raise(versions, place, obj.resource_version)
            # The list is newer than the cache was: what it lacks is gone.
            answered_at = time.monotonic()
            gone = {(place, obj.name): obj.uid for obj in cached if obj.uid not in listed}
            for waiting in (written, *self._written.values()):
                if waiting.unknown.get((place, name), inf) <= asked_at:
                    del waiting.unknown[place, name]
                    waiting.patient_since = answered_at
                    waiting.deleted.update(gone)
                    for where, version in versions.items():
                        _raise(waiting.versions, where, version)
        return True

    # All below is called with the lock held.

    def _note(self, request: Request, write: Write) -> None:
        written = self._written.setdefault(request, _Written())
        place = write.gvr, write.namespace
        if self._is_left_out(write, place) and place not in written.versions:
            pass  # no event will tell of it
        elif is_comparable(write.resource_version):
            _raise(written.versions, place, write.resource_version)
        elif write.verb == "delete" and write.failure is None and (uid := write.uid):
            written.deleted[place, write.name] = uid
        elif write.failure is not None or write.object is None:
            written.unknown[place, write.name] = time.monotonic()
        # else: a server whose versions are no numbers, and there is nothing to compare
        if written.empty:
            del self._written[request]

    def _is_left_out(self, write: Write, place: _Place) -> bool:
        """Whether the cache neither shows what was written, nor has it to lose because of that."""
        obj = write.object
        return obj is not None and not self._caches.selects(write.gvr, obj) and not self._cached(place, obj.name)

    def _first_unseen(self, written: _Written) -> _Unseen | None:
        """Forgets what has been seen, and passes by what nobody can read yet.

        Versions first: what is created and deleted must come before it can be gone.
        """
        for place, version in list(written.versions.items()):
            cache = self._cache(place)
            if cache is not None and not cache.indexer.has_reached(version):
                return _Version(place, version)
            if cache is not None or self._informer(place) is None:
                del written.versions[place]
        for (place, name), uid in list(written.deleted.items()):
            if any(obj.uid == uid for obj in self._cached(place, name)):
                return _Deleted(place, name, uid)
            if self._cache(place) is not None or self._informer(place) is None:
                del written.deleted[place, name]
        for (place, name), at in list(written.unknown.items()):
            if self._cache(place) is not None:
                return _Unknown(place, name, at)
            if self._informer(place) is None:
                del written.unknown[place, name]
        return None

    def _cached(self, place: _Place, name: str) -> list[Unstructured]:
        """What the cache has of that name; everything, if it is empty."""
        cache = self._cache(place)
        if cache is None:
            return []
        if not name:
            return cache.indexer.in_namespace(place[1]) if place[1] else cache.indexer.list()
        obj = cache.indexer.find(place[1], name)
        return [] if obj is None else [obj]

    def _left(self, request: Request, written: _Written, unseen: _Unseen) -> float:
        """Seconds until we go on without."""
        now = time.monotonic()
        if written.parked_at is None:
            written.parked_at = written.patient_since = now
            self._stats.own_write_waits.add()
        elif isinstance(unseen, _Unknown):
            written.patient_since = now
        elif self._has_lost_its_watch(unseen.place):
            written.patient_since = now
            if now - written.parked_at >= self._patience:
                self._complain(request, written, unseen, "the cache has lost its watch")
        return written.patient_since + self._patience - now

    def _has_lost_its_watch(self, place: _Place) -> bool:
        """And may get it again."""
        cache = self._cache(place)
        if cache is None:
            return False
        state = cache.sync_state
        return not state.connected and state.refused != _NOT_SERVED

    def _give_up(self, request: Request, written: _Written, unseen: _Unseen, why: str = "") -> None:
        written.gave_up = True
        _tell(self._stats.controller, request, unseen, "going on without", why)
        if isinstance(unseen, _Version):
            written.versions.pop(unseen.place, None)
        elif isinstance(unseen, _Deleted):
            written.deleted.pop((unseen.place, unseen.name), None)
        else:
            written.unknown.pop((unseen.place, unseen.name), None)

    def _complain(self, request: Request, written: _Written, unseen: _Unseen, why: str) -> None:
        if not written.complained:
            written.complained = True
            _tell(self._stats.controller, request, unseen, "waiting on", why)

    def _admitted(self, request: Request, written: _Written | None) -> None:
        if written is None:
            return
        if written.gave_up:
            self._stats.own_write_timeouts.add()
        self._forget(request)
        if not written.empty:
            self._written[request] = _Written(written.versions, written.deleted, written.unknown)

    def _forget(self, request: Request) -> None:
        written = self._written.pop(request, None)
        if written is None:
            return
        if written.parked_at is not None:
            self._stats.own_write_seconds.observe(time.monotonic() - written.parked_at)
        _forget_notice(written)

    def _sweep(self) -> None:
        """Forget the keys all of whose writes have been seen: most of them do not run again, some are gone."""
        old = time.monotonic() - _UNKNOWN_FOR
        for request, written in list(self._written.items()):
            written.unknown = {what: at for what, at in written.unknown.items() if at > old}
            if self._first_unseen(written) is None and written.empty:
                self._forget(request)
        self._sweep_at = max(_FEW, 2 * len(self._written))


def _tell(controller: str, request: Request, unseen: _Unseen, outcome: str, why: str) -> None:
    _log.warning(
        f"the cache does not show our own writes, {outcome}",
        controller=controller,
        request=str(request),
        resource=str(unseen.place[0]),
        missing=str(unseen),
        **({"error": why} if why else {}),
    )


def _forget_notice(written: _Written) -> None:
    if written.notice is not None:
        store, notice = written.notice
        store.forget(notice)


def _notice(store: Indexer, unseen: _Version | _Deleted, wake: Callable[[], None]) -> Notice | None:
    if isinstance(unseen, _Deleted):
        return store.when_gone(unseen.place[1], unseen.name, unseen.uid, wake)
    return store.when_reached(unseen.version, wake)


def _raise(versions: dict[_Place, str], place: _Place, version: str) -> None:
    """The higher one counts: those who write may be several threads."""
    if not is_older(version, versions.get(place, "")):
        versions[place] = version
