"""When a manager is ready: its caches are complete and its controllers work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from runtime.controller import Controller
from runtime.informer import SharedIndexInformer
from runtime.manager.cache import Cache
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
        blockers = self._caches.blockers()
        if blockers:
            raise RuntimeError("; ".join(f"{lack.where}: {lack.why}" for lack in blockers))
        return "\n".join(line for cache in self._caches.all() for line in _described(cache))

    def _fresh(self) -> None:
        """No cache may be so old that acting on it does harm (complaint 2 of client-go.md)."""
        old = []
        for cache in self._caches.all():
            for namespace, informer in cache.informers().items():
                if informer.refused and not cache.required:
                    continue  # we do without it
                age = informer.sync_state.contact_age or 0.0  # of one that never was complete the other check tells
                if self._max_age is not None and age > self._max_age:
                    where = cache.name_of(namespace)
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


def _described(cache: Cache) -> Iterator[str]:
    """A line for each part of a cache."""
    optional = "" if cache.required else " (optional)"
    lacks = cache.lacks()
    missing = {lack.where for lack in lacks}
    for lack in lacks:
        yield f"{lack.where}{optional}: not cached: {lack.why}"
    for namespace, informer in cache.informers().items():
        if cache.name_of(namespace) not in missing:
            yield f"{cache.name_of(namespace)}{optional}: {_told(informer)}"


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
