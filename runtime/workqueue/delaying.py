"""Queues that hand an item out later: after a given time, or after as long as a limiter says."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

from runtime.clock import Clock
from runtime.workqueue.limiters import RateLimiter, default_controller_rate_limiter
from runtime.workqueue.queue import RETRY, Queue, ReadyOrder

T = TypeVar("T", bound=Hashable)


class DelayingQueue(Queue[T]):
    """A :class:`Queue` with :meth:`add_after`. Delays take no thread: ``get`` knows when to look again."""

    def add_after(self, item: T, delay: float) -> None:
        """Add ``item`` once ``delay`` seconds have passed; at once if ``delay <= 0``.

        Of several pending delays of one item the earliest counts, the others are dropped (W9). A delay that
        ends while the item is queued changes nothing. Pending delays are dropped at shut-down (W11).
        """
        self._leave_note(RETRY, item, 0, delay)


class RateLimitingQueue(DelayingQueue[T]):
    """A :class:`DelayingQueue` whose failed items come back at the pace a limiter sets.

    :param rate_limiter: shared with nobody else; ``None`` means :func:`default_controller_rate_limiter`.
    """

    def __init__(
        self,
        rate_limiter: RateLimiter | None = None,
        name: str = "",
        clock: Clock | None = None,
        *,
        order: Callable[[], ReadyOrder[T]] | None = None,
    ) -> None:
        super().__init__(name, clock, order=order)
        self._rate_limiter = rate_limiter or default_controller_rate_limiter(clock=clock)

    def add_rate_limited(self, item: T) -> None:
        """Count a failure of ``item`` and add it after the delay the limiter answers with (W13)."""
        self.add_after(item, self._rate_limiter.when(item))

    def forget(self, item: T) -> None:
        """Its next failure counts as the first. A pending delayed add stays (W13)."""
        self._rate_limiter.forget(item)

    def num_requeues(self, item: T) -> int:
        """How many failures of ``item`` the limiter counts."""
        return self._rate_limiter.num_requeues(item)
