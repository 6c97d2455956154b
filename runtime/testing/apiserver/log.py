"""One append-only log of changes per resource: what watches read, and what old versions are rebuilt from."""

from __future__ import annotations

import operator
import sys
import threading
from bisect import bisect_right
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager

import orjson

from runtime.testing.apiserver.feed import Feed
from runtime.testing.kinds.model import Kind
from runtime.types import JSONObject

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

    __slots__ = ("gone", "new", "old", "type", "version")

    def __init__(self, version: int, old: Stored | None, new: Stored | None, gone: Stored | None = None) -> None:
        self.version = version
        self.old = old
        self.new = new
        self.gone = gone
        self.type = "DELETED" if new is None else "ADDED" if old is None else "MODIFIED"

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


def line(event_type: str, encoded: bytes) -> bytes:
    """One line of a watch."""
    return b'{"type":"%b","object":%b}\n' % (event_type.encode(), encoded)


_version = operator.attrgetter("version")


class ResourceLog:
    """The changes of one resource, in order of version, back to a horizon.

    Changed under the store's lock; read by any thread.

    :param limit: entries kept; older ones are forgotten, as if compacted.
    """

    def __init__(self, limit: int, horizon: int) -> None:
        self._limit = limit
        # The absolute index of the oldest entry, and the entries: replaced together, so that no reader needs the lock.
        self._kept: tuple[int, list[Entry]] = (0, [])
        self._horizon = horizon
        self._watches = 0
        self._waiting = 0
        self._feeds: dict[Hashable, Feed] = {}
        self._changed = threading.Condition()

    @property
    def horizon(self) -> int:
        """The newest version that has been forgotten: a watch from an older one is answered 410."""
        return self._horizon

    @property
    def end(self) -> int:
        """The absolute index after the last entry."""
        first, entries = self._kept
        return first + len(entries)

    @property
    def watches(self) -> int:
        """How many watches are open."""
        return self._watches

    @contextmanager
    def watched(self, what: Hashable) -> Iterator[Feed]:
        """The feed of one open watch.

        :param what: watches with an equal one show every event in the same bytes.
        """
        with self._changed:
            self._watches += 1
            feed = self._feeds.setdefault(what, Feed(self))
            feed.watches += 1
        try:
            yield feed
        finally:
            with self._changed:
                self._watches -= 1
                feed.watches -= 1
                if not feed.watches:
                    del self._feeds[what]

    def append(self, entry: Entry) -> None:
        entries = self._kept[1]
        entries.append(entry)
        if len(entries) >= 2 * self._limit:
            self._forget(len(entries) - self._limit)
        if self._waiting:  # who begins to wait after this looks at the end again before
            self.wake()

    def compact(self, version: int) -> None:
        """Refuse everybody who asks for changes up to ``version`` from now on. Watches that are open go on: they may
        still have to deliver some of them."""
        self._horizon = max(self._horizon, version)

    def reset(self, version: int) -> None:
        """Forget everything: history begins at ``version``. Open watches come to an end, for they have lost it."""
        self._kept = (self.end + 1, [])  # past the end, too: where those are who have seen everything
        self._horizon = version
        self.wake()

    def _forget(self, count: int) -> None:
        if count:
            first, entries = self._kept
            self._horizon = max(self._horizon, entries[count - 1].version)
            self._kept = (first + count, entries[count:])

    def since(self, version: int) -> int:
        """The absolute index of the first entry that is newer than ``version``."""
        first, entries = self._kept
        return first + bisect_right(entries, version, key=_version)

    def slice(self, start: int, count: int) -> Sequence[Entry] | None:
        """Up to ``count`` entries from an absolute index; None if some of them are forgotten."""
        first, entries = self._kept
        if start < first:
            return None
        return entries[start - first : start - first + count]

    def newer(self, version: int) -> Sequence[Entry]:
        """All entries newer than ``version``, newest first: to undo them."""
        entries = self._kept[1]
        return entries[bisect_right(entries, version, key=_version) :][::-1]

    def wait(self, index: int, seconds: float, stop: threading.Event) -> None:
        """Until there is an entry at this absolute index, :meth:`wake` is called, or so much real time has passed. No
        wait at all once ``stop`` is set."""
        with self._changed:
            self._waiting += 1
            try:
                if self.end == index and not stop.is_set():
                    self._changed.wait(seconds)
            finally:
                self._waiting -= 1

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
