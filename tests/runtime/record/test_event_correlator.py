"""E4 to E6: which series an event belongs to, and whether the budget has room."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from runtime.record.correlator import COMBINED_PREFIX, Correlator, CorrelatorOptions, Match
from runtime.record.event import EventNames, Occurrence, make_occurrence, make_source
from runtime.testing import FakeClock
from runtime.types import JSONObject

POD: JSONObject = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "web", "namespace": "default", "uid": "u1"}}


def named(name: str) -> JSONObject:
    return {**POD, "metadata": {**POD["metadata"], "name": name}}


class Bench:
    """A correlator with its own time."""

    def __init__(self, options: CorrelatorOptions | None = None) -> None:
        self.clock = FakeClock()
        self.correlator = Correlator(self.clock, EventNames(), options)

    def occurrence(
        self, message: str, reason: str = "Pulled", type: str = "Normal", component: str = "kubelet", **more: Any
    ) -> Occurrence:
        about = more.pop("about", POD)
        source = make_source(component, more.pop("host", ""), "node")
        return make_occurrence(source, about, type, reason, message, self.clock.now(), **more)

    def see(self, message: str, **more: Any) -> Match:
        """Find its series, beginning one where there is none."""
        match = self.correlator.find(self.occurrence(message, **more))
        if match.series is None:
            self.correlator.begin(match)
        return match

    def allows(self, **more: Any) -> bool:
        return self.correlator.allows(self.occurrence("m", **more))


def test_the_first_of_its_kind_begins_a_series_which_the_next_finds() -> None:
    bench = Bench()
    assert bench.see("pulled").series is None
    found = bench.see("pulled").series
    assert found is not None
    assert (found.count, found.told, found.message) == (1, 0, "pulled")


@pytest.mark.parametrize(
    "other",
    [
        {"message": "pushed"},
        {"reason": "Pushed"},
        {"type": "Warning"},
        {"component": "scheduler"},
        {"host": "node-2"},
        {"action": "Pull"},
        {"related": named("other")},
        {"about": named("db")},
        {"about": {**POD, "metadata": {**POD["metadata"], "uid": "u2"}}},
        {"about": {"kind": "Pod", "apiVersion": "v1", "name": "web", "namespace": "default", "fieldPath": "x"}},
    ],
)
def test_events_that_differ_are_not_counted_together(other: dict[str, Any]) -> None:
    """E5, V2."""
    bench = Bench()
    bench.see("pulled")
    assert bench.see(other.pop("message", "pulled"), **other).series is None


def test_parts_of_a_key_do_not_run_together() -> None:
    """QUIRK E5: joined without separator, these two would count as one."""
    bench = Bench()
    bench.see("b", reason="a", action="x")
    assert bench.see("", reason="ab", action="x").series is None


def test_the_tenth_distinct_message_is_combined_and_the_next_join_it() -> None:
    bench = Bench()
    for number in range(9):
        assert not bench.see(f"message {number}").combined
    tenth = bench.see("message 9")
    assert tenth.combined
    assert tenth.series is None
    assert tenth.occurrence.message == "(combined from similar events): message 9"
    eleventh = bench.see("message 10")
    assert eleventh.series is not None
    assert eleventh.series.first.message == tenth.occurrence.message


def test_messages_that_are_known_stay_apart_from_the_combined() -> None:
    """E4: of ten only one is forgotten, so that memory is bounded."""
    bench = Bench()
    for number in range(10):
        bench.see(f"message {number}")
    assert not all(bench.see(f"message {number}").combined for number in range(10))


def test_a_combined_message_is_not_longer_than_the_server_takes() -> None:
    bench = Bench(CorrelatorOptions(max_similar=1))
    message = bench.see("x" * 1024).occurrence.message
    assert len(message) == 1024
    assert message.startswith(COMBINED_PREFIX)


def test_repeating_one_message_never_combines() -> None:
    bench = Bench()
    assert not any(bench.see("the same").combined for _ in range(20))


def test_the_window_of_similar_events_slides() -> None:
    bench = Bench()
    for number in range(9):
        bench.see(f"message {number}")
        bench.clock.advance(600)  # far beyond that in sum, but each within the window of the one before
    assert bench.see("message 9").combined
    bench.clock.advance(601)
    assert not bench.see("message 10").combined


def test_a_budget_is_a_burst_and_refills_slowly() -> None:
    bench = Bench()
    assert [bench.allows() for _ in range(30)] == [True] * 25 + [False] * 5
    bench.clock.advance(299)
    assert not bench.allows()
    bench.clock.advance(1)
    assert [bench.allows(), bench.allows()] == [True, False]


def test_each_object_type_and_source_has_its_budget() -> None:
    bench = Bench(CorrelatorOptions(burst=1))
    assert bench.allows()
    assert not bench.allows(reason="Another", action="Too", related=named("other"))
    assert bench.allows(about=named("db"))
    assert bench.allows(type="Warning")
    assert bench.allows(component="scheduler")


def test_memory_is_bounded_and_what_is_forgotten_is_told() -> None:
    bench = Bench(CorrelatorOptions(cache_size=2))
    first, _ = bench.correlator.begin(bench.correlator.find(bench.occurrence("a")))
    bench.see("b")
    bench.see("a")
    match = bench.correlator.find(bench.occurrence("c"))
    _, forgotten = bench.correlator.begin(match)
    assert forgotten is not None
    assert forgotten.message == "b"  # least recently used
    assert bench.see("a").series is first
    assert bench.correlator.holds(first)
    assert not bench.correlator.holds(forgotten)
    bench.correlator.forget(forgotten)  # does no harm
    assert bench.see("b").series is None


@pytest.mark.parametrize("name", [field.name for field in fields(CorrelatorOptions)])
@pytest.mark.parametrize("value", [0, -1])
def test_numbers_that_no_event_could_be_written_with_are_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=name):
        CorrelatorOptions(**{name: value})


def test_one_that_takes_the_place_of_another_replaces_it() -> None:
    bench = Bench(CorrelatorOptions(cache_size=1))
    old, _ = bench.correlator.begin(bench.correlator.find(bench.occurrence("a")))
    new, replaced = bench.correlator.begin(bench.correlator.find(bench.occurrence("a")))
    assert replaced is old
    bench.correlator.forget(old)
    assert bench.correlator.holds(new)
