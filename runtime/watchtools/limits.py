"""Ending a blocking wait from outside: by time, or by a stop event."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Self

from runtime.client import Cancelled, ClientError, WatchEvent
from runtime.clock import SYSTEM, Clock

_GLANCE = 0.1  # seconds between looks at the stop event: only one event can be waited for


class WaitTimeout(TimeoutError):
    """The conditions were not met in time.

    :ivar last_event: the newest event there was; None without any.
    """

    def __init__(self, message: str, last_event: WatchEvent | None) -> None:
        super().__init__(message)
        self.last_event = last_event


class WatchClosed(ClientError):
    """The watch ended before the conditions were met."""


class Limit:
    """While the block runs ``close`` is called once the time is up or ``stop`` is set, from a thread of its own.

    :param timeout: seconds in the clock's time; None: no limit.
    """

    def __init__(
        self, close: Callable[[], None], timeout: float | None, stop: threading.Event | None, clock: Clock | None
    ) -> None:
        self._close = close
        self._stop = stop
        self._clock = clock or SYSTEM
        self._ends = None if timeout is None else self._clock.monotonic() + timeout
        self._timeout = timeout
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._timed_out = False

    def __enter__(self) -> Self:
        if self._stopped():
            raise Cancelled("not waited, because the caller is stopping")
        if self._ends is not None or self._stop is not None:
            self._thread = threading.Thread(target=self._run, name="watchtools/limit", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def check(self, last_event: WatchEvent | None) -> None:
        """Raise if the limit was reached.

        :raises WaitTimeout: the time is up.
        :raises Cancelled: the caller is stopping.
        """
        if self._timed_out:
            newest = "there was no event" if last_event is None else f"the last event: {_told(last_event)}"
            raise WaitTimeout(f"not met within {self._timeout} s; {newest}", last_event)
        if self._stopped():
            raise Cancelled("the wait was given up, because the caller is stopping")

    def _stopped(self) -> bool:
        return self._stop is not None and self._stop.is_set()

    def _run(self) -> None:
        while not self._stopped():
            left = None if self._ends is None else self._ends - self._clock.monotonic()
            if left is not None and left <= 0:
                self._timed_out = True
                break
            if self._stop is not None:
                left = _GLANCE if left is None else min(left, _GLANCE)
            if self._clock.wait_event(self._done, left):
                return
        self._close()


def _told(event: WatchEvent) -> str:
    obj = event.object
    return f"{event.type} {obj.kind} {obj.key} at {obj.resource_version}"
