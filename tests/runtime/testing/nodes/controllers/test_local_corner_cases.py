"""Strangers in the way, stale owners and half-filled objects: where the local controllers must do as the real ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from runtime.client import Client, Unstructured
from runtime.manager import Manager
from runtime.testing import FakeAPIServer
from runtime.testing.nodes.controllers import endpoints, statefulset
from runtime.testing.nodes.controllers.pods import seconds_until_available
from runtime.testing.nodes.controllers.workload import STATEFULSETS, read_workload
from runtime.types import GVR, JSONObject
from tests.runtime.testing.nodes.controllers.hand import PODS, HandKubelet, eventually
from tests.runtime.testing.nodes.controllers.hand import statefulset as a_set

CLAIMS = GVR("", "v1", "persistentvolumeclaims")
SERVICES = GVR("", "v1", "services")
ENDPOINTS = GVR("", "v1", "endpoints")
SLICES = GVR("discovery.k8s.io", "v1", "endpointslices")


@pytest.fixture
def server() -> Iterator[FakeAPIServer]:
    """Without the garbage collector, so that what it would delete stays for a look."""
    with FakeAPIServer(garbage_collection_delay=None) as server:
        yield server


@pytest.fixture
def workloads(client: Client) -> Iterator[None]:
    """Sets and endpoints."""
    manager = Manager(client, metrics_bind_address="0", health_probe_bind_address="0")
    statefulset.register(manager, STATEFULSETS)
    endpoints.register(manager)
    stop = threading.Event()
    thread = threading.Thread(target=manager.run, args=(stop,), name="workloads")
    thread.start()
    yield
    stop.set()
    thread.join(15)
    assert not thread.is_alive()


def pod(name: str, **spec: object) -> JSONObject:
    containers = [{"name": "main", "image": "example.com/app:1"}]
    metadata = {"name": name, "namespace": "default", "labels": {"app": "web"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers, **spec}}


@pytest.mark.usefixtures("workloads", "kubelet")
def test_a_set_goes_on_when_a_stranger_has_left_its_pods_name(client: Client) -> None:
    pods = client.resource(PODS, namespace="default")
    stranger = pods.create({**pod("web-0"), "metadata": {"name": "web-0", "namespace": "default"}})
    sets = client.resource(STATEFULSETS, namespace="default")
    sets.create(a_set(replicas=1))
    eventually(lambda: (sets.get("web").get("status") or {}).get("observedGeneration") == 1)
    assert pods.get("web-0").uid == stranger.uid
    sets.create(a_set("after", replicas=0))  # handled when the set has looked at its own status, too
    eventually(lambda: (sets.get("after").get("status") or {}).get("observedGeneration") == 1)
    pods.delete("web-0", grace_period_seconds=0)
    eventually(lambda: [p.uid for p in pods.list() if p.uid != stranger.uid], "a Pod of the set")


@pytest.mark.usefixtures("workloads", "kubelet")
def test_a_claim_that_goes_with_a_former_pod_is_not_given_to_the_next(client: Client) -> None:
    """Scaled down and up again with whenScaled: Delete: the collector is yet to delete the claim."""
    claims = client.resource(CLAIMS, namespace="default")
    template = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    former = {"apiVersion": "v1", "kind": "Pod", "name": "web-0", "uid": "of-the-former-pod"}
    metadata = {"name": "data-web-0", "namespace": "default", "ownerReferences": [former]}
    claims.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"]})
    retention = {"whenScaled": "Delete", "whenDeleted": "Retain"}
    sets = client.resource(STATEFULSETS, namespace="default")
    sets.create(a_set(replicas=1, volumeClaimTemplates=[template], persistentVolumeClaimRetentionPolicy=retention))
    eventually(lambda: (sets.get("web").get("status") or {}).get("observedGeneration") == 1)
    pods = client.resource(PODS, namespace="default")
    assert not pods.list().items
    claims.patch("data-web-0", {"metadata": {"finalizers": None}})
    if any(claim.name == "data-web-0" for claim in claims.list()):
        claims.delete("data-web-0")
    eventually(lambda: pods.list().items, "a Pod with a claim of its own")
    assert not claims.get("data-web-0").owner_references


def test_a_ready_pod_that_does_not_say_since_when_is_not_available_yet() -> None:
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    obj = Unstructured({**pod("web-0"), "status": ready})
    assert seconds_until_available(obj, 0, datetime.now(UTC)) == 0
    assert seconds_until_available(obj, 5, datetime.now(UTC)) is None


@pytest.mark.usefixtures("workloads", "kubelet")
def test_only_a_rolling_update_completes_the_current_revision(client: Client) -> None:
    sets = client.resource(STATEFULSETS, namespace="default")
    sets.create(a_set(replicas=2, updateStrategy={"type": "OnDelete"}))

    def status() -> JSONObject:
        return sets.get("web").get("status") or {}

    eventually(lambda: status().get("readyReplicas") == 2)
    first = status()["currentRevision"]
    image = {"containers": [{"name": "main", "image": "example.com/app:2"}]}
    sets.patch("web", {"spec": {"template": {"spec": image}}}, type="strategic")
    eventually(lambda: status().get("updateRevision") != first)
    pods = client.resource(PODS, namespace="default")
    for name in ("web-0", "web-1"):
        pods.delete(name)
    eventually(lambda: status().get("updatedReplicas") == 2 and status().get("readyReplicas") == 2)
    assert status()["currentRevision"] == first


def test_the_partition_counts_from_the_first_ordinal() -> None:
    body = a_set(ordinals={"start": 5}, updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 2}})
    assert read_workload(Unstructured(body)).stale == {5, 6}


def service(name: str = "web", **spec: object) -> JSONObject:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}, {"name": "raw", "port": 81, "targetPort": 8081}]
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports, **spec}}


@pytest.mark.usefixtures("workloads", "kubelet")
def test_a_named_port_that_no_pod_has_is_left_out(client: Client) -> None:
    client.resource(SERVICES, namespace="default").create(service(selector={"app": "web"}))
    client.resource(PODS, namespace="default").create(pod("web-a"))

    def subsets() -> list[JSONObject]:
        found = [e for e in client.resource(ENDPOINTS, namespace="default").list() if e.name == "web"]
        return found[0].get("subsets") or [] if found else []

    (subset,) = eventually(subsets, "Endpoints")
    assert subset["ports"] == [{"name": "raw", "port": 8081, "protocol": "TCP"}]
    (found,) = client.resource(SLICES, namespace="default").list(label_selector="kubernetes.io/service-name=web")
    assert found["ports"] == subset["ports"]


@pytest.mark.usefixtures("workloads")
def test_endpoints_written_by_hand_wait_for_their_service(client: Client) -> None:
    """``kubectl apply`` may well create them first, and the Service without a selector after them."""
    api = client.resource(ENDPOINTS, namespace="default")
    subset = {"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}
    by_hand = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "outside"}, "subsets": [subset]}
    created = api.create(by_hand)
    services = client.resource(SERVICES, namespace="default")
    services.create(service("other", selector={"app": "other"}))  # handled after it: one order for one worker's keys
    eventually(lambda: any(e.name == "other" for e in api.list()))
    services.delete("other")
    eventually(lambda: all(e.name != "other" for e in api.list()), "those of a Service that went")
    assert api.get("outside").uid == created.uid


def test_the_status_of_a_namesake_is_left_alone(server: FakeAPIServer, client: Client, kubelet: HandKubelet) -> None:
    del kubelet
    sets = client.resource(STATEFULSETS, namespace="default")
    old = sets.create(a_set(replicas=0))
    sets.delete("web", propagation_policy="Orphan")
    if any(s.name == "web" for s in sets.list()):
        sets.patch("web", {"metadata": {"finalizers": None}})
    new = sets.create(a_set(replicas=0))
    assert new.uid != old.uid
    statefulset.write_status(client, STATEFULSETS, old, {"replicas": 7})
    assert (sets.get("web").get("status") or {}).get("replicas") != 7
