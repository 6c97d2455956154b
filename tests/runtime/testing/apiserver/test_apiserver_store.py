"""The store by itself: what keeps two writers from losing each other's work."""

from __future__ import annotations

import copy
import tracemalloc
import uuid

import orjson
import pytest

from runtime.testing import FakeClock
from runtime.testing.apiserver import FakeAPIServer, StatusError
from runtime.testing.apiserver.log import Stored
from runtime.testing.apiserver.store import Changed, Store
from runtime.types import GVR
from tests.runtime.testing.apiserver.apiserver_helpers import WIDGET_CRD, widget


def test_a_write_from_a_state_that_is_gone_is_refused() -> None:
    store, key = Store(), ("", "configmaps")
    first = store.create(key, "ns", "a", {"metadata": {"name": "a", "uid": "u"}})
    store.update(key, first, {"metadata": {"name": "a", "uid": "u"}})
    with pytest.raises(Changed):
        store.update(key, first, {"metadata": {"name": "a", "uid": "u"}})
    with pytest.raises(Changed):
        store.delete(key, first)


def test_what_is_read_is_the_readers_own() -> None:
    given = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "uid": "u", "labels": {"k": "v"}}}
    stored = Store().create(("", "configmaps"), "ns", "a", given)
    given["data"] = {"later": "x"}
    stored.obj["metadata"]["labels"]["k"] = "other"
    stored.metadata["uid"] = "other"
    assert "data" not in stored.obj
    assert (stored.labels, stored.uid, stored.name, stored.namespace) == ({"k": "v"}, "u", "a", "ns")
    assert stored.obj["kind"] == "ConfigMap"
    assert not stored.deleting


@pytest.mark.parametrize(
    ("metadata", "deleting"),
    [
        ({}, False),
        ({"annotations": {"deletionTimestamp": "x"}}, False),
        ({"deletionTimestamp": "2030-01-01T00:00:00Z"}, True),
    ],
)
def test_deleting_is_what_the_metadata_says(metadata: dict[str, object], deleting: bool) -> None:
    assert Stored("ns/a", "ns", "a", 1, {"metadata": {"name": "a", **metadata}}).deleting is deleting


def test_an_object_takes_less_than_twice_its_json() -> None:
    """Its place in the store and in the history included."""
    count, data = 1500, {f"key-{number}": "v" * 80 for number in range(10)}
    with FakeAPIServer() as server:
        server.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "first"}, "data": data})
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for number in range(count):
                obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{number}"}, "data": data}
                server.create(obj)
            taken = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        stored = server.store.get(("", "configmaps"), "default", "c0")
        assert stored is not None
        assert taken < 2 * count * len(orjson.dumps(stored.obj))


def test_time_compacts_at_fixed_ticks() -> None:
    clock = FakeClock()
    store, key = Store(clock=clock, compaction_interval=300), ("", "configmaps")
    clock.advance(250)
    store.advance(10)  # version 11
    clock.advance(100)  # the first tick is past: what was at the start may go
    assert store.oldest(key) == 1
    clock.advance(249)
    store.advance()  # just before the second tick
    assert store.oldest(key) == 1
    clock.advance(1)
    assert store.oldest(key) == 11, "version 12 came after the first tick"
    clock.advance(300)
    assert store.oldest(key) == 12


class TestCreate:
    def test_it_is_what_a_post_would_make(self) -> None:
        given = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}}
        with FakeAPIServer() as server, server.client() as client:
            made = server.create(given, namespace="kube-system")
            assert "uid" not in given["metadata"], "the caller's object stays as it is"
            assert made["metadata"]["namespace"] == "kube-system"
            assert made["spec"]["clusterIP"]
            services = client.resource(GVR("", "v1", "services"), "kube-system")
            assert services.get("a").to_dict() == made

    def test_what_is_wrong_is_refused(self) -> None:
        with FakeAPIServer() as server:
            with pytest.raises(ValueError, match="knows no kind Widget"):
                server.create({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}})
            for metadata, code in (({"name": "A"}, 422), ({}, 422), ({"name": "a", "namespace": "none"}, 404)):
                with pytest.raises(StatusError) as refused:
                    server.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
                assert refused.value.code == code
            with pytest.raises(StatusError):
                server.create({"apiVersion": "v1", "kind": "ConfigMap"})
            server.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})
            with pytest.raises(StatusError, match="already exists"):
                server.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})


def test_an_object_that_its_kind_shows_as_it_is_is_not_kept_twice() -> None:
    crd = copy.deepcopy(WIDGET_CRD)
    gvr, key = GVR("example.com", "v1", "widgets"), ("example.com", "widgets")
    with FakeAPIServer() as server:
        server.create(crd)
        server.create(widget("a", replicas=1))
        stored, kind = server.store.get(key, "default", "a"), server.registry.lookup(gvr)
        assert stored is not None
        assert kind is not None
        assert stored.seen(kind) is stored
        spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        spec["properties"]["size"]["default"] = "small"
        with server.client() as client:
            crds = client.resource(GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions"))
            crds.patch("widgets.example.com", {"spec": crd["spec"]})
        changed = server.registry.lookup(gvr)
        assert changed is not None
        assert changed is not kind
        shown = stored.seen(changed)
        assert shown.obj["spec"] == {"replicas": 1, "size": "small"}
        assert shown.version == stored.version
        assert stored.seen(changed) is shown, "made once, not for each reader"
        assert stored.obj["spec"] == {"replicas": 1}


def test_what_can_be_watched_from_misses_nothing_of_what_came_after() -> None:
    store, key = Store(history=5), ("", "configmaps")
    versions = [store.create(key, "default", f"c{n}", {"metadata": {"name": f"c{n}"}}).version for n in range(23)]
    log, oldest = store.log(key), store.oldest_watch(key)
    assert versions[0] < oldest < versions[-5]
    for version in versions[:-1]:
        told = log.slice(log.since(version), 1)
        assert told
        assert (told[0].version == version + 1) is (version >= oldest)


def test_a_restart_forgets_what_can_be_watched_but_not_what_can_be_listed() -> None:
    store, key = Store(), ("", "configmaps")
    first = store.create(key, "default", "a", {"metadata": {"name": "a"}}).version
    last = store.create(key, "default", "b", {"metadata": {"name": "b"}}).version
    store.restarted()
    assert store.oldest_watch(key) == last
    assert store.oldest(key) <= first
    assert [each.name for each in store.snapshot(key, at=first)[0]] == ["a"]


def test_every_object_has_a_uid_of_its_own_and_the_second_of_its_creation() -> None:
    clock = FakeClock()
    with FakeAPIServer(clock=clock) as server:
        made = []
        for number, seconds in enumerate((0.0, 0.9, 0.1, 59.5)):
            clock.advance(seconds)
            obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{number}"}}
            made.append(server.create(obj)["metadata"])
        server.skew = 3600
        late = server.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}})["metadata"]
    assert [each["creationTimestamp"][11:] for each in (*made, late)] == [
        *("00:00:00Z", "00:00:00Z", "00:00:01Z", "00:01:00Z", "01:01:00Z"),
    ]
    uids = {each["uid"] for each in made}
    assert len(uids) == 4
    for each in uids:
        assert (uuid.UUID(each).version, uuid.UUID(each).variant) == (4, uuid.RFC_4122)
        assert str(uuid.UUID(each)) == each
