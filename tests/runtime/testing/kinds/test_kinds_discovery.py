"""Discovery and OpenAPI documents."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runtime.testing.kinds import discovery
from runtime.testing.kinds.openapi_v2 import PROTOBUF
from runtime.types import GVR
from tests.runtime.testing.kinds.kinds_helpers import JSONMaker, Sandbox

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
SPEC = {"type": "object", "properties": {"n": {"type": "integer", "description": "how many"}}}


Get = Callable[..., Any]


@pytest.fixture
def get(sandbox: Sandbox) -> Get:
    def serve(path: str, accept: str = "application/json") -> Any:
        answer = discovery.serve(sandbox.registry, path, {}, accept)
        assert answer is not None, path
        assert answer[0] == 200
        return json.loads(answer[2])

    return serve


def test_groups(get: Get, sandbox: Sandbox) -> None:
    sandbox.custom(SPEC)

    assert get("/api")["versions"] == ["v1"]
    groups = {each["name"]: each for each in get("/apis")["groups"]}
    assert "" not in groups
    assert groups["apps"]["preferredVersion"] == {"groupVersion": "apps/v1", "version": "v1"}
    assert groups["example.com"]["versions"] == [{"groupVersion": "example.com/v1", "version": "v1"}]
    assert get("/apis/example.com") == {"kind": "APIGroup", "apiVersion": "v1", **groups["example.com"]}
    assert "/apis/example.com/v1" in get("/")["paths"]


def test_resources(get: Get, sandbox: Sandbox) -> None:
    sandbox.custom(SPEC, subresources={"status": {}})

    core = get("/api/v1")
    assert (core["groupVersion"], "apiVersion" in core) == ("v1", False)
    by_name = {each["name"]: each for each in core["resources"]}
    assert by_name["pods"]["shortNames"] == ["po"]
    assert by_name["pods"]["categories"] == ["all"]
    assert "deletecollection" not in by_name["namespaces"]["verbs"]
    assert by_name["pods/eviction"]["group"] == "policy"
    apps = {each["name"]: each for each in get("/apis/apps/v1")["resources"]}
    assert (apps["statefulsets/scale"]["group"], apps["statefulsets/scale"]["kind"]) == ("autoscaling", "Scale")
    assert [each["name"] for each in get("/apis/example.com/v1")["resources"]] == ["widgets", "widgets/status"]


def test_the_hash_of_the_version_in_which_objects_are_stored(get: Get) -> None:
    """As recorded from a real server; two versions of the same objects have the same."""

    def hash_of(path: str, name: str) -> str | None:
        found: str | None = {each["name"]: each for each in get(path)["resources"]}[name].get("storageVersionHash")
        return found

    assert hash_of("/api/v1", "pods") == "xPOwRZ+Yhw8="
    assert hash_of("/apis/storage.k8s.io/v1", "storageclasses") == "K+m6uJwbjGY="
    assert hash_of("/api/v1", "events") == hash_of("/apis/events.k8s.io/v1", "events") == "r2yiGXH7wu8="
    autoscalers = [hash_of(f"/apis/autoscaling/{version}", "horizontalpodautoscalers") for version in ("v1", "v2")]
    assert autoscalers[0] == autoscalers[1]
    assert hash_of("/api/v1", "bindings") is None


def test_aggregated_discovery_says_the_same(get: Get, sandbox: Sandbox) -> None:
    sandbox.custom(SPEC, subresources={"status": {}})
    accept = f"{AGGREGATED},application/json"
    answer = discovery.serve(sandbox.registry, "/apis", {}, accept)
    assert answer is not None
    assert answer[1] == AGGREGATED

    for path, prefix in (("/api", "/api"), ("/apis", "/apis/{group}")):
        for group in get(path, accept)["items"]:
            for version in group["versions"]:
                base = prefix.format(group=group["metadata"].get("name"))
                listed = get(f"{base}/{version['version']}")["resources"]
                assert [each["resource"] for each in version["resources"]] == [
                    each["name"] for each in listed if "/" not in each["name"]
                ]


def test_an_old_aggregated_version_is_answered_plainly(get: Get) -> None:
    accept = AGGREGATED.replace("v=v2", "v=v2beta1") + ",application/json"

    assert get("/apis", accept)["kind"] == "APIGroupList"


def test_versions_are_listed_as_clients_prefer_them() -> None:
    versions = ["v1alpha1", "v1", "v2beta1", "v10", "v2", "v1beta2", "foo"]

    assert sorted(versions, key=discovery.version_order) == [
        "v10",
        "v2",
        "v1",
        "v2beta1",
        "v1beta2",
        "v1alpha1",
        "foo",
    ]


@pytest.mark.parametrize("path", ["/apis/none", "/apis/none/v1", "/apis/apps/v9", "/openapi/v3/apis/none/v1", "/other"])
def test_other_paths_are_not_ours(path: str, sandbox: Sandbox) -> None:
    assert discovery.serve(sandbox.registry, path, {}, "application/json") is None


def test_every_document_of_the_index_is_served_and_closed(get: Get) -> None:
    """Closed: every reference in it is to something in it."""
    for name, entry in get("/openapi/v3")["paths"].items():
        url, _, digest = entry["serverRelativeURL"].partition("?hash=")
        assert url == f"/openapi/v3/{name}"
        assert digest
        document = get(url)
        text = json.dumps(document)
        assert "x-quantity" not in text
        assert "x-micro-time" not in text
        schemas = document["components"]["schemas"]
        for reference in _references(document):
            assert reference.removeprefix("#/components/schemas/") in schemas, (name, reference)


def test_a_kind_has_its_schema_and_says_that_it_takes_field_validation(get: Get, sandbox: Sandbox) -> None:
    sandbox.custom(SPEC)
    document = get("/openapi/v3/apis/example.com/v1")

    schema = document["components"]["schemas"]["com.example.v1.Widget"]
    assert schema["x-kubernetes-group-version-kind"] == [{"group": "example.com", "kind": "Widget", "version": "v1"}]
    assert schema["properties"]["spec"]["properties"]["n"]["description"] == "how many"
    patch = document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]["patch"]
    assert "fieldValidation" in [each["name"] for each in patch["parameters"]]
    assert patch["x-kubernetes-group-version-kind"] == schema["x-kubernetes-group-version-kind"][0]


def test_the_schema_of_a_crd_is_published_as_it_was_written(get: Get, sandbox: Sandbox) -> None:
    fields = {
        "port": {"x-kubernetes-int-or-string": True},
        "since": {"type": "string", "format": "date-time"},
    }
    sandbox.custom({"type": "object", "properties": fields})
    schemas = get("/openapi/v3/apis/example.com/v1")["components"]["schemas"]

    assert schemas["com.example.v1.Widget"]["properties"]["spec"]["properties"] == fields
    items = schemas["com.example.v1.WidgetList"]["properties"]["items"]
    assert items == {"type": "array", "items": {"$ref": "#/components/schemas/com.example.v1.Widget"}}
    pod = get("/openapi/v3/api/v1")["components"]["schemas"]["io.k8s.api.core.v1.ServicePort"]["properties"]
    assert pod["targetPort"] == {"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.util.intstr.IntOrString"}
    assert (pod["protocol"]["enum"], pod["protocol"]["default"]) == (["SCTP", "TCP", "UDP"], "TCP")


def test_the_hash_moves_with_the_schema_and_only_then(get: Get, sandbox: Sandbox) -> None:
    def digests() -> dict[str, str]:
        paths = get("/openapi/v3")["paths"]
        return {name: entry["serverRelativeURL"] for name, entry in paths.items()}

    sandbox.custom(SPEC)
    before = digests()
    assert digests() == before
    sandbox.custom({"type": "object"})
    after = digests()

    assert [name for name in before if before[name] != after[name]] == ["apis/example.com/v1"]


def test_open_api_v2_in_protobuf(sandbox: Sandbox) -> None:
    sandbox.custom(SPEC)
    answer = discovery.serve(sandbox.registry, "/openapi/v2", {}, PROTOBUF)
    assert answer is not None
    assert answer[1] == "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"  # Go's parser refuses the @

    document = _fields(answer[2])
    assert document[1] == [b"2.0"]
    named = [_fields(each) for each in _fields(document[9][0])[1]]
    schemas = {entry[1][0].decode(): _fields(entry[2][0]) for entry in named}
    widget = schemas["com.example.v1.Widget"]
    assert _fields(widget[22][0])[1] == [b"object"]
    properties = [_fields(each)[1][0].decode() for each in _fields(widget[25][0])[1]]
    assert sorted(properties) == ["apiVersion", "kind", "metadata", "spec", "status"]
    extensions = {_fields(each)[1][0]: _fields(_fields(each)[2][0])[2][0] for each in widget[31]}
    assert json.loads(extensions[b"x-kubernetes-group-version-kind"])[0]["kind"] == "Widget"


def test_open_api_v2_in_json(get: Get) -> None:
    document = get("/openapi/v2")

    assert document["swagger"] == "2.0"
    pods = document["paths"]["/api/v1/namespaces/{namespace}/pods"]
    assert pods["post"]["operationId"] == "createCoreV1NamespacedPod"
    body = next(each for each in pods["post"]["parameters"] if each["in"] == "body")
    assert body["schema"] == {"$ref": "#/definitions/io.k8s.api.core.v1.Pod"}
    assert "application/vnd.kubernetes.protobuf" in pods["post"]["consumes"]
    limit = next(each for each in pods["get"]["parameters"] if each["name"] == "limit")
    assert (limit["in"], limit["type"]) == ("query", "integer")
    for reference in _references(document):
        assert reference.removeprefix("#/definitions/") in document["definitions"]


def test_a_removed_crd_is_gone_from_everything(get: Get, sandbox: Sandbox, make_crd: JSONMaker) -> None:
    written = sandbox.define(make_crd({"type": "object"}))
    sandbox.registry.remove_crd(written.obj)

    assert sandbox.registry.lookup(GVR("example.com", "v1", "widgets")) is None
    assert "example.com" not in [each["name"] for each in get("/apis")["groups"]]
    assert "apis/example.com/v1" not in get("/openapi/v3")["paths"]


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _fields(message: bytes) -> dict[int, list[Any]]:
    """The fields of a protobuf message, by number: a decoder of its own, so that the encoder cannot fool it."""
    found: dict[int, list[Any]] = {}
    value: int | bytes
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        if key & 7 == 0:
            value, position = _varint(message, position)
        else:
            assert key & 7 == 2
            size, position = _varint(message, position)
            value, position = message[position : position + size], position + size
            assert len(value) == size
        found.setdefault(key >> 3, []).append(value)
    return found


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
