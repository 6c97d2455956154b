"""A plain HTTP client that hides nothing, and objects to send with it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from typing import Any

from runtime.testing.apiserver import FakeAPIServer
from tests.support.waiting import eventually as eventually

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"

_PATIENCE = 60.0  # seconds: others may need the machine, too

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
STATEFULSETS = "/apis/apps/v1/namespaces/default/statefulsets"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"

WIDGET_CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {
                    "status": {},
                    "scale": {
                        "specReplicasPath": ".spec.replicas",
                        "statusReplicasPath": ".status.replicas",
                        "labelSelectorPath": ".status.selector",
                    },
                },
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "replicas": {"type": "integer"},
                                    "size": {"type": "string"},
                                    "parts": {
                                        "type": "array",
                                        "x-kubernetes-list-type": "map",
                                        "x-kubernetes-list-map-keys": ["name"],
                                        "items": {
                                            "type": "object",
                                            "required": ["name"],
                                            "properties": {
                                                "name": {"type": "string"},
                                                "value": {"type": "integer"},
                                            },
                                        },
                                    },
                                    "tags": {
                                        "type": "array",
                                        "x-kubernetes-list-type": "set",
                                        "items": {"type": "string"},
                                    },
                                    "words": {"type": "array", "items": {"type": "string"}},
                                },
                            },
                            "status": {
                                "type": "object",
                                "x-kubernetes-preserve-unknown-fields": True,
                                "properties": {
                                    "replicas": {"type": "integer"},
                                    "selector": {"type": "string"},
                                },
                            },
                        },
                    }
                },
            }
        ],
    },
}


class Answer:
    """A response: its status, headers (lower-case names, all values) and decoded body."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers: dict[str, list[str]] = {}
        for name, value in response.getheaders():
            self.headers.setdefault(name.lower(), []).append(value)
        self.data = response.read()
        self.closes = response.will_close

    @property
    def body(self) -> Any:
        return json.loads(self.data)

    def __repr__(self) -> str:
        return f"{self.status} {self.data[:500]!r}"


class Http:
    """One kept-alive connection."""

    def __init__(self, server: FakeAPIServer) -> None:
        self.server = server
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=_PATIENCE)

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"User-Agent": "tests/1", **(headers or {})}
        if data is not None:
            sent["Content-Type"] = content_type
        self._connection.request(method, path, body=data, headers=sent)
        return Answer(self._connection.getresponse())

    def get(self, path: str, **headers: str) -> Answer:
        return self("GET", path, headers=headers)

    def post(self, path: str, body: Any) -> Answer:
        return self("POST", path, body)

    def put(self, path: str, body: Any) -> Answer:
        return self("PUT", path, body)

    def merge(self, path: str, body: Any) -> Answer:
        return self("PATCH", path, body, content_type=MERGE)

    def apply(self, path: str, body: Any, manager: str = "me", **query: str) -> Answer:
        parameters = "&".join(f"{k}={v}" for k, v in {"fieldManager": manager, **query}.items())
        return self("PATCH", f"{path}?{parameters}", body, content_type=APPLY)

    def delete(self, path: str, body: Any = None) -> Answer:
        return self("DELETE", path, body)

    def made(self, path: str, name: str, **fields: Any) -> dict[str, Any]:
        """Create an object of a built-in kind (no type needed) and return it."""
        metadata = {"name": name, **fields.pop("metadata", {})}
        answer = self.post(path, {"metadata": metadata, **fields})
        assert answer.status == 201, answer
        found: dict[str, Any] = answer.body
        return found

    def close(self) -> None:
        self._connection.close()


class Watching:
    """A watch, read in a thread."""

    def __init__(self, server: FakeAPIServer, path: str, accept: str = "application/json") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=_PATIENCE)
        self._connection.request("GET", path, headers={"Accept": accept})
        self.response = self._connection.getresponse()
        assert self.response.status == 200, self.response.read()
        self._changed = threading.Condition()
        self.events: list[dict[str, Any]] = []
        self.ended = False
        self._thread = threading.Thread(target=self._read, name="test-watch", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while line := self.response.readline():
                with self._changed:
                    self.events.append(json.loads(line))
                    self._changed.notify_all()
        except (OSError, http.client.HTTPException, ValueError, AttributeError):
            pass  # closed by the test
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def wait(self, count: int, timeout: float = _PATIENCE) -> list[dict[str, Any]]:
        """The events, once there are ``count`` of them."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.events) >= count, timeout), self.brief
            return list(self.events)

    def wait_end(self, timeout: float = _PATIENCE) -> list[dict[str, Any]]:
        with self._changed:
            assert self._changed.wait_for(lambda: self.ended, timeout), self.brief
            return list(self.events)

    @property
    def brief(self) -> list[tuple[str, str]]:
        """Type and name of each event."""
        return [(e["type"], e["object"].get("metadata", {}).get("name", "")) for e in self.events]

    def close(self) -> None:
        if self._connection.sock is not None:
            with contextlib.suppress(OSError):  # reset by the server
                self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self.response.close()
        self._connection.close()


def widget(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}
