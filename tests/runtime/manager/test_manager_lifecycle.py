"""M1 to M6: what starts and stops when, and what run() raises."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from runtime.client import Cancelled
from runtime.controller import ReconcileContext
from runtime.informer import ResourceEventHandler
from runtime.leaderelection import LEASES
from runtime.manager import BadOption, Manager, ManagerError, ShutdownTimeout
from runtime.manager.caches import Caches
from runtime.manager.group import Group
from runtime.manager.units import FunctionUnit
from runtime.record import CorrelatorOptions, EventBroadcaster
from runtime.testing import FakeAPIServer
from runtime.types import Request
from tests.support.managers import CONFIGMAPS, OFF, ON, SECRETS, Running, configmap, eventually, http, running

ROOT = Path(__file__).resolve().parents[3]


def nothing(_request: Request, _ctx: ReconcileContext) -> None:
    """A reconcile that is happy with everything."""


def test_making_a_manager_starts_and_sends_nothing(server: FakeAPIServer) -> None:
    before = threading.active_count()
    manager = Manager(server.client(), **OFF)
    manager.controller("test").for_(CONFIGMAPS).complete(nothing)
    manager.informer(SECRETS)
    manager.recorder("test")
    assert threading.active_count() == before
    assert len(server.requests) == 0


def test_run_returns_when_the_event_is_set_and_leaves_no_thread(server: FakeAPIServer) -> None:
    client = server.client()
    manager = Manager(client, metrics_bind_address="127.0.0.1:0", health_probe_bind_address="127.0.0.1:0")
    manager.controller("test").for_(CONFIGMAPS).owns(SECRETS).with_options(workers=3).complete(nothing)
    manager.add_runnable("idle", lambda stop: stop.wait())
    with running(manager) as run:
        assert run.end() is None
        # Those that are left belong to the server: one per connection that the client keeps.
        client.close()
        server.close_connections()
        assert not [t.name for t in threading.enumerate() if t.name.startswith(OURS)]


OURS = ("controller-", "http-", "runnable-", "event-", "manager-", "leader", "informer", "reflector")


def test_stop_from_another_thread(server: FakeAPIServer) -> None:
    manager = Manager(server.client(), **OFF)
    with running(manager) as run:
        manager.stop()
        run.thread.join(10)
        assert not run.thread.is_alive()


@pytest.mark.parametrize("how", ["event", "stop()"])
def test_who_is_stopped_before_it_runs_starts_nothing(server: FakeAPIServer, how: str) -> None:
    manager = Manager(server.client(), **OFF)
    manager.controller("test").for_(CONFIGMAPS).complete(nothing)
    ran: list[bool] = []
    manager.add_runnable("test", lambda _: ran.append(True))
    stop = threading.Event()
    if how == "event":
        stop.set()
    else:
        manager.stop()
    manager.run(stop)
    assert not ran
    assert len(server.requests) == 0


def test_it_runs_only_once(server: FakeAPIServer) -> None:
    manager = Manager(server.client(), **OFF)
    with running(manager) as run:
        assert run.end() is None
    with pytest.raises(RuntimeError, match="make a new one"):
        manager.run()


def test_a_second_run_does_not_disturb_the_first(server: FakeAPIServer) -> None:
    registry = CollectorRegistry()
    manager = Manager(server.client(), registry=registry, **OFF)
    manager.controller("test").for_(CONFIGMAPS).complete(nothing)
    with running(manager) as run:
        with pytest.raises(RuntimeError, match="make a new one"):
            manager.run()
        assert run.thread.is_alive()
        zero = {"controller": "test", "result": "error"}
        assert registry.get_sample_value("controller_runtime_reconcile_total", zero) == 0.0
    assert registry.get_sample_value("controller_runtime_reconcile_total", zero) is None


def test_one_stop_event_for_two_managers(server: FakeAPIServer) -> None:
    """A manager that fails must not set an event which others share."""
    failing, fine = Manager(server.client(), **OFF), Manager(server.client(), **OFF)
    failing.add_runnable("broken", lambda _: 1 / 0)
    shared = threading.Event()
    raised: list[BaseException] = []

    def run_failing() -> None:
        try:
            failing.run(shared)
        except ZeroDivisionError as error:
            raised.append(error)

    threads = [threading.Thread(target=run_failing), threading.Thread(target=fine.run, args=(shared,))]
    for thread in threads:
        thread.start()
    threads[0].join(10)
    assert raised
    assert not shared.is_set()
    assert threads[1].is_alive()
    shared.set()
    threads[1].join(10)


def test_controller_names_are_unique(server: FakeAPIServer) -> None:
    manager = Manager(server.client(), **OFF)
    manager.controller("twice")
    with pytest.raises(ValueError, match="'twice' is taken"):
        manager.controller("twice")


def test_runnables_start_when_the_caches_are_complete(server: FakeAPIServer) -> None:
    server.client().resource(CONFIGMAPS, "default").create(configmap("a"))
    denied = server.faults.add(resource="configmaps", status=403)
    seen: list[int] = []
    manager = Manager(server.client(), **OFF)
    informer = manager.informer(CONFIGMAPS)
    manager.add_runnable("reader", lambda _: seen.append(len(informer.lister.list())))
    with running(manager):
        eventually(lambda: denied.hits > 1)
        assert seen == []
        server.faults.clear()
        eventually(lambda: seen == [1])


def test_it_is_not_ready_before_all_has_started(server: FakeAPIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers come first (M1): a probe may be faster than we are."""
    release = threading.Event()
    start = Caches.start

    def held(caches: Caches) -> None:
        release.wait(20)
        start(caches)

    monkeypatch.setattr(Caches, "start", held)
    manager = Manager(server.client(), **ON)
    with running(manager, wait=False):
        address = eventually(lambda: manager.health_address)
        status, text = http(address, "/readyz")
        assert status == 500
        assert "not started yet" in text
        release.set()
        eventually(lambda: http(address, "/readyz") == (200, "ok"))


def test_who_is_stopped_while_the_caches_fill_runs_nothing(server: FakeAPIServer) -> None:
    denied = server.faults.add(resource="configmaps", status=403)
    ran: list[str] = []
    manager = Manager(server.client(), **OFF)
    manager.controller("test").for_(CONFIGMAPS).complete(lambda *_: ran.append("reconcile"))
    manager.add_runnable("test", lambda _: ran.append("runnable"))
    with running(manager, wait=False) as run:
        eventually(lambda: denied.hits)
        server.faults.clear()
        assert run.end() is None
    assert ran in ([], ["runnable"])  # it may have been complete just before


def test_the_end_is_in_order(server: FakeAPIServer) -> None:
    """M2: what needs no election, then what does; each finds caches, servers, lease and events still there."""
    obj = server.client().resource(CONFIGMAPS, "default").create(configmap("a"))
    manager = Manager(server.client(), leader_election=True, leader_election_id="lease", **ON)
    manager.controller("test").for_(CONFIGMAPS).complete(nothing)
    informer, recorder = manager.informer(CONFIGMAPS), manager.recorder("test")
    order: list[str] = []

    def last(name: str) -> Callable[[threading.Event], None]:
        def run(stop: threading.Event) -> None:
            stop.wait()
            lease = server.client().resource(LEASES, "default").get("lease")
            assert lease["spec"]["holderIdentity"]
            assert not informer.is_stopped
            assert "shutting down" in http(manager.health_address, "/readyz")[1]
            time.sleep(0.1)  # whoever does not wait for us overtakes us
            recorder.event(obj, "Normal", "Stopping", name)
            order.append(name)

        return run

    manager.add_runnable("led", last("led"))
    manager.add_runnable("free", last("free"), needs_leader_election=False)
    with running(manager) as run:
        eventually(lambda: {t.name for t in threading.enumerate()} >= {"runnable-led", "runnable-free"})
        assert manager.wait_for_cache_sync(20)
        assert run.end() is None
    assert order == ["free", "led"]
    assert informer.is_stopped
    assert not server.client().resource(LEASES, "default").get("lease")["spec"].get("holderIdentity")
    told = {event["message"] for event in server.client().resource(EVENTS, "default").list()}
    assert {"led", "free"} <= told


@pytest.mark.parametrize("grace", [0.5, 0])
def test_a_handler_that_hangs_does_not_keep_the_manager(server: FakeAPIServer, grace: float) -> None:
    server.client().resource(CONFIGMAPS, "default").create(configmap("a"))
    entered, release = threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        entered.set()
        release.wait(30)

    manager = Manager(server.client(), graceful_shutdown_timeout=grace, **OFF)
    manager.informer(CONFIGMAPS).add_event_handler(ResourceEventHandler(on_add=hang))
    with running(manager) as run:
        assert entered.wait(10)
        error = run.end()
        release.set()
    if grace:
        assert isinstance(error, ShutdownTimeout)
        assert "an event handler of a cache" in str(error)
    else:
        assert error is None


def test_units_that_cannot_start_fail_the_group_and_keep_nobody_waiting() -> None:
    class Part:
        def __init__(self, name: str) -> None:
            self.name = name
            self.calls: list[str] = []

        def warm_up(self) -> None:
            self.calls.append("warm_up")

        def start(self) -> None:
            self.calls.append("start")
            if self.name == "broken":
                raise RuntimeError("can't start new thread")

        def stop(self) -> None:
            self.calls.append("stop")

        def join(self, timeout: float | None) -> bool:
            del timeout
            return True

    group = Group("test")
    first, broken, third = parts = [Part("first"), Part("broken"), Part("third")]
    for part in parts:
        group.add(part)
    group.warm_up()
    group.warm_up()
    with pytest.raises(RuntimeError, match="can't start"):
        group.start()
    late = Part("broken")
    with pytest.raises(RuntimeError, match="can't start"):
        group.add(late)
    group.stop()
    assert group.join(lambda: 1.0) == []
    assert first.calls == broken.calls == ["warm_up", "start", "stop"]
    assert third.calls == ["warm_up", "stop"]
    assert late.calls == ["start"]
    with pytest.raises(RuntimeError, match="stopping"):
        group.add(third)


@pytest.mark.parametrize(
    "which",
    [
        *("http-", "informer/configmaps", "manager-caches", "runnable-", "controller-maps", "controller-maps-worker-1"),
        *("leader-election", "leader-guard"),
    ],
)
def test_a_thread_that_cannot_be_started_ends_it_in_order(
    server: FakeAPIServer, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """A machine that is out of threads must not keep our lease held, nor what we could start running: the fixture that
    looks for threads judges. There are none for the end either."""
    start = threading.Thread.start
    out_of_threads = threading.Event()

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith(which):
            out_of_threads.set()
        if thread.name.startswith(which) or (out_of_threads.is_set() and thread.name == "manager-caches-end"):
            raise RuntimeError("can't start new thread")
        start(thread)

    manager = Manager(server.client(), leader_election=True, leader_election_id="lease", **ON)
    manager.controller("maps").for_(CONFIGMAPS).with_options(workers=2).complete(nothing)
    manager.add_runnable("waiting", lambda stop: stop.wait(), needs_leader_election=False)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        run = Running(manager)
        run.thread.start()
        eventually(lambda: run.error)
        assert "can't start new thread" in str(run.end())
    if which != "leader-guard":  # whose lease runs out
        assert not any(lease["spec"]["holderIdentity"] for lease in server.client().resource(LEASES, "default").list())


def test_a_group_that_is_stopped_first_starts_nothing() -> None:
    """M5: who is elected while shutting down begins nothing."""
    ran = threading.Event()
    unit = FunctionUnit("test", lambda _: ran.set(), lambda _: True, lambda *_: None)
    group = Group("test")
    group.add(unit)
    group.stop()
    group.warm_up()
    group.start()
    assert group.join(lambda: 1.0) == []
    assert not ran.is_set()


def test_a_failing_runnable_stops_the_manager_and_is_raised(server: FakeAPIServer) -> None:
    stopped = threading.Event()

    def patient(stop: threading.Event) -> None:
        stop.wait()
        stopped.set()

    def broken(_: threading.Event) -> None:
        raise OSError("disk is full")

    manager = Manager(server.client(), **OFF)
    manager.add_runnable("patient", patient)
    manager.add_runnable("broken", broken)
    with pytest.raises(OSError, match="disk is full") as caught:
        manager.run()
    assert stopped.is_set()
    assert any("broken" in note for note in caught.value.__notes__)


def test_only_the_first_failure_counts(server: FakeAPIServer) -> None:
    first_failed = threading.Event()

    def first(_: threading.Event) -> None:
        first_failed.set()
        raise KeyError("first")

    def second(stop: threading.Event) -> None:
        first_failed.wait()
        stop.wait()
        raise ValueError("second")

    manager = Manager(server.client(), **OFF)
    manager.add_runnable("second", second)
    manager.add_runnable("first", first)
    with pytest.raises(KeyError, match="first"):
        manager.run()


def test_a_runnable_that_returns_stops_nothing(server: FakeAPIServer) -> None:
    done = threading.Event()
    manager = Manager(server.client(), **OFF)
    manager.add_runnable("quick", lambda _: done.set())
    with running(manager) as run:
        assert done.wait(10)
        time.sleep(0.15)  # longer than the manager looks for failures
        assert run.thread.is_alive()


def test_what_is_added_while_it_runs_starts_at_once(server: FakeAPIServer) -> None:
    """M4."""
    server.client().resource(CONFIGMAPS, "default").create(configmap("a"))
    seen: list[str] = []
    ran = threading.Event()
    manager = Manager(server.client(), **OFF)
    with running(manager):
        manager.add_runnable("late", lambda _: ran.set())
        assert ran.wait(10)
        manager.controller("late").for_(CONFIGMAPS).complete(lambda request, _: seen.append(request.name))
        eventually(lambda: seen == ["a"])


def test_nothing_can_be_added_once_it_stops(server: FakeAPIServer) -> None:
    manager = Manager(server.client(), **OFF)
    with running(manager) as run:
        run.end()
    with pytest.raises(RuntimeError, match="the manager is stopping"):
        manager.add_runnable("late", lambda _: None)
    with pytest.raises(RuntimeError, match="the manager is stopping"):
        manager.controller("late").for_(CONFIGMAPS).complete(nothing)


class Stubborn:
    """A reconcile that does not return before :attr:`release`."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.release = threading.Event()
        self.error: BaseException | None = None

    def hang(self, _request: Request, _ctx: ReconcileContext) -> None:
        self.entered.set()
        self.release.wait(30)

    def retry_for_ever(self, _request: Request, ctx: ReconcileContext) -> None:
        """Works on until its calls are cancelled."""
        self.entered.set()
        try:
            while True:
                ctx.client.resource(CONFIGMAPS, "default").get("a")
                time.sleep(0.01)
        except Cancelled as error:
            self.error = error
            raise


def stubborn_manager(server: FakeAPIServer, reconcile: Any, grace: float) -> Manager:
    server.client().resource(CONFIGMAPS, "default").create(configmap("a"))
    manager = Manager(server.client(), graceful_shutdown_timeout=grace, **OFF)
    manager.controller("stubborn").for_(CONFIGMAPS).complete(reconcile)
    return manager


def stop_when(entered: threading.Event, run: Running) -> tuple[BaseException | None, float]:
    """What run() raised, and how long stopping took."""
    assert entered.wait(10)
    began = time.monotonic()
    error = run.end()
    return error, time.monotonic() - began


def test_work_that_does_not_end_is_cancelled_late_in_the_grace_period(server: FakeAPIServer) -> None:
    stubborn = Stubborn()
    manager = stubborn_manager(server, stubborn.retry_for_ever, grace=3.0)
    with running(manager) as run:
        error, took = stop_when(stubborn.entered, run)
    assert error is None
    assert isinstance(stubborn.error, Cancelled)
    assert took > 1.5  # it was let work on for most of the time
    (controller,) = manager.controllers()
    assert controller.stats.errors.value == 0  # it was us who ended it


def test_work_that_outlives_the_grace_period_is_named(server: FakeAPIServer) -> None:
    stubborn = Stubborn()
    with running(stubborn_manager(server, stubborn.hang, grace=0.3)) as run:
        error, _ = stop_when(stubborn.entered, run)
        assert isinstance(error, ShutdownTimeout)
        assert isinstance(error, ManagerError)
        assert "controller stubborn (default/a)" in str(error)
        assert "graceful_shutdown_timeout" in str(error)
        stubborn.release.set()


def test_no_grace_period_waits_for_nobody_and_blames_nobody(server: FakeAPIServer) -> None:
    stubborn = Stubborn()
    with running(stubborn_manager(server, stubborn.hang, grace=0)) as run:
        error, took = stop_when(stubborn.entered, run)
        stubborn.release.set()
    assert error is None
    assert took < 10


def test_a_negative_grace_period_waits_for_ever(server: FakeAPIServer) -> None:
    stubborn = Stubborn()
    with running(stubborn_manager(server, stubborn.hang, grace=-1)) as run:
        assert stubborn.entered.wait(10)
        run.stop.set()
        run.thread.join(0.5)
        assert run.thread.is_alive()
        stubborn.release.set()
        assert run.end() is None


def test_events_recorded_last_are_written(server: FakeAPIServer) -> None:
    """M2: the recorder is stopped after everything that records."""
    obj = server.client().resource(CONFIGMAPS, "default").create(configmap("a"))
    manager = Manager(server.client(), **OFF)
    recorder = manager.recorder("test")

    def last_words(stop: threading.Event) -> None:
        stop.wait()
        recorder.event(obj, "Normal", "Stopping", "good bye")

    manager.add_runnable("talkative", last_words)
    with running(manager) as run:
        manager.wait_for_cache_sync(10)
        time.sleep(0.05)
        run.end()
    assert [e["reason"] for e in server.client().resource(EVENTS, "default").list()] == ["Stopping"]


def test_events_go_to_a_broadcaster_of_ones_own(server: FakeAPIServer) -> None:
    obj = server.client().resource(CONFIGMAPS, "default").create(configmap("a"))
    broadcaster = EventBroadcaster(server.client(), api="core", options=CorrelatorOptions(burst=1))
    manager = Manager(server.client(), events=broadcaster, **OFF)
    recorder = manager.recorder("test")
    with running(manager):
        recorder.event(obj, "Normal", "One", "x")
        recorder.event(obj, "Normal", "Two", "x")
    (event,) = server.client().resource(EVENTS, "default").list()
    assert event["count"] == 1
    recorder.event(obj, "Normal", "Late", "x")
    assert broadcaster.dropped == {"spam": 1, "shutdown": 1}


EVENTS = CONFIGMAPS._replace(resource="events")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metrics_bind_address": "8080"}, "metrics_bind_address '8080' is no address"),
        ({"health_probe_bind_address": "host:port"}, "health_probe_bind_address 'host:port' is no address"),
        ({"leader_election": True}, "leader_election_id"),
        ({"leader_election": True, "leader_election_id": "x", "renew_deadline": 20}, "leader election: "),
        ({"namespaces": "default"}, "namespaces must be a list of names"),
    ],
)
def test_options_that_make_no_sense_are_refused(server: FakeAPIServer, options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadOption, match=said):
        Manager(server.client(), **(OFF | options))


PROGRAM = """
import sys, threading, time
from runtime.client import Client
from runtime.manager import Manager
from runtime.types import GVR

mgr = Manager(Client(sys.argv[1]), metrics_bind_address="0", health_probe_bind_address="0")
def reconcile(request, ctx):
    print("working", flush=True)
    time.sleep(60)
mgr.controller("sleepy").for_(GVR("", "v1", "configmaps")).complete(reconcile)
mgr.run()
"""


def start_program(server: FakeAPIServer) -> subprocess.Popen[str]:
    server.client().resource(CONFIGMAPS, "default").create(configmap("a"))
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, server.url],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_process_that_hangs_at_once(server: FakeAPIServer, number: signal.Signals) -> None:
    process = start_program(server)
    try:
        process.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)  # the grace period lets the reconcile go on
        process.send_signal(number)
        assert process.wait(10) == 128 + number
    finally:
        process.kill()
        process.communicate()


def test_signal_handlers_are_put_back(server: FakeAPIServer) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    stop = threading.Event()
    stop.set()
    Manager(server.client(), **OFF).run(stop)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
