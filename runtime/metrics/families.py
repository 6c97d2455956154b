"""The metric families of controller-runtime and client-go, made of our plain numbers (section 5).

Dashboards made for controller-runtime must work unchanged: names, labels and buckets are theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from runtime.metrics.reconciles import ReconcileStats
from runtime.metrics.requests import RequestDetails, RequestStats
from runtime.metrics.values import HistogramSnapshot

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["QueueNumbers", "counter", "gauge", "histogram", "queue_metrics", "reconcile_metrics", "request_metrics"]

_MAX_PRIORITIES: Final = 25  # label values that a queue has ever had (5.1)
_TOO_MANY: Final = "exceeded_cardinality_limit"
_QUEUE_LABELS: Final = ("name", "controller")

LabelValues = TypeVar("LabelValues", bound=tuple[str, ...])


class _Durations(Protocol):
    @property
    def counts(self) -> Sequence[int]: ...
    @property
    def total_seconds(self) -> float: ...


class QueueNumbers(Protocol):
    """What a queue tells about itself (``runtime.workqueue.QueueStats``)."""

    @property
    def name(self) -> str: ...
    @property
    def depth(self) -> int: ...
    @property
    def depth_by_priority(self) -> Mapping[int, int]: ...
    @property
    def adds(self) -> int: ...
    @property
    def retries(self) -> int: ...
    @property
    def parked(self) -> int: ...
    @property
    def unfinished_seconds(self) -> float: ...
    @property
    def longest_running_seconds(self) -> float: ...
    @property
    def queue_duration(self) -> _Durations: ...
    @property
    def work_duration(self) -> _Durations: ...


class SummedCounter(CounterMetricFamily):
    """A series that several sources have is one: each counts a share of the whole (see :class:`Collector`)."""

    sums = True


class SummedHistogram(HistogramMetricFamily):
    """See :class:`SummedCounter`."""

    sums = True


def reconcile_metrics(all_stats: Iterable[ReconcileStats]) -> Iterator[Metric]:
    """``controller_runtime_*`` (5.2), one sample per controller in each family."""
    stats = list(all_stats)
    outcomes = CounterMetricFamily(
        "controller_runtime_reconcile", "Reconciles by result.", labels=["controller", "result"]
    )
    times = HistogramMetricFamily(
        "controller_runtime_reconcile_time_seconds", "Length of time per reconcile.", labels=["controller"]
    )
    for one in stats:
        for outcome, count in one.outcomes.items():
            outcomes.add_metric([one.controller, outcome], count.value)
        bounds, counts, total = one.time.snapshot()
        times.add_metric([one.controller], _cumulative(bounds, counts), total)
    yield outcomes
    yield times
    yield _per_controller("controller_runtime_reconcile_errors", "Errors, terminal ones too.", stats, "errors")
    yield _per_controller(
        "controller_runtime_terminal_reconcile_errors", "Errors that are not retried.", stats, "terminal_errors"
    )
    yield _per_controller("controller_runtime_reconcile_panics", "Faults of the program.", stats, "panics")
    yield _per_controller("controller_runtime_reconcile_timeouts", "Deadlines missed.", stats, "timeouts")
    yield _per_controller(
        "runtime_controller_own_write_waits",
        "Reconciles that waited to see their own writes.",
        stats,
        "own_write_waits",
    )
    yield _per_controller(
        "runtime_controller_own_write_timeouts", "Reconciles that did not see them.", stats, "own_write_timeouts"
    )
    waits = HistogramMetricFamily(
        "runtime_controller_own_write_wait_seconds", "How long they waited, in vain or not.", labels=["controller"]
    )
    for one in stats:
        bounds, counts, total = one.own_write_seconds.snapshot()
        waits.add_metric([one.controller], _cumulative(bounds, counts), total)
    yield waits
    active = GaugeMetricFamily("controller_runtime_active_workers", "Workers reconciling.", labels=["controller"])
    limit = GaugeMetricFamily("controller_runtime_max_concurrent_reconciles", "Workers.", labels=["controller"])
    for one in stats:
        active.add_metric([one.controller], one.active.value)
        limit.add_metric([one.controller], one.workers)
    yield active
    yield limit


def queue_metrics(all_stats: Iterable[QueueNumbers], bounds: Sequence[float]) -> Iterator[Metric]:
    """``workqueue_*`` (5.1, W16); the name of a queue is that of its controller, too.

    :param bounds: the buckets of the queues' durations.
    """
    stats = list(all_stats)
    depth = GaugeMetricFamily("workqueue_depth", "Items queued.", labels=[*_QUEUE_LABELS, "priority"])
    adds = CounterMetricFamily("workqueue_adds", "Items added.", labels=_QUEUE_LABELS)
    retries = CounterMetricFamily("workqueue_retries", "Delayed adds.", labels=_QUEUE_LABELS)
    waits = HistogramMetricFamily(
        "workqueue_queue_duration_seconds", "How long an item stays queued.", labels=_QUEUE_LABELS
    )
    works = HistogramMetricFamily(
        "workqueue_work_duration_seconds", "How long processing an item takes.", labels=_QUEUE_LABELS
    )
    unfinished = GaugeMetricFamily(
        "workqueue_unfinished_work_seconds", "Sum of the ages of what is being processed.", labels=_QUEUE_LABELS
    )
    longest = GaugeMetricFamily(
        "workqueue_longest_running_processor_seconds", "Age of the oldest being processed.", labels=_QUEUE_LABELS
    )
    parked = GaugeMetricFamily(
        "runtime_workqueue_parked_items",
        "Items that cannot be processed yet, as keys whose own writes the cache does not show.",
        labels=_QUEUE_LABELS,
    )
    for one in stats:
        names = [one.name, one.name]
        parked.add_metric(names, one.parked)
        for priority, items in _depths(one).items():
            depth.add_metric([*names, priority], items)
        adds.add_metric(names, one.adds)
        retries.add_metric(names, one.retries)
        for family, durations in ((waits, one.queue_duration), (works, one.work_duration)):
            family.add_metric(names, _cumulative(bounds, durations.counts), durations.total_seconds)
        unfinished.add_metric(names, one.unfinished_seconds)
        longest.add_metric(names, one.longest_running_seconds)
    yield from (depth, adds, retries, waits, works, unfinished, longest, parked)


def request_metrics(stats: RequestStats) -> Iterator[Metric]:
    """``rest_client_*`` (5.4): ``rest_client_requests_total`` always, the others if the client measures them; and what
    a fence refused.

    Clients of one host add up. There is no rate limiter in the client, and so no series of it.
    """
    counts = {(code, method, stats.host): count for (code, method), count in stats.counts().items()}
    text = "Requests, by status code, or <error> if no answer came."
    yield counter("rest_client_requests", text, ("code", "method", "host"), counts, SummedCounter)
    text = "Writes not sent because leadership had ended."
    refused = {(stats.host,): stats.refused}
    yield counter("runtime_client_refused_writes", text, ("host",), refused, SummedCounter)
    details = stats.details
    if details is None:
        return
    for name, text, snapshots in _REQUEST_HISTOGRAMS:
        values = {(verb, stats.host): snapshot for verb, snapshot in snapshots(details).items()}
        yield histogram(name, text, ("verb", "host"), values, SummedHistogram)
    retries = {(code, verb, stats.host): count for (code, verb), count in details.retries().items()}
    text = "Repeats, by the answer before."
    yield counter("rest_client_request_retries", text, ("code", "verb", "host"), retries, SummedCounter)


_REQUEST_HISTOGRAMS: Final[tuple[tuple[str, str, Callable[[RequestDetails], Mapping[str, HistogramSnapshot]]], ...]] = (
    ("rest_client_request_duration_seconds", "Of whole calls, with repeats and waits.", RequestDetails.seconds),
    ("rest_client_request_size_bytes", "Of the bodies sent.", RequestDetails.request_bytes),
    ("rest_client_response_size_bytes", "Of the bodies received, decompressed.", RequestDetails.response_bytes),
)


def gauge(name: str, text: str, labels: Sequence[str], values: Mapping[LabelValues, float]) -> Metric:
    """A gauge family: label values -> value."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for names, value in values.items():
        family.add_metric(names, value)
    return family


def counter(
    name: str,
    text: str,
    labels: Sequence[str],
    values: Mapping[LabelValues, float],
    of: type[CounterMetricFamily] = CounterMetricFamily,
) -> Metric:
    """A counter family; ``name`` without its ``_total``."""
    family = of(name, text, labels=labels)
    for names, value in values.items():
        family.add_metric(names, value)
    return family


def histogram(
    name: str,
    text: str,
    labels: Sequence[str],
    values: Mapping[LabelValues, HistogramSnapshot],
    of: type[HistogramMetricFamily] = HistogramMetricFamily,
) -> Metric:
    """A histogram family: label values -> bounds, counts per bucket (not cumulative), sum."""
    family = of(name, text, labels=labels)
    for names, (bounds, counts, total) in values.items():
        family.add_metric(names, _cumulative(bounds, counts), total)
    return family


def _per_controller(name: str, text: str, stats: Sequence[ReconcileStats], attribute: str) -> Metric:
    family = CounterMetricFamily(name, text, labels=["controller"])
    for one in stats:
        family.add_metric([one.controller], getattr(one, attribute).value)
    return family


def _depths(queue: QueueNumbers) -> dict[str, int]:
    """Priority -> depth; one label for all once there were more priorities than Prometheus should tell apart."""
    if not queue.depth_by_priority:
        return {"": queue.depth}
    if len(queue.depth_by_priority) > _MAX_PRIORITIES:
        return {_TOO_MANY: queue.depth}
    return {str(priority): items for priority, items in queue.depth_by_priority.items()}


def _cumulative(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Prometheus' buckets: the count up to each bound, and up to +Inf."""
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip([*bounds, float("inf")], counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), total))
    return buckets
