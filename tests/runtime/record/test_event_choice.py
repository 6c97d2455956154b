"""V7: which API events are written to."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from runtime.client import Client
from runtime.record import EventBroadcaster
from runtime.record.apis import ASK_AGAIN
from runtime.testing import FakeAPIServer
from runtime.types import GVR, JSONObject
from tests.runtime.record.record_support import CORE, Bench, object_reference, sinks
from tests.support.waiting import eventually

DISCOVERY = "/apis/events.k8s.io/v1"
NAMESPACES = GVR("", "v1", "namespaces")


def asked(bench: Bench) -> int:
    return sum(entry.path == DISCOVERY for entry in bench.server.requests)


def routes(bench: Bench) -> list[tuple[str, str, int]]:
    """Verb, group and answer of each write of an event."""
    return [(entry.verb, entry.group, entry.code) for entry in bench.server.requests.writes("events")]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "runtime.record" and record.levelno >= logging.WARNING
    ]


def test_events_go_where_discovery_has_them_and_it_is_asked_once(auto: Bench) -> None:
    assert asked(auto) == 0  # nothing is asked before it is needed
    for reason in ("One", "Two", "Three"):
        auto.told(reason=reason)
    assert asked(auto) == 1
    assert routes(auto) == [("create", "events.k8s.io", 201)] * 3


def test_where_they_are_not_served_they_are_core_events(auto: Bench) -> None:
    missing = auto.server.faults.add(path=DISCOVERY, status=404)
    auto.told(reason="One")
    hits = missing.hits
    auto.told(reason="Two")
    assert missing.hits == hits
    assert routes(auto) == [("create", "", 201)] * 2
    auto.server.faults.clear()
    auto.clock.advance(ASK_AGAIN)
    auto.told(reason="Three")
    assert routes(auto)[2:] == [("create", "events.k8s.io", 201)]
    auto.told(reason="One")  # what was begun there goes on there
    assert routes(auto)[3:] == [("patch", "", 200)]
    assert auto.counts() == [1, 1, 2]


@pytest.mark.parametrize(
    "fault", [{"status": 403}, {"status": 500}, {"status": 503}, {"drop": "before"}, {"truncate": True}]
)
def test_where_discovery_does_not_answer_the_write_finds_out(auto: Bench, fault: JSONObject) -> None:
    struck = auto.server.faults.add(path=DISCOVERY, **fault)
    for reason in ("One", "Two"):
        auto.told(reason=reason)
    assert routes(auto) == [("create", "events.k8s.io", 201)] * 2
    hits = struck.hits
    auto.clock.advance(60)
    auto.server.faults.clear()
    auto.told(reason="Three")
    assert asked(auto) == hits + 1


def test_recording_does_not_wait_for_discovery_and_nor_does_the_end(auto: Bench) -> None:
    stalled = auto.server.faults.add(path=DISCOVERY, stall=True)
    auto.say(reason="One")
    eventually(lambda: stalled.hits)
    auto.say(reason="Two")
    assert not auto.broadcaster.shutdown(0.1)
    assert sinks() == []
    assert auto.broadcaster.dropped == {"shutdown": 2}


def test_where_a_role_forbids_the_new_ones_they_are_core_events(auto: Bench, caplog: pytest.LogCaptureFixture) -> None:
    refused = auto.server.faults.add(resource="events", group="events.k8s.io", status=403)
    for reason in ("One", "Two", "Three"):
        auto.told(reason=reason)
    assert refused.hits == 1
    assert [(group, code) for _, group, code in routes(auto)] == [("events.k8s.io", 403)] + [("", 201)] * 3
    assert [text for text in warnings(caplog) if "core events are written instead" in text]
    assert len(warnings(caplog)) == 1
    auto.server.faults.clear()
    auto.clock.advance(ASK_AGAIN)
    auto.told(reason="Four")
    assert routes(auto)[4:] == [("create", "events.k8s.io", 201)]
    assert auto.broadcaster.dropped == {}


def test_a_role_may_differ_from_namespace_to_namespace(auto: Bench) -> None:
    auto.client.resource(NAMESPACES).create({"metadata": {"name": "other"}})
    auto.server.faults.add(resource="events", group="events.k8s.io", namespace="other", status=403)
    elsewhere = {**object_reference("p"), "namespace": "other"}
    for reason in ("One", "Two"):
        auto.recorder.event(elsewhere, "Normal", reason, "x")
        auto.settle()
        auto.told(reason=reason)
    assert routes(auto) == [
        ("create", "events.k8s.io", 403),
        ("create", "", 201),
        ("create", "events.k8s.io", 201),
        ("create", "", 201),
        ("create", "events.k8s.io", 201),
    ]


def test_who_may_only_create_there_patches_through_core(auto: Bench) -> None:
    """Roles often forget the patch: the event is the same one, and so is what is told of it."""
    auto.server.faults.add(resource="events", group="events.k8s.io", verb="patch", status=403)
    auto.told()
    auto.told()
    assert auto.counts() == [2]
    assert auto.events()[0]["series"]["count"] == 2
    assert auto.broadcaster.dropped == {}


def test_what_both_refuse_is_rejected_and_the_next_is_tried_in_both(auto: Bench) -> None:
    refused = auto.server.faults.add(resource="events", status=403)
    auto.told(reason="One")
    auto.told(reason="Two")
    assert auto.broadcaster.dropped == {"rejected": 2}
    assert refused.hits == 4


def test_an_api_that_is_forced_is_the_only_one(server: FakeAPIServer) -> None:
    refused = server.faults.add(resource="events", group="events.k8s.io", status=403)
    new, old = Bench(server, "events"), Bench(server, "core")
    for bench in (new, old):
        bench.told()
    assert (refused.hits, new.broadcaster.dropped) == (1, {"rejected": 1})
    assert old.broadcaster.dropped == {}
    assert asked(new) == 0
    new.flush()
    old.flush()


def test_a_namespace_that_ends_takes_no_events_and_nobody_is_alarmed(
    auto: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    namespaces = auto.client.resource(NAMESPACES)
    namespaces.create({"metadata": {"name": "going", "finalizers": ["example.com/wait"]}})
    namespaces.delete("going")
    auto.recorder.event({**object_reference("p"), "namespace": "going"}, "Normal", "Stopped", "x")
    auto.settle()
    assert routes(auto) == [("create", "events.k8s.io", 403)]
    assert auto.broadcaster.dropped == {"rejected": 1}
    assert warnings(caplog) == []
    namespaces.patch("going", {"metadata": {"finalizers": None}})


def test_a_namespace_that_is_not_there_is_no_reason_to_try_the_other(auto: Bench) -> None:
    auto.recorder.event({**object_reference("p"), "namespace": "nowhere"}, "Normal", "Stopped", "x")
    auto.settle()
    assert routes(auto) == [("create", "events.k8s.io", 404)]
    assert auto.broadcaster.dropped == {"rejected": 1}


@contextmanager
def strict_server(group: str) -> Iterator[tuple[FakeAPIServer, Client]]:
    """A server whose user alice may write events of that group only."""
    rules = [{"apiGroups": [group], "resources": ["events"], "verbs": ["create", "patch"]}]
    subject = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "alice"}
    role_ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    with FakeAPIServer(authorization_mode="RBAC") as server, server.client() as admin, server.client("alice") as alice:
        admin.resource(GVR("rbac.authorization.k8s.io", "v1", "roles"), "default").create(
            {"metadata": {"name": "r"}, "rules": rules}
        )
        admin.resource(GVR("rbac.authorization.k8s.io", "v1", "rolebindings"), "default").create(
            {"metadata": {"name": "r"}, "subjects": [subject], "roleRef": role_ref}
        )
        yield server, alice


@pytest.mark.parametrize("group", ["", "events.k8s.io"])
def test_a_role_for_either_api_is_enough(group: str) -> None:
    with strict_server(group) as (server, alice):
        broadcaster = EventBroadcaster(alice)
        recorder = broadcaster.new_recorder("tester")
        for _ in range(3):
            recorder.event(object_reference("p"), "Normal", "Seen", "x")
        assert broadcaster.shutdown(30)
        assert broadcaster.dropped == {}
        (event,) = server.client().resource(CORE, "default").list()
        assert (event["series"]["count"] if group else event["count"]) == 3
