"""The informers that all controllers of a manager share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from runtime.client import Client, ClientError, Unstructured
from runtime.clock import Clock
from runtime.controller.environment import CacheNotReady, Kinds
from runtime.informer import Lister, NamespaceLister, SharedIndexInformer, SharedInformerFactory
from runtime.logging import get_logger
from runtime.selectors import LabelSelector
from runtime.types import GVR, Request

__all__ = ["Caches", "MultiNamespaceLister"]

_RETRY_MIN: Final = 0.5  # seconds before a resource that could not be resolved is tried again, doubling to ...
_RETRY_MAX: Final = 10.0  # ... this

_log = get_logger("runtime.manager")


class Caches:
    """One informer per resource and namespace, made when declared, running from :meth:`start` on. Thread-safe.

    With ``namespaces``, namespaced resources are watched in each of them and cluster-scoped ones as a whole (K7);
    which a resource is, the server is asked when the caches start. Without, everything is watched as a whole.

    :param namespaces: empty: all.
    :param resync_period: seconds between redeliveries of the whole cache to handlers; 0.0 never.
    :param name: of the informers in the metrics; where namespaces are watched, each adds its own behind a slash.
    """

    def __init__(
        self,
        client: Client,
        kinds: Kinds,
        namespaces: Sequence[str],
        resync_period: float,
        clock: Clock,
        *,
        name: str = "",
    ) -> None:
        self._kinds = kinds
        self._namespaces = tuple(dict.fromkeys(namespaces))
        self._clock = clock

        def factory(namespace: str | None) -> SharedInformerFactory:
            return SharedInformerFactory(
                client,
                resync_period=resync_period,
                namespace=namespace,
                clock=clock,
                name=f"{name}/{namespace}" if namespace else name,
            )

        self._make_factory: Callable[[str | None], SharedInformerFactory] = factory
        self._lock = threading.RLock()  # guards everything below
        self._factories: dict[str, SharedInformerFactory] = {}  # by namespace; "": everything
        self._informers: dict[GVR, dict[str, SharedIndexInformer]] = {}  # the same keys
        self._unresolved: dict[GVR, str] = {}  # declared, but which informers that means is not known yet: why
        self._started = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def declare(self, gvr: GVR) -> None:
        """Have this resource cached; it runs from now on if the caches do. Asks the server nothing."""
        with self._lock:
            if gvr in self._informers or gvr in self._unresolved:
                return
            if self._namespaces:
                self._unresolved[gvr] = "not asked for yet"
                self._resolve_in_background()
            else:
                self._create(gvr, ("",))

    def informers(self, gvr: GVR) -> Sequence[SharedIndexInformer]:
        """The informers of a resource; declared if it was not.

        :raises ClientError: the server cannot say yet whether the resource is namespaced.
        """
        with self._lock:
            known = self._informers.get(gvr)
        if known is not None:
            return list(known.values())
        # Not under the lock: this may ask the server.
        scopes = self._scopes(gvr)
        with self._lock:
            self._unresolved.pop(gvr, None)
            return list((self._informers.get(gvr) or self._create(gvr, scopes)).values())

    def cached(self, gvr: GVR, namespace: str) -> SharedIndexInformer | None:
        """The informer that holds the objects of this namespace, if there is one; never makes one."""
        with self._lock:
            informers = self._informers.get(gvr, {})
            return informers.get("") or informers.get(namespace)

    def lister(self, gvr: GVR) -> Lister:
        """Reads over all namespaces that are watched.

        :raises LookupError: nobody has declared the resource.
        :raises CacheNotReady: its first list has not arrived yet.
        """
        with self._lock:
            informers = self._informers.get(gvr)
            if informers is None:
                if gvr in self._unresolved:
                    raise CacheNotReady(f"{gvr} cannot be cached yet: {self._unresolved[gvr]}")
                known = ", ".join(map(str, self._informers)) or "none"
                raise LookupError(
                    f"{gvr} is not cached: declare it by for_(), owns() or watches() of a controller, or by "
                    f"mgr.informer() before the manager runs (cached: {known})"
                )
        for informer in informers.values():
            if not informer.has_synced():
                raise CacheNotReady(f"the cache of {gvr} is not complete yet: {_reason(informer)}")
        if "" in informers:
            return informers[""].lister
        return MultiNamespaceLister({name: informer.lister for name, informer in informers.items()}, gvr)

    def start(self) -> None:
        """Start what is declared, and from now on what will be. Returns at once."""
        with self._lock:
            self._started = True
            for factory in self._factories.values():
                factory.start()
            self._resolve_in_background()

    def waiting(self) -> dict[str, str]:
        """The caches that are not complete yet, each with the reason."""
        with self._lock:
            waiting = {str(gvr): reason for gvr, reason in self._unresolved.items()}
        for where, informer in self.by_name().items():
            if not informer.has_synced():
                waiting[where] = _reason(informer)
        return waiting

    def by_name(self) -> dict[str, SharedIndexInformer]:
        """Those that exist now, called as people say: ``pods.v1``, or ``pods.v1 in default`` where that is all."""
        with self._lock:
            return {
                f"{gvr} in {namespace}" if namespace else str(gvr): informer
                for gvr, informers in self._informers.items()
                for namespace, informer in informers.items()
            }

    def shutdown(self) -> None:
        """End all watches and wait for their threads. Lists under way are cut off."""
        with self._lock:
            self._stop.set()
            thread, factories = self._thread, list(self._factories.values())
        if thread is not None:
            thread.join()
        for factory in factories:
            factory.shutdown()

    # With the lock held:

    def _create(self, gvr: GVR, scopes: Sequence[str]) -> dict[str, SharedIndexInformer]:
        informers = {}
        for namespace in scopes:
            factory = self._factories.get(namespace)
            if factory is None:
                factory = self._factories[namespace] = self._make_factory(namespace or None)
            informers[namespace] = factory.informer(gvr)
        self._informers[gvr] = informers
        if self._started and not self._stop.is_set():
            for namespace in scopes:
                self._factories[namespace].start()
        return informers

    def _resolve_in_background(self) -> None:
        if not self._started or not self._unresolved or self._stop.is_set():
            return
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._resolve, name="manager-caches", daemon=True)
            self._thread.start()

    # Without it:

    def _scopes(self, gvr: GVR) -> tuple[str, ...]:
        if not self._namespaces or not self._kinds.get(gvr).namespaced:
            return ("",)
        return self._namespaces

    def _resolve(self) -> None:
        pause = _RETRY_MIN
        while True:
            with self._lock:
                pending = list(self._unresolved)
                if not pending or self._stop.is_set():
                    self._thread = None  # so that a later declare() begins another
                    return
            for gvr in pending:
                if self._stop.is_set():
                    break
                try:
                    self.informers(gvr)
                except Exception as error:
                    with self._lock:
                        if gvr in self._unresolved:
                            self._unresolved[gvr] = str(error)
                    foreseen = isinstance(error, ClientError)  # all else is a fault of ours, and deserves its traceback
                    _log.warning(
                        "cannot cache, trying again",
                        resource=str(gvr),
                        error=str(error),
                        pause=pause,
                        exc_info=None if foreseen else error,
                    )
            with self._lock:
                left = bool(self._unresolved)
            if left and not self._clock.wait_event(self._stop, pause):
                pause = min(pause * 2, _RETRY_MAX)


def _reason(informer: SharedIndexInformer) -> str:
    return informer.sync_state.last_error or "the first list has not arrived yet"


class MultiNamespaceLister(Lister):
    """Several caches of one resource, one per namespace, read as one."""

    def __init__(self, by_namespace: Mapping[str, Lister], gvr: GVR) -> None:
        self._by_namespace = dict(by_namespace)
        self._gvr = gvr

    def get(self, name: str | Request, namespace: str = "") -> Unstructured:
        if isinstance(name, Request):
            namespace, name = name
        elif not namespace and "/" in name:
            namespace, _, name = name.partition("/")
        return self._of(namespace).get(name, namespace)

    def list(self, selector: str | LabelSelector | None = None) -> list[Unstructured]:
        return [obj for lister in self._by_namespace.values() for obj in lister.list(selector)]

    def namespace(self, namespace: str) -> NamespaceLister:
        """:raises LookupError: that namespace is not watched."""
        return self._of(namespace).namespace(namespace)

    def _of(self, namespace: str) -> Lister:
        lister = self._by_namespace.get(namespace)
        if lister is None:
            watched = ", ".join(self._by_namespace)
            raise LookupError(f"{self._gvr} in namespace {namespace!r} is not cached: watched are {watched}")
        return lister
