"""What a manager starts and stops: controllers, and functions that run beside them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, TypeAlias

from runtime.logging import get_logger

__all__ = ["FunctionUnit", "RunnableFn", "Unit"]

RunnableFn: TypeAlias = Callable[[threading.Event], object]
"""Runs until the event is set; the manager gives it the event."""

_log = get_logger("runtime.manager")


class Unit(Protocol):
    """Something with a beginning and an end. All calls return at once; ``stop`` may come twice, or without a start."""

    @property
    def name(self) -> str: ...

    def warm_up(self) -> None:
        """Do what may be done before ``start``, while another instance leads."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def join(self, timeout: float | None) -> bool:
        """After ``stop``: wait at most that many seconds; False if it still runs."""


class FunctionUnit:
    """A function in a thread of its own.

    :param after: called first, with the stop event; the function is run if it returns True.
    :param failed: told the error with which the function ended.
    """

    def __init__(
        self,
        name: str,
        fn: RunnableFn,
        after: Callable[[threading.Event], bool],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self.name = name
        self._fn = fn
        self._after = after
        self._failed = failed
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def warm_up(self) -> None:
        """Nothing: who knows what the function does."""

    def start(self) -> None:
        thread = threading.Thread(target=self._run, name=f"runnable-{self.name}", daemon=True)
        thread.start()
        self._thread = thread  # not before: it may be that it cannot be started

    def stop(self) -> None:
        self._stop.set()

    def join(self, timeout: float | None) -> bool:
        if self._thread is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            if self._after(self._stop):
                self._fn(self._stop)
        except BaseException as error:  # whatever it is, somebody waits to be told
            if self._stop.is_set():
                _log.warning("runnable failed while stopping", runnable=self.name, error=repr(error))
            else:
                self._failed(self.name, error)
