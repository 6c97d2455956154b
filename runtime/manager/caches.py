"""The caches that all controllers of a manager share, and what finds out where, and whether, each can be filled."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from runtime.client import ApiError, Cancelled, Client, ClientError, Unstructured
from runtime.clock import Clock
from runtime.controller.environment import Lack
from runtime.informer import Lister, SharedIndexInformer, SharedInformerFactory
from runtime.informer.projection import Transform
from runtime.logging import get_logger
from runtime.manager.cache import Cache, CacheOptions
from runtime.manager.errors import BadOption
from runtime.manager.kinds import DiscoveredKinds
from runtime.types import GVR

__all__ = ["Caches"]

_LOOK: Final = 1.0  # seconds between looks at what is not served, or not known; real, for the server's time is
_PAUSE_MAX: Final = 10.0  # seconds between tries of what fails otherwise; doubling up to this

_log = get_logger("runtime.manager")


class Caches:
    """One :class:`Cache` per resource, declared at any time, running from :meth:`start` on. Thread-safe.

    Where a resource is watched: in the namespaces given for it, else in those given here, else as a whole; a
    cluster-scoped one always as a whole (K7). Only where there are namespaces need the server be asked which it is.

    A resource that the server does not serve is watched within about a second of when it does: for each such group
    version the server is asked once a second, however many wait for it, and not once nothing is missing. One that
    we may not list is tried every ten seconds.

    :param namespaces: empty: all.
    :param resync_period: seconds between redeliveries of the whole cache to handlers; 0.0 never.
    :param transform: of the resources that have none of their own.
    :param name: of the informers in the metrics; where namespaces are watched, each adds its own behind a slash.
    """

    def __init__(
        self,
        client: Client,
        kinds: DiscoveredKinds,
        namespaces: Sequence[str],
        resync_period: float,
        clock: Clock,
        *,
        transform: Transform | None = None,
        name: str = "",
    ) -> None:
        self._client = client
        self._kinds = kinds
        self._namespaces = tuple(dict.fromkeys(namespaces))
        self._resync_period = resync_period
        self._transform = transform
        self._clock = clock
        self._name = name
        self._lock = threading.Lock()  # guards the next two
        self._caches: dict[GVR, Cache] = {}
        self._started = False
        self._stop = threading.Event()
        self._declared = threading.Event()  # for the thread: there is something new, or the end
        self._thread = threading.Thread(target=self._follow, name="manager-caches", daemon=True)
        self._failing: dict[GVR, _Failing] = {}  # of the thread only

    # For controllers and users

    def cache(self, gvr: GVR, options: CacheOptions | None = None) -> Cache:
        """The cache of a resource; it runs from now on if the caches do. Asks the server nothing.

        :raises BadOption: see :meth:`Cache.configure`.
        """
        with self._lock:
            known = self._caches.get(gvr)
            cache = known or Cache(gvr, self._new_factory)
            if options is not None:
                cache.configure(options)
            self._caches[gvr] = cache
            begins = known is None and self._started
        if begins:
            self._begin(cache)
        return cache

    def informers(self, gvr: GVR) -> Sequence[SharedIndexInformer]:
        """The informers of a resource, one per namespace; declared if it was not.

        :raises ClientError: several namespaces are watched, and the server cannot say whether it is namespaced.
        """
        cache = self.cache(gvr)
        if not cache.informers():
            self._create(cache)
        return list(cache.informers().values())

    def cached(self, gvr: GVR, namespace: str) -> SharedIndexInformer | None:
        """The informer that holds the objects of this namespace, if there is one; never makes one."""
        cache = self._caches.get(gvr)
        if cache is None:
            return None
        informers = cache.informers()
        return informers.get("") or informers.get(namespace)

    def selects(self, gvr: GVR, obj: Unstructured) -> bool:
        """False if the label selector of the cache leaves this object out."""
        cache = self._caches.get(gvr)
        return cache is None or cache.selects(obj)

    def lister(self, gvr: GVR) -> Lister:
        """Reads over all namespaces that are watched; starts no watch (K1).

        :raises LookupError: nobody has declared the resource.
        :raises CacheNotReady: it is not complete yet; says why.
        """
        cache = self._caches.get(gvr)
        if cache is None:
            known = ", ".join(str(cache.gvr) for cache in self.all()) or "none"
            raise LookupError(
                f"{gvr} is not cached: declare it by for_(), owns() or watches() of a controller, or by "
                f"mgr.cache() before the manager runs (cached: {known})"
            )
        return cache.lister

    def all(self) -> list[Cache]:
        """Those declared by now."""
        with self._lock:
            return list(self._caches.values())

    def blockers(self) -> list[Lack]:
        """What readiness, the election and runnables still wait for."""
        return [lack for cache in self.all() for lack in cache.blockers()]

    def by_name(self) -> dict[str, SharedIndexInformer]:
        """The informers that exist now, called as people say: ``pods.v1``, or ``pods.v1 in default``."""
        return {
            cache.name_of(namespace): informer
            for cache in self.all()
            for namespace, informer in cache.informers().items()
        }

    # Life

    def start(self) -> None:
        """Start what is declared, and from now on what will be. Returns at once."""
        with self._lock:
            self._started = True
            caches = list(self._caches.values())
        for cache in caches:
            self._begin(cache)
        self._thread.start()

    def shutdown(self, timeout: float | None = None) -> bool:
        """End all watches and wait for their threads. Lists under way are cut off.

        :param timeout: seconds; None: as long as it takes. What takes long is a handler that does not return.
        :returns: False if something still runs; it is left behind.
        """
        self._stop.set()
        self._declared.set()
        end = threading.Thread(target=self._end, name="manager-caches-end", daemon=True)
        try:
            end.start()
        except RuntimeError:  # there are no threads to be had
            self._end()
            return True
        end.join(timeout)
        return not end.is_alive()

    def _end(self) -> None:
        if self._thread.ident is not None:
            self._thread.join()  # it makes no informers any more
        caches = self.all()
        for cache in caches:
            cache.stop()
        for cache in caches:
            cache.join()

    # From a resource to its informers

    def _begin(self, cache: Cache) -> None:
        """Make the informers of a cache and start them, now if that needs no request."""
        if cache.informers() or not self._namespaces_of(cache):
            self._create(cache)
        else:
            cache.unresolved("it is not known yet whether it is namespaced", 0)
            self._declared.set()

    def _create(self, cache: Cache) -> None:
        if not cache.informers():
            cache.create(self._scopes(cache))
        with self._lock:
            runs = self._started and not self._stop.is_set()
        if runs:
            cache.start()

    def _scopes(self, cache: Cache) -> Sequence[str]:
        """The namespaces to watch it in, ``""`` for all.

        :raises ClientError: the server does not say whether it is namespaced.
        :raises BadOption: it is not, but namespaces were given for it.
        """
        namespaces = self._namespaces_of(cache)
        if not namespaces:
            return ("",)
        if self._kinds.get(cache.gvr).namespaced:
            return namespaces
        if cache.options.namespaces is not None:
            raise BadOption(f"{cache.gvr} is cluster-scoped: mgr.cache() takes no namespaces for it")
        return ("",)

    def _namespaces_of(self, cache: Cache) -> Sequence[str]:
        own = cache.options.namespaces
        return self._namespaces if own is None else own

    def _new_factory(self, namespace: str | None, options: CacheOptions) -> SharedInformerFactory:
        resync = options.resync_period
        return SharedInformerFactory(
            self._client,
            resync_period=self._resync_period if resync is None else resync,
            namespace=namespace,
            transform=options.transform or self._transform,
            label_selector=options.label_selector,
            field_selector=options.field_selector,
            projection=options.projection,
            clock=self._clock,
            name=f"{self._name}/{namespace}" if namespace else self._name,
            optional=not options.required,
        )

    # The thread: what is not known yet, and what is not served

    def _follow(self) -> None:
        while not self._stop.is_set():
            self._declared.clear()
            for cache in self.all():
                if self._stop.is_set():
                    return
                if not cache.informers():
                    self._resolve(cache)
                    continue
                refused = {informer.refused for informer in cache.informers().values()}
                if 404 in refused:
                    self._look_for(cache)
                elif 403 in refused:
                    self._ask_again(cache)
                else:
                    self._failing.pop(cache.gvr, None)
            self._declared.wait(_LOOK)

    def _resolve(self, cache: Cache) -> None:
        failing = self._failing.setdefault(cache.gvr, _Failing())
        if not failing.is_due():
            return
        try:
            self._create(cache)
        except Cancelled:
            return  # the manager ends
        except Exception as error:
            status = error.status if isinstance(error, ApiError) else 0
            cache.unresolved(str(error), status)
            failing.failed(wait=status != 404)  # of which the server is not asked more often
            if failing.is_news(str(error)):
                # All but these is a fault of ours, and deserves its traceback.
                foreseen = isinstance(error, ClientError | BadOption)
                _log.warning(
                    "cannot cache, trying again",
                    resource=str(cache.gvr),
                    required=cache.required,
                    error=str(error),
                    exc_info=None if foreseen else error,
                )
        else:
            self._failing.pop(cache.gvr, None)

    def _look_for(self, cache: Cache) -> None:
        """The resource is not served: have it listed as soon as it is, and not only when the reflector tries again."""
        failing = self._failing.setdefault(cache.gvr, _Failing())
        if not failing.is_due():
            return
        try:
            served = self._kinds.is_served(cache.gvr)
        except Exception as error:
            failing.failed(wait=True)
            if not isinstance(error, ClientError) and failing.is_news(str(error)):  # a fault of ours
                _log.error("cannot look for a resource, trying again", resource=str(cache.gvr), exc_info=error)
            return
        if served:
            _hurry(cache, 404)
            failing.failed(wait=True)  # in case its list does not agree with discovery

    def _ask_again(self, cache: Cache) -> None:
        """We may not list it. That is often granted a moment after the program has started: the reflector's back-off
        would have it known up to a minute later."""
        failing = self._failing.setdefault(cache.gvr, _Failing(pause=_PAUSE_MAX, due=time.monotonic() + _PAUSE_MAX))
        if failing.is_due():
            _hurry(cache, 403)
            failing.failed(wait=True)


def _hurry(cache: Cache, refused: int) -> None:
    for informer in cache.informers().values():
        if informer.refused == refused:
            informer.hurry()


@dataclass(slots=True)
class _Failing:
    """When to try again what has failed, in real time."""

    pause: float = _LOOK / 2
    due: float = 0.0
    told: str = ""

    def is_due(self) -> bool:
        return time.monotonic() >= self.due

    def failed(self, *, wait: bool) -> None:
        """:param wait: longer each time; else until the next look."""
        if wait:
            self.pause = min(self.pause * 2, _PAUSE_MAX)
            self.due = time.monotonic() + self.pause * 0.9  # at the look that is nearest

    def is_news(self, text: str) -> bool:
        told, self.told = self.told, text
        return text != told
