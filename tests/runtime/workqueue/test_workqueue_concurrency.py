"""What threads may see of each other, with the interpreter switching between them as often as it can."""

from __future__ import annotations

import contextlib
import queue
import random
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from runtime.workqueue import DelayingQueue, PriorityQueue, Queue, RateLimitingQueue, ShutDown
from tests.support.waiting import eventually

Background = Callable[..., "Future[Any]"]
WORKERS = 4
PRODUCERS = 4
ADDS = 1500
ITEMS = 25


@pytest.fixture(params=[1e-6, 1e-4, 5e-3], ids=lambda seconds: f"switch-{seconds:g}")
def switch_interval(request: pytest.FixtureRequest) -> Iterator[float]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(request.param)
    yield request.param
    sys.setswitchinterval(before)


class Name:
    """Equality and hash in Python, with collisions: threads are switched in the middle of a comparison."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __hash__(self) -> int:
        return self.number % 3

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Name) and other.number == self.number


class History:
    """Who holds what, and whether a processing began after each add. One lock for all, so it can be believed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._time = 0
        self._held: set[Any] = set()
        self._added: dict[Any, int] = {}  # when the last add of the item was begun
        self._begun: dict[Any, int] = {}  # when its last processing began
        self.processed = 0
        self.wrong: list[str] = []

    def adds(self, item: Any) -> None:
        with self._lock:
            self._time += 1
            self._added[item] = self._time

    def begins(self, item: Any) -> None:
        with self._lock:
            self._time += 1
            self._begun[item] = self._time
            if item in self._held:
                self.wrong.append(f"two workers hold {item}")
            self._held.add(item)
            self.processed += 1

    def ends(self, item: Any) -> None:
        with self._lock:
            self._held.remove(item)

    def unseen(self) -> list[Any]:
        return [item for item, time in self._added.items() if self._begun.get(item, 0) < time]


def plain(q: Any, item: Any, rng: random.Random) -> None:
    q.add(item)


def delayed(q: Any, item: Any, rng: random.Random) -> None:
    q.add_after(item, rng.choice((0, 0, 0.0005, 0.002)))


def prioritized(q: Any, item: Any, rng: random.Random) -> None:
    q.add(item, rng.randrange(-2, 3), rng.choice((0, 0, 0, 0.0005)))


def is_idle(q: Any) -> bool:
    stats = q.stats()
    return not (stats.delayed or stats.depth or stats.processing)


@pytest.mark.parametrize("make_item", [str, Name], ids=["C", "Python"])
@pytest.mark.parametrize(
    ("make", "add"),
    [
        pytest.param(Queue, plain, id="Queue"),
        pytest.param(lambda: Queue(name="n"), plain, id="named"),
        pytest.param(DelayingQueue, delayed, id="DelayingQueue"),
        pytest.param(PriorityQueue, prioritized, id="PriorityQueue"),
    ],
)
@pytest.mark.usefixtures("switch_interval")
def test_one_worker_per_item_and_a_processing_after_every_add(
    make: Any, add: Any, make_item: Any, background: Background
) -> None:
    q, history = make(), History()

    def produce(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(ADDS):
            item = make_item(rng.randrange(ITEMS))
            history.adds(item)
            add(q, item, rng)

    def work(seed: int) -> None:
        rng = random.Random(seed)
        while True:
            try:
                item = q.get(timeout=rng.choice((None, 10, 0.0001)))
            except queue.Empty:
                continue
            except ShutDown:
                return
            history.begins(item)
            if rng.random() < 0.05:  # again, while it is processed
                history.adds(item)
                q.add(item)
            history.ends(item)
            q.done(item)

    workers = [background(work, 100 + number) for number in range(WORKERS)]
    for producer in [background(produce, number) for number in range(PRODUCERS)]:
        producer.result(60)
    eventually(lambda: is_idle(q), "all that was added is processed")
    assert q.shut_down_with_drain(60)
    for worker in workers:
        worker.result(60)
    assert history.wrong == []
    assert history.unseen() == []
    stats = q.stats()
    assert (stats.depth, stats.processing, stats.delayed, len(q)) == (0, 0, 0, 0)
    assert stats.adds == history.processed


@pytest.mark.parametrize("cls", [Queue, PriorityQueue])
@pytest.mark.usefixtures("switch_interval")
def test_no_wake_up_is_lost(cls: Any, background: Background) -> None:
    """A ball between two threads that sleep each time: one lost wake-up and it lies still."""
    there, back = cls(), cls()

    def answer() -> None:
        while True:
            try:
                item = there.get()
            except ShutDown:
                back.shut_down()
                return
            back.add(item)
            there.done(item)

    answering = [background(answer) for _ in range(2)]
    for ball in range(2000):
        there.add(ball)
        assert back.get(timeout=60) == ball
        back.done(ball)
    there.shut_down()
    for future in answering:
        future.result(60)


@pytest.mark.parametrize("cls", [Queue, PriorityQueue])
@pytest.mark.usefixtures("switch_interval")
def test_each_thread_finds_its_own_items_in_order(cls: Any, background: Background) -> None:
    """FIFO as far as it can be told: what one thread added first is handed out first."""
    q = cls()

    def produce(producer: int) -> None:
        for number in range(ADDS):
            q.add((producer, number))

    producers = [background(produce, number) for number in range(PRODUCERS)]
    last = dict.fromkeys(range(PRODUCERS), -1)
    for _ in range(PRODUCERS * ADDS):
        producer, number = q.get(timeout=60)
        assert number == last[producer] + 1
        last[producer] = number
        q.done((producer, number))
    for future in producers:
        future.result(60)
    assert len(q) == 0


@pytest.mark.parametrize("cls", [Queue, PriorityQueue])
@pytest.mark.usefixtures("switch_interval")
def test_nothing_is_handed_out_after_a_worker_was_told_to_end(cls: Any, background: Background) -> None:
    """Adds race with the shut-down: each is accepted or ignored, but none comes after the end."""
    for _ in range(50):
        q = cls()
        start = threading.Barrier(4, timeout=60)

        def produce(first: int) -> None:
            start.wait()  # noqa: B023 - joined below
            for item in range(first, first + 200):
                q.add(item)  # noqa: B023

        def work() -> list[int]:
            got = []
            start.wait()  # noqa: B023
            while True:
                try:
                    got.append(q.get())  # noqa: B023
                except ShutDown:
                    return got
                q.done(got[-1])  # noqa: B023

        producers = [background(produce, first) for first in (0, 1000)]
        worker = background(work)
        start.wait()
        assert q.shut_down_with_drain(60)
        got = worker.result(60)
        for producer in producers:
            producer.result(60)
        assert got == sorted(set(got), key=got.index)
        assert len(q) == 0
        with pytest.raises(ShutDown):
            q.get(timeout=0)


@pytest.mark.parametrize("cls", [Queue, DelayingQueue, RateLimitingQueue, PriorityQueue])
def test_a_thousand_queues_with_sleeping_workers_leave_nothing(cls: Any) -> None:
    before = set(threading.enumerate())

    def work(q: Any) -> None:
        with contextlib.suppress(ShutDown):
            while True:
                q.get()

    for round_ in range(1000):
        q = cls()
        workers = [threading.Thread(target=work, args=(q,), name=f"worker-{round_}") for _ in range(2)]
        for worker in workers:
            worker.start()
        if round_ % 2:
            q.add("a")
            q.shut_down()
            # One of them got it and its done is missing: nobody waits for that.
        else:
            assert q.shut_down_with_drain(60)
        for worker in workers:
            worker.join(60)
            assert not worker.is_alive()
        assert len(q._sleepers) == 0
        assert not q._asleep
    assert set(threading.enumerate()) <= before
