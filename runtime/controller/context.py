"""What a reconcile is given besides its request."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeAlias

from runtime.client import Client, NotFound, Unstructured, Write
from runtime.clock import Clock
from runtime.controller.applier import Action, Applied, Applier, SettledMemory
from runtime.controller.environment import CacheNotReady, SharedCaches
from runtime.controller.patches import patch_status
from runtime.controller.upsert import Mutate, Upserted, create_or_patch, create_or_update
from runtime.informer import Lister
from runtime.logging import Logger
from runtime.record import EventRecorder
from runtime.types import GVR, JSONMapping, Request, Result

__all__ = ["ReconcileContext", "Reconciler", "Surroundings"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the reconciles of a controller have in common.

    :ivar client: obeys the shutdown already.
    :ivar wrote: told each write that is made through the client of a context.
    """

    client: Client
    caches: SharedCaches
    recorder: EventRecorder
    log: Logger
    stop: threading.Event
    clock: Clock
    field_manager: str
    settled: SettledMemory
    wrote: Callable[[Request, Write], None]


class ReconcileContext:
    """The surroundings of one reconcile. Valid until it returns; for the thread that runs it, and those it starts.

    What costs something is made when it is used first: a reconcile that finds nothing to do pays for nothing.

    :ivar recorder: for events on the object.
    :ivar stop: set when the controller stops. Finish what a write or two will finish; begin no long wait, or wait
        on this.
    :ivar deadline: when this reconcile should have returned, a time of ``clock.monotonic()``; None: no limit.
    :ivar clock: the time of the manager.
    :ivar field_manager: the name our fields are applied under.
    """

    __slots__ = (
        "__dict__",
        "_client_deadline",
        "_request",
        "_surroundings",
        "clock",
        "deadline",
        "field_manager",
        "recorder",
        "stop",
    )

    def __init__(self, request: Request, surroundings: Surroundings, timeout: float | None) -> None:
        self.recorder = surroundings.recorder
        self.stop = surroundings.stop
        self.clock = surroundings.clock
        self.field_manager = surroundings.field_manager
        self.deadline: float | None = None
        self._client_deadline: float | None = None
        if timeout is not None:
            self.deadline = self.clock.monotonic() + timeout
            # The client may keep another time.
            self._client_deadline = surroundings.client.clock.monotonic() + timeout
        self._request = request
        self._surroundings = surroundings

    @cached_property
    def client(self) -> Client:
        """Writes, and reads that must be newer than the cache.

        Its calls raise :class:`~runtime.client.DeadlineExceeded` after :attr:`deadline`, and
        :class:`~runtime.client.Cancelled` once the process may wait for this reconcile no longer: the grace period is
        over, or leadership is lost. The next reconcile of this key waits until the caches show what it wrote;
        ``ctx.client.unobserved()`` writes what is not waited for.
        """
        client = self._surroundings.client
        if self._client_deadline is not None:
            client = client.bound(deadline=self._client_deadline)
        return client.observed(partial(self._surroundings.wrote, self._request))

    @cached_property
    def reconcile_id(self) -> str:
        """Unique to this run (C11)."""
        return str(uuid.uuid4())

    @cached_property
    def log(self) -> Logger:
        """With controller, namespace, name and reconcileID bound."""
        namespace, name = self._request
        return self._surroundings.log.bind(namespace=namespace, name=name, reconcileID=self.reconcile_id)

    @cached_property
    def _applier(self) -> Applier:
        mine = self._surroundings
        return Applier(self.client, mine.caches.lister, mine.field_manager, mine.settled)

    def lister(self, gvr: GVR) -> Lister:
        """The cache of a resource.

        Those that the controller watches are complete before it works; one that only ``mgr.informer(gvr)`` declared
        may not be.

        :raises LookupError: nobody has declared it, by ``for_``, ``owns``, ``watches`` or ``mgr.informer(gvr)``.
        :raises CacheNotReady: it is not complete yet. Let it out: the reconcile is tried again.
        """
        return self._surroundings.caches.lister(gvr)

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
        resource_version: str | None = None,
    ) -> Applied:
        """Bring a child to ``desired``, without a request if it is there: see :meth:`Applier.apply`."""
        return self._applier.apply(
            gvr, desired, owner=owner, force=force, adopt=adopt, resource_version=resource_version
        )

    def would_apply(self, gvr: GVR, desired: JSONMapping, *, owner: Unstructured | None = None) -> Action:
        """What :meth:`apply` would do, doing nothing: see :meth:`Applier.would_do`."""
        return self._applier.would_do(gvr, desired, owner=owner)

    def create_or_update(self, gvr: GVR, initial: JSONMapping, mutate: Mutate) -> Upserted:
        """Create an object or replace it by what ``mutate`` makes of it, without a request if that is what the cache
        shows: see :func:`create_or_update`."""
        return create_or_update(self.client, gvr, initial, mutate, cached=self._cached(gvr, initial))

    def create_or_patch(self, gvr: GVR, initial: JSONMapping, mutate: Mutate) -> Upserted:
        """The same by patches, of object and status: see :func:`create_or_patch`."""
        return create_or_patch(self.client, gvr, initial, mutate, cached=self._cached(gvr, initial))

    def patch_status(self, gvr: GVR, obj: Unstructured, status: JSONMapping) -> Unstructured:
        """Bring ``obj.status`` to ``status``, without a request if it is there: see :func:`patch_status`."""
        return patch_status(self.client, gvr, obj, status)

    def _cached(self, gvr: GVR, initial: JSONMapping) -> Unstructured | None:
        metadata = initial.get("metadata") or {}
        try:
            lister = self.lister(gvr)
            namespace, name = metadata.get("namespace") or "", metadata.get("name") or ""
            return lister.namespace(namespace).get(name) if namespace else lister.get(name)
        except (NotFound, LookupError, CacheNotReady):
            return None


Reconciler: TypeAlias = Callable[[Request, ReconcileContext], Result | None]
