"""Knowing when everything that was there at the start has been reconciled once (complaint 13 of client-go.md)."""

from __future__ import annotations

from runtime.informer import AsyncTracker
from runtime.informer.sync import Latch
from runtime.types import Request

__all__ = ["FirstPass"]


class FirstPass:
    """The third of three things that are easily mistaken for one another, each of which can be waited for.

    An informer has synced when its cache is complete, a registration when its handler has been called for all of it;
    and the first pass is over when the reconcile has returned once for each key that the initial lists led to, be it in
    vain. It cannot be over before the workers begin. All three go into
    :func:`runtime.informer.wait_for_cache_sync`. Thread-safe.
    """

    def __init__(self) -> None:
        self._complete = Latch()
        self._tracker: AsyncTracker[Request] = AsyncTracker()
        self._tracker.follow(_Upstream(self._complete))

    def has_synced(self) -> bool:
        """Whether it is over; stays True."""
        return self._tracker.has_synced()

    @property
    def sync_latch(self) -> Latch:
        return self._tracker.sync_latch

    # What the controller calls

    def expect(self, request: Request) -> None:
        """This key is part of it; too late once it is over."""
        if not self._complete:
            self._tracker.start(request)

    def expects_no_more(self) -> None:
        self._complete.set()

    def finished(self, request: Request) -> None:
        if not self._tracker.has_synced():
            self._tracker.finished(request)

    def give_up(self) -> None:
        """It will never be over; no effect if it is."""
        self._tracker.sync_latch.give_up()


class _Upstream:
    def __init__(self, latch: Latch) -> None:
        self.sync_latch = latch
