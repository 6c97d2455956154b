"""Resource versions compared the way the API defines them (rule S9), and waiting for one of them."""

from __future__ import annotations

import heapq
import itertools
import threading

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
    """One thread that waits for a version.

    :ivar reached: it came. That it may have been left again since (S8) does not matter to who waited for it.
    """

    __slots__ = ("condition", "reached")

    def __init__(self, lock: threading.RLock) -> None:
        self.condition = threading.Condition(lock)
        self.reached = False


class Waiters:
    """Those who wait for a version, each woken once, when it comes: who waits for a later one sleeps on.

    Guarded by the lock it is given, which is also what the waiters wait with.

    :ivar heap: the first one first; empty if nobody waits.
    """

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self.heap: list[tuple[_Order, int, Waiter]] = []
        self._numbers = itertools.count()

    def add(self, version: str) -> Waiter:
        """:raises ValueError: the version is not comparable."""
        waiter = Waiter(self._lock)
        heapq.heappush(self.heap, (_order(version), next(self._numbers), waiter))
        return waiter

    def remove(self, waiter: Waiter) -> None:
        """Forget one that gave up; no effect on one that was woken."""
        if not waiter.reached:
            self.heap = [entry for entry in self.heap if entry[2] is not waiter]
            heapq.heapify(self.heap)

    def reach(self, version: str) -> None:
        """Wake those whose version this is, or is past."""
        if not is_comparable(version):
            return
        now = _order(version)
        while self.heap and self.heap[0][0] <= now:
            waiter = heapq.heappop(self.heap)[2]
            waiter.reached = True
            waiter.condition.notify_all()

    def wake_all(self) -> None:
        """Have all look again, reached or not."""
        for _, _, waiter in self.heap:
            waiter.condition.notify_all()
