"""Knowing when what follows from the initial list is done, and values that follow from the whole cache (rule S16).

client-go's third one, SingleFileTracker, is not here: a registration's ``has_synced`` is just that for handlers, which
are called in order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from .sync import Latch, Syncing

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class AsyncTracker(Generic[K]):
    """Tells when workers have processed every object of the initial list, in whatever order they do (S16).

    ::

        tracker = AsyncTracker[str]()

        def on_add(obj, is_in_initial_list):
            if is_in_initial_list:
                tracker.start(obj.key)
            queue.add(obj.key)

        tracker.follow(informer.add_event_handler(ResourceEventHandler(on_add=on_add)))
        ...
        tracker.finished(key)  # by a worker, after each key, also one it could do nothing about
        wait_for_cache_sync(tracker)

    All methods may be called from any thread.
    """

    def __init__(self) -> None:
        self._latch = Latch()
        self._lock = threading.Lock()  # guards the next two
        self._waiting: set[K] = set()
        self._upstream: Latch | None = None

    def follow(self, registration: Syncing) -> None:
        """Sync no sooner than this one has: then every ``start`` for its initial list has been called.

        :raises RuntimeError: it follows one already.
        """
        upstream = registration.sync_latch
        with self._lock:
            if self._upstream is not None:
                raise RuntimeError("this tracker follows a registration already; make another one")
            self._upstream = upstream
        upstream.listen(self._look)

    def start(self, key: K) -> None:
        """``key`` is of the initial list and has to be processed. To be called by the handler."""
        with self._lock:
            self._waiting.add(key)

    def finished(self, key: K) -> None:
        """``key`` is processed. Fine for keys that are not waited for."""
        with self._lock:
            self._waiting.discard(key)
        self._look()

    def has_synced(self) -> bool:
        """Whether all of the initial list is processed; stays True."""
        return bool(self._latch)

    @property
    def sync_latch(self) -> Latch:
        return self._latch

    def __repr__(self) -> str:
        with self._lock:
            return f"<AsyncTracker {'synced' if self._latch else f'waits for {len(self._waiting)} keys'}>"

    def _look(self) -> None:
        upstream = self._upstream
        if upstream is None:
            return
        if upstream.broken:
            self._latch.give_up()
        elif upstream:
            with self._lock:
                done = not self._waiting
            if done:
                self._latch.set()


class Lazy(Generic[T]):
    """A value that is computed when it is asked for, and again only after :meth:`notify` (S16).

    For what follows from the whole cache and is wanted less often than that changes: let handlers call ``notify``, and
    readers ``get``. May be used from any thread.

    :param evaluate: computes it. Those who ask meanwhile wait for its result; what it raises is told to who had it
        called, and the next one, who may have waited, has it called again. It must not ask for the value itself.
    """

    def __init__(self, evaluate: Callable[[], T]) -> None:
        self._evaluate = evaluate
        self._cell: _Cell[T] = _Cell()

    def notify(self) -> None:
        """What was computed, or is being computed right now, is out of date. Never blocks."""
        self._cell = _Cell()

    def get(self) -> T:
        """The value, as of the last :meth:`notify` before this call or later."""
        return self._cell.get(self._evaluate)


class _Cell(Generic[T]):
    """One value, computed at most once unless that fails."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the next one; held while it is computed
        self._value: tuple[T] | None = None

    def get(self, evaluate: Callable[[], T]) -> T:
        with self._lock:
            if self._value is None:
                self._value = (evaluate(),)
            return self._value[0]
