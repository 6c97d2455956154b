"""Where clients of an Orleans cluster can connect."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import NamedTuple

from membership.orleans import rows
from membership.orleans.calls import Calls, Place
from membership.orleans.journal import Row
from membership.orleans.told import Told
from runtime.client import Client, ClientError
from runtime.clock import Clock
from runtime.informer import SharedIndexInformer, SharedInformerFactory
from runtime.logging import get_logger

_log = get_logger(__name__)

DEFAULT_MAX_STALENESS = 60.0
"""Orleans' GatewayOptions.GatewayListRefreshPeriod."""

DEFAULT_TIMEOUT = 10.0

_FIELDS = ["clusterId", "address", "port", "generation", "status", "proxyPort"]


class _List(NamedTuple):
    gateways: tuple[str, ...]
    asked_at: float  # monotonic: it was so at this time or later


class KubeGatewayListProvider:
    """The gateways of one Orleans cluster: its active silos that have a proxy port.

    By default each call reads the cluster's rows; with a cache of them it answers from that. Either way the answer was
    true at some time during the last ``max_staleness`` seconds, or the call raises. Two calls need not answer in the
    order of time: one from the cache may be older than one before it that was read.

    Any number of threads may share one. Verb: list on ``silos`` of the group ``orleans.dot.net``, with ``watch`` also
    watch.

    :param namespace: None: that of the client's configuration.
    :param max_staleness: seconds. A cache that has heard nothing from the server for longer is passed over, and the
        rows are read; servers are heard once a minute at least. If that fails because the server is away or busy, the
        last list that was read will do as long as it is not older.
    :param watch: keep a cache, fed by a watch from the first call on until :meth:`close`. It is worth it for answers
        that are seconds old, and for many calls; a call each minute costs the server less.
    :param informer: a cache of ``silos`` that somebody else has started, of this namespace or of all, with all fields
        of the rows. Instead of ``watch``.
    :param timeout: seconds for the reads of one call, which are repeated where that may help.
    :param clock: None: the client's.
    :raises ValueError: the cluster id is empty or cannot be written, a time is none, or there are two caches.
    """

    def __init__(
        self,
        client: Client,
        cluster_id: str,
        namespace: str | None = None,
        *,
        max_staleness: float = DEFAULT_MAX_STALENESS,
        watch: bool = False,
        informer: SharedIndexInformer | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        clock: Clock | None = None,
    ) -> None:
        if not (max_staleness >= 0 and timeout > 0):
            raise ValueError(f"max_staleness {max_staleness!r} and timeout {timeout!r} must be seconds")
        if watch and informer is not None:
            raise ValueError("watch makes a cache, informer is one: give one of them")
        self._clock = clock or client.clock
        self._place = Place(client, namespace or client.namespace, cluster_id, self._clock)
        self._max_staleness = max_staleness
        self._timeout = timeout
        self._own: SharedInformerFactory | None = None
        if watch:
            self._own = SharedInformerFactory(
                client, namespace=self._place.namespace, projection=_FIELDS, clock=self._clock
            )
            informer = self._own.informer(rows.SILOS)
        self._informer = informer
        self._told = Told()  # of malformed rows
        self._lock = threading.Lock()  # guards the two below
        self._last: _List | None = None
        self._closed = False

    @property
    def max_staleness(self) -> float:
        """Seconds after which a client should ask again."""
        return self._max_staleness

    def get_gateways(self) -> list[str]:
        """Each as ``gwy.tcp://IP:PORT/GENERATION``, sorted; an IPv6 address in brackets. Empty if there are none.

        A row that does not tell whether and where it is a gateway is told of in a warning, once, and left out.

        :raises ClientError: there is no list that is fresh enough; see ``max_staleness``.
        """
        cached = self._from_cache()
        return cached if cached is not None else self._read()

    def close(self) -> None:
        """End the watch, if there is one. Calls after that read."""
        with self._lock:
            self._closed = True
        if self._own is not None:
            self._own.shutdown()

    def __enter__(self) -> KubeGatewayListProvider:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _from_cache(self) -> list[str] | None:
        """None if there is no cache, or none that is fresh enough."""
        informer = self._informer
        if informer is None:
            return None
        if self._own is not None and not self._watching(self._own):
            return None
        state = informer.sync_state
        if not state.synced or state.contact_age is None or state.contact_age > self._max_staleness:
            return None
        namespace = self._place.namespace
        return self._gateways(Row(obj.to_dict()) for obj in informer.indexer.list() if obj.namespace == namespace)

    def _watching(self, factory: SharedInformerFactory) -> bool:
        with self._lock:
            if not self._closed:
                factory.start()
            return not self._closed

    def _read(self) -> list[str]:
        asked_at = self._clock.monotonic()
        try:
            gateways = self._gateways(Calls(self._place, self._timeout).rows())
        except ClientError as error:
            last = self._fresh()
            if last is None or not error.retryable:
                raise
            _log.warning("gateways cannot be read, the last list is used", table=str(self._place), error=str(error))
            return last
        with self._lock:
            if self._last is None or self._last.asked_at < asked_at:
                self._last = _List(tuple(gateways), asked_at)
        return gateways

    def _fresh(self) -> list[str] | None:
        """What was read last, if not too long ago."""
        with self._lock:
            last = self._last
        if last is None or self._clock.monotonic() - last.asked_at > self._max_staleness:
            return None
        return list(last.gateways)

    def _gateways(self, found: Iterable[Row]) -> list[str]:
        uris, problems = [], []
        for row in found:
            if row.cluster_id != self._place.cluster_id:
                continue
            try:
                gateway = rows.gateway_of(row.body)
            except rows.MalformedRow as error:
                problems.append(str(error))
                continue
            if gateway is not None:
                uris.append(gateway.gateway_uri())
        for problem in self._told.news(problems):
            _log.warning("a row is left out of the gateways", table=str(self._place), error=problem)
        return sorted(uris)
