"""Waiting for caches without polling."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias, runtime_checkable

from runtime.clock import SYSTEM, Clock
from runtime.logging import get_logger

from .state import SyncState

_POLL = 0.1  # seconds between two looks at what cannot tell by itself: foreign functions and stop events


class Latch:
    """A flag that is set once. Those who listen are called when it is set, or when it never will be."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards everything below
        self._set = False
        self._broken = False
        self._listeners: list[Callable[[], None]] = []

    def __bool__(self) -> bool:
        return self._set

    @property
    def broken(self) -> bool:
        """It was given up before it was set."""
        return self._broken

    def set(self) -> None:
        self._settle(broken=False)

    def give_up(self) -> None:
        """It will never be set; no effect if it is."""
        self._settle(broken=True)

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call ``listener`` once the latch is settled, now if it is; returns the function that takes it back."""
        with self._lock:
            if not (self._set or self._broken):
                self._listeners.append(listener)
                return lambda: self._forget(listener)
        listener()
        return lambda: None

    def _settle(self, *, broken: bool) -> None:
        with self._lock:
            if self._set or self._broken:
                return
            self._set, self._broken = not broken, broken
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()

    def _forget(self, listener: Callable[[], None]) -> None:
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)


@runtime_checkable
class Syncing(Protocol):
    """An informer, or the registration of a handler."""

    @property
    def sync_latch(self) -> Latch: ...


@runtime_checkable
class _Stateful(Protocol):
    @property
    def sync_state(self) -> SyncState: ...


class _Waited(enum.Enum):
    """How a wait ended."""

    SYNCED = "all have synced"
    TIMED_OUT = "not in time"
    ENDED = "stopped, or one of them will never sync"


Waitable: TypeAlias = Syncing | Callable[[], bool]


def wait_for_cache_sync(
    *synced: Waitable | threading.Event,
    timeout: float | None = None,
    stop: threading.Event | None = None,
    clock: Clock | None = None,
) -> bool:
    """Block until all of them have synced (I19). On timeout a warning names those that have not, and why.

    :param synced: informers, handler registrations, or their ``has_synced`` methods: these wake the caller themselves.
        Any other function without parameters is asked ten times a second. An Event among them is a ``stop``, as
        in client-go's argument order.
    :param timeout: seconds; None waits as long as it takes.
    :param stop: ends the wait when it is set.
    :returns: True if all have synced; False on timeout, on stop, or when one of them was stopped before.
    """
    clock = clock or SYSTEM
    stops = [s for s in synced if isinstance(s, threading.Event)] + ([stop] if stop is not None else [])
    latches: list[Latch] = []
    functions: list[Callable[[], bool]] = []
    for each in synced:
        if isinstance(each, threading.Event):
            continue
        latch = _latch_of(each)
        if latch is not None:
            latches.append(latch)
        elif callable(each):
            functions.append(each)
        else:
            raise TypeError(f"wait_for_cache_sync takes informers, registrations or functions, not {each!r}")
    waited = _wait(latches, functions, stops, timeout, clock)
    if waited is _Waited.TIMED_OUT and timeout:
        warn_of_timeout([each for each in synced if not isinstance(each, threading.Event)], timeout)
    return waited is _Waited.SYNCED


def await_latch(latch: Latch, timeout: float | None, clock: Clock) -> bool:
    """Block until it is set; False on timeout, or if it never will be."""
    return _wait([latch], [], [], timeout, clock) is _Waited.SYNCED


def warn_of_timeout(waited_for: Iterable[Waitable], timeout: float) -> None:
    """Log which of them have not synced."""
    waiting = [_described(each) for each in waited_for if not _is_synced(each)]
    if waiting:
        get_logger("runtime.informer").warning("caches have not synced in time", timeout=timeout, waiting_for=waiting)


def _is_synced(syncing: Waitable) -> bool:
    latch = _latch_of(syncing)
    if latch is not None:
        return bool(latch)
    return callable(syncing) and syncing()


def _described(syncing: object) -> str:
    if _latch_of(syncing) is not None:
        syncing = getattr(syncing, "__self__", syncing)  # the informer of a has_synced
    name = getattr(syncing, "name", "") if not isinstance(syncing, _Stateful) else ""
    text = name or getattr(syncing, "__qualname__", "") or str(syncing)
    if isinstance(syncing, _Stateful) and syncing.sync_state.last_error is not None:
        text += f": {syncing.sync_state.last_error}"
    return str(text)


def _latch_of(syncing: object) -> Latch | None:
    if isinstance(syncing, Syncing):
        return syncing.sync_latch
    owner = getattr(syncing, "__self__", None)
    if isinstance(owner, Syncing) and getattr(syncing, "__name__", "") == "has_synced":
        return owner.sync_latch
    return None


def _wait(
    latches: Iterable[Latch],
    functions: Iterable[Callable[[], bool]],
    stops: Iterable[threading.Event],
    timeout: float | None,
    clock: Clock,
) -> _Waited:
    latches, functions, stops = [*latches], [*functions], [*stops]
    deadline = None if timeout is None else clock.monotonic() + timeout
    settled = threading.Condition()
    news = 0  # guarded by it

    def wake() -> None:
        nonlocal news
        with settled:
            news += 1
            settled.notify_all()

    takers_back = [latch.listen(wake) for latch in latches]
    try:
        while True:
            seen = news
            # Not under the lock: a function may want one that an informer holds while it wakes us.
            if all(latches) and all(f() for f in functions):
                return _Waited.SYNCED
            left = None if deadline is None else deadline - clock.monotonic()
            if any(s.is_set() for s in stops) or any(latch.broken for latch in latches):
                return _Waited.ENDED
            if left is not None and left <= 0:
                return _Waited.TIMED_OUT
            if functions or stops:
                left = _POLL if left is None else min(left, _POLL)
            with settled:
                if news == seen:
                    clock.wait(settled, left)
    finally:
        for take_back in takers_back:
            take_back()
