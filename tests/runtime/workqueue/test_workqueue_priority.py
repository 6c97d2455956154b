"""Priorities (P1 to P4, P7) and the ageing that keeps the low ones alive."""

from __future__ import annotations

import gc
import random
import weakref
from typing import Any

import pytest

from runtime.testing.clock import FakeClock
from runtime.workqueue import PriorityQueue, ShutDown
from runtime.workqueue.ageing import AGED, OVERDUE


@pytest.fixture
def q(clock: FakeClock) -> PriorityQueue[Any]:
    return PriorityQueue(clock=clock)


def take(q: PriorityQueue[Any]) -> Any:
    item = q.get(timeout=0)
    q.done(item)
    return item


def drain(q: PriorityQueue[Any]) -> list[Any]:
    return [take(q) for _ in range(len(q))]


def test_higher_priorities_come_first_and_equal_ones_in_order(q: PriorityQueue[Any]) -> None:
    for item, priority in (("low", -100), ("a", 0), ("high", 7), ("b", 0), ("high2", 7)):
        q.add(item, priority=priority)
    assert drain(q) == ["high", "high2", "a", "b", "low"]


def test_what_is_not_retained_was_never_added(q: PriorityQueue[Any]) -> None:
    for item, priority in (("a", 0), ("b", -1), ("c", 5), ("d", 0), ("e", 5)):
        q.add(item, priority)
    q.add("later", after=10.0)
    q.retain(lambda item: item not in ("b", "c"))
    assert q.stats().depth_by_priority == {-1: 0, 0: 2, 5: 1}
    assert q.stats().delayed == 1
    q.add("c")  # with no memory of the priority it had
    assert drain(q) == ["e", "a", "d", "c"]


def test_what_is_added_while_others_are_forgotten_is_not(q: PriorityQueue[Any]) -> None:
    """An add relies on the entry there is; so the entry is gone before it is judged."""
    for item in ("a", "b"):
        q.add(item)

    def judge(item: Any) -> bool:
        if item == "a":
            q.add("a")  # somebody else's, who may have come while we look at what was
        return False

    q.retain(judge)
    assert drain(q) == ["a"]


def test_an_interrupted_look_forgets_nothing_it_has_not_judged(q: PriorityQueue[Any]) -> None:
    for item in ("a", "b", "c"):
        q.add(item)

    def judge(item: Any) -> bool:
        if item == "b":
            raise KeyboardInterrupt
        return bool(item != "a")

    with pytest.raises(KeyboardInterrupt):
        q.retain(judge)
    assert sorted(drain(q)) == ["b", "c"]


def test_raising_moves_to_the_end_of_the_higher_class(q: PriorityQueue[Any]) -> None:
    q.add("a", priority=-1)
    q.add("b", priority=0)
    q.add("a", priority=0)
    assert drain(q) == ["b", "a"]


def test_lowering_is_ignored(q: PriorityQueue[Any]) -> None:
    q.add("a", priority=5)
    q.add("b", priority=1)
    q.add("a", priority=-5)
    assert drain(q) == ["a", "b"]


def test_the_higher_priority_of_all_adds_while_processed_counts(q: PriorityQueue[Any]) -> None:
    q.add("a")
    assert q.get() == "a"
    q.add("a", priority=-3)
    q.add("a", priority=5)
    q.add("a", priority=1)
    q.add("b", priority=3)
    q.done("a")
    assert drain(q) == ["a", "b"]


def test_a_priority_ends_with_its_processing(q: PriorityQueue[Any]) -> None:
    q.add("a", priority=5)
    take(q)
    q.add("a")
    q.add("b", priority=1)
    assert drain(q) == ["b", "a"]


def test_a_delayed_item_keeps_its_highest_priority_and_earliest_time(q: PriorityQueue[Any], clock: FakeClock) -> None:
    q.add("a", priority=1, after=10)
    q.add("a", priority=5, after=20)
    q.add("b", priority=3)
    clock.advance(10)
    assert drain(q) == ["a", "b"]
    clock.advance(20)
    assert drain(q) == []


def test_an_immediate_add_ends_the_delay_and_keeps_the_priority(q: PriorityQueue[Any], clock: FakeClock) -> None:
    q.add("a", priority=5, after=10)
    q.add("a")
    q.add("b", priority=3)
    assert drain(q) == ["a", "b"]
    clock.advance(20)
    assert drain(q) == []


def test_a_delay_does_not_hold_up_an_item_that_is_ready(q: PriorityQueue[Any], clock: FakeClock) -> None:
    q.add("a")
    q.add("a", after=10)
    q.add("b")
    q.add("a", priority=1, after=10)  # but raises it
    q.add("c", priority=1)
    assert drain(q) == ["a", "c", "b"]
    clock.advance(20)
    assert drain(q) == []


def test_a_requeue_keeps_the_priority_the_item_is_processed_with(q: PriorityQueue[Any], clock: FakeClock) -> None:
    q.add("a", priority=5)
    assert q.get() == "a"
    assert q.priority("a") == 5
    q.add_after("a", 1)
    q.done("a")
    assert q.priority("a") == 0
    q.add("b", priority=3)
    clock.advance(1)
    assert q.get() == "a"
    q.add_rate_limited("a")
    q.done("a")
    clock.advance(1)
    assert drain(q) == ["a", "b"]


def test_a_requeue_can_change_the_priority(q: PriorityQueue[Any], clock: FakeClock) -> None:
    q.add("a", priority=5)
    assert q.get() == "a"
    q.add_after("a", 1, priority=-100)
    q.done("a")
    q.add("b")
    q.add_rate_limited("c", priority=9)
    clock.advance(1)
    assert drain(q) == ["c", "b", "a"]


def test_depth_is_told_per_priority(q: PriorityQueue[Any]) -> None:
    for item, priority in (("a", 1), ("b", 1), ("c", -100)):
        q.add(item, priority=priority)
    q.add("d", after=10)
    assert q.stats().depth_by_priority == {1: 2, 0: 0, -100: 1}
    drain(q)
    assert q.stats().depth_by_priority == {1: 0, 0: 0, -100: 0}


def test_it_drains_like_the_other_queues(q: PriorityQueue[Any]) -> None:
    q.add("low", priority=-100)
    q.add("high", priority=1)
    q.add("delayed", priority=1, after=10)
    q.shut_down()
    assert [take(q), take(q)] == ["high", "low"]
    with pytest.raises(ShutDown):
        q.get()
    assert not q._priorities


def flood(
    q: PriorityQueue[Any], clock: FakeClock, seconds: float, per_second: int, items: set[Any], priority: int = 0
) -> dict[Any, float]:
    """One worker, and always more high-priority items than it can take; when each of ``items`` was served."""
    served, sequence = {}, 0
    for tick in range(int(seconds * per_second)):
        for _ in range(2):
            sequence += 1
            q.add(("live", sequence), priority=priority)
        item = take(q)
        if item in items:
            served[item] = tick / per_second
        clock.advance(1 / per_second)
    return served


def test_a_starving_item_is_served_within_a_minute(q: PriorityQueue[Any], clock: FakeClock) -> None:
    q.add("low", priority=-100)
    served = flood(q, clock, 60, 10, {"low"})
    assert AGED <= served["low"] < 60


def test_many_starving_items_are_served_within_a_minute(q: PriorityQueue[Any], clock: FakeClock) -> None:
    """250 low items against a flood, with a worker that takes ten a second."""
    lows = {("low", i) for i in range(250)}
    for low in lows:
        q.add(low, priority=-100)
    served = flood(q, clock, 60, 10, lows)
    assert served.keys() == lows


def test_age_counts_from_becoming_ready_and_not_from_the_delayed_add(q: PriorityQueue[Any], clock: FakeClock) -> None:
    q.add("low", priority=-100, after=100)
    clock.advance(100)
    assert len(q) == 1
    q.add("live", priority=1)
    assert take(q) == "live"
    clock.advance(AGED)
    q.add("live", priority=1)
    assert take(q) == "low"


def test_every_class_ages(q: PriorityQueue[Any], clock: FakeClock) -> None:
    q.add("lowest", priority=-100)
    q.add("low", priority=-50)
    served = flood(q, clock, 60, 10, {"lowest", "low"})
    assert served.keys() == {"lowest", "low"}


def test_live_changes_are_not_stuck_behind_an_aged_backlog(q: PriorityQueue[Any], clock: FakeClock) -> None:
    """The initial list of a big cluster: thousands wait for a minute, a change that comes now does not."""
    for i in range(5000):
        q.add(("initial", i), priority=-100)
    for age, at_most in ((AGED, 2), (OVERDUE - AGED, 10), (600, 10)):
        clock.advance(age)
        q.add("live")
        served = [take(q) for _ in range(at_most)]
        assert "live" in served, f"{age} s older"


def test_raising_does_not_make_an_item_younger(q: PriorityQueue[Any], clock: FakeClock) -> None:
    q.add("a", priority=-100)
    clock.advance(AGED)
    q.add("a", priority=-50)
    q.add("live")
    assert take(q) == "a"


def test_handed_out_items_are_not_kept_alive_behind_a_starving_one(q: PriorityQueue[Any], clock: FakeClock) -> None:
    class Item:
        pass

    q.add("starving", priority=-100)
    item = Item()
    gone = weakref.ref(item)
    q.add(item)
    assert take(q) is item
    del item
    gc.collect()
    assert gone() is None


def test_entries_behind_a_starving_item_do_not_pile_up(q: PriorityQueue[Any]) -> None:
    q.add("starving", priority=-100)
    for i in range(2000):
        q.add(i, priority=-100)
        q.add(i, priority=i % 500)
        assert take(q) == i
    order = q._order
    assert len(q) == 1
    assert len(order._levels) < 40
    assert take(q) == "starving"
    assert sum(map(len, order._classes.values())) == 0


@pytest.mark.parametrize("seed", range(5))
def test_nothing_starves_however_it_is_raised(q: PriorityQueue[Any], clock: FakeClock, seed: int) -> None:
    """Three low items a second among a flood that one worker cannot keep up with; some are raised again and again."""
    rng = random.Random(seed)
    ready: dict[Any, int] = {}  # low items -> the tick they became ready
    slowest = 0
    for tick in range(3000):  # of a tenth of a second
        for number in range(2):
            q.add(("live", tick, number), priority=rng.choice((10, 10, 10, 5)))
        if tick % 10 < 3 and tick < 2200:
            q.add(("low", tick), priority=rng.randrange(-100, 0))
            ready[("low", tick)] = tick
        if ready and rng.random() < 0.3:
            q.add(rng.choice(list(ready)), priority=rng.randrange(-100, 5))
        item = take(q)
        if item in ready:
            slowest = max(slowest, tick - ready.pop(item))
        clock.advance(0.1)
    assert not ready
    assert AGED * 10 <= slowest < 600


def test_an_item_raised_when_aged_keeps_its_age_and_gets_its_new_place(q: PriorityQueue[Any], clock: FakeClock) -> None:
    for i in range(100):
        q.add(("low", i), priority=-100)
    clock.advance(AGED)
    q.add("live")
    q.add(("low", 99), priority=0)
    assert [take(q) for _ in range(4)] == [("low", 0), ("low", 99), ("low", 1), "live"]
    assert q.stats().depth == len(q) == 97
    assert len(drain(q)) == 97
