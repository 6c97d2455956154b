"""Spans, as OpenTelemetry's own SDK exports them."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from runtime import tracing
from runtime.client import Cancelled, Client, NotFound
from runtime.testing import FakeAPIServer
from tests.support.managers import CONFIGMAPS, configmap

Sent = tuple[Client, list[str | None]]
Spans = Callable[[], dict[str, ReadableSpan]]


def provide(monkeypatch: pytest.MonkeyPatch, sampler: Sampler = ALWAYS_ON) -> tuple[TracerProvider, Spans]:
    """A provider for this test, and what reads its spans by name."""
    provider, exporter = TracerProvider(sampler=sampler), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)  # it could be set only once in a process
    return provider, lambda: {span.name: span for span in exporter.get_finished_spans()}


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    return provide(monkeypatch)[1]


@pytest.fixture
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        yield server


@pytest.fixture
def client(server: FakeAPIServer) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def sent() -> Iterator[Sent]:
    """A client, and the ``traceparent`` of each of its requests as it comes over the wire."""
    parents: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parents.append(self.headers["traceparent"])
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="test-server")
    thread.start()
    with Client(f"http://127.0.0.1:{server.server_port}") as client:
        yield client, parents
    server.shutdown()
    thread.join()
    server.server_close()


def within(name: str) -> trace.Span:
    return trace.get_tracer("test").start_span(name)


def test_a_request_within_a_span_is_its_child(spans: Spans, client: Client) -> None:
    with trace.use_span(within("mine"), end_on_exit=True) as mine:
        client.resource(CONFIGMAPS, "default").create(configmap("a"), field_manager="x")
    span = spans()["create configmaps.v1"]
    assert span.kind is trace.SpanKind.CLIENT
    assert span.parent is not None
    assert span.parent.span_id == mine.get_span_context().span_id
    assert dict(span.attributes or {}) == {
        "verb": "create",
        "resource": "configmaps.v1",
        "object": "default/a",
        "http.request.method": "POST",
        "http.response.status_code": 201,
        "server.address": "127.0.0.1",
        "server.port": int(client.url.rpartition(":")[2]),
        "url.path": "/api/v1/namespaces/default/configmaps",
    }
    assert span.status.is_unset


def test_requests_of_nobodys_span_have_none(spans: Spans, client: Client) -> None:
    client.resource(CONFIGMAPS, "default").list()
    assert spans() == {}


def test_the_server_learns_of_which_trace_a_request_is(spans: Spans, sent: Sent) -> None:
    client, parents = sent
    with trace.use_span(within("mine"), end_on_exit=True):
        client.request("GET", "/x")
    context = spans()["GET /x"].context
    assert context is not None
    assert parents == [f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"]
    assert context.trace_flags.sampled


def test_a_refused_request_is_an_error_with_its_code(spans: Spans, client: Client) -> None:
    with trace.use_span(within("mine"), end_on_exit=True), pytest.raises(NotFound):
        client.resource(CONFIGMAPS, "default").get("none")
    span = spans()["get configmaps.v1"]
    assert span.attributes is not None
    assert (span.attributes["http.response.status_code"], span.attributes["error.type"]) == (404, "404")
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.events == ()  # the traceback belongs to who made the request


def test_repeats_are_counted(spans: Spans, server: FakeAPIServer, client: Client) -> None:
    server.faults.add(resource="configmaps", status=429, retry_after=0, times=2)
    with trace.use_span(within("mine"), end_on_exit=True):
        client.resource(CONFIGMAPS, "default").list()
    attributes = spans()["list configmaps.v1"].attributes
    assert attributes is not None
    assert attributes["http.request.resend_count"] == 2


def test_what_was_never_answered_has_the_name_of_its_error(spans: Spans, client: Client) -> None:
    client.close()
    with trace.use_span(within("mine"), end_on_exit=True), pytest.raises(Cancelled):
        client.resource(CONFIGMAPS, "default").list()
    attributes = spans()["list configmaps.v1"].attributes
    assert attributes is not None
    assert attributes["error.type"] == "Cancelled"
    assert "http.response.status_code" not in attributes


def test_a_stream_is_a_span_until_it_begins(spans: Spans, client: Client) -> None:
    with trace.use_span(within("mine"), end_on_exit=True):
        watch = client.resource(CONFIGMAPS, "default").watch()
        assert "watch configmaps.v1" in spans()
        watch.close()


def test_queries_stay_out(spans: Spans, client: Client) -> None:
    with trace.use_span(within("mine"), end_on_exit=True):
        client.request("GET", "/version?x=y", query={"a": "b"})
    assert (spans()["GET /version"].attributes or {})["url.path"] == "/version"


def test_what_is_not_sampled_says_so_to_the_server(monkeypatch: pytest.MonkeyPatch, sent: Sent) -> None:
    _, spans = provide(monkeypatch, ALWAYS_OFF)
    client, parents = sent
    with trace.use_span(within("mine"), end_on_exit=True):
        client.request("GET", "/x")
        with tracing.reconcile_span("c", "n", "x") as span:
            assert not span.recorded
    assert spans() == {}
    (parent,) = parents
    assert parent is not None
    assert int(parent[-2:], 16) & trace.TraceFlags.SAMPLED == 0


def test_without_a_provider_nothing_is_sent(monkeypatch: pytest.MonkeyPatch, sent: Sent) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    client, parents = sent
    with tracing.reconcile_span("c", "n", "x") as span:
        client.request("GET", "/x")
        span.set("a", 1)
        assert (span.recorded, span.trace_id, span.headers) == (False, "", {})
    assert parents == [None]


def test_a_provider_may_come_late_and_change(monkeypatch: pytest.MonkeyPatch) -> None:
    with tracing.reconcile_span("early", "n", "x"):
        pass
    for _ in range(2):
        _, spans = provide(monkeypatch)
        with tracing.reconcile_span("late", "n", "x"):
            pass
        assert list(spans()) == ["reconcile late"]


def test_the_library_does_not_load_opentelemetry() -> None:
    code = """
import sys
from runtime.client import Client
from runtime.manager import Manager
from runtime.tracing import reconcile_span
from runtime.testing import FakeAPIServer
with FakeAPIServer() as server, server.client() as client, reconcile_span("c", "n", "x"):
    client.request("GET", "/version")
sys.exit(any(name.startswith("opentelemetry") for name in sys.modules))
"""
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, timeout=60, check=False).returncode == 0
