"""Delayed and rate-limited adds (W9 to W13), and the one sleeping thread that watches the clock for all."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from runtime.testing.clock import FakeClock
from runtime.workqueue import (
    DelayingQueue,
    ItemExponentialFailureRateLimiter,
    PriorityQueue,
    RateLimitingQueue,
    ShutDown,
)

AnyQueue = DelayingQueue[Any]
Background = Callable[..., "Future[Any]"]


@pytest.fixture(params=[DelayingQueue, RateLimitingQueue, PriorityQueue])
def q(request: pytest.FixtureRequest, clock: FakeClock) -> AnyQueue:
    made: AnyQueue = request.param(clock=clock)
    return made


def ready(q: AnyQueue) -> list[Any]:
    items = []
    while True:
        try:
            items.append(q.get(timeout=0))
        except queue.Empty:
            return items
        q.done(items[-1])


def test_an_item_is_not_ready_before_its_time(q: AnyQueue, clock: FakeClock) -> None:
    q.add_after("a", 10)
    clock.advance(9.999)
    assert len(q) == 0
    assert ready(q) == []
    clock.advance(0.001)
    assert len(q) == 1
    assert ready(q) == ["a"]
    clock.advance(100)
    assert ready(q) == []


@pytest.mark.parametrize("delay", [0, -1])
def test_no_delay_is_a_plain_add(q: AnyQueue, delay: float) -> None:
    q.add_after("a", delay)
    assert ready(q) == ["a"]


def test_the_earlier_of_two_delays_counts(q: AnyQueue, clock: FakeClock) -> None:
    q.add_after("a", 10)
    q.add_after("a", 5)
    q.add_after("a", 7)
    clock.advance(5)
    assert ready(q) == ["a"]
    clock.advance(20)
    assert ready(q) == []


def test_items_come_out_in_the_order_of_their_times(q: AnyQueue, clock: FakeClock) -> None:
    for item, delay in (("c", 3), ("a", 1), ("b", 2), ("a2", 1), ("a3", 1)):
        q.add_after(item, delay)
    clock.advance(3)
    assert ready(q) == ["a", "a2", "a3", "b", "c"]


def test_a_plain_add_cancels_the_pending_delay(q: AnyQueue, clock: FakeClock) -> None:
    q.add_after("a", 10)
    q.add("a")
    assert ready(q) == ["a"]
    clock.advance(20)
    assert ready(q) == []


def test_an_item_that_is_due_while_processed_comes_back_after_done(q: AnyQueue, clock: FakeClock) -> None:
    q.add("a")
    q.get()
    q.add_after("a", 1)
    clock.advance(1)
    assert len(q) == 0
    q.done("a")
    assert ready(q) == ["a"]


def test_a_busy_queue_does_not_hold_up_what_is_due(q: AnyQueue, clock: FakeClock) -> None:
    q.add_after("due", 1)
    for item in range(3):
        q.add(item)
    clock.advance(1)
    assert ready(q) == [0, 1, 2, "due"]


def test_a_sleeping_worker_wakes_when_an_item_is_due(q: AnyQueue, clock: FakeClock, background: Background) -> None:
    q.add_after("a", 10)
    got = background(q.get)
    clock.wait_for_waiters(timed=True)
    clock.advance(10)
    assert got.result(5) == "a"


def test_a_sleeping_worker_notices_an_earlier_delay(q: AnyQueue, clock: FakeClock, background: Background) -> None:
    q.add_after("late", 100)
    got = background(q.get)
    clock.wait_for_waiters(timed=True)
    q.add_after("early", 1)
    clock.advance(1)
    assert got.result(5) == "early"


def test_get_waits_no_longer_than_its_timeout_for_a_delayed_item(
    q: AnyQueue, clock: FakeClock, background: Background
) -> None:
    q.add_after("a", 10)
    got = background(q.get, timeout=4)
    clock.wait_for_waiters(timed=True)
    clock.advance(4)
    with pytest.raises(queue.Empty):
        got.result(5)


def test_only_one_of_many_sleeping_workers_watches_the_clock(
    q: AnyQueue, clock: FakeClock, background: Background
) -> None:
    q.add_after("a", 10)
    got = [background(q.get) for _ in range(4)]
    clock.wait_for_waiters(4)
    clock.wait_for_waiters(1, timed=True)
    with pytest.raises(TimeoutError):
        clock.wait_for_waiters(2, timeout=0.05, timed=True)
    q.shut_down()
    for future in got:
        with pytest.raises(ShutDown):
            future.result(5)


def test_the_watch_is_handed_on_until_every_item_is_served(
    q: AnyQueue, clock: FakeClock, background: Background
) -> None:
    for item in range(4):
        q.add_after(item, item + 1)
    got = [background(q.get) for _ in range(4)]
    for item in range(4):
        clock.wait_for_waiters(4 - item)
        clock.wait_for_waiters(timed=True)
        clock.advance(1)
    assert sorted(f.result(5) for f in got) == [0, 1, 2, 3]


def test_the_watch_is_handed_on_when_the_watching_worker_times_out(
    q: AnyQueue, clock: FakeClock, background: Background
) -> None:
    q.add_after("a", 10)
    first = background(q.get, timeout=5)
    clock.wait_for_waiters(timed=True)
    second = background(q.get)
    clock.wait_for_waiters(2)
    clock.advance(5)
    with pytest.raises(queue.Empty):
        first.result(5)
    clock.wait_for_waiters(1, timed=True)
    clock.advance(5)
    assert second.result(5) == "a"


def test_the_watch_is_handed_on_when_the_watching_worker_gets_something_else(
    q: AnyQueue, clock: FakeClock, background: Background
) -> None:
    q.add_after("delayed", 10)
    got = [background(q.get), background(q.get)]
    clock.wait_for_waiters(2)
    q.add("now")
    clock.wait_for_waiters(1, timed=True)
    clock.advance(10)
    assert {f.result(5) for f in got} == {"now", "delayed"}


def test_pending_delays_are_dropped_at_shut_down(q: AnyQueue, clock: FakeClock, background: Background) -> None:
    q.add_after("a", 10)
    q.add("b")
    q.shut_down()
    q.add_after("c", 1)
    q.add_after("d", 0)
    clock.advance(20)
    assert q.get() == "b"
    q.done("b")
    with pytest.raises(ShutDown):
        q.get()


def test_what_was_due_at_shut_down_is_still_handed_out(q: AnyQueue, clock: FakeClock) -> None:
    q.add_after("a", 10)
    clock.advance(10)
    q.shut_down()
    assert q.get() == "a"


def test_drain_does_not_wait_for_pending_delays(q: AnyQueue, clock: FakeClock) -> None:
    q.add_after("a", 10)
    assert q.shut_down_with_drain(timeout=0) is True


def test_many_cancelled_delays_leave_nothing_behind(q: AnyQueue, clock: FakeClock) -> None:
    for round_ in range(1000):
        q.add_after(round_, 1000)
        q.add(round_)
        assert q.get() == round_
        q.done(round_)
    assert len(q._delays._heap) < 100
    assert not q._delayed


def test_delays_take_no_thread(q: AnyQueue) -> None:
    before = threading.active_count()
    q.add_after("a", 100)
    assert threading.active_count() == before


@pytest.mark.parametrize("cls", [RateLimitingQueue, PriorityQueue])
def test_a_failing_item_comes_back_later_each_time(cls: Any, clock: FakeClock) -> None:
    q = cls(ItemExponentialFailureRateLimiter(1, 100, clock=clock), clock=clock)
    for failures, delay in enumerate((1, 2, 4, 8)):
        assert q.num_requeues("a") == failures
        q.add_rate_limited("a")
        clock.advance(delay - 0.001)
        assert ready(q) == []
        clock.advance(0.001)
        assert ready(q) == ["a"]
    q.forget("a")
    assert q.num_requeues("a") == 0
    q.add_rate_limited("a")
    q.forget("a")  # keeps the pending add
    clock.advance(1)
    assert ready(q) == ["a"]


@pytest.mark.parametrize("cls", [RateLimitingQueue, PriorityQueue])
def test_the_default_limiter_starts_at_a_few_milliseconds(cls: Any, clock: FakeClock) -> None:
    q = cls(clock=clock)
    q.add_rate_limited("a")
    assert ready(q) == []
    clock.advance(0.0075)
    assert ready(q) == ["a"]


def test_decimal_steps_reach_a_decimal_time(q: AnyQueue, clock: FakeClock, background: Background) -> None:
    """Floating point: 0.1 + 0.2 is not 0.3."""
    clock.advance(0.1)
    q.add_after("a", 0.2)
    got = background(q.get)
    clock.wait_for_waiters(timed=True)
    clock.advance(0.1)
    clock.wait_for_waiters(timed=True)
    clock.advance(0.1)
    assert got.result(5) == "a"
