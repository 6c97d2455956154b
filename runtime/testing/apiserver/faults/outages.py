"""A whole server that goes down and comes up again with its data."""

from __future__ import annotations

import threading
from typing import Protocol

from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.faults.freeze import Freeze


class Port(Protocol):
    """Where a server is reached."""

    def suspend(self) -> None:
        """Cut every connection, and refuse new ones."""

    def resume(self) -> None:
        """Accept connections again."""


class Outages:
    """Thread-safe.

    :ivar lives: so often the server has gone down: who began in an earlier life died with it.
    """

    def __init__(self, context: Context, freeze: Freeze) -> None:
        self._store = context.store
        self._clock = context.clock
        self._stopping = context.stopping
        self._freeze = freeze
        self._port: Port | None = None
        self._lock = threading.Lock()  # guards the next two, and is held while the port changes
        self._is_down = False
        self._restarting: list[threading.Thread] = []
        self.lives = 0

    def attach(self, port: Port) -> None:
        """This is what goes down; to be called before anything else."""
        self._port = port

    def go_down(self) -> None:
        """Like a process that is killed; no effect on a server that is down, or has been stopped."""
        with self._lock:
            if self._is_down or self._stopping.is_set():
                return
            self._is_down = True
            self.lives += 1
            assert self._port is not None
            self._port.suspend()
            self._freeze.resume()  # not before: a process that stands still says nothing more when it is killed
            self._store.wake()

    def come_up(self) -> None:
        """Like a new process on the same storage: what its watch cache has not seen it refuses with 410."""
        with self._lock:
            if not self._is_down or self._stopping.is_set():
                return
            self._is_down = False
            self._store.restarted()
            assert self._port is not None
            self._port.resume()

    def restart(self, downtime: float = 0.0) -> None:
        """Go down, and come up so many seconds later; blocks until then, or until the server stops."""
        self.go_down()
        life = self.lives
        self._clock.wait_event(self._stopping, downtime)
        if self.lives == life:  # who goes down once more meanwhile says himself how long
            self.come_up()

    def restart_soon(self, downtime: float) -> None:
        """The same in a thread: for those whom it cuts off themselves."""
        thread = threading.Thread(target=self.restart, args=(downtime,), name="apiserver-restart", daemon=True)
        with self._lock:
            if self._stopping.is_set():
                return
            self._restarting = [each for each in self._restarting if each.is_alive()]
            self._restarting.append(thread)
            thread.start()

    def stop(self) -> None:
        """Join every thread; what tells them to stop is set."""
        with self._lock:
            threads = self._restarting
        for thread in threads:
            thread.join()
