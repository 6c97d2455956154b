"""What a thousand queues leave behind: nothing."""

from __future__ import annotations

import gc
import threading
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from runtime.testing import FakeClock
from runtime.workqueue import DelayingQueue, PriorityQueue, Queue, RateLimitingQueue, ShutDown
from tests.support.growth import growth
from tests.support.waiting import eventually

CYCLES = 1000


class Item:
    """An item that can be seen to be gone."""


def live_and_die(make: Callable[..., Queue[Any]], number: int) -> list[weakref.ref[Any]]:
    """One queue's life, each a little different; what must be gone afterwards."""
    clock = FakeClock() if number % 5 == 0 else None
    queue = make(clock=clock)
    items = [Item() for _ in range(3)]
    if number % 7:
        for item in items[:2]:
            queue.add(item)
    if isinstance(queue, DelayingQueue):
        queue.add_after(items[2], 3600.0)
    if isinstance(queue, RateLimitingQueue):
        queue.add_rate_limited(items[2])

    def work() -> None:
        while True:
            try:
                item = queue.get()
            except ShutDown:
                return
            queue.done(item)
            del item

    workers = [threading.Thread(target=work, name=f"queue-worker-{n}") for n in range(number % 3)]
    for worker in workers:
        worker.start()
    if number % 2 and workers:
        assert queue.shut_down_with_drain(20)
    else:
        queue.shut_down()
    for worker in workers:
        worker.join()
    return [weakref.ref(queue), *map(weakref.ref, items)]


@pytest.mark.slow
@pytest.mark.parametrize("make", [Queue, DelayingQueue, RateLimitingQueue, PriorityQueue])
def test_a_thousand_starts_and_stops_leave_nothing_behind(make: Callable[..., Queue[Any]]) -> None:
    """No thread and no object, items that were delayed or never taken included (W7, W11)."""
    before = set(threading.enumerate())
    alive: list[weakref.ref[Any]] = []
    sizes: list[int] = []
    tracemalloc.start()
    try:
        for number in range(CYCLES):
            alive += live_and_die(make, number)
            if (number + 1) % (CYCLES // 5) == 0:
                eventually(lambda: set(threading.enumerate()) <= before, "the threads of the queues to end")
                gc.collect()
                alive = [ref for ref in alive if ref() is not None]
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert len(alive) == 0
    assert growth(sizes) < 10_000, f"bytes held after each {CYCLES // 5} queues: {sizes}"
