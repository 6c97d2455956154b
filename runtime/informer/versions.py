"""Resource versions compared the way the API defines them (rule S9), and waiting for one of them."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable

_Order = tuple[int, str]  # by length, then by text: that is the order of the numbers


def is_comparable(version: str) -> bool:
    """Whether the text is a positive decimal integer without leading zeros: ``""`` and ``"0"`` are not."""
    return version.isascii() and version.isdigit() and not version.startswith("0")


def compare(a: str, b: str) -> int:
    """-1, 0 or 1 as ``a`` is older than, equal to, or newer than ``b``; any number of digits.

    :raises ValueError: if one of them is not comparable; the text names it.
    """
    left, right = _order(a), _order(b)
    return (left > right) - (left < right)


def is_at_least(current: str, wanted: str) -> bool:
    """Whether a store at ``current`` has seen ``wanted``. A store that has no version yet has seen nothing.

    :raises ValueError: if ``wanted`` is not comparable.
    """
    asked = _order(wanted)
    return is_comparable(current) and _order(current) >= asked


def is_older(version: str, other: str) -> bool:
    """Whether ``version`` certainly came before ``other``: False if they cannot be compared."""
    return is_comparable(version) and is_comparable(other) and _order(version) < _order(other)


def _order(version: str) -> _Order:
    if not is_comparable(version):
        raise ValueError(f"resourceVersion {version!r} cannot be compared: it is not a positive decimal integer")
    return len(version), version


class Waiter:
    """Somebody who waits for a version.

    :ivar reached: it came. That it may have been left again since (S8) does not matter to who waited for it.
    :ivar gave_up: it need not be woken any more.
    """

    __slots__ = ("gave_up", "reached")

    def __init__(self) -> None:
        self.reached = False
        self.gave_up = False

    def wake(self) -> None:
        """Have it look, now; the lock is held."""
        raise NotImplementedError


class Sleeper(Waiter):
    """One thread that is blocked."""

    __slots__ = ("condition",)

    def __init__(self, lock: threading.RLock) -> None:
        super().__init__()
        self.condition = threading.Condition(lock)

    def wake(self) -> None:
        self.condition.notify_all()


class Notice(Waiter):
    """A function that is called when the time has come; nobody is blocked."""

    __slots__ = ("_callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        super().__init__()
        self._callback = callback

    def wake(self) -> None:
        self._callback()


class Waiters:
    """Those who wait for a version, each woken once, when it comes: who waits for a later one sleeps on. And those who
    wait for something else that may be seen when a version comes: they are few.

    Guarded by the lock of its owner.

    :ivar heap: by version, the first one first; empty if nobody waits, though some may have given up.
    :ivar looking: with what each looks for.
    """

    def __init__(self) -> None:
        self.heap: list[tuple[_Order, int, Waiter]] = []
        self.looking: dict[Waiter, Callable[[], bool]] = {}
        self._numbers = itertools.count()
        self._left_behind = 0  # entries of the heap that gave up

    def add(self, version: str, waiter: Waiter) -> None:
        """:raises ValueError: the version is not comparable."""
        heapq.heappush(self.heap, (_order(version), next(self._numbers), waiter))

    def look_for(self, condition: Callable[[], bool], waiter: Waiter) -> None:
        """Have ``condition`` looked at whenever a version comes."""
        self.looking[waiter] = condition

    def remove(self, waiter: Waiter) -> None:
        """Forget one that gives up; no effect on one that was woken."""
        if waiter.reached or waiter.gave_up:
            return
        waiter.gave_up = True
        if self.looking.pop(waiter, None) is not None:
            return
        # Many may give up at a time, when a watch is lost: each sweep must pay for itself.
        self._left_behind += 1
        if 2 * self._left_behind >= len(self.heap):
            self.heap = [entry for entry in self.heap if not entry[2].gave_up]
            heapq.heapify(self.heap)
            self._left_behind = 0

    def reach(self, version: str) -> None:
        """Wake those whose version this is, or is past, and those who find what they look for."""
        if self.looking:
            for waiter in [waiter for waiter, condition in self.looking.items() if condition()]:
                del self.looking[waiter]
                waiter.reached = True
                waiter.wake()
        if not is_comparable(version):
            return
        now = _order(version)
        while self.heap and self.heap[0][0] <= now:
            waiter = heapq.heappop(self.heap)[2]
            if waiter.gave_up:
                self._left_behind -= 1
                continue
            waiter.reached = True
            waiter.wake()

    def wake_all(self) -> None:
        """Have all look again, reached or not."""
        for waiter in [entry[2] for entry in self.heap] + [*self.looking]:
            if not waiter.gave_up:
                waiter.wake()
