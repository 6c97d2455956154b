"""Which Pods stand behind a Service."""

from __future__ import annotations

import pytest

from runtime.client import Client, NotFound
from runtime.types import GVR, JSONObject
from tests.runtime.testing.nodes.controllers.hand import HandKubelet, eventually, statefulset

SERVICES = GVR("", "v1", "services")
ENDPOINTS = GVR("", "v1", "endpoints")
SLICES = GVR("discovery.k8s.io", "v1", "endpointslices")

pytestmark = pytest.mark.usefixtures("controllers")


def service(**spec: object) -> JSONObject:
    body: JSONObject = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }
    body["spec"] |= spec
    return body


def subsets(client: Client) -> list[JSONObject]:
    try:
        return list(client.resource(ENDPOINTS, namespace="default").get("web").get("subsets") or [])
    except NotFound:
        return []


def endpoint_conditions(client: Client) -> dict[str, bool]:
    slices = client.resource(SLICES, namespace="default").list(label_selector="kubernetes.io/service-name=web")
    return {e["hostname"]: e["conditions"]["ready"] for s in slices for e in s.get("endpoints") or []}


def test_ready_pods_are_addresses_and_others_are_not(client: Client, kubelet: HandKubelet) -> None:
    client.resource(SERVICES, namespace="default").create(service())
    client.resource(GVR("apps", "v1", "statefulsets"), namespace="default").create(statefulset(replicas=2))
    eventually(lambda: endpoint_conditions(client) == {"web-0": True, "web-1": True})
    # The Endpoints are written after the slice.
    (subset,) = eventually(lambda: [s for s in subsets(client) if len(s.get("addresses", [])) == 2])
    assert [a["hostname"] for a in subset["addresses"]] == ["web-0", "web-1"]
    assert subset["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    unready = {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {"status": {"conditions": [unready]}}
    kubelet.hold("web-1")
    client.resource(GVR("", "v1", "pods"), namespace="default").patch(
        "web-1", status, type="merge", subresource="status"
    )
    eventually(lambda: endpoint_conditions(client) == {"web-0": True, "web-1": False})
    eventually(lambda: [a["hostname"] for a in subsets(client)[0].get("notReadyAddresses", [])] == ["web-1"])


def test_a_service_may_publish_what_is_not_ready(client: Client, kubelet: HandKubelet) -> None:
    client.resource(SERVICES, namespace="default").create(service(publishNotReadyAddresses=True, clusterIP="None"))
    client.resource(GVR("apps", "v1", "statefulsets"), namespace="default").create(statefulset(replicas=1))
    eventually(lambda: endpoint_conditions(client) == {"web-0": True})
    unready = {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    kubelet.hold("web-0")
    client.resource(GVR("", "v1", "pods"), namespace="default").patch(
        "web-0", {"status": {"conditions": [unready]}}, type="merge", subresource="status"
    )
    slices = client.resource(SLICES, namespace="default")
    eventually(lambda: [e["conditions"]["serving"] for s in slices.list() for e in s["endpoints"]] == [False])
    assert endpoint_conditions(client) == {"web-0": True}


def test_both_go_with_the_service(client: Client, kubelet: HandKubelet) -> None:
    client.resource(SERVICES, namespace="default").create(service())
    client.resource(GVR("apps", "v1", "statefulsets"), namespace="default").create(statefulset(replicas=1))
    eventually(lambda: endpoint_conditions(client) == {"web-0": True})
    client.resource(SERVICES, namespace="default").delete("web")
    eventually(lambda: not subsets(client) and not endpoint_conditions(client))
