"""What process 1 of a container owes: processes whose parent has ended become its children, and stay as zombies until
it has asked how they ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable
from typing import Final

from membership.xline.procfs import own_children, state_of
from runtime.logging import get_logger

_log = get_logger(__name__)

PERIOD: Final = 5.0  # seconds between looks
_PR_SET_CHILD_SUBREAPER = 36


class Reaper:
    """Reaps children that nobody waits for: those which are zombies in two looks in a row.

    One that was started by this process is waited for by whoever has started it, at once.

    :param own: the number of a child that is never touched.
    """

    def __init__(self, own: Callable[[], int | None], period: float = PERIOD) -> None:
        self._own = own
        self._period = period
        self._stop = threading.Event()
        self._seen: set[int] = set()
        self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)

    def start(self) -> None:
        """Also makes this process the parent of orphans where it is not process 1."""
        if os.getpid() != 1 and ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            _log.debug("orphans are left to process 1", error=os.strerror(ctypes.get_errno()))
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._period):
            self._look()

    def _look(self) -> None:
        zombies = {pid for pid in own_children() if pid != self._own() and _is_zombie(pid)}
        for pid in zombies & self._seen:
            with contextlib.suppress(ChildProcessError):
                reaped, status = os.waitpid(pid, os.WNOHANG)
                if reaped:
                    _log.debug("reaped", pid=pid, code=os.waitstatus_to_exitcode(status))
        self._seen = zombies


def _is_zombie(pid: int) -> bool:
    state = state_of(pid)
    return state is not None and state.state == "Z"
