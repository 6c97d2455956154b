"""The audit log: what a file of it says, and that it can be read back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.testing.apiserver import AuditLogError, FakeAPIServer
from runtime.testing.apiserver.audit import Audit
from runtime.testing.apiserver.auditlog import entry_of
from tests.runtime.testing.apiserver.apiserver_helpers import CONFIGMAPS, Answer, Http, Watching, eventually


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


@pytest.fixture
def server(log: Path, tmp_path: Path) -> Iterator[FakeAPIServer]:
    tokens = tmp_path / "tokens"
    tokens.write_text('t1,alice,1,"dev,ops"\n')
    with FakeAPIServer(token_auth_file=tokens, audit_log_path=log) as server:
        yield server


class AsAlice(Http):
    def __call__(self, *args: Any, headers: dict[str, str] | None = None, **options: Any) -> Answer:
        return super().__call__(*args, headers={"Authorization": "Bearer t1", **(headers or {})}, **options)


@pytest.fixture
def alice(server: FakeAPIServer) -> Iterator[Http]:
    client = AsAlice(server)
    yield client
    client.close()


def events(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_an_event_says_who_did_what_and_what_came_of_it(log: Path, alice: Http) -> None:
    answer = alice("POST", f"{CONFIGMAPS}?fieldManager=a%20b", {"metadata": {"name": "a"}})
    (event,) = events(log)
    times = [event.pop(name) for name in ("requestReceivedTimestamp", "stageTimestamp")]
    assert times == sorted(times)
    assert event == {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": answer.headers["audit-id"][0],
        "stage": "ResponseComplete",
        "requestURI": f"{CONFIGMAPS}?fieldManager=a+b",
        "verb": "create",
        "user": {"username": "alice", "groups": ["dev", "ops", "system:authenticated"]},
        "userAgent": "tests/1",
        "objectRef": {"resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 201},
    }


@pytest.mark.parametrize(
    ("body", "content_type", "name"),
    [
        (b'{"metadata": {"name": "j"}}', "application/json", "j"),
        (b"metadata: {name: yam}", "application/yaml", "yam"),
        (b'{"metadata": {"generateName": "g-"}}', "application/json", ""),
        (b'{"metadata": {"name": 5}}', "application/json", ""),
        (b"[not json", "application/json", ""),
        (b"metadata: [", "application/yaml", ""),
        (b"5", "application/yaml", ""),
        (b"&a [*a]", "application/yaml", ""),
        (b'{"metadata":' * 100_000, "application/json", ""),
        (b"", "application/json", ""),
        (b"\xff", "text/plain", ""),
    ],
    ids=lambda given: str(given)[:30],
)
def test_who_creates_says_the_name_in_the_body(
    alice: Http, server: FakeAPIServer, body: bytes, content_type: str, name: str
) -> None:
    alice("POST", CONFIGMAPS, body, content_type=content_type)
    assert server.requests[-1].name == name


def test_a_refusal_says_why(log: Path, alice: Http, server: FakeAPIServer) -> None:
    alice.get(f"{CONFIGMAPS}/none")
    alice.get("/nowhere")
    nobody = Http(server)
    nobody.get("/version")
    nobody.close()
    missing, nowhere, unknown = events(log)
    assert missing["responseStatus"] == {
        "metadata": {},
        "status": "Failure",
        "reason": "NotFound",
        "message": 'configmaps "none" not found',
        "details": {"name": "none", "kind": "configmaps"},
        "code": 404,
    }
    assert nowhere["responseStatus"] == {"metadata": {}, "code": 404}
    assert "objectRef" not in nowhere
    assert unknown["responseStatus"]["code"] == 401


def test_ones_own_id_is_kept(log: Path, alice: Http, server: FakeAPIServer) -> None:
    """To find one's request in the log."""
    answer = alice.get(f"{CONFIGMAPS}/none", **{"Audit-ID": "mine-1"})
    assert answer.headers["audit-id"] == ["mine-1"]
    assert events(log)[0]["auditID"] == server.requests[-1].id == "mine-1"


def test_a_watch_is_told_of_when_it_begins_and_when_it_ends(log: Path, tmp_path: Path) -> None:
    with FakeAPIServer(audit_log_path=tmp_path / "watches.log") as server:
        watch = Watching(server, f"{CONFIGMAPS}?watch=1")
        assert [event["stage"] for event in events(tmp_path / "watches.log")] == ["ResponseStarted"]
        watch.close()
        eventually(lambda: len(events(tmp_path / "watches.log")) == 2, timeout=30)
        begun, ended = events(tmp_path / "watches.log")
        assert (begun["verb"], ended["stage"]) == ("watch", "ResponseComplete")
        assert begun["auditID"] == ended["auditID"]
        assert len(server.requests) == 1


def test_a_dropped_connection_has_no_answer(log: Path, alice: Http, server: FakeAPIServer) -> None:
    server.faults.add(verb="get", drop="after", times=1)
    with pytest.raises((ConnectionError, OSError)):
        alice.get(f"{CONFIGMAPS}/none")
    (event,) = events(log)
    assert "responseStatus" not in event
    assert event["annotations"] == {"runtime.testing/fault": server.requests[0].fault}


def test_what_is_read_back_is_what_server_requests_says(log: Path, alice: Http, server: FakeAPIServer) -> None:
    alice.made(CONFIGMAPS, "a")
    alice.apply(f"{CONFIGMAPS}/a", {"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "v"}}, manager="x=y&z")
    alice.get(f"{CONFIGMAPS}?labelSelector=a%20in%20(b,c)&limit=")
    alice.get("/apis/apps/v1/namespaces/default/deployments/x/scale")
    alice.get("/healthz")
    alice.delete(f"{CONFIGMAPS}/a")
    server.faults.add(verb="get", status=429, times=1)
    alice.get(f"{CONFIGMAPS}/a")

    def comparable(entries: list[Any]) -> list[Any]:
        # The log does not say which type the body had.
        return [{**{name: getattr(e, name) for name in e.__slots__}, "content_type": ""} for e in entries]

    read = comparable([entry_of(event) for event in events(log)])
    assert read == comparable(list(server.requests))
    assert len(read) == 7


def test_a_log_is_appended_to(log: Path, tmp_path: Path) -> None:
    log.write_text('{"earlier": 1}\n')
    with FakeAPIServer(audit_log_path=log) as server:
        api = Http(server)
        api.get("/version")
        api.close()
    assert [event.get("verb") for event in events(log)] == [None, "get"]


def test_a_log_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(AuditLogError, match=r"no/log: No such file"):
        FakeAPIServer(audit_log_path=tmp_path / "no" / "log")


def test_standard_output_is_not_closed(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeAPIServer(audit_log_path="-") as server:
        api = Http(server)
        api.get("/version")
        api.close()
    print("still open")
    event, last = capsys.readouterr().out.splitlines()
    assert json.loads(event)["requestURI"] == "/version"
    assert last == "still open"


def test_a_log_that_cannot_be_written_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with FakeAPIServer(audit_log_path="/dev/full") as full:
        client = Http(full)
        assert client.post(CONFIGMAPS, {"metadata": {"name": "a"}}).status == 201
        assert client.get(f"{CONFIGMAPS}/a").status == 200
        client.close()
        assert [entry.verb for entry in full.requests] == ["create", "get"]
    assert "the audit log lacks a request: No space left on device" in caplog.text


def test_who_acts_as_somebody_else_is_told_with_him(log: Path) -> None:
    with FakeAPIServer(audit_log_path=log) as server:
        client = Http(server)
        assert client("GET", CONFIGMAPS, headers={"Impersonate-User": "bob"}).status == 200
        client.close()
        assert (server.requests[-1].user, server.requests[-1].impersonated) == ("system:admin", "bob")
    (event,) = events(log)
    assert (event["user"]["username"], event["impersonatedUser"]["username"]) == ("system:admin", "bob")
    assert entry_of(event).impersonated == "bob"


def test_the_oldest_requests_are_forgotten_first() -> None:
    kept = Audit(limit=4)
    for number in range(7):
        kept.add(entry_of({"auditID": str(number)}))
        assert 0 < len(kept) <= 4
        assert kept[-1].id == str(number)
    assert [each.id for each in kept] == ["4", "5", "6"]
