"""Keys from outside, the end of the first pass, and the time to sync."""

from __future__ import annotations

import threading

import pytest

from runtime.client import Unstructured
from runtime.controller import CacheSyncTimeout, ExternalSource, ReconcileContext
from runtime.controller.connections import Connections
from runtime.controller.firstpass import FirstPass
from runtime.informer import wait_for_cache_sync
from runtime.manager import Manager
from runtime.testing import FakeAPIServer, FakeClock
from runtime.types import Request
from tests.support.managers import CONFIGMAPS, OFF, SECRETS, configmap, eventually, running


def key(name: str) -> Request:
    return Request("default", name)


def test_keys_come_before_and_after_the_start_from_any_thread(server: FakeAPIServer) -> None:
    source = ExternalSource()
    seen: list[str] = []
    manager = Manager(server.client(), **OFF)
    source.enqueue(key("before-complete"))
    source.enqueue(key("before-complete"))
    manager.controller("test").watches_source(source).complete(lambda request, _: seen.append(request.name))
    source.enqueue(key("before-run"))
    with running(manager) as run:
        threads = [threading.Thread(target=source.enqueue, args=(key(f"thread-{n}"),)) for n in range(4)]
        for thread in threads:
            thread.start()
        expected = {"before-complete", "before-run", "thread-0", "thread-1", "thread-2", "thread-3"}
        eventually(lambda: set(seen) == expected)
        run.end()
        source.enqueue(key("too-late"))
        for thread in threads:
            thread.join()
    assert sorted(seen) == sorted(expected)


def test_priority_and_delay(server: FakeAPIServer) -> None:
    clock = FakeClock()
    source = ExternalSource()
    entered, release = threading.Event(), threading.Event()
    seen: list[str] = []

    def reconcile(request: Request, _: ReconcileContext) -> None:
        seen.append(request.name)
        if request.name == "hold":
            entered.set()
            release.wait(20)

    manager = Manager(server.client(), clock=clock, **OFF)
    controller = manager.controller("test").watches_source(source).complete(reconcile)
    source.enqueue(key("hold"))
    with running(manager):
        assert entered.wait(20)
        source.enqueue(key("later"), after=30.0)
        source.enqueue(key("low"), priority=-1)
        source.enqueue(key("plain"))
        source.enqueue(key("high"), priority=1)
        release.set()
        eventually(lambda: seen == ["hold", "high", "plain", "low"])
        clock.advance(29.0)
        assert len(controller.queue) == 0
        clock.advance(1.0)
        eventually(lambda: seen[-1] == "later")


def test_what_came_before_there_was_a_controller_keeps_the_highest_priority_and_the_shortest_delay(
    server: FakeAPIServer,
) -> None:
    source = ExternalSource()
    source.enqueue(key("a"), priority=5, after=60.0)
    source.enqueue(key("a"), priority=1)
    source.enqueue(key("b"), after=60.0)
    manager = Manager(server.client(), **OFF)
    for name in ("one", "two"):
        controller = manager.controller(name).watches_source(source).complete(lambda *_: None)
        stats = controller.queue.stats()
        assert stats.depth_by_priority[5] == 1
        assert stats.delayed == 1


def test_what_is_no_request_is_refused_where_it_is_given(server: FakeAPIServer) -> None:
    with pytest.raises(TypeError, match=r"'default/a'.*Request\(namespace, name\)"):
        ExternalSource().enqueue("default/a")  # type: ignore[arg-type]


def test_the_first_pass_is_over_when_each_key_was_tried_once(server: FakeAPIServer) -> None:
    """Complaint 13: three things to wait for. A key whose reconcile fails was tried."""
    maps = server.client().resource(CONFIGMAPS, "default")
    for name in ("a", "b", "c"):
        maps.create(configmap(name))
    release = threading.Event()

    def reconcile(request: Request, _: ReconcileContext) -> None:
        if request.name == "b":
            raise RuntimeError("no luck")
        if request.name == "c":
            release.wait(20)

    manager = Manager(server.client(), **OFF)
    builder = manager.controller("test").for_(CONFIGMAPS).with_options(workers=2)
    controller = builder.complete(reconcile)
    informer = manager.informer(CONFIGMAPS)
    assert not controller.first_pass.has_synced()
    with running(manager):
        assert wait_for_cache_sync(informer, timeout=20)
        eventually(lambda: controller.stats.outcomes["success"].value >= 1 and controller.stats.errors.value >= 1)
        assert not wait_for_cache_sync(controller.first_pass, timeout=0)
        release.set()
        assert wait_for_cache_sync(controller.first_pass, timeout=20)
        maps.create(configmap("later"))  # is no part of it
        eventually(lambda: controller.stats.outcomes["success"].value >= 3)
        assert controller.first_pass.has_synced()


def test_what_is_listed_later_is_no_part_of_the_first_pass() -> None:
    first_pass = FirstPass()
    first_pass.expect(key("a"))
    first_pass.expects_no_more()
    first_pass.expect(key("of-an-optional-resource"))
    assert not first_pass.has_synced()
    first_pass.finished(key("a"))
    assert first_pass.has_synced()


def test_the_first_pass_of_nothing_is_over_at_once(server: FakeAPIServer) -> None:
    manager = Manager(server.client(), **OFF)
    controller = manager.controller("test").for_(SECRETS).complete(lambda *_: None)
    with running(manager):
        assert wait_for_cache_sync(controller.first_pass, timeout=20)


def test_the_first_pass_counts_what_map_functions_name(server: FakeAPIServer) -> None:
    server.client().resource(CONFIGMAPS, "default").create(configmap("a"))
    release = threading.Event()

    def two(obj: Unstructured) -> list[Request]:
        return [key(obj.name + "-1"), key(obj.name + "-2")]

    manager = Manager(server.client(), **OFF)
    seen: list[str] = []

    def reconcile(request: Request, _: ReconcileContext) -> None:
        seen.append(request.name)
        release.wait(20)

    controller = manager.controller("test").watches(CONFIGMAPS, two).complete(reconcile)
    with running(manager):
        eventually(lambda: seen == ["a-1"])
        assert not controller.first_pass.has_synced()
        release.set()
        assert wait_for_cache_sync(controller.first_pass, timeout=20)
        assert seen == ["a-1", "a-2"]


def test_a_manager_ends_when_a_controller_may_wait_no_longer(server: FakeAPIServer) -> None:
    """C1, where somebody asks for it; the error says what is missing and why."""
    denied = server.faults.add(resource="secrets", status=403, message="no rule for it")
    clock = FakeClock()
    manager = Manager(server.client(), clock=clock, **OFF)
    builder = manager.controller("test").for_(CONFIGMAPS).watches(SECRETS)
    builder.with_options(cache_sync_timeout=120.0).complete(lambda *_: None)
    with running(manager, wait=False) as run:
        eventually(lambda: denied.hits)
        eventually(lambda: "403" in str(manager.controllers()[0].waiting_for()))
        eventually(lambda: list(manager.controllers()[0].waiting_for()) == [SECRETS])
        clock.advance(119.0)
        assert run.thread.is_alive()
        clock.advance(1.0)
        run.thread.join(20)
        assert isinstance(run.error, CacheSyncTimeout)
        assert "secrets.v1: " in str(run.error)
        assert "no rule for it" in str(run.error)
        assert "configmaps" not in str(run.error)
        assert "controller test" in run.error.__notes__[0]


def test_who_has_synced_in_time_may_take_its_time(server: FakeAPIServer) -> None:
    clock = FakeClock()
    manager = Manager(server.client(), clock=clock, **OFF)
    builder = manager.controller("test").for_(CONFIGMAPS).with_options(cache_sync_timeout=1.0)
    builder.complete(lambda *_: None)
    with running(manager) as run:
        clock.advance(10.0)
        assert run.end() is None


def test_a_timeout_that_makes_no_sense_is_refused(server: FakeAPIServer) -> None:
    builder = Manager(server.client(), **OFF).controller("test")
    with pytest.raises(ValueError, match="controller test: cache_sync_timeout must be above 0 seconds, not 0"):
        builder.with_options(cache_sync_timeout=0)


def test_a_fault_that_ends_a_controller_ends_the_manager(
    server: FakeAPIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A controller must not be missing without a word."""

    def broken(_: Connections) -> bool:
        raise AssertionError("a fault of ours")

    monkeypatch.setattr(Connections, "advance", broken)
    manager = Manager(server.client(), **OFF)
    manager.controller("test").for_(CONFIGMAPS).complete(lambda *_: None)
    with running(manager, wait=False) as run:
        run.thread.join(20)
        assert isinstance(run.error, AssertionError)
        assert "controller test" in run.error.__notes__[0]
