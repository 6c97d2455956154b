"""E1 to E10 against a server: never blocks, never raises, loses nothing without counting it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from runtime.client import Client, Unstructured
from runtime.record import CorrelatorOptions, EventBroadcaster, FakeRecorder
from runtime.record.sink import MAX_QUEUED
from runtime.testing import FakeAPIServer, FakeClock
from runtime.types import GVR
from tests.support.managers import CONFIGMAPS, configmap, eventually

EVENTS = GVR("", "v1", "events")


class Bench:
    def __init__(self, server: FakeAPIServer) -> None:
        self.server = server
        self.client = server.client()
        self.clock = FakeClock()
        self.broadcaster = EventBroadcaster(self.client, clock=self.clock)
        self.recorder = self.broadcaster.new_recorder("tester")
        self.obj = self.client.resource(CONFIGMAPS, "default").create(configmap("a"))

    def events(self) -> list[Unstructured]:
        return list(self.client.resource(EVENTS, "default").list())

    def flush(self) -> None:
        assert self.broadcaster.shutdown(10)


@pytest.fixture
def bench(server: FakeAPIServer) -> Iterator[Bench]:
    bench = Bench(server)
    yield bench
    bench.broadcaster.shutdown(5)


def test_an_event_is_stored_with_everything_kubectl_shows(bench: Bench) -> None:
    bench.recorder.eventf(bench.obj, "Normal", "Created", "made %s of %d", "it", 3, action="Creating")
    bench.flush()
    (event,) = (event.to_dict() for event in bench.events())
    about = event["involvedObject"]
    assert (about["kind"], about["apiVersion"], about["name"]) == ("ConfigMap", "v1", "a")
    assert (about["uid"], about["resourceVersion"]) == (bench.obj.uid, bench.obj.resource_version)
    assert (event["type"], event["reason"], event["message"]) == ("Normal", "Created", "made it of 3")
    assert (event["count"], event["action"]) == (1, "Creating")
    assert event["source"]["component"] == event["reportingComponent"] == "tester"
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2030-01-01T00:00:00Z"


def test_a_repeated_event_is_one_event_with_a_count(bench: Bench) -> None:
    for _ in range(4):
        bench.recorder.event(bench.obj, "Normal", "Synced", "all is well")
    bench.flush()
    (event,) = bench.events()
    assert event["count"] == 4
    assert [entry.verb for entry in bench.server.requests.writes("events")] == ["create", "patch", "patch", "patch"]
    assert bench.broadcaster.written == 4


def test_an_event_that_has_expired_on_the_server_is_made_anew(bench: Bench) -> None:
    """E7."""
    bench.recorder.event(bench.obj, "Normal", "Synced", "all is well")
    (old,) = eventually(bench.events)
    bench.client.resource(EVENTS, "default").delete(old.name)
    bench.recorder.event(bench.obj, "Normal", "Synced", "all is well")
    bench.flush()
    (event,) = bench.events()
    assert event["count"] == 2


def test_a_flood_is_cut_off_and_counted(bench: Bench) -> None:
    for number in range(40):
        bench.recorder.event(bench.obj, "Normal", "Noise", f"message {number}")
    bench.flush()
    assert bench.broadcaster.dropped == {"spam": 15}
    assert bench.broadcaster.written == 25
    assert len(bench.events()) == 10  # nine single ones, and one that stands for the rest


@pytest.mark.parametrize("fault", [{"drop": "before"}, {"drop": "after"}])
def test_a_lost_answer_makes_no_second_event(bench: Bench, fault: dict[str, str]) -> None:
    struck = bench.server.faults.add(resource="events", times=1, **fault)  # type: ignore[arg-type]
    bench.recorder.event(bench.obj, "Normal", "Created", "made it")
    eventually(lambda: struck.hits)
    bench.flush()  # it is tried once more on the way out
    assert [event["count"] for event in bench.events()] == [1]


def test_a_refused_event_is_not_tried_again(bench: Bench) -> None:
    """E8: an answer is an answer."""
    struck = bench.server.faults.add(resource="events", status=403)
    bench.recorder.event(bench.obj, "Normal", "Created", "made it")
    eventually(lambda: bench.broadcaster.dropped == {"rejected": 1})
    assert struck.hits == 1


class Unreachable:
    """A broadcaster whose server is gone."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.clock = FakeClock()
        self.broadcaster = EventBroadcaster(Client(url, connect_timeout=0.5), clock=self.clock)
        self.recorder = self.broadcaster.new_recorder("tester")
        self.obj = Unstructured({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p", "namespace": "d"}})


def test_an_unreachable_server_is_tried_twelve_times(caplog: pytest.LogCaptureFixture) -> None:
    gone = Unreachable()
    gone.recorder.event(gone.obj, "Normal", "Created", "made it")
    for _ in range(11):
        gone.clock.wait_for_waiters(1, timeout=10)
        assert gone.broadcaster.dropped == {}
        gone.clock.advance(10)
    eventually(lambda: gone.broadcaster.dropped == {"unreachable": 1})
    assert gone.broadcaster.shutdown(5)
    assert "the API server cannot be reached" in caplog.text


def test_an_event_that_waits_does_not_hold_up_the_others(bench: Bench) -> None:
    """QUIRK E8: client-go's would wait up to two minutes behind it."""
    struck = bench.server.faults.add(resource="events", drop="before", times=1)
    bench.recorder.event(bench.obj, "Normal", "First", "made it")
    eventually(lambda: struck.hits)
    bench.recorder.event(bench.obj, "Normal", "Second", "made it")
    eventually(lambda: [event["reason"] for event in bench.events()] == ["Second"])
    bench.flush()
    assert sorted(event["reason"] for event in bench.events()) == ["First", "Second"]


def test_recording_never_blocks_and_drops_are_counted() -> None:
    gone = Unreachable()
    began = time.monotonic()
    for number in range(MAX_QUEUED + 500):
        about = {"kind": "Pod", "name": f"p{number}"}  # each another, or the spam filter would help to drain the queue
        gone.recorder.event(about, "Normal", "Created", "made it")
    took = time.monotonic() - began
    assert took < 5  # the API was not waited for
    gone.broadcaster.shutdown(0.2)
    assert gone.broadcaster.dropped["queue_full"] > 0


@pytest.mark.parametrize(
    ("about", "kind"),
    [
        ({}, "Normal"),
        (None, "Normal"),
        ({"kind": "Pod", "metadata": {"name": "x"}}, "Error"),
        ({"kind": "Pod", "metadata": None}, "Normal"),
    ],
)
def test_what_makes_no_sense_is_dropped_and_counted(bench: Bench, about: object, kind: str) -> None:
    bench.recorder.event(about, kind, "Created", "made it")  # type: ignore[arg-type]
    assert bench.broadcaster.dropped == {"invalid": 1}


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


def test_whatever_is_handed_in_the_thread_goes_on(bench: Bench) -> None:
    """E1, for callers without a type checker."""
    bench.recorder.event(bench.obj, "Warning", "Failed", ValueError("no such port"))  # type: ignore[arg-type]
    bench.recorder.event(bench.obj, "Warning", "Listed", ["a", "b"])  # type: ignore[arg-type]
    bench.recorder.event(bench.obj, "Warning", ["Reason"], "odd")  # type: ignore[arg-type]
    odd = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p", "namespace": "default", "uid": {"no": "text"}}}
    bench.recorder.event(odd, "Normal", "Odd", "about what?")
    bench.recorder.eventf(bench.obj, "Normal", "Unprintable", "it is %s", Unprintable())
    bench.recorder.event(bench.obj, "Normal", "Fine", "all is well")
    bench.flush()
    messages = {event["reason"]: event["message"] for event in bench.events()}
    assert messages["Failed"] == "no such port"
    assert messages["Listed"] == "['a', 'b']"
    assert messages["Unprintable"] == "it is %s"
    assert messages["Fine"] == "all is well"
    assert "Odd" not in messages


def test_a_count_that_comes_late_takes_nothing_back(bench: Bench) -> None:
    def say() -> None:
        bench.recorder.event(bench.obj, "Normal", "Synced", "all is well")

    def counts() -> list[int]:
        return [event["count"] for event in bench.events()]

    say()
    eventually(lambda: counts() == [1])
    struck = bench.server.faults.add(resource="events", drop="before", times=1)
    say()
    eventually(lambda: struck.hits)
    bench.clock.wait_for_waiters(1, timed=True)
    say()
    eventually(lambda: counts() == [3])
    bench.flush()  # the second one is due again
    assert counts() == [3]


def test_a_message_that_does_not_fit_its_arguments_is_recorded_all_the_same(bench: Bench) -> None:
    bench.recorder.eventf(bench.obj, "Normal", "Created", "%s and %s", "one")
    bench.recorder.eventf(bench.obj, "Normal", "Percent", "100% sure")
    bench.flush()
    assert [event["message"] for event in bench.events()] == ["%s and %s ('one',)", "100% sure"]


def test_shutdown_writes_what_waits_and_drops_what_comes_later(bench: Bench) -> None:
    for number in range(20):
        obj = bench.obj.to_dict()
        obj["metadata"]["name"] = f"obj-{number}"
        bench.recorder.event(obj, "Normal", "Created", "made it")
    bench.flush()
    assert len(bench.events()) == 20
    bench.recorder.event(bench.obj, "Normal", "Late", "nobody writes this")
    assert bench.broadcaster.dropped == {"shutdown": 1}
    assert bench.broadcaster.shutdown(1)  # again is fine


def test_shutdown_keeps_its_time_where_the_server_hangs(bench: Bench) -> None:
    bench.server.faults.add(resource="events", delay=1.0)
    for number in range(30):
        bench.recorder.event(bench.obj, "Normal", f"Reason{number}", "made it")
    began = time.monotonic()
    assert not bench.broadcaster.shutdown(0.3)
    assert time.monotonic() - began < 10  # one request may be on its way; thirty would take half a minute
    assert bench.broadcaster.dropped["shutdown"] > 20


def test_a_broadcaster_that_was_never_used_has_no_thread(server: FakeAPIServer) -> None:
    before = threading.active_count()
    broadcaster = EventBroadcaster(server.client())
    broadcaster.new_recorder("tester")
    assert threading.active_count() == before
    assert broadcaster.shutdown(1)


def test_other_numbers_for_the_correlator(bench: Bench) -> None:
    broadcaster = EventBroadcaster(bench.client, options=CorrelatorOptions(burst=2), host="node-1")
    recorder = broadcaster.new_recorder("tester")
    for _ in range(5):
        recorder.event(bench.obj, "Normal", "Synced", "all is well")
    assert broadcaster.shutdown(10)
    assert broadcaster.dropped == {"spam": 3}
    (event,) = bench.events()
    assert event["source"] == {"component": "tester", "host": "node-1"}
    assert event["reportingInstance"] == "node-1"


def test_the_fake_recorder_remembers() -> None:
    fake = FakeRecorder()
    fake.event({"kind": "Pod"}, "Normal", "Created", "made it")
    fake.eventf({"kind": "Pod"}, "Warning", "Failed", "%s", KeyError("x"))
    assert fake.events == ["Normal Created made it", "Warning Failed 'x'"]
