"""The public names that DESIGN.md promises: each can be imported, takes what is promised and does what it says."""

from __future__ import annotations

import importlib
import inspect
import queue as stdlib_queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runtime import GVR, Request, Result, TerminalError
from runtime.client import ApiError, Client, Conflict, NotFound, Unstructured, load_client
from runtime.informer import (
    DeletedFinalStateUnknown,
    FilteringResourceEventHandler,
    ResourceEventHandler,
    SharedIndexInformer,
    SharedInformerFactory,
    wait_for_cache_sync,
)
from runtime.leaderelection import LeaderElector, LeaseLock
from runtime.manager import Manager
from runtime.record import EventBroadcaster, FakeRecorder
from runtime.testing import FakeAPIServer, FakeClock
from runtime.workqueue import (
    BucketRateLimiter,
    DelayingQueue,
    ItemExponentialFailureRateLimiter,
    ItemFastSlowRateLimiter,
    MaxOfRateLimiter,
    PriorityQueue,
    Queue,
    RateLimitingQueue,
    ShutDown,
    WithMaxWaitRateLimiter,
    default_controller_rate_limiter,
)

CONFIGMAPS = GVR("", "v1", "configmaps")
REQUIRED = inspect.Parameter.empty
ANY = object()  # a default that is not promised

NAMES = {
    "runtime": "GVR Request Result TerminalError",
    "runtime.client": "Client load_client ApiError NotFound AlreadyExists Conflict Invalid Forbidden Unauthorized "
    "Expired TooManyRequests ServerTimeout Unstructured",
    "runtime.workqueue": "Queue DelayingQueue RateLimitingQueue PriorityQueue ShutDown "
    "ItemExponentialFailureRateLimiter ItemFastSlowRateLimiter BucketRateLimiter MaxOfRateLimiter "
    "WithMaxWaitRateLimiter default_controller_rate_limiter",
    "runtime.informer": "SharedInformerFactory SharedIndexInformer ResourceEventHandler FilteringResourceEventHandler "
    "DeletedFinalStateUnknown Indexer Lister Reflector wait_for_cache_sync",
    "runtime.record": "EventBroadcaster EventRecorder FakeRecorder",
    "runtime.leaderelection": "LeaderElector LeaseLock",
    "runtime.manager": "Manager",
    "runtime.testing": "FakeAPIServer FakeClock",
}


@pytest.mark.parametrize(("module", "name"), [(m, name) for m, names in NAMES.items() for name in names.split()])
def test_name(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)


def test_the_parent_package_imports_none_of_its_children_but_that_which_imports_them_later() -> None:
    code = (
        "import runtime, sys; print([m for m in sys.modules if m.startswith('runtime.')]); "
        "assert 'Request' in dir(runtime), 'listed before it is used'"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "['runtime.lazy']"


RESOURCE = type(Client("http://127.0.0.1:1").resource(CONFIGMAPS))

# What may be passed by position comes first, then after "*" what is promised by name only.
SIGNATURES: list[tuple[Callable[..., Any], str, dict[str, Any]]] = [
    (load_client, "kubeconfig context", {"kubeconfig": None, "context": None}),
    (Client, "url token", {"token": None}),
    (Client.resource, "gvr namespace", {}),
    (RESOURCE.get, "name", {}),
    (RESOURCE.list, "* label_selector field_selector limit", {"limit": None}),
    (RESOURCE.create, "obj", {}),
    (RESOURCE.update, "obj", {}),
    (RESOURCE.update_status, "obj", {}),
    (RESOURCE.patch, "name patch type subresource", {"type": "merge", "subresource": None}),
    (RESOURCE.apply, "obj * field_manager force subresource", {"force": False, "subresource": None}),
    (RESOURCE.delete, "name", {}),
    (Queue, "name clock", {"name": "", "clock": None}),
    (DelayingQueue, "name clock", {"name": "", "clock": None}),
    (RateLimitingQueue, "rate_limiter name clock", {"rate_limiter": None, "name": "", "clock": None}),
    (PriorityQueue, "* name clock", {"name": "", "clock": None}),
    (Queue.get, "timeout", {"timeout": None}),
    (Queue.shut_down_with_drain, "timeout", {"timeout": None}),
    (DelayingQueue.add_after, "item delay", {}),
    (PriorityQueue.add, "item priority after", {"priority": 0, "after": 0.0}),
    (PriorityQueue.add_after, "item delay * priority", {}),
    (PriorityQueue.add_rate_limited, "item * priority", {}),
    (ItemExponentialFailureRateLimiter, "base_delay max_delay * clock", {}),
    (ItemFastSlowRateLimiter, "fast_delay slow_delay max_fast_attempts * clock", {}),
    (BucketRateLimiter, "qps burst * clock", {}),
    (WithMaxWaitRateLimiter, "limiter max_delay", {}),
    (
        SharedInformerFactory,
        (
            "client resync_period namespace transform label_selector field_selector * watch_timeout idle_timeout "
            "page_size projection clock"
        ),
        {"resync_period": 0.0, "namespace": None, "transform": None, "label_selector": None, "field_selector": None},
    ),
    (
        SharedIndexInformer.add_event_handler,
        "handler * resync_period inline buffer redeliver_unchanged",
        {"resync_period": None, "inline": False, "buffer": "unbounded", "redeliver_unchanged": False},
    ),
    (SharedIndexInformer.wait_until, "resource_version timeout", {}),
    (SharedInformerFactory.wait_for_cache_sync, "timeout", {"timeout": None}),
    (FilteringResourceEventHandler, "filter handler", {}),
    (EventBroadcaster, "client * clock", {}),
    (EventBroadcaster.shutdown, "timeout", {}),
    (LeaseLock, "client namespace name identity", {}),
    (
        LeaderElector,
        (
            "lock * lease_duration renew_deadline retry_period release_on_cancel on_started_leading on_stopped_leading "
            "on_new_leader recorder clock"
        ),
        {"lease_duration": 15, "renew_deadline": 10, "retry_period": 2, "release_on_cancel": True},
    ),
    (LeaderElector.run, "stop", {}),
    (
        Manager,
        (
            "client * metrics_bind_address health_probe_bind_address leader_election leader_election_id "
            "leader_election_namespace lease_duration renew_deadline retry_period namespaces graceful_shutdown_timeout "
            "registry clock"
        ),
        {
            "metrics_bind_address": ":8080",
            "health_probe_bind_address": ":8081",
            "leader_election": False,
            "leader_election_id": "",
            "graceful_shutdown_timeout": 30,
        },
    ),
    (Manager.run, "stop", {"stop": None}),
    (Manager.add_health_check, "name fn", {}),
    (Result, "requeue_after", {"requeue_after": None}),
    (Request, "namespace name", {}),
]


@pytest.mark.parametrize(("function", "promised", "defaults"), SIGNATURES, ids=lambda v: getattr(v, "__qualname__", ""))
def test_signature(function: Callable[..., Any], promised: str, defaults: dict[str, Any]) -> None:
    parameters = dict(inspect.signature(function).parameters)
    parameters.pop("self", None)
    by_position, _, by_name = (part.split() for part in promised.partition("*"))
    positional = [n for n, p in parameters.items() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert positional[: len(by_position)] == by_position
    keywords = {n for n, p in parameters.items() if p.kind is not inspect.Parameter.POSITIONAL_ONLY}
    assert {*by_position, *by_name} <= keywords
    assert {n: parameters[n].default for n in defaults} == defaults
    assert all(parameters[n].default is not REQUIRED for n in parameters if n not in by_position + by_name)


# -- a look at each of them alive


@pytest.fixture(scope="module")
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        yield server


@pytest.fixture
def client(server: FakeAPIServer) -> Iterator[Client]:
    with server.client() as client:
        yield client


def configmap(name: str, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "labels": {"app": "web"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def test_words() -> None:
    assert {Request("ns", "n"): 1}[Request(namespace="ns", name="n")] == 1
    assert issubclass(TerminalError, Exception)
    assert Result(requeue_after=30.0).requeue_after == 30.0
    names = "NotFound AlreadyExists Conflict Invalid Forbidden Unauthorized Expired TooManyRequests ServerTimeout"
    errors = importlib.import_module("runtime.client")
    assert all(issubclass(getattr(errors, name), ApiError) for name in names.split())


def test_verbs(client: Client) -> None:
    api = client.resource(CONFIGMAPS, namespace="default")
    created = api.create(configmap("verbs", a="1"))
    assert api.get("verbs") == created
    updated = api.update({**created.to_dict(), "data": {"a": "2"}})
    with pytest.raises(Conflict):
        api.update({**created.to_dict(), "data": {"a": "3"}})
    assert api.patch("verbs", {"data": {"b": "1"}})["data"] == {"a": "2", "b": "1"}
    assert api.patch("verbs", [{"op": "remove", "path": "/data/b"}], "json")["data"] == {"a": "2"}
    assert api.patch("verbs", {"data": {"c": "1"}}, type="strategic")["data"]["c"] == "1"
    assert api.apply(configmap("verbs", d="1"), field_manager="me", force=True)["data"]["d"] == "1"
    (found,) = api.list(label_selector="app=web", field_selector="metadata.name=verbs", limit=5)
    assert (found.kind, found.api_version) == ("ConfigMap", "v1")
    watch = api.watch(resource_version=updated.resource_version)
    assert next(watch).type == "MODIFIED"
    watch.close()
    api.delete("verbs")
    with pytest.raises(NotFound):
        api.get("verbs")


def test_unstructured() -> None:
    body: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "web",
            "uid": "u",
            "resourceVersion": "7",
            "generation": 3,
            "labels": {"a": "b"},
            "annotations": {"c": "d"},
            "finalizers": ["f"],
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "x"}],
        },
        "spec": {"replicas": 1},
    }
    obj = Unstructured(body)
    assert (obj.name, obj.namespace, obj.uid, obj.resource_version, obj.generation) == ("web", "", "u", "7", 3)
    assert (obj.kind, obj.api_version, obj.labels, obj.annotations) == ("Deployment", "apps/v1", {"a": "b"}, {"c": "d"})
    assert (list(obj.finalizers), obj.owner_references[0].uid) == (["f"], "x")
    assert obj.creation_timestamp == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert obj.deletion_timestamp is None
    assert (obj["spec"], obj.get("status")) == ({"replicas": 1}, None)
    mine = obj.to_dict()
    mine["spec"]["replicas"] = 9
    obj.labels["x"] = "y"
    obj["spec"]["replicas"] = 9
    assert obj.to_dict() == body


@pytest.mark.parametrize("kind", [Queue, DelayingQueue, RateLimitingQueue, PriorityQueue])
def test_queues(kind: type[Any]) -> None:
    q = kind(name="promised", clock=FakeClock())
    q.add("a")
    q.add("a")
    assert len(q) == 1
    assert q.get() == "a"
    with pytest.raises(stdlib_queue.Empty):
        q.get(timeout=0)
    assert not q.shut_down_with_drain(timeout=0)
    q.done("a")
    assert q.shut_down_with_drain()
    q.shut_down()
    assert q.shutting_down
    with pytest.raises(ShutDown):
        q.get()


def test_delays_priorities_and_limiters() -> None:
    clock = FakeClock()
    q: PriorityQueue[str] = PriorityQueue(ItemExponentialFailureRateLimiter(1, 60, clock=clock), clock=clock)
    assert isinstance(q, RateLimitingQueue)
    q.add("low", priority=-1)
    q.add_after("high", 5, priority=1)
    q.add_rate_limited("failed", priority=5)
    assert (len(q), q.num_requeues("failed")) == (1, 1)
    q.forget("failed")
    assert q.num_requeues("failed") == 0
    clock.advance(5)
    assert [q.get(timeout=0) for _ in range(3)] == ["failed", "high", "low"]

    exponential = ItemExponentialFailureRateLimiter(1, 5, clock=clock)
    assert [exponential.when("a") for _ in range(4)] == [1, 2, 4, 5]
    fast = ItemFastSlowRateLimiter(1, 9, 2)
    assert [fast.when("a") for _ in range(3)] == [1, 1, 9]
    bucket = BucketRateLimiter(10, 1, clock=clock)
    assert [bucket.when("a"), bucket.when("b")] == [0, 0.1]
    capped = WithMaxWaitRateLimiter(MaxOfRateLimiter(exponential, fast), 3)
    assert (capped.when("b"), capped.num_requeues("b")) == (1, 1)
    capped.forget("b")
    assert capped.num_requeues("b") == 0
    assert 0.005 <= default_controller_rate_limiter().when("a") <= 0.0075


def test_a_fake_clock_wakes_a_get() -> None:
    clock = FakeClock()
    q: Queue[str] = Queue(clock=clock)
    raised = threading.Event()

    def wait() -> None:
        with pytest.raises(stdlib_queue.Empty):
            q.get(timeout=3600)
        raised.set()

    thread = threading.Thread(target=wait, name="waits")
    thread.start()
    clock.wait_for_waiters(1)
    clock.advance(3600)
    assert raised.wait(10)
    thread.join(10)


def test_informers(client: Client) -> None:
    api = client.resource(CONFIGMAPS, namespace="default")
    first = api.create(configmap("informed", node="n1"))
    factory = SharedInformerFactory(
        client, 0.0, "default", field_selector="metadata.name=informed", transform=lambda obj: obj
    )
    informer = factory.informer(CONFIGMAPS)
    assert factory.informer(CONFIGMAPS) is informer
    seen: stdlib_queue.Queue[tuple[Any, ...]] = stdlib_queue.Queue()
    handler = ResourceEventHandler(
        on_add=lambda obj, is_in_initial_list: seen.put(("add", obj.name, is_in_initial_list)),
        on_update=lambda old, new: seen.put(("update", old["data"], new["data"])),
        on_delete=lambda obj: seen.put(("delete", isinstance(obj, Unstructured | DeletedFinalStateUnknown))),
    )
    reg = informer.add_event_handler(handler, resync_period=None, inline=False)
    silent = ResourceEventHandler(on_add=lambda obj, is_in_initial_list: seen.put(("filtered",)))
    filtered = FilteringResourceEventHandler(lambda obj: False, silent)
    informer.add_event_handler(filtered, buffer="latest", redeliver_unchanged=True)
    informer.add_indexers({"by-node": lambda obj: [obj["data"]["node"]]})
    factory.start()
    try:
        assert factory.wait_for_cache_sync(timeout=10) == {CONFIGMAPS: True}
        assert wait_for_cache_sync(threading.Event(), informer.has_synced)
        assert seen.get(timeout=10) == ("add", "informed", True)
        indexer, lister = informer.indexer, informer.lister
        assert indexer.get("default/informed") == lister.namespace("default").get("informed") == first
        assert indexer.get("default/nope") is None
        with pytest.raises(NotFound):
            lister.namespace("default").get("nope")
        assert [o.name for o in indexer.by_index("by-node", "n1")] == ["informed"]
        assert list(indexer.list_keys()) == list(indexer.index_keys("by-node", "n1")) == ["default/informed"]
        assert list(indexer.list_index_func_values("by-node")) == ["n1"]
        assert len(list(indexer.list())) == len(list(lister.list(selector="app=web,app in (web,b)"))) == 1
        with pytest.raises(KeyError, match="by-node"):
            indexer.by_index("nope", "x")
        assert informer.last_sync_resource_version
        updated = api.patch("informed", {"data": {"node": "n2"}})
        assert informer.wait_until(updated.resource_version, 10)
        assert seen.get(timeout=10) == ("update", {"node": "n1"}, {"node": "n2"})
        api.delete("informed")
        assert seen.get(timeout=10) == ("delete", True)
        assert reg.has_synced()
        assert informer.sync_state.synced
        assert informer.sync_state.connected
        informer.remove_event_handler(reg)
    finally:
        factory.shutdown()


def test_recorders(client: Client) -> None:
    obj = client.resource(CONFIGMAPS, namespace="default").create(configmap("recorded"))
    broadcaster = EventBroadcaster(client)
    recorder = broadcaster.new_recorder("my-controller")
    recorder.event(obj, "Normal", "Created", "message")
    recorder.event(obj, "Normal", "Acted", "message", action="Act")
    recorder.eventf(obj, "Warning", "Failed", "%s", ValueError("why"))
    broadcaster.shutdown(10)
    events = client.resource(GVR("events.k8s.io", "v1", "events"), namespace="default").list()
    by_reason = {e["reason"]: e for e in events if e["regarding"]["name"] == "recorded"}
    assert {r: e["action"] for r, e in by_reason.items()} == {"Created": "Created", "Acted": "Act", "Failed": "Failed"}
    assert by_reason["Failed"]["note"] == "why"
    fake = FakeRecorder()
    fake.eventf(obj, "Warning", "Failed", "%s", "why")
    assert list(fake.events) == ["Warning Failed why"]


def test_election(client: Client) -> None:
    stop, leading = threading.Event(), threading.Event()
    leaders: stdlib_queue.Queue[str] = stdlib_queue.Queue()
    stopped: list[bool] = []

    def work(stop: threading.Event) -> None:
        leading.set()
        stop.wait(30)

    elector = LeaderElector(
        LeaseLock(client, "default", "promised", "me"),
        lease_duration=2.5,
        renew_deadline=1.5,
        retry_period=0.2,
        release_on_cancel=True,
        on_started_leading=work,
        on_stopped_leading=lambda: stopped.append(True),
        on_new_leader=leaders.put,
    )
    thread = threading.Thread(target=elector.run, args=(stop,), name="elector")
    thread.start()
    assert leading.wait(10)
    assert elector.is_leader
    lease = client.resource(GVR("coordination.k8s.io", "v1", "leases"), namespace="default").get("promised")
    assert lease["spec"]["leaseDurationSeconds"] == 3
    stop.set()
    thread.join(10)
    assert (stopped, leaders.get(timeout=10), elector.is_leader) == ([True], "me", False)


def test_manager(client: Client) -> None:
    from runtime.controller import generation_changed

    secrets = GVR("", "v1", "secrets")
    mgr = Manager(client, metrics_bind_address="0", health_probe_bind_address="0", namespaces=["default"])
    mgr.add_health_check("mine", lambda: None)
    reconciled: stdlib_queue.Queue[tuple[Any, ...]] = stdlib_queue.Queue()

    def reconcile(request: Request, ctx: Any) -> Result | None:
        obj = ctx.lister(CONFIGMAPS).namespace(request.namespace).get(request.name)
        ctx.recorder.event(obj, "Normal", "Seen", "seen")
        ctx.log.debug("seen")
        live = ctx.client.resource(CONFIGMAPS, namespace=request.namespace).get(request.name)
        reconciled.put((request, live == obj, ctx.stop.is_set(), ctx.deadline))
        return Result(requeue_after=30.0)

    (
        mgr.controller("promised")
        .for_(CONFIGMAPS, predicates=[generation_changed])
        .owns(secrets)
        .watches(GVR("", "v1", "services"), lambda obj: [Request(obj.namespace, obj.name)])
        .with_options(workers=1, reconcile_timeout=None, rate_limiter=default_controller_rate_limiter())
        .complete(reconcile)
    )
    with pytest.raises(ValueError, match="promised"):
        mgr.controller("promised").for_(secrets).complete(reconcile)
    stop = threading.Event()
    thread = threading.Thread(target=mgr.run, kwargs={"stop": stop}, name="manager")
    thread.start()
    try:
        client.resource(CONFIGMAPS, namespace="default").create(configmap("managed"))
        request = None
        while request != Request("default", "managed"):
            request, same, stopping, _ = reconciled.get(timeout=10)
        assert (same, stopping) == (True, False)
    finally:
        stop.set()
        thread.join(40)


def test_fake_api_server(server: FakeAPIServer, tmp_path: Path) -> None:
    assert server.url.startswith("http")
    server.kubeconfig(tmp_path / "kubeconfig")
    with load_client(str(tmp_path / "kubeconfig")) as client:
        assert client.discovery.has(CONFIGMAPS)
    server.apply_manifests(Path(__file__).resolve().parents[2] / "crds")
    with server.client() as client:
        assert client.discovery.find("xlineclusters") is not None
