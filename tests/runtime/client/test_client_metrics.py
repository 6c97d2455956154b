"""What a client counts of its requests (5.4)."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runtime.client import Cancelled, Client, ClientError, ConnectionFailed, DeadlineExceeded, NotFound, load_client
from runtime.types import GVR
from tests.support.scraping import scrape

if TYPE_CHECKING:
    from tests.runtime.client.conftest import Handler, Kit, ScriptedServer, Seen

PODS = GVR("", "v1", "pods")
COUNT = "rest_client_requests_total"


def test_every_request_counts_by_code_method_and_host(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    pods = client.resource(PODS, "ns")
    scripted.then(kit.answer(kit.pod("a")), kit.failure(404, "NotFound"), kit.answer(kit.pod("a"), 201))
    pods.get("a")
    with pytest.raises(NotFound):
        pods.get("b")
    pods.create(kit.pod("a"))
    seen = scrape(client.metrics)
    host = scripted.url.removeprefix("http://")
    assert seen.value(COUNT, code="200", method="GET", host=host) == 1
    assert seen.value(COUNT, code="404", method="GET", host=host) == 1
    assert seen.value(COUNT, code="201", method="POST", host=host) == 1
    assert sum(seen.values(COUNT)) == 3


def test_repeats_count_each(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    scripted.then(kit.failure(429, "TooManyRequests", headers={"Retry-After": "0"}), kit.answer(kit.pod("a")))
    client.resource(PODS, "ns").get("a")
    seen = scrape(client.metrics)
    assert seen.value(COUNT, code="429", method="GET") == 1
    assert seen.value(COUNT, code="200", method="GET") == 1


def test_what_gets_no_answer_counts_as_error(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    scripted.then(kit.drop, kit.drop)
    with pytest.raises(ConnectionFailed):
        client.resource(PODS, "ns").get("a")
    assert scrape(client.metrics).value(COUNT, code="<error>", method="GET") == 2  # a broken read is sent once more


def test_a_server_that_is_not_there_counts_as_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(ConnectionFailed):
            client.request("GET", "/version")
        assert scrape(client.metrics).value(COUNT, code="<error>", method="GET", host=f"127.0.0.1:{port}") == 1


def test_watches_and_derived_clients_count_too(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    scripted.then(kit.chunks(kit.line("ADDED", kit.pod("a", resourceVersion="5"))))
    bound = client.bound()
    with bound.resource(PODS, "ns").watch() as watch:
        assert [event.type for event in watch] == ["ADDED"]
    assert scrape(client.metrics).value(COUNT, code="200", method="GET") == 1


def test_what_is_not_sent_does_not_count(client: Client) -> None:
    client.close()
    with pytest.raises(ClientError):
        client.request("GET", "/version")
    assert scrape(client.metrics).values(COUNT) == []


def test_credentials_in_the_url_are_shown_nowhere(scripted: ScriptedServer, kit: type[Kit]) -> None:
    scripted.then(kit.answer({}))
    with Client(scripted.url.replace("http://", "http://someone:secret@")) as client:
        client.request("GET", "/version")
        assert scrape(client.metrics).value(COUNT, host=scripted.url.removeprefix("http://")) == 1
        assert repr(client) == f"<Client {scripted.url}>"
    with Client("http://someone:secret@127.0.0.1:1/path") as client:
        with pytest.raises(ConnectionFailed, match=r"no connection to http://127\.0\.0\.1:1/path: ") as caught:
            client.request("GET", "/version")
        assert "secret" not in str(caught.value)


def test_details_are_measured_from_measure_on(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    pods = client.resource(PODS, "ns")
    busy = kit.failure(429, "TooManyRequests", headers={"Retry-After": "0"})
    scripted.then(
        kit.answer(kit.pod("a")), busy, kit.answer(b" " * 1000 + b'{"kind":"Pod"}'), kit.answer(kit.pod("b"), 201)
    )
    pods.get("a")
    assert set(scrape(client.metrics).families) == {"rest_client_requests", "runtime_client_refused_writes"}
    client.measure()
    client.measure()  # again is no reset
    pods.get("a")
    pods.create(kit.pod("b"))
    seen = scrape(client.metrics)
    host = scripted.url.removeprefix("http://")
    assert seen.value("rest_client_request_duration_seconds_count", verb="GET", host=host) == 1
    assert seen.value("rest_client_request_duration_seconds_sum", verb="GET", host=host) > 0
    assert seen.value("rest_client_request_duration_seconds_count", verb="POST") == 1
    assert seen.value("rest_client_request_size_bytes_sum", verb="GET") == 0
    assert seen.value("rest_client_request_size_bytes_sum", verb="POST") == len(scripted.requests[-1].body)
    assert seen.value("rest_client_response_size_bytes_count", verb="GET") == 2
    assert seen.value("rest_client_response_size_bytes_bucket", verb="GET", le="1024.0") == 2
    assert seen.value("rest_client_request_retries_total", code="429", verb="GET", host=host) == 1


def test_answers_are_measured_decompressed_and_streams_not_at_all(
    scripted: ScriptedServer, client: Client, kit: type[Kit]
) -> None:
    body = b'{"kind":"PodList","items":[' + b" " * 5000 + b"]}"
    client.measure()
    scripted.then(
        lambda handler, seen: handler.reply(200, gzip.compress(body), {"Content-Encoding": "gzip"}),
        kit.chunks(kit.line("ADDED", kit.pod("a", resourceVersion="5"))),
    )
    pods = client.resource(PODS, "ns")
    pods.list()
    with pods.watch() as watch:
        assert [event.type for event in watch] == ["ADDED"]
    seen = scrape(client.metrics)
    assert seen.value("rest_client_response_size_bytes_sum", verb="GET") == len(body)
    for measured in ("response_size_bytes", "request_size_bytes", "request_duration_seconds"):
        assert seen.value(f"rest_client_{measured}_count", verb="GET") == 1


def test_a_repeat_with_renewed_credentials_counts(scripted: ScriptedServer, kit: type[Kit], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    config = tmp_path / "config"
    cluster = {"name": "c", "cluster": {"server": scripted.url}}
    user = {"name": "u", "user": {"tokenFile": str(token)}}
    context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
    config.write_text(
        json.dumps({"current-context": "x", "clusters": [cluster], "users": [user], "contexts": [context]})
    )

    def refuse(handler: Handler, seen: Seen) -> None:
        token.write_text("new")
        kit.failure(401, "Unauthorized")(handler, seen)

    scripted.then(refuse, kit.answer(kit.pod("a")))
    with load_client(str(config)) as client:
        client.measure()
        client.resource(PODS, "ns").get("a")
        seen = scrape(client.metrics)
    assert seen.value(COUNT, code="401", method="GET") == 1
    assert seen.value("rest_client_request_retries_total", code="401", verb="GET") == 1


def test_a_call_that_fails_is_timed_too(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    client.measure()
    scripted.then(kit.drop, kit.drop)
    with pytest.raises(ConnectionFailed):
        client.resource(PODS, "ns").get("a")
    seen = scrape(client.metrics)
    assert seen.value("rest_client_request_duration_seconds_count", verb="GET") == 1
    assert seen.value("rest_client_request_retries_total", code="<error>", verb="GET") == 1


def test_a_call_that_was_never_sent_is_neither_counted_nor_timed(client: Client) -> None:
    client.measure()
    stopped = threading.Event()
    stopped.set()
    for refused in (client.bound(stop=stopped), client.bound(deadline=client.clock.monotonic() - 1)):
        with pytest.raises((Cancelled, DeadlineExceeded)):
            refused.resource(PODS, "ns").get("a")
    seen = scrape(client.metrics)
    assert seen.values("rest_client_request_duration_seconds_count") == []
    assert seen.values(COUNT) == []


def test_clients_of_one_host_add_up(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    scripted.then(*[kit.answer(kit.pod("a")) for _ in range(5)])
    with Client(scripted.url) as other:
        client.measure()
        other.measure()
        for _ in range(2):
            client.resource(PODS, "ns").get("a")
        derived = client.bound(deadline=client.clock.monotonic() + 60)
        derived.resource(PODS, "ns").get("a")
        other.resource(PODS, "ns").get("a")
        other.resource(PODS, "ns").get("a")
        both = scrape(client.metrics, other.metrics, derived.metrics, client.metrics)  # each client once
        assert both.value(COUNT, code="200", method="GET") == 5
        for part in ("request_duration_seconds_count", "response_size_bytes_count"):
            assert both.value(f"rest_client_{part}", verb="GET") == 5
        assert both.value("rest_client_response_size_bytes_bucket", verb="GET", le="+Inf") == 5
        one = scrape(client.metrics).value("rest_client_response_size_bytes_sum", verb="GET")
        assert both.value("rest_client_response_size_bytes_sum", verb="GET") == pytest.approx(one / 3 * 5)
        assert scrape(client.metrics).value(COUNT, code="200", method="GET") == 3  # nothing was added to its own
