"""One object: immutable, lenient with what servers send, and small."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import sys
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.client import OwnerReference, Unstructured, decode_line, exact, parse_time

OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "u2", "controller": True}
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "web-0",
        "namespace": "shop",
        "uid": "u1",
        "resourceVersion": "12",
        "generation": 3,
        "labels": {"app": "web"},
        "annotations": {"note": "x"},
        "finalizers": ["a/b"],
        "ownerReferences": [OWNER],
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "deletionTimestamp": "2026-01-02T03:04:05.123456+02:00",
    },
    "spec": {"containers": [{"name": "c", "image": "i"}]},
    "status": {},
}


def test_the_header() -> None:
    pod = Unstructured(POD)
    assert (pod.kind, pod.api_version, pod.name, pod.namespace, pod.key) == ("Pod", "v1", "web-0", "shop", "shop/web-0")
    assert (pod.uid, pod.resource_version, pod.generation) == ("u1", "12", 3)
    assert (pod.labels, pod.annotations, pod.finalizers) == ({"app": "web"}, {"note": "x"}, ["a/b"])
    assert pod.creation_timestamp == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert pod.deletion_timestamp is not None
    assert pod.deletion_timestamp.utcoffset() == timedelta(hours=2)
    assert repr(pod) == "<Pod shop/web-0>"
    (owner,) = pod.owner_references
    assert (owner.name, owner.uid, owner.api_version, owner.controller) == ("rs", "u2", "apps/v1", True)
    assert (owner["apiVersion"], owner.get("blockOwnerDeletion"), dict(owner)) == ("apps/v1", None, OWNER)
    assert owner == OWNER == owner.to_dict()
    assert pod.controller_owner == owner
    assert hash(owner) == hash(OwnerReference(name="rs", uid="u2", kind="ReplicaSet"))


def test_what_is_absent_is_empty() -> None:
    for obj in (Unstructured({}), Unstructured({"metadata": None}), Unstructured({"metadata": {"labels": None}})):
        assert (obj.kind, obj.api_version, obj.name, obj.namespace, obj.key, obj.uid) == ("",) * 6
        assert (obj.resource_version, obj.generation, obj.labels, obj.annotations) == ("", 0, {}, {})
        assert (obj.finalizers, obj.owner_references, obj.controller_owner) == ([], (), None)
        assert (obj.creation_timestamp, obj.deletion_timestamp) == (None, None)
        assert obj.get("spec") is None
        assert obj.get("spec", 5) == 5
        assert "spec" not in obj
        with pytest.raises(KeyError, match="no field 'spec'"):
            obj["spec"]


def test_the_body() -> None:
    pod = Unstructured(POD)
    assert pod["spec"] == POD["spec"]
    assert pod.get("status") == {}
    assert "spec" in pod
    assert list(pod) == list(POD) == pod.keys()
    assert pod.to_dict() == POD == dict(pod)
    assert orjson.loads(pod.raw) == POD


def test_nothing_a_reader_does_changes_the_object() -> None:
    source = copy.deepcopy(POD)
    pod = Unstructured(source)
    source["spec"]["containers"].clear()
    for read in (
        lambda: pod["spec"]["containers"],
        lambda: pod.get("spec")["containers"],
        lambda: pod.to_dict()["spec"]["containers"],
        lambda: pod.labels,
        lambda: pod.annotations,
        lambda: pod.finalizers,
        lambda: pod["metadata"]["labels"],
    ):
        value = read()
        assert value
        value.clear()
        assert read()
    assert pod.to_dict() == POD
    empty = Unstructured({})
    empty.labels["x"] = "y"
    assert Unstructured({}).labels == {}


@pytest.mark.parametrize("name", ["name", "labels", "raw", "spec", "anything"])
def test_it_has_nothing_to_assign_to(name: Any) -> None:
    pod = Unstructured(POD)
    with pytest.raises(AttributeError):
        setattr(pod, name, "x")
    with pytest.raises(TypeError):
        pod["spec"] = {}  # type: ignore[index]
    with pytest.raises(AttributeError):
        pod.owner_references[0].name = "x"  # type: ignore[misc]


def test_equality_is_that_of_the_documents() -> None:
    again = Unstructured(dict(reversed(POD.items())))
    pod = Unstructured(POD)
    assert pod == again
    assert hash(pod) == hash(again)
    assert pod != Unstructured({**POD, "status": {"x": 1}})
    assert pod != Unstructured({**POD, "metadata": {**POD["metadata"], "resourceVersion": "13"}})
    assert pod != POD
    assert len({pod, again}) == 1


def test_copies_are_the_object_and_pickles_are_equal() -> None:
    pod = Unstructured(POD)
    assert copy.copy(pod) is pod
    assert copy.deepcopy(pod) is pod
    assert pickle.loads(pickle.dumps(pod)) == pod
    assert Unstructured(pod) == pod


@pytest.mark.parametrize("raw", [b"", b"{", b"5", b"null", b"[]", b'"x"', b'{"a":}', b"\xff", b"{} x"])
def test_what_is_no_json_object_is_refused(raw: Any) -> None:
    with pytest.raises(ValueError, match="not a JSON object"):
        Unstructured.from_bytes(raw)


@pytest.mark.parametrize("before", [b'{"spec":', b'{"metadata":{"labels":', b'{"metadata":{"name":'])
def test_what_is_nested_without_end_is_refused(before: bytes) -> None:
    with pytest.raises(ValueError, match="nested too deep"):
        Unstructured.from_bytes(before + b"[" * 1_000_000)


@pytest.mark.parametrize("value", [None, 5, "text", [], object()])
def test_only_mappings_make_one(value: Any) -> None:
    with pytest.raises(TypeError):
        Unstructured(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
METADATA = (
    "name", "namespace", "uid", "resourceVersion", "generation", "labels", "annotations", "finalizers",
    "ownerReferences", "creationTimestamp", "deletionTimestamp",
)  # fmt: skip
odd_metadata = st.dictionaries(st.sampled_from(METADATA), json_values, max_size=4)
odd_objects = st.dictionaries(st.sampled_from(["kind", "apiVersion", "metadata", "spec"]), json_values, max_size=3)
LABELS_OF_ODD_TYPES = [({"a": 1, "b": None, "c": True, "d": "x"}, {"a": "1", "b": "", "c": "true", "d": "x"})]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(odd_objects, odd_metadata | st.none())
def test_no_type_the_server_sends_is_refused(obj: Any, metadata: Any) -> None:
    if metadata is not None:
        obj = {**obj, "metadata": metadata}
    one = Unstructured(obj)
    assert one.to_dict() == obj
    for text in (one.kind, one.api_version, one.name, one.namespace, one.uid, one.resource_version, repr(one)):
        assert isinstance(text, str)
    assert isinstance(one.generation, int)
    for mapping in (one.labels, one.annotations):
        assert {type(text) for item in mapping.items() for text in item} <= {str}
    assert all(isinstance(f, str) for f in one.finalizers)
    assert all(isinstance(r, OwnerReference) for r in one.owner_references)
    for time in (one.creation_timestamp, one.deletion_timestamp):
        assert time is None or time.tzinfo is not None
    assert hash(one) == hash(Unstructured(obj))


@pytest.mark.parametrize(("sent", "shown"), LABELS_OF_ODD_TYPES)
def test_odd_label_values_are_shown_as_text_and_the_rest_is_kept(sent: Any, shown: Any) -> None:
    obj = Unstructured({"kind": "Pod", "metadata": {"name": "a", "labels": sent, "annotations": sent, "uid": "u"}})
    assert obj.labels == obj.annotations == shown
    assert (obj.name, obj.uid) == ("a", "u")


@pytest.mark.parametrize(
    ("text", "time"),
    [
        (None, None), ("", None), ("soon", None), ("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.000006Z", datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456789Z", datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_times(text: str, time: Any) -> None:
    assert parse_time(text) == time


def test_lines_of_a_watch() -> None:
    line = decode_line(b'{"type":"ADDED","object":{"metadata":{"name":"a"}}}')
    assert (line.type, Unstructured.from_bytes(line.object).name) == ("ADDED", "a")
    for bad in (b"", b"{}", b'{"type":5,"object":{}}', b'{"type":"ADDED"', b"<html>"):
        with pytest.raises(ValueError, match="not a watch event"):
            decode_line(bad)


def test_cached_objects_own_exactly_their_bytes() -> None:
    body = orjson.dumps({"items": [{**POD, "metadata": {**POD["metadata"], "uid": str(i)}} for i in range(50)]})
    items = msgspec.json.decode(body, type=dict[str, list[msgspec.Raw]])["items"]
    objects = [Unstructured.from_list_item(i, "Pod", "v1") for i in items] + [Unstructured(POD)]
    overhead = sys.getsizeof(b"")
    for obj in objects:
        assert type(obj.raw) is bytes
        assert sys.getsizeof(obj.raw) == overhead + len(obj.raw)
    before = sys.getrefcount(body)
    del items
    gc.collect()
    assert sys.getrefcount(body) < before, "an object pins the answer it came in"
    assert exact(body) == body


def like(i: int) -> bytes:
    """Every one as large as a custom resource, with labels and owners that differ from the others'."""
    owner = {**OWNER, "uid": f"{i:036}"}
    more = {
        "name": f"web-{i:06}",
        "uid": f"{i:036}",
        "ownerReferences": [owner],
        "labels": {f"l{j}": f"{i}" for j in range(5)},
    }
    return exact(orjson.dumps({**POD, "metadata": {**POD["metadata"], **more}, "data": "x" * 800}))


def test_memory_of_an_object_is_its_bytes_and_little_else() -> None:
    count = 2000
    tracemalloc.start()
    try:
        objects = [Unstructured.from_bytes(like(i)) for i in range(count)]
        size = tracemalloc.get_traced_memory()[0] / count
    finally:
        tracemalloc.stop()
    assert {(o.key, o.namespace, o.kind) for o in objects} >= {("shop/web-000000", "shop", "Pod")}
    assert size - len(objects[0].raw) < 650  # its key, name, uid and version among it
    assert not hasattr(objects[0], "__dict__")


def test_objects_are_nothing_the_garbage_collector_knows() -> None:
    raws = [like(i) for i in range(2000)]
    objects: list[Unstructured] = []
    gc.collect()
    before = len(gc.get_objects())
    objects.extend(map(Unstructured.from_bytes, raws))
    assert len({obj.labels["l0"] for obj in objects}) == 2000  # read: what is read is not kept either
    assert {obj.owner_references[0].name for obj in objects} == {"rs"}
    assert objects[0].to_dict()["kind"] == "Pod"
    gc.collect()
    assert len(gc.get_objects()) - before < 50


def test_what_thousands_of_objects_share_is_there_once() -> None:
    one, other = Unstructured.from_bytes(like(1)), Unstructured.from_bytes(like(2))
    assert one.namespace is other.namespace
    assert one.kind is other.kind
    assert one.api_version is other.api_version
    assert one.key is one.key


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(odd_objects, odd_metadata | st.none(), st.sampled_from([(",", ":"), (" , ", " : ")]))
def test_every_field_is_what_json_says(obj: Any, metadata: Any, separators: Any) -> None:
    if metadata is not None:
        obj = {**obj, "metadata": metadata}
    raw = json.dumps(obj, separators=separators).encode()
    one = Unstructured.from_bytes(raw)
    model = json.loads(raw)
    said = model.get("metadata")
    said = said if isinstance(said, dict) else {}

    def text(of: Any, name: str) -> str:
        return of[name] if isinstance(of.get(name), str) else ""

    assert one.raw == raw
    assert one.to_dict() == model == dict(one)
    assert (one.kind, one.api_version) == (text(model, "kind"), text(model, "apiVersion"))
    assert (one.name, one.namespace) == (text(said, "name"), text(said, "namespace"))
    assert (one.uid, one.resource_version) == (text(said, "uid"), text(said, "resourceVersion"))
    assert one.key == (f"{one.namespace}/{one.name}" if one.namespace else one.name)
    generation = said.get("generation")
    assert one.generation == (generation if type(generation) is int else 0)
    for name, shown in (("labels", one.labels), ("annotations", one.annotations)):
        if isinstance(said.get(name), dict):
            assert {k: v for k, v in said[name].items() if isinstance(v, str)}.items() <= shown.items()
            assert shown.keys() == said[name].keys()
        else:
            assert shown == {}
    owners = said.get("ownerReferences")
    owners = [o for o in owners if isinstance(o, dict)] if isinstance(owners, list) else []
    assert [o.name for o in one.owner_references] == [text(o, "name") for o in owners]
    for field in ("kind", "metadata", "spec", "status", "elsewhere"):
        assert one.get(field, "none") == model.get(field, "none")
        assert (field in one) == (field in model)


@pytest.mark.parametrize(
    ("item", "shown"),
    [
        ({"metadata": {"name": "a"}, "spec": {}}, ("Pod", "v1")),
        ({"spec": {}, "metadata": {"name": "a"}}, ("Pod", "v1")),
        ({}, ("Pod", "v1")),
        ({"metadata": {"name": "a"}, "kind": "Pod", "apiVersion": "v1"}, ("Pod", "v1")),
        ({"metadata": {"name": "a"}, "kind": "Job", "apiVersion": "batch/v1"}, ("Job", "batch/v1")),
        ({"metadata": {"name": "a"}, "kind": "Job"}, ("Job", "")),
        ({"apiVersion": "batch/v1", "metadata": {"name": "a"}}, ("", "batch/v1")),
        ({"metadata": {"name": "a"}, "apiVersion": "batch/v1"}, ("", "batch/v1")),
        ({"kind": "Job", "apiVersion": "batch/v1", "metadata": {"name": "a"}}, ("Job", "batch/v1")),
    ],
)
def test_an_item_of_a_list_gets_the_kind_it_does_not_say(item: Any, shown: Any) -> None:
    for blank in (b"", b" "):
        (raw,) = msgspec.json.decode(b"[" + blank + orjson.dumps(item) + blank + b"]", type=list[msgspec.Raw])
        obj = Unstructured.from_list_item(raw, "Pod", "v1")
        assert (obj.kind, obj.api_version, obj.name) == (*shown, item.get("metadata", {}).get("name", ""))
        assert {k: v for k, v in obj.to_dict().items() if k not in ("kind", "apiVersion")} == {
            k: v for k, v in item.items() if k not in ("kind", "apiVersion")
        }
        assert obj.raw.count(b'"spec"') <= 1


@pytest.mark.parametrize(
    "raw",
    [b'{"data":{"password":"c2VjcmV0"}', b' [{"data":"c2VjcmV0"', b"[" * 100_000 + b"c2VjcmV0"],
    ids=["cut", "list", "deep"],
)
def test_what_may_be_a_secret_is_not_quoted(raw: bytes) -> None:
    for read in (Unstructured.from_bytes, decode_line):
        with pytest.raises(ValueError, match=f"{len(raw)} bytes that begin as JSON") as caught:
            read(raw)
        assert "c2VjcmV0" not in str(caught.value)


def test_what_is_no_json_is_quoted() -> None:
    with pytest.raises(ValueError, match="<html>the proxy at x"):
        Unstructured.from_bytes(b"<html>the proxy at x is tired")
