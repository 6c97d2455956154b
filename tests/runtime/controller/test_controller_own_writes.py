"""Decision 5: a reconcile sees what the one before it wrote."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from runtime.client import Client, NotFound
from runtime.controller import Change, Controller, ReconcileContext, label_changed, not_
from runtime.controller import own_writes as module
from runtime.informer import ResourceEventHandler
from runtime.manager import Manager
from runtime.testing import FakeAPIServer
from runtime.types import GVR, JSONObject, Request, Result
from runtime.workqueue import ItemExponentialFailureRateLimiter
from tests.support.managers import CONFIGMAPS, FOO_CRD, FOOS, OFF, SECRETS, configmap, eventually, running

DEPLOYMENTS = GVR("apps", "v1", "deployments")
PODS = GVR("", "v1", "pods")

Reconcile = Callable[[Request, ReconcileContext], None]


def secret(name: str, **metadata: Any) -> JSONObject:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "default", **metadata}}


def one_each(request: Request, ctx: ReconcileContext) -> None:
    """Gives each ConfigMap one Secret, with a name of the server's choice."""
    try:
        ctx.lister(CONFIGMAPS).get(request)
    except NotFound:
        return
    if not ctx.lister(SECRETS).list(f"of={request.name}"):
        child = {"metadata": {"generateName": "of-", "labels": {"of": request.name}}}
        ctx.client.resource(SECRETS, "default").create({"apiVersion": "v1", "kind": "Secret", **child})


class Lagging:
    """A controller for ConfigMaps that may read Secrets from a cache which the test can hold back."""

    def __init__(self, server: FakeAPIServer, reconcile: Reconcile, **options: Any) -> None:
        self.server = server
        self.client = server.client()
        test = Client(server.url, user_agent="test")
        self.maps = test.resource(CONFIGMAPS, "default")
        self.secrets = test.resource(SECRETS, "default")
        self.runs: list[str] = []
        self._reconcile = reconcile
        self._held, self._flows = threading.Event(), threading.Event()
        self._flows.set()
        self._plugs = itertools.count()
        self.manager = Manager(self.client, **OFF)
        self.controller: Controller = (
            self.manager.controller("lagging")
            .for_(CONFIGMAPS)
            .owns(SECRETS)
            .with_options(**options)
            .complete(self.reconcile)
        )
        # Runs in the thread that fills the cache: as long as it waits, the cache stays as it is.
        handler = ResourceEventHandler(on_add=lambda obj, _: self._plug(obj.name))
        self.manager.informer(SECRETS).add_event_handler(handler, inline=True)

    def reconcile(self, request: Request, ctx: ReconcileContext) -> None:
        self.runs.append(request.name)
        self._reconcile(request, ctx)

    def hold(self) -> None:
        """The cache of Secrets shows nothing of what happens from now on."""
        if self._flows.is_set():
            self._held.clear()
            self._flows.clear()
            self.secrets.create(secret(f"plug-{next(self._plugs)}"))
            assert self._held.wait(30)

    def release(self) -> None:
        self._flows.set()

    def touch(self, name: str) -> None:
        self.maps.patch(name, {"data": {"touched": str(next(self._plugs))}})

    def made(self, name: str = "a") -> int:
        return len(self.secrets.list(label_selector=f"of={name}"))

    def parked(self) -> int:
        return self.controller.queue.stats().parked

    def idle(self) -> bool:
        stats = self.controller.queue.stats()
        return not (stats.depth or stats.processing or stats.parked or stats.delayed)

    def _plug(self, name: str) -> None:
        if name.startswith("plug-") and not self._flows.is_set():
            self._held.set()
            self._flows.wait(60)


@contextmanager
def lag(server: FakeAPIServer, reconcile: Reconcile = one_each, **options: Any) -> Iterator[Lagging]:
    lagging = Lagging(server, reconcile, **options)
    with running(lagging.manager):
        try:
            yield lagging
        finally:
            lagging.release()


class Late:
    """Lets the time pass that patience is measured in, as much as the test wants at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._seconds = 0.0
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + self._seconds))

    def by(self, seconds: float) -> None:
        self._seconds += seconds


def run_and_run_again(lagging: Lagging) -> None:
    """A first run for "a" whose writes the cache of Secrets does not show; and a second one that is wanted."""
    lagging.hold()
    lagging.maps.create(configmap("a"))
    eventually(lambda: lagging.runs)
    eventually(lambda: lagging.controller.queue.stats().processing == 0)
    lagging.touch("a")


def test_a_child_the_cache_does_not_show_yet_is_not_created_twice(server: FakeAPIServer) -> None:
    """Fails without the wait: the second run lists no Secret and makes another."""
    with lag(server) as lagging:
        run_and_run_again(lagging)
        eventually(lambda: lagging.parked() == 1)
        assert lagging.runs == ["a"]
        lagging.release()
        eventually(lambda: len(lagging.runs) >= 2 and lagging.idle())
        assert lagging.made() == 1
        stats = lagging.controller.stats
        assert (stats.own_write_waits.value, stats.own_write_timeouts.value) == (1, 0)
        assert sum(stats.own_write_seconds.snapshot()[1]) == 1


def test_who_does_not_want_to_wait_does_not(server: FakeAPIServer) -> None:
    """The bug itself."""
    with lag(server, own_writes_timeout=0.0) as lagging:
        run_and_run_again(lagging)
        eventually(lambda: lagging.made() == 2)
        assert lagging.controller.stats.own_write_waits.value == 0


_STEPS = st.lists(
    st.sampled_from(["touch", "touch", "hold", "release", "cut", "lose", "refuse", "settle"]), max_size=10
)


def test_never_a_second_child(server: FakeAPIServer) -> None:
    """However far behind the cache is, whatever becomes of the watch and of the answers."""
    numbers = itertools.count()
    with lag(server, rate_limiter=ItemExponentialFailureRateLimiter(0.001, 0.05)) as lagging:

        @given(_STEPS, st.booleans())
        @settings(max_examples=8, deadline=None, phases=[Phase.generate])  # each try of shrinking takes a while
        def check(steps: list[str], held: bool) -> None:
            name = f"n{next(numbers)}"
            if held:
                lagging.hold()
            lagging.maps.create(configmap(name))
            for step in steps:
                act(lagging, step, name)
            lagging.release()
            server.faults.clear()
            eventually(lambda: lagging.idle() and lagging.made(name))
            assert lagging.made(name) == 1

        check()
        assert lagging.controller.stats.own_write_timeouts.value == 0


def act(lagging: Lagging, step: str, name: str) -> None:
    if step == "touch":
        lagging.touch(name)
    elif step == "hold":
        lagging.hold()
    elif step == "release":
        lagging.release()
    elif step == "cut":
        lagging.server.faults.add(verb="watch", resource="secrets", end="before", times=1)
    elif step == "lose":
        lagging.server.faults.add(verb="create", resource="secrets", user_agent="!test", drop="after", times=1)
    elif step == "refuse":
        lagging.server.faults.add(verb="create", resource="secrets", user_agent="!test", status=500, times=1)
    else:
        eventually(lambda: lagging.controller.queue.stats().processing == 0)


def test_no_worker_is_blocked(server: FakeAPIServer) -> None:
    with lag(server, workers=1) as lagging:
        run_and_run_again(lagging)
        eventually(lambda: lagging.parked() == 1)
        lagging.maps.create(configmap("b"))
        eventually(lambda: lagging.runs == ["a", "b"])
        assert lagging.parked() == 1


def test_a_cache_that_never_catches_up_is_not_waited_for_for_ever(
    server: FakeAPIServer, caplog: pytest.LogCaptureFixture
) -> None:
    with lag(server, own_writes_timeout=0.1) as lagging:
        run_and_run_again(lagging)
        eventually(lambda: lagging.runs == ["a", "a"])
        assert lagging.controller.stats.own_write_timeouts.value == 1
        assert "does not show our own writes" in caplog.text


def test_a_stop_ends_the_wait(server: FakeAPIServer) -> None:
    with lag(server) as lagging:
        run_and_run_again(lagging)
        eventually(lambda: lagging.parked() == 1)
        lagging.controller.stop()
        assert lagging.controller.join(30)
        assert lagging.runs == ["a"]
        assert len(lagging.controller._execution._own_writes) == 0
        for informer in lagging.manager.informers(SECRETS):
            assert not informer.indexer._waiters.heap


def test_a_stop_waits_for_no_answer(
    server: FakeAPIServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the server is asked for is of no use to anybody any more."""
    monkeypatch.setattr(module, "_ASK_FOR", 600.0)
    with lag(server, rate_limiter=ItemExponentialFailureRateLimiter(0.001, 0.01)) as lagging:
        lagging.hold()
        server.faults.add(verb="create", resource="secrets", times=1, drop="after")
        asked = server.faults.add(verb="list", resource="secrets", user_agent="!test", delay=600.0)
        lagging.maps.create(configmap("a"))
        eventually(lambda: asked.hits)
        lagging.controller.stop()
        assert lagging.controller.join(15)
        assert lagging.runs == ["a"]
        assert "waiting on" not in caplog.text


def test_a_deletion_is_waited_for(server: FakeAPIServer) -> None:
    """It took effect at once, so no answer tells its version."""
    seen: list[bool] = []

    def delete(_: Request, ctx: ReconcileContext) -> None:
        seen.append(bool(ctx.lister(SECRETS).list("of=a")))
        if len(seen) == 1:
            ctx.client.resource(SECRETS, "default").delete("child")

    with lag(server, delete) as lagging:
        lagging.secrets.create(secret("child", labels={"of": "a"}))
        eventually(lambda: lagging.manager.informer(SECRETS).indexer.get("default/child"))
        run_and_run_again(lagging)
        eventually(lambda: lagging.parked() == 1)
        lagging.release()
        eventually(lambda: seen == [True, False])


def test_of_an_object_made_and_deleted_neither_is_missed(server: FakeAPIServer) -> None:
    """The cache must show it come before it can show it gone."""
    seen: list[list[str]] = []

    def flash(_: Request, ctx: ReconcileContext) -> None:
        seen.append([obj.name for obj in ctx.lister(SECRETS).list("of=a")])
        if len(seen) == 1:
            secrets = ctx.client.resource(SECRETS, "default")
            secrets.create(secret("child", labels={"of": "a"}))
            secrets.delete("child")

    with lag(server, flash) as lagging:
        run_and_run_again(lagging)
        eventually(lambda: lagging.parked() == 1)
        lagging.release()
        eventually(lambda: len(seen) > 1)
        assert seen[1] == []


@pytest.mark.parametrize("took_effect", [True, False])
def test_a_write_whose_answer_was_lost_is_looked_for(server: FakeAPIServer, took_effect: bool) -> None:
    lost: JSONObject = {"drop": "after"} if took_effect else {"status": 500}
    with lag(server, rate_limiter=ItemExponentialFailureRateLimiter(0.001, 0.01)) as lagging:
        lagging.hold()
        server.faults.add(verb="create", resource="secrets", times=1, **lost)
        lagging.maps.create(configmap("a"))
        if took_effect:
            eventually(lambda: lagging.parked() == 1)
            assert lagging.runs == ["a"]
        else:
            eventually(lambda: lagging.made() == 1)
        lagging.release()
        eventually(lambda: len(lagging.runs) >= 2 and lagging.idle())
        assert lagging.made() == 1
        assert lagging.controller.stats.own_write_timeouts.value == 0


def test_a_server_that_does_not_answer_is_asked_again(
    server: FakeAPIServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that takes: without it the reconcile could only do harm."""
    monkeypatch.setattr(module, "_ASK_AGAIN", 0.1)
    late = Late(monkeypatch)
    with lag(server, rate_limiter=ItemExponentialFailureRateLimiter(0.001, 0.01)) as lagging:
        lagging.hold()
        server.faults.add(verb="create", resource="secrets", times=1, drop="after")
        asked = server.faults.add(verb="list", resource="secrets", status=500, times=2)
        lagging.maps.create(configmap("a"))
        eventually(lambda: asked.hits == 1)
        late.by(1000.0)
        eventually(lambda: asked.hits == 2)
        lagging.release()
        eventually(lambda: len(lagging.runs) >= 2 and lagging.idle())
        assert lagging.made() == 1
        assert lagging.controller.stats.own_write_timeouts.value == 0
        assert caplog.text.count("waiting on") == 1


def test_a_server_that_refuses_to_tell_is_not_asked_for_ever(
    server: FakeAPIServer, caplog: pytest.LogCaptureFixture
) -> None:
    with lag(server, rate_limiter=ItemExponentialFailureRateLimiter(0.001, 0.01)) as lagging:
        lagging.hold()
        server.faults.add(verb="create", resource="secrets", times=1, drop="after")
        server.faults.add(verb="list", resource="secrets", user_agent="!test", status=403)
        lagging.maps.create(configmap("a"))
        eventually(lambda: len(lagging.runs) >= 2)
        assert lagging.controller.stats.own_write_timeouts.value == 1
        assert "going on without" in caplog.text
        server.faults.clear()


def test_a_cache_without_its_watch_is_waited_for_without_end(
    server: FakeAPIServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage is when the second child would be made: the cache comes back later than the writes do."""
    monkeypatch.setattr(module, "_LOOK_AGAIN", 0.05)
    late = Late(monkeypatch)
    with lag(server) as lagging:
        (informer,) = lagging.manager.informers(SECRETS)
        refused = server.faults.add(verb=["list", "watch"], resource="secrets", user_agent="!test", status=503)
        server.faults.add(verb="watch", resource="secrets", end="before", times=1)
        eventually(lambda: refused.hits and not informer.sync_state.connected)
        lagging.maps.create(configmap("a"))
        eventually(lambda: lagging.made() == 1)
        lagging.touch("a")
        eventually(lambda: lagging.parked() == 1)
        late.by(1000.0)
        eventually(lambda: "waiting on" in caplog.text)
        assert lagging.runs == ["a"]
        server.faults.clear()
        eventually(lambda: len(lagging.runs) >= 2 and lagging.idle())
        assert lagging.made() == 1
        assert lagging.controller.stats.own_write_timeouts.value == 0


def test_a_collection_that_was_deleted_is_waited_for(server: FakeAPIServer) -> None:
    seen: list[int] = []

    def sweep(_: Request, ctx: ReconcileContext) -> None:
        seen.append(len(ctx.lister(SECRETS).list("of=a")))
        if len(seen) == 1:
            ctx.client.resource(SECRETS, "default").delete_collection(label_selector="of=a")

    with lag(server, sweep) as lagging:
        for number in range(3):
            lagging.secrets.create(secret(f"s{number}", labels={"of": "a"}))
        eventually(lambda: len(lagging.manager.informer(SECRETS).indexer) == 3)
        run_and_run_again(lagging)
        eventually(lambda: lagging.parked() == 1)
        lagging.release()
        eventually(lambda: seen == [3, 0])


def test_writes_that_are_not_observed_are_not_waited_for(server: FakeAPIServer) -> None:
    def write(_: Request, ctx: ReconcileContext) -> None:
        ctx.client.unobserved().resource(SECRETS, "default").apply(secret("child"), field_manager="test")

    with lag(server, write) as lagging:
        run_and_run_again(lagging)
        eventually(lambda: lagging.runs == ["a", "a"])
        assert lagging.controller.stats.own_write_waits.value == 0


def test_who_is_written_by_another_key_sees_that(server: FakeAPIServer) -> None:
    """The key of an object waits for what the run of another has written to it."""
    seen: list[str] = []
    held, flows, wrote = threading.Event(), threading.Event(), threading.Event()

    def reconcile(request: Request, ctx: ReconcileContext) -> None:
        obj = ctx.lister(CONFIGMAPS).get(request)
        if request.name == "a":
            maps = ctx.client.resource(CONFIGMAPS, "default")
            ctx.client.unobserved().resource(CONFIGMAPS, "default").create(configmap("plug"))
            assert held.wait(30)
            maps.patch("b", {"data": {"by": "a"}})
            wrote.set()
        elif request.name == "b":
            seen.append(obj["data"].get("by", ""))

    def plug(obj: Any, _: bool) -> None:
        if obj.name == "plug":
            held.set()
            flows.wait(60)

    manager = Manager(server.client(), **OFF)
    controller = manager.controller("cross").for_(CONFIGMAPS, predicates=[not_(is_plug)]).complete(reconcile)
    manager.informer(CONFIGMAPS).add_event_handler(ResourceEventHandler(on_add=plug), inline=True)
    maps = server.client().resource(CONFIGMAPS, "default")
    with running(manager):
        try:
            maps.create(configmap("b", x="1"))
            eventually(lambda: seen == [""])
            maps.create(configmap("a"))
            assert wrote.wait(30)
            controller.queue.add(Request("default", "b"))
            eventually(lambda: controller.queue.stats().parked == 1)
        finally:
            flows.set()
        eventually(lambda: len(seen) > 1)
    assert set(seen[1:]) == {"a"}


def is_plug(change: Change) -> bool:
    return change.obj.name == "plug"


def test_its_own_status_is_seen(server: FakeAPIServer) -> None:
    """Each run counts up what the cache shows; a stale one would write the same number twice."""
    server.apply_manifests(FOO_CRD)
    foos = server.client().resource(FOOS, "default")
    counts: list[int] = []

    def count(request: Request, ctx: ReconcileContext) -> Result | None:
        foo = ctx.lister(FOOS).get(request)
        number = (foo.get("status") or {}).get("availableReplicas", 0)
        counts.append(number)
        if number < 20:
            ctx.patch_status(FOOS, foo, {"availableReplicas": number + 1})
            return Result(requeue_after=0.0001)
        return None

    manager = Manager(server.client(), **OFF)
    controller = manager.controller("count").for_(FOOS).complete(count)
    with running(manager):
        foos.create(
            {
                "apiVersion": FOOS.api_version,
                "kind": "Foo",
                "metadata": {"name": "f", "namespace": "default"},
                "spec": {"deploymentName": "d", "replicas": 1},
            }
        )
        eventually(lambda: counts and counts[-1] == 20)
    assert sorted(set(counts)) == list(range(21))
    assert counts[:21] == list(range(21))
    assert controller.stats.own_write_timeouts.value == 0


def test_writes_in_a_namespace_that_is_not_watched_are_not_waited_for(server: FakeAPIServer) -> None:
    runs: list[str] = []

    def reconcile(request: Request, ctx: ReconcileContext) -> None:
        runs.append(request.name)
        for namespace in ("one", "two", "three"):
            child = {**secret("child"), "metadata": {"name": "child", "namespace": namespace}}
            ctx.client.resource(SECRETS, namespace).apply(child, field_manager="test")

    client = server.client()
    for namespace in ("one", "two", "three"):
        client.resource(GVR("", "v1", "namespaces")).create({"metadata": {"name": namespace}})
    manager = Manager(client, namespaces=["one", "two"], **OFF)
    controller = manager.controller("many").for_(CONFIGMAPS).watches(SECRETS, lambda _: []).complete(reconcile)
    maps = client.resource(CONFIGMAPS, "one")
    with running(manager):
        maps.create(configmap("a", "one"))
        eventually(lambda: runs == ["a"])
        maps.patch("a", {"data": {"x": "1"}})
        eventually(lambda: runs == ["a", "a"])
    assert controller.stats.own_write_timeouts.value == 0


def test_what_the_cache_does_not_select_is_waited_for_only_if_it_was_there(server: FakeAPIServer) -> None:
    """No event tells a cache of what its labels leave out, and a bookmark may take a minute."""
    seen: list[list[str]] = []

    def reconcile(_: Request, ctx: ReconcileContext) -> None:
        seen.append([obj.name for obj in ctx.lister(SECRETS).list()])
        secrets = ctx.client.resource(SECRETS, "default")
        if len(seen) == 1:
            secrets.create(secret("outside"))
        elif len(seen) == 2:
            secrets.patch("inside", {"metadata": {"labels": {"of": None}}})

    client = server.client()
    maps, secrets = client.resource(CONFIGMAPS, "default"), client.resource(SECRETS, "default")
    manager = Manager(client, **OFF)
    manager.cache(SECRETS, label_selector="of=a")
    controller = manager.controller("selects").for_(CONFIGMAPS).owns(SECRETS).complete(reconcile)
    secrets.create(secret("inside", labels={"of": "a"}))
    with running(manager):
        maps.create(configmap("a"))
        for run in (1, 2):
            eventually(lambda: len(seen) == run)  # noqa: B023
            eventually(lambda: controller.queue.stats().processing == 0)
            maps.patch("a", {"data": {"run": str(run)}})
        eventually(lambda: len(seen) == 3)
    assert seen == [["inside"], ["inside"], []]
    assert controller.stats.own_write_timeouts.value == 0


def test_a_scale_and_an_eviction_are_waited_for(server: FakeAPIServer) -> None:
    """Their answers are no Deployment and no Pod."""
    client = server.client()
    deployments, pods = client.resource(DEPLOYMENTS, "default"), client.resource(PODS, "default")
    labels = {"app": "x"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    deployments.create(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "d"},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
        }
    )
    pods.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": template["spec"]})
    seen: list[tuple[int, bool]] = []

    def reconcile(_: Request, ctx: ReconcileContext) -> None:
        pod = [pod for pod in ctx.lister(PODS).list() if pod.name == "p" and pod.deletion_timestamp is None]
        seen.append((ctx.lister(DEPLOYMENTS).get("default/d")["spec"]["replicas"], bool(pod)))
        if len(seen) == 1:
            ctx.client.resource(DEPLOYMENTS, "default").update_scale("d", 3)
            eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
            ctx.client.resource(PODS, "default").create(eviction, name="p", subresource="eviction")

    manager = Manager(client, **OFF)
    controller = manager.controller("scaler").for_(CONFIGMAPS).complete(reconcile)
    for gvr in (DEPLOYMENTS, PODS):
        manager.informer(gvr)
    with running(manager):
        assert manager.wait_for_cache_sync(30)
        client.resource(CONFIGMAPS, "default").create(configmap("a"))
        eventually(lambda: seen)
        controller.queue.add(Request("default", "a"))
        eventually(lambda: len(seen) > 1)
    assert seen[:2] == [(1, True), (3, False)]


def test_what_is_remembered_is_bounded(server: FakeAPIServer) -> None:
    """Keys that never run again, since their events are filtered, are forgotten once their writes were seen."""

    def reconcile(request: Request, ctx: ReconcileContext) -> None:
        ctx.client.resource(CONFIGMAPS, "default").patch(request.name, {"data": {"seen": "yes"}})

    client = server.client()
    manager = Manager(client, **OFF)
    controller = (
        manager.controller("once").for_(CONFIGMAPS, predicates=[label_changed]).with_options(workers=2)
    ).complete(reconcile)
    maps = client.resource(CONFIGMAPS, "default")
    with running(manager):
        for number in range(300):
            maps.create(configmap(f"m{number}"))
        eventually(lambda: controller.stats.outcomes["success"].value == 300)
        assert len(controller._execution._own_writes) <= 129


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
