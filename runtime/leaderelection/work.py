"""The leader's work in its own thread."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Work:
    """Runs ``function(stop)`` once. ``stop`` is set to end it, ``ended`` when it has."""

    def __init__(self, name: str, function: Callable[[threading.Event], object]) -> None:
        self.stop = threading.Event()
        self.ended = threading.Event()
        self._function = function
        self._error: BaseException | None = None
        # A daemon: work that never ends must not keep a process alive whose leadership is over.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def failed(self) -> bool:
        """Whether the function raised."""
        return self._error is not None

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
        finally:
            self.ended.set()
