"""A cache whose entries grow old (rule S12)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Generic, TypeAlias, TypeVar

from runtime.clock import SYSTEM, Clock

T = TypeVar("T")
_Texts: TypeAlias = list[str]  # the class below has a method named list


class ExpirationCache(Generic[T]):
    """Objects by key, each for ``ttl`` seconds after it was put in; may be used from any thread.

    Age is looked at when an entry is read (S12): no thread sweeps, and an entry that nobody reads and nothing displaces
    stays in memory. One that is put in again is young again.

    :param ttl: seconds; an entry is gone once it is older. <= 0: never.
    :param key: of an object, as :func:`key_of`.
    :param max_entries: of more, those that were not read or put in for the longest time are dropped; None: any number.
    """

    def __init__(
        self, key: Callable[[T], str], ttl: float, *, max_entries: int | None = None, clock: Clock | None = None
    ) -> None:
        if max_entries is not None and max_entries < 1:
            raise ValueError(f"max_entries={max_entries}: use a number above 0, or None")
        self._key = key
        self._ttl = ttl
        self._max_entries = max_entries
        self._clock = clock or SYSTEM
        self._entries_lock = threading.Lock()  # guards the next one
        self._entries: OrderedDict[str, tuple[T, float]] = OrderedDict()  # with the time; the longest unused first

    def put(self, obj: T) -> None:
        """Add the object, or put it in the place of another of the same key; its time begins now."""
        key = self._key(obj)
        with self._entries_lock:
            self._put(key, obj)

    def get(self, key: str) -> T | None:
        """The object under the key; None if there is none, or none any more."""
        with self._entries_lock:
            obj = self._live(key)
            if obj is not None:
                self._entries.move_to_end(key)
            return obj

    def delete(self, key: str) -> None:
        """Remove it; unknown keys are fine."""
        with self._entries_lock:
            self._entries.pop(key, None)

    def replace(self, objects: Iterable[T]) -> None:
        """Make these the whole content; their time begins now."""
        items = {self._key(obj): obj for obj in objects}
        with self._entries_lock:
            self._entries.clear()
            for key, obj in items.items():
                self._put(key, obj)

    def list_keys(self) -> _Texts:
        """All keys, also of entries whose time is over and which nobody has asked for since."""
        with self._entries_lock:
            return [*self._entries]

    def list(self) -> list[T]:
        """All objects whose time is not over."""
        with self._entries_lock:
            found = [self._live(key) for key in [*self._entries]]
            return [obj for obj in found if obj is not None]

    def _put(self, key: str, obj: T) -> None:
        self._entries[key] = (obj, self._clock.monotonic())
        self._entries.move_to_end(key)
        if self._max_entries is not None and len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    def _live(self, key: str) -> T | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        obj, since = entry
        if self._ttl > 0 and self._clock.monotonic() - since > self._ttl:
            del self._entries[key]
            return None
        return obj
