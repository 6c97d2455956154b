"""The cache: objects by key, and by whatever an index function says of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

from runtime.client import Unstructured
from runtime.clock import SYSTEM, Clock

from .versions import is_at_least

IndexFunc: TypeAlias = Callable[[Unstructured], Iterable[str]]
"""The values under which an object is found; none, one or many, duplicates merge (S4).

It is given the cached object, whose body is decoded only where the function reads it. It must be a pure
function of the object.
"""

# In a class that has a method named list, the builtin type goes by other names.
_Objects: TypeAlias = list[Unstructured]
_Texts: TypeAlias = list[str]

NAMESPACE_INDEX = "namespace"
"""The index every informer has (S15)."""


class IndexFunctionError(ValueError):
    """An index function failed on an object. The store still holds what it held before."""


def namespace_index(obj: Unstructured) -> tuple[str, ...]:
    """The index function behind :data:`NAMESPACE_INDEX`; cluster-scoped objects are under ``""``."""
    return (obj.namespace,)


class _Index:
    """Value -> keys for one index function. Guarded by the store's lock."""

    def __init__(self, name: str, func: IndexFunc) -> None:
        self._name = name
        self._func = func
        self.keys_by_value: dict[str, set[str]] = {}
        # What the function said when the object came in: asking again about the old object would decode its
        # body once more, and a function that is not pure would leave stale entries. The namespace is at hand.
        self._values_by_key: dict[str, tuple[str, ...]] | None = None if func is namespace_index else {}

    def values_of(self, key: str, obj: Unstructured) -> tuple[str, ...]:
        """:raises IndexFunctionError: the function raised, or returned something else than texts."""
        if self._values_by_key is None:  # our own function, on the path of every event
            return namespace_index(obj)
        try:
            values: object = self._func(obj)  # what a user's function really returns is not what it says
            if isinstance(values, str):
                raise TypeError(f"returned the text {values!r}; return a list of values")
            if not isinstance(values, Iterable):
                raise TypeError(f"returned {values!r}; return a list of values")
            texts: dict[str, None] = {}
            for value in values:
                if not isinstance(value, str):
                    raise TypeError(f"returned {value!r}, a {type(value).__name__}; values are texts")
                texts[value] = None
        except (Exception, SystemExit) as e:  # the function is the user's: it may raise anything
            raise IndexFunctionError(f"index {self._name!r} failed on {key}: {type(e).__name__}: {e}") from e
        return tuple(texts)

    def move(self, key: str, old: Unstructured | None, values: tuple[str, ...]) -> None:
        """File ``key`` under ``values`` and nowhere else (S3)."""
        before = self._filed(key, old)
        if before == values:
            return
        for value in before:
            if value not in values:
                self._unfile(key, value)
        for value in values:
            self.keys_by_value.setdefault(value, set()).add(key)
        if self._values_by_key is not None:
            if values:
                self._values_by_key[key] = values
            else:
                self._values_by_key.pop(key, None)

    def _filed(self, key: str, old: Unstructured | None) -> tuple[str, ...]:
        if self._values_by_key is not None:
            return self._values_by_key.get(key, ())
        return () if old is None else (old.namespace,)

    def _unfile(self, key: str, value: str) -> None:
        keys = self.keys_by_value[value]
        keys.discard(key)
        if not keys:
            del self.keys_by_value[value]


class Indexer:
    """Objects by key, with indices; every method may be called from any thread.

    Each call answers from one state of the store (S2). Objects are immutable and shared. The key is
    ``namespace/name``, or ``name`` for a cluster-scoped object (S1). Order is unspecified where not said.

    :param indexers: name -> index function.
    :param clock: keeps the time of :meth:`wait_until`.
    """

    def __init__(self, indexers: Mapping[str, IndexFunc] | None = None, *, clock: Clock | None = None) -> None:
        self._clock = clock or SYSTEM
        self._lock = threading.RLock()  # guards everything below
        self._moved = threading.Condition(self._lock)
        self._waiters = 0
        self._closed = False
        self._items: dict[str, Unstructured] = {}
        self._resource_version = ""
        self._indices = {name: _Index(name, func) for name, func in (indexers or {}).items()}

    # Reading

    def __len__(self) -> int:
        with self._lock:
            return len(self._items)

    def __contains__(self, key: object) -> bool:
        with self._lock:
            return key in self._items

    def get(self, key: str) -> Unstructured | None:
        """The object under the key, or None."""
        with self._lock:  # not to see half of a transaction
            return self._items.get(key)

    def list(self) -> _Objects:
        """All objects."""
        with self._lock:
            return [*self._items.values()]

    def list_keys(self) -> _Texts:
        """All keys."""
        with self._lock:
            return [*self._items]

    def by_index(self, index_name: str, value: str) -> _Objects:
        """The objects filed under the value; empty for an unknown value.

        :raises KeyError: there is no such index; names those that exist.
        """
        with self._lock:
            items = self._items
            return [items[key] for key in self._index(index_name).keys_by_value.get(value, ())]

    def index_keys(self, index_name: str, value: str) -> _Texts:
        """The keys filed under the value, sorted (S5).

        :raises KeyError: there is no such index.
        """
        with self._lock:
            return sorted(self._index(index_name).keys_by_value.get(value, ()))

    def index(self, index_name: str, obj: Unstructured) -> _Objects:
        """All objects that share a value of the index with ``obj``, each once (S5).

        :raises KeyError: there is no such index.
        :raises ValueError: the index function fails on ``obj``.
        """
        with self._lock:
            index = self._index(index_name)
            keys: set[str] = set()
            for value in index.values_of(obj.key, obj):
                keys |= index.keys_by_value.get(value, set())
            return [self._items[key] for key in keys]

    def list_index_func_values(self, index_name: str) -> _Texts:
        """All values under which something is filed, sorted; empty for an unknown index (S5)."""
        with self._lock:
            index = self._indices.get(index_name)
            return sorted(index.keys_by_value) if index else []

    @property
    def index_names(self) -> _Texts:
        """The indices there are, sorted."""
        with self._lock:
            return sorted(self._indices)

    @property
    def resource_version(self) -> str:
        """The version of the collection this store has reached; ``""`` before the first list (S8).

        It moves in order with the content: with each written object, list and bookmark. The last one counts.
        """
        with self._lock:
            return self._resource_version

    def wait_until(self, resource_version: str, timeout: float | None = None) -> bool:
        """Block until the store has reached the version: then it holds that write, or what came after it.

        :param timeout: seconds; None waits as long as it takes.
        :returns: False on timeout, or if the store is closed meanwhile.
        :raises ValueError: the version is not a positive decimal integer.
        """
        deadline = None if timeout is None else self._clock.monotonic() + timeout
        with self._lock:
            self._waiters += 1
            try:
                while not is_at_least(self._resource_version, resource_version):
                    left = None if deadline is None else deadline - self._clock.monotonic()
                    if self._closed or (left is not None and left <= 0):
                        return False
                    self._clock.wait(self._moved, left)
                return True
            finally:
                self._waiters -= 1

    # Writing. Within an informer only its own thread does.

    def add_indexers(self, indexers: Mapping[str, IndexFunc]) -> None:
        """Add indices; objects already here are filed too (S6). All or nothing.

        :raises ValueError: an index of that name exists, or its function fails on an object of the store.
        """
        with self._lock:
            taken = sorted(self._indices.keys() & indexers.keys())
            if taken:
                raise ValueError(f"index {taken[0]!r} exists already; choose another name")
            added = {name: _Index(name, func) for name, func in indexers.items()}
            for index in added.values():
                for key, obj in self._items.items():
                    index.move(key, None, index.values_of(key, obj))
            self._indices.update(added)

    def put(self, obj: Unstructured) -> Unstructured | None:
        """Add the object, or put it in the place of another of the same key.

        :returns: what was there before.
        :raises ValueError: the object has no name, or an index function failed; the store is unchanged then.
        """
        key = key_of(obj)
        with self._lock:
            # All functions are asked before anything is changed.
            values = [(index, index.values_of(key, obj)) for index in self._indices.values()]
            old = self._items.get(key)
            self._items[key] = obj
            for index, of_index in values:
                index.move(key, old, of_index)
            if obj.resource_version:
                self._move_to(obj.resource_version)
            return old

    add = put
    update = put

    def delete(self, obj: Unstructured | str) -> Unstructured | None:
        """Remove by object, whose version then is the store's (S8), or by key.

        :returns: what was there, or None.
        """
        key = obj if isinstance(obj, str) else key_of(obj)
        with self._lock:
            old = self._items.pop(key, None)
            if old is not None:
                for index in self._indices.values():
                    index.move(key, old, ())
            if not isinstance(obj, str) and obj.resource_version:
                self._move_to(obj.resource_version)
            return old

    def replace(self, objects: Iterable[Unstructured], resource_version: str = "") -> None:
        """Make these the whole content, at once for every reader (S7).

        :raises ValueError: an object has no name, or an index function failed; nothing has changed then.
        """
        items = {key_of(obj): obj for obj in objects}
        with self._lock:
            indices = {name: _Index(name, index._func) for name, index in self._indices.items()}
            for index in indices.values():
                for key, obj in items.items():
                    index.move(key, None, index.values_of(key, obj))
            self._items, self._indices = items, indices
            self._move_to(resource_version)

    def bookmark(self, resource_version: str) -> None:
        """The collection has reached this version without a change to any object here."""
        with self._lock:
            self._move_to(resource_version)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Several writes which readers see all or none of. Held by one thread at a time; keep it short."""
        with self._lock:
            yield

    def close(self) -> None:
        """Release those who wait for a version which will not come any more."""
        with self._lock:
            self._closed = True
            self._moved.notify_all()

    def _move_to(self, resource_version: str) -> None:
        self._resource_version = resource_version
        if self._waiters:
            self._moved.notify_all()

    def _index(self, name: str) -> _Index:
        index = self._indices.get(name)
        if index is None:
            raise KeyError(f"no index {name!r}; there are: {', '.join(sorted(self._indices)) or 'none'}")
        return index


def key_of(obj: Unstructured) -> str:
    """``namespace/name``, or ``name`` for a cluster-scoped object (S1).

    :raises ValueError: the object has no name, or a name or namespace that contains a slash.
    """
    name, namespace = obj.name, obj.namespace
    if not name:
        raise ValueError(f"{obj.kind or 'object'} without metadata.name (uid {obj.uid or 'unknown'})")
    if "/" in name or "/" in namespace:
        raise ValueError(f"{obj.kind or 'object'} {namespace!r}/{name!r}: a slash in metadata.name or namespace")
    return f"{namespace}/{name}" if namespace else name


def split_key(key: str) -> tuple[str, str]:
    """Namespace and name of a key; the namespace is ``""`` for a cluster-scoped object.

    :raises ValueError: the key has more than one slash, or no name (S1).
    """
    namespace, slash, name = key.rpartition("/")
    if not name or "/" in namespace or (slash and not namespace):
        raise ValueError(f"{key!r} is not a key: it is neither namespace/name nor name")
    return namespace, name
