"""A cache that shows our own writes before the watch does (rule S13)."""

from __future__ import annotations

import threading

from runtime.client import Unstructured
from runtime.clock import Clock

from .expiration import ExpirationCache
from .handlers import Deleted, DeletedFinalStateUnknown
from .store import Indexer, key_of
from .versions import is_older

DEFAULT_SIZE = 100  # objects
DEFAULT_TTL = 300.0  # seconds


class MutationCache:
    """An informer's cache with the answers to our own writes laid over it (S13); may be used from any thread.

    ::

        cache = MutationCache(informer.indexer)
        informer.add_event_handler(cache, inline=True)
        cache.mutation(deployments.update(changed))
        cache.get("ns/web")  # as written, or newer

    To wait until the informer itself has seen a write is the better way where a wait is possible:
    :meth:`SharedIndexInformer.wait_until`; reconcilers of a manager do so by themselves.

    Added as an ``inline`` handler it also knows what was deleted: an answer that arrives after the deletion of its
    object brings nothing back to life. Without that it may, with ``include_adds``, until ``ttl`` has passed.

    Versions that cannot be compared (S9) count as seen: then the informer's cache is right.

    :param indexer: the cache below.
    :param ttl: seconds for which a write is remembered.
    :param size: writes that are remembered; of more, those unused for the longest time are forgotten.
    :param include_adds: also show what the cache below does not have yet. Then what was deleted while its creation is
        remembered here may be shown, see above.
    """

    def __init__(
        self,
        indexer: Indexer,
        *,
        ttl: float = DEFAULT_TTL,
        size: int = DEFAULT_SIZE,
        include_adds: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self._indexer = indexer
        self._include_adds = include_adds
        self._lock = threading.Lock()  # what is read from one of the next two is still so when the other is written
        self._written = ExpirationCache(key_of, ttl, max_entries=size, clock=clock)
        self._deleted = ExpirationCache(key_of, ttl, max_entries=size, clock=clock)

    def mutation(self, obj: Unstructured) -> None:
        """Remember what the server answered to a write.

        Ignored if the object was deleted since, or if something newer is remembered.

        :raises ValueError: the object has no name.
        """
        key = key_of(obj)
        with self._lock:
            gone = self._deleted.get(key)
            if gone is not None and (gone.uid == obj.uid or not _is_newer(obj, gone)):
                return
            before = self._written.get(key)
            if before is None or not _is_newer(before, obj):
                self._written.put(obj)

    def get(self, key: str) -> Unstructured | None:
        """The newest state known of the object; None if there is none.

        A write that the cache below has caught up with is forgotten here.
        """
        while True:
            with self._lock:
                written = self._written.get(key)
            # Only now: what was forgotten before this, because the cache below had caught up with it, is in there.
            seen = self._indexer.get(key)
            if written is None:
                return seen
            with self._lock:
                if self._written.get(key) is not written:
                    continue  # something came meanwhile that what was read below may lack
                if seen is None:
                    return written if self._include_adds else None
                if _is_newer(written, seen):
                    return written
                self._written.delete(key)
                return seen

    def by_index(self, index_name: str, value: str) -> list[Unstructured]:
        """The objects filed under the value in their newest state known; in no order.

        QUIRK: what a write of ours moved to another value is found there at once, and no more under its old one.

        :raises KeyError: the cache below has no such index.
        :raises ValueError: the index function fails on an object written.
        """
        remembered = [written.key for written in self._written.list()]
        found = {obj.key: obj for obj in self._indexer.by_index(index_name, value)}
        for key in remembered:
            newest = self.get(key)  # perhaps newer than what was just found: the cache below may have caught up
            if newest is not None and value in self._indexer.index_values(index_name, newest):
                found[key] = newest
            else:
                found.pop(key, None)
        return [*found.values()]

    # As a handler of the informer

    def on_add(self, obj: Unstructured, is_in_initial_list: bool, /) -> None:  # noqa: ARG002 - the handler's protocol
        self._saw(obj)

    def on_update(self, old: Unstructured, new: Unstructured, /) -> None:  # noqa: ARG002 - the handler's protocol
        self._saw(new)

    def on_delete(self, obj: Deleted, /) -> None:
        gone = obj.obj if isinstance(obj, DeletedFinalStateUnknown) else obj
        with self._lock:
            self._deleted.put(gone)
            written = self._written.get(gone.key)
            if written is not None and (written.uid == gone.uid or not _is_newer(written, gone)):
                self._written.delete(gone.key)

    def _saw(self, obj: Unstructured) -> None:
        with self._lock:
            written = self._written.get(obj.key)
            if written is not None and not _is_newer(written, obj):
                self._written.delete(obj.key)


def _is_newer(obj: Unstructured, other: Unstructured) -> bool:
    return is_older(other.resource_version, obj.resource_version)
