"""When a manager is ready: its caches are complete and its controllers work."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from runtime.controller import Controller
from runtime.manager.caches import Caches
from runtime.manager.health import HealthChecks
from runtime.manager.lifecycle import Lifecycle

__all__ = ["ReadinessChecks"]


class ReadinessChecks:
    """The manager's own checks in ``/readyz``. A standby that waits for the election is ready."""

    def __init__(self, caches: Caches, lifecycle: Lifecycle, controllers: Callable[[], Sequence[Controller]]) -> None:
        self._caches = caches
        self._lifecycle = lifecycle
        self._controllers = controllers

    def install(self, checks: HealthChecks) -> None:
        checks.add("manager", self._manager)
        checks.add("caches", self._complete)
        checks.add("controllers", self._working)

    def _manager(self) -> None:
        state = self._lifecycle.state
        if state != "running":
            raise RuntimeError({"new": "not started yet", "stopping": "shutting down"}[state])

    def _complete(self) -> None:
        waiting = self._caches.waiting()
        if waiting:
            raise RuntimeError("; ".join(f"{gvr}: {reason}" for gvr, reason in waiting.items()))

    def _working(self) -> None:
        """Controllers that were started, but still wait for a source."""
        waiting = [
            f"{controller.name} waits for {gvr}: {reason}"
            for controller in self._controllers()
            if controller.started
            for gvr, reason in controller.waiting_for().items()
        ]
        if waiting:
            raise RuntimeError("; ".join(waiting))
