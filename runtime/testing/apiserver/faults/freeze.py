"""The server stands still, like a process that is stopped: connections are kept, and nothing is answered or sent."""

from __future__ import annotations

import threading

from runtime.clock import Clock


class Freeze:
    """Thread-safe.

    :param stopping: nobody is held any more once this is set, and :meth:`resume` is called after it.
    """

    def __init__(self, clock: Clock, stopping: threading.Event) -> None:
        self._clock = clock
        self._stopping = stopping
        self._changed = threading.Condition()  # guards the next
        self._until: float | None = None  # in the clock's monotonic time; None: not paused

    @property
    def is_on(self) -> bool:
        until = self._until
        return until is not None and self._clock.monotonic() < until

    def pause(self, seconds: float = float("inf")) -> None:
        """Stand still for so long, or until :meth:`resume`; another pause meanwhile counts instead."""
        with self._changed:
            self._until = self._clock.monotonic() + seconds
            self._changed.notify_all()

    def resume(self) -> None:
        with self._changed:
            self._until = None
            self._changed.notify_all()

    def wait(self) -> None:
        """Return when the server does not stand still."""
        if self._until is None:
            return
        with self._changed:
            while self._until is not None and not self._stopping.is_set():
                left = self._until - self._clock.monotonic()
                if left <= 0:
                    self._until = None
                    self._changed.notify_all()
                else:
                    self._clock.wait(self._changed, None if left == float("inf") else left)
