"""Holding back: a token bucket for a rate, and a back-off per key.

Both keep time by ``clock=`` and may be used from any thread. :mod:`runtime.workqueue` has limiters for the items of
a queue; these are for everything else that must not be done too often.
"""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from runtime.clock import SYSTEM, Clock

__all__ = ["Backoff", "HasExpired", "PassiveRateLimiter", "TokenBucket"]

_ROUNDING = 1e-9  # of a token: what adding and subtracting floats may leave of one that is there by now


class PassiveRateLimiter(Protocol):
    """A limiter that is only asked and never waits (U3): all that a filter needs. :class:`TokenBucket` is one."""

    @property
    def qps(self) -> float:
        """Tokens a second."""

    def try_accept(self) -> bool:
        """Take a token if there is one."""


class TokenBucket:
    """``qps`` things a second in the long run, ``burst`` of them at once (rule U3 of client-go.md).

    It is full at the start and refills as time passes. Those who wait are served in the order they came, at the times
    that were foreseen when they came: the token of one that gives up is for those who come later.

    :param qps: tokens a second, > 0.
    :param burst: most tokens it holds, >= 1.
    """

    def __init__(self, qps: float, burst: int, *, clock: Clock | None = None) -> None:
        if qps <= 0:
            raise ValueError(f"qps must be > 0, got {qps}")
        if burst < 1:
            raise ValueError(f"burst must be >= 1, got {burst}")
        self._qps = qps
        self._burst = burst
        self._clock = clock or SYSTEM
        self._tokens_lock = threading.Lock()  # guards the next two
        self._tokens = float(burst)  # below zero: so many are promised to those who wait
        self._refilled_at = self._clock.monotonic()

    @property
    def qps(self) -> float:
        return self._qps

    def try_accept(self) -> bool:
        """Take a token if there is one; never waits."""
        with self._tokens_lock:
            self._refill()
            if self._tokens < 1.0 - _ROUNDING:
                return False
            self._tokens -= 1.0
            return True

    def reserve(self) -> float:
        """Take the next token, which may not be there yet: seconds until it is. Grows without bound under load."""
        with self._tokens_lock:
            self._refill()
            self._tokens -= 1.0
            return 0.0 if self._tokens >= -_ROUNDING else -self._tokens / self._qps

    def accept(self) -> None:
        """Wait for a token as long as it takes."""
        self.wait()

    def wait(self, timeout: float | None = None, stop: threading.Event | None = None) -> bool:
        """Wait for a token.

        :param timeout: seconds. If the token cannot be there by then the answer comes at once.
        :param stop: ends the wait when it is set.
        :returns: False on timeout and on stop; no token is taken then.
        """
        if stop is not None and stop.is_set():
            return False
        delay = self.reserve()
        if timeout is not None and delay > timeout:
            self._give_back()
            return False
        if delay > 0 and self._clock.wait_event(stop or threading.Event(), delay):
            self._give_back()
            return False
        return True

    def _refill(self) -> None:
        now = self._clock.monotonic()
        self._tokens = min(float(self._burst), self._tokens + (now - self._refilled_at) * self._qps)
        self._refilled_at = now

    def _give_back(self) -> None:
        with self._tokens_lock:
            self._tokens += 1.0


HasExpired: TypeAlias = Callable[[float, float, float], bool]
"""``(event_time, last_update, max_delay)``, in the clock's monotonic time: whether a key's back-off begins anew."""


@dataclass(slots=True)
class _Entry:
    delay: float
    updated_at: float


class Backoff:
    """A delay per key that doubles with each failure up to ``max_delay`` (rule U2 of client-go.md).

    A key that was quiet for more than ``2 * max_delay`` begins anew. QUIRK: such keys also disappear by themselves, a
    few at each :meth:`next`; client-go keeps them until somebody calls GC.

    All times given and kept are of ``clock.monotonic()``.

    :param initial: seconds after the first failure.
    :param max_delay: upper bound in seconds, jitter included.
    :param jitter: up to this share of the delay before is added at random, after doubling.
    :param has_expired: another rule than quiet for when a key begins anew.
    """

    def __init__(
        self,
        initial: float,
        max_delay: float,
        *,
        jitter: float = 0.0,
        has_expired: HasExpired | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        if initial <= 0:
            raise ValueError(f"initial must be > 0, got {initial}")
        if max_delay < initial:
            raise ValueError(f"max_delay {max_delay} is below initial {initial}")
        if jitter < 0:
            raise ValueError(f"jitter must be >= 0, got {jitter}")
        self._initial = initial
        self._max = max_delay
        self._jitter = jitter
        self._has_expired = has_expired or _was_quiet
        self._clock = clock or SYSTEM
        self._rng = rng or random.Random()  # noqa: S311  # spreads clients, guards nothing
        self._entries_lock = threading.Lock()  # guards the next one
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()  # the longest unchanged first

    def next(self, key: Hashable, event_time: float | None = None) -> float:
        """``key`` failed: its delay grows.

        :param event_time: when it failed; None: now.
        :returns: the new delay in seconds: ``initial`` for the first failure.
        """
        with self._entries_lock:
            now = self._clock.monotonic()
            at = now if event_time is None else event_time
            entry = self._entries.get(key)
            if entry is None or self._has_expired(at, entry.updated_at, self._max):
                before = delay = self._initial
            else:
                before, delay = entry.delay, 2.0 * entry.delay
            delay = min(delay + self._rng.random() * self._jitter * before, self._max)
            self._entries[key] = _Entry(delay, now)
            self._entries.move_to_end(key)
            self._drop_expired(now, 2)
            return delay

    def get(self, key: Hashable) -> float:
        """The present delay of ``key`` in seconds; 0.0 if it never failed, or was reset."""
        with self._entries_lock:
            entry = self._entries.get(key)
            return 0.0 if entry is None else entry.delay

    def is_in_backoff_since(self, key: Hashable, event_time: float) -> bool:
        """Whether less time than the delay has passed since ``event_time``, so that ``key`` has to wait still."""
        entry = self._live(key, event_time)
        return entry is not None and self._clock.monotonic() - event_time < entry.delay

    def is_in_backoff_since_update(self, key: Hashable, event_time: float) -> bool:
        """Whether ``event_time`` lies within the delay after the last failure of ``key``."""
        entry = self._live(key, event_time)
        return entry is not None and event_time - entry.updated_at < entry.delay

    def reset(self, key: Hashable) -> None:
        """``key`` succeeded: its next failure is the first. Unknown keys are fine."""
        with self._entries_lock:
            self._entries.pop(key, None)

    def gc(self) -> None:
        """Drop all keys that would begin anew."""
        with self._entries_lock:
            self._drop_expired(self._clock.monotonic(), len(self._entries))

    def __len__(self) -> int:
        """Keys that are remembered."""
        with self._entries_lock:
            return len(self._entries)

    def _live(self, key: Hashable, event_time: float) -> _Entry | None:
        with self._entries_lock:
            entry = self._entries.get(key)
            if entry is None or self._has_expired(event_time, entry.updated_at, self._max):
                return None
            return entry

    def _drop_expired(self, now: float, at_most: int) -> None:
        for _ in range(at_most):
            oldest = next(iter(self._entries), None)
            if oldest is None or not self._has_expired(now, self._entries[oldest].updated_at, self._max):
                return
            del self._entries[oldest]


def _was_quiet(event_time: float, last_update: float, max_delay: float) -> bool:
    return event_time - last_update > 2.0 * max_delay
