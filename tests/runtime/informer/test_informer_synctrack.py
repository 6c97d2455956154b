"""Knowing when the initial list is processed, and values that are computed when asked for (S16)."""

from __future__ import annotations

import threading

import pytest

from runtime.informer import AsyncTracker, Lazy, ResourceEventHandler, SharedInformerFactory, wait_for_cache_sync
from runtime.informer.sync import Latch
from runtime.testing import FakeAPIServer
from runtime.workqueue import Queue, ShutDown
from tests.runtime.informer.informer_support import CONFIGMAPS


class Upstream:
    def __init__(self) -> None:
        self.sync_latch = Latch()


def test_it_needs_the_handler_and_every_key() -> None:
    tracker, upstream = AsyncTracker[str](), Upstream()
    tracker.start("a")
    tracker.finished("a")
    assert not tracker.has_synced()  # more may come
    tracker.follow(upstream)
    tracker.start("b")
    tracker.start("c")
    upstream.sync_latch.set()
    assert not tracker.has_synced()
    tracker.finished("c")
    tracker.finished("unknown")
    assert not tracker.has_synced()
    tracker.finished("b")
    assert tracker.has_synced()
    tracker.start("later")
    assert tracker.has_synced()


def test_an_empty_list_is_processed_at_once() -> None:
    tracker, upstream = AsyncTracker[str](), Upstream()
    tracker.follow(upstream)
    assert not tracker.has_synced()
    upstream.sync_latch.set()
    assert tracker.has_synced()


def test_followed_late_it_knows_what_has_happened() -> None:
    tracker, upstream = AsyncTracker[str](), Upstream()
    upstream.sync_latch.set()
    tracker.follow(upstream)
    assert tracker.has_synced()
    with pytest.raises(RuntimeError, match="already"):
        tracker.follow(upstream)


def test_a_handler_that_never_syncs_ends_the_wait() -> None:
    tracker, upstream = AsyncTracker[str](), Upstream()
    tracker.follow(upstream)
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(wait_for_cache_sync(tracker)))
    thread.start()
    upstream.sync_latch.give_up()
    thread.join(20)
    assert answers == [False]


def test_a_wait_that_times_out_says_how_much_is_left(caplog: pytest.LogCaptureFixture) -> None:
    tracker, upstream = AsyncTracker[str](), Upstream()
    tracker.follow(upstream)
    tracker.start("a")
    upstream.sync_latch.set()
    assert not wait_for_cache_sync(tracker, timeout=0.01)
    assert "waits for 1 keys" in caplog.text
    tracker.finished("a")
    assert repr(tracker) == "<AsyncTracker synced>"


def test_workers_behind_a_queue_have_processed_the_initial_list() -> None:
    processed: list[str] = []
    queue: Queue[str] = Queue()
    tracker = AsyncTracker[str]()

    def on_add(obj: object, is_in_initial_list: bool) -> None:
        key: str = obj.key  # type: ignore[attr-defined]
        if is_in_initial_list:
            tracker.start(key)
        queue.add(key)

    def work() -> None:
        while True:
            try:
                key = queue.get()
            except ShutDown:
                return
            processed.append(key)
            queue.done(key)
            tracker.finished(key)

    workers = [threading.Thread(target=work) for _ in range(3)]
    with FakeAPIServer() as server, server.client() as client, SharedInformerFactory(client) as factory:
        for number in range(50):
            client.resource(CONFIGMAPS, "default").create({"metadata": {"name": f"m{number}"}})
        tracker.follow(factory.informer(CONFIGMAPS).add_event_handler(ResourceEventHandler(on_add=on_add)))
        factory.start()
        assert not wait_for_cache_sync(tracker, timeout=0.2)  # nobody works yet
        for worker in workers:
            worker.start()
        assert wait_for_cache_sync(tracker, timeout=20)
        assert {f"default/m{number}" for number in range(50)} <= set(processed)
        queue.shut_down()
        for worker in workers:
            worker.join()


def test_a_value_is_computed_when_asked_for_after_a_change() -> None:
    calls: list[int] = []

    def evaluate() -> int:
        calls.append(len(calls))
        return len(calls)

    lazy = Lazy(evaluate)
    assert calls == []
    assert [lazy.get(), lazy.get()] == [1, 1]
    lazy.notify()
    lazy.notify()
    assert calls == [0]
    assert [lazy.get(), lazy.get()] == [2, 2]


def test_an_error_is_told_and_not_kept() -> None:
    answers: list[Exception | None] = [KeyError("bad"), None]

    def evaluate() -> str | None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        return None

    lazy = Lazy(evaluate)
    with pytest.raises(KeyError):
        lazy.get()
    assert lazy.get() is None
    assert lazy.get() is None  # None is a value like any other


def test_those_who_ask_at_once_share_one_computation() -> None:
    go, begun = threading.Event(), threading.Event()
    calls: list[None] = []

    def evaluate() -> object:
        calls.append(None)
        begun.set()
        go.wait(20)
        return object()

    lazy = Lazy(evaluate)
    answers: list[object] = []
    threads = [threading.Thread(target=lambda: answers.append(lazy.get())) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(20)
    go.set()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert len({id(answer) for answer in answers}) == 1


def test_a_change_during_the_computation_counts_for_who_asks_after_it() -> None:
    go, begun = threading.Event(), threading.Event()
    source = ["old"]

    def evaluate() -> str:
        value = source[0]
        begun.set()
        go.wait(20)
        return value

    lazy = Lazy(evaluate)
    answers: list[str] = []
    early = threading.Thread(target=lambda: answers.append(lazy.get()))
    early.start()
    assert begun.wait(20)
    source[0] = "new"
    lazy.notify()
    late = threading.Thread(target=lambda: answers.append("late " + lazy.get()))
    late.start()
    go.set()
    early.join()
    late.join()
    assert "late new" in answers
