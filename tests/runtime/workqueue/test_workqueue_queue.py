"""The plain queue: one worker per item, order, shut-down and drain (W1 to W8)."""

from __future__ import annotations

import gc
import logging
import queue
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from runtime import Request
from runtime.testing.clock import FakeClock
from runtime.workqueue import DelayingQueue, PriorityQueue, Queue, RateLimitingQueue, ShutDown

AnyQueue = Queue[Any]
Background = Callable[..., "Future[Any]"]


ALL = [Queue, DelayingQueue, RateLimitingQueue, PriorityQueue]


@pytest.fixture(params=ALL)
def q(request: pytest.FixtureRequest, clock: FakeClock) -> AnyQueue:
    made: AnyQueue = request.param(name="test", clock=clock)
    return made


def drain(q: AnyQueue) -> list[Any]:
    """All that is ready, processed."""
    items = []
    while len(q):
        items.append(q.get(timeout=0))
        q.done(items[-1])
    return items


def test_items_come_out_in_the_order_they_were_added(q: AnyQueue) -> None:
    for item in ("a", "b", "c"):
        q.add(item)
    assert drain(q) == ["a", "b", "c"]


def test_adding_a_queued_item_again_changes_nothing(q: AnyQueue) -> None:
    for item in ("a", "b", "a", "a"):
        q.add(item)
    assert len(q) == 2
    assert drain(q) == ["a", "b"]


def test_an_item_added_while_processed_comes_back_once_at_the_end(q: AnyQueue) -> None:
    q.add("a")
    assert q.get() == "a"
    q.add("a")
    q.add("b")
    q.add("a")
    assert len(q) == 1
    assert q.get() == "b"
    with pytest.raises(queue.Empty):
        q.get(timeout=0)
    q.done("a")
    q.add("a")
    q.done("b")
    assert drain(q) == ["a"]


def test_items_are_told_apart_by_equality(q: AnyQueue) -> None:
    q.add(Request("ns", "name"))
    q.add(Request("ns", "name"))
    assert len(q) == 1


def test_len_counts_only_what_get_would_return(q: AnyQueue) -> None:
    q.add("a")
    q.add("b")
    q.get()
    assert len(q) == 1


def test_get_blocks_until_an_item_is_added(q: AnyQueue, clock: FakeClock, background: Background) -> None:
    got = background(q.get)
    clock.wait_for_waiters()
    assert not got.done()
    q.add("a")
    assert got.result(5) == "a"


def test_get_gives_up_after_its_timeout_in_the_clocks_time(
    q: AnyQueue, clock: FakeClock, background: Background
) -> None:
    got = background(q.get, timeout=3)
    clock.wait_for_waiters(timed=True)
    clock.advance(2.9)
    clock.wait_for_waiters(timed=True)
    clock.advance(0.1)
    with pytest.raises(queue.Empty):
        got.result(5)


def test_get_without_time_to_wait_does_not_block(q: AnyQueue) -> None:
    with pytest.raises(queue.Empty):
        q.get(timeout=0)
    q.add("a")
    assert q.get(timeout=0) == "a"


def test_real_time_is_the_default() -> None:
    q: Queue[str] = Queue()
    started = time.monotonic()
    with pytest.raises(queue.Empty):
        q.get(timeout=0.05)
    assert time.monotonic() - started >= 0.05


def test_each_added_item_wakes_a_sleeping_worker(q: AnyQueue, clock: FakeClock, background: Background) -> None:
    got = [background(q.get) for _ in range(5)]
    clock.wait_for_waiters(5)
    for item in range(5):
        q.add(item)
    assert sorted(f.result(5) for f in got) == [0, 1, 2, 3, 4]


def test_done_wakes_a_sleeping_worker_for_the_item_that_became_dirty(
    q: AnyQueue, clock: FakeClock, background: Background
) -> None:
    q.add("a")
    q.get()
    q.add("a")
    got = background(q.get)
    clock.wait_for_waiters()
    q.done("a")
    assert got.result(5) == "a"


def test_shut_down_hands_out_what_is_queued_and_then_ends_every_worker(
    q: AnyQueue, clock: FakeClock, background: Background
) -> None:
    q.add("a")
    q.shut_down()
    q.add("b")
    assert q.shutting_down
    assert q.get() == "a"
    q.done("a")
    for _ in range(2):
        with pytest.raises(ShutDown):
            q.get()


def test_shut_down_wakes_sleeping_workers(q: AnyQueue, clock: FakeClock, background: Background) -> None:
    got = [background(q.get) for _ in range(3)]
    clock.wait_for_waiters(3)
    q.shut_down()
    for future in got:
        with pytest.raises(ShutDown):
            future.result(5)


def test_an_item_dirty_at_shut_down_is_still_processed(q: AnyQueue) -> None:
    q.add("a")
    q.get()
    q.add("a")
    q.shut_down()
    q.done("a")
    assert q.get() == "a"
    q.add("a")  # too late
    q.done("a")
    with pytest.raises(ShutDown):
        q.get()


def test_plain_shut_down_does_not_wait_for_workers(q: AnyQueue) -> None:
    q.add("a")
    q.get()
    q.shut_down()
    assert q.shutting_down


def test_drain_waits_for_what_is_processed_and_comes_back_dirty(
    q: AnyQueue, clock: FakeClock, background: Background
) -> None:
    q.add("a")
    q.get()
    q.add("a")
    drained = background(q.shut_down_with_drain)
    clock.wait_for_waiters()
    q.done("a")
    assert q.get() == "a"
    assert not drained.done()
    q.done("a")
    assert drained.result(5) is True


def test_drain_waits_for_what_is_still_queued(q: AnyQueue, clock: FakeClock, background: Background) -> None:
    q.add("a")
    q.add("b")
    drained = background(q.shut_down_with_drain)
    clock.wait_for_waiters()
    for item in ("a", "b"):
        assert not drained.done()
        assert q.get() == item
        q.done(item)
    assert drained.result(5) is True
    with pytest.raises(ShutDown):
        q.get()


def test_drain_of_an_idle_queue_returns_at_once(q: AnyQueue) -> None:
    assert q.shut_down_with_drain() is True
    assert q.shut_down_with_drain(timeout=0) is True


def test_drain_gives_up_after_its_timeout(q: AnyQueue, clock: FakeClock, background: Background) -> None:
    q.add("a")
    q.get()
    drained = background(q.shut_down_with_drain, 5)
    clock.wait_for_waiters(timed=True)
    clock.advance(5)
    assert drained.result(5) is False


def test_shut_down_releases_a_drain_that_would_hang(q: AnyQueue, clock: FakeClock, background: Background) -> None:
    q.add("a")
    q.get()
    drained = [background(q.shut_down_with_drain) for _ in range(2)]
    clock.wait_for_waiters(2)
    q.shut_down()
    assert [f.result(5) for f in drained] == [False, False]


def test_several_drains_end_together(q: AnyQueue, clock: FakeClock, background: Background) -> None:
    q.add("a")
    q.get()
    drained = [background(q.shut_down_with_drain) for _ in range(3)]
    clock.wait_for_waiters(3)
    q.done("a")
    assert [f.result(5) for f in drained] == [True] * 3


def test_a_stray_done_is_ignored_and_logged(q: AnyQueue, caplog: pytest.LogCaptureFixture) -> None:
    q.add("a")
    with caplog.at_level(logging.WARNING):
        q.done("a")  # queued, not processed: client-go would queue it twice (W8)
        q.done("unknown")
    assert "'test'" in caplog.text
    assert "'a'" in caplog.text
    assert "'unknown'" in caplog.text
    assert drain(q) == ["a"]
    q.done("a")
    q.add("a")
    assert drain(q) == ["a"]


class Item:
    pass


def test_a_processed_item_is_not_kept_alive(q: AnyQueue) -> None:
    item = Item()
    gone = weakref.ref(item)
    q.add(item)
    if isinstance(q, DelayingQueue):
        q.add_after(item, 100)
        q.add(item)
    assert q.get() is item
    q.done(item)
    del item
    gc.collect()
    assert gone() is None


def test_a_worker_that_died_in_get_does_not_lose_an_item(q: AnyQueue, clock: FakeClock, background: Background) -> None:
    """A timeout and an add at the same moment: the item is either returned or stays queued."""
    for round_ in range(50):
        got = background(q.get, timeout=1)
        clock.wait_for_waiters(timed=True)
        threads = [threading.Thread(target=q.add, args=(round_,)), threading.Thread(target=clock.advance, args=(1,))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        try:
            item = got.result(5)
        except queue.Empty:
            item = q.get(timeout=0)
        assert item == round_
        q.done(item)


def test_the_queues_can_be_named_and_clocked_by_keyword() -> None:
    for cls in ALL:
        assert cls(name="n", clock=FakeClock()).name == "n"
