"""The Prometheus registry of one manager."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

from runtime.logging import get_logger

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

__all__ = ["MetricSource", "Registry"]

MetricSource: TypeAlias = Callable[[], "Iterable[Metric]"]

_log = get_logger(__name__)


class Registry:
    """Collects metric families from sources when scraped, and renders them as text.

    :param prometheus: a registry to join, shared with the metrics of the application; it is served too, and left clean
        by :meth:`close`. ``None``: one of our own, made at the first scrape, with the metrics of the process.
    """

    def __init__(self, prometheus: CollectorRegistry | None = None) -> None:
        self._lock = threading.Lock()  # guards everything below
        self._sources: list[MetricSource] = []
        self._prometheus = prometheus
        self._own = prometheus is None
        self._joined = False

    def add_source(self, source: MetricSource) -> None:
        """Ask ``source`` at each scrape, in the scraping thread. One that raises loses its metrics, not the others'."""
        with self._lock:
            self._sources.append(source)

    def collect(self) -> Iterable[Metric]:
        """The families of all sources; families of one name are merged, as the text format demands."""
        families: dict[str, Metric] = {}
        with self._lock:
            sources = list(self._sources)
        for source in sources:
            try:
                for metric in source():
                    known = families.setdefault(metric.name, metric)
                    if known is not metric:
                        known.samples.extend(metric.samples)
            except Exception as error:
                _log.error("metrics could not be collected", error=repr(error), exc_info=error)
        return families.values()

    def describe(self) -> Iterable[Metric]:
        """Nothing: prometheus_client then does not scrape us to learn our names when we register."""
        return ()

    def prometheus(self) -> CollectorRegistry:
        """The registry that is scraped, to add metrics of your own. Imports prometheus_client."""
        with self._lock:
            if self._prometheus is None:
                self._prometheus = _new_registry()
            if not self._joined:
                self._prometheus.register(self)
                self._joined = True
            return self._prometheus

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics in the format the ``Accept`` header asks for, and their content type."""
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(accept)
        return encode(self.prometheus()), content_type

    def close(self) -> None:
        """Leave a registry that was given to us, so that a later manager may join it."""
        with self._lock:
            if self._joined and not self._own and self._prometheus is not None:
                self._prometheus.unregister(self)
                self._joined = False


def _new_registry() -> CollectorRegistry:
    from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
