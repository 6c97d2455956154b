"""The store as a replica of the API server shows it whose cache lags behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from runtime.testing.apiserver.log import ResourceLog, Stored
from runtime.testing.apiserver.store import StorageKey, Store, object_key


class Replica(Store):
    """For reads only.

    :param at: the version it has come to. Where that is forgotten, it has come as far as is remembered.
    """

    def __init__(self, store: Store, at: int) -> None:
        self._store = store
        self._at: int | None = max(1, at)

    def catch_up(self) -> None:
        """See everything from now on: what goes on after the answer, a watch, is told of what it has missed."""
        self._at = None

    @property
    def version(self) -> int:
        return self._store.version if self._at is None else min(self._at, self._store.version)

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self._store.locked():
            yield

    def log(self, key: StorageKey) -> ResourceLog:
        return self._store.log(key)

    def oldest(self, key: StorageKey) -> int:
        return self._store.oldest(key)

    def oldest_watch(self, key: StorageKey) -> int:
        return self._store.oldest_watch(key)

    def get(self, key: StorageKey, namespace: str, name: str) -> Stored | None:
        wanted = object_key(namespace, name)
        return next((each for each in self.snapshot(key, namespace)[0] if each.key == wanted), None)

    def snapshot(self, key: StorageKey, namespace: str = "", at: int | None = None) -> tuple[list[Stored], int]:
        if self._at is None:
            return self._store.snapshot(key, namespace, at)
        with self._store.locked():
            seen = max(self._at, self._store.log(key).horizon)
            return self._store.snapshot(key, namespace, seen if at is None else min(at, seen))
