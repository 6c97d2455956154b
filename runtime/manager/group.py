"""A set of units that start together and stop together (M4)."""

from __future__ import annotations

import threading
from collections.abc import Callable

from runtime.manager.units import Unit

__all__ = ["Group"]


class Group:
    """Units added before :meth:`start` wait for it; later ones start at once. Thread-safe.

    :param name: for messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()  # guards everything below
        self._units: list[Unit] = []
        self._running: list[Unit] = []
        self._started = False
        self._stopping = False

    def add(self, unit: Unit) -> None:
        """:raises RuntimeError: the group is stopping or has stopped."""
        with self._lock:
            if self._stopping:
                raise RuntimeError(f"{unit.name} cannot be added: the manager is stopping")
            self._units.append(unit)
            if self._started:
                self._begin(unit)

    def start(self) -> None:
        """Start all units. Nothing is started if the group was stopped before (M5)."""
        with self._lock:
            if self._started or self._stopping:
                return
            self._started = True
            for unit in self._units:
                self._begin(unit)

    def stop(self, only: Callable[[Unit], bool] = lambda _unit: True) -> None:
        """Tell the running units to stop, and refuse new ones. Returns at once."""
        with self._lock:
            self._stopping = True
            running = [unit for unit in self._running if only(unit)]
        for unit in running:
            unit.stop()

    def join(self, seconds_left: Callable[[], float | None]) -> list[Unit]:
        """Wait for the units that were started.

        :param seconds_left: how long to wait in all, asked again for each unit; None: for ever.
        :returns: those that still run.
        """
        with self._lock:
            running = list(self._running)
        return [unit for unit in running if not unit.join(seconds_left())]

    def _begin(self, unit: Unit) -> None:
        unit.start()
        self._running.append(unit)
