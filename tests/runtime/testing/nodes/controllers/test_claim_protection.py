"""A claim outlives every Pod that uses it."""

from __future__ import annotations

import pytest

from runtime.client import Client
from runtime.types import GVR, JSONObject
from tests.runtime.testing.nodes.controllers.hand import PODS, HandKubelet, eventually, statefulset

CLAIMS = GVR("", "v1", "persistentvolumeclaims")

pytestmark = pytest.mark.usefixtures("controllers", "kubelet")


def claim() -> JSONObject:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": spec}


def pod() -> JSONObject:
    spec = {
        "containers": [{"name": "main", "image": "example.com/app:1"}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "user"}, "spec": spec}


def test_an_unused_claim_goes_at_once(client: Client) -> None:
    claims = client.resource(CLAIMS, namespace="default")
    created = claims.create(claim())
    assert "kubernetes.io/pvc-protection" in created.finalizers
    claims.delete("data")
    eventually(lambda: not claims.list().items)


def test_a_used_claim_waits_for_its_last_pod(client: Client, kubelet: HandKubelet) -> None:
    claims, pods = client.resource(CLAIMS, namespace="default"), client.resource(PODS, namespace="default")
    claims.create(claim())
    pods.create(pod())
    eventually(lambda: (pods.get("user").get("status") or {}).get("phase") == "Running")
    claims.delete("data")
    # Another claim that is made and deleted later goes: the first one has been looked at, and kept.
    claims.create({**claim(), "metadata": {"name": "other"}})
    claims.delete("other")
    eventually(lambda: [c.name for c in claims.list()] == ["data"])
    assert claims.get("data").deletion_timestamp is not None
    pods.delete("user")
    eventually(lambda: not claims.list().items)


def test_a_pod_that_has_ended_uses_nothing(client: Client, kubelet: HandKubelet) -> None:
    claims, pods = client.resource(CLAIMS, namespace="default"), client.resource(PODS, namespace="default")
    claims.create(claim())
    kubelet.hold("user")
    pods.create(pod())
    pods.patch("user", {"status": {"phase": "Succeeded"}}, type="merge", subresource="status")
    claims.delete("data")
    eventually(lambda: not claims.list().items)
    assert pods.get("user").deletion_timestamp is None


def test_a_pod_that_no_node_has_taken_uses_nothing(client: Client, kubelet: HandKubelet) -> None:
    """It waits for the claim to go, and would otherwise keep it."""
    claims, pods = client.resource(CLAIMS, namespace="default"), client.resource(PODS, namespace="default")
    claims.create(claim())
    kubelet.hold("user")
    pods.create(pod())
    claims.delete("data")
    eventually(lambda: not claims.list().items)
    assert pods.get("user").uid


def test_a_pod_that_waits_for_a_node_gets_the_claims_it_has_lost(client: Client, kubelet: HandKubelet) -> None:
    """Its StatefulSet made it before it could see that the claim was on its way out."""
    claims = client.resource(CLAIMS, namespace="default")
    sets = client.resource(GVR("apps", "v1", "statefulsets"), namespace="default")
    kubelet.hold("web-0")
    template = {"metadata": {"name": "data"}, "spec": claim()["spec"]}
    sets.create(statefulset(replicas=1, volumeClaimTemplates=[template]))
    eventually(lambda: kubelet.order == ["web-0"])
    before = claims.get("data-web-0").uid
    claims.delete("data-web-0")
    eventually(lambda: [c.uid for c in claims.list()] not in ([], [before]))
    assert kubelet.order == ["web-0"]
    kubelet.release("web-0")
    eventually(lambda: (sets.get("web").get("status") or {}).get("readyReplicas") == 1)
