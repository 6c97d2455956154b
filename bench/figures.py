"""Figures of interleaved rounds: the median counts, the spread tells how far to trust it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

Result: TypeAlias = Mapping[str, float]
"""What one process measured."""

Rounds: TypeAlias = Mapping[int, Result]
"""What one peer measured: number of the round -> result. A slow peer has fewer."""

Reading: TypeAlias = Callable[[Result], float]


@dataclass(frozen=True)
class Figure:
    """One value per round."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a figure of no round")

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)


def figure(rounds: Rounds, reading: Reading) -> Figure | None:
    """None if the peer was not measured."""
    return _figure(reading(result) for result in rounds.values())


def ratio(rounds: Rounds, base: Rounds, reading: Reading) -> Figure | None:
    """To ``base`` in the same round, of the rounds that both have; so a slow minute of the machine hits both sides."""
    return _figure(reading(result) / reading(base[number]) for number, result in rounds.items() if number in base)


def _figure(values: Iterable[float]) -> Figure | None:
    all_values = tuple(values)
    return Figure(all_values) if all_values else None
