"""What is told of a reconcile while it runs: by log lines, and by spans."""

from __future__ import annotations

import base64
import io
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from runtime.client import ApiError, Client, Unstructured
from runtime.controller import ReconcileContext
from runtime.logging import configure, get_logger, reset
from runtime.manager import Manager
from runtime.testing import FakeAPIServer
from runtime.types import Request, Result, TerminalError
from tests.support.managers import CONFIGMAPS, OFF, SECRETS, configmap, eventually, running

Reconcile = Callable[[Request, ReconcileContext], Result | None]
Run = Callable[[Reconcile], None]


@pytest.fixture
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        yield server


@pytest.fixture
def client(server: FakeAPIServer) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def log() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """All lines so far, whatever their level."""
    stream = io.StringIO()
    configure("debug", "json", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    reset()


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[ReadableSpan]]:
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)  # it could be set only once in a process
    return lambda: list(exporter.get_finished_spans())


@pytest.fixture
def reconciled(client: Client) -> Run:
    """Runs a manager until the reconcile of one ConfigMap has ended once."""

    def run(reconcile: Reconcile) -> None:
        manager = Manager(client, **OFF)
        controller = manager.controller("maps").for_(CONFIGMAPS).complete(reconcile)
        client.resource(CONFIGMAPS, "default").create(configmap("a"))
        with running(manager):
            eventually(lambda: any(outcome.value for outcome in controller.stats.outcomes.values()))

    return run


def told(line: Mapping[str, Any]) -> dict[str, Any]:
    return {key: line.get(key) for key in ("controller", "namespace", "name", "reconcileID")}


def test_every_line_of_a_reconcile_says_of_which(
    server: FakeAPIServer, reconciled: Run, log: Callable[[], list[dict[str, Any]]]
) -> None:
    ids: list[str] = []

    def reconcile(_request: Request, ctx: ReconcileContext) -> None:
        ids.append(ctx.reconcile_id)
        ctx.log.info("mine")
        get_logger("of.the.program").info("deep within")
        logging.getLogger("other.library").warning("of another library")
        server.faults.add(resource="configmaps", status=500, times=1)
        ctx.client.resource(CONFIGMAPS, "default").get("a")

    reconciled(reconcile)
    expected = {"controller": "maps", "namespace": "default", "name": "a", "reconcileID": ids[0]}
    events = [line["event"] for line in log() if told(line) == expected and line["level"] != "debug"]
    assert events == ["mine", "deep within", "of another library", "reconcile failed, trying again"]
    (ended,) = [line for line in log() if told(line) == expected and line["event"] == "reconciled"]
    assert (ended["level"], ended["result"], ended["seconds"] >= 0) == ("debug", "error", True)
    (started,) = [line for line in log() if line["event"] == "controller started"]
    assert set(told(started).values()) == {"maps", None}


def test_a_reconcile_is_a_span_with_its_requests_as_children(
    reconciled: Run, spans: Callable[[], list[ReadableSpan]], log: Callable[[], list[dict[str, Any]]]
) -> None:
    ids: list[str] = []

    def reconcile(_request: Request, ctx: ReconcileContext) -> Result:
        ids.append(ctx.reconcile_id)
        ctx.client.resource(CONFIGMAPS, "default").get("a")
        ctx.log.info("traced")
        return Result(requeue_after=3600)

    reconciled(reconcile)
    child, span = eventually(lambda: spans() if len(spans()) > 1 else None)[:2]
    attributes = dict(span.attributes or {})
    assert attributes.pop("queue_seconds") >= 0  # type: ignore[operator]  # the first key is no burst
    assert (span.name, attributes) == (
        "reconcile maps",
        {
            "controller": "maps",
            "namespace": "default",
            "name": "a",
            "reconcileID": ids[0],
            "result": "requeue_after",
        },
    )
    assert span.parent is None
    assert (child.name, child.parent) == ("get configmaps.v1", span.context)
    (line,) = [line for line in log() if line["event"] == "traced"]
    assert span.context is not None
    assert line["trace_id"] == f"{span.context.trace_id:032x}"
    assert {each.name for each in spans()} == {"get configmaps.v1", "reconcile maps"}  # no watch, no list, no event


@pytest.mark.parametrize("error", [ValueError("no"), TerminalError("never"), SystemExit(3)])
def test_a_reconcile_that_fails_is_a_span_with_its_error(
    reconciled: Run, spans: Callable[[], list[ReadableSpan]], error: BaseException
) -> None:
    def reconcile(_request: Request, ctx: ReconcileContext) -> None:
        raise error

    reconciled(reconcile)
    span = eventually(spans)[0]
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.status.description == str(error)
    assert (span.attributes or {})["result"] == "error"
    assert (span.attributes or {})["error.type"] == type(error).__qualname__
    assert [event.name for event in span.events] == ["exception"]


def test_no_log_line_shows_a_secret(
    tmp_path: Path, log: Callable[[], list[dict[str, Any]]], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong with a Secret, and with who writes it: neither its data nor our token is told."""
    caplog.set_level(logging.DEBUG)
    password, token = "correct-horse", "token-of-the-operator"
    tokens = tmp_path / "tokens.csv"
    tokens.write_text(f"{token},operator,1,system:masters\n")
    ended, seen = threading.Event(), []

    def reconcile(_request: Request, ctx: ReconcileContext) -> None:
        secrets = ctx.client.resource(SECRETS, "default")
        for wrong in (
            {"kind": "Secret", "metadata": {"name": "taken"}},
            {"kind": "Secret", "metadata": {"name": "UPPER"}},
            {"kind": "Secret", "metadata": {"name": "typed"}, "type": "kubernetes.io/tls"},
            {"kind": "Secret", "metadata": {"name": "odd"}, "data": {"no/key": _encoded(password)}},
            {"kind": "Secret", "metadata": {"name": "odd"}, "data": {"key": password}},
            {"kind": "Secret", "metadata": {"name": "odd"}, "stringData": {"key": [password]}},
        ):
            body = {"apiVersion": "v1", "data": {"password": _encoded(password)}, **wrong}
            for write in (secrets.create, lambda body: secrets.apply(body, field_manager="x")):
                try:
                    write(body)
                except ApiError as error:
                    seen.append(error.status)
                    ctx.log.error("cannot write", error=str(error), repr=repr(error), exc_info=error)
        ctx.log.info("objects", one=Unstructured({**wrong, "apiVersion": "v1"}), client=ctx.client, context=ctx)
        ended.set()

    with FakeAPIServer(token_auth_file=tokens) as server, server.client() as client:
        taken = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "taken"}}
        client.resource(SECRETS, "default").create({**taken, "data": {"password": _encoded(password)}})
        manager = Manager(client, **OFF)
        manager.controller("maps").for_(CONFIGMAPS).watches(SECRETS).complete(reconcile)
        client.resource(CONFIGMAPS, "default").create(configmap("a"))
        with running(manager):
            assert ended.wait(30)
            server.faults.add(resource="secrets", verb="watch", status=410, times=1)
            server.faults.add(resource="secrets", status=500, times=3)
            server.faults.add(status=401, times=3)
            server.close_connections()
            relisted = manager.informer(SECRETS).sync_state
            eventually(lambda: manager.informer(SECRETS).sync_state.watch_restarts > relisted.watch_restarts)
    assert len(seen) > 5
    everything = json.dumps(log()) + caplog.text
    assert "cannot write" in everything
    for secret in (password, _encoded(password), token):
        assert secret not in everything


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
