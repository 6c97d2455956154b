"""Gathering metrics from whoever counts, and the Prometheus registry of one manager."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

from runtime.logging import get_logger

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

__all__ = ["Collector", "MetricSource", "Registry"]

MetricSource: TypeAlias = Callable[[], "Iterable[Metric]"]
"""Answers the families of one component, made anew; called at each scrape, by the scraping thread."""

_log = get_logger(__name__)


class Collector:
    """A collector for prometheus_client that asks ``sources`` at each scrape. Safe for use from many threads::

        REGISTRY.register(Collector(factory.metrics, queue.metrics, client.metrics))

    Use one for all: it merges families of the same name, of which the text format allows only one. Requests of several
    clients to one host add up. Any other series that two sources have is published for the first, and logged as an
    error, once. A source that raises loses its metrics, not the others', and is logged. One that is given twice, as
    that of a client and of another one derived from it, is asked once.
    """

    def __init__(self, *sources: MetricSource) -> None:
        self._lock = threading.Lock()  # guards everything below
        self._sources = [*sources]
        self._complained: set[str] = set()

    def add_source(self, source: MetricSource) -> None:
        """Ask ``source``, too, from now on."""
        with self._lock:
            self._sources.append(source)

    def collect(self) -> Iterable[Metric]:
        """The families of all sources."""
        families: dict[str, Metric] = {}
        with self._lock:
            sources = list(dict.fromkeys(self._sources))
        for source in sources:
            try:
                found = list(source())
            except Exception as error:
                _log.error("metrics could not be collected", error=repr(error), exc_info=error)
                continue
            for metric in found:
                known = families.setdefault(metric.name, metric)
                if known is not metric:
                    self._merge(known, metric)
        return families.values()

    def describe(self) -> Iterable[Metric]:
        """Nothing: prometheus_client then does not scrape us to learn our names when we register."""
        return ()

    def _merge(self, known: Metric, more: Metric) -> None:
        if known.type != more.type:
            self._complain(f"metric {more.name}: one source says {known.type}, another says {more.type}")
            return
        sums = getattr(known, "sums", False) and getattr(more, "sums", False)
        there = {(sample.name, *sorted(sample.labels.items())): at for at, sample in enumerate(known.samples)}
        for sample in more.samples:
            at = there.get((sample.name, *sorted(sample.labels.items())))
            if at is None:
                known.samples.append(sample)
            elif sums:
                known.samples[at] = sample._replace(value=known.samples[at].value + sample.value)
            else:
                labels = {name: value for name, value in sample.labels.items() if name != "le"}  # not for each bucket
                self._complain(f"metric {more.name}: two sources have the series {labels}; name them apart")

    def _complain(self, what: str) -> None:
        with self._lock:
            if what in self._complained:
                return
            self._complained.add(what)
        _log.error("metrics are left out", reason=what)


class Registry:
    """What a manager is scraped for: its sources, in a registry, rendered as text.

    :param prometheus: a registry to join, shared with the metrics of the application; it is served too, joined by
        :meth:`open`, and left clean by :meth:`close`. ``None``: one of our own, made at the first scrape, with the
        metrics of the process.
    """

    def __init__(self, prometheus: CollectorRegistry | None = None) -> None:
        self._collector = Collector()
        self._lock = threading.Lock()  # guards everything below
        self._prometheus = prometheus
        self._own = prometheus is None
        self._joined = False
        self._left = False  # for good, unless opened again: a scrape that comes too late does not join

    def add_source(self, source: MetricSource) -> None:
        """See :meth:`Collector.add_source`."""
        self._collector.add_source(source)

    def prometheus(self) -> CollectorRegistry:
        """The registry that is scraped, to add metrics of your own. Imports prometheus_client."""
        with self._lock:
            if self._prometheus is None:
                self._prometheus = _new_registry()
            if not (self._joined or self._left):
                self._prometheus.register(self._collector)
                self._joined = True
            return self._prometheus

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics in the format the ``Accept`` header asks for, and their content type."""
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(accept)
        return encode(self.prometheus()), content_type

    def open(self) -> None:
        """Join a registry that was given to us: the application may serve it itself."""
        if not self._own:
            with self._lock:
                self._left = False
            self.prometheus()

    def close(self) -> None:
        """Leave a registry that was given to us, so that a later manager may join it."""
        with self._lock:
            if self._own or self._prometheus is None:
                return
            if self._joined:
                self._prometheus.unregister(self._collector)
            self._joined, self._left = False, True


def _new_registry() -> CollectorRegistry:
    from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
