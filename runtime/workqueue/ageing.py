"""The order of a priority queue: the highest priority first, but nothing starves."""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from math import inf
from operator import neg
from typing import Final, Generic, TypeVar

T = TypeVar("T", bound=Hashable)

# An item ready for AGED seconds competes with higher priorities for every second hand-out. When those that compete
# have been ready for OVERDUE seconds they get nine of ten, which serves them within a minute of becoming ready as
# long as there are workers for it at all. The rest stays with the live changes: behind the initial list of a big
# cluster, all of it overdue, a live change still waits for ten items and not for ten thousand.
AGED: Final = 20.0
OVERDUE: Final = 45.0
_OVERDUE_IN_A_ROW: Final = 9
_BETWEEN_LOOKS: Final = 1.0  # seconds; a look for aged items passes over those that are known to be
_MOST_SEEN: Final = 26  # one more than the metrics tell apart (5.1)
_LEVELS_KEPT: Final = 16  # empty classes of a few priorities are kept for the next item, of many are not


class AgeingOrder(Generic[T]):
    """FIFO within a priority; and of all priorities together, those that are aged, the oldest first.

    A class is ordered by when its items came into it, which is when they became ready, unless their priority was
    raised later. So the aged are found at the heads of the classes. One that was raised while it was young is found
    when those before it are aged, at most AGED seconds after it was raised: before it is ``2 * AGED`` old. One that
    is raised later is taken for aged then and there.

    :param since: every ready item -> when it became so. The owner keeps it up to date, after a ``pop`` too.
    :param wanted: the priority of each item that is pushed, if it is not 0; popping it moves that to ``running``.
    :param running: the priorities of the items being processed.
    :param seen: gets the priorities there ever were, the first 26 of them.
    """

    def __init__(
        self,
        since: Mapping[T, float],
        wanted: dict[T, int],
        running: dict[T, int],
        seen: set[int],
        monotonic: Callable[[], float],
    ) -> None:
        self._since = since
        self._wanted = wanted
        self._running = running
        self._seen = seen
        self._monotonic = monotonic
        # FIFOs as OrderedDict: unlike a deque it can lose an item in the middle, unlike a dict its head is cheap.
        self._classes: dict[int, OrderedDict[T, None]] = {}
        self._levels: list[int] = []  # the keys of _classes, the highest first
        self._aged: OrderedDict[T, None] = OrderedDict()  # they are in their classes as well
        self._aged_in_a_row = 0
        self._next_look = -inf  # for aged items

    def push(self, item: T) -> None:
        priority = self._wanted.get(item, 0)
        fifo = self._classes.get(priority)
        if fifo is None:
            fifo = self._new_class(priority)
        fifo[item] = None

    def raise_from(self, item: T, left: int) -> None:
        """``item``, pushed with the priority ``left``, is wanted with a higher one: to the end of that class (P1)."""
        del self._classes[left][item]
        self.push(item)
        if self._monotonic() - self._since[item] >= AGED:
            self._aged[item] = None

    def pop(self) -> T:
        for level in self._levels:
            fifo = self._classes[level]
            if fifo:
                break
        if len(fifo) != len(self._since) and self._is_turn_of_aged():
            self._aged_in_a_row += 1
            item = next(iter(self._aged))
            fifo = self._classes[self._wanted.get(item, 0)]
            del fifo[item], self._aged[item]
        else:
            self._aged_in_a_row = 0
            item = fifo.popitem(last=False)[0]
            if self._aged:
                self._aged.pop(item, None)
        if item in self._wanted:
            self._running[item] = self._wanted.pop(item)
        return item

    def depths(self) -> dict[int, int]:
        """Ready items per priority."""
        return {level: len(fifo) for level, fifo in self._classes.items() if fifo}

    def _is_turn_of_aged(self) -> bool:
        """Whether the oldest item goes before the highest class."""
        now = self._monotonic()
        if now >= self._next_look:
            self._look_for_aged(now)
        if not self._aged:
            return False
        age = now - self._since[next(iter(self._aged))]
        return self._aged_in_a_row < (_OVERDUE_IN_A_ROW if age >= OVERDUE else 1)

    def _look_for_aged(self, now: float) -> None:
        found: list[T] = []
        next_look = now + AGED
        for fifo in self._classes.values():
            for item in fifo:
                if item in self._aged:
                    continue
                since = self._since[item]
                if now - since < AGED:
                    next_look = min(next_look, since + AGED)
                    break
                found.append(item)
        found.sort(key=self._since.__getitem__)
        self._aged.update(dict.fromkeys(found))
        self._next_look = max(next_look, now + _BETWEEN_LOOKS)

    def _new_class(self, priority: int) -> OrderedDict[T, None]:
        if len(self._levels) >= _LEVELS_KEPT:
            for level in [level for level in self._levels if not self._classes[level]]:
                del self._classes[level]
            self._levels = [level for level in self._levels if level in self._classes]
        if len(self._seen) < _MOST_SEEN:
            self._seen.add(priority)
        fifo = self._classes[priority] = OrderedDict()
        insort(self._levels, priority, key=neg)
        return fifo
