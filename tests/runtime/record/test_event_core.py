"""E1 to E10 against a server, through core/v1: never blocks, never raises, loses nothing without counting it."""

from __future__ import annotations

import pytest

from runtime.client import Client
from runtime.record import CorrelatorOptions, EventBroadcaster
from runtime.testing import FakeAPIServer
from tests.runtime.record.record_support import CORE, Bench, object_reference
from tests.support.managers import CONFIGMAPS
from tests.support.waiting import eventually


def test_an_event_is_stored_with_everything_kubectl_shows(core: Bench) -> None:
    core.recorder.eventf(
        *(core.obj, "Normal", "Created", "made %s of %d", "it", 3),
        action="Creating",
        related=object_reference("p"),
        annotations={"a": "b"},
    )
    core.flush()
    (event,) = (event.to_dict() for event in core.events())
    about = event["involvedObject"]
    assert (about["kind"], about["apiVersion"], about["name"]) == ("ConfigMap", "v1", "a")
    assert (about["uid"], about["resourceVersion"]) == (core.obj.uid, core.obj.resource_version)
    assert (event["type"], event["reason"], event["message"]) == ("Normal", "Created", "made it of 3")
    assert (event["count"], event["action"], event["related"]["name"]) == (1, "Creating", "p")
    assert event["metadata"]["annotations"] == {"a": "b"}
    assert event["source"]["component"] == event["reportingComponent"] == "tester"
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2030-01-01T00:00:00Z"
    assert (event["eventTime"], event.get("series")) == (None, None)


def test_a_repeated_event_is_one_event_with_a_count(core: Bench) -> None:
    """E5."""
    for _ in range(3):
        core.told()
        core.clock.advance(5)
    (event,) = core.events()
    assert (event["count"], event["lastTimestamp"]) == (3, "2030-01-01T00:00:10Z")
    assert event["firstTimestamp"] == "2030-01-01T00:00:00Z"
    assert core.writes() == ["create", "patch", "patch"]
    assert (core.broadcaster.written, core.broadcaster.merged) == (3, 2)


def test_repetitions_faster_than_the_server_answers_are_one_request(core: Bench) -> None:
    stalled = core.server.faults.add(resource="events", stall=True)
    core.say()
    eventually(lambda: stalled.hits)
    for _ in range(20):
        core.say()
    assert core.broadcaster.queued == 1
    core.server.faults.clear()
    core.settle()
    assert core.writes() == ["create", "patch"]
    assert core.counts() == [21]


def test_an_event_that_has_expired_on_the_server_is_made_anew(core: Bench) -> None:
    """E7."""
    core.told()
    (old,) = core.events()
    core.client.resource(CORE, "default").delete(old.name)
    core.told()
    assert core.counts() == [2]
    assert core.events()[0].uid != old.uid


def test_similar_events_are_combined_and_tell_the_latest_message(core: Bench) -> None:
    """E4."""
    for number in range(15):
        core.told(f"message {number}", "Noise")
    assert core.counts() == [1] * 9 + [6]
    assert "(combined from similar events): message 14" in core.messages()
    core.advance(500)
    core.told("message 15", "Noise")
    assert core.counts() == [1] * 9 + [7]


def test_a_flood_of_reasons_is_cut_off_and_counted(core: Bench) -> None:
    """E6."""
    for number in range(40):
        core.say(reason=f"Reason{number}")
    core.settle()
    assert core.broadcaster.dropped == {"spam": 15}
    assert core.counts() == [1] * 25
    core.clock.advance(300)
    core.say(reason="One")
    core.say(reason="Two")
    core.settle()
    assert core.broadcaster.dropped == {"spam": 16}


def test_repetitions_over_the_budget_are_told_later(core: Bench) -> None:
    """E6, where client-go tells them with the next one that the budget lets through, or never."""
    for _ in range(30):
        core.told()
    assert core.counts() == [25]
    core.advance(300)
    core.told()
    assert core.counts() == [31]
    core.told()
    assert core.counts() == [31]
    core.advance(359)
    core.say("another", "Other")  # that budget has refilled by one, and this takes it
    core.settle()
    assert core.counts() == [1, 31]
    core.clock.advance(1)  # six minutes of silence
    eventually(lambda: core.counts() == [1, 32])
    core.told()
    core.flush()
    assert core.counts() == [1, 33]
    assert core.broadcaster.dropped == {}


def test_a_noisy_event_is_not_told_for_being_over_the_budget(core: Bench) -> None:
    for _ in range(25):
        core.told()
    for _ in range(4):
        core.clock.advance(100)
        core.told()
    # One token came at 300 s; at 360 s after the first that was over the budget it had not been silent.
    assert core.counts() == [28]
    assert core.writes().count("patch") == 25


def test_what_is_forgotten_for_lack_of_memory_is_told(server: FakeAPIServer) -> None:
    bench = Bench(server, "core", CorrelatorOptions(cache_size=1, burst=2))
    for _ in range(5):
        bench.told()
    assert bench.counts() == [2]
    bench.recorder.event(object_reference("p"), "Normal", "Else", "x")
    bench.settle()
    assert bench.counts() == [1, 5]
    bench.told()  # another one about the same object: its budget was forgotten, too
    assert bench.counts() == [1, 1, 5]
    bench.flush()
    assert bench.broadcaster.dropped == {}


def test_a_repetition_with_a_related_object_is_another_event(core: Bench) -> None:
    for name in ("p", "q", "q"):
        core.recorder.event(core.obj, "Normal", "Moved", "moved it", related=object_reference(name))
    core.flush()
    assert core.counts() == [1, 2]


def test_other_numbers_and_a_host(server: FakeAPIServer) -> None:
    """E10."""
    bench = Bench(server)
    options = CorrelatorOptions(burst=2)
    broadcaster = EventBroadcaster(bench.client, options=options, host="node-1", api="core", clock=bench.clock)
    recorder = broadcaster.new_recorder("tester")
    for reason in ("One", "Two", "Three"):
        recorder.event(bench.obj, "Normal", reason, "x")
    assert broadcaster.shutdown(30)
    assert broadcaster.dropped == {"spam": 1}
    event = bench.events()[0]
    assert event["source"] == {"component": "tester", "host": "node-1"}
    assert event["reportingInstance"] == "node-1"


@pytest.mark.parametrize("api", ["", "both"])
def test_an_api_that_is_none(api: str) -> None:
    with pytest.raises(ValueError, match="auto, core or events"):
        EventBroadcaster(Client("http://127.0.0.1:1"), api=api)  # type: ignore[arg-type]


def test_an_object_of_a_list_and_a_dict_will_do(core: Bench) -> None:
    (listed,) = core.client.resource(CONFIGMAPS, "default").list(field_selector="metadata.name=a")
    core.recorder.event(listed, "Normal", "Seen", "x")
    core.recorder.event(listed.to_dict(), "Normal", "Seen", "x")
    core.flush()
    assert core.counts() == [2]
