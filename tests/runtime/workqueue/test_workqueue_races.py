"""The moments at which threads could miss each other, brought about one by one."""

from __future__ import annotations

import queue
from typing import Any

import pytest

from runtime.testing.clock import FakeClock
from runtime.workqueue import DelayingQueue, PriorityQueue, Queue
from runtime.workqueue.queue import PLAIN, RETURN
from runtime.workqueue.sleepers import ClockGate, Gate
from tests.support.waiting import eventually


@pytest.fixture(params=[Queue, DelayingQueue, PriorityQueue])
def q(request: pytest.FixtureRequest) -> Any:
    return request.param()


def test_an_add_just_before_the_thread_is_seen_to_sleep(q: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    enter = q._sleepers.enter

    def add_first(gate: Gate, next_due: float) -> float:
        monkeypatch.undo()
        q.add("a")  # takes no lock, so it is as if another thread did it
        return float(enter(gate, next_due))

    monkeypatch.setattr(q._sleepers, "enter", add_first)
    assert q.get(timeout=60) == "a"


def test_an_add_while_the_item_is_being_done(q: Any) -> None:
    """done() found no note and removes its item just before the add, taken in by another thread, is put down."""

    class Again(dict[str, float]):
        def __setitem__(self, item: str, now: float) -> None:
            q._finish(item, None)
            assert item not in self, "so done() leaves no note"
            super().__setitem__(item, now)

    q.add("a")
    assert q.get() == "a"
    q._again = Again()
    q.add("a")
    assert len(q) == 1
    assert q.get(timeout=0) == "a"
    q.done("a")
    with pytest.raises(queue.Empty):
        q.get(timeout=0)


def test_a_done_while_the_add_is_being_taken_in(q: Any) -> None:
    """The other way round: the add is put down, and done() finds it there."""

    class Again(dict[str, float]):
        def __setitem__(self, item: str, now: float) -> None:
            super().__setitem__(item, now)
            q._finish(item, None)  # after which done() leaves a note, if it finds the item in here
            q._leave_note(RETURN, item, 0, 0.0)

    q.add("a")
    assert q.get() == "a"
    q._again = Again()
    q.add("a")
    assert len(q) == 1
    assert q.get(timeout=0) == "a"
    q.done("a")
    with pytest.raises(queue.Empty):
        q.get(timeout=0)


def test_a_done_that_finds_the_item_added_meanwhile_brings_it_back(q: Any) -> None:
    q.add("a")
    assert q.get() == "a"
    q.add("a")
    assert len(q) == 0  # takes the add in, so that done() finds no notes
    q.done("a")
    assert q.get(timeout=0) == "a"


def test_what_is_added_while_processed_comes_after_what_was_added_before_its_done(q: Any) -> None:
    """W2, whoever looks at the queue when."""
    for look in (False, True):
        q.add("a")
        assert q.get() == "a"
        q.add("a")
        q.add("b")
        if look:
            assert len(q) == 1
        q.done("a")
        q.add("c")
        order = [q.get(timeout=0) for _ in range(3)]
        assert order == ["b", "a", "c"]
        for item in order:
            q.done(item)


def test_a_thread_that_leaves_passes_on_what_it_leaves_behind(clock: FakeClock, background: Any) -> None:
    """One wake-up, two items: the thread that was woken wakes the next."""
    q: DelayingQueue[str] = DelayingQueue(clock=clock)
    got = [background(q.get), background(q.get)]
    clock.wait_for_waiters(2)
    q.add_after("late", 5)
    clock.wait_for_waiters(1, timed=True)
    q._notes.append((PLAIN, "unseen", 0.0, 0, 0.0))  # an add that was not able to wake anybody yet
    clock.advance(5)
    assert {future.result(10) for future in got} == {"late", "unseen"}


def test_who_was_woken_with_all_others_sleeps_again_and_can_be_woken(q: Any, background: Any) -> None:
    got = background(q.get)
    eventually(lambda: len(q._asleep) == 1)
    gate = q._asleep[0]
    q._repair()
    eventually(lambda: gate not in q._sleepers._all and len(q._sleepers) == 1)
    q.add("a")
    assert got.result(10) == "a"


def test_whom_an_interrupted_look_has_forgotten_to_wake_is_woken(
    clock: FakeClock, background: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    q: DelayingQueue[str] = DelayingQueue(clock=clock)
    got = [background(q.get), background(q.get)]
    clock.wait_for_waiters(2)

    def interrupted() -> None:
        monkeypatch.undo()
        q._asleep.popleft()
        raise KeyboardInterrupt

    monkeypatch.setattr(q._sleepers, "wake_one", interrupted)
    q._delays.put("a", 0.0)  # due now, but nobody noticed
    q._delays.put("b", 0.0)
    with pytest.raises(KeyboardInterrupt):
        len(q)
    assert {future.result(10) for future in got} == {"a", "b"}


def test_who_is_woken_before_it_sleeps_does_not_sleep(clock: FakeClock, background: Any) -> None:
    gate = ClockGate(clock)
    assert gate.acquire(False)
    assert not gate.acquire(False)
    gate.release()
    assert background(gate.acquire, True).result(10)
    gate.release()
    with pytest.raises(RuntimeError):
        gate.release()


def test_adds_of_one_item_do_not_pile_up_while_nobody_looks(q: Any) -> None:
    for _ in range(20_000):
        q.add("a")
    assert len(q._notes) <= 1002
    assert len(q) == 1
