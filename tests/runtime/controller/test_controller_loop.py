"""C1 to C11: from a change to a reconcile, and from its outcome to the next one."""

from __future__ import annotations

import gc
import logging
import math
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from runtime.client import Client, DeadlineExceeded, Unstructured
from runtime.controller import Controller, Kind, ReconcileContext, generation_changed, label_changed
from runtime.informer import Registration, SharedIndexInformer
from runtime.manager import Manager
from runtime.manager.kinds import DiscoveredKinds
from runtime.testing import FakeAPIServer, FakeClock
from runtime.types import GVR, Request, Result, TerminalError
from runtime.workqueue import ItemExponentialFailureRateLimiter
from tests.support.managers import CONFIGMAPS, OFF, SECRETS, configmap, eventually, running

Outcome = Result | BaseException | Callable[[Request, ReconcileContext], Any] | None


class Script:
    """A reconcile that does what the test lined up, and remembers its calls."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.requests: list[Request] = []
        self.contexts: list[ReconcileContext] = []

    def __call__(self, request: Request, ctx: ReconcileContext) -> Result | None:
        self.contexts.append(ctx)
        self.requests.append(request)
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, BaseException):
            raise outcome
        if callable(outcome):
            result: Result | None = outcome(request, ctx)
            return result
        return outcome

    def names(self) -> list[str]:
        return [request.name for request in self.requests]


def make(
    server: FakeAPIServer, script: Script, clock: FakeClock | None = None, **options: Any
) -> tuple[Manager, Controller]:
    """A manager with one controller for ConfigMaps."""
    manager = Manager(server.client(), clock=clock, **OFF)
    builder = manager.controller("test").for_(CONFIGMAPS)
    return manager, builder.with_options(**options).complete(script)


def create(server: FakeAPIServer, *names: str) -> None:
    client: Client = server.client()
    for name in names:
        client.resource(CONFIGMAPS, "default").create(configmap(name))


def idle(controller: Controller) -> bool:
    stats = controller.queue.stats()
    return stats.depth + stats.processing == 0


def test_workers_begin_when_all_caches_are_complete(server: FakeAPIServer) -> None:
    """C2. The second source cannot be listed at first."""
    create(server, "a")
    denied = server.faults.add(resource="secrets", status=403)
    script = Script()
    manager = Manager(server.client(), **OFF)
    controller = manager.controller("test").for_(CONFIGMAPS).watches(SECRETS).complete(script)
    with running(manager, wait=False):
        eventually(lambda: denied.hits > 1 and len(controller.queue) == 1)
        assert not controller.working
        assert SECRETS in controller.waiting_for()
        assert script.requests == []
        server.faults.clear()
        eventually(lambda: script.names() == ["a"])
        assert controller.waiting_for() == {}


def test_a_controller_that_was_not_started_has_no_threads(server: FakeAPIServer) -> None:
    """C13."""
    before = threading.active_count()
    make(server, Script())
    assert threading.active_count() == before


def test_it_starts_only_once(server: FakeAPIServer) -> None:
    """C3."""
    manager, controller = make(server, Script())
    with running(manager), pytest.raises(RuntimeError, match="started before"):
        controller.start()


def test_each_key_is_reconciled_by_one_worker_at_a_time(server: FakeAPIServer) -> None:
    active: dict[str, int] = {}
    overlaps: list[str] = []
    most: list[int] = []
    lock = threading.Lock()

    def slow(request: Request, _: ReconcileContext) -> None:
        with lock:
            active[request.name] = active.get(request.name, 0) + 1
            most.append(sum(active.values()))
            if active[request.name] > 1:
                overlaps.append(request.name)
        time.sleep(0.01)
        with lock:
            active[request.name] -= 1

    manager = Manager(server.client(), **OFF)
    controller = manager.controller("test").for_(CONFIGMAPS).with_options(workers=4).complete(slow)
    names = [f"map-{number}" for number in range(8)]
    with running(manager):
        create(server, *names)
        maps = server.client().resource(CONFIGMAPS, "default")
        for round_ in range(3):
            for name in names:
                maps.patch(name, {"data": {"round": str(round_)}})
        eventually(lambda: idle(controller))
    assert overlaps == []
    assert 1 < max(most) <= 4


def test_an_error_is_retried_with_growing_back_off(server: FakeAPIServer) -> None:
    clock = FakeClock()
    script = Script(*(RuntimeError(f"no {number}") for number in range(3)))
    limiter = ItemExponentialFailureRateLimiter(10, 1000)
    manager, controller = make(server, script, clock, rate_limiter=limiter)
    with running(manager):
        create(server, "a")
        for failures, delay in enumerate((10, 20, 40), start=1):
            eventually(lambda: controller.queue.stats().delayed == 1 and idle(controller))
            assert len(script.requests) == failures
            assert controller.queue.num_requeues(Request("default", "a")) == failures
            clock.advance(delay - 1)
            assert len(controller.queue) == 0
            clock.advance(1)
        eventually(lambda: len(script.requests) == 4 and idle(controller))
        assert controller.queue.num_requeues(Request("default", "a")) == 0  # C6
        assert controller.stats.errors.value == 3
        assert controller.stats.outcomes["error"].value == 3
        assert controller.stats.outcomes["success"].value == 1


def test_requeue_after_comes_back_and_resets_the_back_off(server: FakeAPIServer) -> None:
    clock = FakeClock()
    script = Script(RuntimeError("no"), Result(requeue_after=30.0))
    manager, controller = make(server, script, clock, rate_limiter=ItemExponentialFailureRateLimiter(1, 10))
    with running(manager):
        create(server, "a")
        eventually(lambda: len(script.requests) == 1 and controller.queue.stats().delayed == 1)
        clock.advance(1)
        eventually(lambda: len(script.requests) == 2 and controller.queue.stats().delayed == 1)
        assert controller.queue.num_requeues(Request("default", "a")) == 0
        clock.advance(29.9)
        assert len(controller.queue) == 0
        clock.advance(0.1)
        eventually(lambda: len(script.requests) == 3)
        assert controller.stats.outcomes["requeue_after"].value == 1


@pytest.mark.parametrize("result", [None, Result(), Result(requeue_after=0.0), Result(requeue_after=-1.0)])
def test_a_success_is_not_requeued(server: FakeAPIServer, result: Result | None) -> None:
    script = Script(result)
    manager, controller = make(server, script)
    with running(manager):
        create(server, "a")
        eventually(lambda: controller.stats.outcomes["success"].value == 1 and idle(controller))
        assert controller.queue.stats().delayed == 0


def test_a_terminal_error_waits_for_the_next_change(server: FakeAPIServer) -> None:
    script = Script(TerminalError("the spec makes no sense"))
    manager, controller = make(server, script)
    with running(manager):
        create(server, "a")
        eventually(lambda: controller.stats.terminal_errors.value == 1 and idle(controller))
        assert controller.queue.stats().delayed == 0
        assert controller.stats.errors.value == 1
        server.client().resource(CONFIGMAPS, "default").patch("a", {"data": {"now": "fine"}})
        eventually(lambda: len(script.requests) == 2)


@pytest.mark.parametrize("error", [KeyError("spec"), SystemExit(3), AssertionError(), MemoryError()])
def test_a_fault_of_the_program_costs_no_worker(server: FakeAPIServer, error: BaseException) -> None:
    """C8: counted, retried, and the other objects are served."""
    script = Script(error)
    manager, controller = make(server, script, rate_limiter=ItemExponentialFailureRateLimiter(0.001, 0.001))
    with running(manager):
        create(server, "a", "b")
        eventually(lambda: sorted(script.names()) == ["a", "a", "b"] or script.names().count("b") == 2)
        assert controller.stats.panics.value == 1


def test_what_is_no_result_is_an_error_that_says_so(server: FakeAPIServer, caplog: pytest.LogCaptureFixture) -> None:
    script = Script(lambda *_: {"data": {"password": "c2VjcmV0"}})
    manager, controller = make(server, script, rate_limiter=ItemExponentialFailureRateLimiter(0.001, 0.001))
    with running(manager):
        create(server, "a")
        eventually(lambda: controller.stats.outcomes["success"].value == 1)
    assert "reconcile returned a dict: return None, or Result(requeue_after=...)" in caplog.text
    assert "c2VjcmV0" not in caplog.text


def test_an_async_reconcile_is_refused_in_words(server: FakeAPIServer, caplog: pytest.LogCaptureFixture) -> None:
    async def reconcile(_: Request, __: ReconcileContext) -> None: ...

    manager = Manager(server.client(), **OFF)
    controller = manager.controller("test").for_(CONFIGMAPS).complete(reconcile)  # type: ignore[arg-type]
    with running(manager):
        create(server, "a")
        eventually(lambda: controller.stats.panics.value >= 1)
        eventually(lambda: "reconcile is an async function" in caplog.text)


@pytest.mark.parametrize("after", [timedelta(seconds=5), "5", math.nan])
def test_a_result_that_makes_no_sense_is_a_fault(after: Any) -> None:
    with pytest.raises(TypeError, match="number of seconds"):
        Result(requeue_after=after)
    assert Result(requeue_after=5).requeue_after == 5


@pytest.mark.parametrize("error", [KeyError("spec"), SystemExit(3)])
def test_a_fault_may_end_the_manager(server: FakeAPIServer, error: BaseException) -> None:
    """C8 with ``recover_panic=False``."""
    manager, controller = make(server, Script(RuntimeError("the world"), error), recover_panic=False)
    with running(manager) as run:
        create(server, "a")
        eventually(lambda: run.error)
    assert run.error is error
    assert any("controller test, reconciling default/a" in note for note in error.__notes__)
    assert controller.stats.panics.value == 1


def test_errors_are_logged_with_the_object_and_the_reconcile_id(
    server: FakeAPIServer, caplog: pytest.LogCaptureFixture
) -> None:
    script = Script(RuntimeError("no luck"))
    manager, controller = make(server, script, rate_limiter=ItemExponentialFailureRateLimiter(0.001, 0.001))
    with running(manager):
        create(server, "a")
        eventually(lambda: controller.stats.outcomes["success"].value == 1)
    (record,) = [record for record in caplog.records if "reconcile failed" in record.getMessage()]
    fields = record.fields  # type: ignore[attr-defined]
    assert (fields["controller"], fields["namespace"], fields["name"]) == ("test", "default", "a")
    assert fields["reconcileID"] == script.contexts[0].reconcile_id
    assert record.exc_info
    assert len({ctx.reconcile_id for ctx in script.contexts}) == 2


def test_a_reconcile_over_time_is_told_by_its_calls_and_counted(server: FakeAPIServer) -> None:
    """C9, cooperatively: nobody can end a thread, but its calls end."""
    seen: list[BaseException] = []

    def overtime(_: Request, ctx: ReconcileContext) -> None:
        assert ctx.remaining() is not None
        while ctx.remaining():
            time.sleep(0.01)
        try:
            ctx.client.resource(CONFIGMAPS, "default").get("a")
        except DeadlineExceeded as error:
            seen.append(error)
            raise

    script = Script(overtime)
    limiter = ItemExponentialFailureRateLimiter(0.001, 0.001)
    manager, controller = make(server, script, reconcile_timeout=0.1, rate_limiter=limiter)
    with running(manager):
        create(server, "a")
        eventually(lambda: controller.stats.outcomes["success"].value == 1)
    assert len(seen) == 1
    assert controller.stats.timeouts.value == 1
    assert controller.stats.errors.value == 1


def test_overtime_counts_also_if_it_ends_well(server: FakeAPIServer) -> None:
    clock = FakeClock()
    script = Script(lambda *_: clock.advance(10.0), lambda *_: clock.advance(9.9))
    manager, controller = make(server, script, clock, reconcile_timeout=10.0)
    with running(manager):
        create(server, "a", "b")
        eventually(lambda: controller.stats.outcomes["success"].value == 2)
    assert controller.stats.timeouts.value == 1


def test_a_deadline_that_passes_during_the_shutdown_is_not_counted(server: FakeAPIServer) -> None:
    """C9: what was cancelled before its time was up did not run out of it."""
    clock, entered = FakeClock(), threading.Event()

    def cancelled(request: Request, ctx: ReconcileContext) -> None:
        entered.set()
        try:
            while True:
                ctx.client.resource(CONFIGMAPS, "default").get(request.name)
                time.sleep(0.01)
        finally:
            clock.advance(20.0)

    manager = Manager(server.client(), clock=clock, graceful_shutdown_timeout=2.0, **OFF)
    builder = manager.controller("test").for_(CONFIGMAPS).with_options(reconcile_timeout=10.0)
    controller = builder.complete(cancelled)
    with running(manager) as run:
        create(server, "a")
        assert entered.wait(30)
        assert run.end() is None
    assert controller.stats.timeouts.value == 0
    assert controller.stats.errors.value == 0


def test_a_write_refused_by_a_fence_that_opens_again_is_tried_again(server: FakeAPIServer) -> None:
    """A process that was stopped for long may read the answer to its renewal after a worker has met a closed fence."""
    create(server, "a")
    closed = [True, True]
    manager = Manager(server.client().fenced(lambda: -1.0 if closed and closed.pop() else 60.0), **OFF)

    def write(request: Request, ctx: ReconcileContext) -> None:
        ctx.client.resource(CONFIGMAPS, "default").patch(request.name, {"data": {"x": "1"}})

    controller = manager.controller("test").for_(CONFIGMAPS).complete(write)
    with running(manager):
        eventually(lambda: controller.stats.outcomes["success"].value)
    assert controller.stats.errors.value == 0


def test_what_a_reconcile_does_not_use_is_not_made(server: FakeAPIServer) -> None:
    """Ids, loggers and clients cost more than finding that there is nothing to do."""
    used = []

    def look(request: Request, ctx: ReconcileContext) -> None:
        ctx.lister(CONFIGMAPS).get(request)
        used.append(vars(ctx).copy())
        assert ctx.client is ctx.client
        assert ctx.reconcile_id == ctx.log.fields["reconcileID"]

    manager, controller = make(server, Script(look))
    with running(manager):
        create(server, "a")
        eventually(lambda: controller.stats.outcomes["success"].value == 1)
    assert used == [{}]


def test_without_a_timeout_there_is_no_deadline(server: FakeAPIServer) -> None:
    script = Script()
    manager, _ = make(server, script)
    with running(manager):
        create(server, "a")
        eventually(lambda: script.contexts)
    assert script.contexts[0].deadline is None
    assert script.contexts[0].remaining() is None


def test_live_changes_overtake_the_initial_list(server: FakeAPIServer) -> None:
    create(server, *(f"old-{number}" for number in range(20)))
    entered, release = threading.Event(), threading.Event()

    def hold(*_: object) -> None:
        entered.set()
        release.wait(10)

    script = Script(hold)
    manager, controller = make(server, script)
    with running(manager):
        assert entered.wait(10)
        create(server, "new")
        eventually(lambda: controller.queue.stats().depth_by_priority.get(0) == 1)
        release.set()
        eventually(lambda: len(script.requests) == 21)
    assert script.names()[1] == "new"


def test_the_priority_is_kept_over_a_requeue_unless_the_result_says_otherwise(server: FakeAPIServer) -> None:
    """C7."""
    clock = FakeClock()
    create(server, "a")
    script = Script(Result(requeue_after=5.0), Result(requeue_after=5.0, priority=7), Result(requeue_after=5.0))
    manager, controller = make(server, script, clock)
    priorities: list[int] = []
    inner = script.__call__

    def spying(request: Request, ctx: ReconcileContext) -> Result | None:
        priorities.append(controller.queue.priority(request))
        return inner(request, ctx)

    controller._execution._reconcile = spying
    with running(manager):
        for runs in range(1, 4):
            eventually(lambda: controller.queue.stats().delayed == 1 and idle(controller))
            assert len(priorities) == runs
            clock.advance(5)
        eventually(lambda: len(priorities) == 4)
    assert priorities == [-100, -100, 7, 7]


def test_predicates_keep_changes_away(server: FakeAPIServer) -> None:
    script = Script()
    manager = Manager(server.client(), **OFF)
    manager.controller("test").for_(CONFIGMAPS, predicates=[label_changed]).complete(script)
    maps = server.client().resource(CONFIGMAPS, "default")
    with running(manager):
        create(server, "a")
        eventually(lambda: script.names() == ["a"])
        maps.patch("a", {"data": {"x": "1"}})
        maps.patch("a", {"metadata": {"labels": {"x": "1"}}})
        eventually(lambda: script.names() == ["a", "a"])
        maps.delete("a")
        eventually(lambda: script.names() == ["a", "a", "a"])


def test_watches_map_objects_to_keys(server: FakeAPIServer) -> None:
    script = Script()

    def targets(obj: Unstructured) -> list[Request]:
        return [Request(obj.namespace, name) for name in obj.annotations.get("targets", "").split(",") if name]

    manager = Manager(server.client(), **OFF)
    manager.controller("test").watches(SECRETS, targets).complete(script)
    secrets = server.client().resource(SECRETS, "default")
    with running(manager):
        secrets.create(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "annotations": {"targets": "x,y"}}}
        )
        eventually(lambda: sorted(script.names()) == ["x", "y"])
        script.requests.clear()
        secrets.patch("s", {"metadata": {"annotations": {"targets": "z"}}})
        eventually(lambda: sorted(script.names()) == ["x", "y", "z"])


def test_a_lister_of_what_nobody_declared_is_refused(server: FakeAPIServer) -> None:
    errors: list[BaseException] = []

    def look(_: Request, ctx: ReconcileContext) -> None:
        try:
            ctx.lister(SECRETS)
        except LookupError as error:
            errors.append(error)

    script = Script(look)
    manager, _ = make(server, script)
    with running(manager):
        create(server, "a")
        eventually(lambda: errors)
    assert "secrets.v1 is not cached" in str(errors[0])
    assert "configmaps.v1" in str(errors[0])


def test_a_lister_that_is_not_complete_is_refused_until_it_is(server: FakeAPIServer) -> None:
    """What such a cache does not show may exist: to act on that would be wrong."""
    server.client().resource(SECRETS, "default").create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
    )
    server.faults.add(resource="secrets", status=403)
    found: list[int] = []

    def look(_: Request, ctx: ReconcileContext) -> None:
        found.append(len(ctx.lister(SECRETS).list()))

    manager, controller = make(server, Script(look, look, look), rate_limiter=Steady())
    manager.informer(SECRETS)
    with running(manager):
        create(server, "a")
        eventually(lambda: controller.stats.errors.value == 1)
        assert found == []
        assert controller.stats.panics.value == 0
        server.faults.clear()
        eventually(lambda: manager.wait_for_cache_sync(0))
        eventually(lambda: found == [1])


@pytest.mark.parametrize("failing", ["first", "second"])
def test_a_source_that_cannot_be_set_up_is_tried_again_whatever_the_trouble(
    server: FakeAPIServer, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """Two namespaces are two informers: one that took the handler already must not get it twice."""
    manager = Manager(server.client(), namespaces=["default", "kube-system"], **OFF)
    script = Script()
    controller = manager.controller("test").for_(CONFIGMAPS).complete(script)
    trouble = [RuntimeError("a fault of ours")]
    added: list[Registration] = []
    add = SharedIndexInformer.add_event_handler

    def add_event_handler(informer: SharedIndexInformer, *args: Any, **options: Any) -> Registration:
        if trouble and len(added) == ["first", "second"].index(failing):
            raise trouble.pop()
        added.append(add(informer, *args, **options))
        return added[-1]

    monkeypatch.setattr(SharedIndexInformer, "add_event_handler", add_event_handler)
    with running(manager):
        eventually(lambda: controller.working)
        create(server, "a")
        eventually(lambda: script.names() == ["a"] and idle(controller))
        assert len([registration for registration in added if registration.active]) == 2


def test_a_scope_that_cannot_be_learnt_is_asked_for_again_whatever_the_trouble(
    server: FakeAPIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trouble = [RuntimeError("a fault of ours")]
    get = DiscoveredKinds.get

    def flaky(kinds: DiscoveredKinds, gvr: GVR) -> Kind:
        if trouble:
            raise trouble.pop()
        return get(kinds, gvr)

    monkeypatch.setattr(DiscoveredKinds, "get", flaky)
    manager = Manager(server.client(), namespaces=["default", "kube-system"], **OFF)
    manager.controller("test").for_(CONFIGMAPS).complete(Script())
    with running(manager):
        assert manager.wait_for_cache_sync(15)


class Steady(ItemExponentialFailureRateLimiter):
    """Tries again each second."""

    def __init__(self) -> None:
        super().__init__(1.0, 1.0)


class Broken(ItemExponentialFailureRateLimiter):
    """A limiter with a fault of its own."""

    def __init__(self) -> None:
        super().__init__(1.0, 1.0)

    def when(self, item: Any) -> float:
        raise ZeroDivisionError("in the limiter")


def test_a_limiter_that_raises_costs_no_worker(server: FakeAPIServer) -> None:
    clock = FakeClock()
    script = Script(RuntimeError("no"))
    manager, controller = make(server, script, clock, rate_limiter=Broken())
    with running(manager):
        create(server, "a")
        eventually(lambda: controller.queue.stats().delayed == 1 and idle(controller))
        create(server, "b")
        eventually(lambda: script.names() == ["a", "b"])
        clock.advance(5)
        eventually(lambda: script.names() == ["a", "b", "a"])


def test_stopping_lets_a_running_reconcile_finish_and_begins_no_other(server: FakeAPIServer) -> None:
    """Its calls still work: only the end of the grace period cuts them off."""
    entered = threading.Event()

    def finish(_: Request, ctx: ReconcileContext) -> None:
        entered.set()
        assert ctx.stop.wait(10)
        ctx.client.resource(CONFIGMAPS, "default").patch("a", {"data": {"finished": "yes"}})

    script = Script(finish)
    manager, controller = make(server, script)
    create(server, "a", "b", "c")
    with running(manager) as run:
        assert entered.wait(10)
        assert run.end() is None
    assert len(script.requests) == 1
    assert server.client().resource(CONFIGMAPS, "default").get("a")["data"] == {"finished": "yes"}
    assert controller.stats.errors.value == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [({"workers": 0}, "controller test: workers must be at least 1"), ({"reconcile_timeout": 0}, "above 0 seconds")],
)
def test_options_that_make_no_sense_are_refused(server: FakeAPIServer, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make(server, Script(), **options)


class TestBuilder:
    def build(self, server: FakeAPIServer, name: str = "test") -> Any:
        return Manager(server.client(), **OFF).controller(name)

    def test_for_twice_is_refused(self, server: FakeAPIServer) -> None:
        with pytest.raises(ValueError, match=r"for_\(\) was called for configmaps.v1 already"):
            self.build(server).for_(CONFIGMAPS).for_(SECRETS)

    def test_owns_without_for_is_refused(self, server: FakeAPIServer) -> None:
        with pytest.raises(ValueError, match=r"owns\(secrets.v1\) needs for_\(\)"):
            self.build(server).owns(SECRETS).complete(Script())

    def test_nothing_to_watch_is_refused(self, server: FakeAPIServer) -> None:
        with pytest.raises(ValueError, match="watches nothing"):
            self.build(server).complete(Script())

    def test_complete_twice_is_refused(self, server: FakeAPIServer) -> None:
        builder = self.build(server).for_(CONFIGMAPS)
        builder.complete(Script())
        with pytest.raises(RuntimeError, match="called before"):
            builder.complete(Script())

    def test_owns_may_come_before_for(self, server: FakeAPIServer) -> None:
        controller = (
            self.build(server).owns(SECRETS).for_(CONFIGMAPS, predicates=[generation_changed]).complete(Script())
        )
        assert [str(source) for source in controller.sources] == ["owns secrets.v1", "for configmaps.v1"]


def test_hundreds_of_runs_leave_nothing_behind(server: FakeAPIServer, caplog: pytest.LogCaptureFixture) -> None:
    """What a reconcile is given is gone with it."""
    caplog.set_level(logging.CRITICAL, "runtime")  # kept records would keep tracebacks and all they hold
    runs = 0

    def busy(_: Request, __: ReconcileContext) -> Result | None:
        nonlocal runs
        runs += 1
        if runs % 3 == 0:
            raise RuntimeError("now and then")
        return Result(requeue_after=0.0001) if runs < 600 else None

    def alive() -> int:
        gc.collect()
        return sum(isinstance(item, ReconcileContext) for item in gc.get_objects())

    before = alive()
    manager = Manager(server.client(), **OFF)
    limiter = ItemExponentialFailureRateLimiter(0.0001, 0.0001)
    manager.controller("test").for_(CONFIGMAPS).with_options(rate_limiter=limiter).complete(busy)
    with running(manager):
        create(server, "a")
        eventually(lambda: runs >= 600)
        eventually(lambda: alive() <= before)
