"""From a change in a cache to the keys that must be reconciled because of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from runtime.client import Unstructured
from runtime.controller.environment import Kind, WatchedCache
from runtime.controller.owners import group_of
from runtime.controller.predicates import Change, Predicate
from runtime.informer import DeletedFinalStateUnknown
from runtime.logging import Logger
from runtime.types import GVR, Request

__all__ = ["LOW_PRIORITY", "EnqueueHandler", "MapFunc", "Source", "map_object", "map_owner", "map_with"]

LOW_PRIORITY: Final = -100  # of what is delivered although it has not changed: initial list and resync (P5)

MapFunc: TypeAlias = Callable[[Unstructured], Iterable[Request]]
ChangeMapper: TypeAlias = Callable[[Change], Iterable[Request]]


class _Enqueue(Protocol):
    def __call__(self, request: Request, /, priority: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Source:
    """One resource a controller watches.

    :ivar role: ``for``, ``owns`` or ``watches``; for messages.
    :ivar mapper: given a change, whom to reconcile; made once the kinds are known.
    :ivar cache: where it is watched; None: in the cache of the controller's manager.
    """

    role: str
    gvr: GVR
    mapper: Callable[[Callable[[GVR], Kind]], ChangeMapper]
    predicates: tuple[Predicate, ...] = ()
    cache: WatchedCache | None = None

    def __str__(self) -> str:
        return f"{self.role} {self.gvr}"


def map_object(change: Change) -> Iterable[Request]:
    """The changed object itself (H1)."""
    return (Request(change.obj.namespace, change.obj.name),)


def map_owner(group: str, kind: Kind, *, controller_only: bool) -> ChangeMapper:
    """The owners of the changed object that are of this group and kind; its version does not matter.

    Owners before and after an update both count, so that a child that changes hands is noticed by both (H1).
    """

    def owners(obj: Unstructured) -> Iterable[Request]:
        for ref in obj.owner_references:
            if controller_only and not ref.controller:
                continue
            if ref.kind == kind.name and group_of(ref.api_version) == group:
                yield Request(obj.namespace if kind.namespaced else "", ref.name)

    return map_with(owners)


def map_with(map_fn: MapFunc) -> ChangeMapper:
    """What ``map_fn`` says of the object before and after the change, each key once (H1).

    Where it raises for one of both, the keys of the other come first, and then what it raised.
    """

    def both(change: Change) -> Iterable[Request]:
        states = [change.obj]
        if change.old is not None and not change.is_resync:
            states.append(change.old)
        requests: dict[Request, None] = {}
        failure: Exception | None = None
        for state in states:
            try:
                requests.update(dict.fromkeys(map_fn(state)))
            except Exception as error:
                failure = failure or error
        yield from requests
        if failure is not None:
            raise failure

    return both


class EnqueueHandler:
    """An informer's handler that only enqueues keys, so it runs in the thread that ingests (decision 3).

    :param initial: told each key of an initial list before it is enqueued.
    """

    def __init__(
        self,
        enqueue: _Enqueue,
        mapper: ChangeMapper,
        predicates: Sequence[Predicate],
        log: Logger,
        initial: Callable[[Request], object] = lambda _request: None,
    ) -> None:
        self._enqueue = enqueue
        self._initial = initial
        self._mapper = mapper
        self._predicates = tuple(predicates)
        self._log = log

    def on_add(self, obj: Unstructured, is_in_initial_list: bool, /) -> None:
        self._handle(Change("add", obj, initial=is_in_initial_list))

    def on_update(self, old: Unstructured, new: Unstructured, /) -> None:
        self._handle(Change("update", new, old))

    def on_delete(self, obj: Unstructured | DeletedFinalStateUnknown, /) -> None:
        if isinstance(obj, DeletedFinalStateUnknown):
            self._handle(Change("delete", obj.obj, state_unknown=True))
        else:
            self._handle(Change("delete", obj))

    def _handle(self, change: Change) -> None:
        if self._predicates and not self._passes(change):
            return
        priority = LOW_PRIORITY if change.initial or change.is_resync else 0
        for request in self._mapper(change):
            if not isinstance(request, Request):
                raise TypeError(f"map_fn returned {request!r}: return Request(namespace, name) objects")
            if change.initial:
                self._initial(request)
            self._enqueue(request, priority=priority)

    def _passes(self, change: Change) -> bool:
        try:
            return all(predicate(change) for predicate in self._predicates)
        except Exception:
            # To drop the change would leave the object unreconciled for good.
            self._log.exception(
                "a predicate raised, the change is let through",
                kind=change.obj.kind,
                namespace=change.obj.namespace,
                name=change.obj.name,
            )
            return True
