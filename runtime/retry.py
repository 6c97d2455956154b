"""Trying again at once what failed for a reason that passes (rule U1 of client-go.md).

::

    def change() -> Unstructured:
        current = deployments.get("web").to_dict()
        current["spec"]["replicas"] += 1
        return deployments.update(current)

    retry_on_conflict(change)

For a reconciler returning the error is better: its queue backs off, and the worker is free meanwhile.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf
from typing import TypeVar

from runtime.client import ApiError, Cancelled, Conflict
from runtime.clock import SYSTEM, Clock

__all__ = ["DEFAULT_BACKOFF", "DEFAULT_RETRY", "Backoff", "on_error", "retry_on_conflict"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often to try, and how long to wait in between.

    :param steps: tries, the first one included; >= 1.
    :param duration: seconds after the first try.
    :param factor: each wait is this many times the one before.
    :param jitter: up to this share is added to each wait at random.
    :param cap: longest wait in seconds, before jitter. QUIRK: client-go also stops trying once a wait reaches it.
    """

    steps: int
    duration: float
    factor: float = 1.0
    jitter: float = 0.0
    cap: float = inf

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be >= 1, got {self.steps}")
        if self.duration < 0 or self.factor <= 0 or self.jitter < 0 or self.cap < 0:
            raise ValueError(f"{self}: no number may be negative, and factor must be > 0")

    def delays(self, rng: random.Random | None = None) -> Iterator[float]:
        """Seconds to wait after each try but the last."""
        rng = rng or random.Random()  # noqa: S311  # spreads clients, guards nothing
        delay = min(self.duration, self.cap)
        for _ in range(self.steps - 1):
            yield delay * (1.0 + rng.random() * self.jitter)
            delay = min(delay * self.factor, self.cap)


DEFAULT_RETRY = Backoff(steps=5, duration=0.01, factor=1.0, jitter=0.1)
"""For conflicts between clients that write now and then."""

DEFAULT_BACKOFF = Backoff(steps=4, duration=0.01, factor=5.0, jitter=0.1)
"""For conflicts with something that writes all the time."""


def on_error(
    backoff: Backoff,
    retriable: Callable[[Exception], bool],
    fn: Callable[[], T],
    *,
    stop: threading.Event | None = None,
    clock: Clock | None = None,
    rng: random.Random | None = None,
) -> T:
    """What ``fn`` returns, called again as long as it raises what is ``retriable`` and tries are left.

    ``fn`` must begin afresh each time: read, decide, write. Where an API server asked for patience (Retry-After) the
    wait is at least as long.

    :param stop: ends the waiting when it is set; ``fn`` is not called any more then.
    :raises Exception: whatever ``fn`` raised: at once what is not retriable, else that of the last try, also when
        stopped in between.
    :raises Cancelled: ``stop`` was set before the first try.
    """
    clock = clock or SYSTEM
    stop = stop or threading.Event()
    if stop.is_set():
        raise Cancelled("not tried, because the caller is stopping")
    for delay in backoff.delays(rng):
        try:
            return fn()
        except Exception as error:
            if not retriable(error):
                raise
            asked = (error.retry_after or 0.0) if isinstance(error, ApiError) else 0.0
            if clock.wait_event(stop, max(delay, asked)):
                raise
    return fn()


def retry_on_conflict(
    fn: Callable[[], T],
    backoff: Backoff = DEFAULT_RETRY,
    *,
    stop: threading.Event | None = None,
    clock: Clock | None = None,
) -> T:
    """:func:`on_error` for :class:`Conflict`: somebody else wrote between our read and our write.

    ``fn`` has to read the object anew each time, or every try ends in the same conflict.

    :raises Conflict: of the last try.
    """
    return on_error(backoff, lambda error: isinstance(error, Conflict), fn, stop=stop, clock=clock)
