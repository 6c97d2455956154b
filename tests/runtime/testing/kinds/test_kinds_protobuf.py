"""Objects of the built-in kinds in protobuf: the bytes that kubectl sends, every field of every kind, and nonsense."""

from __future__ import annotations

import base64
import functools
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.testing.kinds.protobuf import ProtobufError, decode, encode, open_envelope, watch_event
from runtime.testing.kinds.schemas import definitions, resolve
from tests.runtime.testing.kinds.kinds_helpers import JSON, Sandbox

# What kubectl 1.32 sent: `create deployment web --image=nginx --replicas=0 --port=80`, `create secret generic s
# --from-literal=k=v`, `create poddisruptionbudget pdb --selector=app=web --min-available=1`.
DEPLOYMENT = (
    "6b3873000a150a07617070732f7631120a4465706c6f796d656e7412bc010a230a0377656212001a0473686f7022002a0032003800420"
    "05a0a0a0361707012037765621286010800120c0a0a0a0361707012037765621a6c0a1c0a0012001a0022002a003200380042005a0a0a"
    "036170701203776562124c122e0a056e67696e7812056e67696e782a00320a0a001000185022002a0042006a007200800100880100900"
    "100a201001a00320042004a0052005800600068008201008a01009a0100c2010022020a00280038001a0c0800100018002000280038001"
    "a002200"
)
SECRET = (
    "6b3873000a0c0a027631120653656372657412210a150a017312001a0473686f7022002a0032003800420012060a016b1201761a001a002200"
)
BUDGET = (
    "6b3873000a200a09706f6c6963792f76311213506f6444697372757074696f6e427564676574123d0a170a0370646212001a0473686f70"
    "22002a0032003800420012160a06080010011a00120c0a0a0a0361707012037765621a0a080018002000280030001a002200"
)


def read(data: bytes) -> JSON:
    envelope = open_envelope(data)
    return decode(envelope.api_version, envelope.kind, envelope.raw)


def test_what_kubectl_sends_is_the_json_that_go_would_make_of_it() -> None:
    """A replica count of 0 is a pointer and stays; zero values that JSON leaves out are gone; structs are shown."""
    assert read(bytes.fromhex(DEPLOYMENT)) == {
        "kind": "Deployment",
        "apiVersion": "apps/v1",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "containers": [
                        {"name": "nginx", "image": "nginx", "ports": [{"containerPort": 80}], "resources": {}}
                    ]
                },
            },
            "strategy": {},
        },
        "status": {},
    }
    assert read(bytes.fromhex(SECRET)) == {
        "kind": "Secret",
        "apiVersion": "v1",
        "metadata": {"name": "s", "namespace": "shop"},
        "data": {"k": base64.b64encode(b"v").decode()},
    }
    budget = read(bytes.fromhex(BUDGET))
    assert budget["spec"]["minAvailable"] == 1
    assert budget["status"] == {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}


def full(node: Mapping[str, Any], depth: int = 0) -> Any:
    """A value that has every field."""
    schema: Mapping[str, Any] = resolve(node)
    if schema.get("x-quantity"):
        return "1500m"
    if schema.get("x-kubernetes-int-or-string"):
        return "25%" if depth % 2 else 8080
    if schema.get("format") == "date-time":
        return "2026-01-02T03:04:05.678901Z" if schema.get("x-micro-time") else "2026-01-02T03:04:05Z"
    if schema.get("format") == "byte":
        return "AAEC/w=="
    kind = schema.get("type")
    if kind == "array":
        return [full(schema["items"], depth + 1)]
    values = schema.get("additionalProperties")
    if isinstance(values, Mapping):
        return {name: full(values, depth + 1) for name in ("b", "a")}
    if schema.get("properties"):
        # The message of a kind does not tell which kind it is, not even inside another.
        left_out = ("apiVersion", "kind") if "x-kubernetes-group-version-kind" in schema else ()
        fields = {name: field for name, field in schema["properties"].items() if name not in left_out}
        return {name: full(field, depth + 1) for name, field in fields.items()}
    scalars = {"string": "text", "integer": -7, "number": 1.5, "boolean": True}
    return scalars.get(str(kind), {"any": ["thing", 1]})


KINDS = sorted(
    (entry["group"], entry["version"], entry["kind"], name)
    for name, schema in definitions().items()
    for entry in (schema.get("x-kubernetes-group-version-kind") or ())  # type: ignore[attr-defined]
    if entry["kind"] != "CustomResourceDefinition"
)


@pytest.mark.parametrize(("group", "version", "kind", "name"), KINDS, ids=lambda each: str(each).split(".")[-1])
def test_every_field_of_every_kind_comes_back(group: str, version: str, kind: str, name: str) -> None:
    """So that no field of the schemas is missing from the numbers, and none has another type there."""
    api_version = f"{group}/{version}" if group else version
    obj = {**full(definitions()[name]), "apiVersion": api_version, "kind": kind}

    assert read(encode(obj)) == obj


def test_schemas_of_crds_come_back() -> None:
    """Where a schema may stand, a list, a boolean or any JSON may stand, too."""
    schema = {
        "type": "object",
        "$ref": "#/x",
        "default": {"a": [1, None]},
        "enum": ["a", None, 3],
        "maximum": 2.5,
        "minLength": 0,
        "items": {"type": "string"},
        "additionalProperties": False,
        "additionalItems": {"type": "integer"},
        "properties": {
            "list": {"items": [{"type": "string"}, {"type": "integer"}]},
            "any": {"additionalProperties": True, "x-kubernetes-preserve-unknown-fields": True},
            "map": {"additionalProperties": {"type": "string"}},
        },
        "dependencies": {"a": ["b", "c"], "d": {"type": "object"}},
        "x-kubernetes-validations": [{"rule": "self.a == oldSelf.a", "optionalOldSelf": False}],
    }
    version = {"name": "v1", "served": False, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "boats", "kind": "Boat"}
    obj = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }

    assert read(encode(obj)) == obj


def test_every_kind_that_is_served_has_numbers(sandbox: Sandbox) -> None:
    for kind in sandbox.registry.kinds():
        for name in (kind.kind, kind.list_kind) if "list" in kind.verbs else (kind.kind,):
            found = decode(kind.gvr.api_version, name, b"")
            assert (found["apiVersion"], found["kind"]) == (kind.gvr.api_version, name)


def test_numbers_of_the_wire() -> None:
    """Against bytes written by hand: negative numbers, packed lists, the last of two, unknown fields."""
    envelope = b"k8s\x00\x0a\x0a\x0a\x02v1\x12\x04Node"
    minus_one = b"\xff" * 9 + b"\x01"
    generation = b"\x0a\x0d\x38" + minus_one + b"\x38\x05"  # metadata.generation: -1, then 5
    assert read(envelope + b"\x12\x0f" + generation)["metadata"]["generation"] == 5
    packed = b"\x0a\x04\x22\x02\x01\x02"  # supplementalGroups (4), packed
    assert decode("v1", "PodSecurityContext", packed[2:]) == {
        "kind": "PodSecurityContext",
        "apiVersion": "v1",
        "supplementalGroups": [1, 2],
    }
    assert decode("v1", "ConfigMap", b"\xfa\x07\x01x\x20\x00") == {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "immutable": False,
    }


def fields_of(api_version: str, kind: str, data: bytes) -> JSON:
    found = decode(api_version, kind, data)
    return {name: value for name, value in found.items() if name not in ("kind", "apiVersion")}


@pytest.mark.parametrize(
    ("api_version", "kind", "data", "fields"),
    [
        ("v1", "ConfigMap", b"\x12\x03\x0a\x01k", {"data": {"k": ""}}),  # an entry of a map without a value
        ("v1", "ResourceRequirements", b"\x0a\x03\x0a\x01k", {"limits": {"k": "0"}}),
        ("v1", "ContainerPort", b"", {"containerPort": 0}),  # shown though it was not sent: JSON has no omitempty
        ("v1", "ContainerPort", b"\x18\x05\x18\x00", {"containerPort": 0}),
        ("v1", "ContainerPort", b"\x10\x05\x10\x00", {"containerPort": 0}),  # hostPort is not shown
        ("v1", "ObjectMeta", b"\x38" + b"\xff" * 9 + b"\x7f", {"generation": -1}),
        ("v1", "ObjectMeta", b"\xf9\x07" + b"x" * 8 + b"\xfd\x07xxxx\x38\x01", {"generation": 1}),
        ("certificates.k8s.io/v1", "CertificateSigningRequestSpec", b"\x0a\x00", {"request": "", "signerName": ""}),
        ("certificates.k8s.io/v1", "CertificateSigningRequestSpec", b"", {"signerName": ""}),
        ("v1", "ObjectMeta", b"\x42\x02\x10\x07", {"creationTimestamp": "1970-01-01T00:00:00Z"}),
        (
            "v1",
            "ObjectMeta",  # the first second of the year 1
            b"\x42\x0b\x08\x80\x92\xb8\xc3\x98\xfe\xff\xff\xff\x01",
            {"creationTimestamp": "0001-01-01T00:00:00Z"},
        ),
    ],
)
def test_what_stands_for_nothing(api_version: str, kind: str, data: bytes, fields: JSON) -> None:
    assert fields_of(api_version, kind, data) == fields


def test_bytes_do_not_depend_on_the_order_of_a_map() -> None:
    head = {"apiVersion": "v1", "kind": "ConfigMap"}
    assert encode({**head, "data": {"b": "", "a": ""}}) == encode({**head, "data": {"a": "", "b": ""}})


def test_a_schema_of_further_properties_allows_them() -> None:
    """For those who look at the boolean first."""
    schema = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "JSONSchemaProps", "additionalProperties": {"type": "x"}}
    assert b"\x08\x01" in open_envelope(encode(schema)).raw


def test_a_frame_of_a_watch() -> None:
    frame = watch_event("ADDED", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})

    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert frame[4:].startswith(b"\x0a\x05ADDED\x12")
    inner = frame.index(b"k8s\x00")
    assert read(frame[inner:])["metadata"] == {"name": "a"}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty data"),
        (b"{}", "expected prefix [107 56 115 0]"),
        (b"k8s\x00", "empty body"),
        (b"k8s\x00\x0a\x7f", "unexpected EOF"),
        (b"k8s\x00\x12\x02x", "unexpected EOF"),
        (b"k8s\x00" + b"\xff" * 11, "integer overflow"),
        (b"k8s\x00\x08\x01", "wrong wireType = 0"),
        (b"k8s\x00\x07", "illegal tag 0"),
        (b"k8s\x00\x0b", "illegal wireType 3"),
        (b"k8s\x00\x0a\x0a\x0a\x02v1\x12\x04Boat", 'no kind "Boat" is registered for version "v1"'),
        (b"k8s\x00\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x02\x08\x01", "wrong wireType = 0 for field metadata"),
        (b"k8s\x00\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x04ab", "unexpected EOF"),
        (
            b"k8s\x00\x0a\x10\x0a\x02v1\x12\x0aObjectMeta\x12\x0d\x42\x0b\x08" + b"\xff" * 8 + b"\x7f\x10",
            "unexpected EOF",
        ),
        (
            b"k8s\x00\x0a\x10\x0a\x02v1\x12\x0aObjectMeta\x12\x0c\x42\x0a\x08" + b"\xff" * 8 + b"\x7f",
            "a time out of range",
        ),
    ],
)
def test_what_is_no_protobuf_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ProtobufError) as caught:
        read(data)
    assert why in str(caught.value)


@given(st.sampled_from(KINDS), st.binary(max_size=200))
def test_nonsense_is_refused_or_read(kind: tuple[str, str, str, str], data: bytes) -> None:
    group, version, name, _ = kind
    try:
        found = decode(f"{group}/{version}" if group else version, name, data)
    except ProtobufError:
        return
    assert found["kind"] == name


@functools.cache
def whole(name: str, api_version: str, kind: str) -> bytes:
    return open_envelope(encode({**full(definitions()[name]), "apiVersion": api_version, "kind": kind})).raw


EDITS = st.lists(
    st.tuples(st.integers(min_value=0), st.sampled_from(("put", "insert", "cut")), st.binary(min_size=1, max_size=12)),
    min_size=1,
    max_size=4,
)


@given(st.sampled_from(KINDS), EDITS)
def test_a_damaged_message_is_refused_or_read_and_can_be_stored(
    kind: tuple[str, str, str, str], edits: list[tuple[int, str, bytes]]
) -> None:
    """What comes out is JSON, whatever went in; and it may be sent again."""
    group, version, name, definition = kind
    api_version = f"{group}/{version}" if group else version
    data = bytearray(whole(definition, api_version, name))
    for number, what, part in edits:
        at = number % (len(data) + 1)
        data[at : at + (0 if what == "insert" else len(part))] = b"" if what == "cut" else part
    try:
        found = decode(api_version, name, bytes(data))
    except ProtobufError:
        return
    assert json.loads(json.dumps(found)) == found or "nan" in repr(found)
    assert open_envelope(encode(found)).kind == name


def test_who_speaks_json_does_not_pay_for_what_others_speak() -> None:
    program = """
import sys, urllib.request
from runtime.testing import FakeAPIServer
with FakeAPIServer() as server:
    path = "/api/v1/namespaces/default/configmaps"
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(server.url + path, b'{"metadata":{"name":"a"}}', headers)).read()
    urllib.request.urlopen(server.url + path).read()
sys.exit(bool({"runtime.testing.kinds.protobuf", "yaml"} & sys.modules.keys()))
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=100)
