"""All metrics of a manager, gathered at each scrape (sections 5.1, 5.2, 5.4 to 5.6 and 5.8)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from runtime.client import Client
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
    client: Client,
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
        yield from client.metrics()
        yield counter("runtime_events_written", "Requests that stored an event.", (), {(): events.written})
        dropped = {**dict.fromkeys(DROP_CAUSES, 0), **events.dropped}
        causes = {(cause,): count for cause, count in dropped.items()}
        yield counter("runtime_events_dropped", "Events not written, by cause.", ("cause",), causes)
        election = lifecycle.election
        yield counter("runtime_events_merged", "Events told in another one's count.", (), {(): events.merged})
        yield gauge("runtime_events_queued", "Events that wait to be written.", (), {(): float(events.queued)})
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
