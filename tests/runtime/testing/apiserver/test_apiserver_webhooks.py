"""Versions of custom resources that a webhook converts into each other."""

from __future__ import annotations

import base64
import copy
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runtime.tls.certs import Authority
from runtime.tls.contexts import server_context
from tests.runtime.testing.apiserver.apiserver_helpers import CRDS, Http, Watching

V1 = "/apis/example.com/v1/namespaces/default/hosts"
V2 = "/apis/example.com/v2/namespaces/default/hosts"
JSON = dict[str, Any]


class Webhook:
    """Splits ``spec.address`` of v1 into ``spec.host`` and ``spec.port`` of v2, and joins them again.

    ``answer`` makes of the review that would be answered what is. ``raw``, if set, is all that comes instead.
    """

    def __init__(self) -> None:
        self.reviews: list[JSON] = []
        self.paths: list[str] = []
        self.answer: Callable[[JSON], Any] = lambda review: review
        self.raw: bytes | None = None
        authority = Authority.create()
        pair = authority.serving(["127.0.0.1"])
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.paths.append(self.path)
                if hook.raw is not None:
                    self.wfile.write(hook.raw)
                    self.close_connection = True
                    return
                data = json.dumps(hook.answer(hook.converted(review))).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = server_context(pair.certificate, pair.key).wrap_socket(
            self._server.socket, server_side=True
        )
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}/convert"
        self.bundle = base64.b64encode(authority.certificate).decode()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="test-webhook")
        self._thread.start()

    def converted(self, review: JSON) -> JSON:
        self.reviews.append(review)
        request = review["request"]
        objects = [_convert(copy.deepcopy(each), request["desiredAPIVersion"]) for each in request["objects"]]
        response = {"uid": request["uid"], "convertedObjects": objects, "result": {"status": "Success"}}
        return {"kind": review["kind"], "apiVersion": review["apiVersion"], "response": response}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _convert(obj: JSON, api_version: str) -> JSON:
    obj["apiVersion"], spec = api_version, obj.get("spec", {})
    if api_version.endswith("/v2"):
        host, _, port = spec.pop("address", ":").partition(":")
        spec.update(host=host, port=port)
    else:
        spec["address"] = f"{spec.pop('host', '')}:{spec.pop('port', '')}"
    return obj


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    running = Webhook()
    yield running
    running.close()


@pytest.fixture
def hosts(api: Http, webhook: Webhook) -> JSON:
    """A CRD whose objects are stored in v1."""

    def version(name: str, *fields: str) -> JSON:
        spec = {"type": "object", "properties": {field: {"type": "string"} for field in fields}}
        schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
        return {"name": name, "served": True, "storage": name == "v1", "schema": schema}

    client = {"url": webhook.url, "caBundle": webhook.bundle}
    conversion = {"strategy": "Webhook", "webhook": {"clientConfig": client, "conversionReviewVersions": ["v9", "v1"]}}
    spec = {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "hosts", "kind": "Host"},
        "versions": [version("v1", "address"), version("v2", "host", "port")],
        "conversion": conversion,
    }
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "hosts.example.com"},
        "spec": spec,
    }
    assert api.post(CRDS, crd).status == 201
    return crd


def host(version: str, name: str = "a", **spec: str) -> JSON:
    return {"apiVersion": f"example.com/{version}", "kind": "Host", "metadata": {"name": name}, "spec": spec}


def test_a_webhook_converts_what_is_written_and_what_is_read(api: Http, hosts: JSON, webhook: Webhook) -> None:
    made = api.post(V2, host("v2", host="h", port="1"))
    assert (made.status, made.body["spec"]) == (201, {"host": "h", "port": "1"})
    assert "warning" not in made.headers
    assert api.get(f"{V1}/a").body["spec"] == {"address": "h:1"}
    calls = len(webhook.reviews)
    assert api.get(f"{V1}/a").body["apiVersion"] == "example.com/v1"
    assert len(webhook.reviews) == calls, "v1 is what is stored"

    api.post(V1, host("v1", "b", address="i:2"))
    assert [each["spec"] for each in api.get(V2).body["items"]] == [
        {"host": "h", "port": "1"},
        {"host": "i", "port": "2"},
    ]
    changed = api.merge(f"{V2}/a", {"spec": {"port": "3"}})
    assert changed.body["spec"] == {"host": "h", "port": "3"}
    assert api.get(f"{V1}/a").body["spec"] == {"address": "h:3"}
    assert set(webhook.paths) == {"/convert?timeout=30s"}
    assert {each["apiVersion"] for each in webhook.reviews} == {"apiextensions.k8s.io/v1"}


def test_a_watch_shows_what_the_webhook_makes_of_each_change(
    api: Http, hosts: JSON, watch: Callable[[str], Watching]
) -> None:
    watching = watch(f"{V2}?watch=1")
    api.post(V1, host("v1", address="h:1"))
    (event,) = watching.wait(1)
    assert (event["type"], event["object"]["spec"]) == ("ADDED", {"host": "h", "port": "1"})


def test_labels_may_be_converted_and_nothing_else_of_the_metadata(api: Http, hosts: JSON, webhook: Webhook) -> None:
    def answer(review: JSON) -> JSON:
        metadata = review["response"]["convertedObjects"][0]["metadata"]
        metadata.update(labels={"from": "hook"}, finalizers=["example.com/mine"], resourceVersion="1")
        return review

    api.post(V1, host("v1", address="h:1"))
    webhook.answer = answer
    stored, shown = api.get(f"{V1}/a").body["metadata"], api.get(f"{V2}/a").body["metadata"]
    assert shown == {**stored, "labels": {"from": "hook"}}


def _set(path: str, value: Any) -> Callable[[JSON], JSON]:
    def answer(review: JSON) -> JSON:
        *steps, last = path.split(".")
        target: Any = review
        for step in steps:
            target = target[int(step) if step.isdigit() else step]
        target[last] = value
        return review

    return answer


OBJECT = "response.convertedObjects.0"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (_set("kind", "Review"), "failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview"),
        (_set("response", None), "failed: no response provided"),
        (_set("response.uid", "of another"), "failed: expected response.uid="),
        (_set("response.result", {"status": "Failure", "message": "no such port"}), "failed: no such port"),
        (_set("response.result", {}), "failed: response.result.status was '', not 'Success'"),
        (_set("response.convertedObjects", []), "returned 0 objects, expected 1"),
        (_set(f"{OBJECT}.apiVersion", "example.com/v3"), "invalid groupVersion (expected example.com/v2, received"),
        (_set(f"{OBJECT}.kind", "Guest"), "invalid kind (expected Host, received Guest)"),
        (_set(f"{OBJECT}.metadata", None), "missing metadata in converted object"),
        (_set(f"{OBJECT}.metadata.name", "b"), "must have the same name: a != b"),
        (_set(f"{OBJECT}.metadata.uid", "u"), "must have the same UID: "),
        (_set(f"{OBJECT}.metadata.labels", {"a": 1}), "metadata.labels[a] must be a string"),
        (_set(f"{OBJECT}.metadata.labels", {"a b": "c"}), "metadata.labels: Invalid value"),
        (lambda _: [], "failed: "),
    ],
)
def test_what_a_webhook_may_not_answer(
    answer: Callable[[JSON], Any], why: str, api: Http, hosts: JSON, webhook: Webhook
) -> None:
    api.post(V1, host("v1", address="h:1"))
    webhook.answer = answer
    for path in (f"{V2}/a", V2):
        refused = api.get(path)
        assert (refused.status, refused.body["status"]) == (500, "Failure")
        assert refused.body["message"].startswith("conversion webhook for example.com/v1, Kind=Host ")
        assert why in refused.body["message"]
    assert api.merge(f"{V2}/a", {"spec": {"port": "2"}}).status == 500
    webhook.answer = lambda review: review
    assert api.get(f"{V2}/a").body["spec"] == {"host": "h", "port": "1"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{",
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["nothing", "no-http", "cut", "no-json", "unavailable"],
)
def test_a_webhook_whose_answer_cannot_be_read(
    raw: bytes, api: Http, hosts: JSON, webhook: Webhook, watch: Callable[[str], Watching]
) -> None:
    api.post(V1, host("v1", address="h:1"))
    webhook.raw = raw
    refused = api.get(f"{V2}/a")
    assert refused.status == 500
    assert refused.body["message"].startswith("conversion webhook for example.com/v1, Kind=Host failed: ")
    (event,) = watch(f"{V2}?watch=1").wait(1)
    assert (event["type"], event["object"]["code"]) == ("ERROR", 500)


def test_a_webhook_that_is_gone_or_somebody_else(
    api: Http, hosts: JSON, webhook: Webhook, watch: Callable[[str], Watching]
) -> None:
    hosts["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"] = base64.b64encode(
        Authority.create().certificate
    ).decode()
    assert api.merge(f"{CRDS}/hosts.example.com", {"spec": hosts["spec"]}).status == 200
    refused = api.post(V2, host("v2", host="h", port="1"))
    assert refused.status == 500
    assert f'failed: Post "{webhook.url}?timeout=30s": ' in refused.body["message"]
    assert api.get(f"{V1}/a").status == 404, "nothing is stored that cannot be converted"

    api.post(V1, host("v1", address="h:1"))
    (event,) = watch(f"{V2}?watch=1").wait(1)
    assert (event["type"], event["object"]["code"]) == ("ERROR", 500)
