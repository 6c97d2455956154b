"""Transforms, projections and the quarantine (R21, R37), and what a cached object costs."""

from __future__ import annotations

import gc
import sys
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.client import Client, Unstructured
from runtime.informer import SharedIndexInformer, SharedInformerFactory, projection
from runtime.testing import FakeAPIServer, FakeClock
from tests.runtime.informer.informer_support import (
    CONFIGMAPS,
    Handler,
    Recorder,
    Script,
    added,
    bookmark,
    deleted,
    error_event,
    listing,
    modified,
    obj,
    synced,
    until,
    watching,
)

Make = Callable[..., SharedIndexInformer]


class Transform:
    """Adds a field, counts its calls, and fails on the names in ``bad``."""

    def __init__(self, *bad: str) -> None:
        self.bad = set(bad)
        self.calls: list[tuple[str, str]] = []

    def __call__(self, o: dict[str, Any]) -> dict[str, Any]:
        name = o["metadata"]["name"]
        self.calls.append((name, o["metadata"]["resourceVersion"]))
        if name in self.bad:
            raise ArithmeticError(f"cannot digest {name}")
        o["transformed"] = True
        o.pop("junk", None)
        return o


@pytest.mark.parametrize("watch_list", [True, False])
def test_the_transform_sees_each_object_once_and_everybody_its_result(
    script: Script, scripted: Make, watch_list: bool
) -> None:
    transform = Transform()
    objects = [obj("a", 1, junk="x" * 100), obj("b", 2)]
    live = [modified(obj("a", 11)), deleted(obj("b", 12))]
    script.lists.append(listing(10, *objects))
    script.watches.append(
        watching(*map(added, objects), bookmark(10, end="true"), *live) if watch_list else watching(*live)
    )
    seen: list[Unstructured] = []
    informer = scripted(start=False, transform=transform, watch_list=watch_list)

    class Watcher(Recorder):
        def on_add(self, obj: Unstructured, is_in_initial_list: bool, /) -> None:
            seen.append(obj)

        def on_update(self, old: Unstructured, new: Unstructured, /) -> None:
            seen.extend((old, new))

        def on_delete(self, obj: Any, /) -> None:
            seen.append(obj)

    informer.add_event_handler(Watcher())
    informer.add_indexers({"junk": lambda o: ["yes"] if "junk" in o else []})
    informer.start()
    until(lambda: len(seen) == 5)
    assert all(o["transformed"] for o in seen)
    assert all(o["transformed"] for o in informer.indexer.list())
    assert informer.indexer.list_index_func_values("junk") == []
    assert transform.calls == [("a", "1"), ("b", "2"), ("a", "11"), ("b", "12")]
    informer.stop()
    informer.join()


def test_a_relist_does_not_transform_what_has_not_changed(script: Script, scripted: Make) -> None:
    transform = Transform()
    script.lists += [listing(10, obj("a", 1)), listing(20, obj("a", 1), obj("b", 15))]
    script.watches.append(watching(error_event(410, "Expired")))
    informer = synced(scripted(transform=transform))
    until(lambda: "ns/b" in informer.indexer)
    assert transform.calls == [("a", "1"), ("b", "15")]


def test_an_object_the_transform_fails_on_is_shown_and_tried_again(
    script: Script, scripted: Make, recorder: Recorder
) -> None:
    clock, transform = FakeClock(), Transform("b")
    script.lists.append(listing(10, obj("a", 1), obj("b", 2)))
    informer = synced(scripted(recorder, transform=transform, clock=clock, idle_timeout=None))
    until(lambda: recorder.calls)
    assert informer.indexer.list_keys() == ["ns/a"]
    assert informer.sync_state.quarantined == {"ns/b": "ArithmeticError: cannot digest b"}
    assert "cannot digest b" in (informer.sync_state.last_error or "")
    assert informer.last_sync_resource_version == "10"

    script.lists += [listing(11, obj("b", 2)), listing(11, obj("b", 2))]  # what a fetch is answered
    clock.wait_for_waiters(1, timed=True)
    clock.advance(1)
    until(lambda: transform.calls.count(("b", "2")) == 2)
    assert script.asked_lists[-1].query == {"fieldSelector": "metadata.name=b,metadata.namespace=ns"}
    transform.bad.clear()
    clock.wait_for_waiters(1, timed=True)
    clock.advance(1.9)
    assert len(script.asked_lists) == 2
    clock.advance(0.1)  # twice as long as the first time
    until(lambda: len(recorder.calls) == 2)
    assert recorder.calls == [("add", "a", "1", True), ("add", "b", "2", False)]
    assert informer.sync_state.quarantined == {}
    assert informer.indexer.resource_version == "10"  # an old object that comes late moves nothing


def test_while_quarantined_the_last_good_version_stays_and_a_better_one_replaces_it(
    script: Script, scripted: Make, recorder: Recorder
) -> None:
    transform = Transform()
    script.lists.append(listing(10, obj("a", 1), obj("b", 2), obj("c", 3)))
    informer = scripted(recorder, start=False, transform=transform)

    def fail_on_three(o: dict[str, Any]) -> dict[str, Any]:
        if o["metadata"]["resourceVersion"] in ("11", "12", "13", "15"):
            raise ArithmeticError("bad version")
        return o

    informer.set_transform(fail_on_three)
    script.watches.append(
        watching(modified(obj("a", 11)), modified(obj("b", 12)), modified(obj("c", 13)), bookmark(13), then="end")
    )
    script.watches.append(watching(modified(obj("a", 14)), deleted(obj("b", 15)), bookmark(16)))
    informer.start()
    assert informer.wait_until("16", 15)
    until(lambda: len(recorder.calls) == 5)
    assert recorder.calls[3:] == [("update", "a", "1", "14"), ("lost", "b", "2")]
    cached = {o.name: o.resource_version for o in informer.indexer.list()}
    assert cached == {"a": "14", "c": "3"}
    assert list(informer.sync_state.quarantined) == ["ns/c"]
    informer.stop()
    informer.join()


def test_a_relist_forgets_quarantined_objects_that_are_gone(script: Script, scripted: Make) -> None:
    script.lists += [listing(10, obj("a", 1), obj("b", 2)), listing(20, obj("b", 2))]
    script.watches.append(watching(error_event(410, "Expired")))
    informer = synced(scripted(transform=Transform("a", "b")))
    until(lambda: informer.sync_state.relists == 1)
    assert list(informer.sync_state.quarantined) == ["ns/b"]


def test_an_object_without_a_name_is_quarantined_and_the_others_come(script: Script, scripted: Make) -> None:
    nameless = {"kind": "Widget", "metadata": {"uid": "u7", "resourceVersion": "5"}}
    script.lists.append(listing(10, obj("a", 1), nameless))
    script.watches.append(watching(added(nameless | {"metadata": {"uid": "u8", "resourceVersion": "11"}}),
                                   added(obj("b", 12))))  # fmt: skip
    informer = synced(scripted())
    until(lambda: "ns/b" in informer.indexer)
    assert sorted(informer.sync_state.quarantined) == ["uid:u7", "uid:u8"]
    assert informer.last_sync_resource_version == "12"


@pytest.mark.parametrize("watch_list", [True, False])
def test_the_deletion_of_an_object_without_a_name_releases_it(script: Script, scripted: Make, watch_list: bool) -> None:
    nameless = {"kind": "Widget", "metadata": {"uid": "u7", "resourceVersion": "5"}}
    gone = deleted(nameless | {"metadata": {"uid": "u7", "resourceVersion": "11"}})
    script.lists.append(listing(10, nameless))
    script.watches.append(
        watching(added(nameless), gone, bookmark(12, end="true")) if watch_list else watching(gone, bookmark(12))
    )
    informer = scripted(watch_list=watch_list)
    assert informer.wait_until("12", 15)
    assert informer.sync_state.quarantined == {}


def test_an_object_an_index_function_fails_on_is_quarantined(script: Script, scripted: Make) -> None:
    script.lists.append(listing(10, obj("a", 1, n=1), obj("b", 2)))
    script.watches.append(watching(modified(obj("a", 11)), bookmark(12)))
    informer = scripted(start=False)
    informer.add_indexers({"n": lambda o: [str(o["n"])]})
    informer.start()
    assert informer.wait_until("12", 15)
    assert sorted(informer.sync_state.quarantined) == ["ns/a", "ns/b"]
    assert "index 'n' failed on ns/b" in informer.sync_state.quarantined["ns/b"]
    assert [o.resource_version for o in informer.indexer.by_index("n", "1")] == ["1"]
    informer.stop()
    informer.join()


def test_a_transform_need_not_keep_the_identity_and_may_not_change_it(script: Script, scripted: Make) -> None:
    def careless(o: dict[str, Any]) -> Any:
        match o["metadata"]["name"]:
            case "drops":
                return {"spec": o["spec"], "metadata": {"name": "drops"}}
            case "renames":
                o["metadata"]["name"] = "other"
                return o
            case "uid" | "resourceVersion" | "namespace" as field:
                o["metadata"][field] = "7"
                return o
        return None

    fields = ("uid", "resourceVersion", "namespace")
    others = [obj(name, 4) for name in fields]
    script.lists.append(listing(10, obj("drops", 1, spec=7), obj("renames", 2), obj("forgets", 3), *others))
    informer = synced(scripted(transform=careless))
    kept = informer.indexer.get("ns/drops")
    assert kept is not None
    assert (kept.uid, kept.resource_version, kept["spec"]) == ("uid-drops", "1", 7)
    assert informer.indexer.list_keys() == ["ns/drops"]
    for name in fields:
        assert "changed the identity" in informer.sync_state.quarantined[f"ns/{name}"]
    assert "changed the identity to ns/other" in informer.sync_state.quarantined["ns/renames"]
    assert "returned NoneType" in informer.sync_state.quarantined["ns/forgets"]


def test_a_projection_keeps_the_identity_and_the_named_fields() -> None:
    keep = projection(["spec.replicas", "status.conditions.type", "metadata.annotations", ("data", "a.b")])
    given = obj(
        "a",
        1,
        metadata={"labels": {"x": "y"}, "annotations": {"k": "v"}, "managedFields": [{}], "finalizers": ["f"]},
        spec={"replicas": 3, "template": {}},
        status={"conditions": [{"type": "Ready", "status": "True"}, {"type": "Live"}], "phase": "x"},
        data={"a.b": 1, "c": 2},
    )
    assert keep(given) == {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {
            "name": "a",
            "namespace": "ns",
            "uid": "uid-a",
            "resourceVersion": "1",
            "labels": {"x": "y"},
            "annotations": {"k": "v"},
            "finalizers": ["f"],
        },
        "spec": {"replicas": 3},
        "status": {"conditions": [{"type": "Ready"}, {"type": "Live"}]},
        "data": {"a.b": 1},
    }
    assert projection(["spec", "spec.replicas"])(given)["spec"] == given["spec"]
    assert projection(["spec.replicas", "spec"])(given)["spec"] == given["spec"]
    assert projection(["spec.nothing.here"])({"spec": 5}) == {"spec": 5}


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c.d", "metadata"]), inner),
    max_leaves=12,
)


@given(
    st.dictionaries(st.sampled_from(["a", "b", "metadata", "kind"]), _values),
    st.lists(st.lists(st.sampled_from(["a", "b", "c.d", "metadata"]), min_size=1, max_size=4), max_size=4),
)
def test_a_projection_of_json_is_the_json_of_the_projection(body: dict[str, Any], paths: list[list[str]]) -> None:
    keep = projection(paths)
    raw = keep.of_json(orjson.dumps(body))
    assert orjson.loads(raw) == keep(body)
    assert sys.getsizeof(raw) == sys.getsizeof(bytes(bytearray(raw)))


def test_a_projection_alone_is_one_decoding_that_skips_the_rest(script: Script, scripted: Make) -> None:
    """What is not kept is not even looked at; what is kept stays as it was written."""
    script.lists.append(
        listing(10, obj("a", 1, spec={"n": 1.50, "x": [1]}, status={"y": {}}, metadata={"managedFields": [{}]}))
    )
    informer = synced(scripted(projection=["spec.n", "status"]))
    kept = informer.indexer.get("ns/a")
    assert kept is not None
    assert kept.to_dict() == obj("a", 1, spec={"n": 1.5}, status={"y": {}})
    assert informer.sync_state.quarantined == {}


def test_a_factory_projects_after_the_transform(client: Client, api: FakeAPIServer) -> None:
    def double(o: dict[str, Any]) -> dict[str, Any]:
        o["copy"] = o["data"]["keep"] * 2
        return o

    client.resource(CONFIGMAPS, "default").create({"metadata": {"name": "a"}, "data": {"keep": "x", "drop": "y"}})
    with SharedInformerFactory(client, transform=double, projection=["data.keep", "copy"]) as factory:
        informer = factory.informer(CONFIGMAPS)
        factory.start()
        factory.wait_for_cache_sync(15)
        cached = informer.lister.get("default/a")
        assert cached["data"] == {"keep": "x"}
        assert cached["copy"] == "xx"
        assert cached.kind == "ConfigMap"


# Memory


@pytest.mark.parametrize("way", ["list", "watch-list", "watch", "transform"])
def test_the_cache_pins_nothing_but_its_own_bytes(script: Script, scripted: Make, way: str) -> None:
    """The two traps of the design: a slice pins its page, and an encoder's buffer is larger than what it holds."""
    count, size = 300, 2000
    objects = [obj(f"o{i:04}", i + 1, data="x" * size) for i in range(count)]
    padding = obj("padding", count + 1, data="y" * 4_000_000)  # would be pinned with its neighbours
    if way in ("list", "transform"):
        script.lists.append(listing(count + 1, padding, *objects))
        script.watches.append(watching(deleted(padding | {"data": ""}), bookmark(1000)))
    else:
        lines = [added(padding), *map(added, objects)]
        script.lists.append(listing(1))
        if way == "watch":
            script.watches.append(watching(*lines, deleted(padding | {"data": ""}), bookmark(1000)))
        else:
            script.watches.append(
                watching(*lines, bookmark(900, end="true"), deleted(padding | {"data": ""}), bookmark(1000))
            )
    options: dict[str, Any] = {"transform": lambda o: o} if way == "transform" else {}
    informer = scripted(start=False, watch_list=way == "watch-list", **options)
    tracemalloc.start(1)
    try:
        informer.start()
        assert informer.wait_until("1000", 30), informer.sync_state
        assert len(informer.indexer) == count
        payload = sum(len(o.raw) for o in informer.indexer.list())
        # In the end: the thread may still be busy with what told us.
        until(lambda: payload < held_by_the_runtime() < payload + count * 1200 + 200_000)
    finally:
        tracemalloc.stop()
    informer.stop()
    informer.join()


def held_by_the_runtime() -> int:
    gc.collect()
    mine = tracemalloc.take_snapshot().filter_traces(
        [tracemalloc.Filter(True, "*/runtime/*"), tracemalloc.Filter(False, "*/runtime/testing/*")]
    )
    return sum(trace.size for trace in mine.traces)


@pytest.mark.parametrize("inline", [True, False])
def test_events_that_were_delivered_are_not_kept_alive(script: Script, scripted: Make, inline: bool) -> None:
    size = 200_000
    script.lists.append(listing(10, obj("a", 1)))
    script.watches.append(watching(*[modified(obj("a", v, data="x" * size)) for v in range(11, 41)], bookmark(300)))
    informer = scripted(start=False)
    informer.add_event_handler(Recorder(), inline=inline)
    tracemalloc.start(1)
    try:
        informer.start()
        assert informer.wait_until("300", 15)
        # The last version, and what the socket is read into; thirty times as much went through.
        until(lambda: size < held_by_the_runtime() < 3 * size)
    finally:
        tracemalloc.stop()
    informer.stop()
    informer.join()


def test_an_object_that_recovers_while_its_list_still_arrives_is_not_lost(
    script: Script, scripted: Make, recorder: Recorder
) -> None:
    """The retry must not bring it into a cache which the end of the list then clears of it."""
    clock, transform, rest_may_come = FakeClock(), Transform("a"), threading.Event()
    second_page = listing(10, obj("b", 2))

    def held(handler: Handler) -> None:
        rest_may_come.wait(15)
        second_page(handler)

    script.lists += [listing(10, obj("a", 1), more="t1"), held, listing(10, obj("a", 1))]
    informer = scripted(recorder, transform=transform, clock=clock, idle_timeout=None)
    until(lambda: transform.calls == [("a", "1")])
    transform.bad.clear()
    clock.advance(5)  # were it tried again already, it would be now
    rest_may_come.set()
    synced(informer)
    clock.wait_for_waiters(1, timed=True)
    clock.advance(5)
    until(lambda: len(recorder.calls) == 2)
    assert sorted(informer.indexer.list_keys()) == ["ns/a", "ns/b"]
    assert informer.sync_state.quarantined == {}


@pytest.mark.parametrize(
    "burst",
    [
        pytest.param([modified(obj("a", 11)), modified(obj("a", 12, bad=True))], id="a good version before it"),
        pytest.param([deleted(obj("a", 11)), added(obj("a", 12, uid="new", bad=True))], id="a deletion before it"),
    ],
)
def test_what_fails_last_in_a_burst_stays_in_quarantine(script: Script, scripted: Make, burst: list[bytes]) -> None:
    def transform(o: dict[str, Any]) -> dict[str, Any]:
        if o.get("bad"):
            raise ArithmeticError("bad version")
        return o

    script.lists.append(listing(10, obj("a", 1)))
    # One chunk, so that they are one batch.
    script.watches.append(watching(b"".join([*burst, bookmark(13)])))
    informer = scripted(transform=transform)
    assert informer.wait_until("13", 15)
    assert informer.sync_state.quarantined == {"ns/a": "ArithmeticError: bad version"}


def test_an_object_in_quarantine_is_no_failure_of_the_connection(
    script: Script, scripted: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    script.lists.append(listing(10, obj("a", 1)))
    script.watches += [watching(bookmark(11), then="end"), watching(bookmark(12))]
    informer = scripted(transform=Transform("a"))
    assert informer.wait_until("12", 15)
    assert "ArithmeticError" in (informer.sync_state.last_error or "")
    assert "watching again" not in caplog.text


def test_a_transform_that_exits_ends_no_thread(script: Script, scripted: Make) -> None:
    def transform(o: dict[str, Any]) -> dict[str, Any]:
        if o["metadata"]["name"] == "a":
            raise SystemExit(1)
        return o

    script.lists.append(listing(10, obj("a", 1), obj("b", 2)))

    def index(o: Unstructured) -> list[str]:
        raise SystemExit(2)

    script.watches.append(watching(added(obj("c", 11)), bookmark(12)))
    informer = scripted(start=False, transform=transform)
    informer.add_indexers({"of-c": lambda o: index(o) if o.name == "c" else []})
    informer.start()
    assert informer.wait_until("12", 15)
    assert informer.indexer.list_keys() == ["ns/b"]
    assert sorted(informer.sync_state.quarantined) == ["ns/a", "ns/c"]
    informer.stop()
    informer.join()
