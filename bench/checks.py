"""What the issue asks for, row by row, and whether it was reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.figures import Figure
from bench.report import number, table


@dataclass(frozen=True)
class Check:
    """One limit.

    :ivar work: the row.
    :ivar measure: what is limited, with its unit.
    :ivar reached: None if it could not be measured.
    :ivar limit: the most that the median may be, in the same unit.
    """

    work: str
    measure: str
    reached: Figure | None
    limit: float

    @property
    def met(self) -> bool:
        return self.reached is not None and self.reached.median <= self.limit

    @property
    def verdict(self) -> str:
        if self.reached is None:
            return "NOT MEASURED"
        if self.met:
            return "met"
        return f"NOT MET, {(self.reached.median / self.limit - 1) * 100:.1f} % above"


def checks_table(checks: Sequence[Check]) -> str:
    """The issue's table, as Markdown."""
    rows = [
        [check.work, check.measure, number(check.limit), _reached(check.reached), check.verdict] for check in checks
    ]
    return table(["work", "measured as", "at most", "reached (min to max)", ""], rows)


def _reached(figure: Figure | None) -> str:
    if figure is None:
        return ""
    spread = f" ({number(figure.low)} to {number(figure.high)})" if len(figure.values) > 1 else ""
    return number(figure.median) + spread
