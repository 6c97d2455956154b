"""Tables for the terminal and for RESULTS.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

from bench.figures import Figure

Cell: TypeAlias = tuple[Figure | None, Figure | None]
"""A figure, and its ratio to the base."""


@dataclass(frozen=True)
class Table:
    """Peers side by side.

    :ivar columns: one heading per figure, with its unit.
    :ivar rows: title of the peer -> figures; None where it has none.
    :ivar note: what one has to know to read it.
    """

    title: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[Cell]]
    note: str = ""

    def markdown(self) -> str:
        rows = [[name, *(_cell(*cell) for cell in row)] for name, row in self.rows.items()]
        text = f"### {self.title}\n\n{table(['', *self.columns], rows)}"
        return f"{text}\n{self.note}\n" if self.note else text


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns are also aligned in a terminal."""
    cells = [heading, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heading))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    rule = " | ".join("-" * width for width in widths)
    return "".join(f"| {line} |\n" for line in [lines[0], rule, *lines[1:]])


def number(value: float) -> str:
    """With two or three significant digits."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 else 3
    return f"{value:,.{digits}f}"


def machine(started: datetime, load_before: float) -> str:
    """What the figures were measured on."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("kubernetes", "kopf", "orjson", "msgspec", "urllib3"))
    return (
        f"Measured {started.astimezone(UTC):%Y-%m-%d %H:%M} UTC on {_processor()}, {os.cpu_count()} cores, "
        f"{_memory() / 2**30:.0f} GiB, load {load_before:.1f} before and {os.getloadavg()[0]:.1f} at the end, "
        f"{platform.system()} {platform.release()}, {platform.python_implementation()} {platform.python_version()}; "
        f"{packages}."
    )


def _cell(value: Figure | None, ratio: Figure | None) -> str:
    if value is None:
        return ""
    return number(value.median) + (f" ({number(ratio.median)} x)" if ratio is not None else "")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
