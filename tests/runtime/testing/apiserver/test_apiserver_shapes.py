"""Objects that are alike own alike: what is remembered of one new object is right for the next."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from runtime.testing.apiserver import FakeAPIServer
from runtime.testing.apiserver.ownership import Ownership, decode
from runtime.testing.apiserver.shapes import shape_of
from runtime.testing.apiserver.store import clone
from runtime.testing.apiserver.typed import compare, type_of
from runtime.testing.kinds.gotypes import fit
from runtime.types import GVR
from tests.runtime.testing.apiserver.apiserver_helpers import CONFIGMAPS, Http

_NOBODYS = {("f:apiVersion",), ("f:metadata",), ("f:metadata", "f:name")}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"x": {"b": {}}, "b": 1}, {"x": {"b": 1}, "b": {}}),
        ({"x": {"a": 1}, "b": 2}, {"x": {"a": 1, "b": 2}}),
        ({"a": {}}, {"a": 1}),
        ({"a": {}}, {"a": []}),
        ({"a": [1]}, {"a": [2]}),
        ({"a": [{"name": "x"}]}, {"a": [{"name": "y"}]}),
        ({"had": 1}, {"had": 2}),
        ({"had": 1}, {"had": True}),
        ({"below": {"had": "a"}}, {"below": {"had": "b"}}),
        ({"a": 1}, {"b": 1}),
    ],
)
def test_what_may_be_owned_otherwise_is_another_shape(one: dict[str, Any], other: dict[str, Any]) -> None:
    empty = {"had": 1, "below": {"had": "a"}}
    assert shape_of(one, empty) != shape_of(other, empty)
    assert hash(shape_of(one, empty)) is not None


def test_values_alone_are_no_other_shape() -> None:
    empty: dict[str, Any] = {"metadata": {}}
    one = {"metadata": {"name": "a", "labels": {"k": "v"}}, "data": {"n": "1"}, "immutable": True}
    other = {"metadata": {"name": "b", "labels": {"k": "w"}}, "data": {"n": "2"}, "immutable": False}
    assert shape_of(one, empty) == shape_of(other, empty)


def _node(draw: random.Random) -> dict[str, Any]:
    info = {name: draw.choice(["", "x"]) for name in ("architecture", "bootID", "osImage") if draw.random() < 0.7}
    addresses = [{"type": each, "address": draw.choice("ab")} for each in ("Hostname", "InternalIP")]
    status = {"nodeInfo": info, "daemonEndpoints": {"kubeletEndpoint": {"Port": draw.choice([0, 10250])}}}
    spec: dict[str, Any] = {"podCIDR": "10.0.0.0/24"} if draw.random() < 0.5 else {}
    return {"spec": spec, "status": {**status, "addresses": addresses[: draw.randrange(3)]}}


def _deployment(draw: random.Random) -> dict[str, Any]:
    names = draw.sample(["a", "b", "c"], draw.randrange(4))
    ports = [{"containerPort": draw.choice([80, 81]), "protocol": "TCP"}] if draw.random() < 0.5 else []
    template = {"metadata": {}, "spec": {"containers": [{"name": name, "ports": ports} for name in names] or None}}
    strategy = draw.choice([{}, {"type": "Recreate"}])
    labels = {"matchLabels": {draw.choice(["app", "part"]): draw.choice("xy")}}
    selector = draw.choice([None, {}, labels])
    return {"spec": {"replicas": draw.choice([0, 1]), "selector": selector, "strategy": strategy, "template": template}}


@pytest.mark.parametrize(
    ("gvr", "draw"), [(GVR("", "v1", "nodes"), _node), (GVR("apps", "v1", "deployments"), _deployment)]
)
def test_a_new_object_owns_what_it_differs_in(gvr: GVR, draw: Callable[[random.Random], dict[str, Any]]) -> None:
    with FakeAPIServer() as server:
        kind = server.registry.lookup(gvr)
    assert kind is not None
    assert kind.schema is not None
    # One of the same fields, of which nothing is known: everything in it is owned one by one.
    unknown = replace(kind, kind="Unknown", custom=True, schema=None)
    empty: dict[str, Any] = {"metadata": {}}
    fit(kind.schema, empty, kind.kind)
    source = random.Random(7)
    for number in range(300):
        labels = {"labels": {source.choice("kl"): source.choice("vw")}} if source.random() < 0.5 else {}
        drawn = {"apiVersion": gvr.api_version, "metadata": {"name": f"n{number}", **labels}, **draw(source)}
        for each, nothing in ((kind, empty), (unknown, {"metadata": {}})):
            changed = compare(nothing, drawn, type_of(each)).changed - _NOBODYS
            for subresource, parts in (("", ("f:spec", "f:metadata")), ("status", ("f:status",))):
                obj = clone(drawn)
                Ownership("me", subresource).record(each, None, obj, "now")
                managed = decode(obj["metadata"].get("managedFields") or ())
                found = {path for entry in managed.values() for path in entry.paths}
                if subresource:  # which metadata goes with it is another rule
                    found = {path for path in found if path[0] != "f:metadata"}
                assert found == {path for path in changed if path[0] in parts}, orjson.dumps(drawn)
                assert all((manager.name, manager.subresource) == ("me", subresource) for manager in managed)
                assert all(entry.time == "now" for entry in managed.values())


def test_what_large_objects_own_is_not_remembered() -> None:
    """Lists are part of a shape, names are, and an object may have a megabyte of them."""
    with FakeAPIServer() as server:
        kind = server.registry.lookup(GVR("", "v1", "configmaps"))
        assert kind is not None
        gc.collect()
        tracemalloc.start()
        try:
            for number in range(20):
                finalizers = {"finalizers": [f"example.com/f{number}-{each}" for each in range(1000)]}
                data = {f"key-{number}-{each}": "v" for each in range(1000)}
                for given in ({"metadata": finalizers}, {"metadata": {}, "data": data}):
                    Ownership("me").record(kind, None, given, "now")
                    assert given["metadata"]["managedFields"]
            gc.collect()
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert kept < 1024 * 1024


def test_owners_that_a_new_object_brings_keep_what_it_does_not_say(api: Http) -> None:
    """They are no matter of its shape."""
    other = {"manager": "other", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1"}
    brought = [{**other, "fieldsV1": {"f:data": {"f:gone": {}, "f:k": {}}}}]
    for name, given in (("a", []), ("b", brought), ("c", [])):
        made = api.made(CONFIGMAPS, name, metadata={"managedFields": given}, data={"k": "v"})
        owners = {each["manager"]: each["fieldsV1"] for each in made["metadata"]["managedFields"]}
        assert owners.pop("tests") == {"f:data": {".": {}, "f:k": {}}}
        assert owners == ({"other": {"f:data": {"f:gone": {}}}} if given else {})
