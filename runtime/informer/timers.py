"""What an informer does at certain times: resyncs, and another try for quarantined objects."""

from __future__ import annotations

import threading
from collections.abc import Callable

from runtime.clock import Clock


class Timers:
    """A thread that exists only once there is something to wait for.

    :param name: of the thread.
    :param next_due: when there is something to do next, in the clock's monotonic time; None: nothing.
    :param work: does what is due.
    """

    def __init__(self, name: str, next_due: Callable[[], float | None], work: Callable[[], None], clock: Clock) -> None:
        self._name = name
        self._next_due = next_due
        self._work = work
        self._clock = clock
        self._changed = threading.Condition()  # guards everything below
        self._version = 0
        self._enabled = False
        self._stopped = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """From now on there may be a thread."""
        with self._changed:
            self._enabled = True
        self.changed()

    def changed(self) -> None:
        """What is due next may have changed. May be called under the informer's locks."""
        # Asked outside the lock, for it takes locks of the informer, under which this may be called.
        needed = self._next_due() is not None
        with self._changed:
            self._version += 1
            self._changed.notify_all()
            if needed and self._enabled and not self._stopped and self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def join(self) -> None:
        with self._changed:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                version = self._version
            due = self._next_due()
            with self._changed:
                if self._stopped:
                    return
                if self._version != version:
                    continue
                if due is None or due > self._clock.monotonic():
                    self._clock.wait(self._changed, None if due is None else due - self._clock.monotonic())
                    continue
            self._work()
