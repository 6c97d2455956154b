"""How often: which of the occasions that fit are struck, decided by counting and by a seed."""

from __future__ import annotations

import random
from collections.abc import Hashable

import msgspec


class Frequency(msgspec.Struct, frozen=True):
    """All that is given must hold.

    :param nth: these occasions only, counted from 1; empty for any.
    :param every: each so-many-th one.
    :param after: none of the first so many.
    :param probability: of those left, this part, by the seed.
    :param times: no more than so many; None for no limit.
    """

    nth: tuple[int, ...] = ()
    every: int = 1
    after: int = 0
    probability: float = 1.0
    times: int | None = None


class Meter:
    """Counts the occasions of one fault, and decides which are struck. Not thread-safe.

    What chance decides does not depend on how threads interleave: it is drawn from the seed, from whose occasion it is,
    and from how many that one has had. So the third update of a Lease by one client is struck in every run or in none,
    whatever other clients do meanwhile.

    :ivar hits: how many were struck.
    """

    def __init__(self, frequency: Frequency, seed: str) -> None:
        self._frequency = frequency
        self._seed = seed
        self._seen = 0
        self._turns: dict[Hashable, int] = {}
        self.hits = 0

    @property
    def is_used_up(self) -> bool:
        times = self._frequency.times
        return times is not None and self.hits >= times

    def strikes(self, whose: Hashable) -> int:
        """Count one occasion of ``whose``. If it is struck, its number among those that chance decided on, from 1 on;
        else 0."""
        if self.is_used_up:
            return 0
        self._seen += 1
        if not self._is_due():
            return 0
        turn = self._turns[whose] = self._turns.get(whose, 0) + 1
        probability = self._frequency.probability
        if probability < 1 and self._draw(whose, turn, "strike") >= probability:
            return 0
        self.hits += 1
        return turn

    def between(self, low: float, high: float, whose: Hashable, turn: int) -> float:
        """A number drawn for this turn of ``whose``. Thread-safe."""
        return low + (high - low) * self._draw(whose, turn, "between") if high > low else low

    def _draw(self, whose: Hashable, turn: int, what: str) -> float:
        """From 0 to 1; ``what`` keeps several draws of one turn apart."""
        return random.Random(f"{self._seed}|{whose}|{turn}|{what}").random()  # noqa: S311

    def _is_due(self) -> bool:
        frequency, number = self._frequency, self._seen - self._frequency.after
        if number <= 0 or number % frequency.every:
            return False
        return not frequency.nth or self._seen in frequency.nth
