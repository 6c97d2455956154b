"""All objects of a server, their one version counter, and the logs of their changes."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import orjson

from runtime.testing.apiserver.log import Entry, ResourceLog, Stored
from runtime.types import JSONObject

StorageKey = tuple[str, str]  # (group, resource)
DEFAULT_HISTORY = 20_000
_AFTER_SLASH = chr(ord("/") + 1)


class Exists(Exception):
    """The key is taken."""


class Changed(Exception):
    """The object is no longer what the caller has read; the present state, or None if it is gone."""

    def __init__(self, current: Stored | None) -> None:
        super().__init__("the object has changed")
        self.current = current


class _Table:
    """The objects of one resource, by key and in the order of their keys."""

    def __init__(self, history: int, horizon: int) -> None:
        self.objects: dict[str, Stored] = {}
        self.order: list[str] = []
        self.log = ResourceLog(history, horizon)

    def put(self, stored: Stored) -> None:
        if stored.key not in self.objects:
            if not self.order or stored.key > self.order[-1]:
                self.order.append(stored.key)
            else:
                insort(self.order, stored.key)
        self.objects[stored.key] = stored

    def remove(self, key: str) -> None:
        del self.objects[key]
        del self.order[bisect_left(self.order, key)]

    def keys(self, namespace: str) -> list[str]:
        """Of one namespace; of all if it is empty. In order."""
        if not namespace:
            return self.order
        start = bisect_left(self.order, f"{namespace}/")
        return self.order[start : bisect_left(self.order, f"{namespace}{_AFTER_SLASH}", start)]


def object_key(namespace: str, name: str) -> str:
    """The order of these keys is the order of a list."""
    return f"{namespace}/{name}"


class Store:
    """Thread-safe. Every change takes the next version and is appended to its resource's log under one lock.

    :param history: changes remembered per resource.
    """

    def __init__(self, history: int = DEFAULT_HISTORY) -> None:
        self._history = history
        self._lock = threading.RLock()  # guards everything below
        self._tables: dict[StorageKey, _Table] = {}
        self._version = 1
        self._compacted = 0

    @property
    def version(self) -> int:
        """The version of the last change."""
        return self._version

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nothing changes while this is held; for checks that span two resources."""
        with self._lock:
            yield

    def log(self, key: StorageKey) -> ResourceLog:
        return self._table(key).log

    def _table(self, key: StorageKey) -> _Table:
        table = self._tables.get(key)
        if table is None:
            with self._lock:
                table = self._tables.setdefault(key, _Table(self._history, self._compacted))
        return table

    def resources(self) -> list[StorageKey]:
        """Every resource that has had an object."""
        with self._lock:
            return list(self._tables)

    def get(self, key: StorageKey, namespace: str, name: str) -> Stored | None:
        return self._table(key).objects.get(object_key(namespace, name))

    def snapshot(self, key: StorageKey, namespace: str = "", at: int | None = None) -> tuple[list[Stored], int]:
        """All objects of a resource (of one namespace, unless empty) in order of their keys, and the version at which
        that was so: now, or ``at``, which must not be older than the log's horizon."""
        table = self._table(key)
        with self._lock:
            version = self._version
            if at is None or at >= version:
                return [table.objects[key] for key in table.keys(namespace)], version
            past = dict(table.objects)
            for entry in table.log.newer(at):
                if entry.old is None:
                    past.pop(entry.key, None)
                else:
                    past[entry.key] = entry.old
        prefix = f"{namespace}/" if namespace else ""
        return [past[key] for key in sorted(past) if key.startswith(prefix)], at

    def create(
        self,
        key: StorageKey,
        namespace: str,
        name: str,
        obj: JSONObject,
        check: Callable[[], None] | None = None,
    ) -> Stored:
        """Store a new object, whose ``metadata.resourceVersion`` this sets. ``obj`` belongs to the store afterwards.

        :param check: called under the lock before; may raise.
        :raises Exists: the key is taken.
        """
        table = self._table(key)
        with self._lock:
            if object_key(namespace, name) in table.objects:
                raise Exists
            if check is not None:
                check()
            stored = self._next(namespace, name, obj)
            table.put(stored)
            table.log.append(Entry(stored.version, None, stored))
            return stored

    def update(self, key: StorageKey, old: Stored, obj: JSONObject) -> Stored:
        """Replace ``old`` by ``obj``. :raises Changed: ``old`` is not the present state."""
        table = self._table(key)
        with self._lock:
            self._expect(table, old)
            stored = self._next(old.namespace, old.name, obj)
            table.put(stored)
            table.log.append(Entry(stored.version, old, stored))
            return stored

    def delete(self, key: StorageKey, old: Stored) -> Stored:
        """Remove ``old``; returns its last state with the version of the removal. :raises Changed: as above."""
        table = self._table(key)
        with self._lock:
            self._expect(table, old)
            gone = self._next(old.namespace, old.name, {**old.obj, "metadata": dict(old.obj["metadata"])})
            table.remove(old.key)
            table.log.append(Entry(gone.version, old, None, gone))
            return gone

    def _expect(self, table: _Table, old: Stored) -> None:
        current = table.objects.get(old.key)
        if current is not old:
            raise Changed(current)

    def _next(self, namespace: str, name: str, obj: JSONObject) -> Stored:
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)
        return Stored(object_key(namespace, name), namespace, name, self._version, obj)

    def advance(self, count: int = 1) -> int:
        """Use up versions, as changes to resources nobody looks at would."""
        with self._lock:
            self._version += count
            return self._version

    def compact(self) -> int:
        """Forget the history of every resource: watches and lists of any version up to now get 410.

        Returns the new version, which this takes so that even the last one is in the past.
        """
        with self._lock:
            self._version += 1
            self._compacted = self._version
            for table in self._tables.values():
                table.log.compact(self._compacted)
            return self._version

    def wake(self) -> None:
        """Wake every watch, so that it looks whether it should end."""
        with self._lock:
            tables = list(self._tables.values())
        for table in tables:
            table.log.wake()


def clone(obj: JSONObject) -> JSONObject:
    """A deep copy of JSON; several times faster than ``copy.deepcopy``."""
    copied: JSONObject = orjson.loads(orjson.dumps(obj))
    return copied
