"""What new objects take over from others in the cluster."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.testing.apiserver import FakeAPIServer
from runtime.testing.clock import FakeClock
from tests.runtime.testing.apiserver.apiserver_helpers import PODS, Http

CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
STORAGE_CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
INGRESSES = "/apis/networking.k8s.io/v1/namespaces/default/ingresses"
INGRESS_CLASSES = "/apis/networking.k8s.io/v1/ingressclasses"
CLAIM: dict[str, Any] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
INGRESS: dict[str, Any] = {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}
CONTAINERS = [{"name": "c", "image": "i"}]
KINDS: dict[str, tuple[str, dict[str, Any], str, str, dict[str, Any]]] = {
    "storage": (CLAIMS, CLAIM, "storageClassName", STORAGE_CLASSES, {"provisioner": "example.com/p"}),
    "ingress": (INGRESSES, INGRESS, "ingressClassName", INGRESS_CLASSES, {"spec": {"controller": "example.com/c"}}),
}


def make_class(api: Http, path: str, name: str, default: str, fields: dict[str, Any], prefix: str) -> None:
    api.made(path, name, metadata={"annotations": {f"{prefix}class.kubernetes.io/is-default-class": default}}, **fields)


@pytest.mark.parametrize("what", ["storage", "ingress"])
def test_who_names_no_class_gets_the_default_one(api: Http, what: str) -> None:
    path, spec, field, classes, fields = KINDS[what]
    assert field not in api.made(path, "before", spec=spec)["spec"]
    make_class(api, classes, "other", "false", fields, what)
    make_class(api, classes, "mine", "true", fields, what)
    made = api.made(path, "a", spec=spec)
    assert made["spec"][field] == "mine"
    owned = made["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]
    assert f"f:{field}" not in owned, "nobody has asked for it"
    assert api.made(path, "b", spec={**spec, field: "other"})["spec"][field] == "other"
    assert field not in api.get(f"{path}/before").body["spec"], "it is for new ones"


def test_no_class_and_a_class_of_old_are_classes(api: Http) -> None:
    for what in KINDS:
        make_class(api, KINDS[what][3], "mine", "true", KINDS[what][4], what)
    assert api.made(CLAIMS, "a", spec={**CLAIM, "storageClassName": ""})["spec"]["storageClassName"] == ""
    old = {"annotations": {"volume.beta.kubernetes.io/storage-class": ""}}
    assert "storageClassName" not in api.made(CLAIMS, "b", metadata=old, spec=CLAIM)["spec"]
    old = {"annotations": {"kubernetes.io/ingress.class": "other"}}
    assert "ingressClassName" not in api.made(INGRESSES, "b", metadata=old, spec=INGRESS)["spec"]


def test_of_several_defaults_the_newest_counts_and_of_these_the_first_by_name() -> None:
    clock = FakeClock()
    with FakeAPIServer(clock=clock) as server:
        api = Http(server)
        for name in ("a", "c", "b"):
            make_class(api, STORAGE_CLASSES, name, "true", KINDS["storage"][4], "storage")
            clock.advance(10.0 if name == "a" else 0.0)
        assert api.made(CLAIMS, "x", spec=CLAIM)["spec"]["storageClassName"] == "b"
        api.close()


def test_a_pod_gets_the_topology_of_its_node(api: Http) -> None:
    zone, region = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
    api.made("/api/v1/nodes", "n", metadata={"labels": {zone: "z", region: "r", "other": "o"}})
    api.made(PODS, "p", metadata={"labels": {zone: "mine", "app": "a"}}, spec={"containers": CONTAINERS})
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    assert api.post(f"{PODS}/p/binding", binding).status == 201
    assert api.get(f"{PODS}/p").body["metadata"]["labels"] == {zone: "z", region: "r", "app": "a"}
    mine = {"labels": {zone: "mine"}}
    direct = api.made(PODS, "d", metadata=mine, spec={"containers": CONTAINERS, "nodeName": "n"})
    assert direct["metadata"]["labels"] == {zone: "z", region: "r"}
    assert "labels" not in api.made(PODS, "e", spec={"containers": CONTAINERS, "nodeName": "unknown"})["metadata"]
