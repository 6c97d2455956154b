"""What informers tell about themselves when they are scraped (sections 5.6 and 5.8 of client-go.md).

Nothing here runs between two scrapes. client-go's three series keep their names, labels and buckets; ours
are called ``runtime_informer_*`` and carry the same labels, so that the two can be joined. The ``reflector_*`` series,
which client-go itself no longer fills, are not published (R27).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import WeakSet, WeakValueDictionary

from runtime.logging import get_logger

from .informer import SharedIndexInformer
from .registration import Registration
from .state import RELIST_REASONS, SyncState
from .versions import is_comparable

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["cached_bytes", "informer_metrics"]

_LABELS: Final = ("name", "group", "version", "resource")
_DIGITS: Final = 15  # of a resource version fit into a double (S8)

_log = get_logger("runtime.informer")
_raw = attrgetter("raw")


class _Identity(NamedTuple):
    name: str
    group: str
    version: str
    resource: str


_identities_lock = threading.Lock()  # guards the next two
_identities: WeakValueDictionary[_Identity, SharedIndexInformer] = WeakValueDictionary()
_refused: WeakSet[SharedIndexInformer] = WeakSet()  # each is complained about once


class _Row(NamedTuple):
    """One informer at the moment of the scrape."""

    labels: _Identity
    informer: SharedIndexInformer
    state: SyncState


def informer_metrics(informers: Iterable[SharedIndexInformer]) -> Iterator[Metric]:
    """The families of these informers, with samples of those that run.

    One informer per (name, group, version, resource) is published in a process, the first that was scraped, until it
    is stopped; another one is logged as an error, once, and publishes nothing (I24). Costs one pass over the cached
    objects, to sum up their bytes.
    """
    from runtime.metrics.families import counter, gauge, histogram

    rows = [
        _Row(_identity(informer), informer, informer.sync_state)
        for informer in informers
        if informer.has_started and not informer.is_stopped and _is_published(informer)
    ]
    for name, text, value_of in _GAUGES:
        yield gauge(name, text, _LABELS, _present({row.labels: value_of(row) for row in rows}))
    for name, text, count_of in _COUNTERS:
        yield counter(name, text, _LABELS, {row.labels: count_of(row.state) for row in rows})
    yield histogram(
        "informer_processing_latency_seconds",
        "From the arrival of a change until it is in the cache and on its way to the handlers.",
        _LABELS,
        {row.labels: row.state.processing for row in rows},
    )
    yield counter(
        "runtime_informer_relists",
        "Lists after the first, by reason.",
        (*_LABELS, "reason"),
        {(*row.labels, reason): row.state.relist_reasons.get(reason, 0) for row in rows for reason in RELIST_REASONS},
    )
    yield counter(
        "runtime_informer_error_events",
        "ERROR events of the server, by HTTP status.",
        (*_LABELS, "code"),
        {(*row.labels, str(code)): count for row in rows for code, count in row.state.error_events.items()},
    )
    yield from _handlers(rows)


def _handlers(rows: Sequence[_Row]) -> Iterator[Metric]:
    """The handlers of each informer; those of one name count as one.

    What the log says of a slow handler (I23) can be seen here at any time.
    """
    from runtime.metrics.families import counter, gauge

    backlog: dict[tuple[str, ...], float] = {}
    ages: dict[tuple[str, ...], float] = {}
    errors: dict[tuple[str, ...], float] = {}
    for row in rows:
        for handler in row.informer.handlers:
            labels = (*row.labels, _handler_name(row.informer, handler))
            backlog[labels] = backlog.get(labels, 0) + handler.backlog
            ages[labels] = max(ages.get(labels, 0.0), handler.backlog_age)
            errors[labels] = errors.get(labels, 0) + handler.errors
    by = (*_LABELS, "handler")
    yield gauge("runtime_informer_handler_backlog", "Notifications that wait for the handler.", by, backlog)
    yield gauge(
        "runtime_informer_handler_backlog_age_seconds",
        "Of the notification that waits longest for the handler.",
        by,
        ages,
    )
    yield counter("runtime_informer_handler_errors", "Calls of the handler that raised.", by, errors)


def _store_version(row: _Row) -> float | None:
    version = row.informer.indexer.resource_version
    return int(version[-_DIGITS:]) if is_comparable(version) else None


def cached_bytes(informer: SharedIndexInformer) -> int:
    """The JSON in its cache. Costs one pass over the objects."""
    # Not counted at each change: to sum up is cheaper as soon as there are more than a few changes per scrape.
    return sum(map(len, map(_raw, informer.indexer.list())))


def _last_error_at(row: _Row) -> float | None:
    at = row.state.last_error_at
    return None if at is None else at.timestamp()


def _present(values: Mapping[_Identity, float | None]) -> dict[_Identity, float]:
    return {labels: value for labels, value in values.items() if value is not None}


# name, text, value; no sample where there is no value yet
_GAUGES: Final[tuple[tuple[str, str, Callable[[_Row], float | None]], ...]] = (
    ("informer_queued_items", "Objects received that are not in the cache yet.", lambda row: row.state.queued),
    ("informer_store_resource_version", f"Of the cache, its last {_DIGITS} digits.", _store_version),
    ("runtime_informer_synced", "1 once the cache holds a complete state.", lambda row: row.state.synced),
    ("runtime_informer_connected", "1 while a watch is open.", lambda row: row.state.connected),
    (
        "runtime_informer_watch_sharers",
        "Informers that this one's watch feeds; all of them report on it.",
        lambda row: row.informer.sharers,
    ),
    (
        "runtime_informer_last_event_age_seconds",
        "Since the last change or bookmark came.",
        lambda row: row.state.event_age,
    ),
    (
        "runtime_informer_last_bookmark_age_seconds",
        "Since the last bookmark came.",
        lambda row: row.state.bookmark_age,
    ),
    (
        "runtime_informer_last_error_timestamp_seconds",
        "When something last went wrong with the API server or an object; readiness and logs say what.",
        _last_error_at,
    ),
    (
        "runtime_informer_quarantined_objects",
        "Objects that the transform, an index function or the key fails on.",
        lambda row: len(row.state.quarantined),
    ),
    ("runtime_informer_store_objects", "Objects in the cache.", lambda row: len(row.informer.indexer)),
    ("runtime_informer_store_bytes", "JSON bytes in the cache.", lambda row: cached_bytes(row.informer)),
)
# name without _total, text, count
_COUNTERS: Final[tuple[tuple[str, str, Callable[[SyncState], int]], ...]] = (
    ("runtime_informer_watch_restarts", "Watches after the first.", lambda state: state.watch_restarts),
    ("runtime_informer_skipped_events", "Watch events that were no object.", lambda state: state.skipped_events),
    (
        "runtime_informer_quarantines",
        "How often an object was quarantined, failed tries again included.",
        lambda state: state.quarantines,
    ),
)


def _handler_name(informer: SharedIndexInformer, handler: Registration) -> str:
    return handler.name.removeprefix(f"informer/{informer.gvr}/")


def _identity(informer: SharedIndexInformer) -> _Identity:
    return _Identity(informer.name, *informer.gvr)


def _is_published(informer: SharedIndexInformer) -> bool:
    identity = _identity(informer)
    with _identities_lock:
        owner = _identities.get(identity)
        if owner is None or owner.is_stopped:
            _identities[identity] = owner = informer
        if owner is informer:
            return True
        complain = informer not in _refused
        _refused.add(informer)
    if complain:
        _log.error(
            "informer publishes no metrics: another one of its name does; give each factory a name of its own",
            name=informer.name,
            resource=str(informer.gvr),
        )
    return False
