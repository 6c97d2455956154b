"""E3 to E6: what is written of a stream of events."""

from __future__ import annotations

import itertools

import pytest

from runtime.record.correlator import Correlated, Correlator, CorrelatorOptions
from runtime.record.event import BadEvent, EventFactory
from runtime.testing import FakeClock
from runtime.types import JSONObject

POD = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "web", "namespace": "default", "uid": "u1"}}


class Bench:
    """A correlator with its own time and a factory of events."""

    def __init__(self, options: CorrelatorOptions | None = None) -> None:
        self.clock = FakeClock()
        self.factory = EventFactory(self.clock)
        self.names = itertools.count()
        self.correlator = Correlator(self.clock, lambda about: f"{about}.new{next(self.names)}", options)

    def event(
        self,
        message: str,
        reason: str = "Pulled",
        about: JSONObject = POD,
        type: str = "Normal",
        component: str = "kubelet",
    ) -> JSONObject:
        return self.factory.make(component, "", about, type, reason, message)

    def see(
        self, message: str, reason: str = "Pulled", type: str = "Normal", component: str = "kubelet"
    ) -> Correlated | None:
        return self.correlator.correlate(self.event(message, reason, type=type, component=component))


def written(correlated: Correlated | None) -> Correlated:
    assert correlated is not None
    return correlated


def test_the_first_of_its_kind_is_created() -> None:
    first = written(Bench().see("pulled"))
    assert first.patch is None
    assert first.event["count"] == 1
    assert first.event["message"] == "pulled"


def test_a_repeated_event_patches_count_and_time_of_the_first() -> None:
    bench = Bench()
    first = written(bench.see("pulled"))
    bench.clock.advance(5)
    second = written(bench.see("pulled"))
    assert second.patch == {"count": 2, "lastTimestamp": "2030-01-01T00:00:05Z", "message": "pulled"}
    assert second.event["metadata"]["name"] == first.event["metadata"]["name"]
    assert second.event["firstTimestamp"] == first.event["firstTimestamp"]
    assert written(bench.see("pulled")).event["count"] == 3


def test_the_name_the_server_gave_is_used_for_patches() -> None:
    bench = Bench()
    first = written(bench.see("pulled"))
    bench.correlator.stored(first.key, {"metadata": {"name": "renamed"}})
    assert written(bench.see("pulled")).event["metadata"]["name"] == "renamed"


@pytest.mark.parametrize(
    "other",
    [
        {"message": "pushed"},
        {"reason": "Pushed"},
        {"type": "Warning"},
        {"component": "scheduler"},
    ],
)
def test_events_that_differ_are_not_counted_together(other: dict[str, str]) -> None:
    bench = Bench()
    bench.see("pulled")
    assert written(bench.see(other.pop("message", "pulled"), **other)).patch is None


def test_events_about_different_objects_are_not_counted_together() -> None:
    bench = Bench()
    bench.see("pulled")
    again = POD | {"metadata": POD["metadata"] | {"uid": "u2"}}  # type: ignore[operator]
    assert written(bench.correlator.correlate(bench.event("pulled", about=again))).patch is None


def test_parts_of_a_key_do_not_run_together() -> None:
    """QUIRK E5: joined without separator, these two would count as one."""
    bench = Bench()
    bench.see("b", reason="a")
    assert written(bench.see("", reason="ab")).patch is None


def test_the_tenth_distinct_message_is_combined_and_the_next_patch_it() -> None:
    bench = Bench()
    for number in range(9):
        assert not written(bench.see(f"message {number}")).event["message"].startswith("(combined")
    tenth = written(bench.see("message 9"))
    assert tenth.patch is None
    assert tenth.event["message"] == "(combined from similar events): message 9"
    assert tenth.event["count"] == 1
    eleventh = written(bench.see("message 10"))
    assert eleventh.patch is not None
    assert eleventh.patch["count"] == 2
    assert eleventh.patch["message"] == "(combined from similar events): message 10"
    assert eleventh.event["metadata"]["name"] == tenth.event["metadata"]["name"]


def test_repeating_one_message_never_combines() -> None:
    bench = Bench()
    for _ in range(20):
        assert written(bench.see("the same")).event["message"] == "the same"


def test_the_window_of_similar_events_slides() -> None:
    bench = Bench(CorrelatorOptions(burst=100))
    for number in range(9):
        bench.see(f"message {number}")
        bench.clock.advance(599)  # far beyond 600 s in sum, but each within the window of the one before
    assert written(bench.see("message 9")).event["message"].startswith("(combined")
    bench.clock.advance(601)
    assert written(bench.see("message 10")).event["message"] == "message 10"


def test_a_flood_is_cut_off_after_the_burst_and_refills_slowly() -> None:
    bench = Bench()
    outcomes = [bench.see("again") is not None for _ in range(30)]
    assert outcomes == [True] * 25 + [False] * 5
    bench.clock.advance(300)
    assert bench.see("again") is not None
    assert bench.see("again") is None


def test_what_the_filter_drops_is_counted_all_the_same() -> None:
    bench = Bench()
    for _ in range(30):
        bench.see("again")
    bench.clock.advance(300)
    assert written(bench.see("again")).event["count"] == 31


def test_the_filter_judges_each_object_and_type_by_itself() -> None:
    bench = Bench()
    for _ in range(26):
        bench.see("again")
    other = POD | {"metadata": POD["metadata"] | {"name": "db"}}  # type: ignore[operator]
    assert bench.correlator.correlate(bench.event("again", about=other)) is not None
    assert bench.see("again", type="Warning") is not None
    assert bench.see("again") is None


def test_memory_is_bounded_and_forgets_the_least_recent() -> None:
    bench = Bench(CorrelatorOptions(cache_size=2, burst=100))
    bench.see("a")
    bench.see("b")
    bench.see("a")
    bench.see("c")  # "b" is the least recently used
    assert written(bench.see("a")).event["count"] == 3
    assert written(bench.see("b")).event["count"] == 1


def test_an_events_name_is_the_objects_name_and_never_repeats() -> None:
    bench = Bench()
    names = {bench.event("x")["metadata"]["name"] for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith("web.") for name in names)


@pytest.mark.parametrize("name", ["Upper", "colon:name", "x" * 250])
def test_a_name_that_is_no_dns_subdomain_becomes_a_uuid(name: str) -> None:
    about = {"kind": "Pod", "metadata": {"name": name, "namespace": "default"}}
    event = Bench().event("x", about=about)
    assert name not in event["metadata"]["name"]
    assert len(event["metadata"]["name"]) == 36


def test_an_event_on_a_cluster_scoped_object_lives_in_default() -> None:
    event = Bench().event("x", about={"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n1"}})
    assert event["metadata"]["namespace"] == "default"
    assert "namespace" not in event["involvedObject"]


def test_an_object_reference_will_do() -> None:
    about = {"kind": "Pod", "name": "web", "namespace": "ns", "fieldPath": "spec.containers{app}"}
    event = Bench().event("x", about=about)
    assert event["metadata"]["namespace"] == "ns"
    assert event["involvedObject"]["fieldPath"] == "spec.containers{app}"


@pytest.mark.parametrize("about", [{}, {"kind": "Pod"}, {"metadata": {"name": "x"}}, None, "pod"])
def test_an_object_without_kind_or_name_is_refused(about: object) -> None:
    with pytest.raises(BadEvent):
        Bench().event("x", about=about)  # type: ignore[arg-type]


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(BadEvent, match=r"'Error'.*Normal or Warning"):
        Bench().event("x", type="Error")


def test_a_long_message_is_cut() -> None:
    message = Bench().event("x" * 5000)["message"]
    assert len(message) == 1024
    assert message.endswith("...")
