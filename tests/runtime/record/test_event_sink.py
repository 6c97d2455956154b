"""E1, E8 and E9: never blocks, never raises, tries again without holding others up, flushes at the end."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from runtime.client import Client, Unstructured
from runtime.record import CorrelatorOptions, EventBroadcaster, FakeRecorder, RecordedEvent
from runtime.record.sink import MAX_QUEUED, MAX_WORKERS
from runtime.testing import FakeAPIServer, FakeClock
from tests.runtime.record.record_support import Bench, object_reference, sinks
from tests.support.waiting import eventually


@pytest.fixture(params=["core", "events"])
def bench(server: FakeAPIServer, request: pytest.FixtureRequest) -> Iterator[Bench]:
    bench = Bench(server, request.param)
    yield bench
    bench.broadcaster.shutdown(30)


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
    gone.recorder.event(gone.obj, "Normal", "Created", "made it")
    for _ in range(11):
        gone.clock.wait_for_waiters(1, timeout=30, timed=True)  # there is one worker, and one event
        assert gone.broadcaster.dropped == {}
        assert gone.broadcaster.queued == 1
        gone.clock.advance(10)
    eventually(lambda: gone.broadcaster.dropped == {"unreachable": 2})
    assert gone.broadcaster.shutdown(30)
    assert "event dropped" in caplog.text
    assert gone.broadcaster.queued == 0


def test_an_event_that_waits_does_not_hold_up_the_others(bench: Bench) -> None:
    """QUIRK E8: client-go's would wait up to two minutes behind it."""
    struck = bench.server.faults.add(resource="events", drop="before", times=1)
    bench.say(reason="First")
    bench.paused(struck)
    bench.say(reason="Second")
    eventually(lambda: [event["reason"] for event in bench.events()] == ["Second"])
    eventually(lambda: bench.broadcaster.queued == 1)
    bench.flush()
    assert sorted(event["reason"] for event in bench.events()) == ["First", "Second"]


def test_a_request_that_hangs_does_not_hold_up_the_others(bench: Bench) -> None:
    """V5."""
    elsewhere = {**object_reference("p"), "namespace": "kube-system"}
    stalled = bench.server.faults.add(resource="events", namespace="kube-system", stall=True)
    for number in range(1, MAX_WORKERS):
        bench.recorder.event(elsewhere, "Normal", f"Hanging{number}", "x")
        eventually(lambda number=number: stalled.hits == number)  # type: ignore[misc]
    bench.say()
    eventually(lambda: bench.counts() == [1])
    eventually(lambda: bench.broadcaster.queued == MAX_WORKERS - 1)
    assert len(sinks()) == MAX_WORKERS
    bench.server.faults.clear()
    bench.flush()
    assert bench.broadcaster.dropped == {}


def test_a_request_that_hangs_does_not_hold_up_what_is_tried_again(bench: Bench) -> None:
    struck = bench.server.faults.add(resource="events", drop="before", times=1)
    bench.say()
    bench.paused(struck)
    stalled = bench.server.faults.add(resource="events", namespace="kube-system", stall=True)
    bench.recorder.event({**object_reference("p"), "namespace": "kube-system"}, "Normal", "Hanging", "x")
    eventually(lambda: stalled.hits)
    bench.clock.advance(10)
    eventually(lambda: bench.counts() == [1])
    bench.server.faults.clear()
    bench.flush()


def test_workers_are_started_as_they_are_needed(bench: Bench) -> None:
    assert sinks() == []
    for number in range(5):
        bench.told(reason=f"Reason{number}")
        bench.idle()
    assert len(sinks()) == 2  # one at work, and one for what comes or falls due meanwhile


def test_where_there_are_no_more_threads_those_there_are_do_it_all(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.told()
    bench.idle()
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("event-sink"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for number in range(20):
        bench.say(reason=f"Reason{number}")
    bench.flush()
    assert len(bench.events()) == 21


@pytest.mark.parametrize("then", ["another", "the end", "never"])
def test_where_there_is_no_thread_at_all_events_wait_for_one(
    bench: Bench, then: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        for _ in range(2):
            bench.say()
        bench.say(reason="Other")
        assert (bench.broadcaster.dropped, bench.broadcaster.queued) == ({}, 2)
        assert caplog.text.count("no thread can be started") == 1
        if then == "never":
            assert bench.broadcaster.shutdown(30)
            assert bench.broadcaster.dropped == {"shutdown": 3}
            return
    if then == "another":
        bench.say()
        eventually(lambda: bench.counts() == [1, 3])
    bench.flush()
    assert bench.counts() == [1, 3 if then == "another" else 2]
    assert bench.broadcaster.dropped == {}


def test_a_forked_process_drops_what_it_records_and_neither_hangs_nor_tells_what_is_the_parents() -> None:
    code = """
import os
from runtime.record import EventBroadcaster
from runtime.testing import FakeAPIServer
with FakeAPIServer() as server, server.client() as client:
    broadcaster = EventBroadcaster(client)
    recorder = broadcaster.new_recorder("tester")
    stalled = server.faults.add(resource="events", stall=True)
    pod = {"kind": "Pod", "apiVersion": "v1", "name": "p", "namespace": "default"}
    recorder.event(pod, "Normal", "Made", "by the parent")
    with broadcaster._sink._lock:  # as a thread of the parent may
        child = os.fork()
        if child == 0:
            recorder.event(pod, "Normal", "Made", "by the child")
            dropped = broadcaster.dropped == {"shutdown": 1} and not broadcaster.queued
            os._exit(0 if dropped and broadcaster.shutdown(None) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    server.faults.clear()
    assert broadcaster.shutdown(30) and broadcaster.dropped == {} and broadcaster.written == 1
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_server_that_asks_for_patience_gets_it(bench: Bench) -> None:
    struck = bench.server.faults.add(resource="events", status=429, retry_after=60, times=1)
    bench.say()
    bench.paused(struck)
    bench.clock.advance(59)
    bench.say(reason="Other")  # whoever looks after this one would see that the first is due
    eventually(lambda: [event["reason"] for event in bench.events()] == ["Other"])
    assert struck.hits == 1
    bench.clock.advance(1)
    eventually(lambda: len(bench.events()) == 2)


def test_recording_never_blocks_and_drops_are_counted(server: FakeAPIServer) -> None:
    bench = Bench(server)
    stalled = server.faults.add(resource="events", stall=True)
    for number in range(MAX_QUEUED + 500):
        bench.recorder.event(object_reference(f"p{number}"), "Normal", "Created", "made it")
    assert stalled.hits <= MAX_WORKERS  # nobody waited for an answer
    assert bench.broadcaster.dropped == {"queue_full": 500}
    assert bench.broadcaster.queued == MAX_QUEUED
    bench.recorder.event(object_reference("p0"), "Normal", "Created", "made it")  # one that waits is but counted
    assert bench.broadcaster.dropped == {"queue_full": 500}
    assert not bench.broadcaster.shutdown(0.1)
    assert bench.broadcaster.dropped == {"queue_full": 500, "shutdown": MAX_QUEUED + 1}


def test_a_repetition_finds_no_room_and_is_told_later(server: FakeAPIServer) -> None:
    bench = Bench(server, "events")
    bench.told()
    server.faults.add(resource="events", stall=True)
    for number in range(MAX_QUEUED):
        bench.recorder.event(object_reference(f"p{number}"), "Normal", "Created", "made it")
    bench.say()
    assert bench.broadcaster.queued == MAX_QUEUED
    assert bench.broadcaster.dropped == {}
    assert not bench.broadcaster.shutdown(0.1)
    assert bench.broadcaster.dropped == {"shutdown": MAX_QUEUED + 1}


@pytest.mark.parametrize(
    ("about", "kind"),
    [
        ({}, "Normal"),
        (None, "Normal"),
        ({"kind": "Pod", "metadata": {"name": "x"}}, "Error"),
        ({"kind": "Pod", "metadata": None}, "Normal"),
        ({"kind": "Pod", "metadata": {"name": "x"}}, ["unhashable"]),
    ],
)
def test_what_makes_no_sense_is_dropped_and_counted(auto: Bench, about: object, kind: str) -> None:
    auto.recorder.event(about, kind, "Created", "made it")  # type: ignore[arg-type]
    auto.recorder.event(auto.obj, "Normal", "", "no reason")
    auto.recorder.event(auto.obj, "Normal", "Related", "x", related="nonsense")  # type: ignore[arg-type]
    assert auto.broadcaster.dropped == {"invalid": 3}


def test_odd_arguments_are_recorded_as_far_as_they_go(bench: Bench) -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise RuntimeError("no")

        __repr__ = __str__

    class Hostile:
        def __str__(self) -> str:
            raise UnprintableError

        __repr__ = __str__

    class UnprintableError(Exception):
        __str__ = __repr__ = Unprintable.__str__

    bench.recorder.event(bench.obj, "Warning", Hostile(), Hostile())  # type: ignore[arg-type]
    bench.recorder.event(bench.obj, Hostile(), "Odd", "x")  # type: ignore[arg-type]
    bench.recorder.event(bench.obj, "Warning", "Failed", ValueError("no such port"))  # type: ignore[arg-type]
    bench.recorder.event(bench.obj, "Warning", "Listed", ["a", "b"])  # type: ignore[arg-type]
    bench.recorder.event(bench.obj, "Warning", "Odd", Unprintable())  # type: ignore[arg-type]
    bench.recorder.eventf(bench.obj, "Warning", "Unprintable", "it is %s", Unprintable())
    bench.recorder.eventf(bench.obj, "Normal", "Created", "%s and %s", "one")
    bench.recorder.eventf(bench.obj, "Normal", "Percent", "100% sure")
    bench.flush()
    assert {event["reason"]: event["message"] for event in bench.events()} == {
        "Failed": "no such port",
        "Listed": "['a', 'b']",
        "Unprintable": "it is %s",
        "Created": "%s and %s ('one',)",
        "Percent": "100% sure",
    }
    assert bench.broadcaster.dropped == {"invalid": 3}


def test_one_that_cannot_be_written_as_json_harms_no_other(bench: Bench) -> None:
    bench.recorder.event(bench.obj, "Normal", "Odd", "x", annotations={"a": object()})  # type: ignore[dict-item]
    bench.say()
    bench.flush()
    assert [event["reason"] for event in bench.events()] == ["Synced"]
    assert bench.broadcaster.dropped == {"rejected": 1}


def test_a_log_handler_that_records_does_no_harm(bench: Bench) -> None:
    recorder = bench.recorder

    class Recording(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            recorder.event(object_reference("p"), "Warning", "Logged", "x")

    handler = Recording()
    logger = logging.getLogger("runtime.record")
    logger.addHandler(handler)
    try:
        bench.server.faults.add(verb="create", resource="events", status=422, times=1)
        bench.say()
        eventually(lambda: [event["reason"] for event in bench.events()] == ["Logged"])
    finally:
        logger.removeHandler(handler)


def test_shutdown_writes_what_waits_and_drops_what_comes_later(bench: Bench) -> None:
    """E9."""
    for number in range(100):
        bench.recorder.event(object_reference(f"p{number}"), "Normal", "Created", "made it")
        bench.recorder.event(object_reference(f"p{number}"), "Normal", "Created", "made it")
    bench.flush()
    assert bench.counts() == [2] * 100
    bench.say()
    assert bench.broadcaster.dropped == {"shutdown": 1}
    assert bench.broadcaster.shutdown(1)  # again is fine
    assert sinks() == []


def test_shutdown_tries_what_has_failed_once_more_and_does_not_wait(bench: Bench) -> None:
    """E9."""
    struck = bench.server.faults.add(resource="events", drop="before")
    bench.say()
    bench.paused(struck)
    assert bench.broadcaster.shutdown(30)
    assert struck.hits == 2
    assert bench.broadcaster.dropped == {"shutdown": 1}


@pytest.mark.parametrize("fault", [{"drop": "after"}, {"delay": 0.2}])
def test_shutdown_tells_what_came_while_a_request_is_on_its_way(bench: Bench, fault: dict[str, object]) -> None:
    struck = bench.server.faults.add(resource="events", times=1, **fault)  # type: ignore[arg-type]
    bench.say()
    eventually(lambda: struck.hits)
    bench.say()
    bench.flush()
    assert bench.counts() == [2]
    assert bench.broadcaster.dropped == {}


def test_shutdown_tells_what_came_while_a_count_is_on_its_way(bench: Bench) -> None:
    bench.told()
    struck = bench.server.faults.add(resource="events", verb="patch", delay=0.2, times=1)
    bench.say()
    eventually(lambda: struck.hits)
    bench.say()
    bench.flush()
    assert bench.counts() == [3]
    assert bench.broadcaster.dropped == {}


def test_the_end_alarms_nobody_over_what_was_told(server: FakeAPIServer, caplog: pytest.LogCaptureFixture) -> None:
    """What is told again for the server's TTL is no event that could be dropped."""
    bench = Bench(server, "events", CorrelatorOptions(refresh_seconds=60.0))
    bench.told()
    bench.told()
    bench.idle()
    refused = server.faults.add(resource="events", verb="patch", status=500)
    bench.clock.advance(60)
    bench.paused(refused)
    assert bench.broadcaster.queued == 1
    bench.flush()
    assert bench.broadcaster.dropped == {}
    assert "dropped" not in caplog.text


def test_failures_of_long_ago_are_not_counted(core: Bench) -> None:
    """Twelve in a row are too many, not twelve in a life."""
    core.told()
    for _ in range(12):
        struck = core.server.faults.add(resource="events", verb="patch", drop="before", times=1)
        core.say()
        core.paused(struck)
        core.clock.advance(10)
        core.settle()
    assert core.counts() == [13]
    assert core.broadcaster.dropped == {}


def test_shutdown_keeps_its_time_where_the_server_hangs(bench: Bench) -> None:
    stalled = bench.server.faults.add(resource="events", stall=True)
    for number in range(20):
        bench.say(reason=f"Reason{number}")
    eventually(lambda: stalled.hits)
    assert not bench.broadcaster.shutdown(0.2)  # the calls take ten seconds each
    assert bench.broadcaster.dropped == {"shutdown": 20}
    assert sinks() == []


def test_a_broadcaster_that_was_never_used_has_no_thread(server: FakeAPIServer) -> None:
    broadcaster = EventBroadcaster(server.client())
    broadcaster.new_recorder("tester")
    assert sinks() == []
    assert broadcaster.shutdown(1)
    assert len(server.requests) == 0


def test_a_name_the_server_would_refuse_is_told_at_once(server: FakeAPIServer) -> None:
    with pytest.raises(ValueError, match="reportingController"):
        EventBroadcaster(server.client()).new_recorder("my controller")


def test_events_from_many_threads_are_all_counted(bench: Bench) -> None:
    def record() -> None:
        for _ in range(200):
            bench.say()

    threads = [threading.Thread(target=record) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bench.flush()
    assert bench.counts() == [1000]
    assert bench.broadcaster.merged == 999


def test_the_fake_recorder_remembers() -> None:
    fake = FakeRecorder()
    pod = {"kind": "Pod"}
    fake.event(pod, "Normal", "Created", "made it")
    fake.eventf(pod, "Warning", "Failed", "%s", KeyError("x"), action="Try", related=pod, annotations={"a": "b"})
    assert fake.events == ["Normal Created made it", "Warning Failed 'x'"]
    assert fake.recorded[1] == RecordedEvent(pod, "Warning", "Failed", "'x'", "Try", pod, {"a": "b"})
