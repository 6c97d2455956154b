"""An item that cannot be processed yet is given back, and takes no worker until it can."""

from __future__ import annotations

import queue as stdlib_queue
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.testing import FakeClock
from runtime.workqueue import PriorityQueue, ShutDown
from tests.runtime.workqueue.conftest import Background
from tests.support.waiting import eventually


@pytest.fixture
def q(clock: FakeClock) -> PriorityQueue[Any]:
    return PriorityQueue(clock=clock, name="parking")


def take(q: PriorityQueue[Any]) -> Any:
    try:
        return q.get(timeout=0)
    except stdlib_queue.Empty:
        return None


def park(q: PriorityQueue[Any], item: Any, seconds: float = 10.0) -> None:
    assert take(q) == item
    q.park(item, seconds)


def test_a_parked_item_is_handed_out_when_it_is_unparked(q: PriorityQueue[Any]) -> None:
    q.add("a")
    park(q, "a")
    assert take(q) is None
    q.unpark("a")
    assert take(q) == "a"
    q.done("a")
    assert take(q) is None


def test_a_parked_item_comes_back_by_itself_in_the_end(q: PriorityQueue[Any], clock: FakeClock) -> None:
    q.add("a")
    park(q, "a", 10.0)
    clock.advance(9.9)
    assert take(q) is None
    clock.advance(0.1)
    assert take(q) == "a"


def test_a_sleeping_worker_is_woken_by_unpark(q: PriorityQueue[Any], background: Background) -> None:
    q.add("a")
    park(q, "a")
    got = background(q.get)
    eventually(lambda: len(q._sleepers) == 1)
    q.unpark("a")
    assert got.result(30) == "a"


def test_a_sleeper_watches_the_deadline(q: PriorityQueue[Any], clock: FakeClock, background: Background) -> None:
    q.add("a")
    assert take(q) == "a"
    got = background(q.get)  # asleep before there is a deadline to watch
    eventually(lambda: len(q._sleepers) == 1)
    q.park("a", 5.0)
    eventually(lambda: q._sleepers.next_watch == clock.monotonic() + 5.0)
    clock.advance(5.0)
    assert got.result(30) == "a"


@pytest.mark.parametrize("delay", [0.0, 3.0])
def test_adding_a_parked_item_neither_frees_nor_doubles_it(
    q: PriorityQueue[Any], clock: FakeClock, delay: float
) -> None:
    q.add("a")
    park(q, "a", 10.0)
    q.add("a", after=delay)
    q.add_after("a", delay)
    clock.advance(5.0)
    assert take(q) is None
    clock.advance(5.0)
    assert take(q) == "a"
    q.done("a")
    clock.advance(100)
    assert take(q) is None


def test_what_was_added_before_parking_is_not_handed_out_meanwhile(q: PriorityQueue[Any], clock: FakeClock) -> None:
    q.add("a")
    assert take(q) == "a"
    q.add("a")
    q.park("a", 10.0)
    assert take(q) is None
    assert q.stats().depth == 0
    q.unpark("a")
    assert take(q) == "a"
    q.add_after("a", 1.0)
    q.park("a", 10.0)
    clock.advance(1.0)
    assert take(q) is None


def test_unpark_of_what_is_not_parked_changes_nothing(q: PriorityQueue[Any], clock: FakeClock) -> None:
    q.unpark("a")
    assert take(q) is None
    q.add_after("a", 5.0)
    q.unpark("a")
    assert take(q) is None
    clock.advance(5.0)
    assert take(q) == "a"
    q.unpark("a")
    assert take(q) is None  # it is being processed


def test_the_priority_stays(q: PriorityQueue[Any]) -> None:
    q.add("low", priority=-100)
    park(q, "low")
    q.add("other")
    q.unpark("low")
    assert take(q) == "other"
    assert take(q) == "low"
    assert q.priority("low") == -100


def test_an_add_raises_the_priority_of_a_parked_item(q: PriorityQueue[Any]) -> None:
    q.add("a", priority=-100)
    park(q, "a")
    q.add("b", priority=5)
    q.add("a", priority=10)
    q.unpark("a")
    assert take(q) == "a"
    assert q.priority("a") == 10


@pytest.mark.parametrize(("added", "expected"), [(0, 0), (-200, -100)])
def test_the_higher_priority_of_run_and_add_counts(q: PriorityQueue[Any], added: int, expected: int) -> None:
    q.add("a", priority=-100)
    assert take(q) == "a"
    q.add("a", priority=added)
    q.park("a", 10.0)
    q.unpark("a")
    assert take(q) == "a"
    assert q.priority("a") == expected


def test_the_place_stays(q: PriorityQueue[Any], clock: FakeClock) -> None:
    q.add("a")
    q.add("b")
    clock.advance(1.0)
    park(q, "a")
    q.add("c")
    clock.advance(1.0)
    q.unpark("a")
    assert [take(q), take(q), take(q)] == ["a", "b", "c"]


def test_parking_makes_no_item_younger(q: PriorityQueue[Any], clock: FakeClock) -> None:
    """Those behind it in its class age from when they came, not from when it was handed out."""
    q.add("first", priority=-100)
    q.add("second", priority=-100)
    clock.advance(30.0)
    park(q, "first")
    q.unpark("first")
    for number in range(10):
        q.add(number)
    assert "first" in [take(q), take(q)]


def test_it_stands_in_no_figure_but_its_own(q: PriorityQueue[Any]) -> None:
    q.add("a", priority=-100)
    park(q, "a")
    q.add("a")
    stats = q.stats()
    assert (stats.parked, stats.depth, stats.processing, stats.delayed, stats.adds) == (1, 0, 0, 0, 1)
    assert sum(stats.depth_by_priority.values()) == 0
    assert len(q) == 0
    q.unpark("a")
    stats = q.stats()
    assert (stats.parked, stats.depth, stats.adds) == (0, 1, 1)
    assert take(q) == "a"
    q.done("a")
    assert q.stats().adds == 1


def test_a_shut_down_hands_parked_items_out(q: PriorityQueue[Any]) -> None:
    q.add("a", priority=3)
    park(q, "a")
    q.shut_down()
    assert take(q) == "a"
    q.done("a")
    with pytest.raises(ShutDown):
        q.get(timeout=0)
    assert not q._priorities
    assert not q._running_priorities


def test_what_is_parked_after_the_shut_down_comes_back_at_once(q: PriorityQueue[Any]) -> None:
    q.add("a")
    assert take(q) == "a"
    q.shut_down()
    q.park("a", 10.0)
    assert take(q) == "a"


def test_a_drain_waits_for_parked_items(q: PriorityQueue[Any], background: Background) -> None:
    q.add("a")
    park(q, "a")
    drained = background(q.shut_down_with_drain)
    item = q.get(timeout=None)
    assert item == "a"
    assert not drained.done()
    q.done("a")
    assert drained.result(30) is True


def test_parking_what_nobody_processes_is_ignored(q: PriorityQueue[Any], clock: FakeClock) -> None:
    q.park("a", 1.0)
    q.add("b")
    q.park("b", 1.0)
    assert take(q) == "b"
    clock.advance(2.0)
    assert take(q) is None


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "late", "get", "done", "park", "unpark", "advance"]),
        st.integers(0, 2),
        st.integers(-1, 1),
    ),
    max_size=40,
)


@given(_STEPS)
@settings(max_examples=150, deadline=None)
def test_nothing_is_lost_nor_processed_twice_at_a_time(steps: list[tuple[str, int, int]]) -> None:
    """Every item that was added is handed out after its last add, in whatever order all happens."""
    clock = FakeClock()
    q: PriorityQueue[int] = PriorityQueue(clock=clock)
    held: set[int] = set()
    owed: set[int] = set()
    for what, item, priority in steps:
        if what == "add":
            q.add(item, priority=priority)
            owed.add(item)
        elif what == "late":
            q.add_after(item, 2.0)
            owed.add(item)
        elif what == "get":
            if (got := take(q)) is not None:
                assert got not in held
                held.add(got)
                owed.discard(got)
        elif what == "done" and item in held:
            held.remove(item)
            q.done(item)
        elif what == "park" and item in held:
            held.remove(item)
            owed.add(item)
            q.park(item, 5.0)
        elif what == "unpark":
            q.unpark(item)
        else:
            clock.advance(1.0)
    for item in held:
        q.done(item)
    clock.advance(10.0)
    left: list[Any] = []
    while (got := take(q)) is not None:
        left.append(got)
        q.done(got)
    assert len(set(left)) == len(left)
    assert set(left) >= owed
    assert not q._parked
    assert not q._priorities
    assert not q._running_priorities


def test_many_threads_park_and_unpark(background: Background) -> None:
    q: PriorityQueue[int] = PriorityQueue()
    processing: set[int] = set()
    turns = [0] * 20
    lock = threading.Lock()

    def work() -> None:
        while True:
            try:
                item = q.get()
            except ShutDown:
                return
            with lock:
                assert item not in processing
                processing.add(item)
                turns[item] += 1
                parks = turns[item] % 3 != 0
                processing.discard(item)
            if parks:
                q.park(item, 30.0)
                q.unpark(item)
            else:
                q.done(item)

    workers = [background(work) for _ in range(4)]
    for item in range(20):
        q.add(item)
    eventually(lambda: all(turn == 3 for turn in turns))
    q.shut_down()
    for worker in workers:
        worker.result(30)
