"""Decision 5, step by step: the order in which writes, the cache and the queue move is the test's."""

from __future__ import annotations

import queue as stdlib_queue
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.client import RequestTimeout, Unstructured, Write
from runtime.controller import own_writes as module
from runtime.controller.own_writes import OwnWrites
from runtime.informer import Indexer, SyncState
from runtime.metrics import ReconcileStats
from runtime.testing import FakeAPIServer, FakeClock
from runtime.types import GVR, Request
from runtime.workqueue import PriorityQueue
from tests.support.managers import CONFIGMAPS, SECRETS

KEY = Request("default", "a")
PATIENCE = 1000.0
LOST = RequestTimeout("create secrets: no answer in time")


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
        self.sync_state = SyncState(synced=True, connected=True)

    def has_synced(self) -> bool:
        return self.sync_state.synced


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

    before_park: Callable[[], object] = staticmethod(lambda: None)

    def park(self, item: Request, seconds: float) -> None:
        self.before_park()
        super().park(item, seconds)


class Bench:
    def __init__(self, server: FakeAPIServer, primary: GVR | None = None, patience: float = PATIENCE) -> None:
        self.clock = FakeClock()
        self.queue = Queue(clock=self.clock)
        self.caches = Caches()
        self.store = self.caches.by_gvr[SECRETS].indexer
        self.client = server.client()
        self.stats = ReconcileStats("test", 1)
        caches: Any = self.caches
        self.own = OwnWrites(caches, self.queue, self.client, self.stats, primary, patience)
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


def test_what_is_gone_just_before_the_key_is_parked_wakes_it(bench: Bench) -> None:
    bench.store.put(obj("gone", 2, uid="g"))
    bench.own.note(KEY, Write("delete", SECRETS, "default", "gone", "", None, "", "g"))
    bench.queue.before_park = lambda: bench.store.delete(obj("gone", 20, uid="g"))
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
    bench.own.note(KEY, Write("create", SECRETS, "default", "", "", None, failure=LOST))
    assert not bench.runs()
    bench.store.put(inside)
    assert bench.runs()


def test_of_what_the_server_shows_what_the_cache_has_is_waited_for_too(bench: Bench) -> None:
    """It leaves the selection, by a patch whose answer was lost."""
    secrets = bench.client.resource(SECRETS, "default")
    bench.store.put(secrets.create({"metadata": {"name": "child"}}))
    left = secrets.patch("child", {"metadata": {"labels": {"out": "yes"}}})
    bench.own.note(KEY, Write("patch", SECRETS, "default", "child", "", None, failure=LOST))
    assert not bench.runs()
    bench.store.delete(left)
    assert bench.runs()


def test_an_object_of_ours_whose_name_nobody_told_is_no_other_key(server: FakeAPIServer) -> None:
    bench = Bench(server, primary=SECRETS)
    bench.own.note(KEY, Write("create", SECRETS, "default", "", "", None, failure=LOST))
    assert len(bench.own) == 1
    bench.client.close()


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


class Time:
    """The real time that patience is measured in, told by the test."""

    def __init__(self, bench: Bench) -> None:
        self.now = 0.0
        self._clock = bench.clock

    def monotonic(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self._clock.advance(seconds)


@pytest.fixture
def time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time(bench)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=time.monotonic))
    return time


def test_patience_is_for_a_cache_that_has_its_watch(bench: Bench, time: Time) -> None:
    """It has just got it again, and not caught up yet: to go on now would be to make the second child."""
    bench.own.note(KEY, wrote(20))
    informer = bench.caches.by_gvr[SECRETS]
    informer.sync_state = SyncState(synced=True, connected=False)
    for _ in range(500):
        assert not bench.runs()
        time.pass_(10.0)
    informer.sync_state = SyncState(synced=True, connected=True)
    for _ in range(97):
        assert not bench.runs()
        time.pass_(10.0)
    assert bench.stats.own_write_timeouts.value == 0
    time.pass_(40.0)
    assert bench.runs()
    assert bench.stats.own_write_timeouts.value == 1


def test_an_outage_that_begins_and_ends_during_the_wait_is_noticed(bench: Bench, time: Time) -> None:
    bench.own.note(KEY, wrote(20))
    informer = bench.caches.by_gvr[SECRETS]
    assert not bench.runs()
    time.pass_(20.0)
    informer.sync_state = SyncState(synced=True, connected=False)
    for _ in range(20):
        bench.runs()
        time.pass_(PATIENCE / 20 - 1.0)
    informer.sync_state = SyncState(synced=True, connected=True)
    time.pass_(0.5)
    assert not bench.runs()
    time.pass_(PATIENCE / 2)
    assert not bench.runs()


def test_a_cache_that_never_shows_it_gives_up_no_other(bench: Bench, time: Time) -> None:
    bench.own.note(KEY, wrote(20))
    bench.own.note(KEY, wrote(20, gvr=CONFIGMAPS))
    maps = bench.caches.by_gvr[CONFIGMAPS]
    maps.sync_state = SyncState(synced=True, connected=False)
    for _ in range(3):
        assert not bench.runs()
        time.pass_(PATIENCE)
    assert not bench.runs()
    maps.indexer.bookmark("20")
    assert bench.runs()
    assert bench.stats.own_write_timeouts.value == 1


def test_a_deletion_that_is_never_shown_gives_up_no_other(bench: Bench, time: Time) -> None:
    maps = bench.caches.by_gvr[CONFIGMAPS]
    for gvr, store in ((SECRETS, bench.store), (CONFIGMAPS, maps.indexer)):
        store.put(obj("gone", 2, uid="g"))
        bench.own.note(KEY, Write("delete", gvr, "default", "gone", "", None, "", "g"))
    maps.sync_state = SyncState(synced=True, connected=False)
    for _ in range(3):
        assert not bench.runs()
        time.pass_(PATIENCE)
    assert not bench.runs()
    maps.indexer.delete(obj("gone", 21, uid="g"))
    assert bench.runs()


def test_a_resource_that_is_not_served_any_more_is_not_waited_for_without_end(bench: Bench, time: Time) -> None:
    bench.own.note(KEY, wrote(20))
    bench.caches.by_gvr[SECRETS].sync_state = SyncState(synced=True, connected=False, refused=404)
    assert not bench.runs()
    time.pass_(PATIENCE)
    assert bench.runs()


def test_what_was_written_before_its_cache_is_complete_is_waited_for_then(bench: Bench) -> None:
    """Its list may have been made before the write."""
    informer = bench.caches.by_gvr[SECRETS]
    informer.sync_state = SyncState()
    bench.own.note(KEY, wrote(20))
    assert bench.runs(), "there is nothing to be read from it yet"
    informer.sync_state = SyncState(synced=True, connected=True)
    assert not bench.runs()
    bench.store.bookmark("20")
    assert bench.runs()
    assert len(bench.own) == 0


def test_what_was_deleted_before_its_cache_is_complete_is_waited_for_then(bench: Bench) -> None:
    informer = bench.caches.by_gvr[SECRETS]
    informer.sync_state = SyncState()
    bench.own.note(KEY, Write("delete", SECRETS, "default", "gone", "", None, "", "g"))
    assert bench.runs()
    bench.store.put(obj("gone", 2, uid="g"))
    informer.sync_state = SyncState(synced=True, connected=True)
    assert not bench.runs()
    bench.store.delete(obj("gone", 21, uid="g"))
    assert bench.runs()


def test_what_was_lost_before_its_cache_is_complete_is_asked_for_then(bench: Bench) -> None:
    informer = bench.caches.by_gvr[SECRETS]
    informer.sync_state = SyncState()
    child = bench.client.resource(SECRETS, "default").create({"metadata": {"generateName": "of-"}})
    bench.own.note(KEY, Write("create", SECRETS, "default", "", "", None, failure=LOST))
    assert bench.runs()
    informer.sync_state = SyncState(synced=True, connected=True)
    assert not bench.runs()
    bench.store.put(child)
    assert bench.runs()


def test_what_waits_for_a_cache_to_be_complete_is_remembered_however_many_keys_write(bench: Bench) -> None:
    informer = bench.caches.by_gvr[CONFIGMAPS]
    informer.sync_state = SyncState()
    bench.own.note(KEY, wrote(20, gvr=CONFIGMAPS))
    for number in range(200):
        bench.own.note(Request("default", f"k{number}"), wrote(1))
    assert len(bench.own) <= 129
    informer.sync_state = SyncState(synced=True, connected=True)
    assert not bench.runs()


def test_patience_begins_when_the_server_has_answered(bench: Bench, server: FakeAPIServer, time: Time) -> None:
    child = bench.client.resource(SECRETS, "default").create({"metadata": {"generateName": "of-"}})
    server.faults.add(verb="list", resource="secrets", status=500, times=3)
    bench.own.note(KEY, Write("create", SECRETS, "default", "", "", None, failure=LOST))
    for _ in range(3):
        assert not bench.runs()
        time.pass_(PATIENCE)
    for _ in range(2):
        assert not bench.runs(), "it has told the version now, which the cache gets its time to reach"
        time.pass_(PATIENCE / 2)
    bench.store.put(child)
    assert bench.runs()
    assert bench.stats.own_write_timeouts.value == 0


def test_patience_begins_when_an_answer_that_took_long_is_there(
    bench: Bench, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = bench.client.resource(SECRETS, "default").create({"metadata": {"generateName": "of-"}})
    bench.own.note(KEY, Write("create", SECRETS, "default", "", "", None, failure=LOST))

    def selects(_gvr: GVR, _obj: Unstructured) -> bool:
        time.now += 2 * PATIENCE
        return True

    monkeypatch.setattr(bench.caches, "selects", selects)
    assert not bench.runs()
    bench.store.put(child)
    assert bench.runs()
    assert bench.stats.own_write_timeouts.value == 0


def test_short_patience_is_for_a_cache_that_has_its_watch_too(server: FakeAPIServer, time: Time, bench: Bench) -> None:
    hasty = Bench(server, patience=5.0)
    informer = hasty.caches.by_gvr[SECRETS]
    hasty.own.note(KEY, wrote(20))
    for second in range(12):
        informer.sync_state = SyncState(synced=True, connected=second > 4)
        assert hasty.runs() is (second > 9), second
        time.pass_(0.99)
        hasty.clock.advance(0.99)
    hasty.client.close()


def test_a_cache_that_is_refused_is_not_remembered_for(bench: Bench) -> None:
    informer = bench.caches.by_gvr[SECRETS]
    informer.sync_state = SyncState(refused=403)
    for number in range(200):
        bench.own.note(Request("default", f"k{number}"), wrote(20))
    assert len(bench.own) <= 129


def test_a_server_that_answers_slowly_is_given_more_time(
    bench: Bench, server: FakeAPIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the key would wait for ever."""
    monkeypatch.setattr(module, "_ASK_FOR", 0.05)
    server.faults.add(verb="list", resource="secrets", delay=0.3)
    bench.own.note(KEY, Write("create", SECRETS, "default", "", "", None, failure=LOST))
    for _ in range(8):
        if bench.runs():
            return
        bench.clock.advance(10.0)
    raise AssertionError("the server is never given the time it needs")


def test_one_answer_serves_all_keys_that_wait_for_the_same(bench: Bench, server: FakeAPIServer) -> None:
    child = bench.client.resource(SECRETS, "default").create({"metadata": {"generateName": "of-"}})
    others = [Request("default", f"k{number}") for number in range(3)]
    for key in (KEY, *others):
        bench.own.note(key, Write("create", SECRETS, "default", "", "", None, failure=LOST))
    assert not bench.runs()
    for key in others:
        bench.queue.add(key)
        assert not bench.runs(key)
    assert [request.verb for request in server.requests if request.resource == "secrets"] == ["create", "list"]
    bench.own.note(KEY, Write("create", SECRETS, "default", "", "", None, failure=LOST))
    bench.store.put(child)
    woken = [bench.queue.get(timeout=0) for _ in range(4)]
    assert set(woken) == {KEY, *others}
    assert all(bench.own.admit(key) for key in woken)
    verbs = [request.verb for request in server.requests if request.resource == "secrets"]
    assert verbs.count("list") == 2, "asked anew of what was lost since"


def test_pages_that_expire_while_the_server_is_asked_are_no_refusal(bench: Bench, server: FakeAPIServer) -> None:
    server.faults.add(verb="list", resource="secrets", status=410, times=1)
    secrets = bench.client.resource(SECRETS, "default")
    child = secrets.create({"metadata": {"generateName": "of-"}})
    bench.own.note(KEY, Write("create", SECRETS, "default", "", "", None, failure=LOST))
    assert not bench.runs()
    bench.clock.advance(10.0)
    assert not bench.runs()
    bench.store.put(child)
    assert bench.runs()
