"""How to take a lock that is held for microseconds only, without forming a convoy."""

from __future__ import annotations

import threading
import time

_PATIENCE = 100  # tries; whoever holds the lock for longer is busy, not preempted


def give_way(lock: threading.Lock) -> None:
    """Let the holder of ``lock`` run until it is free, or for a while. Call it before waiting for the lock.

    A thread may lose CPython's global lock while it holds ``lock``. If the others blocked on it then, each release
    would wake one of them, which owns ``lock`` at once but not the global lock, so the next would block as
    well: a convoy that does not dissolve, and costs two switches of threads for each microsecond of work. Who gives
    up the global lock instead lets the holder finish, and finds ``lock`` free.
    """
    if lock.locked():
        for _ in range(_PATIENCE):
            time.sleep(0)
            if not lock.locked():
                return
