"""M7: a program that works on two clusters has a manager for each, one of which runs the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runtime.client import AlreadyExists, NotFound
from runtime.controller import ReconcileContext
from runtime.manager import Manager
from runtime.testing import FakeAPIServer
from runtime.types import Request
from tests.support.managers import CONFIGMAPS, OFF, SECRETS, configmap, eventually, running


@pytest.fixture
def remote() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        yield server


def build(here: FakeAPIServer, remote: FakeAPIServer, **options: object) -> tuple[Manager, Manager]:
    """Copies each ConfigMap of the remote cluster into this one."""
    other = Manager(remote.client(), name="remote", **OFF)
    mgr = Manager(here.client(), **OFF, **options)  # type: ignore[arg-type]
    mgr.add_runnable("remote cluster", other.run, needs_leader_election=False)

    def copy(request: Request, ctx: ReconcileContext) -> None:
        try:
            original = other.cache(CONFIGMAPS).lister.get(request)
        except NotFound:
            return
        copied = configmap(original.name, original.namespace, **original["data"])
        try:
            ctx.client.resource(CONFIGMAPS, request.namespace).create(copied)
        except AlreadyExists:
            ctx.client.resource(CONFIGMAPS, request.namespace).patch(request.name, {"data": original["data"]})

    mgr.controller("copy").for_(SECRETS).watches(other.cache(CONFIGMAPS)).complete(copy)
    return mgr, other


def test_a_controller_watches_the_cache_of_another_cluster(server: FakeAPIServer, remote: FakeAPIServer) -> None:
    remote.client().resource(CONFIGMAPS, "default").create(configmap("a", x="1"))
    mgr, other = build(server, remote)
    maps = server.client().resource(CONFIGMAPS, "default")
    with running(mgr) as run:
        eventually(lambda: [obj["data"] for obj in maps.list()] == [{"x": "1"}])
        remote.client().resource(CONFIGMAPS, "default").patch("a", {"data": {"x": "2"}})
        eventually(lambda: maps.get("a")["data"] == {"x": "2"})
        assert run.end() is None
    assert all(informer.is_stopped for informer in other.cache(CONFIGMAPS).informers().values())
    assert not [entry for entry in server.requests if entry.resource == "configmaps" and entry.verb == "watch"]


def test_the_controller_waits_for_the_other_cluster(server: FakeAPIServer, remote: FakeAPIServer) -> None:
    denied = remote.faults.add(resource="configmaps", status=403, message="no rule there")
    mgr, _ = build(server, remote)
    with running(mgr, wait=False):
        (controller,) = mgr.controllers()
        eventually(lambda: denied.hits and "no rule there" in controller.waiting_for().get(CONFIGMAPS, ""))
        assert not controller.working
        remote.faults.clear()
        eventually(lambda: controller.working)


def test_the_failure_of_one_ends_both(server: FakeAPIServer, remote: FakeAPIServer) -> None:
    mgr, other = build(server, remote)
    with running(mgr) as run:
        other.add_runnable("broken", lambda _: 1 / 0)
        run.thread.join(20)
        assert isinstance(run.error, ZeroDivisionError)
