"""Where the items of a queue are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.testing import FakeClock
from runtime.workqueue import PriorityQueue
from runtime.workqueue.places import Place


@pytest.fixture
def q(clock: FakeClock) -> PriorityQueue[str]:
    return PriorityQueue(clock=clock, name="places")


def test_each_item_is_told_where_it_is_and_for_how_long(q: PriorityQueue[str], clock: FakeClock) -> None:
    for item in ("runs", "parks"):
        q.add(item, priority=7)
    assert (q.get(timeout=0), q.get(timeout=0)) == ("runs", "parks")
    q.add("waits", priority=-3)
    clock.advance(5)
    q.park("parks", 100)
    q.add_after("later", 30.0, priority=2)
    clock.advance(2)
    assert q.places(["later", "unknown"], 10) == {
        "runs": Place("running", 7.0, 7),
        "parks": Place("parked", 7.0, 7),
        "waits": Place("queued", 7.0, -3),
        "later": Place("delayed", 28.0, 2),
    }


def test_what_is_delayed_is_told_of_only_if_it_is_asked_for(q: PriorityQueue[str]) -> None:
    q.add_after("later", 30.0)
    assert q.places([], 10) == {}
    assert q.places(["later"], 10) == {"later": Place("delayed", 30.0, 0)}


def test_of_many_those_that_became_ready_first_are_told_and_those_asked_for(
    q: PriorityQueue[str], clock: FakeClock
) -> None:
    for number in range(50):
        q.add(f"item-{number}")
        clock.advance(1)
    places = q.places(["item-40"], 3)
    assert list(places) == ["item-0", "item-1", "item-2", "item-40"]
    assert places["item-0"].seconds == 50
    assert places["item-40"].seconds == 10


def test_an_item_that_runs_and_is_wanted_again_runs(q: PriorityQueue[str]) -> None:
    q.add("a")
    q.get(timeout=0)
    q.add("a")
    q.add_after("a", 5.0)
    assert q.places(["a"], 10)["a"].where == "running"
    q.done("a")
    assert q.places(["a"], 10)["a"].where == "queued"


_STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "later", "get", "done", "park", "unpark", "pass"]), st.sampled_from("abc"))
)


@settings(deadline=None)
@given(_STEPS)
def test_places_and_figures_agree(steps: list[tuple[str, str]]) -> None:
    clock = FakeClock()
    q: PriorityQueue[str] = PriorityQueue(clock=clock, name="places")
    running: set[str] = set()
    for step, item in steps:
        if step == "add":
            q.add(item)
        elif step == "later":
            q.add_after(item, 3.0)
        elif step == "get" and len(q):
            running.add(q.get(timeout=0))
        elif step == "done" and item in running:
            running.discard(item)
            q.done(item)
        elif step == "park" and item in running:
            running.discard(item)
            q.park(item, 5.0)
        elif step == "unpark":
            q.unpark(item)
        else:
            clock.advance(1)
        places, stats = q.places("abc", 10), q.stats()
        where = [place.where for place in places.values()]
        assert {item for item, place in places.items() if place.where == "running"} == running
        assert where.count("parked") == stats.parked
        assert where.count("queued") == len(q)
