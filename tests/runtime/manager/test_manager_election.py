"""Managers that elect a leader: who works, who waits, and what happens at the handover."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from runtime.client import Cancelled
from runtime.controller import ReconcileContext
from runtime.leaderelection import LEASES
from runtime.manager import LeaderElectionLost, Manager
from runtime.testing import FakeAPIServer
from runtime.types import Request
from tests.support.managers import CONFIGMAPS, OFF, ON, configmap, eventually, http, running

SHORT: dict[str, Any] = {
    "leader_election": True,
    "leader_election_id": "the-lease",
    "lease_duration": 3.0,
    "renew_deadline": 2.0,
    "retry_period": 0.1,
}


def make(server: FakeAPIServer, reconcile: Callable[[Request, ReconcileContext], None], **options: Any) -> Manager:
    manager = Manager(server.client(), **(OFF | SHORT | options))
    manager.controller("maps").for_(CONFIGMAPS).complete(reconcile)
    return manager


def holder(server: FakeAPIServer) -> str:
    identity: str = server.client().resource(LEASES, "default").get("the-lease")["spec"].get("holderIdentity", "")
    return identity


def touch(server: FakeAPIServer, value: str) -> None:
    server.client().resource(CONFIGMAPS, "default").patch("a", {"data": {"value": value}})


def test_only_the_leader_works_and_the_standby_takes_over_at_once(server: FakeAPIServer) -> None:
    server.client().resource(CONFIGMAPS, "default").create(configmap("a"))
    first_saw, second_saw = threading.Event(), threading.Event()
    first = make(server, lambda *_: first_saw.set())
    second = make(server, lambda *_: second_saw.set(), **ON)
    with running(first) as one:
        assert first_saw.wait(10)
        assert first.elected.is_set()
        with running(second, wait=False) as two:
            # The standby is warm and ready, but does nothing.
            eventually(lambda: http(eventually(lambda: second.health_address), "/readyz") == (200, "ok"))
            assert second.wait_for_cache_sync(10)
            touch(server, "1")
            assert not second_saw.wait(0.3)
            assert not second.elected.is_set()
            assert 'leader_election_master_status{name="the-lease"} 0.0' in http(second.metrics_address, "/metrics")[1]
            began = time.monotonic()
            assert one.end() is None
            assert second_saw.wait(10)
            # Released, not run out.
            assert time.monotonic() - began < SHORT["lease_duration"]
            assert 'leader_election_master_status{name="the-lease"} 1.0' in http(second.metrics_address, "/metrics")[1]
            assert two.end() is None
    assert holder(server) == ""


def test_a_leader_that_cannot_renew_stops_its_work_and_ends_with_an_error(server: FakeAPIServer) -> None:
    server.client().resource(CONFIGMAPS, "default").create(configmap("a"))
    ended: list[tuple[float, BaseException]] = []

    def endless(_: Request, ctx: ReconcileContext) -> None:
        try:
            while True:
                ctx.client.resource(CONFIGMAPS, "default").get("a")
                time.sleep(0.02)
        except Cancelled as error:
            ended.append((time.monotonic(), error))
            raise

    manager = make(server, endless)
    with running(manager) as run:
        eventually(lambda: manager.controllers()[0].running())
        cut_off = time.monotonic()
        server.faults.add(resource="leases", status=500)
        run.thread.join(20)
        assert isinstance(run.error, LeaderElectionLost)
    (stopped, _), *_ = ended
    # Whoever takes over does so when the lease runs out: our work had ended by then.
    assert stopped - cut_off < SHORT["lease_duration"]


def test_what_needs_no_election_runs_on_every_replica(server: FakeAPIServer) -> None:
    leader, standby = make(server, lambda *_: None), make(server, lambda *_: None)
    ran: list[str] = []

    def add_to(manager: Manager, name: str) -> None:
        manager.add_runnable("everywhere", lambda _: ran.append(name), needs_leader_election=False)
        manager.add_runnable("leader-only", lambda _: ran.append(name + " led"))

    add_to(leader, "leader")
    add_to(standby, "standby")
    with running(leader):
        eventually(lambda: sorted(ran) == ["leader", "leader led"])
        with running(standby, wait=False):
            eventually(lambda: sorted(ran) == ["leader", "leader led", "standby"])


def test_a_standby_that_is_stopped_starts_nothing(server: FakeAPIServer) -> None:
    """M5."""
    server.client().resource(CONFIGMAPS, "default").create(configmap("a"))
    worked: list[Request] = []
    with running(make(server, lambda *_: None)):
        standby = make(server, lambda request, _: worked.append(request))
        with running(standby, wait=False) as run:
            assert standby.wait_for_cache_sync(10)
            assert run.end(5) is None
    assert worked == []


def test_the_lease_is_held_until_the_work_has_ended(server: FakeAPIServer) -> None:
    """Better than L12: nobody else may begin while a reconcile of ours still writes."""
    server.client().resource(CONFIGMAPS, "default").create(configmap("a"))
    entered, release = threading.Event(), threading.Event()

    def slow(*_: object) -> None:
        entered.set()
        release.wait(10)

    manager = make(server, slow)
    with running(manager) as run:
        assert entered.wait(10)
        run.stop.set()
        time.sleep(SHORT["lease_duration"] * 1.2)  # longer than it would last unrenewed
        assert holder(server) != ""
        lease = server.client().resource(LEASES, "default").get("the-lease")
        eventually(
            lambda: (
                server.client().resource(LEASES, "default").get("the-lease")["spec"]["renewTime"]
                != lease["spec"]["renewTime"]
            )
        )
        release.set()
        assert run.end() is None
    assert holder(server) == ""


def test_a_replica_that_cannot_see_the_cluster_does_not_lead(server: FakeAPIServer) -> None:
    server.faults.add(resource="configmaps", status=403)
    blind = make(server, lambda *_: None)
    with running(blind, wait=False):
        eventually(lambda: blind.controllers() and "403" in str(blind._caches.blockers()))
        assert not blind.elected.is_set()
        assert not [entry for entry in server.requests if entry.resource == "leases"]
        server.faults.clear()
        assert blind.elected.wait(20)
