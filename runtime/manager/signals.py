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
_END: Final = 0  # no signal has this number


class SignalWatch:
    """While entered in the main thread, notices SIGTERM and SIGINT; in other threads it does nothing.

    A thread of its own reads them from the file descriptor that CPython's C handler writes to. A handler in Python
    would run in the main thread only, and not before what blocks there returns: a signal that comes just before the
    main thread waits for a lock, say to join a worker, is seen when that wait is over.

    A process that is forked meanwhile has the signal handlers of before: SIGTERM ends it, and nobody else.

    :param on_signal: called once, by that thread, when the first has come and :attr:`received` is set.
    """

    def __init__(self, on_signal: Callable[[], None]) -> None:
        self.received: signal.Signals | None = None
        self._on_signal = on_signal
        self._previous: dict[signal.Signals, _Handler] = {}
        self._previous_fd = -1
        self._writer = -1
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            reader, self._writer = os.pipe()
            os.set_blocking(self._writer, False)
            self._thread = threading.Thread(target=self._watch, args=(reader,), name="signals", daemon=True)
            self._thread.start()
            _entered.append(self)
            self._previous_fd = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
            for number in _SIGNALS:
                self._previous[number] = signal.signal(number, _nothing)
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._put_back()
        if self._thread is not None:
            _entered.remove(self)
            signal.set_wakeup_fd(self._previous_fd)
            os.set_blocking(self._writer, True)
            os.write(self._writer, bytes([_END]))  # a process that was forked may keep the pipe open
            self._thread.join()
            os.close(self._writer)
            self._thread = None

    def _put_back(self) -> None:
        for number, previous in self._previous.items():
            # None: it was not set by Python, and cannot be set back.
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
        self._previous.clear()

    def _forked(self) -> None:
        """In the child. What it would write to the pipe, its parent would read."""
        signal.set_wakeup_fd(-1)
        self._put_back()
        self._thread = None

    def _watch(self, reader: int) -> None:
        with open(reader, "rb", buffering=0) as pipe:
            while (written := pipe.read(1)) and written[0] != _END:
                if written[0] not in _SIGNALS:
                    continue  # of a signal that somebody else handles
                if self.received is not None:
                    # Somebody is in a hurry. No exception: it could be caught, and threads would keep the process.
                    os._exit(128 + written[0])
                self.received = signal.Signals(written[0])
                self._on_signal()


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """For CPython to write to the file descriptor, a signal needs a handler in Python."""


_entered: list[SignalWatch] = []  # the main thread's


def _after_fork() -> None:
    while _entered:
        _entered.pop()._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
