"""What the local controllers delete is what they looked at, not what has its name by now."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from runtime.client import Client, ResourceClient
from runtime.types import GVR
from tests.runtime.testing.nodes.controllers.hand import eventually, statefulset

SETS = GVR("apps", "v1", "statefulsets")
PODS = GVR("", "v1", "pods")


@pytest.mark.usefixtures("kubelet")
def test_every_deletion_names_the_uid(
    client: Client, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    seen: list[tuple[str, Any]] = []
    delete = ResourceClient.delete

    def spy(self: ResourceClient, name: str, **options: Any) -> Any:
        seen.append((threading.current_thread().name, options.get("preconditions")))
        return delete(self, name, **options)

    monkeypatch.setattr(ResourceClient, "delete", spy)
    request.getfixturevalue("controllers")
    sets, pods = client.resource(SETS, namespace="default"), client.resource(PODS, namespace="default")
    sets.create(statefulset(replicas=2))
    eventually(lambda: len(pods.list()) == 2)
    uids = {pod.uid for pod in pods.list()}
    sets.patch("web", {"spec": {"replicas": 1}}, type="merge")
    eventually(lambda: len(pods.list()) == 1)
    sets.delete("web")
    eventually(lambda: not pods.list().items)
    given = [preconditions for name, preconditions in seen if name.startswith("controller-statefulset")]
    assert given, "it deleted nothing"
    assert all(preconditions and preconditions["uid"] for preconditions in given)
    assert {each["uid"] for each in given} < uids
