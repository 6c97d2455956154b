"""What a reconcile is given besides its request."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

from runtime.client import Client, Unstructured
from runtime.clock import Clock
from runtime.controller.applier import Applied, Applier, patch_status
from runtime.controller.environment import SharedCaches
from runtime.informer import Lister
from runtime.logging import Logger
from runtime.record import EventRecorder
from runtime.types import GVR, JSONMapping, Request, Result

__all__ = ["ReconcileContext", "Reconciler"]


class ReconcileContext:
    """The surroundings of one reconcile. Valid until it returns.

    :ivar client: writes, and reads that must be newer than the cache. Its calls raise
        :class:`~runtime.client.DeadlineExceeded` after :attr:`deadline`, and
        :class:`~runtime.client.Cancelled` once the process may wait for this reconcile no longer: the grace
        period is over, or leadership is lost.
    :ivar recorder: for events on the object.
    :ivar log: with controller, namespace, name and reconcileID bound.
    :ivar stop: set when the controller stops. Finish what a write or two will finish; begin no long wait, or wait
        on this.
    :ivar deadline: when this reconcile should have returned, a time of ``clock.monotonic()``; None: no limit.
    :ivar clock: the time of the manager.
    :ivar reconcile_id: unique to this run (C11).
    :ivar field_manager: the name our fields are applied under.
    """

    __slots__ = (
        "_applier",
        "_caches",
        "client",
        "clock",
        "deadline",
        "field_manager",
        "log",
        "reconcile_id",
        "recorder",
        "stop",
    )

    def __init__(
        self,
        *,
        client: Client,
        caches: SharedCaches,
        recorder: EventRecorder,
        log: Logger,
        stop: threading.Event,
        deadline: float | None,
        clock: Clock,
        reconcile_id: str,
        applier: Applier,
    ) -> None:
        self.client = client
        self.recorder = recorder
        self.log = log
        self.stop = stop
        self.deadline = deadline
        self.clock = clock
        self.reconcile_id = reconcile_id
        self.field_manager = applier.field_manager
        self._caches = caches
        self._applier = applier

    def lister(self, gvr: GVR) -> Lister:
        """The cache of a resource.

        Those that the controller watches are complete before it works; one that only ``mgr.informer(gvr)`` declared
        may not be.

        :raises LookupError: nobody has declared it, by ``for_``, ``owns``, ``watches`` or ``mgr.informer(gvr)``.
        :raises CacheNotReady: it is not complete yet. Let it out: the reconcile is tried again.
        """
        return self._caches.lister(gvr)

    def remaining(self) -> float | None:
        """Seconds until the deadline, never below 0; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - self.clock.monotonic())

    def apply(
        self,
        gvr: GVR,
        desired: JSONMapping,
        *,
        owner: Unstructured | None = None,
        force: bool = True,
        adopt: bool = False,
    ) -> Applied:
        """Bring a child to ``desired``, without a request if it is there: see :meth:`Applier.apply`."""
        return self._applier.apply(gvr, desired, owner=owner, force=force, adopt=adopt)

    def patch_status(self, gvr: GVR, obj: Unstructured, status: JSONMapping) -> Unstructured:
        """Bring ``obj.status`` to ``status``, without a request if it is there: see :func:`patch_status`."""
        return patch_status(self.client, gvr, obj, status)


Reconciler: TypeAlias = Callable[[Request, ReconcileContext], Result | None]
