"""Whether what is held grows with every round, as it does by a leak."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median


def growth(sizes: Sequence[int]) -> float:
    """What a round adds, by the median of all rounds.

    Caches of the interpreter and of libraries grow as well, but in one round of many: a table of strings doubles.
    """
    return median(after - before for before, after in pairwise(sizes))
