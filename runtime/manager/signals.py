"""SIGTERM and SIGINT end the process in order; a second one ends it at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final, Self, TypeAlias

__all__ = ["SignalWatch"]

_Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class SignalWatch:
    """While entered in the main thread, notices SIGTERM and SIGINT; in other threads it does nothing.

    The handler sets a plain attribute and takes no lock: it runs between any two instructions of the main thread,
    which may hold the very lock it would need. So who waits for :attr:`received` has to look now and then.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, _Handler] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        for number, previous in self._previous.items():
            # None: it was not set by Python, and cannot be set back.
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
        self._previous.clear()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.received is not None:
            # Somebody is in a hurry. No exception: it could be caught, and threads would keep the process.
            os._exit(128 + number)
        self.received = signal.Signals(number)
