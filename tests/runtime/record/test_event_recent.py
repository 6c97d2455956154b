"""What was recorded last, told without asking the cluster."""

from __future__ import annotations

from runtime.record.recent import RecentEvents
from runtime.testing import FakeAPIServer
from tests.runtime.record.record_support import Bench


def test_what_repeats_is_counted_and_the_latest_comes_first(server: FakeAPIServer) -> None:
    bench = Bench(server)
    start = bench.clock.now()
    for message in ("a", "b", "a"):
        bench.say(message)
        bench.advance(1)
    recent = bench.broadcaster.recent()
    assert [(event.last.message, event.times) for event in recent] == [("a", 2), ("b", 1)]
    assert recent[0].first_at == start
    assert (recent[0].last.at - start).total_seconds() == 2
    assert recent[0].last.source.component == "tester"
    bench.broadcaster.shutdown()
    bench.say("too late")
    assert bench.broadcaster.recent()[0].last.message == "too late"  # dropped, and told all the same


def test_only_so_many_are_remembered(server: FakeAPIServer) -> None:
    bench = Bench(server)
    bench.broadcaster.shutdown()
    for number in range(105):
        bench.say(f"message {number}")
    bench.say("message 50")
    messages = [event.last.message for event in bench.broadcaster.recent()]
    assert len(messages) == 100
    assert messages[:2] == ["message 50", "message 104"]
    assert messages[-1] == "message 5"


def test_a_new_one_has_nothing_to_tell() -> None:
    assert RecentEvents().latest() == []
