"""C12: a standby watches and fills its queues, so that taking over costs no list; and what it must not do meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from runtime.controller import Controller, ExternalSource, ReconcileContext
from runtime.controller import controller as module
from runtime.manager import Manager
from runtime.testing import FakeAPIServer
from runtime.types import Request
from tests.support.managers import CONFIGMAPS, FOO_CRD, FOOS, OFF, ON, SECRETS, configmap, eventually, http, running

ELECTED: dict[str, Any] = {
    "leader_election": True,
    "leader_election_id": "the-lease",
    "lease_duration": 3.0,
    "renew_deadline": 2.0,
    "retry_period": 0.1,
}
Reconcile = Callable[[Request, ReconcileContext], None]


def make(
    server: FakeAPIServer, reconcile: Reconcile, warm_up: bool = True, **options: Any
) -> tuple[Manager, Controller]:
    manager = Manager(server.client(), **(OFF | ELECTED | options))
    builder = manager.controller("maps").for_(CONFIGMAPS)
    return manager, builder.with_options(warm_up=warm_up).complete(reconcile)


def create(server: FakeAPIServer, *names: str) -> None:
    for name in names:
        server.client().resource(CONFIGMAPS, "default").create(configmap(name))


def reads(server: FakeAPIServer) -> int:
    return len([e for e in server.requests if e.resource == "configmaps" and e.verb in ("list", "watch")])


def test_taking_over_costs_no_list(server: FakeAPIServer) -> None:
    create(server, "a", "b")
    first, _ = make(server, lambda *_: None)
    seen: list[str] = []
    second, controller = make(server, lambda request, _: seen.append(request.name), **ON)
    with running(first) as one, running(second, wait=False):
        eventually(lambda: len(controller.queue) == 2)
        create(server, "c")
        eventually(lambda: len(controller.queue) == 3)
        server.client().resource(CONFIGMAPS, "default").patch("a", {"data": {"x": "y"}})
        eventually(lambda: controller.queue.stats().depth_by_priority.get(0) == 2)
        assert (controller.started, controller.working, seen) == (True, False, [])
        assert not controller.first_pass.has_synced()
        # What is waiting is seen as what it is.
        text = http(eventually(lambda: second.metrics_address), "/metrics")[1]
        assert 'workqueue_depth{controller="maps",name="maps",priority="0"} 2.0' in text
        assert 'workqueue_depth{controller="maps",name="maps",priority="-100"} 1.0' in text
        assert 'controller_runtime_active_workers{controller="maps"} 0.0' in text
        eventually(lambda: http(second.health_address, "/readyz") == (200, "ok"))
        before = reads(server)
        assert one.end() is None
        eventually(lambda: sorted(seen) == ["a", "b", "c"])
        eventually(controller.first_pass.has_synced)
        assert reads(server) == before


def test_without_warm_up_a_standby_does_not_even_cache(server: FakeAPIServer) -> None:
    create(server, "a")
    first, _ = make(server, lambda *_: None)
    seen: list[str] = []
    second, controller = make(server, lambda request, _: seen.append(request.name), warm_up=False, **ON)
    second.informer(SECRETS)
    with running(first) as one:
        listed = reads(server)
        with running(second, wait=False):
            assert second.wait_for_cache_sync(20)
            assert not controller.started
            eventually(lambda: http(second.health_address, "/readyz") == (200, "ok"))
            assert reads(server) == listed
            assert one.end() is None
            eventually(lambda: seen == ["a"])


def test_a_controller_added_to_a_standby_warms_up_too(server: FakeAPIServer) -> None:
    create(server, "a")
    first, _ = make(server, lambda *_: None)
    second, _ = make(server, lambda *_: None)
    with running(first), running(second, wait=False):
        assert second.wait_for_cache_sync(20)
        late = second.controller("late").for_(CONFIGMAPS).complete(lambda *_: None)
        eventually(lambda: len(late.queue) == 1)
        assert not late.working


def test_a_standby_that_is_stopped_while_warm_leaves_nothing(server: FakeAPIServer) -> None:
    """M5, M6; the fixture that looks for threads judges."""
    create(server, "a")
    first, _ = make(server, lambda *_: None)
    second, controller = make(server, lambda *_: None)
    with running(first):
        with running(second, wait=False) as two:
            eventually(lambda: len(controller.queue) == 1)
            assert two.end() is None
        assert not controller.working
        assert not controller.first_pass.has_synced()
        assert controller.first_pass.sync_latch.broken


def test_sources_start_once_when_warm_up_and_start_race(server: FakeAPIServer) -> None:
    manager = Manager(server.client(), **OFF)
    others = [manager.controller(f"c{n}").for_(CONFIGMAPS).complete(lambda *_: None) for n in range(8)]
    for controller in others:
        barrier = threading.Barrier(3)

        def racing(call: Callable[[], None], barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            call()

        threads = [
            threading.Thread(target=racing, args=(call,))
            for call in (controller.warm_up, controller.start, controller.warm_up)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    try:
        mains = [t.name for t in threading.enumerate() if t.name in {f"controller-c{n}" for n in range(8)}]
        assert len(mains) == len(set(mains)) == 8
        informer = manager.informer(CONFIGMAPS)
        eventually(lambda: len(informer.handlers) == 8)
    finally:
        for controller in others:
            controller.stop()
            assert controller.join(20)


def test_a_standby_forgets_what_is_gone(server: FakeAPIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its queue does not grow with every object that comes and goes; and no vanished one delays it as a leader."""
    monkeypatch.setattr(module, "_TRIM_PERIOD", 0.05)
    monkeypatch.setattr(module, "_TRIM_FROM", 3)
    create(server, "old-1", "old-2")
    first, _ = make(server, lambda *_: None)
    seen: list[str] = []
    second, controller = make(server, lambda request, _: seen.append(request.name))
    maps = server.client().resource(CONFIGMAPS, "default")
    with running(first) as one, running(second, wait=False):
        eventually(lambda: len(controller.queue) == 2)
        create(server, "new-1", "new-2", "new-3")
        for name in ("old-1", "new-1", "new-2"):
            maps.delete(name)
        eventually(lambda: len(controller.queue) == 2)
        depths = controller.queue.stats().depth_by_priority
        assert depths == {-100: 1, 0: 1}
        one.end()
        eventually(lambda: controller.first_pass.has_synced() and len(seen) == 2)
    assert sorted(seen) == ["new-3", "old-2"]


def test_a_standby_keeps_what_was_named(server: FakeAPIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a map function or from elsewhere: no list that a new leader makes would bring it, and there need be no object
    of that name."""
    monkeypatch.setattr(module, "_TRIM_PERIOD", 0.02)
    monkeypatch.setattr(module, "_TRIM_FROM", 1)
    create(server, "gone")
    server.client().resource(SECRETS, "default").create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "parent"}}
    )
    first, _ = make(server, lambda *_: None)
    seen: list[str] = []
    alarms = ExternalSource()
    second = Manager(server.client(), **(OFF | ELECTED))
    builder = second.controller("maps").for_(CONFIGMAPS).watches_source(alarms)
    builder = builder.watches(SECRETS, lambda secret: [Request("default", f"of-{secret.name}")])
    controller = builder.complete(lambda request, _: seen.append(request.name))
    alarms.enqueue(Request("default", "alarm"))
    with running(first) as one, running(second, wait=False):
        eventually(lambda: len(controller.queue) == 3)
        alarms.enqueue(Request("default", "alarm-2"))
        server.client().resource(CONFIGMAPS, "default").delete("gone")
        eventually(lambda: len(controller.queue) == 3)
        one.end()
        eventually(lambda: sorted(seen) == ["alarm", "alarm-2", "of-parent"])
        eventually(controller.first_pass.has_synced)


@pytest.mark.usefixtures("quick_looks")
def test_a_standby_watches_what_comes_later_and_stays_ready(server: FakeAPIServer) -> None:
    """Whose children there are is known only once the CRD is."""
    first, _ = make(server, lambda *_: None)
    second = Manager(server.client(), **(ON | ELECTED))
    second.cache(FOOS, required=False)
    controller = second.controller("foos").for_(FOOS).owns(CONFIGMAPS).complete(lambda *_: None)
    with running(first), running(second, wait=False):
        address = eventually(lambda: second.health_address)
        eventually(lambda: http(address, "/readyz")[0] == 200)
        assert not second.cache(FOOS).has_synced()
        server.apply_manifests(FOO_CRD)
        eventually(second.cache(FOOS).has_synced)
        owner = {"apiVersion": f"{FOOS.group}/v1", "kind": "Foo", "name": "a", "uid": "u", "controller": True}
        child = configmap("child")
        child["metadata"]["ownerReferences"] = [owner]
        server.client().resource(CONFIGMAPS, "default").create(child)
        eventually(lambda: len(controller.queue) == 1)
        eventually(lambda: http(address, "/readyz")[0] == 200)
        assert not controller.working


def test_a_standby_without_its_optional_resource_keeps_what_it_cannot_judge(
    server: FakeAPIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TRIM_PERIOD", 0.02)
    monkeypatch.setattr(module, "_TRIM_FROM", 1)
    create(server, "a")
    first, _ = make(server, lambda *_: None)
    seen: list[str] = []
    second = Manager(server.client(), **(OFF | ELECTED))
    second.cache(FOOS, required=False)
    builder = second.controller("foos").for_(FOOS).watches(CONFIGMAPS)
    controller = builder.complete(lambda request, _: seen.append(request.name))
    with running(first) as one, running(second, wait=False):
        eventually(lambda: len(controller.queue) == 1 and controller.waiting_for() == {})
        looks = threading.Event()
        retain = controller.queue.retain

        def look(keep: Callable[[Request], bool]) -> None:
            looks.set()
            retain(keep)

        monkeypatch.setattr(controller.queue, "retain", look)
        assert not looks.wait(0.2)
        one.end()
        eventually(lambda: seen == ["a"])
