"""V1 to V9 against a server, through events.k8s.io/v1."""

from __future__ import annotations

import pytest

from runtime.record import CorrelatorOptions, EventBroadcaster, sink
from runtime.testing import FakeAPIServer
from tests.runtime.record.record_support import CORE, EVENTS, Bench, count, object_reference
from tests.support.managers import CONFIGMAPS
from tests.support.waiting import eventually

MINUTE = 60.0


def test_an_event_says_who_what_when_and_why(series: Bench) -> None:
    """V1."""
    series.recorder.event(
        *(series.obj, "Warning", "Failed", "it did not go"),
        action="Creating",
        related=object_reference("p"),
        annotations={"a": "b"},
    )
    series.flush()
    (event,) = (event.to_dict() for event in series.client.resource(EVENTS, "default").list())
    about = event["regarding"]
    assert (about["kind"], about["name"], about["uid"]) == ("ConfigMap", "a", series.obj.uid)
    assert (event["type"], event["reason"], event["note"]) == ("Warning", "Failed", "it did not go")
    assert (event["action"], event["related"]["name"]) == ("Creating", "p")
    assert event["metadata"]["annotations"] == {"a": "b"}
    assert event["eventTime"] == "2030-01-01T00:00:00.000000Z"
    assert event["reportingController"] == "tester"
    assert event["reportingInstance"].startswith("tester-")
    assert "series" not in event
    assert "deprecatedCount" not in event


def test_the_first_is_created_the_second_patched_and_the_rest_kept_in_memory(series: Bench) -> None:
    """V3."""
    series.told()
    assert series.counts() == [1]
    series.clock.advance(1.5)
    series.told()
    (event,) = series.events()
    assert event["series"] == {"count": 2, "lastObservedTime": "2030-01-01T00:00:01.500000Z"}
    assert event["eventTime"] == "2030-01-01T00:00:00.000000Z"
    for _ in range(100):
        series.told()
    assert series.writes() == ["create", "patch"]
    assert (series.broadcaster.written, series.broadcaster.merged) == (2, 101)
    series.flush()
    assert series.counts() == [102]
    assert series.writes() == ["create", "patch", "patch"]
    assert series.broadcaster.dropped == {}


def test_a_series_that_goes_on_is_told_every_half_hour(series: Bench) -> None:
    """V4: before the server's TTL of an hour deletes it."""
    series.told()
    series.told()
    for _ in range(5):
        series.advance(5 * MINUTE)
        series.told()
    assert series.counts() == [2]
    series.advance(5 * MINUTE)
    eventually(lambda: series.counts() == [7])
    series.told()
    series.advance(5 * MINUTE)
    series.settle()
    assert series.writes() == ["create", "patch", "patch"]


def test_a_series_that_is_silent_is_told_and_ends(series: Bench) -> None:
    """V4."""
    for _ in range(4):
        series.told()
    series.advance(5 * MINUTE)
    series.told()
    series.advance(6 * MINUTE - 1)
    series.settle()
    assert series.counts() == [2]
    series.clock.advance(1)
    eventually(lambda: series.counts() == [5])
    series.settle()
    series.told()
    assert series.counts() == [1, 5]


def test_a_single_event_is_forgotten_after_six_minutes(series: Bench) -> None:
    """V4."""
    series.told()
    series.advance(6 * MINUTE - 1)
    series.told()
    assert series.counts() == [2]
    series.told(reason="Other")
    series.clock.advance(6 * MINUTE)
    # The next one may come before anybody has looked at what is silent: it begins anew all the same, or goes on.
    eventually(lambda: series.clock.waiters and not series.broadcaster.queued)
    series.flush()
    assert series.counts() == [1, 2]


def test_what_came_while_the_server_was_slow_for_longer_than_the_silence_is_told(series: Bench) -> None:
    """Found by a reviewer: it was forgotten, and not counted as dropped."""
    series.told()
    slow = series.server.faults.add(resource="events", verb="patch", delay=1.0, times=1)
    series.say()
    eventually(lambda: slow.hits)
    series.say()
    series.clock.advance(7 * MINUTE)

    def told() -> bool:
        series.clock.advance(1)
        return series.counts() == [3]

    eventually(told)


def test_a_repetition_that_finds_no_room_is_told_when_it_has_been_silent(
    series: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    series.told()
    monkeypatch.setattr(sink, "MAX_QUEUED", 1)
    stalled = series.server.faults.add(resource="events", namespace="kube-system", stall=True)
    series.recorder.event({**object_reference("p"), "namespace": "kube-system"}, "Normal", "Hanging", "x")
    eventually(lambda: stalled.hits)
    series.say()
    series.server.faults.clear()
    series.settle()
    assert series.counts() == [1]
    series.clock.advance(6 * MINUTE)
    eventually(lambda: series.counts() == [2])


def test_events_that_happened_once_are_kept_by_nobody_but_the_cache(server: FakeAPIServer) -> None:
    bench = Bench(server, "events", CorrelatorOptions(cache_size=10))
    for number in range(50):
        bench.recorder.event(object_reference(f"p{number}"), "Normal", "Made", "it")
    bench.settle()
    bench.idle()
    assert bench.broadcaster._sink._queue.stats().delayed == 0
    bench.flush()


def test_what_cannot_be_told_in_the_end_is_told_later(series: Bench) -> None:
    """V4: the entry stays."""
    for _ in range(3):
        series.told()
    fault = series.server.faults.add(resource="events", status=500, times=1)
    series.advance(6 * MINUTE)
    series.paused(fault)
    assert series.counts() == [2]
    series.say()
    series.clock.advance(10)
    eventually(lambda: series.counts() == [4])


def test_a_series_that_has_expired_on_the_server_is_made_anew(series: Bench) -> None:
    """V6."""
    series.told()
    (old,) = series.events()
    series.client.resource(CORE, "default").delete(old.name)
    series.told()
    (new,) = series.events()
    assert new.uid != old.uid
    assert new["series"]["count"] == 2


def test_another_note_is_another_event(series: Bench) -> None:
    """V2: in client-go it is lost."""
    for note in ("one", "two", "one", "two", "two"):
        series.told(note)
    series.flush()
    assert sorted((event["message"], count(event)) for event in series.events()) == [("one", 2), ("two", 3)]


def test_many_notes_are_combined(series: Bench) -> None:
    """V8: client-go's has no such thing."""
    for number in range(30):
        series.told(f"note {number}", "Noise")
    series.flush()
    assert series.counts() == [1] * 9 + [21]
    assert series.broadcaster.dropped == {}


def test_the_note_of_a_combined_event_is_renewed(series: Bench) -> None:
    """V2: notes cannot be changed, so every six minutes another event tells the latest one."""
    for number in range(20):
        series.told(f"note {number}", "Noise")
    for number in range(20, 29):
        series.advance(MINUTE)
        series.told(f"note {number}", "Noise")
    series.flush()
    combined = {event["message"]: count(event) for event in series.events() if "combined" in event["message"]}
    assert combined == {
        "(combined from similar events): note 9": 16,
        "(combined from similar events): note 25": 4,
    }


def test_a_combined_event_whose_note_repeats_goes_on(server: FakeAPIServer) -> None:
    bench = Bench(server, "events", CorrelatorOptions(max_similar=1))
    bench.told("one")
    for _ in range(3):
        bench.advance(5 * MINUTE)
        bench.told("one")
    bench.flush()
    assert bench.counts() == [4]


def test_no_note_is_renewed_over_the_budget(server: FakeAPIServer) -> None:
    bench = Bench(server, "events", CorrelatorOptions(max_similar=1, burst=1, refill_seconds=3600))
    bench.told("one")
    bench.advance(5 * MINUTE)
    bench.told("two")
    bench.advance(5 * MINUTE)
    bench.told("three")
    bench.flush()
    assert bench.counts() == [3]
    assert bench.broadcaster.dropped == {}


def test_repetitions_cost_no_budget(server: FakeAPIServer) -> None:
    bench = Bench(server, "events", CorrelatorOptions(burst=2))
    for _ in range(5):
        bench.told("one")
    bench.told("two")
    bench.told("three")
    assert bench.broadcaster.dropped == {"spam": 1}
    bench.flush()
    assert bench.counts() == [1, 5]


def test_an_object_that_changes_does_not_end_its_series(series: Bench) -> None:
    """V2: in client-go each change of its resourceVersion does."""
    series.told()
    series.obj = series.client.resource(CONFIGMAPS, "default").patch("a", {"data": {"k": "v"}})
    series.told()
    assert series.counts() == [2]


def test_events_are_found_by_their_object(series: Bench) -> None:
    """V9."""
    series.say()
    series.recorder.event(object_reference("p"), "Normal", "Else", "x")
    series.flush()
    for gvr, field in ((EVENTS, "regarding"), (CORE, "involvedObject")):
        found = series.client.resource(gvr, "default").list(field_selector=f"{field}.name=a,{field}.kind=ConfigMap")
        assert [event["reason"] for event in found] == ["Synced"]


def test_a_message_as_long_as_it_gets_and_odd_characters_are_taken(series: Bench) -> None:
    """V1: the server's limits are in bytes."""
    for message in ("ä" * 1000, "\udcff" * 2000, "\x00\n\t"):
        series.recorder.event(series.obj, "Normal", "R" * 300, message, action="A" * 300)
    series.flush()
    assert series.broadcaster.dropped == {}
    assert len(series.events()) == 3


def test_an_event_about_a_cluster_scoped_object_is_in_default(series: Bench) -> None:
    series.recorder.event({"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n"}}, "Normal", "Seen", "x")
    series.flush()
    assert [event["involvedObject"]["name"] for event in series.events()] == ["n"]


def test_replicas_do_not_count_in_each_others_events(series: Bench) -> None:
    other = EventBroadcaster(series.client, host="other-host", api="events", clock=series.clock)
    for _ in range(2):
        series.say()
        other.new_recorder("tester").event(series.obj, "Normal", "Synced", "all is well")
    series.flush()
    assert other.shutdown(30)
    assert series.counts() == [2, 2]
    assert len({event["reportingInstance"] for event in series.events()}) == 2


def test_a_repetition_while_the_first_is_on_its_way_is_told_after_it(series: Bench) -> None:
    stalled = series.server.faults.add(resource="events", verb="create", stall=True)
    series.say()
    eventually(lambda: stalled.hits)
    series.say()
    series.say()
    series.server.faults.clear()
    series.settle()
    assert series.counts() == [3]
    assert series.writes() == ["create", "patch"]


def test_what_is_retired_while_it_is_written_is_told_to_its_end(server: FakeAPIServer) -> None:
    """The series is forgotten while a count that is not its last is on its way."""
    bench = Bench(server, "events", CorrelatorOptions(cache_size=1))
    bench.told()
    bench.told()
    bench.say()
    stalled = server.faults.add(resource="events", verb="patch", stall=True)
    bench.advance(6 * MINUTE)
    eventually(lambda: stalled.hits)
    bench.say()
    bench.recorder.event(object_reference("p"), "Normal", "Else", "x")
    server.faults.clear()
    bench.settle()
    assert bench.counts() == [1, 4]
    bench.flush()


@pytest.mark.parametrize("field", ["reason", "type"])
def test_what_differs_otherwise_is_another_series(series: Bench, field: str) -> None:
    series.say()
    series.say(reason="Other") if field == "reason" else series.say(type="Warning")
    series.flush()
    assert series.counts() == [1, 1]
