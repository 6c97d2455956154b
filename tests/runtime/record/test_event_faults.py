"""Every kind of fault on every kind of request: what was recorded is on the server, or counted as dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.record import CorrelatorOptions, EventBroadcaster, apis, writer
from runtime.testing import FakeAPIServer, FakeClock
from tests.runtime.record.record_support import CORE, EVENTS, Bench, count, object_reference
from tests.support.waiting import eventually

PASSING: tuple[dict[str, Any], ...] = (
    {"drop": "before"},
    {"drop": "after"},
    {"reset": "before"},
    {"reset": "after"},
    {"truncate": True},
    {"stall": 1.0},
    {"status": 409, "reason": "Conflict"},
    {"status": 429},
    {"status": 429, "retry_after": 30},
    {"status": 500},
    {"status": 503},
    {"status": 504},
)
LASTING: tuple[dict[str, Any], ...] = ({"status": 400}, {"status": 401}, {"status": 413}, {"status": 422})


def ids(fault: dict[str, Any]) -> str:
    return "-".join(str(value) for value in fault.values())


@pytest.fixture(params=["core", "events"])
def bench(server: FakeAPIServer, request: pytest.FixtureRequest) -> Bench:
    return Bench(server, request.param)


def struck(bench: Bench, verb: str, fault: dict[str, Any]) -> None:
    """Record three of a kind while the first request of that verb is struck; all else goes well."""
    if verb == "patch":
        bench.told()
    hit = bench.server.faults.add(verb=verb, resource="events", times=1, **fault)
    # Only for what stalls: on a busy machine, an answer may take as long.
    with mock.patch.object(writer, "CALL_TIMEOUT", 0.5 if "stall" in fault else writer.CALL_TIMEOUT):
        bench.say()
        eventually(lambda: hit.hits)
        bench.say()
        bench.paused(hit)
    bench.clock.advance(30)
    bench.settle()
    bench.flush()


@pytest.mark.parametrize("fault", PASSING, ids=ids)
@pytest.mark.parametrize("verb", ["create", "patch"])
def test_what_passes_is_tried_again_and_counted_once(bench: Bench, verb: str, fault: dict[str, Any]) -> None:
    struck(bench, verb, fault)
    assert bench.broadcaster.dropped == {}
    assert bench.counts() == [2 if verb == "create" else 3]


@pytest.mark.parametrize("fault", LASTING, ids=ids)
@pytest.mark.parametrize("verb", ["create", "patch"])
def test_what_is_refused_is_dropped_and_counted(bench: Bench, verb: str, fault: dict[str, Any]) -> None:
    """E8: the next one begins anew."""
    struck(bench, verb, fault)
    recorded = 2 if verb == "create" else 3
    dropped = bench.broadcaster.dropped
    assert dropped.keys() == {"rejected"}
    assert sum(bench.counts()) == recorded - dropped["rejected"]


def test_a_name_that_is_taken_is_replaced_at_once(bench: Bench) -> None:
    """V6: in client-go the event is lost. Two replicas may record in the same microsecond."""
    other = EventBroadcaster(bench.client, host="other", clock=bench.clock)
    other.new_recorder("tester").event(bench.obj, "Normal", "Synced", "all is well")
    assert other.shutdown(30)
    bench.told()
    assert bench.counts() == [1, 1]
    bench.flush()


def test_an_event_that_is_made_by_another_between_our_requests_is_patched_later(bench: Bench) -> None:
    """V6: the patch finds none, and the create finds one."""
    bench.told()
    missing = bench.server.faults.add(resource="events", verb="patch", status=404, times=1)
    bench.say()
    bench.paused(missing)
    assert bench.counts() == [1]
    bench.clock.advance(10)
    bench.settle()
    assert bench.counts() == [2]
    bench.flush()


def test_a_create_that_took_effect_is_not_told_twice(bench: Bench) -> None:
    """The answer is lost twice: the name is ours, and needs no other."""
    lost = bench.server.faults.add(resource="events", verb="create", drop="after", times=1)
    bench.say()
    eventually(lambda: lost.hits)
    bench.paused(lost)
    bench.say()
    bench.clock.advance(10)
    bench.settle()
    assert bench.counts() == [2]
    assert bench.writes() == ["create", "create", "patch"]
    bench.flush()


def test_a_lost_answer_makes_no_second_event(bench: Bench) -> None:
    lost = bench.server.faults.add(resource="events", verb="create", drop="after", times=1)
    bench.say()
    bench.paused(lost)
    bench.clock.advance(10)
    bench.settle()
    assert bench.counts() == [1]
    assert bench.broadcaster.dropped == {}
    assert bench.writes() == ["create", "create"]
    bench.flush()


def test_the_first_create_counts_where_the_answers_to_several_are_lost(bench: Bench) -> None:
    lost = bench.server.faults.add(resource="events", verb="create", drop="after", times=1)
    bench.say()
    bench.paused(lost)
    bench.say()
    lost = bench.server.faults.add(resource="events", verb="create", drop="before", times=1)
    bench.clock.advance(10)
    bench.paused(lost)
    bench.clock.advance(10)
    bench.settle()
    assert bench.counts() == [2]
    bench.flush()


def test_a_create_that_was_refused_has_not_taken_effect(bench: Bench) -> None:
    """So the event of that name is somebody else's."""
    other = EventBroadcaster(bench.client, host="other", clock=bench.clock)
    other.new_recorder("tester").event(bench.obj, "Normal", "Synced", "all is well")
    assert other.shutdown(30)
    refused = bench.server.faults.add(resource="events", verb="create", status=429, times=1)
    bench.say()
    bench.paused(refused)
    bench.clock.advance(10)
    bench.settle()
    assert bench.counts() == [1, 1]
    bench.flush()


@dataclass(frozen=True)
class Say:
    about: int
    reason: str
    message: str
    type: str


def tell_what_failed(broadcaster: EventBroadcaster, clock: FakeClock) -> None:
    """Let time pass until all is told."""

    def is_told() -> bool:
        if broadcaster.queued:
            clock.advance(10)
        return not broadcaster.queued

    eventually(is_told)


SAYINGS = st.builds(
    Say,
    about=st.integers(0, 2),
    reason=st.sampled_from(["A", "B", "C", "D"]),
    message=st.sampled_from([f"message {number}" for number in range(6)]),
    type=st.sampled_from(["Normal", "Warning"]),
)
STEPS = st.lists(
    st.one_of(
        SAYINGS,
        SAYINGS,
        SAYINGS,
        st.sampled_from([1.0, 200.0, 361.0, 1801.0]),
        st.sampled_from([fault for fault in PASSING if "stall" not in fault]),
        st.just("settle"),
    ),
    max_size=60,
)
OPTIONS = st.builds(
    CorrelatorOptions,
    max_similar=st.integers(1, 4),
    burst=st.integers(1, 6),
    cache_size=st.sampled_from([2, 4096]),
)


@pytest.mark.parametrize("api", ["core", "events", "auto"])
def test_what_was_recorded_is_on_the_server_or_counted(server: FakeAPIServer, api: apis.WhichAPI) -> None:
    client = server.client()
    stored = client.resource(CORE, "default")

    @settings(
        max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
    )
    @given(steps=STEPS, options=OPTIONS)
    def check(steps: list[object], options: CorrelatorOptions) -> None:
        clock = FakeClock()
        broadcaster = EventBroadcaster(client, api=api, options=options, clock=clock)
        recorder = broadcaster.new_recorder("tester")
        recorded = struck = 0
        for step in steps:
            if isinstance(step, Say):
                recorded += 1
                recorder.event(object_reference(f"p{step.about}"), step.type, step.reason, step.message)
            elif isinstance(step, float):
                clock.advance(step)
            elif isinstance(step, dict):
                struck += 1
                if struck <= 3:  # more could be twelve failures of one event
                    server.faults.add(resource="events", probability=0.5, times=3, **step)
            else:
                server.faults.clear()
                tell_what_failed(broadcaster, clock)
        server.faults.clear()
        assert broadcaster.shutdown(30)
        found = list(stored.list())
        for event in found:
            stored.delete(event.name)
        assert sum(count(event) for event in found) == recorded - sum(broadcaster.dropped.values())
        assert set(broadcaster.dropped) <= {"spam"}
        assert broadcaster.queued == 0

    check()
    assert any(entry.group == EVENTS.group for entry in server.requests.writes("events")) == (api != "core")
