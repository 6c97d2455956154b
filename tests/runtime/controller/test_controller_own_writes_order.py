"""Decision 5, step by step: the order in which writes, the cache and the queue move is the test's."""

from __future__ import annotations

import queue as stdlib_queue
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runtime.client import RequestTimeout, Unstructured, Write
from runtime.controller import own_writes as module
from runtime.controller.own_writes import OwnWrites
from runtime.informer import Indexer
from runtime.metrics import ReconcileStats
from runtime.testing import FakeAPIServer, FakeClock
from runtime.types import GVR, Request
from runtime.workqueue import PriorityQueue
from tests.support.managers import CONFIGMAPS, SECRETS

KEY = Request("default", "a")


def obj(name: str, version: int, uid: str = "u", **labels: str) -> Unstructured:
    metadata = {"name": name, "namespace": "default", "resourceVersion": str(version), "uid": uid, "labels": labels}
    return Unstructured({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})


def wrote(version: int, name: str = "child", gvr: GVR = SECRETS, **labels: str) -> Write:
    return Write("update", gvr, "default", name, "", obj(name, version, **labels), str(version), "u")


class Informer:
    """A store that is filled by hand."""

    def __init__(self) -> None:
        self.indexer = Indexer()
        self.indexer.bookmark("1")

    def has_synced(self) -> bool:
        return True


class Caches:
    """Those of Secrets and ConfigMaps; what has the label ``out`` is left out."""

    def __init__(self) -> None:
        self.by_gvr = {SECRETS: Informer(), CONFIGMAPS: Informer()}

    def cached(self, gvr: GVR, _namespace: str) -> Any:
        return self.by_gvr.get(gvr)

    def selects(self, _gvr: GVR, obj: Unstructured) -> bool:
        return "out" not in obj.labels


class Queue(PriorityQueue[Request]):
    """Lets the test act at the last moment before an item is parked."""

    before_park: Callable[[], None] = staticmethod(lambda: None)

    def park(self, item: Request, seconds: float) -> None:
        self.before_park()
        super().park(item, seconds)


class Bench:
    def __init__(self, server: FakeAPIServer, primary: GVR | None = None) -> None:
        self.clock = FakeClock()
        self.queue = Queue(clock=self.clock)
        self.caches = Caches()
        self.store = self.caches.by_gvr[SECRETS].indexer
        self.client = server.client()
        stats = ReconcileStats("test", 1)
        caches: Any = self.caches
        self.own = OwnWrites(caches, self.queue, self.client, stats, primary, 1000.0)
        self.queue.add(KEY)

    def runs(self, key: Request = KEY) -> bool:
        """Whether a worker that asks for the next key now would reconcile it."""
        try:
            assert self.queue.get(timeout=0) == key
        except stdlib_queue.Empty:
            return False
        if not self.own.admit(key):
            return False
        self.queue.done(key)
        self.queue.add(key)
        return True

    def waiting(self) -> int:
        return sum(not entry[2].gave_up for entry in self.store._waiters.heap) + len(self.store._waiters.looking)


@pytest.fixture
def bench(server: FakeAPIServer) -> Iterator[Bench]:
    bench = Bench(server)
    yield bench
    bench.client.close()


def test_the_highest_version_counts_in_whatever_order_they_are_told(bench: Bench) -> None:
    bench.own.note(KEY, wrote(20))
    bench.own.note(KEY, wrote(9))
    for version, runs in ((9, False), (19, False), (20, True)):
        bench.store.bookmark(str(version))
        assert bench.runs() is runs
    assert len(bench.own) == 0


def test_each_cache_is_waited_for(bench: Bench) -> None:
    bench.own.note(KEY, wrote(20))
    bench.own.note(KEY, wrote(30, gvr=CONFIGMAPS))
    assert not bench.runs()
    bench.store.bookmark("100")
    assert not bench.runs()
    bench.caches.by_gvr[CONFIGMAPS].indexer.bookmark("30")
    assert bench.runs()


def test_what_is_seen_just_before_the_key_is_parked_wakes_it(bench: Bench) -> None:
    bench.own.note(KEY, wrote(20))
    bench.queue.before_park = lambda: bench.store.bookmark("20")
    assert not bench.runs()
    assert len(bench.queue) == 1
    assert bench.runs()


def test_who_looks_again_leaves_nothing_behind_in_the_cache(bench: Bench) -> None:
    bench.own.note(KEY, wrote(20))
    bench.store.put(obj("gone", 2, uid="g"))
    bench.own.note(KEY, Write("delete", SECRETS, "default", "gone", "", None, "", "g"))
    for _ in range(5):
        assert not bench.runs()
        bench.clock.advance(1000.0)
        assert bench.waiting() == 1
    bench.store.bookmark("20")
    for _ in range(5):
        assert not bench.runs()
        bench.clock.advance(1000.0)
        assert bench.waiting() == 1
    bench.store.delete(obj("gone", 21, uid="g"))
    assert bench.runs()
    assert bench.waiting() == 0


def test_what_the_cache_leaves_out_is_not_waited_for(bench: Bench) -> None:
    bench.own.note(KEY, wrote(20, out="yes"))
    assert len(bench.own) == 0
    assert bench.runs()


def test_what_leaves_the_selection_is_waited_for_if_the_cache_has_it(bench: Bench) -> None:
    bench.store.put(obj("child", 5))
    bench.own.note(KEY, wrote(20, out="yes"))
    assert not bench.runs()
    bench.store.delete(obj("child", 20))
    assert bench.runs()


def test_what_leaves_the_selection_before_the_cache_has_seen_it_is_waited_for(bench: Bench) -> None:
    bench.own.note(KEY, wrote(10))
    bench.own.note(KEY, wrote(20, out="yes"))
    bench.store.put(obj("child", 10))
    assert not bench.runs()
    bench.store.delete(obj("child", 20))
    assert bench.runs()


def test_of_what_the_server_shows_only_what_the_cache_selects_is_waited_for(bench: Bench) -> None:
    secrets = bench.client.resource(SECRETS, "default")
    inside = secrets.create({"metadata": {"generateName": "in-"}})
    secrets.create({"metadata": {"generateName": "out-", "labels": {"out": "yes"}}})
    lost = RequestTimeout("create secrets: no answer in time")
    bench.own.note(KEY, Write("create", SECRETS, "default", "", "", None, failure=lost))
    assert not bench.runs()
    bench.store.put(inside)
    assert bench.runs()


def test_a_token_is_no_change_of_its_account(bench: Bench) -> None:
    bench.own.note(KEY, Write("create", SECRETS, "default", "account", "token", None))
    assert len(bench.own) == 0


def test_a_version_that_is_no_number_is_not_waited_for(bench: Bench) -> None:
    unreadable = Unstructured({"kind": "Secret", "metadata": {"name": "child", "resourceVersion": "abc"}})
    bench.own.note(KEY, Write("update", SECRETS, "default", "child", "", unreadable, "abc", "u"))
    assert len(bench.own) == 0
    assert bench.runs()


def test_a_cache_that_ends_is_not_waited_for(bench: Bench) -> None:
    bench.own.note(KEY, wrote(20))
    assert not bench.runs()
    bench.store.close()
    assert bench.runs()


def test_writes_to_the_objects_of_other_keys_count_for_those_too(server: FakeAPIServer) -> None:
    bench = Bench(server, primary=SECRETS)
    other = Request("default", "other")
    bench.own.note(KEY, wrote(20, name="other"))
    bench.own.note(KEY, wrote(21, name="a"))
    assert len(bench.own) == 2
    assert not bench.runs()
    bench.queue.add(other)
    assert not bench.runs(other)
    bench.store.bookmark("20")
    assert bench.runs(other)
    bench.client.close()


def test_keys_that_never_run_again_are_forgotten(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def note(number: int) -> None:
        key = Request("default", f"k{number}")
        bench.own.note(key, wrote(20))
        bench.own.note(key, Write("create", SECRETS, "default", "pod", "eviction", None))

    for number in range(200):
        note(number)
    assert len(bench.own) == 200, "neither has been seen"
    bench.store.bookmark("20")
    monkeypatch.setattr(module, "_UNKNOWN_FOR", 0.0)
    for number in range(200, 600):
        note(number)
    assert len(bench.own) <= 400
