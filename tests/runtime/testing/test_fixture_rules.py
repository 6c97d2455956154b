"""What client-go's fakes promise to tests (T1 to T4, T6), kept by a server, a recorder and a clock that are real."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator

import pytest

from runtime import GVR, flowcontrol, retry, watchtools, workqueue
from runtime import informer as informers
from runtime.client import AlreadyExists, Client, Conflict, InternalError, NotFound, ResourceClient, Unstructured
from runtime.leaderelection import LeaderElector
from runtime.manager import Manager
from runtime.record import EventBroadcaster, FakeRecorder
from runtime.testing import FakeAPIServer

CONFIGMAPS = GVR("", "v1", "configmaps")


@pytest.fixture
def api() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        yield server


@pytest.fixture
def maps(api: FakeAPIServer) -> Iterator[ResourceClient]:
    with api.client() as client:
        yield client.resource(CONFIGMAPS, "default")


def test_every_action_is_recorded_in_order(api: FakeAPIServer, maps: ResourceClient) -> None:
    """T1: the audit is what the fake client's actions are."""
    maps.create({"metadata": {"name": "a"}})
    maps.patch("a", {"data": {"k": "v"}})
    maps.list(label_selector="x=y")
    maps.delete("a")
    seen = [(entry.verb, entry.resource, entry.namespace, entry.name) for entry in api.requests]
    assert seen == [
        ("create", "configmaps", "default", "a"),
        ("patch", "configmaps", "default", "a"),
        ("list", "configmaps", "default", ""),
        ("delete", "configmaps", "default", "a"),
    ]
    assert api.requests[2].query == {"labelSelector": "x=y"}


def test_the_first_rule_that_fits_answers_and_the_rest_is_served(api: FakeAPIServer, maps: ResourceClient) -> None:
    """T1: by verb, resource and subresource, or by any function."""
    api.faults.add(verb="get", resource="configmaps", status=404, reason="NotFound", times=1)
    api.faults.add(lambda asked: asked.name == "a", status=500, reason="InternalError", times=1)
    maps.create({"metadata": {"name": "b"}})
    with pytest.raises(NotFound):
        maps.get("a")
    with pytest.raises(InternalError):
        maps.get("a")
    assert maps.get("b").name == "b"


def test_a_rule_may_ask_the_server_itself(api: FakeAPIServer, maps: ResourceClient) -> None:
    """T1: where a reactor that calls the client hangs for ever."""
    maps.create({"metadata": {"name": "switch"}, "data": {"broken": "yes"}})
    with api.client() as other:
        switch = other.resource(CONFIGMAPS, "default")
        api.faults.add(
            lambda asked: asked.verb == "list" and switch.get("switch")["data"]["broken"] == "yes",
            status=500, reason="InternalError",
        )  # fmt: skip
        with pytest.raises(InternalError):
            maps.list()
        maps.patch("switch", {"data": {"broken": "no"}})
        assert len(maps.list()) == 1


def test_what_is_stored_is_neither_what_was_given_nor_what_is_answered(maps: ResourceClient) -> None:
    """T2."""
    given = {"metadata": {"name": "a"}, "data": {"k": "v"}}
    maps.create(given)
    given["data"]["k"] = "changed"
    maps.get("a").to_dict()["data"]["k"] = "changed"
    assert maps.get("a")["data"] == {"k": "v"}


def test_writes_are_refused_as_by_a_real_server(api: FakeAPIServer, maps: ResourceClient) -> None:
    """T2: with the conflicts that client-go's tracker does not notice."""
    with pytest.raises(NotFound):
        maps.update({"metadata": {"name": "a"}})
    first = maps.create({"metadata": {"name": "a"}})
    with pytest.raises(AlreadyExists):
        maps.create({"metadata": {"name": "a"}})
    maps.patch("a", {"data": {"k": "v"}})
    with pytest.raises(Conflict):
        maps.update({**first.to_dict(), "data": {"k": "w"}})


def test_a_deletion_between_list_and_watch_is_not_lost(maps: ResourceClient) -> None:
    """T2, T3: each change has a version of its own, deletions too, and a watch replays what came after its version."""
    maps.create({"metadata": {"name": "a"}})
    listed = maps.list().resource_version
    maps.delete("a")
    maps.create({"metadata": {"name": "b"}})
    with maps.watch(resource_version=listed) as watch:
        assert [(event.type, event.object.name) for event in (next(watch), next(watch))] == [
            ("DELETED", "a"),
            ("ADDED", "b"),
        ]
        maps.delete("b")
        assert next(watch).type == "DELETED"


def test_a_watch_that_nobody_reads_loses_nothing(maps: ResourceClient) -> None:
    """T3: there is no channel of a hundred events to overflow."""
    created = maps.create({"metadata": {"name": "a"}})
    with maps.watch(resource_version=created.resource_version) as watch:
        for number in range(300):
            maps.patch("a", {"data": {"n": str(number)}})
        assert [next(watch).object["data"]["n"] for _ in range(300)] == [str(number) for number in range(300)]


def test_applies_are_kept_apart_by_their_managers(maps: ResourceClient) -> None:
    """T4."""

    def apply(manager: str, **data: str) -> Unstructured:
        given = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}
        return maps.apply(given, field_manager=manager)

    apply("me", mine="1", ours="1")
    apply("them", theirs="1", ours="1")
    with pytest.raises(Conflict, match="them"):
        apply("me", mine="1", theirs="2")
    assert apply("me", ours="1")["data"] == {"theirs": "1", "ours": "1"}


def test_a_recorder_that_only_remembers_never_blocks() -> None:
    """T6."""
    recorder = FakeRecorder()
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "ns", "uid": "u"}}
    for number in range(5000):
        recorder.event(pod, "Normal", "Tick", str(number))
    assert recorder.events[-1] == "Normal Tick 4999"


@pytest.mark.parametrize(
    "timed",
    [
        Client, EventBroadcaster, FakeAPIServer, LeaderElector, Manager,
        flowcontrol.Backoff, flowcontrol.TokenBucket, retry.on_error, retry.retry_on_conflict,
        informers.ExpirationCache, informers.Indexer, informers.JitteredBackoff, informers.MutationCache,
        informers.Reflector, informers.SharedIndexInformer, informers.SharedInformerFactory,
        informers.wait_for_cache_sync, watchtools.RetryWatcher, watchtools.until, watchtools.until_with_sync,
        watchtools.until_without_retry, workqueue.BucketRateLimiter, workqueue.DelayingQueue,
        workqueue.ItemExponentialFailureRateLimiter, workqueue.ItemFastSlowRateLimiter, workqueue.PriorityQueue,
        workqueue.Queue, workqueue.RateLimitingQueue, workqueue.default_controller_rate_limiter,
    ],
    ids=lambda timed: timed.__name__,
)  # fmt: skip
def test_whatever_keeps_time_takes_a_clock(timed: Callable[..., object]) -> None:
    """T6: the machine's own is only the default."""
    assert inspect.signature(timed).parameters["clock"].default is None


def test_the_audit_is_safe_to_read_while_it_grows(api: FakeAPIServer, maps: ResourceClient) -> None:
    """T1: and holds everything in the end."""
    maps.create({"metadata": {"name": "a"}})

    def read() -> None:
        for _ in range(50):
            maps.get("a")

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert all(entry.code in (200, 201) for entry in api.requests)
    assert sum(entry.verb == "get" for entry in api.requests) == 150
