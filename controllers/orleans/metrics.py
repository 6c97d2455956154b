"""Numbers about Orleans clusters: what is in the caches at each scrape, and what this process has done."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from controllers.orleans.census import Census, Cluster
from controllers.orleans.status import is_gateway, oldest_heartbeat
from membership.orleans.status import SiloStatus
from runtime.controller import CacheNotReady
from runtime.metrics.registry import MetricSource
from runtime.types import Request

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_CLUSTER = ("namespace", "orleans_cluster")
_Key = tuple[str, ...]


class Tally:
    """What was done since the process began. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the counts
        self._declared: Counter[_Key] = Counter()
        self._removed: Counter[_Key] = Counter()
        self._finished: Counter[_Key] = Counter()

    def declared(self, key: Request, reason: str) -> None:
        with self._lock:
            self._declared[(*key, reason)] += 1

    def removed(self, key: Request) -> None:
        with self._lock:
            self._removed[tuple(key)] += 1

    def finished(self, key: Request) -> None:
        with self._lock:
            self._finished[tuple(key)] += 1

    def collect(self) -> Iterable[Metric]:
        """The families of a scrape."""
        from runtime.metrics.families import counter

        with self._lock:
            declared, removed, finished = dict(self._declared), dict(self._removed), dict(self._finished)
        text = "Silos that this operator has declared dead, by why."
        yield counter("orleans_operator_silos_declared_dead", text, (*_CLUSTER, "reason"), declared)
        yield counter("orleans_operator_silos_removed", "Rows of dead silos that it has removed.", _CLUSTER, removed)
        text = "Changes of the table that it has finished for writers that were gone."
        yield counter("orleans_operator_changes_finished", text, _CLUSTER, finished)


def metric_source(census: Census, keys: Callable[[], Iterable[Request]], tally: Tally) -> MetricSource:
    """A source for the manager's registry.

    :param keys: of the clusters in the caches; raises CacheNotReady while they are not complete.
    """

    def collect() -> Iterable[Metric]:
        from runtime.metrics.families import gauge

        clusters = _clusters(census, keys)
        named = {(cluster.key.namespace, cluster.key.name): cluster for cluster in clusters}
        entries = {labels: [row.entry for row in cluster.rows] for labels, cluster in named.items()}
        silos = {
            (*labels, status.value): float(sum(entry.status is status for entry in rows))
            for labels, rows in entries.items()
            for status in SiloStatus
        }
        yield gauge("orleans_cluster_silos", "Rows by state.", (*_CLUSTER, "status"), silos)
        gateways = {labels: float(sum(map(is_gateway, rows))) for labels, rows in entries.items()}
        yield gauge("orleans_cluster_gateways", "Active silos that take clients.", _CLUSTER, gateways)
        versions = {
            labels: float(cluster.table_version)
            for labels, cluster in named.items()
            if cluster.table_version is not None
        }
        yield gauge("orleans_cluster_version", "Of the membership table.", _CLUSTER, versions)
        oldest = {labels: found.timestamp() for labels, rows in entries.items() if (found := oldest_heartbeat(rows))}
        text = "The oldest of the last signs of life of silos that are not dead, in seconds since 1970."
        yield gauge("orleans_cluster_oldest_heartbeat_timestamp_seconds", text, _CLUSTER, oldest)
        problems = {labels: float(len(cluster.problems)) for labels, cluster in named.items()}
        yield gauge("orleans_cluster_problems", "What does not fit in the table.", _CLUSTER, problems)
        yield from tally.collect()

    return collect


def _clusters(census: Census, keys: Callable[[], Iterable[Request]]) -> list[Cluster]:
    try:
        found = [census.cluster(key) for key in keys()]
    except CacheNotReady:
        return []
    return [cluster for cluster in found if cluster is not None]
