"""Accept and Content-Type: which form an answer has, which forms of a body are read, and what is refused."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from runtime.testing import FakeAPIServer
from runtime.testing.kinds import protobuf
from runtime.testing.kinds.protobuf.wire import fields, message, text, varint
from tests.runtime.testing.apiserver.apiserver_helpers import (
    CONFIGMAPS,
    CRDS,
    MERGE,
    STATEFULSETS,
    WIDGETS,
    Answer,
    Http,
    widget,
)

pytestmark = pytest.mark.usefixtures("widgets")

JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
HEAD = b"k8s\x00\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12"  # of a ConfigMap's body
TABLE = "as=Table;v=v1;g=meta.k8s.io"
METADATA = "as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
METADATA_LIST = "as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


def kind_of(answer: Answer) -> tuple[str, str]:
    """Media type and kind of an answer."""
    media = answer.headers["content-type"][0]
    return media, str(read(answer)["kind"])


def read(answer: Answer) -> Any:
    media = answer.headers["content-type"][0]
    if media == PROTOBUF:
        return unpack(answer.data)
    return yaml.safe_load(answer.data) if media == YAML else json.loads(answer.data)


def unpack(data: bytes) -> Any:
    envelope = protobuf.open_envelope(data)
    return protobuf.decode(envelope.api_version, envelope.kind, envelope.raw)


def pack(**obj: Any) -> bytes:
    return protobuf.encode({"apiVersion": "v1", "kind": "ConfigMap", **obj})


@pytest.mark.parametrize(
    ("accept", "media", "kind"),
    [
        ("", JSON, "ConfigMap"),
        ("*/*", JSON, "ConfigMap"),
        ("text/html, */*;q=0.8", JSON, "ConfigMap"),
        ("*", JSON, None),  # the router knows no such type
        (f"{PROTOBUF}, */*", PROTOBUF, "ConfigMap"),
        (f"{JSON},{PROTOBUF}", JSON, "ConfigMap"),
        (f"{JSON};q=0.5,{PROTOBUF};q=0.9", PROTOBUF, "ConfigMap"),
        (f"text/html,{YAML};q=0.9,*/*;q=0.8", YAML, "ConfigMap"),
        (f"*/*,{YAML}", YAML, "ConfigMap"),  # the more special one first
        (f"{PROTOBUF};{TABLE},{JSON};{TABLE}", JSON, "Table"),
        (f"{YAML};{TABLE}", YAML, "Table"),
        (f"{PROTOBUF};{METADATA},{JSON};{METADATA}", PROTOBUF, "PartialObjectMetadata"),
        (f"{PROTOBUF};{TABLE}", JSON, None),
        (f"{JSON};as=Table;v=v2;g=meta.k8s.io,{JSON}", JSON, "ConfigMap"),
        (f"{JSON};v=v1", JSON, None),
        (f"{JSON};stream=watch", JSON, "ConfigMap"),
        (f"{YAML};stream=watch", JSON, None),
        (f"{JSON};stream=other", JSON, None),
        (f"{JSON};sv=v1", JSON, "ConfigMap"),
        (f"{JSON};sv=v2", JSON, None),
        ("application/cbor", JSON, None),
        ("application/cbor,application/json", JSON, "ConfigMap"),
    ],
)
def test_what_is_accepted_of_a_built_in_kind(api: Http, accept: str, media: str, kind: str | None) -> None:
    api.made(CONFIGMAPS, "a")

    answer = api.get(f"{CONFIGMAPS}/a", Accept=accept)

    assert (answer.status, *kind_of(answer)) == ((200, media, kind) if kind else (406, media, "Status")), answer


@pytest.mark.parametrize(
    ("accept", "media", "kind"),
    [
        (f"{PROTOBUF},{JSON}", JSON, "Widget"),
        ("application/*", JSON, "Widget"),
        (YAML, YAML, "Widget"),
        (f"{PROTOBUF};{METADATA}", PROTOBUF, "PartialObjectMetadata"),
        (f"{JSON};{TABLE}", JSON, "Table"),
        ("application/xml", JSON, None),
        (PROTOBUF, PROTOBUF, None),  # a refusal has a form in protobuf, the object has none
    ],
)
def test_what_is_accepted_of_a_custom_resource(api: Http, accept: str, media: str, kind: str | None) -> None:
    assert api.post(WIDGETS, widget("a")).status == 201

    answer = api.get(f"{WIDGETS}/a", Accept=accept)

    assert (answer.status, *kind_of(answer)) == ((200, media, kind) if kind else (406, media, "Status")), answer
    if kind is None:
        assert read(answer)["message"].startswith("only the following media types are accepted: application/json, ")


def test_a_refusal_names_the_streams_of_a_collection_only(api: Http) -> None:
    one = api.get(f"{CONFIGMAPS}/a", Accept="application/xml").body
    many = api.get(CONFIGMAPS, Accept="application/xml").body

    assert one["message"] == f"406: Not Acceptable\n\nAvailable representations: {JSON}, {YAML}, {PROTOBUF}"
    assert many["message"] == f"{one['message']}, {JSON};stream=watch, {PROTOBUF};stream=watch"
    assert (one["reason"], one["details"]) == ("NotAcceptable", {})


def test_a_list_of_metadata_is_no_object_and_an_object_no_list(api: Http) -> None:
    api.made(CONFIGMAPS, "a")

    for path, form, why in (
        (CONFIGMAPS, METADATA, "is a list (*core.ConfigMapList)"),
        (f"{CONFIGMAPS}/a", METADATA_LIST, "is not a list (*core.ConfigMap)"),
        (WIDGETS, METADATA, "is a list (*unstructured.UnstructuredList)"),
    ):
        answer = api.get(path, Accept=f"{JSON};{form}")
        assert answer.status == 406
        assert answer.body["message"].endswith(why)


def test_what_a_table_shows_beside_its_cells_must_be_known(api: Http) -> None:
    answer = api.get(f"{CONFIGMAPS}?includeObject=All", Accept=f"{JSON};{TABLE}")

    assert answer.status == 400
    assert "must be 'Metadata', 'Object', 'None', or empty" in answer.body["message"]


def test_a_session_in_protobuf(api: Http) -> None:
    """Every verb of a client that speaks nothing else; what it does is what JSON would have done."""
    body = pack(metadata={"name": "a", "labels": {"b": "2", "a": "1"}}, data={"k": "v"}, binaryData={"b": "AAE="})
    headers = {"Accept": PROTOBUF}
    made = api("POST", CONFIGMAPS, body, content_type=PROTOBUF, headers=headers)
    assert made.status == 201
    obj = unpack(made.data)
    assert obj["data"] == {"k": "v"}
    assert api.get(f"{CONFIGMAPS}/a").body["binaryData"] == {"b": "AAE="}

    obj["data"] = {"k": "w"}
    put = api("PUT", f"{CONFIGMAPS}/a", protobuf.encode(obj), content_type=PROTOBUF, headers=headers)
    assert (put.status, unpack(put.data)["data"]) == (200, {"k": "w"})
    stale = api("PUT", f"{CONFIGMAPS}/a", protobuf.encode(obj), content_type=PROTOBUF, headers=headers)
    assert (stale.status, unpack(stale.data)["reason"]) == (409, "Conflict")

    listed = unpack(api.get(f"{CONFIGMAPS}?limit=1", Accept=PROTOBUF).data)
    assert listed["kind"] == "ConfigMapList"
    assert listed["metadata"]["resourceVersion"]
    assert [each["metadata"]["name"] for each in listed["items"]] == ["a"]
    patched = api("PATCH", f"{CONFIGMAPS}/a", {"data": None}, content_type=MERGE, headers=headers)
    assert "data" not in unpack(patched.data)

    options = protobuf.encode({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "another"}})
    refused = api("DELETE", f"{CONFIGMAPS}/a", options, content_type=PROTOBUF, headers=headers)
    assert (refused.status, unpack(refused.data)["reason"]) == (409, "Conflict")
    options = protobuf.encode({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0})
    deleted = api("DELETE", f"{CONFIGMAPS}/a", options, content_type=PROTOBUF, headers=headers)
    assert (deleted.status, unpack(deleted.data)["status"]) == (200, "Success")


def test_a_body_need_not_say_what_it_is(api: Http) -> None:
    message = protobuf.open_envelope(pack(metadata={"name": "a"})).raw

    made = api("POST", CONFIGMAPS, b"k8s\x00\x12" + bytes([len(message)]) + message, content_type=PROTOBUF)

    assert (made.status, made.body["kind"]) == (201, "ConfigMap")


def test_a_scale_in_protobuf(api: Http) -> None:
    spec = {
        "serviceName": "web",
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    }
    api.made(STATEFULSETS, "web", spec=spec)
    scale = unpack(api.get(f"{STATEFULSETS}/web/scale", Accept=PROTOBUF).data)
    assert (scale["kind"], scale["spec"], scale["status"]["selector"]) == ("Scale", {"replicas": 1}, "a=b")

    scale["spec"] = {"replicas": 3}
    put = api(
        "PUT", f"{STATEFULSETS}/web/scale", protobuf.encode(scale), content_type=PROTOBUF, headers={"Accept": PROTOBUF}
    )

    assert (put.status, unpack(put.data)["spec"]) == (200, {"replicas": 3})
    assert api.get(f"{STATEFULSETS}/web").body["spec"]["replicas"] == 3


def test_a_field_that_is_not_known_is_dropped_in_silence(api: Http) -> None:
    """There is nothing to tell: on the wire it has a number only."""
    message = protobuf.open_envelope(pack(metadata={"name": "a"})).raw + b"\xfa\x07\x01x"
    body = HEAD + bytes([len(message)]) + message

    made = api("POST", f"{CONFIGMAPS}?fieldValidation=Strict", body, content_type=PROTOBUF)

    assert made.status == 201
    assert "warning" not in made.headers


@pytest.mark.parametrize(
    ("path", "body", "why"),
    [
        (CONFIGMAPS, b"", "empty data"),
        (CONFIGMAPS, b"{}", "does not appear to be a protobuf message, expected prefix [107 56 115 0] ({})"),
        (
            CONFIGMAPS,
            HEAD + b"\x02\x08\x01",
            "cannot be handled as a ConfigMap: proto",
        ),
        (CONFIGMAPS, protobuf.encode({"apiVersion": "v1", "kind": "Secret"}), "Secret"),
        (CONFIGMAPS, protobuf.encode({"apiVersion": "apps/v1", "kind": "Deployment"}), "v1.Deployment"),
        (WIDGETS, pack(metadata={"name": "a"}), "does not implement the protobuf marshalling interface"),
    ],
)
def test_a_body_that_is_no_such_object(api: Http, path: str, body: bytes, why: str) -> None:
    answer = api("POST", path, body, content_type=PROTOBUF)

    assert (answer.status, answer.body["reason"]) == (400, "BadRequest"), answer
    assert why in answer.body["message"]


@pytest.mark.parametrize(
    ("path", "body", "why"),
    [
        (
            CONFIGMAPS,
            b"{not",
            "invalid character 'n' looking for beginning of object key string ({not)",
        ),
        (CONFIGMAPS, b"", "json parse error: unexpected end of JSON input (<empty>)"),
        (CONFIGMAPS, b"[]", 'Kind string "json:\\"kind,omitempty\\"" } (5b5d)'),
        (CONFIGMAPS, b'{"kind":1}', 'cannot unmarshal number into Go struct field .kind of type string ({"kind":1})'),
        (CONFIGMAPS, b'{"a":"%b"' % (b"x" * 50), 'unexpected end of JSON input ({"a":"xxxxxxxxxxxxxxxxxxxxxxxx ...)'),
        (WIDGETS, b"{}", "Object 'Kind' is missing in '{}' ({})"),
        (
            WIDGETS,
            b'{"kind":"Widget"}',
            """Object 'apiVersion' is missing in '{"kind":"Widget"}' ({"kind":"Widget"})""",
        ),
    ],
)
def test_what_is_wrong_with_a_body_is_told_in_the_words_of_go(api: Http, path: str, body: bytes, why: str) -> None:
    answer = api("POST", path, body)

    assert answer.status == 400
    assert answer.body["message"].startswith("the object provided is unrecognized (must be of type ")
    assert answer.body["message"].endswith(why)


@pytest.mark.parametrize("media", ["application/cbor", "text/plain", "application/json-patch+json"])
@pytest.mark.parametrize("path", [CONFIGMAPS, WIDGETS])
def test_bodies_that_are_not_read(api: Http, path: str, media: str) -> None:
    api.made(CONFIGMAPS, "a")

    for method, where in (("POST", path), ("DELETE", f"{CONFIGMAPS}/a")):
        answer = api(method, where, b"{}", content_type=media)
        assert (answer.status, answer.body["reason"]) == (415, "UnsupportedMediaType")
        assert answer.body["message"].endswith(f"{JSON}, {YAML}, {PROTOBUF}")


@contextlib.contextmanager
def opened(server: FakeAPIServer, path: str, accept: str) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", path, headers={"Accept": accept})
    with contextlib.closing(connection), connection.getresponse() as response:
        yield response


def event(response: http.client.HTTPResponse) -> tuple[str, Any]:
    """Type and object of the next event of a watch in protobuf."""
    size = int.from_bytes(response.read(4), "big")
    parts = {number: value for number, _, value in fields(response.read(size))}
    [(_, _, raw)] = fields(bytes(parts[2]))
    return bytes(parts[1]).decode(), unpack(bytes(raw))


@pytest.mark.parametrize("accept", [PROTOBUF, f"{PROTOBUF};stream=watch"])
def test_a_watch_in_protobuf(api: Http, server: FakeAPIServer, accept: str) -> None:
    api.made(CONFIGMAPS, "a", data={"k": "v"})
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    with opened(server, f"{CONFIGMAPS}?{query}", accept) as response:
        assert response.getheader("Content-Type") == f"{PROTOBUF};stream=watch"
        events = [event(response), event(response)]
        api.merge(f"{CONFIGMAPS}/a", {"data": {"k": "w"}})
        api.delete(f"{CONFIGMAPS}/a")
        events += [event(response), event(response)]

    assert [each for each, _ in events] == ["ADDED", "BOOKMARK", "MODIFIED", "DELETED"]
    assert [obj["kind"] for _, obj in events] == ["ConfigMap"] * 4
    assert [obj.get("data") for _, obj in events] == [{"k": "v"}, None, {"k": "w"}, {"k": "w"}]


def test_a_watch_of_metadata_and_of_a_lost_version_in_protobuf(api: Http, server: FakeAPIServer) -> None:
    assert api.post(WIDGETS, widget("a")).status == 201

    with opened(server, f"{WIDGETS}?watch=1", f"{PROTOBUF};{METADATA}") as response:
        event_type, obj = event(response)
    assert (event_type, obj["kind"], obj["metadata"]["name"]) == ("ADDED", "PartialObjectMetadata", "a")
    with opened(server, f"{WIDGETS}?watch=1", f"{JSON};{METADATA_LIST}") as response:
        shown = json.loads(response.readline())["object"]
    assert shown["kind"] == "Widget"  # no event is a list: the object is shown whole

    server.compact()
    with opened(server, f"{CONFIGMAPS}?watch=1&resourceVersion=1", PROTOBUF) as response:
        event_type, obj = event(response)
    assert (event_type, obj["kind"], obj["code"]) == ("ERROR", "Status", 410)


def test_yaml_cannot_be_watched(api: Http) -> None:
    answer = api.get(f"{CONFIGMAPS}?watch=1", Accept=YAML)

    assert (answer.status, *kind_of(answer)) == (406, YAML, "Status")
    assert read(answer)["message"].endswith(f"{JSON};stream=watch, {PROTOBUF};stream=watch")


def test_an_answer_for_human_eyes(api: Http) -> None:
    api.made(CONFIGMAPS, "a")
    plain = api.get(f"{CONFIGMAPS}/a").data

    assert plain.count(b"\n") == 1
    for path, agent in ((f"{CONFIGMAPS}/a?pretty=true", "tests"), (f"{CONFIGMAPS}/a", "curl/8.1")):
        shown = api.get(path, **{"User-Agent": agent}).data
        assert json.loads(shown) == json.loads(plain)
        assert b'\n  "metadata": {\n    "name": "a"' in shown
    assert api.get(f"{CONFIGMAPS}/a?pretty=0", **{"User-Agent": "curl/8.1"}).data == plain
    assert api.get(f"{CONFIGMAPS}/b?pretty=1").data.startswith(b'{\n  "kind": "Status"')


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_too_large_a_body_is_refused_like_any_other_request(api: Http, server: FakeAPIServer, method: str) -> None:
    """In the form that is accepted, and it is written down."""
    path = CONFIGMAPS if method == "POST" else f"{CONFIGMAPS}/a"
    media = MERGE if method == "PATCH" else JSON
    large = b" " * (3 * 1024 * 1024 + 1)

    answer = api(method, path, large, content_type=media, headers={"Accept": PROTOBUF})

    assert (answer.status, *kind_of(answer)) == (413, PROTOBUF, "Status")
    assert read(answer)["message"] == "Request entity too large: limit is 3145728"
    assert answer.closes
    entry = server.requests[-1]
    assert (entry.path, entry.code, [entry.id]) == (path, 413, answer.headers["audit-id"])
    assert api.get("/healthz").data == b"ok"


def test_what_is_asked_of_the_type_comes_before_the_size(api: Http) -> None:
    large = b" " * (3 * 1024 * 1024 + 1)
    api.made(CONFIGMAPS, "a")
    for method, path in (("POST", CONFIGMAPS), ("PATCH", f"{CONFIGMAPS}/a")):
        assert api(method, path, large, content_type="text/plain").status == 415
    assert api("PUT", f"{CONFIGMAPS}/a", large, content_type="text/plain").status == 413
    for method in ("POST", "PUT"):
        path = CONFIGMAPS if method == "POST" else f"{CONFIGMAPS}/a"
        assert api(method, path, large, headers={"Accept": "text/plain"}).status == 406
    assert api.post("/api/v1/nothings", large).status == 404


def test_who_is_still_sending_gets_the_answer_all_the_same(api: Http) -> None:
    answer = api.post(CONFIGMAPS, b" " * 12_000_000)  # more than sockets buffer

    assert (answer.status, answer.body["reason"]) == (413, "RequestEntityTooLarge")


def test_nobody_reads_the_body_of_a_get(api: Http) -> None:
    assert api("GET", CONFIGMAPS, b" " * (3 * 1024 * 1024 + 1)).status == 200


def test_a_body_of_exactly_the_limit_is_read(api: Http) -> None:
    body = b'{"metadata":{"name":"a"}}'

    assert api.post(CONFIGMAPS, body + b" " * (3 * 1024 * 1024 - len(body))).status == 201


def test_what_is_nested_too_deeply_to_be_stored_is_refused(api: Http) -> None:
    """orjson reads deeper than it writes; and a schema in protobuf nests as deep as its sender likes."""
    assert api.post(WIDGETS, widget("a")).status == 201
    deep = b'{"status":{"deep":' + b"[" * 900 + b"]" * 900 + b"}}"
    inner = b""
    for _ in range(300):
        inner = b"\xe2\x01" + varint(len(inner)) + inner  # JSONSchemaProps.not
    schema = message(4, message(1, inner))
    envelope = text(1, "apiextensions.k8s.io/v1") + text(2, "CustomResourceDefinition")
    crd = b"k8s\x00" + message(1, envelope) + message(2, message(2, message(7, schema)))

    for answer in (api.merge(f"{WIDGETS}/a/status", deep), api("POST", CRDS, crd, content_type=PROTOBUF)):
        assert (answer.status, answer.body["reason"]) == (400, "BadRequest"), answer
        assert "nested too deeply" in answer.body["message"]
    assert "status" not in api.get(f"{WIDGETS}/a").body


LEGACY = 'in scheme "pkg/api/legacyscheme/scheme.go:30"'
AUTOSCALERS = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"


@pytest.mark.parametrize(
    ("path", "api_version", "kind", "message"),
    [
        (
            CONFIGMAPS,
            None,
            "Secret",
            (
                'Secret in version "v1" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): '
                "unknown conversion"
            ),
        ),
        (
            STATEFULSETS,
            "apps/v1",
            "Deployment",
            (
                'Deployment in version "v1" cannot be handled as a StatefulSet: converting (v1.Deployment) to '
                "(apps.StatefulSet): unknown conversion"
            ),
        ),
        (
            CONFIGMAPS,
            "v1",
            "ConfigMapList",
            (
                'ConfigMapList in version "v1" cannot be handled as a ConfigMap: converting (v1.ConfigMapList) to '
                "(core.ConfigMap): unknown conversion"
            ),
        ),
        (
            STATEFULSETS,
            "v1",
            None,
            (
                'StatefulSet in version "v1" cannot be handled as a StatefulSet: no kind "StatefulSet" is registered '
                f'for version "v1" {LEGACY}'
            ),
        ),
        (
            CONFIGMAPS,
            "v1",
            "configmap",
            (
                'configmap in version "v1" cannot be handled as a ConfigMap: no kind "configmap" is registered for '
                f'version "v1" {LEGACY}'
            ),
        ),
        (
            CRDS,
            "v1",
            "Pod",
            (
                'Pod in version "v1" cannot be handled as a CustomResourceDefinition: no kind "Pod" is registered for '
                'version "v1" in scheme "pkg/apiserver/apiserver.go:55"'
            ),
        ),
        (
            AUTOSCALERS,
            "autoscaling/v1",
            "HorizontalPodAutoscaler",
            "the API version in the data (autoscaling/v1) does not match the expected API version (autoscaling/v2)",
        ),
        (
            WIDGETS,
            "example.com/v2",
            "Widget",
            "the API version in the data (example.com/v2) does not match the expected API version (example.com/v1)",
        ),
    ],
)
def test_an_object_of_another_kind_is_refused_in_the_words_of_go(
    api: Http, path: str, api_version: str | None, kind: str | None, message: str
) -> None:
    body = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}}

    for method, where in (("POST", path), ("PUT", f"{path}/a")):
        answer = api(method, where, {name: value for name, value in body.items() if value})
        assert (answer.status, answer.body["reason"], answer.body["message"]) == (400, "BadRequest", message)
    if path == CONFIGMAPS and kind == "Secret":
        answer = api("POST", path, protobuf.encode({"apiVersion": "v1", "kind": "Secret"}), content_type=PROTOBUF)
        assert answer.body["message"] == message


def test_a_custom_resource_of_another_kind_is_invalid(api: Http) -> None:
    answer = api.post(WIDGETS, {**widget("a"), "kind": "Gadget"})

    assert (answer.status, answer.body["reason"]) == (422, "Invalid")
    assert answer.body["message"] == (
        'Gadget.example.com "a" is invalid: kind: Invalid value: "Gadget": must be Widget'
    )
    assert answer.body["details"]["kind"] == "Gadget"


def test_a_group_and_version_has_one_slash(api: Http) -> None:
    answer = api.post(CONFIGMAPS, b'{"apiVersion":"a/b/c"}')

    assert answer.status == 400
    assert answer.body["message"] == (
        "the object provided is unrecognized (must be of type ConfigMap): unexpected GroupVersion string: a/b/c "
        '({"apiVersion":"a/b/c"})'
    )


@pytest.mark.parametrize(("media", "body"), [(JSON, b"null"), (YAML, b""), (YAML, b"# nothing\n")])
def test_nothing_is_an_object_without_fields(api: Http, media: str, body: bytes) -> None:
    built_in = api("POST", CONFIGMAPS, body, content_type=media)
    custom = api("POST", WIDGETS, body, content_type=media)

    assert (built_in.status, built_in.body["reason"]) == (422, "Invalid")
    assert built_in.body["details"]["causes"][0]["field"] == "metadata.name"
    assert custom.status == 400
    assert "Object 'Kind' is missing in 'null' (" in custom.body["message"]


def test_yaml_is_quoted_as_the_json_that_it_becomes(api: Http) -> None:
    answer = api("POST", WIDGETS, b"b: 1\na: 2\n", content_type=YAML)

    assert """Object 'Kind' is missing in '{"a":2,"b":1}' (623a20310a613a20320a)""" in answer.body["message"]


def test_what_etcd_would_not_store_is_not_stored(api: Http) -> None:
    """No kind limits a custom resource; between 1.5 MiB and the 3 MiB of a request stands etcd."""
    fits, large = "x" * 1_500_000, "x" * 1_600_000
    assert api.post(WIDGETS, widget("a", size=fits)).status == 201

    created = api.post(WIDGETS, widget("b", size=large))
    changed = api.merge(f"{WIDGETS}/a", {"spec": {"size": large}})

    for answer in (created, changed):
        assert answer.status == 500
        assert {name: answer.body.get(name) for name in ("message", "reason", "details")} == {
            "message": "etcdserver: request is too large",
            "reason": None,
            "details": None,
        }
    [stored] = api.get(WIDGETS).body["items"]
    assert stored["spec"]["size"] == fits
    assert api.post(f"{WIDGETS}?dryRun=All", widget("b", size=large)).status == 201  # etcd is not asked
