"""All metrics of a manager, gathered at each scrape (sections 5.1, 5.2, 5.5, 5.6 and 5.8)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from runtime.controller import Controller
from runtime.manager.caches import Caches
from runtime.manager.lifecycle import Lifecycle
from runtime.metrics.registry import MetricSource
from runtime.record import EventBroadcaster
from runtime.workqueue import DURATION_BUCKETS

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["metric_source"]

_INFORMER_LABELS: Final = ("group", "version", "resource", "namespace")
_FIFO_LABELS: Final = ("name", "group", "version", "resource")  # client-go's own (5.6)


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
        yield from _informers(caches)
        yield counter("runtime_events_written", "Requests that stored an event.", (), {(): events.written})
        dropped: dict[tuple[str, ...], float] = {(cause,): float(count) for cause, count in events.dropped.items()}
        yield counter("runtime_events_dropped", "Events not written, by cause.", ("cause",), dropped)
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


def _informers(caches: Caches) -> Iterator[Metric]:
    from runtime.metrics.families import counter, gauge

    synced: dict[tuple[str, ...], float] = {}
    connected: dict[tuple[str, ...], float] = {}
    objects: dict[tuple[str, ...], float] = {}
    versions: dict[tuple[str, ...], float] = {}
    last_event: dict[tuple[str, ...], float] = {}
    relists: dict[tuple[str, ...], float] = {}
    restarts: dict[tuple[str, ...], float] = {}
    quarantined: dict[tuple[str, ...], float] = {}
    errors: dict[tuple[str, ...], float] = {}
    for gvr, informers in caches.all_informers().items():
        for namespace, informer in informers.items():
            labels = (*gvr, namespace)
            state = informer.sync_state
            synced[labels] = float(state.synced)
            connected[labels] = float(state.connected)
            if informer.last_sync_resource_version.isdecimal():
                # A double holds no more digits than these (5.6).
                versions[f"manager/{namespace}".rstrip("/"), *gvr] = int(informer.last_sync_resource_version[-15:])
            objects[labels] = len(informer.indexer.list_keys())
            if state.last_event is not None:
                last_event[labels] = state.last_event.timestamp()
            for reason, count in state.relist_reasons.items():
                relists[*labels, reason] = count
            restarts[labels] = state.watch_restarts
            quarantined[labels] = len(state.quarantined)
            errors[labels] = state.handler_errors
    by = _INFORMER_LABELS
    yield gauge("runtime_informer_synced", "1 once the cache is complete.", by, synced)
    yield gauge("runtime_informer_connected", "1 while a watch is open.", by, connected)
    yield gauge("informer_store_resource_version", "Of the cache, its last 15 digits.", _FIFO_LABELS, versions)
    yield gauge("runtime_informer_objects", "Objects cached.", by, objects)
    yield gauge("runtime_informer_last_event_timestamp_seconds", "Of the last event or bookmark.", by, last_event)
    yield counter("runtime_informer_relists", "Lists after the first, by reason.", (*by, "reason"), relists)
    yield counter("runtime_informer_watch_restarts", "Watches after the first.", by, restarts)
    yield gauge("runtime_informer_quarantined_objects", "Objects that cannot be cached.", by, quarantined)
    yield counter("runtime_informer_handler_errors", "Event handlers that raised.", by, errors)
