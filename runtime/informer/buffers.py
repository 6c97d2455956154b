"""What waits between the informer and one handler."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Literal, TypeAlias

from runtime.clock import Clock

from .notes import SYNC_MARK, Note, Pending, SyncMark, merge

_CHUNK = 64  # notifications taken under one lock

BufferPolicy: TypeAlias = Literal["unbounded", "latest"] | int
"""How much may wait for a handler that is slower than the changes. It never slows anything but itself.

``"unbounded"``
    Every notification, in order (I4). Memory grows with the backlog.
``"latest"``
    At most one update per object, or its deletion and re-creation. Memory is bounded by the number of objects.
a number N
    As unbounded while at most N wait; beyond that the backlog is merged per object until it has drained. So
    at most max(N, 2 x objects) wait, and nothing of the final state is lost.
"""


def fold_limit(policy: BufferPolicy) -> int | None:
    """How many notifications may wait unmerged; ``None``: any number.

    :raises ValueError: for a policy that does not exist.
    """
    if policy == "unbounded":
        return None
    if policy == "latest":
        return 0
    if type(policy) is int and policy > 0:
        return policy
    raise ValueError(f'buffer={policy!r}: use "unbounded", "latest" or a number of notifications above 0')


class Buffer:
    """A first-in-first-out queue of notifications that can merge those of one key.

    One thread takes, any thread may put. Putting never blocks.
    """

    def __init__(self, policy: BufferPolicy, clock: Clock) -> None:
        self._limit = fold_limit(policy)
        self._clock = clock
        self._changed = threading.Condition(threading.Lock())
        self._queue: deque[Pending] = deque()
        # In place of the queue while the backlog is merged; a key keeps the place of its first notification.
        # Ordered, because taking from the front of a plain dict costs more with each key taken.
        self._folded: OrderedDict[str | None, tuple[Note, ...]] = OrderedDict()
        self._closed = False
        self._behind_since: float | None = None

    def __len__(self) -> int:
        with self._changed:
            return self._length()

    def age(self) -> float:
        """Seconds since nothing was waiting; 0.0 if nothing is."""
        with self._changed:
            behind = self._behind_since if self._length() else None
            return 0.0 if behind is None else self._clock.monotonic() - behind

    def put(self, notes: Iterable[Pending]) -> None:
        """Append in order. Ignored after :meth:`close`."""
        with self._changed:
            if self._closed:
                return
            if self._folded:
                self._fold(notes)
            else:
                self._queue.extend(notes)
                if self._limit is not None and len(self._queue) > self._limit:
                    self._fold(self._queue)
                    self._queue.clear()
            if self._behind_since is None and self._length():
                self._behind_since = self._clock.monotonic()
                self._changed.notify()

    def take(self) -> list[Pending] | None:
        """What comes next, in order; blocks while nothing does. ``None`` once closed.

        Several notifications at a time only where later ones could not be merged into them.
        """
        with self._changed:
            while not self._closed and not self._length():
                self._behind_since = None
                self._changed.wait()
            if self._closed:
                return None
            if self._folded:
                key, notes = self._folded.popitem(last=False)
                return [SYNC_MARK] if key is None else list(notes)
            many = _CHUNK if self._limit is None else 1
            return [self._queue.popleft() for _ in range(min(many, len(self._queue)))]

    def close(self) -> None:
        """Drop what waits and release the taker."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._folded.clear()
            self._behind_since = None
            self._changed.notify_all()

    def _length(self) -> int:
        return len(self._queue) + len(self._folded)

    def _fold(self, notes: Iterable[Pending]) -> None:
        for note in notes:
            if isinstance(note, SyncMark):
                self._folded[None] = ()
                continue
            merged = merge(self._folded.get(note.key, ()), note)
            if merged:
                self._folded[note.key] = merged
            else:
                self._folded.pop(note.key, None)
