"""JSON that does not fit the Go types, and what decoding makes of JSON that does."""

from __future__ import annotations

import datetime
import types
import typing
from fractions import Fraction
from typing import Any, cast

import kubernetes.client
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.quantity import QuantityError, canonical_quantity, parse_quantity
from runtime.testing.kinds.gotypes import fit
from runtime.testing.kinds.model import DecodeError
from runtime.testing.kinds.rows import ROWS
from runtime.testing.kinds.schemas import REF, definitions, resolve
from tests.runtime.testing.kinds.kinds_helpers import JSONMaker, Sandbox, Submit


@pytest.mark.parametrize(
    ("resource", "obj", "message"),
    [
        (
            "configmaps",
            {"data": {"k": 5}},
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
        ),
        (
            "configmaps",
            {"data": "text"},
            "json: cannot unmarshal string into Go struct field ConfigMap.data of type map[string]string",
        ),
        ("configmaps", {"binaryData": {"b": "***"}}, "illegal base64 data at input byte 0"),
        (
            "statefulsets",
            {"spec": {"replicas": "two"}},
            "json: cannot unmarshal string into Go struct field StatefulSetSpec.spec.replicas of type int32",
        ),
        (
            "statefulsets",
            {"spec": {"replicas": 1.5}},
            "json: cannot unmarshal number 1.5 into Go struct field StatefulSetSpec.spec.replicas of type int32",
        ),
        ("pods", {"spec": {"hostNetwork": "yes"}}, "cannot unmarshal string into Go struct field .* of type bool"),
        ("pods", {"spec": {"containers": {}}}, "cannot unmarshal object into Go struct field .*containers of type"),
        (
            "leases",
            {"spec": {"renewTime": "2020-01-01T00:00:00.5Z"}},
            'parsing time "2020-01-01T00:00:00.5Z" as "2006-01-02T15:04:05.000000Z07:00"',
        ),
        (
            "pods",
            {"spec": {"containers": [{"name": "m", "resources": {"limits": {"cpu": "much"}}}]}},
            "quantities must match the regular expression",
        ),
        ("pods", {"metadata": {"name": "p", "labels": {"a": 1}}}, "Go struct field ObjectMeta.metadata.labels"),
    ],
)
def test_wrong_types(resource: str, obj: Any, message: str, sandbox: Sandbox) -> None:
    with pytest.raises(DecodeError, match=message.replace("[", r"\[").replace("(", r"\(")):
        sandbox.write(resource, obj)


def test_metadata_of_custom_resources_has_types_too(sandbox: Sandbox, widget: JSONMaker, submit: Submit) -> None:
    kind = sandbox.custom({"type": "object"})
    obj = widget({})
    obj["metadata"]["labels"] = {"a": 1}

    with pytest.raises(DecodeError, match=r"ObjectMeta\.metadata\.labels of type string"):
        submit(kind, obj)


def test_nulls_and_empty_collections_are_dropped_and_empty_structs_stay(sandbox: Sandbox) -> None:
    pod = {
        "metadata": {"name": "p", "labels": {}, "creationTimestamp": None},
        "spec": {
            "nodeSelector": {},
            "hostname": None,
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [{"name": "m", "image": "a:1", "args": []}],
        },
    }
    written = sandbox.write("pods", pod).obj

    assert written["metadata"] == {"name": "p"}
    assert {"nodeSelector", "hostname"}.isdisjoint(written["spec"])
    assert written["spec"]["volumes"] == [{"name": "v", "emptyDir": {}}]
    assert "args" not in written["spec"]["containers"][0]


def test_zeros_that_go_cannot_tell_from_none_are_dropped(sandbox: Sandbox) -> None:
    mounts = [{"name": "v", "mountPath": "/v", "readOnly": False, "subPath": ""}]
    spec = {
        "hostNetwork": False,
        "nodeName": "",
        "terminationGracePeriodSeconds": 0,
        "enableServiceLinks": False,
        "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "0"}}],
        "containers": [{"name": "m", "image": "a:1", "tty": False, "volumeMounts": mounts}],
    }
    written = sandbox.write("pods", {"spec": spec}).obj["spec"]

    assert {"hostNetwork", "nodeName"}.isdisjoint(written)
    assert (written["terminationGracePeriodSeconds"], written["enableServiceLinks"]) == (0, False)  # Go has pointers
    assert written["volumes"][0]["emptyDir"] == {"sizeLimit": "0"}
    assert "tty" not in written["containers"][0]
    assert written["containers"][0]["volumeMounts"] == [{"name": "v", "mountPath": "/v"}]


def test_what_go_writes_always_is_filled_in(sandbox: Sandbox) -> None:
    env = [{"name": "E", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]
    pod = sandbox.write("pods", {"spec": {"containers": [{"name": "m", "image": "a:1", "env": env}]}}).obj
    assert pod["spec"]["containers"][0]["env"][0]["valueFrom"]["resourceFieldRef"]["divisor"] == "0"
    assert sandbox.write("clusterroles", {"rules": []}).obj["rules"] is None
    node = sandbox.write("nodes", {}).obj
    assert "spec" in node
    assert node["status"]["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 0}}
    assert node["status"]["nodeInfo"]["kubeletVersion"] == ""
    assert sandbox.write("poddisruptionbudgets", {"status": {"disruptionsAllowed": 7}}).obj["status"] == {
        "disruptionsAllowed": 0,
        "currentHealthy": 0,
        "desiredHealthy": 0,
        "expectedPods": 0,
    }


def test_times_become_canonical(sandbox: Sandbox) -> None:
    pod = {
        "metadata": {"name": "p", "creationTimestamp": "2020-01-01T01:00:00.7+01:00"},
        "spec": {"containers": [{"name": "m", "image": "a:1"}]},
    }

    assert sandbox.write("pods", pod).obj["metadata"]["creationTimestamp"] == "2020-01-01T00:00:00Z"


def test_unknown_fields_are_dropped_and_named(sandbox: Sandbox) -> None:
    written = sandbox.write("pods", {"spec": {"containers": [{"name": "m", "image": "a:1", "x": 1}], "y": 2}, "z": 3})

    assert written.unknown == ["spec.containers[0].x", "spec.y", "z"]
    assert "x" not in written.obj["spec"]["containers"][0]


def test_unknown_fields_in_maps_are_dropped_and_named(sandbox: Sandbox) -> None:
    device = {"name": "d", "attributes": {"a": {"int": 1, "x": 1}}, "capacity": {"c": {"value": "1", "y": 2}}}
    spec = {"driver": "d", "pool": {"name": "p"}, "devices": [device]}
    written = sandbox.write("resourceslices", {"spec": spec})

    assert written.unknown == ["spec.devices[0].attributes.a.x", "spec.devices[0].capacity.c.y"]
    assert written.obj["spec"]["devices"][0]["attributes"] == {"a": {"int": 1}}


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1024Mi", "1Gi"),
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1500Mi", "1500Mi"),
        ("1e3", "1e3"),
        ("1000", "1k"),
        ("0.5Gi", "512Mi"),
        ("12.5n", "13n"),
        ("-1Ki", "-1Ki"),
        ("00", "0"),
        (2, "2"),
    ],
)
def test_canonical_quantities(text: str, canonical: str) -> None:
    assert canonical_quantity(text) == canonical


@pytest.mark.parametrize("text", ["", "x", "1 Gi", "1.2.3", "1KB", "--1", "1e999"])
def test_malformed_quantities(text: str) -> None:
    with pytest.raises(QuantityError):
        parse_quantity(text)


@given(
    st.integers(-(10**12), 10**12),
    st.integers(0, 3),
    st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "Gi", "e2", "E-1"]),
)
def test_a_canonical_quantity_has_the_same_value_and_stays(number: int, decimals: int, suffix: str) -> None:
    text = (
        f"{Fraction(number, 10**decimals).numerator / Fraction(number, 10**decimals).denominator:.{decimals}f}{suffix}"
    )
    canonical = canonical_quantity(text)

    assert parse_quantity(canonical) == parse_quantity(text)
    assert canonical_quantity(canonical) == canonical


def test_the_schemas_are_those_of_the_official_client() -> None:
    """Field by field. The client may be of a newer release: it may know more fields, never fewer."""
    seen: set[str] = set()
    for row in ROWS:
        name = f"{row.gvr.version.upper()}{row.kind}"
        long = f"{row.gvr.group.partition('.')[0].capitalize() or 'Core'}{name}"
        _compare(row.model, getattr(kubernetes.client, name, None) or getattr(kubernetes.client, long), seen)

    assert len(seen) > 300


def _compare(name: str, model: Any, seen: set[str]) -> None:
    if name in seen:
        return
    seen.add(name)
    fields = {str(each.serialization_alias or key): each for key, each in model.model_fields.items()}
    for field, schema in cast(dict[str, Any], definitions()[name].get("properties", {})).items():
        if field not in fields:
            assert (name.rpartition(".")[2], field) in _GONE
            continue
        shape, inner = _shape(fields[field].annotation)
        assert shape == _shape_of(schema), (name, field)
        reference = schema.get("items", schema.get("additionalProperties", schema))
        if inner is not None and isinstance(reference, dict) and "$ref" in reference:
            _compare(reference["$ref"].removeprefix(REF), inner, seen)


# Fields of v1.36 that the client of a later release does not have.
_GONE = {
    ("ObjectMeta", "selfLink"),
    ("NodeAllocatableResourceClaimStatus", "resources"),
    ("Device", "nodeAllocatableResourceMappings"),
}
_SHAPES = {str: "text", bytes: "text", bool: "boolean", int: "number", float: "number", datetime.datetime: "time"}


def _shape(annotation: Any) -> tuple[str, Any]:
    """The shape of a field of a model, and the model within."""
    origin = typing.get_origin(annotation)
    inner = [each for each in typing.get_args(annotation) if each is not type(None)]
    if origin is typing.Annotated or (origin in (typing.Union, types.UnionType) and len(inner) == 1):
        return _shape(inner[0])
    if origin in (typing.Union, types.UnionType):
        shapes = {_shape(each)[0] for each in inner}
        return shapes.pop() if len(shapes) == 1 else "any", None
    if origin in (list, dict):
        found = _shape(inner[-1])
        return ("any" if origin is dict and found[0] == "any" else origin.__name__), found[1]
    if hasattr(annotation, "model_fields"):
        return "struct", annotation
    return _SHAPES.get(annotation, "any"), None


def _shape_of(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return "struct" if resolve(schema)["properties"] else "any"
    if schema.get("x-quantity"):
        return "text"
    if schema.get("format") == "date-time":
        return "time"
    if schema.get("type") == "object":
        return "dict" if schema.get("additionalProperties") else "any"
    shapes = {"string": "text", "boolean": "boolean", "integer": "number", "number": "number", "array": "list"}
    return shapes.get(str(schema.get("type")), "any")


def test_schemas_hold_no_text_of_others() -> None:
    def walk(node: object) -> None:
        if isinstance(node, dict):
            assert not isinstance(node.get("description"), str)
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(dict(definitions()))


def test_every_reference_resolves() -> None:
    def walk(node: object) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):  # JSONSchemaProps has a field of that name
                assert resolve({"$ref": node["$ref"]})["type"] == "object"
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(dict(definitions()))


def test_how_lists_merge_is_said_where_it_matters() -> None:
    spec: Any = resolve({"$ref": REF + "io.k8s.api.core.v1.PodSpec"})
    containers = spec["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-list-map-keys"] == ["name"]
    metadata: Any = resolve({"$ref": REF + "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"})
    meta = metadata["properties"]
    assert meta["finalizers"]["x-kubernetes-list-type"] == "set"
    assert meta["ownerReferences"]["x-kubernetes-list-map-keys"] == ["uid"]


def test_what_is_filled_in_belongs_to_one_object_alone() -> None:
    first: dict[str, Any] = {}
    schema = {"$ref": f"{REF}io.k8s.api.batch.v1.Job"}
    fit(schema, first, "Job")
    first["spec"]["template"]["metadata"]["labels"] = {"a": "b"}
    second: dict[str, Any] = {}
    fit(schema, second, "Job")
    assert second["spec"]["template"]["metadata"] == {}
