"""When a manager is ready: its caches are complete and its controllers work."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from runtime.controller import Controller
from runtime.informer import SharedIndexInformer
from runtime.manager.caches import Caches
from runtime.manager.health import HealthChecks, NamedCheck
from runtime.manager.lifecycle import Lifecycle

__all__ = ["ReadinessChecks"]


class ReadinessChecks:
    """The manager's own checks in ``/readyz``. A standby that waits for the election is ready.

    :param max_age: seconds, see ``max_cache_age`` of the manager.
    """

    def __init__(
        self,
        caches: Caches,
        lifecycle: Lifecycle,
        controllers: Callable[[], Sequence[Controller]],
        max_age: float | None,
    ) -> None:
        self._caches = caches
        self._lifecycle = lifecycle
        self._controllers = controllers
        self._max_age = max_age

    def install(self, checks: HealthChecks) -> None:
        checks.add(NamedCheck("manager", self._manager))
        checks.add(NamedCheck("caches", self._complete))
        checks.add(NamedCheck("controllers", self._working))
        if self._max_age is not None:
            checks.add(NamedCheck("fresh-caches", self._fresh))

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

    def _fresh(self) -> None:
        """No cache may be so old that acting on it does harm (complaint 2 of client-go.md)."""
        old = []
        for where, informer in self._caches.by_name().items():
            age = informer.sync_state.contact_age or 0.0  # of one that never was complete the other check tells
            if self._max_age is not None and age > self._max_age:
                old.append(f"{where}: nothing heard of it for {age:.0f} s, {_told(informer)}")
        if old:
            raise RuntimeError("; ".join(old))

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
