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
        self._warm = False
        self._started = False
        self._stopping = False

    def add(self, unit: Unit) -> None:
        """:raises RuntimeError: the group is stopping or has stopped."""
        with self._lock:
            if self._stopping:
                raise RuntimeError(f"{unit.name} cannot be added: the manager is stopping")
            if self._started:
                unit.start()
            elif self._warm:
                unit.warm_up()
            self._units.append(unit)  # only what could be started is waited for

    def warm_up(self) -> None:
        """Have all units do what may be done before :meth:`start`."""
        with self._lock:
            if self._warm or self._stopping:
                return
            self._warm = True
            for unit in self._units:
                unit.warm_up()

    def start(self) -> None:
        """Start all units. Nothing is started if the group was stopped before (M5)."""
        with self._lock:
            if self._started or self._stopping:
                return
            self._started = True
            for unit in self._units:
                unit.start()

    def stop(self, only: Callable[[Unit], bool] = lambda _unit: True) -> None:
        """Tell the units to stop, also those that never started, and refuse new ones. Returns at once."""
        with self._lock:
            self._stopping = True
            units = [unit for unit in self._units if only(unit)]
        for unit in units:
            unit.stop()

    def join(self, seconds_left: Callable[[], float | None]) -> list[Unit]:
        """Wait for the units, after :meth:`stop`.

        :param seconds_left: how long to wait in all, asked again for each unit; None: for ever.
        :returns: those that still run.
        """
        with self._lock:
            units = list(self._units)
        return [unit for unit in units if not unit.join(seconds_left())]
