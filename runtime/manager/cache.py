"""One resource in the cache of a manager: what of it is kept, where it is watched, and whether it is complete."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from runtime.client import Unstructured
from runtime.controller.environment import CacheNotReady, Lack
from runtime.informer import (
    NAMESPACE_INDEX,
    BufferPolicy,
    EventHandler,
    IndexFunc,
    Lister,
    Registration,
    SharedIndexInformer,
    SharedInformerFactory,
    projection,
)
from runtime.informer.projection import FieldPath, Transform
from runtime.manager.errors import BadOption
from runtime.manager.listers import MultiNamespaceLister
from runtime.selectors import FieldSelector, LabelSelector
from runtime.types import GVR

__all__ = ["Cache", "CacheOptions", "CacheRegistration"]

_REFUSALS: Final = (403, 404)  # HTTP statuses: we may not list it, or the server does not have it


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """What of a resource is cached (K8); see :meth:`runtime.manager.Manager.cache`. None: as the manager has it."""

    namespaces: tuple[str, ...] | None = None
    label_selector: str | None = None
    field_selector: str | None = None
    transform: Transform | None = None
    projection: tuple[FieldPath, ...] | None = None
    resync_period: float | None = None
    required: bool = True


_DEFAULTS: Final = CacheOptions()
_MakeFactory = Callable[[str | None, CacheOptions], SharedInformerFactory]


class Cache:
    """The objects of one resource, from all namespaces it is watched in. ``mgr.cache(gvr)`` makes it. Thread-safe.

    There is one of it for all who read the resource, in whatever form (K3); what it gives out cannot be changed, and
    needs no copy (K4).

    Handlers and indices may be added at any time, also before it is known where the resource is watched.

    :param make_factory: makes the factory for a namespace, or for all.
    """

    def __init__(self, gvr: GVR, make_factory: _MakeFactory) -> None:
        self.gvr = gvr
        self._make_factory = make_factory
        self._lock = threading.Lock()  # guards all below; while it is held no informer that runs is called
        self._options = _DEFAULTS
        self._selector = LabelSelector.parse(None)
        self._informers: dict[str, SharedIndexInformer] | None = None  # by namespace, "": all; None: not made yet
        self._factories: list[SharedInformerFactory] = []
        self._lister: Lister | None = None  # with the informers
        self._complete = False  # they have all synced; written without the lock
        self._registrations: list[CacheRegistration] = []  # made before the informers
        self._indexers: dict[str, IndexFunc] = {}  # likewise
        self._why = Lack(str(gvr), "not started yet", 0)  # there are no informers
        self._refused_once = False

    def __repr__(self) -> str:
        return f"<Cache {self.gvr}>"

    @property
    def options(self) -> CacheOptions:
        return self._options

    @property
    def required(self) -> bool:
        """Whether readiness, the election and controllers wait for it whatever keeps it from being complete."""
        return self._options.required

    # Reading

    @property
    def lister(self) -> Lister:
        """Reads over all its namespaces.

        :raises CacheNotReady: it is not complete yet; says why (K2).
        """
        self._check_complete()
        assert self._lister is not None
        return self._lister

    def by_index(self, index_name: str, value: str) -> list[Unstructured]:
        """The objects filed under ``value`` by an index of :meth:`add_indexers`, or ``"namespace"`` (K5).

        :raises CacheNotReady: it is not complete yet; says why.
        :raises KeyError: there is no such index.
        """
        self._check_complete()
        return [obj for informer in self.informers().values() for obj in informer.indexer.by_index(index_name, value)]

    def has_synced(self) -> bool:
        """Whether it holds a complete state, be it old. That handlers have heard of it says their registration."""
        return self._complete or not self.lacks()

    def informers(self) -> Mapping[str, SharedIndexInformer]:
        """By namespace, ``""`` for all of them; empty while it is not known where the resource is watched."""
        return self._informers or {}

    def selects(self, obj: Unstructured) -> bool:
        """False if the label selector leaves this object out. What a field selector says, only the server knows."""
        return self._selector.empty or self._selector.matches(obj.labels)

    def _check_complete(self) -> None:
        if self._complete:  # what was so once stays so
            return
        lacks = self.lacks()
        if lacks:
            reasons = "; ".join(f"{lack.where}: {lack.why}" for lack in lacks)
            raise CacheNotReady(f"the cache of {self.gvr} is not complete yet: {reasons}")
        self._complete = True

    # What keeps it

    def lacks(self) -> list[Lack]:
        """What is missing for it to be complete."""
        informers = self._informers
        if informers is None:
            return [self._why]
        return [
            Lack(
                self.name_of(namespace),
                informer.sync_state.last_error or "the first list has not arrived yet",
                informer.refused,
            )
            for namespace, informer in informers.items()
            if not informer.has_synced()
        ]

    def blockers(self) -> list[Lack]:
        """The part of :meth:`lacks` that others have to wait for.

        For an optional resource that is nothing any more once the server has refused all that is missing, with 403 or
        404: it had its chance. What comes of it later holds up nobody again.
        """
        lacks = self.lacks()
        if self.required or not lacks:
            return lacks
        if all(lack.status in _REFUSALS for lack in lacks):
            self._refused_once = True
        return [] if self._refused_once else lacks

    def is_excused(self) -> bool:
        """It is not complete, but need not be waited for."""
        return not self.required and bool(self.lacks()) and not self.blockers()

    def name_of(self, namespace: str) -> str:
        """How people call the part in one namespace: ``pods.v1 in default``."""
        return f"{self.gvr} in {namespace}" if namespace else str(self.gvr)

    # Handlers and indices

    def add_event_handler(
        self,
        handler: EventHandler,
        resync_period: float | None = None,
        inline: bool = False,
        *,
        buffer: BufferPolicy = "unbounded",
        redeliver_unchanged: bool = False,
        name: str = "",
    ) -> CacheRegistration:
        """Have ``handler`` called for every object and every change: :meth:`SharedIndexInformer.add_event_handler` in
        each namespace. Calls for objects of different namespaces may overlap.

        :raises RuntimeError: the manager has stopped.
        """

        def add(informer: SharedIndexInformer) -> Registration:
            return informer.add_event_handler(
                handler, resync_period, inline, buffer=buffer, redeliver_unchanged=redeliver_unchanged, name=name
            )

        registration = CacheRegistration(add)
        with self._lock:
            informers = self._informers
            if informers is None:
                self._registrations.append(registration)
        if informers is not None:
            # Without the lock: an inline handler is called now, for what is in the cache, and may want it.
            registration.join(informers.values())
        return registration

    def add_indexers(self, indexers: Mapping[str, IndexFunc]) -> None:
        """:meth:`SharedIndexInformer.add_indexers` in each namespace.

        :raises ValueError: one of that name exists, or a function fails on a cached object.
        :raises RuntimeError: the manager has stopped.
        """
        with self._lock:
            informers = self._informers
            if informers is None:
                taken = {NAMESPACE_INDEX, *self._indexers} & indexers.keys()
                if taken:
                    raise ValueError(f"{self.gvr} has an index {sorted(taken)[0]!r} already: names are unique")
                self._indexers.update(indexers)
        for informer in (informers or {}).values():
            informer.add_indexers(indexers)

    # What the manager's caches call

    def configure(self, options: CacheOptions) -> None:
        """Set options, or leave them as they are if these are the defaults.

        :raises BadOption: they make no sense, others were given before, or the resource is cached already.
        """
        if options == _DEFAULTS:
            return
        _check(self.gvr, options)
        with self._lock:
            if options == self._options:
                return
            if self._informers is not None:
                raise BadOption(f"{self.gvr} is cached already: give the options before mgr.informer() and mgr.run()")
            if self._options != _DEFAULTS:
                raise BadOption(f"{self.gvr} was given other cache options before: {self._options}")
            self._options = options
            self._selector = LabelSelector.parse(options.label_selector)

    def create(self, scopes: Sequence[str]) -> None:
        """Make the informers, one per namespace; no effect if there are some."""
        with self._lock:
            if self._informers is not None:
                return
            factories = {scope: self._make_factory(scope or None, self._options) for scope in scopes}
            informers = {scope: factory.informer(self.gvr) for scope, factory in factories.items()}
            for informer in informers.values():
                informer.add_indexers(self._indexers)
            for registration in self._registrations:
                registration.join(informers.values())  # if one cannot, these informers are given up; see there
            listers = {scope: informer.lister for scope, informer in informers.items()}
            self._lister = listers[""] if "" in listers else MultiNamespaceLister(listers, self.gvr)
            self._factories = list(factories.values())
            self._registrations.clear()
            self._informers = informers

    def unresolved(self, why: str, status: int) -> None:
        """It cannot be told yet where the resource is to be watched, because of this."""
        self._why = Lack(str(self.gvr), why, status)

    def start(self) -> None:
        """Start the informers, if there are any that do not run. Returns at once."""
        for factory in self._factories:
            factory.start()

    def stop(self) -> None:
        """Begin the end; returns at once."""
        for informer in self.informers().values():
            informer.stop()

    def join(self) -> None:
        """Wait for it, after :meth:`stop`."""
        for factory in self._factories:
            factory.shutdown()


class CacheRegistration:
    """A handler in a cache, which is one in each of its informers.

    :param add: adds the handler to one of them.
    """

    def __init__(self, add: Callable[[SharedIndexInformer], Registration]) -> None:
        self._add = add
        self._lock = threading.Lock()  # guards the next two
        self._added: list[tuple[SharedIndexInformer, Registration]] | None = None  # None: not yet
        self._removed = False

    def has_synced(self) -> bool:
        """The cache is complete, and the handler's call for every object of the initial lists has returned."""
        added = self._added
        return added is not None and all(registration.has_synced() for _, registration in added)

    def remove(self) -> None:
        """Call the handler no more; see :meth:`SharedIndexInformer.remove_event_handler`. May be repeated."""
        with self._lock:
            self._removed = True
        self.leave()

    # What the cache calls

    def join(self, informers: Iterable[SharedIndexInformer]) -> None:
        """Add the handler to all of them, or to none if that fails for one. The last call counts."""
        added: list[tuple[SharedIndexInformer, Registration]] = []
        try:
            for informer in informers:
                added.append((informer, self._add(informer)))
        except BaseException:
            _remove(added)
            raise
        with self._lock:
            self._added = added
        if self._removed:
            self.leave()

    def leave(self) -> None:
        """Remove the handler from where it was added."""
        with self._lock:
            added, self._added = self._added, None
        _remove(added or [])


def _remove(added: Sequence[tuple[SharedIndexInformer, Registration]]) -> None:
    for informer, registration in added:
        informer.remove_event_handler(registration)


def _check(gvr: GVR, options: CacheOptions) -> None:
    if options.namespaces is not None and (not options.namespaces or "" in options.namespaces):
        raise BadOption(f"cache of {gvr}: namespaces must be names; leave it out to watch what the manager watches")
    try:
        LabelSelector.parse(options.label_selector)
        FieldSelector.parse(options.field_selector)
        projection(options.projection or ())
    except (TypeError, ValueError) as error:
        raise BadOption(f"cache of {gvr}: {error}") from error
