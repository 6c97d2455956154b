"""A lock that nobody blocks on: taken all the same, and never lost."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from runtime.workqueue import ItemExponentialFailureRateLimiter, Queue
from runtime.workqueue.locking import _PATIENCE, attempt, give_way
from tests.support.waiting import eventually

Background = Callable[..., "Future[Any]"]


def test_whoever_wants_a_held_lock_gets_it_in_the_end(background: Background) -> None:
    lock = threading.Lock()
    failed: list[int] = []

    def take() -> bool:
        tries = 0
        for _ in iter(attempt(lock), True):
            tries = give_way(tries)
            failed.append(tries)
        return lock.locked()

    lock.acquire()
    taker = background(take)
    eventually(lambda: len(failed) > _PATIENCE + 3, "it has lost its patience")
    assert not taker.done()
    lock.release()
    assert taker.result(20)
    assert failed == list(range(1, len(failed) + 1))


def test_get_waits_for_the_holder_of_the_lock_and_takes_what_it_left(background: Background) -> None:
    q: Queue[str] = Queue()
    with q._lock:
        getter = background(q.get)
        q.add("a")
        assert not getter.done()
    assert getter.result(20) == "a"


def test_adding_never_waits_for_the_lock_however_many_notes_there_are(background: Background) -> None:
    q: Queue[int] = Queue()

    def add_all() -> None:
        for i in range(3000):
            q.add(i)

    with q._lock:
        background(add_all).result(20)
        assert len(q._notes) == 3000  # nobody took them in
    q.add(3000)
    assert not q._notes
    assert [q.get(0) for _ in range(3001)] == list(range(3001))


def test_a_limiter_counts_every_failure_of_many_threads(background: Background) -> None:
    limiter = ItemExponentialFailureRateLimiter(1.0, 1e9)
    for counter in [background(lambda: [limiter.when("a") for _ in range(500)]) for _ in range(8)]:
        counter.result(30)
    assert limiter.num_requeues("a") == 4000


def test_get_with_a_timeout_finds_nothing_while_others_come_and_go(background: Background) -> None:
    q: Queue[str] = Queue()

    def look() -> int:
        empty = 0
        for _ in range(300):
            try:
                q.get(0)
            except queue.Empty:
                empty += 1
        return empty

    assert [looker.result(30) for looker in [background(look) for _ in range(6)]] == [300] * 6
    assert not q._lock.locked()
