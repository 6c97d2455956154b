"""What is measured, part by part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from bench.checks import Check
from bench.report import Table
from bench.rounds import Session


@dataclass(frozen=True)
class Outcome:
    """Peers side by side, and what the issue asks for."""

    tables: Sequence[Table]
    checks: Sequence[Check]


Suite: TypeAlias = Callable[[Session], Outcome]
