"""The numbers, their names and buckets, and the registry that renders them."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterable

import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from runtime.metrics import Collector, Counter, Histogram, MetricSource, ReconcileStats
from runtime.metrics.families import queue_metrics, reconcile_metrics, request_metrics
from runtime.metrics.registry import Registry
from runtime.metrics.requests import RequestStats
from runtime.workqueue import DURATION_BUCKETS, PriorityQueue, Queue
from tests.support.scraping import scrape


def samples(registry: Registry) -> dict[tuple[str, ...], float]:
    """Every sample of a scrape: (name, label values in the order of their names ...) -> value."""
    body, _ = registry.render()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_counts_of_many_threads_add_up() -> None:
    counter, histogram = Counter(), Histogram([1, 2])

    def count() -> None:
        for number in range(3000):
            counter.add()
            histogram.observe(number % 3 + 0.5)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.value == 12000
    assert histogram.snapshot() == ((1, 2), (4000, 4000, 4000), 4000 * (0.5 + 1.5 + 2.5))


def test_a_bucket_includes_its_bound() -> None:
    histogram = Histogram([0.005, 1])
    histogram.observe(0.005)
    histogram.observe(1.0001)
    assert histogram.snapshot()[1] == (1, 0, 1)


def test_reconcile_metrics_have_the_names_and_labels_of_controller_runtime() -> None:
    stats = ReconcileStats("foo", workers=3)
    stats.outcomes["success"].add()
    stats.errors.add(2)
    stats.terminal_errors.add()
    stats.time.observe(0.3)
    registry = Registry()
    registry.add_source(lambda: reconcile_metrics([stats]))
    seen = samples(registry)
    assert seen["controller_runtime_reconcile_total", "foo", "success"] == 1
    for never in ("error", "requeue", "requeue_after"):
        assert seen["controller_runtime_reconcile_total", "foo", never] == 0
    assert seen["controller_runtime_reconcile_errors_total", "foo"] == 2
    assert seen["controller_runtime_terminal_reconcile_errors_total", "foo"] == 1
    assert seen["controller_runtime_reconcile_panics_total", "foo"] == 0
    assert seen["controller_runtime_reconcile_timeouts_total", "foo"] == 0
    assert seen["controller_runtime_max_concurrent_reconciles", "foo"] == 3
    assert seen["controller_runtime_active_workers", "foo"] == 0
    buckets = [key for key in seen if key[0] == "controller_runtime_reconcile_time_seconds_bucket"]
    assert len(buckets) == 40 + 1
    assert seen["controller_runtime_reconcile_time_seconds_bucket", "foo", "0.25"] == 0
    assert seen["controller_runtime_reconcile_time_seconds_bucket", "foo", "0.3"] == 1
    assert seen["controller_runtime_reconcile_time_seconds_bucket", "foo", "60.0"] == 1
    assert seen["controller_runtime_reconcile_time_seconds_sum", "foo"] == pytest.approx(0.3)


def test_queue_metrics_have_the_names_and_labels_of_controller_runtime() -> None:
    queue: PriorityQueue[str] = PriorityQueue(name="foo")
    queue.add("a")
    queue.add("b", priority=-100)
    queue.get()
    queue.add_after("c", 60)
    registry = Registry()
    registry.add_source(lambda: queue_metrics([queue.stats()], DURATION_BUCKETS))
    seen = samples(registry)
    assert seen["workqueue_depth", "foo", "foo", "0"] == 0
    assert seen["workqueue_depth", "foo", "foo", "-100"] == 1
    assert seen["workqueue_adds_total", "foo", "foo"] == 2
    assert seen["workqueue_retries_total", "foo", "foo"] == 1
    assert seen["workqueue_queue_duration_seconds_count", "foo", "foo"] == 1
    assert seen["workqueue_work_duration_seconds_count", "foo", "foo"] == 0
    assert ("workqueue_queue_duration_seconds_bucket", "foo", "1e-08", "foo") in {
        (key[0], key[1], key[2], key[3]) for key in seen if len(key) == 4
    }
    assert seen["workqueue_unfinished_work_seconds", "foo", "foo"] >= 0
    assert seen["workqueue_longest_running_processor_seconds", "foo", "foo"] >= 0


def test_the_priority_label_of_a_plain_queue_is_empty() -> None:
    queue: Queue[str] = Queue(name="plain")
    queue.add("a")
    assert scrape(queue.metrics).value("workqueue_depth", name="plain", controller="plain", priority="") == 1


def test_a_priority_stays_when_its_last_item_goes() -> None:
    queue: PriorityQueue[str] = PriorityQueue(name="few")
    assert scrape(queue.metrics).value("workqueue_depth", name="few", priority="0") == 0  # an alert wants a series
    queue.add("a", priority=-100)
    assert scrape(queue.metrics).value("workqueue_depth", name="few", priority="-100") == 1
    assert queue.get() == "a"
    queue.add("a", priority=-100)  # again, while it is being processed: it wants processing (W16)
    assert scrape(queue.metrics).value("workqueue_depth", name="few", priority="-100") == 1
    queue.done("a")
    assert queue.get() == "a"
    queue.done("a")
    assert scrape(queue.metrics).value("workqueue_depth", name="few", priority="-100") == 0


def test_many_priorities_ever_share_one_label_for_good() -> None:
    queue: PriorityQueue[int] = PriorityQueue(name="many")

    def depths() -> dict[str, float]:
        family = scrape(queue.metrics).families["workqueue_depth"]
        return {sample.labels["priority"]: sample.value for sample in family.samples}

    for priority in range(25):  # one after another, never two at a time: seen is what counts
        queue.add(priority, priority=priority)
        assert queue.get() == priority
        queue.done(priority)
    assert depths() == {str(priority): 0 for priority in range(25)}
    queue.add(26, priority=26)
    queue.add(1, priority=1)
    assert depths() == {"exceeded_cardinality_limit": 2}
    for _ in range(2):
        queue.done(queue.get())
    assert depths() == {"exceeded_cardinality_limit": 0}


def test_a_source_that_raises_costs_only_its_own_metrics() -> None:
    def broken() -> Iterable[Metric]:
        raise RuntimeError("broken")

    registry = Registry()
    registry.add_source(broken)
    registry.add_source(lambda: [GaugeMetricFamily("fine", "Fine.", value=7)])
    assert samples(registry)["fine",] == 7


def test_registering_asks_no_source() -> None:
    asked: list[None] = []

    def source() -> Iterable[Metric]:
        asked.append(None)
        return []

    CollectorRegistry().register(Collector(source))
    assert asked == []


def test_a_source_that_fails_halfway_loses_all_its_metrics() -> None:
    def broken() -> Iterable[Metric]:
        yield GaugeMetricFamily("half", "Half.", value=1)
        raise RuntimeError("broken")

    seen = scrape(broken, lambda: [GaugeMetricFamily("fine", "Fine.", value=7)])
    assert set(seen.families) == {"fine"}


def _family(kind: type[GaugeMetricFamily] | type[CounterMetricFamily], **values: float) -> MetricSource:
    def source() -> Iterable[Metric]:
        family = kind("jobs", "Jobs.", labels=["name"])
        for name, value in values.items():
            family.add_metric([name], value)
        return [family]

    return source


def test_families_of_one_name_are_merged() -> None:
    seen = scrape(_family(GaugeMetricFamily, a=1), _family(GaugeMetricFamily, b=2))
    assert seen.value("jobs", name="a") == 1
    assert seen.value("jobs", name="b") == 2


def test_a_series_of_two_sources_is_published_once_and_complained_about_once(caplog: pytest.LogCaptureFixture) -> None:
    registry = CollectorRegistry()
    collector = Collector(_family(GaugeMetricFamily, a=1))
    collector.add_source(_family(GaugeMetricFamily, a=2, b=3))
    registry.register(collector)
    for _ in range(2):
        assert registry.get_sample_value("jobs", {"name": "a"}) == 1
        assert registry.get_sample_value("jobs", {"name": "b"}) == 3
    (complaint,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "metrics are left out" in complaint.getMessage()
    assert "'name': 'a'" in complaint.getMessage()


def test_requests_of_two_clients_add_up_and_those_of_one_count_once() -> None:
    def source(requests: int) -> MetricSource:
        stats = RequestStats("host:443")
        for _ in range(requests):
            stats.count("200", "GET")
        return lambda: request_metrics(stats)

    one, other = source(3), source(4)
    assert scrape(one, other, one).value("rest_client_requests_total", host="host:443") == 7


def test_a_histogram_of_two_sources_is_complained_about_once(caplog: pytest.LogCaptureFixture) -> None:
    one, other = Queue[str](name="same"), Queue[str](name="same")
    one.add("a")
    one.get()
    seen = scrape(one.metrics, other.metrics)
    assert seen.value("workqueue_queue_duration_seconds_count", name="same") == 1
    complaints = [record.getMessage() for record in caplog.records if "queue_duration" in record.getMessage()]
    assert len(complaints) == 1


def test_two_kinds_of_one_name_are_not_mixed(caplog: pytest.LogCaptureFixture) -> None:
    seen = scrape(_family(GaugeMetricFamily, a=1), _family(CounterMetricFamily, b=2))
    assert seen.values("jobs") == [1]
    assert seen.values("jobs_total") == []
    assert "one source says gauge, another says counter" in caplog.text


def test_the_process_is_measured_too() -> None:
    assert samples(Registry())["process_resident_memory_bytes",] > 0


def test_a_given_registry_is_joined_and_left() -> None:
    given = CollectorRegistry()
    Gauge("app_gauge", "Of the application.", registry=given).set(3)
    first = Registry(given)
    first.add_source(lambda: [GaugeMetricFamily("ours", "Ours.", value=1)])
    assert samples(first)["app_gauge",] == 3
    assert samples(first)["ours",] == 1
    first.close()
    assert given.get_sample_value("ours") is None
    assert samples(first) == {("app_gauge",): 3}  # a scrape that comes too late
    assert given.get_sample_value("ours") is None
    second = Registry(given)  # a second manager in the process must not collide with the first
    second.add_source(lambda: [GaugeMetricFamily("ours", "Ours.", value=2)])
    assert samples(second)["ours",] == 2
    second.close()
    second.open()
    assert given.get_sample_value("ours") == 2


def test_importing_the_package_does_not_import_prometheus_client() -> None:
    code = "import runtime.metrics, runtime.metrics.registry, sys; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
