"""Ends what shows no sign of life for too long, however long all of it may take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType


class Watchdog:
    """Calls ``bite`` in a thread of its own once it has been watching for ``seconds`` without a rest.

    Used as a context manager, in one thread; it watches from the beginning.

    :ivar bitten: whether it has come to that.
    """

    def __init__(self, seconds: float, bite: Callable[[], object]) -> None:
        self.bitten = False
        self._seconds = seconds
        self._bite = bite
        self._changed = threading.Condition()
        self._watching_since: float | None = time.monotonic()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="xline-snapshot-watchdog", daemon=True)

    def watch(self) -> None:
        """Begin to wait for the next sign of life."""
        self._set(time.monotonic())

    def rest(self) -> None:
        """There was one; what comes now may take any time."""
        self._set(None)

    def _set(self, since: float | None) -> None:
        with self._changed:
            self._watching_since = since
            self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while not self._ended:
                left = None
                if self._watching_since is not None:
                    left = self._watching_since + self._seconds - time.monotonic()
                    if left <= 0:
                        self.bitten = True
                        break
                self._changed.wait(left)
        if self.bitten:
            self._bite()

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()
