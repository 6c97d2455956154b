"""What a manager publishes, compared with what dashboards expect and with what the docs say."""

from __future__ import annotations

import math
import re
import ssl
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics import parser as openmetrics

from runtime.manager import Manager
from runtime.metrics import ReconcileStats
from runtime.testing import FakeAPIServer
from runtime.tls.certs import Authority
from runtime.types import GVR
from tests.support.managers import CONFIGMAPS, ON, SECRETS, configmap, eventually, http, running
from tests.support.scraping import Scrape

DOCS = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"

TENS = [float(f"1e{exponent}") for exponent in range(-8, 4)]
RECONCILE = [
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9),
    *(1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 60),
]
INFORMER = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
REQUEST = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60]
SIZES = [64, 256, 512, 2**10, 2**12, 2**14, 2**16, 2**18, 2**20, 2**22, 2**24]

Bounds = Sequence[float] | None

# Section 5 of client-go.md: name, type, labels, bounds of the buckets. Dashboards are made of these.
PROMISED: list[tuple[str, str, str, Bounds]] = [
    # 5.1
    ("workqueue_depth", "gauge", "name controller priority", None),
    ("workqueue_adds_total", "counter", "name controller", None),
    ("workqueue_queue_duration_seconds", "histogram", "name controller", TENS),
    ("workqueue_work_duration_seconds", "histogram", "name controller", TENS),
    ("workqueue_unfinished_work_seconds", "gauge", "name controller", None),
    ("workqueue_longest_running_processor_seconds", "gauge", "name controller", None),
    ("workqueue_retries_total", "counter", "name controller", None),
    # 5.2
    ("controller_runtime_reconcile_total", "counter", "controller result", None),
    ("controller_runtime_reconcile_errors_total", "counter", "controller", None),
    ("controller_runtime_terminal_reconcile_errors_total", "counter", "controller", None),
    ("controller_runtime_reconcile_panics_total", "counter", "controller", None),
    ("controller_runtime_reconcile_timeouts_total", "counter", "controller", None),
    ("controller_runtime_reconcile_time_seconds", "histogram", "controller", RECONCILE),
    ("controller_runtime_max_concurrent_reconciles", "gauge", "controller", None),
    ("controller_runtime_active_workers", "gauge", "controller", None),
    # 5.3, where the certificate comes from files
    ("certwatcher_read_certificate_total", "counter", "", None),
    ("certwatcher_read_certificate_errors_total", "counter", "", None),
    # 5.4, the first one always and the others after Client.measure()
    ("rest_client_requests_total", "counter", "code method host", None),
    ("rest_client_request_duration_seconds", "histogram", "verb host", REQUEST),
    ("rest_client_request_size_bytes", "histogram", "verb host", SIZES),
    ("rest_client_response_size_bytes", "histogram", "verb host", SIZES),
    ("rest_client_request_retries_total", "counter", "code verb host", None),
    # 5.5
    ("leader_election_master_status", "gauge", "name", None),
    ("leader_election_slowpath_total", "counter", "name", None),
    # 5.6
    ("informer_queued_items", "gauge", "name group version resource", None),
    ("informer_processing_latency_seconds", "histogram", "name group version resource", INFORMER),
    ("informer_store_resource_version", "gauge", "name group version resource", None),
    # 5.7
    ("process_cpu_seconds_total", "counter", "", None),
    ("process_resident_memory_bytes", "gauge", "", None),
    ("process_virtual_memory_bytes", "gauge", "", None),
    ("process_start_time_seconds", "gauge", "", None),
    ("process_open_fds", "gauge", "", None),
    ("process_max_fds", "gauge", "", None),
    ("python_info", "gauge", "version implementation major minor patchlevel", None),
]


OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"  # what Prometheus prefers


def test_a_given_registry_is_joined_also_where_nobody_asks_the_manager() -> None:
    registry = CollectorRegistry()
    series = ("controller_runtime_max_concurrent_reconciles", {"controller": "maps"})
    with FakeAPIServer() as server, server.client() as client:
        manager = Manager(client, registry=registry, metrics_bind_address="0", health_probe_bind_address="0")
        manager.controller("maps").for_(CONFIGMAPS).complete(lambda *_: None)
        assert registry.get_sample_value(*series) is None
        with running(manager):
            assert registry.get_sample_value(*series) == 1
        assert registry.get_sample_value(*series) is None


ABSENT = GVR("example.com", "v1", "absents")  # nobody has installed it


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a manager with one controller, election, a certificate and detailed requests answers, after some trouble.

    By the Accept header. The manager has ended when the tests begin, for its threads come and go.
    """
    certificates = tmp_path_factory.mktemp("certificates")
    authority = Authority.create()
    pair = authority.serving(("127.0.0.1",))
    (certificates / "tls.crt").write_bytes(pair.certificate)
    (certificates / "tls.key").write_bytes(pair.key)
    secure: dict[str, Any] = {"metrics_secure": True, "metrics_cert_dir": certificates, "metrics_authorization": False}
    trust = ssl.create_default_context(cadata=authority.certificate.decode())
    with FakeAPIServer() as server, server.client() as client:
        client.measure()
        server.faults.add(resource="configmaps", verb="list", status=429, retry_after=0, times=1)  # a retry
        manager = Manager(client, leader_election=True, leader_election_id="lease", **secure, **ON)
        controller = manager.controller("maps").for_(CONFIGMAPS).complete(lambda *_: None)
        informer = manager.informer(CONFIGMAPS)
        manager.cache(ABSENT, required=False)
        with running(manager):
            server.client().resource(CONFIGMAPS, "default").create(configmap("a"))
            eventually(lambda: controller.stats.outcomes["success"].value)
            eventually(lambda: [lack for lack in manager.cache(ABSENT).lacks() if lack.status == 404])
            _expire_the_watch(server)
            eventually(lambda: informer.sync_state.relists and informer.sync_state.connected)
            assert informer.sync_state.error_events == {410: 1}
            assert informer.sync_state.last_error is not None
            return {accept: _scrape(manager.metrics_address, accept, trust) for accept in ("", OPENMETRICS)}


def _scrape(address: str | None, accept: str, trust: ssl.SSLContext) -> str:
    request = urllib.request.Request(f"https://{address}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10, context=trust) as reply:
        assert reply.headers["Content-Type"].startswith(accept.partition(";")[0] or "text/plain")
        text: str = reply.read().decode()
    return text


def _expire_the_watch(server: FakeAPIServer) -> None:
    """Cut all connections when what the watches of configmaps have missed is compacted away."""
    fault = server.faults.add(resource="configmaps", verb="watch", status=429)
    server.close_connections()
    with server.client() as other:
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "default"}}
        other.resource(SECRETS, "default").create(secret)
        other.resource(CONFIGMAPS, "default").create(configmap("b"))
    server.compact()
    server.faults.remove(fault)


@pytest.fixture(scope="module")
def text(scraped: dict[str, str]) -> str:
    return scraped[""]


@pytest.fixture(scope="module")
def seen(text: str) -> Scrape:
    return Scrape(text)


@pytest.mark.parametrize(("name", "kind", "labels", "bounds"), PROMISED, ids=[row[0] for row in PROMISED])
def test_a_dashboard_finds_what_it_expects(seen: Scrape, name: str, kind: str, labels: str, bounds: Bounds) -> None:
    family = seen.families[name.removesuffix("_total")]
    assert family.type == kind
    expected = set(labels.split())
    for sample in family.samples:
        assert set(sample.labels) - {"le"} == expected
        assert sample.name == name if kind != "histogram" else sample.name.startswith(name)
    if bounds is not None:
        first = {key: value for key, value in family.samples[0].labels.items() if key != "le"}
        buckets = [s for s in family.samples if "le" in s.labels and first.items() <= s.labels.items()]
        assert [float(s.labels["le"]) for s in buckets] == [*bounds, math.inf]


def test_the_text_is_well_formed(text: str, seen: Scrape) -> None:
    names = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
    assert len(names) == len(set(names)), "each name once"
    helps = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    for name, kind in names:
        assert helps[name].strip(), name
        assert name.endswith("_total") == (kind == "counter"), name
    for family in seen.families.values():
        assert family.samples, f"{family.name}: this test should provoke it"
        series = [(s.name, tuple(sorted(s.labels.items()))) for s in family.samples]
        assert len(series) == len(set(series)), family.name
        if family.type == "histogram":
            for sample in family.samples:
                if sample.name.endswith("_bucket") and sample.labels["le"] == "+Inf":
                    rest = {key: value for key, value in sample.labels.items() if key != "le"}
                    count = [s.value for s in family.samples if s.name.endswith("_count") and s.labels == rest]
                    assert count == [sample.value]


def test_what_prometheus_asks_for_is_well_formed_too(scraped: dict[str, str], seen: Scrape) -> None:
    parse: Any = openmetrics.text_string_to_metric_families  # has no types
    assert {family.name for family in parse(scraped[OPENMETRICS])} == set(seen.families)


def test_the_docs_list_exactly_what_is_published(seen: Scrape) -> None:
    # Those of the operators are in the same page, and tested with them.
    rows = re.findall(r"^\| `(?!orleans_)(\w+)` \| (\w+) \| ([\w, ]*)\| ", DOCS.read_text(), re.MULTILINE)
    documented = {name: (kind, frozenset(filter(None, re.split(r"[, ]+", labels)))) for name, kind, labels in rows}
    assert len(documented) == len(rows), "each metric once"
    published = {
        family.name + ("_total" if family.type == "counter" else ""): (
            family.type,
            frozenset(key for sample in family.samples for key in sample.labels) - {"le"},
        )
        for family in seen.families.values()
    }
    assert documented == published


def test_alerts_of_the_docs_use_metrics_that_exist(seen: Scrape) -> None:
    alerts = DOCS.read_text().partition("## What to watch")[2]
    used = set(re.findall(r"\b(?:runtime|workqueue|controller_runtime|rest_client|leader_election)_\w+", alerts))
    assert len(used) > 8
    published = {sample.name for family in seen.families.values() for sample in family.samples}
    assert used <= published


def test_outcomes_are_there_before_they_happen(seen: Scrape) -> None:
    for result in ReconcileStats("any", 1).outcomes:
        assert seen.values("controller_runtime_reconcile_total", controller="maps", result=result)


def test_both_labels_of_a_queue_are_the_controllers_name(seen: Scrape) -> None:
    assert seen.value("workqueue_adds_total", name="maps", controller="maps") >= 1
    assert seen.value("workqueue_depth", name="maps", controller="maps", priority="0") == 0


def test_what_is_not_cached_is_seen_with_the_reason(seen: Scrape) -> None:
    labels = {"group": "example.com", "version": "v1", "resource": "absents", "required": "false"}
    assert seen.value("runtime_cache_synced", **labels) == 0
    assert seen.value("runtime_cache_lacks", code="404", **labels) == 1
    assert seen.value("runtime_cache_synced", resource="configmaps", required="true") == 1
    assert seen.values("runtime_cache_lacks", resource="configmaps") == []


def test_the_handlers_of_a_controller_have_its_name(seen: Scrape) -> None:
    assert (
        seen.value("runtime_informer_handler_errors_total", name="manager", resource="configmaps", handler="maps") == 0
    )


def test_each_namespace_that_is_watched_has_its_series() -> None:
    with FakeAPIServer() as server, server.client() as client:
        manager = Manager(client, namespaces=["one", "two"], name="mine", **ON)
        manager.controller("maps").for_(CONFIGMAPS).watches(GVR("", "v1", "nodes")).complete(lambda *_: None)
        with running(manager):
            seen = Scrape(http(manager.metrics_address, "/metrics")[1])
    for name, resource in (("mine/one", "configmaps"), ("mine/two", "configmaps"), ("mine", "nodes")):
        assert seen.value("runtime_informer_synced", name=name, group="", version="v1", resource=resource) == 1
    assert len(seen.values("runtime_informer_synced")) == 3
