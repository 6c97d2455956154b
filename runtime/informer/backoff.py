"""How long the reflector waits after a failure."""

from __future__ import annotations

import random
from typing import Protocol

from runtime.clock import SYSTEM, Clock


class Backoff(Protocol):
    """A source of waiting times; used by one thread (R4)."""

    def next(self) -> float:
        """Seconds to wait now."""


class JitteredBackoff:
    """client-go's ladder with kube-rs's reset (rules R2, R3).

    Step n waits ``min(base * 2**n, max_delay) * (1 + U[0,1))`` seconds. The ladder starts again when ``reset_after``
    seconds have passed without a call, so a server that stays dead is never hammered anew: client-go restarts
    the ladder every two minutes even then.
    """

    def __init__(
        self,
        base: float = 0.8,
        max_delay: float = 30.0,
        reset_after: float = 120.0,
        *,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._base = base
        self._max = max_delay
        self._reset_after = reset_after
        self._clock = clock or SYSTEM
        self._rng = rng or random.Random()  # noqa: S311  # spreads clients, guards nothing
        self._delay = base
        self._quiet_from: float | None = None  # when the last wait ended

    def next(self) -> float:
        now = self._clock.monotonic()
        if self._quiet_from is not None and now - self._quiet_from > self._reset_after:
            self._delay = self._base
        wait = min(self._delay, self._max) * (1.0 + self._rng.random())
        self._delay = min(self._delay * 2.0, self._max)
        self._quiet_from = now + wait
        return wait
