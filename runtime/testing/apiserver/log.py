"""One append-only log of changes per resource: what watches read, and what old versions are rebuilt from.

An event is encoded once, framed for HTTP, and its bytes are shared by all watchers of the resource.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from runtime.testing.apiserver.http import frame
from runtime.testing.kinds.model import Kind
from runtime.types import JSONObject


class Stored:
    """One state of one object. Immutable: ``obj`` belongs to the store, and must never be changed.

    ``body`` is the JSON without apiVersion and kind, which differ between the versions it is read through.
    """

    __slots__ = ("_seen", "body", "key", "name", "namespace", "obj", "version")

    def __init__(self, key: str, namespace: str, name: str, version: int, obj: JSONObject) -> None:
        self.key = key
        self.namespace = namespace
        self.name = name
        self.version = version
        self.obj = obj
        self._seen: dict[Kind, Stored] | None = None
        encoded = orjson.dumps({k: v for k, v in obj.items() if k not in ("apiVersion", "kind")})
        self.body = bytes(memoryview(encoded))  # a copy: what orjson returns keeps its over-allocated buffer

    @property
    def uid(self) -> str:
        return str(self.obj["metadata"]["uid"])

    @property
    def labels(self) -> dict[str, str]:
        return self.obj["metadata"].get("labels") or {}

    def seen(self, kind: Kind) -> Stored:
        """This state as ``kind``'s version shows it. Made once per kind, then shared like the state itself."""
        if kind.from_storage is None:
            return self
        if self._seen is None:
            self._seen = {}
        found = self._seen.get(kind)
        if found is None:
            head = {"apiVersion": self.obj.get("apiVersion"), "kind": self.obj.get("kind")}
            obj = kind.from_storage({**head, **self.copy()})
            found = self._seen[kind] = Stored(self.key, self.namespace, self.name, self.version, obj)
        return found

    def encode(self, type_meta: bytes) -> bytes:
        """The whole object; ``type_meta`` is what :func:`type_meta` made."""
        return type_meta + self.body[1:]

    def copy(self) -> JSONObject:
        """A private copy, without apiVersion and kind."""
        copied: JSONObject = orjson.loads(self.body)
        return copied


def type_meta(api_version: str, kind: str) -> bytes:
    """The start of an encoded object."""
    return orjson.dumps({"kind": kind, "apiVersion": api_version})[:-1] + b","


@dataclass(slots=True)
class Entry:
    """One change. ``old`` is None for a creation, ``new`` for a removal (``gone`` then is the last state)."""

    version: int
    old: Stored | None
    new: Stored | None
    gone: Stored | None = None
    _framed: dict[Kind, bytes] = field(default_factory=dict)

    @property
    def key(self) -> str:
        stored = self.new or self.old
        assert stored is not None
        return stored.key

    @property
    def namespace(self) -> str:
        stored = self.new or self.old
        assert stored is not None
        return stored.namespace

    @property
    def type(self) -> str:
        if self.new is None:
            return "DELETED"
        return "ADDED" if self.old is None else "MODIFIED"

    def framed(self, kind: Kind, meta: bytes) -> bytes:
        """The event as a chunk of the answer, for a watch without selectors. Two threads may race to make the same
        bytes; that is harmless."""
        found = self._framed.get(kind)
        if found is None:
            stored = self.new or self.gone
            assert stored is not None
            found = self._framed[kind] = frame(line(self.type, stored.seen(kind).encode(meta)))
        return found


def line(event_type: str, encoded: bytes) -> bytes:
    """One line of a watch."""
    return b'{"type":"%b","object":%b}\n' % (event_type.encode(), encoded)


class ResourceLog:
    """The changes of one resource, in order of version, back to a horizon.

    Appended to under the store's lock; read by any thread.

    :param limit: entries kept; older ones are forgotten, as if compacted.
    """

    def __init__(self, limit: int, horizon: int) -> None:
        self._limit = limit
        self._entries: list[Entry] = []
        self._first = 0  # the absolute index of _entries[0]
        self._horizon = horizon
        self.changed = threading.Condition()

    @property
    def horizon(self) -> int:
        """The newest version that has been forgotten: a watch from an older one is answered 410."""
        return self._horizon

    @property
    def end(self) -> int:
        """The absolute index after the last entry."""
        return self._first + len(self._entries)

    def append(self, entry: Entry) -> None:
        with self.changed:
            self._entries.append(entry)
            if len(self._entries) >= 2 * self._limit:
                self._forget(len(self._entries) - self._limit)
            self.changed.notify_all()

    def compact(self, version: int) -> None:
        """Refuse everybody who asks for changes up to ``version`` from now on. Watches that are open go on: they may
        still have to deliver some of them."""
        with self.changed:
            self._horizon = max(self._horizon, version)

    def _forget(self, count: int) -> None:
        if count:
            self._horizon = max(self._horizon, self._entries[count - 1].version)
            # A new list: readers may hold a slice's source.
            self._entries = self._entries[count:]
            self._first += count

    def since(self, version: int) -> int:
        """The absolute index of the first entry that is newer than ``version``."""
        with self.changed:
            low, high = 0, len(self._entries)
            while low < high:
                middle = (low + high) // 2
                if self._entries[middle].version > version:
                    high = middle
                else:
                    low = middle + 1
            return self._first + low

    def slice(self, start: int, count: int) -> Sequence[Entry] | None:
        """Up to ``count`` entries from an absolute index; None if some of them are forgotten."""
        with self.changed:
            if start < self._first:
                return None
            return self._entries[start - self._first : start - self._first + count]

    def newer(self, version: int) -> Sequence[Entry]:
        """All entries newer than ``version``, newest first: to undo them."""
        start = self.since(version)
        with self.changed:
            return self._entries[max(start - self._first, 0) :][::-1]

    def wake(self) -> None:
        with self.changed:
            self.changed.notify_all()
