"""Waiting for what must come true, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T | None], what: str = "", timeout: float = 20.0) -> T:
    """The first true value of ``look()``; without one in time the test fails, and says what was seen last."""
    deadline = time.monotonic() + timeout
    while not (seen := look()):
        assert time.monotonic() < deadline, f"never happened in {timeout:g} s, still {seen!r}: {what or look}"
        time.sleep(0.005)
    return seen
