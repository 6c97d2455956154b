"""Tells who leads, in order, without holding up the election."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from runtime.logging import get_logger

_log = get_logger(__name__)
_JOIN_TIMEOUT = 5.0


class Announcer:
    """Calls ``callback`` with each new leader's identity, in a thread of its own; without a callback there is none."""

    def __init__(self, name: str, callback: Callable[[str], object] | None) -> None:
        self._callback = callback
        self._leaders: SimpleQueue[str | None] = SimpleQueue()
        self._announced = ""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        if self._callback is not None:
            self._thread.start()

    def announce(self, leader: str) -> None:
        """Note who leads now; ``""`` (nobody) and the leader of before are no news."""
        if leader and leader != self._announced:
            self._announced = leader
            self._leaders.put(leader)

    def stop(self) -> None:
        """Deliver what is pending and end; a callback that hangs is left behind after some seconds."""
        if self._callback is None:
            return
        self._leaders.put(None)
        self._thread.join(_JOIN_TIMEOUT)
        if self._thread.is_alive():
            _log.error("on_new_leader does not return", thread=self._thread.name)

    def _run(self) -> None:
        callback = self._callback
        while callback is not None and (leader := self._leaders.get()) is not None:
            try:
                callback(leader)
            except Exception:
                _log.exception("on_new_leader failed", leader=leader)
