"""Whatever is sent: an answer that says what is wrong, never an error of the server itself."""

from __future__ import annotations

import http.client
import json
import logging
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.testing.apiserver import FakeAPIServer
from runtime.testing.kinds.model import Kind
from runtime.testing.kinds.registry import DefaultRegistry
from tests.runtime.testing.apiserver.apiserver_helpers import (
    APPLY,
    CONFIGMAPS,
    CRDS,
    JSON_PATCH,
    MERGE,
    PODS,
    STRATEGIC,
    WIDGET_CRD,
    WIDGETS,
)

FIELDS = [
    *("apiVersion", "kind", "metadata", "spec", "status", "data", "name", "namespace", "labels", "annotations"),
    *("finalizers", "ownerReferences", "managedFields", "resourceVersion", "uid", "generateName", "generation"),
    *("containers", "env", "image", "ports", "containerPort", "volumes", "replicas", "parts", "tags", "words"),
    *("selector", "template", "$patch", "$setElementOrder/containers", "$retainKeys", "$deleteFromPrimitiveList/x"),
    *("deletionTimestamp", "creationTimestamp", "manager", "operation", "fieldsV1", "f:data", "."),
    *("propagationPolicy", "preconditions", "gracePeriodSeconds", "dryRun", "op", "path", "value", "from"),
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.sampled_from(["", "a", "v1", "Pod", "ConfigMap", "Widget", "example.com/v1", "merge", "replace", "delete"]),
    st.sampled_from(["Apply", "Update", "add", "remove", "test", "/metadata/name", "/spec/-", "Foreground", "0", "7"]),
    st.text(max_size=8),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5)),
    max_leaves=20,
)
TYPES = {WIDGETS: ("example.com/v1", "Widget")}
for _kind in DefaultRegistry().kinds():
    _base = f"{_kind.gvr.prefix}/namespaces/default" if _kind.namespaced else _kind.gvr.prefix
    TYPES[f"{_base}/{_kind.gvr.resource}"] = (_kind.gvr.api_version, _kind.kind)
COLLECTIONS = sorted(TYPES)
# 500 is the real server's own answer to these.
_HONEST = (
    "resourceVersion",
    "merge key",
    "unknown patch type",
    "$setElementOrder",
    "must be a list",
    "typed patch object",
)


class Wire:
    """A server with an object of each of a few kinds, and a connection to it; what hangs breaks the connection."""

    def __init__(self, server: FakeAPIServer) -> None:
        self.server = server
        self._connection = self._connect()
        self.ask("POST", CRDS, WIDGET_CRD)
        self.ask("POST", CONFIGMAPS, {"metadata": {"name": "a"}, "data": {"k": "v"}})
        self.ask("POST", PODS, {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
        widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": {"replicas": 1}}
        self.ask("POST", WIDGETS, widget)
        self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "a"}})

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)

    def ask(
        self, method: str, path: str, body: Any, media: str = "application/json", query: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and decoded body; no body of a watch, which is left at once."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"{quote(path)}?{urlencode(query)}" if query else quote(path)
        self._connection.request(method, url, data, {"Content-Type": media, "User-Agent": "fuzz"})
        response = self._connection.getresponse()
        streams = response.getheader("Transfer-Encoding") == "chunked" and method != "HEAD"
        if streams or response.will_close:
            content = None if streams else response.read()
            self.close()
            self._connection = self._connect()
            if streams:
                return response.status, None
        else:
            content = response.read()
        plain = response.getheader("Content-Type") == "application/json" and content
        return response.status, orjson.loads(content) if plain and content else content

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def wire(server: FakeAPIServer, caplog: pytest.LogCaptureFixture) -> Iterator[Wire]:
    caplog.set_level(logging.ERROR)
    opened = Wire(server)
    yield opened
    opened.close()


def judge(status: int, body: Any, what: object) -> None:
    assert 200 <= status < 600
    if status >= 400 and isinstance(body, dict):
        assert body["kind"] == "Status"
        assert body["message"]
    if status >= 500:
        assert any(words in str(body) for words in _HONEST), (what, body)


FUZZ = settings(
    max_examples=int(os.environ.get("FUZZ", "100")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@FUZZ
@given(st.sampled_from(COLLECTIONS), VALUES, st.booleans())
def test_any_object_can_be_offered(wire: Wire, path: str, value: Any, typed: bool) -> None:
    if typed and isinstance(value, dict):
        api_version, kind = TYPES[path]
        value = {**value, "apiVersion": api_version, "kind": kind}
    for method, where in (("POST", path), ("PUT", f"{path}/a"), ("PUT", f"{path}/a/status")):
        judge(*wire.ask(method, where, value), (method, where, value))


def well_typed(draw: Any, schema: Any, kind: Kind, depth: int) -> Any:
    """A value that fits a schema."""
    schema = kind.resolve(schema)
    if schema.get("x-kubernetes-int-or-string"):
        return draw(st.sampled_from([0, 1, "50%", "http", ""]))
    if schema.get("x-quantity"):
        return draw(st.sampled_from(["1", "100m", "1Gi", 2]))
    shape = schema.get("type")
    if shape == "object":
        if depth <= 0:
            return {}
        values = schema.get("additionalProperties")
        if isinstance(values, dict):
            return {key: well_typed(draw, values, kind, depth - 1) for key in draw(st.sets(KEYS, max_size=2))}
        names = sorted(schema.get("properties") or ())
        chosen = draw(st.sets(st.sampled_from(names), max_size=6)) if names else ()
        chosen = {*chosen, *(schema.get("required") or ())} if draw(st.booleans()) else chosen
        return {name: well_typed(draw, schema["properties"][name], kind, depth - 1) for name in sorted(chosen)}
    if shape == "array":
        return [well_typed(draw, schema["items"], kind, depth - 1) for _ in range(draw(st.integers(0, 2)))]
    if shape in ("integer", "number"):
        return draw(st.integers(-1, 100000))
    if shape == "boolean":
        return draw(st.booleans())
    formats = {"date-time": "2020-01-01T00:00:00Z", "byte": "YQ=="}
    if schema.get("format") in formats:
        return formats[schema["format"]]
    return draw(st.sampled_from(WORDS))


KEYS = st.sampled_from(["app", "cpu", "a/b", ""])
WORDS = ["", "a", "b", "Always", "Never", "ClusterIP", "None", "TCP", "10.0.0.1", "default", "RollingUpdate", "Equal"]


@FUZZ
@given(st.data())
def test_any_well_typed_object_can_be_offered(wire: Wire, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(COLLECTIONS))
    kind = next(k for k in wire.server.registry.kinds() if (k.gvr.api_version, k.kind) == TYPES[path])
    properties: Any = kind.resolve(kind.schema or {}).get("properties") or {}
    names = sorted(set(properties) - {"metadata", "apiVersion", "kind"})
    body = {
        name: well_typed(data.draw, properties[name], kind, 6)
        for name in names
        if data.draw(st.sampled_from([True, True, False]))
    }
    body |= {"apiVersion": kind.gvr.api_version, "kind": kind.kind, "metadata": {"generateName": "x-"}}
    status, made = wire.ask("POST", path, body)
    judge(status, made, ("POST", path, body))
    if status != 201 or "name" not in made.get("metadata", {}):
        return
    where = f"{path}/{made['metadata']['name']}"
    assert wire.ask("PUT", where, made) == (200, made), "writing back what was answered changes nothing"
    patch = {name: well_typed(data.draw, properties[name], kind, 6) for name in names}
    for media in (MERGE, STRATEGIC, APPLY):
        patch |= {"apiVersion": kind.gvr.api_version, "kind": kind.kind}
        judge(*wire.ask("PATCH", where, patch, media, {"fieldManager": "f", "dryRun": "All"}), (media, path, patch))
    if "status" in kind.subresources:
        judge(*wire.ask("PATCH", f"{where}/status", patch, MERGE), ("status", path, patch))
    judge(*wire.ask("DELETE", where, b""), ("DELETE", where))


@FUZZ
@given(
    st.sampled_from(COLLECTIONS),
    st.sampled_from([MERGE, JSON_PATCH, STRATEGIC, APPLY]),
    st.sampled_from(["", "/status", "/scale"]),
    VALUES,
)
def test_any_patch_can_be_offered(wire: Wire, path: str, media: str, subresource: str, value: Any) -> None:
    if media == APPLY and isinstance(value, dict):
        api_version, kind = TYPES[path]
        value = {**value, "apiVersion": api_version, "kind": kind}
    query = {"fieldManager": "fuzz", "force": "true"} if media == APPLY else {}
    judge(*wire.ask("PATCH", f"{path}/a{subresource}", value, media, query), (media, value))


OPERATIONS = st.lists(
    st.fixed_dictionaries(
        {
            "op": st.sampled_from(["add", "remove", "replace", "test", "move", "copy"]),
            "path": st.sampled_from(
                [
                    *("/metadata/labels", "/metadata/labels/x", "/metadata", "/spec/containers/0", "/spec", "/data/k"),
                    *("/metadata/finalizers", "/metadata/finalizers/-", "/metadata/managedFields", "/status", ""),
                ]
            ),
        },
        optional={"value": VALUES, "from": st.sampled_from(["/metadata", "/spec", "/data", "/metadata/name"])},
    ),
    max_size=4,
)


@FUZZ
@given(st.sampled_from(COLLECTIONS), OPERATIONS)
def test_any_json_patch_can_be_offered(wire: Wire, path: str, operations: list[Any]) -> None:
    judge(*wire.ask("PATCH", f"{path}/a", operations, JSON_PATCH), operations)


@FUZZ
@given(st.sampled_from([MERGE, STRATEGIC, APPLY]), st.dictionaries(st.sampled_from(FIELDS[3:]), VALUES, max_size=4))
def test_any_metadata_can_be_patched(wire: Wire, media: str, metadata: dict[str, Any]) -> None:
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
    judge(*wire.ask("PATCH", f"{PODS}/a", body, media, {"fieldManager": "fuzz"}), metadata)


@FUZZ
@given(st.sampled_from(COLLECTIONS), VALUES)
def test_any_delete_options_can_be_offered(wire: Wire, path: str, value: Any) -> None:
    judge(*wire.ask("DELETE", f"{path}/a", value, query={"dryRun": "All"}), value)


@FUZZ
@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "LINK"]),
    st.lists(
        st.sampled_from(
            ["api", "apis", "v1", "apps", "namespaces", "default", "pods", "a", "log", "status", "watch", ""]
        )
        | st.text(max_size=4),
        max_size=8,
    ),
    st.dictionaries(
        st.sampled_from(
            [
                *("watch", "limit", "continue", "resourceVersion", "resourceVersionMatch", "labelSelector"),
                *("fieldSelector", "timeoutSeconds", "sendInitialEvents", "dryRun", "fieldValidation", "fieldManager"),
                *("force", "container"),
            ]
        ),
        st.text(max_size=6) | st.sampled_from(["true", "0", "1", "a=b", "a in (b", "Exact", "NotOlderThan"]),
        max_size=4,
    ),
)
def test_any_path_and_query_can_be_asked(wire: Wire, method: str, parts: list[str], query: dict[str, str]) -> None:
    path = "/" + "/".join(parts)
    status, body = wire.ask(method, path, b"", query=query)
    if not (status == 504 and "Too large resource version" in str(body)):
        judge(status, body, (method, path, query))
