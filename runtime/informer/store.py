"""The cache: objects by key, and by whatever an index function says of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self, TypeAlias

from runtime.client import Unstructured
from runtime.clock import SYSTEM, Clock

from .indices import Index, IndexFunc, IndexFunctionError
from .versions import Notice, Sleeper, Waiters, is_at_least

__all__ = [
    "NAMESPACE_INDEX",
    "Content",
    "IndexFunc",
    "IndexFunctionError",
    "Indexer",
    "Transaction",
    "can_be_key",
    "check_key",
    "key_of",
    "namespace_index",
    "split_key",
]

# In a class that has a method named list, the builtin type goes by other names.
_Objects: TypeAlias = list[Unstructured]
_Texts: TypeAlias = list[str]

Content: TypeAlias = dict[str, dict[str, Unstructured]]
"""Namespace -> name -> object. It is its own index by namespace, and keeps no key of any object: the names are the
objects' own texts. No namespace is empty."""

NAMESPACE_INDEX = "namespace"
"""The index every informer has (S15)."""


def namespace_index(obj: Unstructured) -> tuple[str, ...]:
    """The index function behind :data:`NAMESPACE_INDEX`; cluster-scoped objects are under ``""``."""
    return (obj.namespace,)


class _NamespaceIndex(Index):
    """What the content is by itself, in the shape of an index; nothing has to be filed."""

    def __init__(self, store: Indexer) -> None:
        super().__init__(NAMESPACE_INDEX, namespace_index)
        self._store = store

    def objects(self, value: str) -> list[Unstructured]:
        return [*self._store._content.get(value, {}).values()]

    def keys(self, value: str) -> list[str]:
        return [obj.key for obj in self.objects(value)]

    def values(self) -> list[str]:
        return [*self._store._content]


class Indexer:
    """Objects by key, with indices; every method may be called from any thread.

    Each call answers from one state of the store (S2), and what is written in one :meth:`transaction` is seen whole or
    not at all. Objects are immutable and shared. The key is ``namespace/name``, or ``name`` for a cluster-scoped
    object (S1). Order is unspecified where not said.

    :param indexers: name -> index function.
    :param clock: keeps the time of :meth:`wait_until`.
    """

    def __init__(self, indexers: Mapping[str, IndexFunc] | None = None, *, clock: Clock | None = None) -> None:
        self._clock = clock or SYSTEM
        self._lock = threading.RLock()  # guards everything below
        self._transaction = Transaction(self)
        self._waiters = Waiters()
        self._closed = False
        self._content: Content = {}
        self._resource_version = ""
        self._indices: dict[str, Index] = {}
        self._kept_indices: tuple[Index, ...] = ()  # those in which objects have to be filed
        self._add_indices({name: self._new_index(name, func) for name, func in (indexers or {}).items()})

    # Reading

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._content.values()))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.get(key) is not None

    def get(self, key: str) -> Unstructured | None:
        """The object under the key, or None."""
        namespace, slash, name = key.rpartition("/")
        return None if slash and not namespace else self.find(namespace, name)

    def find(self, namespace: str, name: str) -> Unstructured | None:
        """The object of that name, or None; the namespace is ``""`` for a cluster-scoped object."""
        with self._lock:  # not to see half of a transaction
            objects = self._content.get(namespace)
            return None if objects is None else objects.get(name)

    def list(self) -> _Objects:
        """All objects."""
        with self._lock:
            return [obj for objects in self._content.values() for obj in objects.values()]

    def list_keys(self) -> _Texts:
        """All keys."""
        return [obj.key for obj in self.list()]

    def in_namespace(self, namespace: str) -> _Objects:
        """The objects of one namespace; cluster-scoped ones are in ``""``. Needs no index."""
        with self._lock:
            return [*self._content.get(namespace, {}).values()]

    def by_index(self, index_name: str, value: str) -> _Objects:
        """The objects filed under the value; empty for an unknown value.

        :raises KeyError: there is no such index; names those that exist.
        """
        with self._lock:
            return self._index(index_name).objects(value)

    def index_keys(self, index_name: str, value: str) -> _Texts:
        """The keys filed under the value, sorted (S5).

        :raises KeyError: there is no such index.
        """
        with self._lock:
            return sorted(self._index(index_name).keys(value))

    def index(self, index_name: str, obj: Unstructured) -> _Objects:
        """All objects that share a value of the index with ``obj``, each once (S5).

        :raises KeyError: there is no such index.
        :raises ValueError: the index function fails on ``obj``.
        """
        with self._lock:
            index = self._index(index_name)
            found = {id(other): other for value in index.values_of(obj) for other in index.objects(value)}
            return [*found.values()]

    def index_values(self, index_name: str, obj: Unstructured) -> tuple[str, ...]:
        """The values under which the index would file ``obj``, which need not be in the store.

        :raises KeyError: there is no such index.
        :raises ValueError: the index function fails on ``obj``.
        """
        with self._lock:
            return self._index(index_name).values_of(obj)

    def list_index_func_values(self, index_name: str) -> _Texts:
        """All values under which something is filed, sorted; empty for an unknown index (S5)."""
        with self._lock:
            index = self._indices.get(index_name)
            return sorted(index.values()) if index else []

    @property
    def index_names(self) -> _Texts:
        """The indices there are, sorted."""
        with self._lock:
            return sorted(self._indices)

    @property
    def resource_version(self) -> str:
        """The version of the collection this store has reached; ``""`` before the first list (S8).

        It moves in order with the content: with each written object, list and bookmark (Q13). The last one counts.
        """
        with self._lock:
            return self._resource_version

    def wait_until(self, resource_version: str, timeout: float | None = None) -> bool:
        """Block until the store has reached the version: then it holds that write, or what came after it.

        Versions are compared as numbers of any length (S9). A waiter costs the writer nothing until its version comes.

        :param timeout: seconds; None waits as long as it takes.
        :returns: False on timeout, or if the store is closed meanwhile.
        :raises ValueError: the version is not a positive decimal integer.
        """
        deadline = None if timeout is None else self._clock.monotonic() + timeout
        with self._lock:
            if is_at_least(self._resource_version, resource_version):
                return True
            waiter = Sleeper(self._lock)
            self._waiters.add(resource_version, waiter)
            try:
                while not waiter.reached:
                    left = None if deadline is None else deadline - self._clock.monotonic()
                    if self._closed or (left is not None and left <= 0):
                        return False
                    self._clock.wait(waiter.condition, left)
                return True
            finally:
                self._waiters.remove(waiter)

    def has_reached(self, resource_version: str) -> bool:
        """:meth:`wait_until` without waiting.

        :raises ValueError: the version is not a positive decimal integer.
        """
        with self._lock:
            return is_at_least(self._resource_version, resource_version)

    def when_reached(self, resource_version: str, callback: Callable[[], None]) -> Notice | None:
        """:meth:`wait_until` for who cannot block: have ``callback`` called when the store reaches the version.

        It is called once, at once when the store is closed, by the thread that writes and with the store locked. So it
        must neither raise nor wait for a lock; to queue a key is what it is for.

        :returns: what :meth:`forget` takes; None, and nothing is called, if the version is reached already.
        :raises ValueError: the version is not a positive decimal integer.
        """
        notice = Notice(callback)
        with self._lock:
            if self._closed or is_at_least(self._resource_version, resource_version):
                return None
            self._waiters.add(resource_version, notice)
            return notice

    def when_gone(self, namespace: str, name: str, uid: str, callback: Callable[[], None]) -> Notice | None:
        """As :meth:`when_reached`, when this very object is not in the store any more: another of its name may be."""

        def is_gone() -> bool:
            obj = self._content.get(namespace, {}).get(name)
            return obj is None or obj.uid != uid

        notice = Notice(callback)
        with self._lock:
            if self._closed or is_gone():
                return None
            self._waiters.look_for(is_gone, notice)
            return notice

    def forget(self, notice: Notice) -> None:
        """Do not call it any more; no effect if it was called."""
        with self._lock:
            self._waiters.remove(notice)

    # Writing. Within an informer only its own threads do.

    def add_indexers(self, indexers: Mapping[str, IndexFunc]) -> None:
        """Add indices; objects already here are filed too (S6). All or nothing.

        :raises ValueError: an index of that name exists, or its function fails on an object of the store.
        """
        with self._lock:
            taken = sorted(self._indices.keys() & indexers.keys())
            if taken:
                raise ValueError(f"index {taken[0]!r} exists already; choose another name")
            self._add_indices({name: self._new_index(name, func) for name, func in indexers.items()})

    def put(self, obj: Unstructured) -> Unstructured | None:
        """Add the object, or put it in the place of another of the same key.

        :returns: what was there before.
        :raises ValueError: the object has no name, or an index function failed; the store is unchanged then.
        """
        with self._transaction as transaction:
            old = transaction.put(obj)
            transaction.reach(obj.resource_version)
            return old

    add = put
    update = put

    def delete(self, obj: Unstructured | str) -> Unstructured | None:
        """Remove by object, whose version then is the store's (S8), or by key.

        :returns: what was there, or None.
        """
        if isinstance(obj, str):
            namespace, slash, name = obj.rpartition("/")
            with self._transaction as transaction:
                return None if slash and not namespace else transaction.delete(namespace, name)
        with self._transaction as transaction:
            old = transaction.delete(obj.namespace, obj.name)
            transaction.reach(obj.resource_version)
            return old

    def replace(self, objects: Iterable[Unstructured], resource_version: str = "") -> None:
        """Make these the whole content, at once for every reader (S7).

        :raises ValueError: an object has no name, or an index function failed; nothing has changed then.
        """
        content: Content = {}
        for obj in objects:
            check_key(obj)
            content.setdefault(obj.namespace, {})[obj.name] = obj
        with self._lock:
            indices = {name: self._new_index(name, index.func) for name, index in self._indices.items()}
            for index in indices.values():
                _file_all(index, content)
            self._content, self._indices, self._kept_indices = content, {}, ()
            self._set_indices(indices)
            self._transaction.reach(resource_version)

    def bookmark(self, resource_version: str) -> None:
        """The collection has reached this version without a change to any object here."""
        with self._transaction as transaction:
            transaction.reach(resource_version)

    def transaction(self) -> Transaction:
        """Several writes which readers see all or none of: ``with store.transaction() as transaction:``.

        Held by one thread at a time, which may nest it; readers wait meanwhile, so keep it short.
        """
        return self._transaction

    def close(self) -> None:
        """Release those who wait for a version which will not come any more."""
        with self._lock:
            self._closed = True
            self._waiters.wake_all()

    @property
    def closed(self) -> bool:
        return self._closed

    def _new_index(self, name: str, func: IndexFunc) -> Index:
        if name == NAMESPACE_INDEX and func is namespace_index:
            return _NamespaceIndex(self)
        return Index(name, func)

    def _add_indices(self, indices: Mapping[str, Index]) -> None:
        for index in indices.values():
            _file_all(index, self._content)
        self._set_indices({**self._indices, **indices})

    def _set_indices(self, indices: dict[str, Index]) -> None:
        self._indices = indices
        self._kept_indices = tuple(index for index in indices.values() if not isinstance(index, _NamespaceIndex))

    def _index(self, name: str) -> Index:
        index = self._indices.get(name)
        if index is None:
            raise KeyError(f"no index {name!r}; there are: {', '.join(sorted(self._indices)) or 'none'}")
        return index


class Transaction:
    """Writes which readers of an :class:`Indexer` see all or none of; see :meth:`Indexer.transaction`.

    Nothing is undone when its block is left by an exception: each call either takes effect or changes nothing.
    """

    __slots__ = ("_store",)

    def __init__(self, store: Indexer) -> None:
        self._store = store

    def __enter__(self) -> Self:
        self._store._lock.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._store._lock.release()

    @property
    def content(self) -> Content:
        """What there is now. Not to be changed, nor kept."""
        return self._store._content

    def put(self, obj: Unstructured) -> Unstructured | None:
        """As :meth:`Indexer.put`, but the store's version stays; see :meth:`reach`.

        :raises ValueError: the object has no name, or an index function failed; the store is unchanged then.
        """
        store = self._store
        namespace, name = obj.namespace, obj.name
        objects = store._content.get(namespace)
        if objects is None or name not in objects:
            check_key(obj)
        self.file(obj)
        if objects is None:
            store._content[namespace] = {name: obj}
            return None
        # Not just overwritten: that would keep the old object's name as the key, and so the name twice.
        old = objects.pop(name, None)
        objects[name] = obj
        return old

    def delete(self, namespace: str, name: str) -> Unstructured | None:
        """As :meth:`Indexer.delete`, but the store's version stays."""
        store = self._store
        objects = store._content.get(namespace)
        old = None if objects is None else objects.pop(name, None)
        if old is not None:
            self.unfile(old)
            if not objects:
                del store._content[namespace]
        return old

    def reach(self, resource_version: str) -> None:
        """The store's version is this one now, whatever it was (S8); ``""`` changes nothing."""
        store = self._store
        if resource_version:
            store._resource_version = resource_version
            if store._waiters.heap or store._waiters.looking:
                store._waiters.reach(resource_version)

    # For a new content as a whole: file what is new, unfile what is gone, then swap.

    def file(self, obj: Unstructured) -> None:
        """Have the indices know the object in place of another of that key.

        :raises ValueError: an index function failed; no index has changed then.
        """
        if not self._store._kept_indices:
            return
        # All functions are asked before anything is changed.
        for index, values in [(index, index.values_of(obj)) for index in self._store._kept_indices]:
            index.file(obj, values)

    def unfile(self, obj: Unstructured) -> None:
        """Have no index know that key any more."""
        for index in self._store._kept_indices:
            index.drop(obj.key)

    def swap(self, content: Content) -> None:
        """Make this the content, which is the store's own from now on (S7); the indices must fit it already."""
        self._store._content = content


def key_of(obj: Unstructured) -> str:
    """``namespace/name``, or ``name`` for a cluster-scoped object (S1).

    :raises ValueError: the object has no name, or a name or namespace that contains a slash.
    """
    check_key(obj)
    return obj.key


def check_key(obj: Unstructured) -> None:
    """:raises ValueError: as :func:`key_of`."""
    namespace, name = obj.namespace, obj.name
    if not name:
        raise ValueError(f"{obj.kind or 'object'} without metadata.name (uid {obj.uid or 'unknown'})")
    if not can_be_key(namespace, name):
        raise ValueError(f"{obj.kind or 'object'} {namespace!r}/{name!r}: a slash in metadata.name or namespace")


def can_be_key(namespace: str, name: str) -> bool:
    """Whether they make a key that can be taken apart again."""
    return bool(name) and "/" not in name and "/" not in namespace


def split_key(key: str) -> tuple[str, str]:
    """Namespace and name of a key; the namespace is ``""`` for a cluster-scoped object.

    :raises ValueError: the key has more than one slash, or no name (S1).
    """
    namespace, slash, name = key.rpartition("/")
    if not name or "/" in namespace or (slash and not namespace):
        raise ValueError(f"{key!r} is not a key: it is neither namespace/name nor name")
    return namespace, name


def _file_all(index: Index, content: Content) -> None:
    if isinstance(index, _NamespaceIndex):
        return
    for objects in content.values():
        for obj in objects.values():
            index.file(obj, index.values_of(obj))
