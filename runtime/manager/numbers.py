"""All metrics of a manager, gathered at each scrape (sections 5.1, 5.2, 5.4 to 5.6 and 5.8)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from runtime.controller import Controller
from runtime.informer.metrics import informer_metrics
from runtime.manager.caches import Caches
from runtime.manager.lifecycle import Lifecycle
from runtime.metrics.registry import MetricSource
from runtime.record import EventBroadcaster
from runtime.record.sink import DROP_CAUSES
from runtime.workqueue import DURATION_BUCKETS

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["metric_source"]


def metric_source(
    caches: Caches,
    controllers: Callable[[], Sequence[Controller]],
    events: EventBroadcaster,
    lifecycle: Lifecycle,
) -> MetricSource:
    """A source for :meth:`Registry.add_source`."""

    def collect() -> Iterable[Metric]:
        from runtime.metrics.families import counter, gauge, queue_metrics, reconcile_metrics

        running = controllers()
        yield from reconcile_metrics([controller.stats for controller in running])
        yield from queue_metrics([controller.queue.stats() for controller in running], DURATION_BUCKETS)
        yield from informer_metrics(caches.by_name().values())
        yield from _cache_metrics(caches)
        yield counter("runtime_events_written", "Requests that stored an event.", (), {(): events.written})
        dropped = {**dict.fromkeys(DROP_CAUSES, 0), **events.dropped}
        causes = {(cause,): count for cause, count in dropped.items()}
        yield counter("runtime_events_dropped", "Events not written, by cause.", ("cause",), causes)
        yield counter("runtime_events_merged", "Events told in another one's count.", (), {(): events.merged})
        yield gauge("runtime_events_queued", "Events that wait to be written.", (), {(): float(events.queued)})
        election = lifecycle.election
        if election is not None:
            stats = election.elector.stats()
            name: tuple[str, ...] = (stats.name,)
            yield gauge("leader_election_master_status", "1 while we lead.", ("name",), {name: float(stats.is_leader)})
            slow = {name: float(stats.slow_paths)}
            yield counter("leader_election_slowpath", "Renewals that read the lease first.", ("name",), slow)
            took = {name: stats.renew_seconds}
            yield gauge("runtime_leader_election_renew_seconds", "Of the last renewal.", ("name",), took)
            left = {name: stats.expires_in}
            yield gauge("runtime_leader_election_expires_in_seconds", "Unless renewed.", ("name",), left)

    return collect


def _cache_metrics(caches: Caches) -> Iterable[Metric]:
    """Whether each declared resource is cached, also one of which there is no informer yet."""
    from runtime.metrics.families import gauge

    labels = ("group", "version", "resource", "required")
    synced: dict[tuple[str, ...], float] = {}
    errors: dict[tuple[str, ...], float] = {}
    for cache in caches.all():
        identity = (*cache.gvr, "true" if cache.required else "false")
        lacks = cache.lacks()
        synced[identity] = float(not lacks)
        for lack in lacks:
            code = str(lack.status) if lack.status else ""
            errors[(*identity, code)] = errors.get((*identity, code), 0.0) + 1.0
    yield gauge("runtime_cache_synced", "1 once all of the resource that is to be cached is.", labels, synced)
    yield gauge(
        "runtime_cache_lacks",
        "Parts of the cache, one per namespace, that are missing, by the HTTP status with which they are refused.",
        (*labels, "code"),
        errors,
    )
