"""One append-only log of changes per resource: what watches read, and what old versions are rebuilt from.

An event is encoded once, framed for HTTP, and its bytes are shared by all watchers of the resource. They are kept for
the newest events only: who lags far behind encodes for itself.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager

import orjson

from runtime.testing.kinds.model import Kind
from runtime.types import JSONObject

_SHARED = 1024  # newest entries that keep their encoded events
_SHARE_KEYS = 256
_FORGOTTEN: dict[object, bytes] = {}  # stands for the events of all others

# (apiVersion, kind) of stored objects: one tuple each, however many objects there are
_types: dict[tuple[str, str], tuple[str, str]] = {}


class Stored:
    """One state of one object. Immutable; threads share it.

    Kept as its JSON alone, a quarter of what the decoded object takes. ``body`` is that JSON without apiVersion and
    kind, which differ between the versions it is read through.
    """

    __slots__ = ("_seen", "_type", "body", "key", "namespace", "version")

    def __init__(self, key: str, namespace: str, name: str, version: int, obj: JSONObject) -> None:
        """:param obj: copied."""
        self.key = key or f"{namespace}/{name}"
        self.namespace = sys.intern(namespace)
        self.version = version
        found = (obj.get("apiVersion", ""), obj.get("kind", ""))
        self._type = _types.setdefault(found, found)
        # A kind that shows this state as it is, or a kind and what it shows instead.
        self._seen: Kind | tuple[Kind, Stored] | None = None
        encoded = orjson.dumps({k: v for k, v in obj.items() if k not in ("apiVersion", "kind")})
        self.body = bytes(memoryview(encoded))  # a copy: what orjson returns keeps its over-allocated buffer

    @property
    def name(self) -> str:
        return self.key[len(self.namespace) + 1 :]

    @property
    def obj(self) -> JSONObject:
        """A private copy of the object, with the apiVersion and kind it was stored with. Decoded anew each time."""
        api_version, kind = self._type
        return {"apiVersion": api_version, "kind": kind, **self.copy()}

    @property
    def metadata(self) -> JSONObject:
        """A private copy."""
        found: JSONObject = orjson.loads(self.body)["metadata"]
        return found

    @property
    def uid(self) -> str:
        return str(self.metadata["uid"])

    @property
    def labels(self) -> dict[str, str]:
        if b'"labels":' not in self.body:
            return {}
        return self.metadata.get("labels") or {}

    @property
    def deleting(self) -> bool:
        """Whether ``metadata.deletionTimestamp`` is set."""
        return b'"deletionTimestamp":' in self.body and bool(self.metadata.get("deletionTimestamp"))

    def seen(self, kind: Kind) -> Stored:
        """This state as ``kind``'s version shows it: itself, unless defaults or another version make a difference."""
        if kind.from_storage is None:
            return self
        found = self._seen
        if found is kind:
            return self
        if isinstance(found, tuple) and found[0] is kind:
            return found[1]
        shown = Stored(self.key, self.namespace, self.name, self.version, kind.from_storage(self.obj))
        if shown.body == self.body and shown._type is self._type:
            self._seen = kind
            return self
        self._seen = (kind, shown)
        return shown

    def encode(self, type_meta: bytes) -> bytes:
        """The whole object; ``type_meta`` is what :func:`type_meta` made."""
        return type_meta + self.body[1:]

    def copy(self) -> JSONObject:
        """A private copy, without apiVersion and kind."""
        copied: JSONObject = orjson.loads(self.body)
        return copied

    def with_version(self, version: int) -> Stored:
        """The same state under another resourceVersion."""
        obj = self.obj
        obj["metadata"]["resourceVersion"] = str(version)
        return Stored(self.key, self.namespace, self.name, version, obj)


def type_meta(api_version: str, kind: str) -> bytes:
    """The start of an encoded object."""
    return orjson.dumps({"kind": kind, "apiVersion": api_version})[:-1] + b","


class Entry:
    """One change. ``old`` is None for a creation, ``new`` for a removal (``gone`` then is the last state)."""

    __slots__ = ("_shared", "gone", "new", "old", "type", "version")

    def __init__(self, version: int, old: Stored | None, new: Stored | None, gone: Stored | None = None) -> None:
        self.version = version
        self.old = old
        self.new = new
        self.gone = gone
        self.type = "DELETED" if new is None else "ADDED" if old is None else "MODIFIED"
        self._shared: dict[object, bytes] | None = None

    @property
    def key(self) -> str:
        return self._any.key

    @property
    def namespace(self) -> str:
        return self._any.namespace

    @property
    def _any(self) -> Stored:
        stored = self.new or self.old
        assert stored is not None
        return stored

    def shared(self, key: object) -> bytes | None:
        """What was given to :meth:`share` under this key, which comes from :meth:`ResourceLog.share_key`."""
        kept = self._shared
        return kept.get(key) if kept is not None else None

    def share(self, key: object, encoded: bytes) -> None:
        """Keep the encoded event for other watches. Two threads may race to give the same bytes; that is harmless."""
        if self._shared is None:
            self._shared = {}
        if self._shared is not _FORGOTTEN:
            self._shared[key] = encoded

    def forget_shared(self) -> None:
        """Keep what is shared no longer, to give back its memory."""
        self._shared = _FORGOTTEN


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
        self._watches = 0
        self._share_keys: dict[Hashable, object] = {}
        self.changed = threading.Condition()

    @property
    def horizon(self) -> int:
        """The newest version that has been forgotten: a watch from an older one is answered 410."""
        return self._horizon

    @property
    def end(self) -> int:
        """The absolute index after the last entry."""
        return self._first + len(self._entries)

    @property
    def watches(self) -> int:
        """How many watches are open."""
        return self._watches

    def share_key(self, what: Hashable) -> object:
        """The same object for an equal ``what``: as a key it costs no hashing of what it stands for."""
        with self.changed:
            if len(self._share_keys) > _SHARE_KEYS:
                self._share_keys = {}  # kinds of CRDs come and go
            return self._share_keys.setdefault(what, object())

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Counts as an open watch meanwhile."""
        with self.changed:
            self._watches += 1
        try:
            yield
        finally:
            with self.changed:
                self._watches -= 1

    def append(self, entry: Entry) -> None:
        with self.changed:
            self._entries.append(entry)
            if len(self._entries) > _SHARED:
                self._entries[-_SHARED - 1].forget_shared()
            if len(self._entries) >= 2 * self._limit:
                self._forget(len(self._entries) - self._limit)
            self.changed.notify_all()

    def compact(self, version: int) -> None:
        """Refuse everybody who asks for changes up to ``version`` from now on. Watches that are open go on: they may
        still have to deliver some of them."""
        with self.changed:
            self._horizon = max(self._horizon, version)

    def reset(self, version: int) -> None:
        """Forget everything: history begins at ``version``. Open watches come to an end, for they have lost it."""
        with self.changed:
            self._first = self.end + 1  # past the end, too: where those are who have seen everything
            self._entries = []
            self._horizon = version
            self.changed.notify_all()

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
