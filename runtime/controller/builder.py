"""The chain of calls that makes a controller.

::

    (mgr.controller("foo").for_(FOO, predicates=[generation_changed]).owns(DEPLOYMENTS)
        .with_options(workers=2).complete(reconcile))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Self

from runtime.controller.context import Reconciler
from runtime.controller.controller import Controller, Options
from runtime.controller.environment import Kind, WatchedCache
from runtime.controller.external import ExternalSource
from runtime.controller.predicates import Predicate
from runtime.controller.sources import ChangeMapper, MapFunc, Source, map_object, map_owner, map_with
from runtime.types import GVR
from runtime.workqueue.limiters import RateLimiter

__all__ = ["ControllerBuilder"]


class ControllerBuilder:
    """Collects what a controller watches and how it runs. Nothing starts before :meth:`complete`.

    :param register: makes the controller and takes it into the manager.
    """

    def __init__(self, name: str, register: Callable[[str, list[Source], Reconciler, Options], Controller]) -> None:
        self._name = name
        self._register = register
        self._for: GVR | None = None
        self._sources: list[Source] = []
        self._external: list[ExternalSource] = []
        self._options = Options()
        self._completed = False

    def for_(self, gvr: GVR, *, predicates: Iterable[Predicate] = ()) -> Self:
        """Reconcile the objects of this resource. At most once per controller.

        :raises ValueError: it was called before.
        """
        if self._for is not None:
            raise ValueError(
                f"controller {self._name}: for_() was called for {self._for} already; "
                f"use watches() for {gvr}, or a second controller"
            )
        self._for = GVR(*gvr)
        return self._add("for", gvr, lambda _kind_of: map_object, predicates)

    def owns(self, gvr: GVR, *, predicates: Iterable[Predicate] = (), controller_only: bool = True) -> Self:
        """Also reconcile when a child of this resource changes: the owner named in its ownerReferences.

        :param controller_only: only the owner with ``controller: true`` counts; False: each owner.
        """

        def mapper(kind_of: Callable[[GVR], Kind]) -> ChangeMapper:
            assert self._for is not None  # complete() has checked it
            return map_owner(self._for.group, kind_of(self._for), controller_only=controller_only)

        return self._add("owns", gvr, mapper, predicates)

    def watches(
        self, gvr: GVR | WatchedCache, map_fn: MapFunc | None = None, predicates: Iterable[Predicate] = ()
    ) -> Self:
        """Also reconcile when an object of this resource changes: the keys ``map_fn(obj)`` names.

        :param gvr: the resource; or a cache, as ``other_manager.cache(gvr)``, to watch what is in another cluster (M7).
        :param map_fn: runs in the thread that ingests the resource, for the state before and after each change: quick,
            no calls to the API. ``None``: the key of the object itself.
        """
        mapped = map_object if map_fn is None else map_with(map_fn)
        if isinstance(gvr, tuple):
            return self._add("watches", gvr, lambda _kind_of: mapped, predicates)
        return self._add("watches", gvr.gvr, lambda _kind_of: mapped, predicates, gvr)

    def watches_source(self, source: ExternalSource) -> Self:
        """Also reconcile the keys that the program itself enqueues, by ``source.enqueue(request)``."""
        self._external.append(source)
        return self

    def with_options(
        self,
        *,
        workers: int | None = None,
        reconcile_timeout: float | None = None,
        rate_limiter: RateLimiter | None = None,
        needs_leader_election: bool | None = None,
        field_manager: str | None = None,
        own_writes_timeout: float | None = None,
        recover_panic: bool | None = None,
        warm_up: bool | None = None,
        cache_sync_timeout: float | None = None,
    ) -> Self:
        """Set options; see :class:`Options`. What is left out keeps its value.

        :raises ValueError: a number that makes no sense.
        """
        given = {
            "workers": workers,
            "reconcile_timeout": reconcile_timeout,
            "rate_limiter": rate_limiter,
            "needs_leader_election": needs_leader_election,
            "field_manager": field_manager,
            "own_writes_timeout": own_writes_timeout,
            "recover_panic": recover_panic,
            "warm_up": warm_up,
            "cache_sync_timeout": cache_sync_timeout,
        }
        try:
            changed = {name: value for name, value in given.items() if value is not None}
            self._options = replace(self._options, **changed)  # type: ignore[arg-type]
        except ValueError as error:
            raise ValueError(f"controller {self._name}: {error}") from None
        return self

    def complete(self, reconcile: Reconciler) -> Controller:
        """Make the controller and hand it to the manager, which starts it in its turn.

        :raises ValueError: it watches nothing, or ``owns`` was used without ``for_``.
        :raises RuntimeError: called before, or the manager is stopping.
        """
        if self._completed:
            raise RuntimeError(f"controller {self._name}: complete() was called before")
        if not (self._sources or self._external):
            raise ValueError(f"controller {self._name} watches nothing: call for_() or watches() first")
        owned = [source.gvr for source in self._sources if source.role == "owns"]
        if owned and self._for is None:
            raise ValueError(f"controller {self._name}: owns({owned[0]}) needs for_(), which says whose it is")
        self._completed = True
        controller = self._register(self._name, self._sources, reconcile, self._options)
        for source in self._external:
            source.attach(controller.enqueue)
        return controller

    def _add(
        self,
        role: str,
        gvr: GVR,
        mapper: Callable[[Callable[[GVR], Kind]], ChangeMapper],
        predicates: Iterable[Predicate],
        cache: WatchedCache | None = None,
    ) -> Self:
        self._sources.append(Source(role, GVR(*gvr), mapper, tuple(predicates), cache))
        return self
