"""The client and the fake API server together: every verb does what it says to real objects."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from runtime import GVR
from runtime.client import (
    AlreadyExists,
    APIResource,
    Client,
    Conflict,
    ConnectionFailed,
    Expired,
    Invalid,
    NotFound,
    RequestTimeout,
    ResourceClient,
    Unstructured,
    load_client,
)
from runtime.testing import FakeAPIServer

CONFIGMAPS = GVR("", "v1", "configmaps")
PODS = GVR("", "v1", "pods")
STATEFULSETS = GVR("apps", "v1", "statefulsets")
NAMESPACES = GVR("", "v1", "namespaces")


@pytest.fixture
def server() -> Iterator[Any]:
    with FakeAPIServer() as server:
        yield server


@pytest.fixture
def client(server: FakeAPIServer) -> Iterator[Any]:
    with server.client() as client:
        yield client


@pytest.fixture
def maps(client: Client) -> Any:
    return client.resource(CONFIGMAPS, "default")


def config_map(name: Any, labels: Any = None, **data: Any) -> Any:
    metadata = {"name": name, "namespace": "default", **({"labels": labels} if labels else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def stateful_set(name: Any = "web") -> Any:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": 1, "serviceName": "s", "selector": {"matchLabels": {"a": "b"}}, "template": template},
    }


def found(client: Client, name: str, group: str | None = None) -> APIResource:
    resource = client.discovery.find(name, group)
    assert resource is not None
    return resource


def test_create_read_update_delete(maps: ResourceClient) -> None:
    made = maps.create(config_map("a", x="1"))
    assert made.uid
    assert made.resource_version
    assert made.creation_timestamp is not None
    assert maps.get("a") == made
    with pytest.raises(AlreadyExists, match=r"create configmaps.v1 default/a"):
        maps.create(config_map("a"))
    changed = maps.update({**made.to_dict(), "data": {"x": "2"}})
    assert changed["data"] == {"x": "2"}
    assert changed.resource_version != made.resource_version
    with pytest.raises(Conflict, match=r"update configmaps.v1 default/a"):
        maps.update({**made.to_dict(), "data": {"x": "3"}})
    with pytest.raises(Conflict):
        maps.delete("a", uid="another")
    maps.delete("a", uid=made.uid)
    gone: list[Callable[[], object]]
    anonymous = changed.to_dict()
    del anonymous["metadata"]["uid"]
    gone = [lambda: maps.get("a"), lambda: maps.delete("a"), lambda: maps.update(anonymous)]
    for call in gone:
        with pytest.raises(NotFound):
            call()
    with pytest.raises(Conflict, match="UID in precondition"):
        maps.update(changed)


def test_what_is_invalid_is_told_by_field(maps: ResourceClient) -> None:
    with pytest.raises(Invalid) as e:
        maps.create(config_map("Not A Name"))
    assert e.value.causes
    assert e.value.causes[0].field == "metadata.name"


def test_dry_run_changes_nothing(maps: ResourceClient) -> None:
    maps.create(config_map("b"), dry_run=True)
    assert maps.list().items == []
    maps.create(config_map("a"))
    maps.update(config_map("a", x="1"), dry_run=True)
    maps.patch("a", {"data": {"x": "1"}}, dry_run=True)
    maps.delete("a", dry_run=True)
    assert maps.get("a").get("data", {}) == {}


def test_patches(maps: ResourceClient, client: Client) -> None:
    maps.create(config_map("a", x="1", y="2"))
    assert maps.patch("a", {"data": {"x": None, "z": "3"}})["data"] == {"y": "2", "z": "3"}
    patched = maps.patch("a", [{"op": "replace", "path": "/data/y", "value": "9"}], type="json")
    assert patched["data"] == {"y": "9", "z": "3"}
    sets = client.resource(STATEFULSETS, "default")
    sets.create(stateful_set())
    more = {"spec": {"template": {"spec": {"containers": [{"name": "d", "image": "j"}]}}}}
    merged = sets.patch("web", more, type="strategic")
    assert {c["name"] for c in merged["spec"]["template"]["spec"]["containers"]} == {"c", "d"}
    with pytest.raises(Conflict):
        maps.patch("a", {"metadata": {"resourceVersion": "1"}, "data": {"q": "1"}})


def test_apply_owns_what_it_names(maps: ResourceClient) -> None:
    maps.apply(config_map("a", x="1", y="1"), field_manager="me")
    assert maps.apply(config_map("a", x="2"), field_manager="me")["data"] == {"x": "2"}
    with pytest.raises(Conflict, match="me"):
        maps.apply(config_map("a", x="3"), field_manager="you")
    assert maps.apply(config_map("a", x="3"), field_manager="you", force=True)["data"] == {"x": "3"}
    before = maps.get("a").resource_version
    maps.apply(config_map("a", x="3"), field_manager="you")
    assert maps.get("a").resource_version == before, "applying the same again is no write"


def test_status_and_scale(client: Client) -> None:
    sets = client.resource(STATEFULSETS, "default")
    made = sets.create(stateful_set())
    changed = made.to_dict()
    changed["spec"]["replicas"] = 7
    changed["status"] = {"replicas": 1, "readyReplicas": 1}
    after = sets.update_status(changed)
    assert after["spec"]["replicas"] == 1
    assert sets.get_status("web")["status"]["readyReplicas"] == 1
    assert sets.update_scale("web", 3)["spec"]["replicas"] == 3
    assert sets.get_scale("web").kind == "Scale"
    assert sets.get("web")["spec"]["replicas"] == 3
    with pytest.raises(Conflict):
        sets.update_scale("web", 4, resource_version=made.resource_version)


def test_lists_select_and_page(maps: ResourceClient, client: Client, server: FakeAPIServer) -> None:
    for i in range(25):
        maps.create(config_map(f"m{i:02}", {"parity": "odd" if i % 2 else "even"}))
    names = [f"m{i:02}" for i in range(25)]
    whole = maps.list()
    assert [m.name for m in whole] == names
    assert {(m.kind, m.api_version) for m in whole} == {("ConfigMap", "v1")}
    assert whole[0] == maps.get("m00")
    assert [m.name for m in maps.list(label_selector="parity in (odd)")] == names[1::2]
    assert [m.name for m in maps.list(field_selector="metadata.name=m03")] == ["m03"]
    assert [m.name for m in client.resource(CONFIGMAPS).list(label_selector="parity")] == names
    pages = maps.pages(page_size=10)
    first = next(pages)
    maps.create(config_map("m99"))
    rest = list(pages)
    assert [len(p) for p in (first, *rest)] == [10, 10, 5]
    assert {p.resource_version for p in (first, *rest)} == {whole.resource_version}
    pages = maps.pages(page_size=10)
    next(pages)
    maps.delete("m99")
    server.compact()
    with pytest.raises(Expired) as e:
        next(pages)
    assert e.value.continue_token


def test_delete_collection(maps: ResourceClient) -> None:
    for i in range(4):
        maps.create(config_map(f"m{i}", {"n": str(i)}))
    maps.delete_collection(label_selector="n in (0,1)")
    assert [m.name for m in maps.list()] == ["m2", "m3"]
    maps.delete_collection()
    assert len(maps.list()) == 0


def test_a_finalizer_keeps_a_deleted_object(maps: ResourceClient) -> None:
    held = config_map("a")
    held["metadata"]["finalizers"] = ["test.io/hold"]
    maps.create(held)
    remaining = maps.delete("a")
    assert remaining is not None
    assert remaining.deletion_timestamp is not None
    maps.patch("a", {"metadata": {"finalizers": None}})
    with pytest.raises(NotFound):
        maps.get("a")


def test_a_watch_sees_every_change_in_order(maps: ResourceClient) -> None:
    start = maps.list().resource_version
    with maps.watch(resource_version=start) as watch:
        maps.create(config_map("a", x="1"))
        maps.patch("a", {"data": {"x": "2"}})
        maps.delete("a")
        seen = [next(watch) for _ in range(3)]
    assert [e.type for e in seen] == ["ADDED", "MODIFIED", "DELETED"]
    assert [e.object["data"]["x"] for e in seen] == ["1", "2", "2"]
    versions = [int(e.object.resource_version) for e in seen]
    assert versions == sorted(set(versions))
    with maps.watch(resource_version=seen[0].object.resource_version) as resumed:
        assert [next(resumed).type for _ in range(2)] == ["MODIFIED", "DELETED"]


def test_a_watch_that_selects_sees_objects_come_and_go(maps: ResourceClient) -> None:
    with maps.watch(resource_version=maps.list().resource_version, label_selector="on") as watch:
        maps.create(config_map("a"))
        maps.patch("a", {"metadata": {"labels": {"on": "1"}}})
        maps.patch("a", {"metadata": {"labels": {"on": None}}})
        assert [next(watch).type for _ in range(2)] == ["ADDED", "DELETED"]


def test_a_watch_from_too_long_ago_is_expired(maps: ResourceClient, server: FakeAPIServer) -> None:
    first = maps.create(config_map("a")).resource_version
    maps.patch("a", {"data": {"x": "1"}})
    server.compact()
    with pytest.raises(Expired):
        next(maps.watch(resource_version=first))


def test_a_watch_ends_when_the_server_was_asked_to_end_it(maps: ResourceClient) -> None:
    events = list(maps.watch(resource_version=maps.list().resource_version, server_timeout=1))
    assert {e.type for e in events} <= {"BOOKMARK"}


def test_bookmarks() -> None:
    with FakeAPIServer(bookmark_interval=0.1) as server, server.client() as client:
        maps = client.resource(CONFIGMAPS, "default")
        with maps.watch(resource_version=maps.list().resource_version, idle_timeout=10) as watch:
            mark = next(watch)
    assert mark.type == "BOOKMARK"
    assert mark.object.kind == "ConfigMap"
    assert mark.object.resource_version


def test_a_streaming_list_ends_with_its_bookmark(maps: ResourceClient) -> None:
    maps.create(config_map("a"))
    with maps.watch(send_initial_events=True, resource_version_match="NotOlderThan", idle_timeout=10) as watch:
        first, second = next(watch), next(watch)
    assert (first.type, first.object.name) == ("ADDED", "a")
    assert second.type == "BOOKMARK"
    assert second.object.annotations == {"k8s.io/initial-events-end": "true"}


def test_generated_names_and_cluster_scope(client: Client) -> None:
    maps = client.resource(CONFIGMAPS, "default")
    made = maps.create({"metadata": {"generateName": "x-"}})
    assert made.name.startswith("x-")
    namespace = client.resource(NAMESPACES).create({"metadata": {"name": "shop"}})
    assert (namespace.namespace, namespace.key, namespace.name) == ("", "shop", "shop")


def test_discovery_of_the_server(client: Client) -> None:
    assert client.discovery.gvr_for("apps/v1", "StatefulSet") == STATEFULSETS
    assert found(client, "sts").gvr == STATEFULSETS
    assert found(client, "po").gvr == PODS
    assert not found(client, "ns").namespaced
    assert client.discovery.has(PODS)
    assert not client.discovery.has(GVR("example.com", "v1", "widgets"))


def test_concurrent_updates_lose_nothing(client: Client) -> None:
    maps = client.resource(CONFIGMAPS, "default")
    maps.create(config_map("a", n="0"))
    conflicts = threading.Semaphore(0)

    def increment(_: int) -> None:
        while True:
            current = maps.get("a").to_dict()
            current["data"]["n"] = str(int(current["data"]["n"]) + 1)
            try:
                maps.update(current)
            except Conflict:
                conflicts.release()
                continue
            return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(increment, range(40)))
    assert maps.get("a")["data"]["n"] == "40"


def test_by_the_kubeconfig_the_server_writes(server: FakeAPIServer, tmp_path: Path) -> None:
    path = server.kubeconfig(tmp_path / "config", namespace="shop")
    with load_client(str(path)) as client:
        assert client.namespace == "shop"
        assert isinstance(client.resource(NAMESPACES).get("default"), Unstructured)


def test_a_broken_connection_under_a_watch_is_an_error(maps: ResourceClient, server: FakeAPIServer) -> None:
    with maps.watch(resource_version=maps.list().resource_version) as watch:
        server.close_connections()
        with pytest.raises(ConnectionFailed):
            next(watch)
    assert maps.list() is not None


def test_a_write_whose_answer_is_lost_took_effect_and_is_not_sent_twice(maps: ResourceClient, server: Any) -> None:
    lost = server.faults.add(verb="create", drop="after", times=1)
    with pytest.raises(ConnectionFailed) as e:
        maps.create(config_map("a"))
    assert e.value.ambiguous
    assert lost.hits == 1
    assert maps.get("a").name == "a"
    with pytest.raises(AlreadyExists):
        maps.create(config_map("a"))


def test_a_write_that_timed_out_may_have_taken_effect(maps: ResourceClient, server: Any) -> None:
    server.faults.add(verb="create", delay=0.5, times=1)
    with pytest.raises(RequestTimeout) as e:
        maps.create(config_map("a"), timeout=0.1)
    assert e.value.ambiguous
    with maps.watch(resource_version="0", idle_timeout=10) as watch:
        # The bookmark that ends the initial events may come first.
        assert next(event for event in watch if event.type == "ADDED").object.name == "a"


def test_reads_and_refused_writes_survive_bad_moments(maps: ResourceClient, server: Any) -> None:
    maps.create(config_map("a"))
    faults = [
        server.faults.add(verb="get", drop="before", times=1),
        server.faults.add(verb="list", drop="after", times=1),
        server.faults.add(verb="update", status=429, reason="TooManyRequests", retry_after=0, times=2),
        server.faults.add(verb="delete", status=503, reason="ServiceUnavailable", retry_after=0, times=1),
    ]
    current = maps.get("a")
    assert len(maps.list()) == 1
    assert maps.update({**current.to_dict(), "data": {"x": "1"}})["data"] == {"x": "1"}
    maps.delete("a")
    assert [fault.hits for fault in faults] == [1, 1, 2, 1]
