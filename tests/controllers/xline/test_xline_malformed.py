"""Objects that our schema would have kept out: the installed definition is another one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from controllers.xline.survey import stored_status
from crds.xlinecluster import RESOURCE, XLINECLUSTERS
from runtime.client import Unstructured
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


def test_a_status_that_cannot_be_read_does_not_cost_the_bootstrap(bare: World) -> None:
    """Whoever forgets the members starts them a second time."""
    bare.client.resource(DEFINITIONS).create(definition(ANYTHING))
    bare.create()
    bare.start_operator()
    bare.wait_children()
    wait_for(lambda: bare.status().get("members"), what="the status")
    bare.stop_operators()
    before = bare.status()["bootstrap"]
    clusters = bare.client.resource(XLINECLUSTERS, namespace=NAMESPACE)
    clusters.patch("demo", {"status": {"readyReplicas": "many"}}, type="merge", subresource="status")
    bare.start_operator()
    wait_for(lambda: bare.status().get("readyReplicas") == 0, what="a status that can be read")
    assert bare.status()["bootstrap"] == before
    assert bare.reasons().count("Bootstrapping") == 1


@pytest.mark.parametrize(
    "later",
    [
        {"plan": {"change": {"kind": "Swap", "member": "demo-sts-0"}}},
        {"plan": {"ordinals": [0, 2_000_000_000]}},  # so many Pods, or reserved ordinals
        {"bootstrap": {"runAs": "somebody"}},
    ],
    ids=["plan", "ordinals", "bootstrap"],
)
def test_what_a_later_operator_has_written_is_kept_for_it(bare: World, later: dict[str, Any]) -> None:
    """This one does nothing with a plan, or members, that it cannot read; and does not replace them by its own."""
    bare.client.resource(DEFINITIONS).create(definition(ANYTHING))
    bare.create()
    bare.start_operator()
    bare.wait_children()
    wait_for(lambda: bare.status().get("members"), what="the status")
    bare.stop_operators()
    clusters = bare.client.resource(XLINECLUSTERS, namespace=NAMESPACE)
    clusters.patch("demo", {"status": later}, type="merge", subresource="status")
    before = bare.status()
    bare.start_operator()
    bare.wait_condition("Degraded", "True", "InvalidSpec")
    assert {key: bare.status()[key] for key in ("bootstrap", "plan")} == {
        key: before[key] for key in ("bootstrap", "plan")
    }


@pytest.mark.parametrize("status", [{"readyReplicas": "many"}, {"conditions": [{"type": 1}]}])
def test_what_can_be_read_of_a_broken_status_is_its_bootstrap(status: dict[str, Any]) -> None:
    bootstrap = {"members": ["demo-sts-0"], "token": "t", "completed": True}
    found = stored_status(Unstructured({"status": {**status, "bootstrap": bootstrap}})).bootstrap
    assert found is not None
    assert (found.members, found.completed) == (["demo-sts-0"], True)


@pytest.mark.parametrize("status", ["odd", {"bootstrap": "odd"}])
def test_a_status_of_which_nothing_can_be_read_is_empty(status: object) -> None:
    assert stored_status(Unstructured({"status": status})).bootstrap is None
