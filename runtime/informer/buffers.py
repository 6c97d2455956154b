"""What waits between the informer and one handler."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Literal, TypeAlias

from runtime.clock import Clock

from .notes import SYNC_MARK, Note, Pending, SyncMark, merge

_CHUNK = 64  # notifications taken under one lock
_TOGETHER = 0.01  # seconds within which it does not matter when something came

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

    One thread takes, any thread may put. Putting never blocks. What was taken is not kept alive (Q3).
    """

    def __init__(self, policy: BufferPolicy, clock: Clock) -> None:
        self._limit = fold_limit(policy)
        self._clock = clock
        self._changed = threading.Condition(threading.Lock())
        self._queue: deque[Pending] = deque()
        # When what stands in the queue came: the time of a put, and how many had come with it and before.
        self._stamps: deque[tuple[float, int]] = deque()
        self._came = 0
        self._went = 0
        self._taken_since = 0.0
        # In place of the queue while the backlog is merged: what is told of a key, and since when it waits; a key keeps
        # the place and the time of its first notification.
        # Ordered, because taking from the front of a plain dict costs more with each key taken.
        self._folded: OrderedDict[str | None, tuple[float, tuple[Note, ...]]] = OrderedDict()
        self._closed = False
        self._waiting = False

    def __len__(self) -> int:
        with self._changed:
            return self._length()

    def age(self, *, with_taken: bool = False) -> float:
        """Seconds for which the next notification to be taken has waited; 0.0 if none does.

        :param with_taken: of what was taken last something still waits for its turn: count from when that came.
        """
        with self._changed:
            if with_taken:
                since = self._taken_since
            elif self._folded:
                since = next(iter(self._folded.values()))[0]
            elif self._stamps:
                since = self._stamps[0][0]
            else:
                return 0.0
            return self._clock.monotonic() - since

    def put(self, notes: Iterable[Pending]) -> None:
        """Append in order. Ignored after :meth:`close`."""
        with self._changed:
            if self._closed:
                return
            now = self._clock.monotonic()
            if self._folded:
                self._fold(notes, now)
            else:
                before = len(self._queue)
                self._queue.extend(notes)
                self._came += len(self._queue) - before
                self._stamp(now)
                if self._limit is not None and len(self._queue) > self._limit:
                    self._fold_queue()
            if self._waiting and self._length():
                self._waiting = False
                self._changed.notify()

    def take(self) -> list[Pending] | None:
        """What comes next, in order; blocks while nothing does. ``None`` once closed.

        Several notifications at a time only where later ones could not be merged into them.
        """
        with self._changed:
            while not self._closed and not self._length():
                self._waiting = True
                self._changed.wait()
            if self._closed:
                return None
            if self._folded:
                key, (self._taken_since, notes) = self._folded.popitem(last=False)
                return [SYNC_MARK] if key is None else list(notes)
            many = min(_CHUNK if self._limit is None else 1, len(self._queue))
            self._went += many
            self._taken_since = self._stamps[0][0]
            while self._stamps and self._stamps[0][1] <= self._went:
                self._stamps.popleft()
            return [self._queue.popleft() for _ in range(many)]

    def close(self) -> None:
        """Drop what waits and release the taker (Q2: what was not delivered by then never is)."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._stamps.clear()
            self._folded.clear()
            self._changed.notify_all()

    def _length(self) -> int:
        return len(self._queue) + len(self._folded)

    def _stamp(self, now: float) -> None:
        """Remember when the last ones came; what came close together counts as one."""
        since = self._stamps[-1][0] if self._stamps else now
        if self._stamps and now - since < _TOGETHER:
            self._stamps[-1] = (since, self._came)
        else:
            self._stamps.append((now, self._came))

    def _fold_queue(self) -> None:
        queued = 0
        for since, end in self._stamps:
            count = end - self._went - queued
            self._fold([self._queue.popleft() for _ in range(count)], since)
            queued += count
        self._stamps.clear()
        self._came = self._went = 0

    def _fold(self, notes: Iterable[Pending], now: float) -> None:
        for note in notes:
            if isinstance(note, SyncMark):
                self._folded[None] = (now, ())
                continue
            key = note.key
            since, pending = self._folded.get(key, (now, ()))
            merged = merge(pending, note)
            if merged:
                self._folded[key] = (since, merged)
            else:
                self._folded.pop(key, None)
