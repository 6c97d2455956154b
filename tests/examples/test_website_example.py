"""``examples/website_controller.py`` as a program. What it does in detail: the tests of the tutorial."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.website_controller import CONFIGMAPS, DEPLOYMENTS, SERVICES, WEBSITES
from runtime.client import Client
from runtime.testing import FakeAPIServer
from runtime.types import JSONObject
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
SITE: JSONObject = {
    "apiVersion": "example.com/v1",
    "kind": "Website",
    "metadata": {"name": "shop"},
    "spec": {"html": "<h1>Hello</h1>", "replicas": 2},
}


@pytest.fixture
def client() -> Iterator[Client]:
    with FakeAPIServer() as server, server.client() as client:
        server.apply_manifests(ROOT / "examples" / "website_crd.yaml")
        command = [sys.executable, "-m", "examples.website_controller", server.url]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        try:
            yield client
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()


def _condition(client: Client) -> JSONObject:
    status = client.resource(WEBSITES, "default").get("shop").get("status") or {}
    found: JSONObject = next(iter(status.get("conditions") or ()), {})
    return found


def test_a_website_is_ready_when_its_deployment_is(client: Client) -> None:
    client.resource(WEBSITES, "default").create(SITE)
    eventually(lambda: _condition(client).get("status") == "False", "a Website that is not ready", 60)
    assert client.resource(CONFIGMAPS, "default").get("shop")["data"] == {"index.html": "<h1>Hello</h1>"}
    assert client.resource(SERVICES, "default").get("shop")["spec"]["selector"]["app.kubernetes.io/instance"] == "shop"
    deployments = client.resource(DEPLOYMENTS, "default")
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 2)
    deployments.patch("shop", {"status": counts | {"observedGeneration": 1}}, subresource="status")
    eventually(lambda: _condition(client).get("status") == "True", "a Website that is ready", 60)
    assert _condition(client)["message"] == "2 of 2 Pods serve the page"

    client.resource(WEBSITES, "default").patch("shop", {"spec": {"replicas": 3}})
    eventually(lambda: deployments.get("shop")["spec"]["replicas"] == 3, "three replicas", 60)
    eventually(
        lambda: _condition(client)["message"] == "0 of 3 Pods serve the page", "numbers of the new Deployment", 60
    )
