"""The examples of docs/controllers.md run as they stand."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples.foo_controller import build
from runtime.client import NotFound, Unstructured
from runtime.controller import ReconcileContext, finalized, set_condition
from runtime.manager import Manager
from runtime.testing import FakeAPIServer
from runtime.types import GVR, JSONObject, Request, Result
from tests.support.managers import CONFIGMAPS, FOO_CRD, FOOS, OFF, eventually, running

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "controllers.md"
DEPLOYMENTS = GVR("apps", "v1", "deployments")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
NAMES = {
    "CONFIGMAPS": CONFIGMAPS,
    "DEPLOYMENTS": DEPLOYMENTS,
    "FOOS": FOOS,
    "FakeAPIServer": FakeAPIServer,
    "JSONObject": JSONObject,
    "Manager": Manager,
    "NotFound": NotFound,
    "ReconcileContext": ReconcileContext,
    "Request": Request,
    "Result": Result,
    "build": build,
    "finalized": finalized,
    "set_condition": set_condition,
    "threading": threading,
}
FOO = {
    "apiVersion": FOOS.api_version,
    "kind": "Foo",
    "metadata": {"name": "shop", "namespace": "default"},
    "spec": {"deploymentName": "shop", "replicas": 3},
}
LABELS = {"app": "shop"}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "shop", "namespace": "default"},
    "spec": {
        "selector": {"matchLabels": LABELS},
        "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    },
}


def example(word: str) -> str:
    """The one that holds this word."""
    (found,) = [text for text in EXAMPLES if word in text]
    return str(found)


def run(text: str, **names: Any) -> dict[str, Any]:
    names = {**NAMES, **names}
    exec(compile(text, PAGE.name, "exec"), names)
    return names


@pytest.fixture
def served(server: FakeAPIServer, tmp_path: Path) -> FakeAPIServer:
    crd = yaml.safe_load(FOO_CRD.read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["status"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    path = tmp_path / "crd.yaml"
    path.write_text(yaml.safe_dump(crd))
    server.apply_manifests(path)
    return server


def test_the_shape_of_a_controller(served: FakeAPIServer) -> None:
    """Both examples, put together as the page does."""
    client = served.client()
    reconcile = run(example("from the cache; no request"), deployment=DEPLOYMENT)["reconcile"]
    program = example("mgr.run()").replace("mgr.run()", "").replace("load_client(), ", "client, **OFF, ")
    mgr = run(program, client=client, OFF=OFF, reconcile=reconcile)["mgr"]
    foo = client.resource(FOOS, "default").create(FOO)
    with running(mgr, wait=False):
        eventually(lambda: client.resource(DEPLOYMENTS, "default").list())
    (child,) = client.resource(DEPLOYMENTS, "default").list()
    assert child.controller_owner is not None
    assert child.controller_owner.uid == foo.uid


def test_writing(served: FakeAPIServer) -> None:
    client = served.client()

    def reconcile(request: Request, ctx: ReconcileContext) -> None:
        run(example("def mutate"), foo=ctx.lister(FOOS).get(request), ctx=ctx)

    manager, errors = controlled(client, reconcile)
    foos = client.resource(FOOS, "default")
    foos.create(FOO)
    with running(manager):
        eventually(lambda: "status" in foos.get("shop"))
    (condition,) = foos.get("shop")["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("Ready", "True", "Deployed")
    assert client.resource(CONFIGMAPS, "default").get("shared")["data"] == {"replicas": "3"}
    assert errors() == 0


def test_finalizers(served: FakeAPIServer) -> None:
    client = served.client()
    calls: list[str] = []

    def make_bucket(_: Unstructured) -> None:
        calls.append("make")

    def drop_bucket(_: Unstructured) -> None:
        calls.append("drop")

    text = example("make_bucket")
    manager, errors = controlled(client, run(text, make_bucket=make_bucket, drop_bucket=drop_bucket)["reconcile"])
    (controller,) = manager.controllers()
    foos = client.resource(FOOS, "default")
    foos.create(FOO)
    with running(manager):
        eventually(lambda: calls)
        assert foos.get("shop").finalizers == ["example.com/bucket"]
        foos.delete("shop")
        eventually(lambda: not foos.list() and not manager.informer(FOOS).indexer.list())
        controller.queue.add(Request("default", "shop"))  # its deletion is told, too: whichever comes first
        eventually(lambda: not (controller.queue.stats().depth or controller.queue.stats().processing))
    assert calls[0] == "make"
    assert calls[-1] == "drop"
    assert errors() == 0


def test_testing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert not run(example("FakeAPIServer"))["thread"].is_alive()


def controlled(client: Any, reconcile: Any) -> tuple[Manager, Callable[[], float]]:
    """A manager with one controller, and how many errors that has met."""
    manager = Manager(client, **OFF)
    controller = manager.controller("docs").for_(FOOS).complete(reconcile)
    return manager, lambda: controller.stats.errors.value
