"""Orders of one's own (W17, W2), and items that are hard to compare."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from runtime.testing.clock import FakeClock
from runtime.workqueue import DelayingQueue, Queue, RateLimitingQueue


class Stack:
    """Last in, first out; what is touched comes to the top."""

    def __init__(self) -> None:
        self.items: list[str] = []

    def push(self, item: str) -> None:
        assert item not in self.items
        self.items.append(item)

    def touch(self, item: str) -> None:
        self.items.remove(item)
        self.items.append(item)

    def pop(self) -> str:
        return self.items.pop()


def drain(q: Queue[Any]) -> Iterator[Any]:
    while len(q):
        item = q.get(timeout=0)
        yield item
        q.done(item)


@pytest.mark.parametrize("cls", [Queue, DelayingQueue, RateLimitingQueue])
def test_a_custom_order_decides_who_is_next(cls: Any) -> None:
    q = cls(order=Stack)
    for item in "abc":
        q.add(item)
    assert list(drain(q)) == ["c", "b", "a"]


def test_adding_a_queued_item_touches_it() -> None:
    q: Queue[str] = Queue(order=Stack)
    for item in "abca":
        q.add(item)
    assert len(q) == 3
    q.add("b")
    assert list(drain(q)) == ["b", "a", "c"]


def test_an_item_that_comes_back_is_pushed_and_not_touched() -> None:
    q: Queue[str] = Queue(order=Stack)
    q.add("a")
    assert q.get() == "a"
    q.add("a")
    q.add("a")
    q.add("b")
    q.done("a")
    assert list(drain(q)) == ["a", "b"]


def test_what_becomes_due_is_pushed(clock: FakeClock) -> None:
    q: DelayingQueue[str] = DelayingQueue(clock=clock, order=Stack)
    q.add_after("late", 1)
    q.add("a")
    clock.advance(1)
    assert list(drain(q)) == ["late", "a"]


def test_an_order_that_raised_is_made_anew_and_loses_nothing() -> None:
    class Torn(Stack):
        def pop(self) -> str:
            item = super().pop()
            if failures.pop():
                raise KeyboardInterrupt
            return item

    failures = [False, False, False, True]
    q: Queue[str] = Queue(order=Torn)
    for item in "abc":
        q.add(item)
    with pytest.raises(KeyboardInterrupt):
        q.get()
    assert sorted(drain(q)) == ["a", "b", "c"]


@pytest.mark.parametrize("add", [lambda q: q.add([]), lambda q: q.add_after([], 1), lambda q: q.add_after([], 0)])
@pytest.mark.parametrize("busy", [True, False])
def test_what_cannot_be_an_item_is_refused_where_it_is_added(add: Any, busy: bool) -> None:
    q: DelayingQueue[Any] = DelayingQueue()
    if busy:
        q.add("a")
    with pytest.raises(TypeError, match="unhashable"):
        add(q)
    q.add("b")
    assert list(drain(q)) == (["a", "b"] if busy else ["b"])


class Spiteful:
    """Equal to nothing, and says so loudly once it is told to."""

    def __init__(self) -> None:
        self.angry = False

    def __hash__(self) -> int:
        if self.angry:
            raise RuntimeError("do not touch me")
        return 1

    def __eq__(self, other: object) -> bool:
        return self is other


@pytest.mark.parametrize("others", ["", "ab"])
def test_an_item_that_cannot_be_compared_is_dropped_and_blocks_no_other(
    others: str, caplog: pytest.LogCaptureFixture
) -> None:
    q: Queue[Any] = Queue()
    spiteful = Spiteful()
    q.add(spiteful)
    for item in others:
        q.add(item)
    spiteful.angry = True
    failures = 0
    with caplog.at_level(logging.ERROR):
        while "dropped" not in caplog.text:
            with pytest.raises(RuntimeError):
                q.get(timeout=0)
            failures += 1
            assert failures < 5
    assert list(drain(q)) == list(others)


def test_who_adds_while_another_item_cannot_be_compared_loses_nothing() -> None:
    """The many notes that it takes in hold somebody else's."""
    q: Queue[Any] = Queue()
    spiteful = Spiteful()
    q.add(spiteful)
    spiteful.angry = True
    failures = 0
    for item in range(2000):
        try:
            q.add(item)
        except RuntimeError:
            failures += 1
    assert 0 < failures < 5
    assert list(drain(q)) == list(range(2000))


class Name:
    """Hash and equality in Python; all hashes collide, and comparing takes long enough to be preempted in."""

    def __init__(self, name: int) -> None:
        self.name = name

    def __hash__(self) -> int:
        return 7

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Name) and other.name == self.name


def test_items_compared_in_python_are_told_apart() -> None:
    q: Queue[Name] = Queue()
    for name in (1, 2, 1, 3, 2):
        q.add(Name(name))
    assert [item.name for item in drain(q)] == [1, 2, 3]
