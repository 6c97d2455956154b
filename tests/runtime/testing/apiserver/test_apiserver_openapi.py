"""The server does what its OpenAPI documents say, and answers whatever is made up from them."""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.testing.apiserver import FakeAPIServer
from tests.runtime.testing.apiserver.apiserver_helpers import CRDS, WIDGET_CRD, Http

FUZZ = settings(
    max_examples=int(os.environ.get("FUZZ", "150")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
# Answered so by a real server, too: there is no node to connect to; a patch that its own code cannot apply.
_HONEST = ("no connections to nodes", "no endpoints available", "Too large resource version")
_HONEST_500 = ("resourceVersion", "merge key", "$patch", "must be a list", "typed patch object")
NAMES = st.sampled_from(["a", "a", "default", "none", "A_", "x-1", "a%2Fb", "é"])
TEXTS = st.sampled_from(["", "a", "All", "a=b", "metadata.name=a", "Exact", "0", "1", "Foreground", "Strict", "null"])
WRONG: st.SearchStrategy[Any] = st.sampled_from([None, 1, "x", [], {}, [None], True, -1, {"a": []}])
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": st.sampled_from(["", "a", "a.b/c", "2020-01-01T00:00:00Z", "1Gi", "50%", "AA==", "10.0.0.1", "None"]),
    "integer": st.integers(-2, 70000) | st.just(2**40),
    "number": st.integers(-2, 9) | st.just(0.5),
    "boolean": st.booleans(),
}


@dataclass(frozen=True)
class Operation:
    """One request that a document describes."""

    path: str
    method: str
    described: dict[str, Any]
    parameters: tuple[dict[str, Any], ...]

    @property
    def bodies(self) -> dict[str, Any]:
        found: dict[str, Any] = self.described.get("requestBody", {}).get("content", {})
        return found

    def __repr__(self) -> str:
        return f"{self.method} {self.path}"


class Documents:
    """The documents of one server."""

    def __init__(self, api: Http) -> None:
        self.schemas: dict[str, Any] = {}
        self.operations: list[Operation] = []
        for entry in api.get("/openapi/v3").body["paths"].values():
            document = api.get(entry["serverRelativeURL"]).body
            self.schemas |= document["components"]["schemas"]
            for path, item in document["paths"].items():
                shared = item.get("parameters", [])
                for method, described in item.items():
                    if method != "parameters":
                        parameters = (*shared, *described.get("parameters", []))
                        self.operations.append(Operation(path, method.upper(), described, parameters))

    def values(self, schema: Any, depth: int = 6) -> st.SearchStrategy[Any]:
        """Values that mostly fit a schema; now and then one that does not."""
        schema = schema.get("allOf", [schema])[0]
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return st.deferred(lambda: self.values(self.schemas[name], depth - 1)) if depth > 0 else st.just({})
        if "enum" in schema:
            return st.sampled_from(schema["enum"]) | TEXTS
        kind = schema.get("type")
        if kind == "array":
            items = self.values(schema["items"], depth - 1)
            return st.lists(items, max_size=2) | WRONG if depth > 0 else st.just([])
        if kind == "object":
            return self._objects(schema, depth)
        one_of = schema.get("oneOf")
        if one_of:
            return st.sampled_from(one_of).flatmap(lambda each: self.values(each, depth))
        return SCALARS.get(str(kind), WRONG)

    def _objects(self, schema: Any, depth: int) -> st.SearchStrategy[Any]:
        properties = {key: each for key, each in schema.get("properties", {}).items() if key != "managedFields"}
        if properties and depth > 0:
            always = {*schema.get("required", ()), *({"spec", "template"} & set(properties))}
            chosen = st.lists(st.sampled_from(sorted(properties)), max_size=4, unique=True)
            return chosen.flatmap(
                lambda names: st.fixed_dictionaries(
                    {name: self.values(properties[name], depth - 1) for name in sorted({*always, *names})}
                )
            )
        inner = schema.get("additionalProperties")
        if isinstance(inner, dict) and depth > 0:
            return st.dictionaries(TEXTS, self.values(inner, depth - 1), max_size=2)
        return st.just({})


@pytest.fixture
def served(server: FakeAPIServer, api: Http, caplog: pytest.LogCaptureFixture) -> Documents:
    caplog.set_level(logging.ERROR)
    assert api.post(CRDS, WIDGET_CRD).status == 201
    api.made("/api/v1/namespaces/default/configmaps", "a")
    api.made("/api/v1/namespaces/default/pods", "a", spec={"containers": [{"name": "c", "image": "i"}]})
    api.made("/api/v1/nodes", "a")
    return Documents(api)


def test_every_operation_that_is_described_is_served(served: Documents, api: Http) -> None:
    assert len(served.operations) > 500
    for operation in served.operations:
        path = operation.path.format(name="a", namespace="default")
        types = list(operation.bodies) or ["application/json"]
        body: Any = [] if types[0] == "application/json-patch+json" else {"metadata": {"name": "a"}}
        if operation.method == "DELETE":
            body = None  # with one the query would not count, and the deletion be no dry run
        answer = api(operation.method, f"{path}?dryRun=All&fieldManager=x", body, content_type=types[0])

        assert answer.status not in (405, 415, 500), (operation, answer)
        assert answer.status != 404 or answer.body.get("details", {}).get("name"), (operation, answer)


def test_every_kind_of_discovery_is_described(served: Documents, api: Http) -> None:
    described = {(operation.method, operation.path) for operation in served.operations}
    versions = ["/api/v1", *(f"/apis/{each['preferredVersion']['groupVersion']}" for each in _groups(api))]
    methods = {"get": "GET", "list": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}
    for base in versions:
        for resource in api.get(base).body["resources"]:
            name, _, sub = resource["name"].partition("/")
            inside = f"{base}/namespaces/{{namespace}}" if resource["namespaced"] else base
            for verb in set(resource["verbs"]) & set(methods):
                path = f"{inside}/{name}"
                if sub or verb not in ("list", "create"):
                    path += "/{name}"
                path += f"/{sub}" if sub else ""
                if resource["kind"].endswith("Options"):
                    continue  # connections: only some of their methods are described
                assert (methods[verb], path) in described


def _groups(api: Http) -> list[Any]:
    found: list[Any] = api.get("/apis").body["groups"]
    return found


@FUZZ
@given(data=st.data())
def test_any_request_made_up_from_the_documents(served: Documents, api: Http, data: st.DataObject) -> None:
    operation = data.draw(st.sampled_from(served.operations))
    path = re.sub(r"\{\w+\}", lambda _: quote(data.draw(NAMES), safe="%"), operation.path)
    query = {}
    for parameter in operation.parameters:
        if parameter["in"] == "query" and data.draw(st.sampled_from([True, False, False])):
            query[parameter["name"]] = str(data.draw(SCALARS[parameter["schema"]["type"]] | TEXTS)).lower()
    media = data.draw(st.sampled_from(sorted(operation.bodies))) if operation.bodies else "application/json"
    body = data.draw(served.values(operation.bodies[media]["schema"])) if operation.bodies else None
    if media.endswith("json-patch+json"):
        body = [{"op": "add", "path": "/metadata/labels", "value": body}]
    content = b"" if body is None else json.dumps(body).encode()

    status, answer = _ask(api, operation.method, f"{path}?{urlencode(query)}", content, media)

    shown = (operation, path, query, media, body, answer)
    assert 200 <= status < 600, shown
    if status == 404 and "%2F" in path:
        return  # a path of more parts, which names nothing
    if status >= 400:
        decoded = json.loads(answer)
        assert decoded["kind"] == "Status", shown
        assert decoded["message"], shown
        assert decoded["code"] == status, shown
    if status >= 500:
        honest = _HONEST_500 if status == 500 else _HONEST
        assert any(words in str(answer) for words in honest), shown


def _ask(api: Http, method: str, url: str, content: bytes, media: str) -> tuple[int, bytes]:
    """Over a connection of its own, so that a watch can be left; what hangs runs into its timeout."""
    connection = http.client.HTTPConnection("127.0.0.1", api.server.port, timeout=60)
    try:
        connection.request(method, url, content, {"Content-Type": media, "User-Agent": "fuzz"})
        response = connection.getresponse()
        streams = response.getheader("Transfer-Encoding") == "chunked"
        return response.status, b"" if streams and response.status < 400 else response.read()
    finally:
        connection.close()
