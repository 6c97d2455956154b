"""Tables of figures and ratios, for the terminal and for RESULTS.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


@dataclass
class Table:
    """Rows of peers; every figure is followed by its ratio to the row called ``base``.

    :ivar columns: one heading per figure, with its unit.
    :ivar rows: peer -> figures; ``None`` where it has none.
    :ivar note: what one has to know to read it.
    """

    title: str
    columns: Sequence[str]
    base: str
    rows: dict[str, Sequence[float | None]] = field(default_factory=dict)
    note: str = ""

    def markdown(self) -> str:
        cells = [["", *self.columns], *([name, *self._figures(row)] for name, row in self.rows.items())]
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
        rule = " | ".join("-" * width for width in widths)
        table = "\n".join(f"| {line} |" for line in [lines[0], rule, *lines[1:]])
        return f"## {self.title}\n\n{table}\n" + (f"\n{self.note}\n" if self.note else "")

    def _figures(self, row: Sequence[float | None]) -> list[str]:
        return [_cell(value, base) for value, base in zip(row, self.rows[self.base], strict=True)]


def machine(started: datetime) -> str:
    """What the figures were measured on."""
    peers = ", ".join(f"{name} {version(name)}" for name in ("kubernetes", "orjson", "msgspec"))
    return (
        f"Measured {started.astimezone(UTC):%Y-%m-%d %H:%M} UTC on {_processor()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f} at the end, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}; {peers}."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _cell(value: float | None, base: float | None) -> str:
    if value is None:
        return ""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}" + (f" ({value / base:.2f} x)" if base else "")
