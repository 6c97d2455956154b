"""What a manager that elects writes, and until when; and whether its lease is free when it has ended."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from runtime.client import Cancelled, NotLeading
from runtime.controller import ReconcileContext
from runtime.leaderelection import LEASES, LeaderElector
from runtime.manager import LeaderElectionLost, Manager, ShutdownTimeout
from runtime.testing import FakeAPIServer
from runtime.types import Request
from tests.support.managers import CONFIGMAPS, OFF, configmap, eventually, running

# Long: the election does not notice by itself, within a test, that its lease has run out.
PATIENT: dict[str, Any] = {"lease_duration": 600.0, "renew_deadline": 400.0, "retry_period": 200.0}
SHORT: dict[str, Any] = {"lease_duration": 2.0, "renew_deadline": 1.0, "retry_period": 0.1}


def make(server: FakeAPIServer, **options: Any) -> Manager:
    options = {"leader_election": True, "leader_election_id": "the-lease", **OFF, **options}
    return Manager(server.client(), **options)


def elector(manager: Manager) -> LeaderElector:
    election = manager._lifecycle.election
    assert election is not None
    return election.elector


@contextmanager
def as_if_stopped(manager: Manager) -> Iterator[None]:
    """Its lease has run out, as after a SIGSTOP, and its election has not noticed yet."""
    elector(manager)._writable -= 1000.0
    try:
        yield
    finally:
        elector(manager)._writable += 1000.0


def holder(server: FakeAPIServer) -> str:
    spec: dict[str, str] = server.client().resource(LEASES, "default").get("the-lease")["spec"]
    return spec.get("holderIdentity", "")


def write(ctx: ReconcileContext, name: str) -> None:
    ctx.client.resource(CONFIGMAPS, "default").create(configmap(name))


def test_a_reconcile_whose_write_is_refused_was_cancelled_and_is_no_error(server: FakeAPIServer) -> None:
    server.client().resource(CONFIGMAPS, "default").create(configmap("a"))
    may_write = threading.Event()
    raised: list[BaseException] = []
    free_wrote = threading.Event()

    def led(request: Request, ctx: ReconcileContext) -> None:
        assert may_write.wait(30)
        try:
            write(ctx, "led")
        except NotLeading as error:
            raised.append(error)
            raise

    def free(request: Request, ctx: ReconcileContext) -> None:
        if may_write.is_set() and not free_wrote.is_set():
            write(ctx, "free")
            free_wrote.set()

    def created() -> list[str]:
        return [entry.name for entry in server.requests if entry.verb == "create" and entry.resource == "configmaps"]

    manager = make(server, **PATIENT)
    controller = manager.controller("led").for_(CONFIGMAPS).complete(led)
    others = manager.controller("free").for_(CONFIGMAPS).with_options(needs_leader_election=False).complete(free)
    with running(manager):
        eventually(controller.running)
        eventually(lambda: others.stats.outcomes["success"].value)
        with as_if_stopped(manager):
            may_write.set()
            eventually(lambda: raised)
            eventually(lambda: not controller.running())
            server.client().resource(CONFIGMAPS, "default").patch("a", {"data": {"wake": "up"}})
            assert free_wrote.wait(30)
            assert created() == ["a", "free"]
            assert controller.stats.errors.value == 0
            # It comes again by itself: the fence may open before anybody has noticed that it was closed.
            eventually(lambda: controller.queue.num_requeues(Request("default", "a")))
        eventually(lambda: created()[:3] == ["a", "free", "led"])


def test_the_client_of_a_leader_is_closed_before_it_leads_and_after_it_has(server: FakeAPIServer) -> None:
    first, second = make(server, **PATIENT), make(server, **PATIENT)

    def create(manager: Manager, name: str) -> None:
        manager.leader_client.resource(CONFIGMAPS, "default").create(configmap(name))

    with pytest.raises(NotLeading):
        create(first, "too-early")
    with running(first):
        assert first.elected.wait(30)
        eventually(lambda: elector(first).is_leader)
        create(first, "leading")
        with running(second), pytest.raises(NotLeading):
            create(second, "standby")
    with pytest.raises(NotLeading):
        create(first, "too-late")
    names = server.client().resource(CONFIGMAPS, "default").list()
    assert [obj.name for obj in names if obj.name != "kube-root-ca.crt"] == ["leading"]


def test_without_election_it_is_the_client(server: FakeAPIServer) -> None:
    manager = Manager(server.client(), **OFF)
    assert manager.leader_client is manager.client
    assert manager.fence() == math.inf


def test_a_client_of_another_cluster_can_be_fenced_too(server: FakeAPIServer) -> None:
    with FakeAPIServer() as there:
        manager = make(server, **PATIENT)
        other = there.client().fenced(manager.fence).resource(CONFIGMAPS, "default")
        with pytest.raises(NotLeading):
            other.create(configmap("too-early"))
        with running(manager):
            eventually(lambda: manager.fence() > 0)
            other.create(configmap("leading"))
        with pytest.raises(NotLeading):
            other.create(configmap("too-late"))


def test_a_runnable_that_is_refused_ends_the_manager_as_a_lost_lease_does(server: FakeAPIServer) -> None:
    manager = make(server, **PATIENT)
    go = threading.Event()

    def write_once(stop: threading.Event) -> None:
        assert go.wait(30)
        manager.leader_client.resource(CONFIGMAPS, "default").create(configmap("a"))

    manager.add_runnable("writer", write_once)
    with running(manager) as run:
        assert manager.elected.wait(30)
        eventually(lambda: elector(manager).is_leader)
        with as_if_stopped(manager):
            go.set()
            run.thread.join(30)
        assert isinstance(run.error, LeaderElectionLost)
        assert isinstance(run.error.__cause__, NotLeading)


@pytest.mark.parametrize("needs_leader_election", [True, False])
def test_the_lease_is_not_given_away_while_led_work_goes_on(needs_leader_election: bool, server: FakeAPIServer) -> None:
    """L12, for a runnable that ignores its stop event: others have to wait the lease out."""
    end, began = threading.Event(), threading.Event()

    def deaf(stop: threading.Event) -> None:
        began.set()
        end.wait(60)

    manager = make(server, graceful_shutdown_timeout=0.5, **PATIENT)
    manager.add_runnable("deaf", deaf, needs_leader_election=needs_leader_election)
    try:
        with running(manager) as run:
            assert began.wait(30)
            eventually(lambda: elector(manager).is_leader)
            assert isinstance(run.end(), ShutdownTimeout)
            assert (holder(server) != "") is needs_leader_election
            assert elector(manager).fence() == 0  # and what goes on cannot write
    finally:
        end.set()


def test_a_lease_lost_while_stopping_cancels_what_still_runs(server: FakeAPIServer) -> None:
    """And is not given away by somebody whose work has not ended."""
    server.client().resource(CONFIGMAPS, "default").create(configmap("a"))
    raised: list[BaseException] = []
    release, stuck = threading.Event(), threading.Event()

    def busy(request: Request, ctx: ReconcileContext) -> None:
        stuck.set()
        try:
            while True:
                ctx.client.resource(CONFIGMAPS, "default").get("a")
                time.sleep(0.02)
        except Cancelled as error:
            raised.append(error)
            release.wait(60)  # it takes its time
            raise

    manager = make(server, graceful_shutdown_timeout=60.0, **SHORT)
    manager.controller("maps").for_(CONFIGMAPS).complete(busy)
    try:
        with running(manager) as run:
            assert stuck.wait(30)
            run.stop.set()
            eventually(lambda: manager._lifecycle.state == "stopping")
            server.faults.add(resource="leases", verb="update", status=500)
            eventually(lambda: raised)  # long before the grace period of a minute is over
            server.faults.clear()
            eventually(lambda: elector(manager).fence() <= 0)
            assert holder(server) != ""
            release.set()
            assert run.end() is None
    finally:
        release.set()
