"""A step that is done again and again, in a thread of its own."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Final

from runtime.clock import Clock
from runtime.logging import get_logger

_AFTER_BUG: Final = 5.0  # seconds until the next step after one that raised

_log = get_logger(__name__)


class Loop:
    """Calls ``step`` until it is stopped; what a step raises is logged, and the next one comes after 5 s.

    :param name: of the thread.
    :param step: returns how many seconds later the next one shall be; ``None``: when woken.
    :param first: seconds until the first one; ``None``: when woken.
    """

    def __init__(self, name: str, step: Callable[[], float | None], clock: Clock, *, first: float | None = 0.0) -> None:
        self._step = step
        self._clock = clock
        self._first = first
        self._woken = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def stopped(self) -> bool:
        """No step begins any more; one may be under way."""
        return self._stopped

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Have a step begin now, or as soon as the one under way has ended."""
        self._woken.set()

    def stop(self) -> None:
        """Begin no step any more; does not wait for the one under way."""
        self._stopped = True
        self._woken.set()

    def join(self, timeout: float) -> bool:
        """Whether the thread has ended, or was never started, or is the caller's; waits so many seconds at most."""
        if self._thread.ident is None or self._thread is threading.current_thread():
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        delay = self._first
        while True:
            self._clock.wait_event(self._woken, delay)
            self._woken.clear()
            if self._stopped:
                return
            try:
                delay = self._step()
            except Exception as error:
                _log.exception("a step failed", loop=self._thread.name, exc_info=error)
                delay = _AFTER_BUG


def backoff(failures: int, first: float, longest: float) -> float:
    """Seconds to wait after so many failures in a row: doubled with each, the last half of them random, so that many
    who fail together do not come back together."""
    wait = float(min(longest, first * 2 ** min(max(failures - 1, 0), 30)))
    return wait * random.uniform(0.5, 1.0)  # noqa: S311  # not for secrets
