"""An operator of kopf, from the first look at the cluster to the last finalizer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import kopf
import pytest

from runtime import GVR
from runtime.client import Client, NotFound, ResourceClient
from runtime.testing import FakeAPIServer
from tests.support.waiting import eventually

WIDGETS = GVR("example.com", "v1", "widgets")
CRD: dict[str, Any] = {
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
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                },
            }
        ],
    },
}


class Operator:
    """kopf in a thread, with handlers that write down what they are told."""

    def __init__(self, server: FakeAPIServer) -> None:
        self.told: list[tuple[str, Any]] = []
        self._server = server
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._registry = kopf.OperatorRegistry()
        self._declare()
        self._thread = threading.Thread(target=self._run, name="test-kopf")

    def _declare(self) -> None:
        registry = self._registry

        @kopf.on.startup(registry=registry)
        async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
            settings.posting.enabled = True
            settings.scanning.disabled = False
            settings.watching.server_timeout = 60

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.ConnectionInfo:
            return kopf.ConnectionInfo(server=self._server.url)

        @kopf.on.create("example.com", "v1", "widgets", id="created", registry=registry)
        async def created(body: kopf.Body, spec: kopf.Spec, **_: Any) -> dict[str, Any]:
            self.told.append(("created", spec["size"]))
            kopf.info(body, reason="Made", message="it is made")
            return {"made": spec["size"]}

        @kopf.on.update("example.com", "v1", "widgets", field="spec", registry=registry)
        async def updated(old: Any, new: Any, **_: Any) -> None:
            self.told.append(("updated", (old["size"], new["size"])))

        @kopf.on.delete("example.com", "v1", "widgets", registry=registry)
        async def deleted(name: str, **_: Any) -> None:
            self.told.append(("deleted", name))

    def _run(self) -> None:
        asyncio.run(
            kopf.operator(
                registry=self._registry,
                standalone=True,
                clusterwide=True,
                stop_flag=self._stop,
                ready_flag=self._ready,
            )
        )

    def __enter__(self) -> Operator:
        self._thread.start()
        eventually(lambda: self._ready.is_set() or not self._thread.is_alive(), timeout=60)
        assert self._ready.is_set()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()


@pytest.fixture
def client() -> Iterator[tuple[FakeAPIServer, Client]]:
    with FakeAPIServer() as server, server.client() as client:
        client.resource(GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")).create(CRD)
        yield server, client


def test_an_operator_of_kopf_leads_an_object_through_its_life(client: tuple[FakeAPIServer, Client]) -> None:
    server, ours = client
    widgets = ours.resource(WIDGETS, "default")
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1}}
    with Operator(server) as operator:
        widgets.create(widget)
        eventually(lambda: (widgets.get("w").get("status") or {}).get("created") == {"made": 1}, timeout=60)
        assert widgets.get("w").finalizers == ["kopf.zalando.org/KopfFinalizerMarker"]

        widgets.patch("w", {"spec": {"size": 2}})
        eventually(lambda: ("updated", (1, 2)) in operator.told, timeout=60)
        eventually(lambda: _last_handled(widgets) is not None and '"size":2' in str(_last_handled(widgets)), timeout=60)

        widgets.delete("w")
        eventually(lambda: _is_gone(widgets), timeout=60)
        events = ours.resource(GVR("", "v1", "events"), "default")
        eventually(lambda: "Made" in [each["reason"] for each in events.list()], timeout=60)

    assert operator.told == [("created", 1), ("updated", (1, 2)), ("deleted", "w")]


def _last_handled(widgets: ResourceClient) -> str | None:
    return widgets.get("w").annotations.get("kopf.zalando.org/last-handled-configuration")


def _is_gone(widgets: ResourceClient) -> bool:
    try:
        widgets.get("w")
    except NotFound:
        return True
    return False
