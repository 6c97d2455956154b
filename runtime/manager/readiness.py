"""When a manager is ready: its caches are complete and its controllers work."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from runtime.controller import Controller
from runtime.informer import SharedIndexInformer
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

    def _complete(self) -> str:
        """All caches hold a complete state. That one is old does not make the manager unready, but is shown."""
        waiting = self._caches.waiting()
        if waiting:
            raise RuntimeError("; ".join(f"{where}: {reason}" for where, reason in waiting.items()))
        return "\n".join(f"{where}: {_told(informer)}" for where, informer in self._caches.by_name().items())

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


def _told(informer: SharedIndexInformer) -> str:
    """How fresh a cache is, in one line."""
    state = informer.sync_state
    parts = ["connected" if state.connected else "not connected"]
    for what, age in (("event", state.event_age), ("bookmark", state.bookmark_age)):
        parts.append(f"no {what} yet" if age is None else f"last {what} {age:.0f} s ago")
    if state.quarantined:
        parts.append(f"{len(state.quarantined)} objects quarantined")
    if state.last_error is not None and state.last_error_at is not None:
        parts.append(f"last error at {state.last_error_at.isoformat(timespec='seconds')}: {state.last_error}")
    return ", ".join(parts)
