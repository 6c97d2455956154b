"""Objects that our schema would have kept out: the installed definition is another one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from crds.xlinecluster import RESOURCE, XLINECLUSTERS
from runtime.testing import FakeAPIServer
from runtime.types import GVR, JSONObject
from tests.controllers.xline.xline_world import NAMESPACE, World
from tests.support.etcd_process import wait_for

DEFINITIONS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")


def definition(schema: JSONObject) -> JSONObject:
    manifest = RESOURCE.manifest()
    version = manifest["spec"]["versions"][0]
    version["schema"]["openAPIV3Schema"] = schema
    version["subresources"] = {"status": {}}
    del version["additionalPrinterColumns"]
    return manifest


@pytest.fixture
def bare() -> Iterator[World]:
    """A server without our definitions."""
    with FakeAPIServer() as server:
        here = World(server)
        try:
            yield here
        finally:
            here.stop_operators()
            here.client.close()


ANYTHING: JSONObject = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"spec": {"replicas": "three"}}, "spec.replicas"),
        ({"spec": {"replicas": 0}}, "spec.replicas"),
        ({"spec": {"replicas": 3, "bootstrapArgs": {"quota": "8Gi"}}}, "spec.bootstrapArgs.quota"),
        ({"spec": {"replicas": 3, "podTemplate": {"spec": {"nodeSelector": 1}}}}, "nodeSelector"),
        ({"spec": "many"}, "spec"),
        ({}, "spec"),
    ],
)
def test_a_malformed_object_gets_a_condition_and_an_event(bare: World, body: dict[str, Any], field: str) -> None:
    bare.client.resource(DEFINITIONS).create(definition(ANYTHING))
    clusters = bare.client.resource(XLINECLUSTERS, namespace=NAMESPACE)
    clusters.create(
        {"apiVersion": RESOURCE.gvr.api_version, "kind": "XlineCluster", "metadata": {"name": "demo"}, **body}
    )
    bare.start_operator()
    bare.wait_condition("Progressing", "False", "InvalidSpec")
    assert bare.condition("Degraded") == ("True", "InvalidSpec")
    assert bare.condition("Available") == ("False", "InvalidSpec")
    assert field in bare.wait_event("InvalidSpec")
    assert field in bare.status()["message"]
    assert bare.children() == {}
    clusters.patch("demo", [{"op": "add", "path": "/spec", "value": {"replicas": 1}}], type="json")
    bare.wait_children()
    wait_for(lambda: bare.condition("Degraded")[0] == "False", what="recovery")


def test_a_definition_that_forgets_the_members_starts_nothing(bare: World) -> None:
    """The Go operator's: its status has no place for them, and without them a cluster could be started twice."""
    status = {"type": "object", "properties": {"stage": {"type": "string"}}}
    schema: JSONObject = {"type": "object", "properties": {"spec": ANYTHING, "status": status}}
    bare.client.resource(DEFINITIONS).create(definition(schema))
    bare.create()
    bare.start_operator()
    assert "cmd.crds apply" in bare.wait_event("OutdatedDefinition")
    assert bare.children() == {}
