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
_MOST_SEEN: Final = 26  # one more than the metrics tell apart (5.1)
_LEVELS_KEPT: Final = 16  # empty classes of a few priorities are kept for the next item, of many are not


class AgeingOrder(Generic[T]):
    """FIFO within a priority; and in turn the oldest of each priority that has aged ones.

    Each priority gets its turn, so those that are flooded cannot starve the others either. A class is ordered by when
    its items came into it: when they became ready, or their priority was raised. One that is raised while young is
    hence at the head when those before it are aged, at most AGED seconds later; one that is aged already keeps its
    age and goes to the head at once. So before an item is ``2 * AGED`` old it is at the head of an aged class.

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
        self._aged_in_a_row = 0
        self._turns = 0
        self._last_turns: dict[int, int] = {}  # when each class last had its turn
        self._next_look = -inf  # for aged items: there are none before

    def push(self, item: T) -> None:
        priority = self._wanted.get(item, 0)
        fifo = self._classes.get(priority)
        if fifo is None:
            fifo = self._new_class(priority)
        fifo[item] = None

    def push_first(self, item: T) -> None:
        """``item`` comes back to the head of its class; see that it is no younger than :meth:`oldest` there."""
        self.push(item)
        self._classes[self._wanted.get(item, 0)].move_to_end(item, last=False)
        self._next_look = min(self._next_look, self._since[item] + AGED)

    def oldest(self, priority: int) -> float:
        """Since when the head of that class is ready; ``inf`` if nothing is in it."""
        fifo = self._classes.get(priority)
        return self._since[next(iter(fifo))] if fifo else inf

    def raise_from(self, item: T, left: int) -> None:
        """``item``, pushed with the priority ``left``, is wanted with a higher one: to the end of that class (P1)."""
        del self._classes[left][item]
        self.push(item)
        aged_at = self._since[item] + AGED
        self._next_look = min(self._next_look, aged_at)
        if self._monotonic() >= aged_at:
            self._classes[self._wanted.get(item, 0)].move_to_end(item, last=False)

    def pop(self) -> T:
        for level in self._levels:
            fifo = self._classes[level]
            if fifo:
                break
        self._aged_in_a_row += 1
        if len(fifo) != len(self._since) and (aged := self._aged_class(level)):
            fifo = aged
        else:
            self._aged_in_a_row = 0
        item = fifo.popitem(last=False)[0]
        if item in self._wanted:
            self._running[item] = self._wanted.pop(item)
        return item

    def depths(self) -> dict[int, int]:
        """Ready items per priority."""
        return {level: len(fifo) for level, fifo in self._classes.items() if fifo}

    def _aged_class(self, highest: int) -> OrderedDict[T, None] | None:
        """The class that goes before the highest one now, if any does."""
        now = self._monotonic()
        if now < self._next_look:
            return None
        self._next_look = now + AGED
        oldest = now
        aged = []
        for level, fifo in self._classes.items():
            if fifo:
                since = self._since[next(iter(fifo))]
                self._next_look = min(self._next_look, since + AGED)
                if now - since >= AGED and level != highest:
                    oldest = min(oldest, since)
                    aged.append(level)
        if not aged or self._aged_in_a_row > (_OVERDUE_IN_A_ROW if now - oldest >= OVERDUE else 1):
            return None
        level = min(aged, key=lambda level: self._last_turns.get(level, 0))
        self._turns += 1
        self._last_turns[level] = self._turns
        return self._classes[level]

    def _new_class(self, priority: int) -> OrderedDict[T, None]:
        if len(self._levels) >= _LEVELS_KEPT:
            for level in [level for level in self._levels if not self._classes[level]]:
                del self._classes[level]
                self._last_turns.pop(level, None)
            self._levels = [level for level in self._levels if level in self._classes]
        if len(self._seen) < _MOST_SEEN:
            self._seen.add(priority)
        fifo = self._classes[priority] = OrderedDict()
        insort(self._levels, priority, key=neg)
        return fifo
