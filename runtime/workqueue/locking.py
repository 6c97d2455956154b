"""How to take a lock that is held for microseconds only, without forming a convoy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

_PATIENCE: Final = 100  # tries; whoever holds the lock for longer is busy, not preempted
_NAP: Final = 0.0005  # seconds


def attempt(lock: threading.Lock) -> Callable[[], bool]:
    """What tries to take ``lock`` and never waits; True: it has.

    A thread may lose CPython's global lock while it holds ``lock``. If the others blocked on it then, each release
    would wake one of them, which owns ``lock`` at once but not the global lock, so the next would block as
    well: a convoy that does not dissolve, and costs three switches of threads for each microsecond of work. Who gives
    up the global lock between two tries lets the holder finish, and finds ``lock`` free.

    Take it like this, and no other way::

        tries = 0
        for _ in iter(attempt, True):
            tries = give_way(tries)
        try:
            ...
        finally:
            lock.release()

    CPython lets a signal's handler raise after a call that is written out, and when a loop returns to its head. So
    ``while not attempt()`` could take the lock and lose it; what ``for`` calls itself cannot.
    """
    return partial(lock.acquire, False)


def give_way(tries: int) -> int:
    """Let the lock's holder run; ``tries`` were made before. Returns one more."""
    time.sleep(0 if tries < _PATIENCE else _NAP)
    return tries + 1
