"""The chain of calls that makes a controller.

::

    (mgr.controller("foo").for_(FOO, predicates=[generation_changed]).owns(DEPLOYMENTS)
        .with_options(workers=2).complete(reconcile))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Self

from runtime.controller.context import Reconciler
from runtime.controller.controller import Controller, Options
from runtime.controller.environment import Kind
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

    def watches(self, gvr: GVR, map_fn: MapFunc | None = None, predicates: Iterable[Predicate] = ()) -> Self:
        """Also reconcile when an object of this resource changes: the keys ``map_fn(obj)`` names.

        :param map_fn: runs in the thread that ingests the resource, for the state before and after each change: quick,
            no calls to the API. ``None``: the key of the object itself.
        """
        if map_fn is None:
            return self._add("watches", gvr, lambda _kind_of: map_object, predicates)
        mapped = map_with(map_fn)
        return self._add("watches", gvr, lambda _kind_of: mapped, predicates)

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
    ) -> Self:
        """Set options; see :class:`Options`. What is left out keeps its value.

        :raises ValueError: a number that makes no sense.
        """
        now = self._options
        try:
            self._options = Options(
                workers=now.workers if workers is None else workers,
                reconcile_timeout=now.reconcile_timeout if reconcile_timeout is None else reconcile_timeout,
                rate_limiter=rate_limiter or now.rate_limiter,
                needs_leader_election=(
                    now.needs_leader_election if needs_leader_election is None else needs_leader_election
                ),
                field_manager=field_manager or now.field_manager,
                own_writes_timeout=now.own_writes_timeout if own_writes_timeout is None else own_writes_timeout,
                recover_panic=now.recover_panic if recover_panic is None else recover_panic,
            )
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
        if not self._sources:
            raise ValueError(f"controller {self._name} watches nothing: call for_() or watches() first")
        owned = [source.gvr for source in self._sources if source.role == "owns"]
        if owned and self._for is None:
            raise ValueError(f"controller {self._name}: owns({owned[0]}) needs for_(), which says whose it is")
        self._completed = True
        return self._register(self._name, self._sources, reconcile, self._options)

    def _add(
        self,
        role: str,
        gvr: GVR,
        mapper: Callable[[Callable[[GVR], Kind]], ChangeMapper],
        predicates: Iterable[Predicate],
    ) -> Self:
        self._sources.append(Source(role, GVR(*gvr), mapper, tuple(predicates)))
        return self
