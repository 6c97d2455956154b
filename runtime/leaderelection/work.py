"""The leader's work in its own thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

from runtime.logging import get_logger

_log = get_logger(__name__)


class Work:
    """Runs ``function(stop)`` once. ``stop`` is set to end it, ``ended`` when it has."""

    def __init__(self, name: str, function: Callable[[threading.Event], object]) -> None:
        self.stop = threading.Event()
        self.ended = threading.Event()
        self._function = function
        self._given_up = False
        self._error: BaseException | None = None
        # A daemon: work that never ends must not keep a process alive whose leadership is over.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def failed(self) -> bool:
        """Whether the function raised."""
        return self._error is not None

    def give_up(self) -> None:
        """Nobody waits for its end any more: what it raises from now on is logged, or nobody would know."""
        self._given_up = True

    def join(self) -> None:
        self._thread.join()

    def raise_error(self) -> None:
        """Raise what the function raised, if it did."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._function(self.stop)
        except BaseException as error:
            self._error = error
            if self._given_up:
                _log.error(
                    "work failed after its leadership", work=self._thread.name, error=repr(error), exc_info=error
                )
        finally:
            self.ended.set()
