"""All objects of a server, their one version counter, and the logs of their changes."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import orjson

from runtime.clock import SYSTEM, Clock
from runtime.testing.apiserver.log import Entry, ResourceLog, Stored
from runtime.types import JSONObject

StorageKey = tuple[str, str]  # (group, resource)
DEFAULT_HISTORY = 20_000
COMPACTION_INTERVAL = 300.0  # seconds; the real server's
MAX_STORED = 3 * 512 * 1024  # bytes of one object, which etcd takes at most by default
_AFTER_SLASH = chr(ord("/") + 1)


class TooLarge(Exception):
    """An object that etcd would not store: longer than :data:`MAX_STORED`."""


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

    Past versions can be read for one to two intervals after the next change, as those of etcd, which the real server
    compacts every five minutes. Watches do not depend on that: they go back as far as their resource's log.

    :param history: changes remembered per resource.
    :param compaction_interval: seconds.
    """

    def __init__(
        self,
        history: int = DEFAULT_HISTORY,
        clock: Clock = SYSTEM,
        compaction_interval: float = COMPACTION_INTERVAL,
    ) -> None:
        self._history = history
        self._clock = clock
        self._interval = compaction_interval
        self._lock = threading.RLock()  # guards everything below
        self._tables: dict[StorageKey, _Table] = {}
        self._version = 1
        self._forgotten = 0  # by compact(): no watch may begin before it
        self._restarted = 0  # nor before this
        self._compacted = 0  # nothing older can be read
        self._next_compacted = self._version  # at the next tick
        self._tick = clock.monotonic() + compaction_interval
        # Called under the lock after each change; with no entry after restore().
        self.on_change: Callable[[StorageKey, Entry | None], None] | None = None

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
                table = self._tables.setdefault(key, _Table(self._history, self._forgotten))
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
        """Store a new object, whose ``metadata.resourceVersion`` this sets.

        :param check: called under the lock before; may raise.
        :raises Exists: the key is taken.
        :raises TooLarge: nothing is stored.
        """
        table = self._table(key)
        with self._lock:
            if object_key(namespace, name) in table.objects:
                raise Exists
            if check is not None:
                check()
            stored = self._next(namespace, name, obj)
            table.put(stored)
            self._record(key, table, Entry(stored.version, None, stored))
            return stored

    def update(self, key: StorageKey, old: Stored, obj: JSONObject) -> Stored:
        """Replace ``old`` by ``obj``. :raises Changed: ``old`` is not the present state. :raises TooLarge: as above."""
        table = self._table(key)
        with self._lock:
            self._expect(table, old)
            stored = self._next(old.namespace, old.name, obj)
            table.put(stored)
            self._record(key, table, Entry(stored.version, old, stored))
            return stored

    def delete(self, key: StorageKey, old: Stored) -> Stored:
        """Remove ``old``; returns its last state with the version of the removal. :raises Changed: as above."""
        table = self._table(key)
        with self._lock:
            self._expect(table, old)
            self._advance()
            gone = old.with_version(self._version)
            table.remove(old.key)
            self._record(key, table, Entry(gone.version, old, None, gone))
            return gone

    def _record(self, key: StorageKey, table: _Table, entry: Entry) -> None:
        table.log.append(entry)
        if self.on_change is not None:
            self.on_change(key, entry)

    def _expect(self, table: _Table, old: Stored) -> None:
        current = table.objects.get(old.key)
        if current is not old:
            raise Changed(current)

    def _next(self, namespace: str, name: str, obj: JSONObject) -> Stored:
        self._advance()
        obj["metadata"]["resourceVersion"] = str(self._version)
        stored = Stored(object_key(namespace, name), namespace, name, self._version, obj)
        if len(stored.body) > MAX_STORED:
            raise TooLarge
        return stored

    def _advance(self, count: int = 1) -> None:
        self._compact_by_time()
        self._version += count

    def _compact_by_time(self) -> None:
        """At each tick, forget what was past at the tick before. Called before anything changes and before the past is
        read, so nothing has happened at the ticks since the last call."""
        late = self._clock.monotonic() - self._tick
        if late < 0:
            return
        missed = int(late // self._interval)
        self._compacted = max(self._compacted, self._version if missed else self._next_compacted)
        self._next_compacted = self._version
        self._tick += (missed + 1) * self._interval

    def oldest(self, key: StorageKey) -> int:
        """The oldest version at which this resource can be listed."""
        with self._lock:
            self._compact_by_time()
            return max(self._compacted, self._table(key).log.horizon)

    def oldest_watch(self, key: StorageKey) -> int:
        """The oldest version from which this resource can be watched."""
        with self._lock:
            return max(self._restarted, self._table(key).log.horizon)

    def advance(self, count: int = 1) -> int:
        """Use up versions, as changes to resources nobody looks at would."""
        with self._lock:
            self._advance(count)
            return self._version

    def compact(self) -> int:
        """Forget the history of every resource: watches and lists of any version up to now get 410.

        Returns the new version, which this takes so that even the last one is in the past.
        """
        with self._lock:
            self._advance()
            self._forgotten = self._compacted = self._version
            for table in self._tables.values():
                table.log.compact(self._forgotten)
            return self._version

    def restore(self, objects: Iterable[tuple[StorageKey, JSONObject]], version: int) -> None:
        """Put these objects, which keep the versions they say they have, in place of all there are; the next change
        takes the version after ``version``. As when a real server's etcd is restored from a backup: there is no history
        before that, and open watches end with 410. The objects belong to the store afterwards."""
        tables: dict[StorageKey, dict[str, Stored]] = {}
        for key, obj in objects:
            metadata = obj["metadata"]
            namespace, name = metadata.get("namespace", ""), metadata["name"]
            own = int(metadata["resourceVersion"])
            stored = Stored(object_key(namespace, name), namespace, name, own, obj)
            tables.setdefault(key, {})[stored.key] = stored
        with self._lock:
            self._version = self._compacted = self._forgotten = self._next_compacted = version
            for key in {*self._tables, *tables}:
                table = self._table(key)
                table.objects = tables.get(key, {})
                table.order = sorted(table.objects)
                table.log.reset(version)
            if self.on_change is not None:
                self.on_change(("", ""), None)

    def restarted(self) -> None:
        """Be read by a new process, whose cache of changes is empty: watches from any earlier version get 410, while
        lists at earlier versions come from what is stored."""
        with self._lock:
            self._restarted = self._version

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
