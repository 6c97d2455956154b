"""One informer per resource, with the same options for all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING

from runtime.client import Client
from runtime.clock import SYSTEM, Clock
from runtime.types import GVR

from .backoff import Backoff
from .gate import ListGate
from .informer import SharedIndexInformer
from .metrics import informer_metrics
from .projection import FieldPath, Transform
from .source import ResourceSource
from .sync import await_latch, warn_of_timeout

if TYPE_CHECKING:
    from prometheus_client.core import Metric

DEFAULT_IDLE_TIMEOUT = 90.0  # half as long again as real servers take between two bookmarks


class SharedInformerFactory:
    """Makes informers, at most one for each resource, and starts and stops them together (F1 to F5).

    Informers of several factories which are to read the same in the same way, over one client, share one watch and the
    objects it brings; only their indices and handlers are their own. The same way is: the same resource, namespace
    and selectors, and equal options, except for names, resyncs and ``list_gate``.

    Metadata-only informers (F6) are not offered; ``projection=[]`` keeps no more, though the server sends more.

    All methods may be called from any thread.

    :param client: talks to the API server.
    :param resync_period: seconds between redeliveries of the caches to their handlers; 0.0 never.
    :param namespace: watch only this one; None for all, and for cluster-scoped resources.
    :param transform: changes each object, a dict, before it is cached, once; for all informers.
    :param label_selector: cache only what matches, as ``"app=web,tier in (a,b)"``.
    :param field_selector: likewise, as ``"spec.nodeName=n1"``.
    :param watch_timeout: seconds after which servers are asked to end a watch: a random time between this and twice
        this; None: 300.
    :param idle_timeout: seconds of silence after which a watch's connection is taken for dead, and opened anew where
        the last one ended. Servers send a bookmark about once a minute; for one that is seen to send none it is
        the time after which the server should have ended the watch itself, plus 10 s.
    :param page_size: objects per page of a list; None: as the server can do it best (R9).
    :param projection: cache only these fields, as ``["spec.replicas", "status"]``, besides the metadata that identifies
        an object.
    :param resync_periods: of single resources (F5).
    :param transforms: of single resources, instead of ``transform``.
    :param watch_list: receive the initial state as a stream where the server can.
    :param backoff: makes the waits after failures, for each informer anew.
    :param list_gate: where informers wait for their turn to list. None: at the gate which all factories of this process
        have in common for that API server, where 4 list at a time; ``ListGate(slots)`` for another number.
    :param share_watches: False: the informers share nothing with those of others.
    :param optional: a server that does not serve a resource, or refuses it, is told of as information, and not as a
        warning.
    :param name: of its informers in the metrics; two factories of one process that publish theirs need two names (I24).
    """

    def __init__(
        self,
        client: Client,
        resync_period: float = 0.0,
        namespace: str | None = None,
        transform: Transform | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        *,
        watch_timeout: float | None = None,
        idle_timeout: float | None = DEFAULT_IDLE_TIMEOUT,
        page_size: int | None = None,
        projection: Iterable[FieldPath] | None = None,
        resync_periods: Mapping[GVR, float] | None = None,
        watch_list: bool = True,
        backoff: Callable[[], Backoff] | None = None,
        list_gate: ListGate | None = None,
        clock: Clock | None = None,
        name: str = "",
        transforms: Mapping[GVR, Transform] | None = None,
        share_watches: bool = True,
        optional: bool = False,
    ) -> None:
        self._client = client
        self._resync_period = resync_period
        self._namespace = namespace
        self._transform = transform
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._watch_timeout = watch_timeout
        self._idle_timeout = idle_timeout
        self._page_size = page_size
        self._projection = None if projection is None else [*projection]
        self._resync_periods = dict(resync_periods or {})
        self._transforms = dict(transforms or {})
        self._share_watches = share_watches
        self._optional = optional
        self._watch_list = watch_list
        self._backoff = backoff
        self._clock = clock or SYSTEM
        self._list_gate = list_gate or ListGate.of_server(client.url, self._clock)
        self._name = name
        self._lock = threading.Lock()  # guards the next two
        self._shut_down = False
        self._informers: dict[GVR, SharedIndexInformer] = {}

    @property
    def informers(self) -> dict[GVR, SharedIndexInformer]:
        """The informers made so far."""
        with self._lock:
            return dict(self._informers)

    def informer(self, gvr: GVR) -> SharedIndexInformer:
        """The informer for this resource, always the same one (F1). It runs after the next :meth:`start`."""
        gvr = GVR(*gvr)
        with self._lock:
            informer = self._informers.get(gvr)
            if informer is None:
                informer = self._informers[gvr] = self._new_informer(gvr)
            return informer

    def start(self) -> None:
        """Start the informers made so far that do not run yet; returns at once. None after :meth:`shutdown` (F2)."""
        with self._lock:
            if self._shut_down:
                return
            for informer in self._informers.values():
                if not informer.has_started:
                    informer.start()

    def wait_for_cache_sync(self, timeout: float | None = None) -> dict[GVR, bool]:
        """Block until all started informers have synced; informers that were not started do not count (F3).

        On timeout a warning names those that have not (I19).

        :param timeout: seconds; None waits as long as it takes, but no longer than until :meth:`shutdown`.
        :returns: for each resource whether it has. Why one has not says ``informer(gvr).sync_state.last_error``.
        """
        started = {gvr: informer for gvr, informer in self.informers.items() if informer.has_started}
        ends = None if timeout is None else self._clock.monotonic() + timeout
        for informer in started.values():
            left = None if ends is None else max(0.0, ends - self._clock.monotonic())
            await_latch(informer.sync_latch, left, self._clock)
        if timeout and not self._shut_down:
            warn_of_timeout([informer for informer in started.values() if not informer.is_stopped], timeout)
        return {gvr: informer.has_synced() for gvr, informer in started.items()}

    def shutdown(self) -> None:
        """Stop all informers and wait until their threads have ended; lists under way are cut off. May be called
        again, and by several (F4)."""
        with self._lock:
            self._shut_down = True
            informers = [*self._informers.values()]  # those made from here on are never started
        for informer in informers:
            informer.stop()
        for informer in informers:
            informer.join()

    def metrics(self) -> Iterable[Metric]:
        """The metrics of the informers that run; a source for :class:`runtime.metrics.Collector`."""
        return informer_metrics(self.informers.values())

    def __enter__(self) -> SharedInformerFactory:
        """Leaving the block shuts down; entering does not start."""
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    def _new_informer(self, gvr: GVR) -> SharedIndexInformer:
        source = ResourceSource(
            self._client.resource(gvr, self._namespace or None),
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            supports_watch_list=self._watch_list,
        )
        return SharedIndexInformer(
            source,
            gvr,
            resync_period=self._resync_periods.get(gvr, self._resync_period),
            transform=self._transforms.get(gvr, self._transform),
            keep_fields=self._projection,
            page_size=self._page_size,
            watch_timeout=self._watch_timeout,
            idle_timeout=self._idle_timeout,
            gate=self._list_gate,
            backoff=self._backoff() if self._backoff is not None else None,
            clock=self._clock,
            name=self._name,
            shared_as=self._same_watch(gvr) if self._share_watches else None,
            optional=self._optional,
        )

    def _same_watch(self, gvr: GVR) -> Hashable:
        """All that makes what an informer receives, and when, except for its transform."""
        return (
            self._client.identity,
            gvr,
            self._namespace,
            self._label_selector,
            self._field_selector,
            self._watch_timeout,
            self._idle_timeout,
            self._page_size,
            None if self._projection is None else tuple(map(_hashable, self._projection)),
            self._watch_list,
            self._backoff,
            self._clock,
            self._optional,
        )


def _hashable(path: FieldPath) -> Hashable:
    return path if isinstance(path, str) else tuple(path)
