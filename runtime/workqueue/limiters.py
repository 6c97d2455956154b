"""How long an item that failed has to wait before it is tried again.

Every limiter may be used from any thread. ``when`` counts the failure and answers with seconds;
``forget`` is called after a success. A counter nobody forgets expires after quiet time (client-go
keeps it for ever, W13).
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Hashable
from typing import Protocol

from runtime.clock import SYSTEM, Clock
from runtime.flowcontrol import TokenBucket
from runtime.workqueue.locking import attempt, give_way

_MIN_TTL = 600.0  # a slow reconcile must find its own count again, however short the delays are


class RateLimiter(Protocol):
    """What :class:`~runtime.workqueue.RateLimitingQueue` asks of a limiter."""

    def when(self, item: Hashable) -> float:
        """Count one more failure of ``item`` and return the seconds it has to wait, >= 0."""

    def forget(self, item: Hashable) -> None:
        """Start ``item`` afresh; an unknown one is no error."""

    def num_requeues(self, item: Hashable) -> int:
        """How many failures of ``item`` are counted."""


class _FailureCounts:
    """Failures per item; an item not seen for ``ttl`` seconds is forgotten.

    What expired is swept out in passing, every half ``ttl``: no sweeper thread, and memory follows the items that
    still fail.
    """

    def __init__(self, ttl: float, clock: Clock) -> None:
        self._ttl = ttl
        self._monotonic = time.monotonic if clock is SYSTEM else clock.monotonic
        self._counts: dict[Hashable, tuple[int, float]] = {}
        self._next_sweep = self._monotonic() + ttl / 2
        self._counts_lock = threading.Lock()
        self._attempt = attempt(self._counts_lock)

    def increment(self, item: Hashable) -> int:
        """Count a failure; returns how many came before it."""
        tries = 0
        for _ in iter(self._attempt, True):
            tries = give_way(tries)
        try:
            now = self._monotonic()
            if now >= self._next_sweep:
                self._sweep(now)
            count, last = self._counts.get(item, (0, now))
            if now - last >= self._ttl:
                count = 0
            self._counts[item] = (count + 1, now)
            return count
        finally:
            self._counts_lock.release()

    def forget(self, item: Hashable) -> None:
        self._counts.pop(item, None)  # atomic

    def get(self, item: Hashable) -> int:
        count, last = self._counts.get(item, (0, 0.0))
        return count if count and self._monotonic() - last < self._ttl else 0

    def __len__(self) -> int:
        return len(self._counts)

    def _sweep(self, now: float) -> None:
        self._next_sweep = now + self._ttl / 2
        for item in [item for item, (_, last) in self._counts.items() if now - last >= self._ttl]:
            self._counts.pop(item, None)


class ItemExponentialFailureRateLimiter:
    """``base_delay * 2**failures``, at most ``max_delay``; exact, without jitter (W14).

    :param base_delay: seconds after the first failure.
    :param max_delay: upper bound in seconds.
    :param expire_after: seconds after which an item that neither failed again nor was forgotten starts
        afresh; by default twice ``max_delay``, but at least ten minutes.
    """

    def __init__(
        self,
        base_delay: float = 0.005,
        max_delay: float = 1000.0,
        *,
        expire_after: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        _require(base_delay > 0, f"base_delay must be > 0, got {base_delay}")
        _require(max_delay >= base_delay, f"max_delay {max_delay} is below base_delay {base_delay}")
        self._base_delay = base_delay
        self._max_delay = max_delay
        self._failures = _FailureCounts(_ttl(expire_after, max_delay), clock or SYSTEM)

    def when(self, item: Hashable) -> float:
        failures = self._failures.increment(item)
        # 2.0**1024 overflows a float; every sensible cap is reached long before.
        return min(self._base_delay * 2.0 ** min(failures, 1000), self._max_delay)

    def forget(self, item: Hashable) -> None:
        self._failures.forget(item)

    def num_requeues(self, item: Hashable) -> int:
        return self._failures.get(item)


class ItemFastSlowRateLimiter:
    """``fast_delay`` for the first ``max_fast_attempts`` failures of an item, then ``slow_delay`` (W14)."""

    def __init__(
        self,
        fast_delay: float,
        slow_delay: float,
        max_fast_attempts: int,
        *,
        expire_after: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        _require(fast_delay >= 0, f"fast_delay must be >= 0, got {fast_delay}")
        _require(slow_delay >= 0, f"slow_delay must be >= 0, got {slow_delay}")
        self._fast_delay = fast_delay
        self._slow_delay = slow_delay
        self._max_fast_attempts = max_fast_attempts
        ttl = _ttl(expire_after, max(fast_delay, slow_delay))
        self._failures = _FailureCounts(ttl, clock or SYSTEM)

    def when(self, item: Hashable) -> float:
        failures = self._failures.increment(item)
        return self._fast_delay if failures < self._max_fast_attempts else self._slow_delay

    def forget(self, item: Hashable) -> None:
        self._failures.forget(item)

    def num_requeues(self, item: Hashable) -> int:
        return self._failures.get(item)


class BucketRateLimiter:
    """One token bucket for all items: ``qps`` tokens a second, ``burst`` at once.

    Each call reserves a token, so answers grow without bound while callers come faster than ``qps``: with 10
    and 100, the 101st immediate call waits 100 ms, the 102nd 200 ms (W14). Nothing is counted per item.
    """

    def __init__(self, qps: float, burst: int, *, clock: Clock | None = None) -> None:
        self._bucket = TokenBucket(qps, burst, clock=clock)

    def when(self, item: Hashable) -> float:  # noqa: ARG002 - one bucket for all
        return self._bucket.reserve()

    def forget(self, item: Hashable) -> None:
        """Nothing to forget: a reserved token is spent."""

    def num_requeues(self, item: Hashable) -> int:  # noqa: ARG002 - one bucket for all
        return 0


class MaxOfRateLimiter:
    """The longest of several answers. Every limiter is asked, so each counts the failure (W14)."""

    def __init__(self, *limiters: RateLimiter) -> None:
        _require(bool(limiters), "MaxOfRateLimiter needs at least one limiter")
        self._limiters = limiters

    def when(self, item: Hashable) -> float:
        return max([limiter.when(item) for limiter in self._limiters])

    def forget(self, item: Hashable) -> None:
        for limiter in self._limiters:
            limiter.forget(item)

    def num_requeues(self, item: Hashable) -> int:
        return max(limiter.num_requeues(item) for limiter in self._limiters)


class WithMaxWaitRateLimiter:
    """Another limiter's answer, at most ``max_delay`` seconds."""

    def __init__(self, limiter: RateLimiter, max_delay: float) -> None:
        _require(max_delay >= 0, f"max_delay must be >= 0, got {max_delay}")
        self._limiter = limiter
        self._max_delay = max_delay

    def when(self, item: Hashable) -> float:
        return min(self._limiter.when(item), self._max_delay)

    def forget(self, item: Hashable) -> None:
        self._limiter.forget(item)

    def num_requeues(self, item: Hashable) -> int:
        return self._limiter.num_requeues(item)


class _Jittered:
    """Another limiter's answer, made longer by a random share of it, up to ``share``."""

    def __init__(self, limiter: RateLimiter, share: float) -> None:
        self._limiter = limiter
        self._share = share

    def when(self, item: Hashable) -> float:
        return self._limiter.when(item) * (1.0 + random.random() * self._share)  # noqa: S311 - no secret

    def forget(self, item: Hashable) -> None:
        self._limiter.forget(item)

    def num_requeues(self, item: Hashable) -> int:
        return self._limiter.num_requeues(item)


def default_controller_rate_limiter(
    base_delay: float = 0.005,
    max_delay: float = 1000.0,
    qps: float = 10.0,
    burst: int = 100,
    *,
    clock: Clock | None = None,
) -> RateLimiter:
    """Exponential per item, jittered by up to +50%, and at most ``qps`` retries a second over all items.

    QUIRK: client-go has no jitter here, so what failed together is retried together for ever. The jitter comes
    after the cap: items at the cap are spread too, up to 1.5 times ``max_delay``.
    """
    exponential = ItemExponentialFailureRateLimiter(base_delay, max_delay, clock=clock)
    return MaxOfRateLimiter(_Jittered(exponential, 0.5), BucketRateLimiter(qps, burst, clock=clock))


def _ttl(expire_after: float | None, longest_delay: float) -> float:
    if expire_after is None:
        return max(2 * longest_delay, _MIN_TTL)
    _require(expire_after > 0, f"expire_after must be > 0, got {expire_after}")
    return expire_after


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
