"""Decision 5: a reconcile sees what the one before it wrote."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from runtime.client import NotFound
from runtime.controller import Controller, ReconcileContext
from runtime.informer import ResourceEventHandler
from runtime.manager import Manager
from runtime.testing import FakeAPIServer
from runtime.types import Request
from tests.support.managers import CONFIGMAPS, OFF, SECRETS, configmap, eventually, running


class Lagging:
    """A controller that gives each ConfigMap one Secret with a name of the server's choice, and a cache of Secrets
    which the test can hold back."""

    def __init__(self, server: FakeAPIServer, **options: Any) -> None:
        self.client = server.client()
        self.maps = self.client.resource(CONFIGMAPS, "default")
        self.secrets = self.client.resource(SECRETS, "default")
        self.runs = 0
        self.held, self.release = threading.Event(), threading.Event()
        self.manager = Manager(self.client, **OFF)
        self.controller: Controller = (
            self.manager.controller("one-each")
            .for_(CONFIGMAPS)
            .owns(SECRETS)
            .with_options(**options)
            .complete(self.reconcile)
        )
        # Runs in the thread that fills the cache: as long as it waits, the cache stays as it is.
        self.manager.informer(SECRETS).add_event_handler(ResourceEventHandler(on_add=self.hold), inline=True)

    def hold(self, obj: Any, _initial: bool) -> None:
        if obj.name == "plug":
            self.held.set()
            self.release.wait(20)

    def reconcile(self, request: Request, ctx: ReconcileContext) -> None:
        self.runs += 1
        try:
            ctx.lister(CONFIGMAPS).get(request)
        except NotFound:
            return
        mine = [s for s in ctx.lister(SECRETS).list() if s.labels.get("of") == request.name]
        if not mine:
            ctx.client.resource(SECRETS, "default").create(
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"generateName": "of-", "labels": {"of": request.name}},
                }
            )

    def made(self) -> int:
        return len(self.secrets.list(label_selector="of=a"))

    def stop_the_cache(self) -> None:
        self.secrets.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "plug"}})
        assert self.held.wait(10)


@contextmanager
def lag(server: FakeAPIServer, **options: Any) -> Iterator[Lagging]:
    lagging = Lagging(server, **options)
    with running(lagging.manager):
        try:
            yield lagging
        finally:
            lagging.release.set()


@pytest.fixture
def lagging(server: FakeAPIServer) -> Iterator[Lagging]:
    with lag(server) as lagging:
        yield lagging


def test_a_child_the_cache_does_not_show_yet_is_not_created_twice(lagging: Lagging) -> None:
    """Fails without the wait: the second run lists no Secret and makes another."""
    lagging.stop_the_cache()
    lagging.maps.create(configmap("a"))
    eventually(lambda: lagging.made() == 1)
    lagging.maps.patch("a", {"data": {"touched": "yes"}})
    eventually(lambda: lagging.controller.stats.own_write_waits.value == 1)
    lagging.release.set()
    eventually(lambda: lagging.runs >= 2)
    eventually(lambda: lagging.controller.queue.stats().processing == 0)
    assert lagging.made() == 1
    assert lagging.controller.stats.own_write_timeouts.value == 0


def test_a_cache_that_never_catches_up_is_not_waited_for_for_ever(
    server: FakeAPIServer, caplog: pytest.LogCaptureFixture
) -> None:
    with lag(server, own_writes_timeout=0.1) as lagging:
        lagging.stop_the_cache()
        lagging.maps.create(configmap("a"))
        eventually(lambda: lagging.made() == 1)
        lagging.maps.patch("a", {"data": {"touched": "yes"}})
        eventually(lambda: lagging.runs == 2)
        assert lagging.controller.stats.own_write_timeouts.value == 1
        assert "does not show our own writes" in caplog.text


def test_who_does_not_want_to_wait_does_not(server: FakeAPIServer) -> None:
    """The bug itself: the second run lists no Secret and makes another."""
    with lag(server, own_writes_timeout=0.0) as lagging:
        lagging.stop_the_cache()
        lagging.maps.create(configmap("a"))
        eventually(lambda: lagging.made() == 1)
        lagging.maps.patch("a", {"data": {"touched": "yes"}})
        eventually(lambda: lagging.made() == 2)
        assert lagging.controller.stats.own_write_waits.value == 0


def test_a_stop_ends_the_wait(lagging: Lagging) -> None:
    lagging.stop_the_cache()
    lagging.maps.create(configmap("a"))
    eventually(lambda: lagging.made() == 1)
    lagging.maps.patch("a", {"data": {"touched": "yes"}})
    eventually(lambda: lagging.controller.queue.stats().parked == 1)
    lagging.controller.stop()
    assert lagging.controller.join(30)
    assert lagging.runs == 1
    own_writes = lagging.controller._execution._own_writes
    assert len(own_writes) == 0
    assert all(not informer.indexer._waiters.heap for informer in lagging.manager.informers(SECRETS))


def test_who_wrote_nothing_waits_for_nothing(server: FakeAPIServer) -> None:
    runs: list[str] = []
    manager = Manager(server.client(), **OFF)
    controller = manager.controller("reader").for_(CONFIGMAPS).complete(lambda r, _: runs.append(r.name))
    maps = server.client().resource(CONFIGMAPS, "default")
    with running(manager):
        maps.create(configmap("a"))
        eventually(lambda: runs == ["a"])
        maps.patch("a", {"data": {"x": "1"}})
        eventually(lambda: runs == ["a", "a"])
    assert controller.stats.own_write_waits.value == 0


def test_writes_to_what_nobody_caches_are_not_waited_for(server: FakeAPIServer) -> None:
    runs: list[str] = []

    def reconcile(request: Request, ctx: ReconcileContext) -> None:
        runs.append(request.name)
        if len(runs) == 1:
            ctx.client.resource(SECRETS, "default").create(
                {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
            )

    manager = Manager(server.client(), **OFF)
    controller = manager.controller("writer").for_(CONFIGMAPS).complete(reconcile)
    maps = server.client().resource(CONFIGMAPS, "default")
    with running(manager):
        maps.create(configmap("a"))
        eventually(lambda: runs == ["a"])
        maps.patch("a", {"data": {"x": "1"}})
        eventually(lambda: runs == ["a", "a"])
    assert controller.stats.own_write_waits.value == 0
