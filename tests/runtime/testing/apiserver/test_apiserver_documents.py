"""Discovery, OpenAPI, health: in which form, and whether a client must fetch them again."""

from __future__ import annotations

import json

import pytest

from runtime.testing.kinds import protobuf
from tests.runtime.testing.apiserver.apiserver_helpers import CRDS, WIDGET_CRD, Answer, Http

PROTOBUF = "application/vnd.kubernetes.protobuf"
AGGREGATED = "g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def unpack(answer: Answer) -> dict[str, object]:
    assert answer.headers["content-type"][0].startswith(PROTOBUF), answer
    envelope = protobuf.open_envelope(answer.data)
    return protobuf.decode(envelope.api_version, envelope.kind, envelope.raw)


@pytest.mark.parametrize("path", ["/api", "/apis", "/apis/apps", "/api/v1", "/apis/apps/v1", "/apis/apps/v1/"])
def test_discovery_in_protobuf_says_what_json_says(api: Http, path: str) -> None:
    told, expected = unpack(api.get(path, Accept=f"{PROTOBUF}, */*")), api.get(path).body

    told.pop("apiVersion"), expected.pop("apiVersion", None)
    assert told == expected


@pytest.mark.parametrize("path", ["/api", "/apis"])
def test_aggregated_discovery_whatever_the_order_of_its_parameters(api: Http, path: str) -> None:
    expected = api.get(path, Accept=f"application/json;{AGGREGATED}")
    assert expected.headers["content-type"] == [f"application/json;{AGGREGATED}"]
    assert expected.body["kind"] == "APIGroupDiscoveryList"
    turned = ";".join(reversed(AGGREGATED.split(";")))
    for accept in (f"application/json;q=0.5,application/json; {turned.replace(';', ' ; ')}", f"*/*;{turned}"):
        assert api.get(path, Accept=accept).body == expected.body
    in_protobuf = api.get(path, Accept=f"{PROTOBUF};{AGGREGATED},application/json")
    assert in_protobuf.headers["content-type"] == [f"{PROTOBUF};{AGGREGATED}"]
    assert unpack(in_protobuf) == expected.body


def test_an_aggregated_document_is_fetched_again_only_when_it_has_changed(api: Http) -> None:
    accept = {"Accept": f"application/json;{AGGREGATED}"}
    first = api("GET", "/apis", headers=accept)
    [tag] = first.headers["etag"]
    assert (first.headers["vary"], first.headers["cache-control"]) == (["Accept"], ["public"])

    again = api("GET", "/apis", headers={**accept, "If-None-Match": tag})
    assert (again.status, again.data, again.headers["etag"]) == (304, b"", [tag])
    assert "content-type" not in again.headers  # a cache would take it for that of what it has
    assert "content-length" not in again.headers
    assert api.post(CRDS, WIDGET_CRD).status == 201
    changed = api("GET", "/apis", headers={**accept, "If-None-Match": tag})
    assert changed.status == 200
    assert changed.headers["etag"] != [tag]


def test_a_document_of_open_api_is_kept_by_its_hash(api: Http) -> None:
    url = api.get("/openapi/v3").body["paths"]["apis/apps/v1"]["serverRelativeURL"]
    found = api.get(url)
    assert found.headers["cache-control"] == ["public, immutable"]
    assert found.headers["expires"][0].endswith("GMT")
    path, digest = url.split("?hash=")
    assert found.headers["etag"] == [f'"{digest}"']

    assert api("GET", path, headers={"If-None-Match": f'"other", "{digest}"'}).status == 304
    moved = api.get(f"{path}?hash=0123")
    assert (moved.status, moved.headers["location"]) == (301, [url])
    assert api.get(path).headers["cache-control"] == ["no-cache, private"]
    for other in ("/openapi/v3?hash=0123", "/openapi/v2?hash=0123"):
        assert api.get(other).status == 200  # they have no hash of their own


@pytest.mark.parametrize(
    ("path", "accept", "content_type"),
    [
        ("/openapi/v2", "application/json", "application/json"),
        ("/openapi/v2", "*/*", "application/json"),
        (
            "/openapi/v2",
            "application/com.github.proto-openapi.spec.v2@v1.0+protobuf, application/json",
            "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
        ),
        ("/openapi/v2", "application/yaml", None),
        ("/openapi/v3/api/v1", "application/json;q=0.5,text/html", "application/json"),
        ("/openapi/v3/api/v1", "text/html", None),
        ("/openapi/v3", "text/html", "text/plain; charset=utf-8"),
    ],
)
def test_forms_of_open_api(api: Http, path: str, accept: str, content_type: str | None) -> None:
    answer = api.get(path, Accept=accept)

    assert answer.status == (200 if content_type else 406)
    assert answer.headers["content-type"] == [content_type] if content_type else answer.data == b""


def test_what_is_no_form_of_discovery(api: Http) -> None:
    answer = api.get("/apis/apps/v1", Accept="text/html")
    assert (answer.status, answer.body["reason"]) == (406, "NotAcceptable")
    assert api.get("/apis/apps/v1", Accept="application/json;as=Table;v=v1;g=meta.k8s.io").status == 406
    assert api.get("/", Accept="text/html").status == 200
    answer = api.post("/apis/apps", {})
    assert (answer.status, answer.body["reason"]) == (405, "MethodNotAllowed")


def test_the_version_is_told_in_json_alone(api: Http) -> None:
    refused = api.get("/version", Accept="text/html")
    assert (refused.status, refused.body["reason"]) == (406, "NotAcceptable")
    assert refused.body["message"] == "406: Not Acceptable\n\nAvailable representations: application/json"

    for accept, media in (("application/yaml", "application/yaml"), (PROTOBUF, PROTOBUF)):
        answer = api.get("/version", Accept=accept)
        assert (answer.status, answer.headers["content-type"]) == (406, [media])
    for accept in ("", "text/html, */*", "application/json, */*", f"{PROTOBUF},application/json;q=0.1"):
        assert api.get("/version", Accept=accept).body["major"] == "1"


def test_health(api: Http) -> None:
    assert api.get("/readyz/ping").data == b"ok"
    assert api.get("/livez?verbose").data.decode() == "[+]ping ok\n[+]log ok\n[+]etcd ok\nlivez check passed\n"
    shown = api.get("/readyz?verbose&exclude=etcd").data.decode()
    assert "[+]etcd excluded: ok\n" in shown
    assert shown.endswith("readyz check passed\n")
    assert 'no matches for "nope"' in api.get("/healthz?verbose&exclude=nope").data.decode()
    for path in ("/livez/nope", "/livezz", "/healthz/"):
        assert api.get(path).status == (200 if path == "/healthz/" else 404)
    assert json.loads(api.get("/version").data)["minor"] == "36"
