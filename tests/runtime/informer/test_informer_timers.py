"""What is due when, while that changes."""

from __future__ import annotations

import threading

from runtime.informer.timers import Timers
from runtime.testing import FakeClock


def test_a_change_while_the_thread_looks_what_is_due_is_not_missed() -> None:
    due: list[float] = []
    stale, worked = threading.Event(), threading.Event()

    def next_due() -> float | None:
        known = min(due, default=None)
        if threading.current_thread().name == "timers" and not stale.is_set():
            stale.set()
            due[:] = [0.0]
            timers.changed()
            return None  # which was so before
        return known

    def work() -> None:
        due.clear()
        worked.set()

    timers = Timers("timers", next_due, work, FakeClock())
    timers.start()
    due.append(100.0)
    timers.changed()
    assert worked.wait(15)
    timers.stop()
    timers.join()
    assert "timers" not in {thread.name for thread in threading.enumerate()}
