"""Many threads, real time: no item in two hands, none lost, every worker ends."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from runtime.clock import SystemClock
from runtime.workqueue import (
    DelayingQueue,
    ItemExponentialFailureRateLimiter,
    PriorityQueue,
    Queue,
    RateLimitingQueue,
    ShutDown,
)

AnyQueue = Queue[Any]
Background = Callable[..., "Future[Any]"]


WORKERS = 8
PRODUCERS = 8


class Ledger:
    """Notes for each item how often it was wanted and handed out, and that never two hold it at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.held: set[int] = set()
        self.versions: dict[int, int] = {}  # item -> changes announced
        self.seen: dict[int, int] = {}  # item -> changes a worker has seen
        self.violations: list[int] = []

    def change(self, item: int) -> None:
        with self.lock:
            self.versions[item] = self.versions.get(item, 0) + 1

    def take(self, item: int) -> None:
        with self.lock:
            if item in self.held:
                self.violations.append(item)
            self.held.add(item)
            self.seen[item] = self.versions[item]

    def give_back(self, item: int) -> None:
        with self.lock:
            self.held.discard(item)


def work(q: Any, ledger: Ledger, fail: Callable[[int], bool] = lambda item: False) -> None:
    while True:
        try:
            item = q.get()
        except ShutDown:
            return
        ledger.take(item)
        if random.random() < 0.1:
            time.sleep(0.0005)
        ledger.give_back(item)
        if fail(item):
            q.add_rate_limited(item)
        q.done(item)


def produce(add: Callable[[int, random.Random], None], ledger: Ledger, count: int, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(count):
        item = rng.randrange(40)
        ledger.change(item)
        add(item, rng)


ADDS = [
    pytest.param(lambda: Queue(name="n"), lambda q: lambda item, rng: q.add(item), id="Queue"),
    pytest.param(
        lambda: DelayingQueue(),
        lambda q: lambda item, rng: q.add_after(item, rng.choice((0, 0, 0.001, 0.003))),
        id="DelayingQueue",
    ),
    pytest.param(
        lambda: PriorityQueue(name="n"),
        lambda q: lambda item, rng: q.add(item, rng.randrange(-2, 3), rng.choice((0, 0, 0.001))),
        id="PriorityQueue",
    ),
]


@pytest.mark.parametrize(("make", "adder"), ADDS)
def test_no_item_is_in_two_hands_and_every_change_is_seen(make: Any, adder: Any, background: Background) -> None:
    q, ledger = make(), Ledger()
    workers = [background(work, q, ledger) for _ in range(WORKERS)]
    producers = [background(produce, adder(q), ledger, 400, seed) for seed in range(PRODUCERS)]
    for producer in producers:
        producer.result(60)
    deadline = time.monotonic() + 20
    while (stats := q.stats()).delayed or stats.depth or stats.processing:
        assert time.monotonic() < deadline, stats
        time.sleep(0.001)
    assert q.shut_down_with_drain(20)
    for worker in workers:
        worker.result(20)
    assert ledger.violations == []
    assert ledger.seen == ledger.versions


def test_failing_items_come_back_until_they_succeed(background: Background) -> None:
    q: RateLimitingQueue[int] = RateLimitingQueue(ItemExponentialFailureRateLimiter(0.0001, 0.002))
    ledger = Ledger()
    succeeded: set[int] = set()

    def fail(item: int) -> bool:
        if q.num_requeues(item) < 5:
            return True
        q.forget(item)
        succeeded.add(item)
        return False

    workers = [background(work, q, ledger, fail) for _ in range(WORKERS)]
    for item in range(100):
        ledger.change(item)
        q.add(item)
    deadline = time.monotonic() + 20
    while len(succeeded) < 100:
        assert time.monotonic() < deadline, sorted(succeeded)
        time.sleep(0.001)
    q.shut_down()
    for worker in workers:
        worker.result(20)
    assert ledger.violations == []


@pytest.mark.parametrize("cls", [Queue, PriorityQueue])
def test_a_drain_under_load_loses_nothing_that_was_accepted(cls: Any, background: Background) -> None:
    q, ledger = cls(), Ledger()
    processed: list[int] = []

    def collect() -> None:
        while True:
            try:
                item = q.get()
            except ShutDown:
                return
            processed.append(item)
            q.done(item)

    workers = [background(collect) for _ in range(4)]
    for item in range(2000):
        q.add(item)
    assert q.shut_down_with_drain(20)
    q.add(-1)
    for worker in workers:
        worker.result(20)
    assert sorted(processed) == list(range(2000))
    assert not ledger.violations


def test_workers_with_timeouts_miss_nothing(background: Background) -> None:
    """A get that times out while an item is being handed to it leaves that item to the others."""
    q: Queue[int] = Queue()
    seen: list[int] = []

    def collect() -> None:
        while True:
            try:
                item = q.get(timeout=random.random() * 0.0005)
            except queue.Empty:
                continue
            except ShutDown:
                return
            seen.append(item)
            q.done(item)

    workers = [background(collect) for _ in range(WORKERS)]
    for item in range(1000):
        q.add(item)
        if item % 10 == 0:
            time.sleep(0.0005)
    assert q.shut_down_with_drain(20)
    for worker in workers:
        worker.result(20)
    assert sorted(seen) == list(range(1000))


@pytest.mark.parametrize("delay", [1e10, 1e300, float("inf")])
def test_a_delay_longer_than_the_platform_can_wait_does_not_end_the_worker(delay: float) -> None:
    queue: DelayingQueue[str] = DelayingQueue()
    queue.add_after("never", delay)
    got: list[str] = []
    worker = threading.Thread(target=lambda: got.append(queue.get()), name="worker")
    worker.start()
    while len(queue._sleepers) < 1 and worker.is_alive():
        time.sleep(0.001)
    queue.add("now")
    worker.join(10)
    assert got == ["now"]


def test_a_get_that_a_signal_interrupts_hands_the_delays_to_another() -> None:
    class Interrupted(SystemClock):
        def wait(self, condition: threading.Condition, timeout: float | None = None) -> bool:
            if threading.current_thread() is threading.main_thread():
                other.start()
                while len(queue._sleepers) < 2:  # it finds the delays watched already
                    condition.wait(0.01)
                raise KeyboardInterrupt
            return super().wait(condition, timeout)

    queue: DelayingQueue[str] = DelayingQueue(clock=Interrupted())
    got: list[str] = []
    other = threading.Thread(target=lambda: got.append(queue.get()), name="other")
    queue.add_after("late", 0.3)
    with pytest.raises(KeyboardInterrupt):
        queue.get()
    other.join(10)
    stuck = other.is_alive()
    queue.shut_down()
    other.join(10)
    assert not stuck
    assert got == ["late"]
