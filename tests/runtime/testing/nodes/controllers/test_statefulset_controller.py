"""StatefulSets become Pods in the order, number and version that they ask for."""

from __future__ import annotations

import pytest

from runtime.client import Client
from runtime.testing import FakeAPIServer
from runtime.types import GVR, JSONObject
from tests.runtime.testing.nodes.controllers.hand import PODS, HandKubelet, eventually, statefulset

SETS = GVR("apps", "v1", "statefulsets")
CLAIMS = GVR("", "v1", "persistentvolumeclaims")
REVISIONS = GVR("apps", "v1", "controllerrevisions")

pytestmark = pytest.mark.usefixtures("controllers", "kubelet")


def pod_names(client: Client) -> list[str]:
    return sorted(p.name for p in client.resource(PODS, namespace="default").list())


def uids(client: Client) -> dict[str, str]:
    return {p.name: p.uid for p in client.resource(PODS, namespace="default").list()}


def status(client: Client, name: str = "web") -> JSONObject:
    return client.resource(SETS, namespace="default").get(name).get("status") or {}


def converged(client: Client, replicas: int, name: str = "web") -> bool:
    live = client.resource(SETS, namespace="default").get(name)
    s = live.get("status") or {}
    seen = s.get("observedGeneration") == live.generation
    counts = (s.get("replicas"), s.get("readyReplicas"), s.get("updatedReplicas"), s.get("availableReplicas"))
    return seen and counts == (replicas,) * 4 and s.get("currentRevision") == s.get("updateRevision")


def images(client: Client) -> dict[str, str]:
    return {p.name: p["spec"]["containers"][0]["image"] for p in client.resource(PODS, namespace="default").list()}


def set_image(client: Client, image: str) -> None:
    body = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}}}
    client.resource(SETS, namespace="default").patch("web", body, type="strategic")


def test_ordered_sets_start_one_after_the_other(client: Client, kubelet: HandKubelet) -> None:
    kubelet.hold("web-1")
    client.resource(SETS, namespace="default").create(statefulset())
    eventually(lambda: status(client).get("readyReplicas") == 1 and pod_names(client) == ["web-0", "web-1"])
    kubelet.release("web-1")
    eventually(lambda: converged(client, 3), "three ready Pods")
    assert kubelet.order == ["web-0", "web-1", "web-2"]


def test_parallel_sets_do_not_wait(client: Client, kubelet: HandKubelet) -> None:
    for name in ("web-0", "web-1", "web-2"):
        kubelet.hold(name)
    client.resource(SETS, namespace="default").create(statefulset(podManagementPolicy="Parallel"))
    eventually(lambda: pod_names(client) == ["web-0", "web-1", "web-2"], "all Pods at once")


def test_scaling_down_takes_the_highest_first(client: Client) -> None:
    sets = client.resource(SETS, namespace="default")
    sets.create(statefulset(replicas=3))
    eventually(lambda: converged(client, 3))
    sets.patch("web", {"spec": {"replicas": 1}}, type="merge")
    eventually(lambda: converged(client, 1))
    assert pod_names(client) == ["web-0"]


def test_a_deleted_pod_comes_back_under_its_name(client: Client) -> None:
    client.resource(SETS, namespace="default").create(statefulset(replicas=2))
    eventually(lambda: converged(client, 2))
    before = uids(client)
    client.resource(PODS, namespace="default").delete("web-1")
    eventually(lambda: uids(client).get("web-1", before["web-1"]) != before["web-1"], "a new web-1")
    eventually(lambda: converged(client, 2))
    assert uids(client)["web-0"] == before["web-0"]


def test_a_rolling_update_goes_from_the_top_down_to_the_partition(client: Client, kubelet: HandKubelet) -> None:
    sets = client.resource(SETS, namespace="default")
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    sets.create(statefulset(updateStrategy=strategy))
    eventually(lambda: converged(client, 3))
    old = status(client)["currentRevision"]
    kubelet.order.clear()
    set_image(client, "example.com/app:2")
    eventually(lambda: status(client).get("updatedReplicas") == 2 and status(client)["readyReplicas"] == 3)
    assert kubelet.order == ["web-2", "web-1"]
    assert images(client) == {
        "web-0": "example.com/app:1",
        "web-1": "example.com/app:2",
        "web-2": "example.com/app:2",
    }
    assert status(client)["currentRevision"] == old, "not rolled yet: web-0 is behind the partition"
    # A Pod behind the partition that is lost comes back as it was.
    client.resource(PODS, namespace="default").delete("web-0")
    eventually(lambda: kubelet.order[-1] == "web-0" and status(client)["readyReplicas"] == 3)
    assert images(client)["web-0"] == "example.com/app:1"
    sets.patch("web", {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}}, type="merge")
    eventually(lambda: converged(client, 3), "web-0 is rolled too")
    assert set(images(client).values()) == {"example.com/app:2"}


def test_a_rolling_update_stops_at_a_pod_that_does_not_become_ready(client: Client, kubelet: HandKubelet) -> None:
    client.resource(SETS, namespace="default").create(statefulset(podManagementPolicy="Parallel"))
    eventually(lambda: converged(client, 3))
    kubelet.order.clear()
    kubelet.hold("web-2")
    set_image(client, "example.com/bad:1")
    eventually(lambda: status(client).get("readyReplicas") == 2 and images(client).get("web-2") == "example.com/bad:1")
    # It is looked at again, and still goes no further.
    client.resource(SETS, namespace="default").patch("web", {"metadata": {"labels": {"n": "1"}}}, type="merge")
    assert images(client)["web-1"] == images(client)["web-0"] == "example.com/app:1"
    assert kubelet.order == ["web-2"]


def test_a_rollback_uses_the_old_revision_again(client: Client) -> None:
    client.resource(SETS, namespace="default").create(statefulset(replicas=1))
    eventually(lambda: converged(client, 1))
    first = status(client)["currentRevision"]
    set_image(client, "example.com/app:2")
    eventually(lambda: converged(client, 1) and status(client)["currentRevision"] != first)
    set_image(client, "example.com/app:1")
    eventually(lambda: converged(client, 1) and status(client)["currentRevision"] == first)
    revisions = client.resource(REVISIONS, namespace="default").list()
    assert {r.name: r["revision"] for r in revisions}[first] == 3
    assert len(revisions) == 2


def test_claims_are_made_once_and_kept(client: Client) -> None:
    sets = client.resource(SETS, namespace="default")
    template = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    sets.create(statefulset(replicas=2, volumeClaimTemplates=[template]))
    eventually(lambda: converged(client, 2))
    claims = client.resource(CLAIMS, namespace="default")
    uids = {c.name: c.uid for c in claims.list()}
    assert uids.keys() == {"data-web-0", "data-web-1"}
    sets.patch("web", {"spec": {"replicas": 1}}, type="merge")
    eventually(lambda: converged(client, 1))
    sets.patch("web", {"spec": {"replicas": 2}}, type="merge")
    eventually(lambda: converged(client, 2))
    assert {c.name: c.uid for c in claims.list()} == uids


def test_claims_go_with_their_pod_or_their_set_where_that_is_asked(client: Client) -> None:
    sets = client.resource(SETS, namespace="default")
    template = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    policy = {"whenDeleted": "Delete", "whenScaled": "Delete"}
    sets.create(statefulset(replicas=2, volumeClaimTemplates=[template], persistentVolumeClaimRetentionPolicy=policy))
    eventually(lambda: converged(client, 2))
    claims = client.resource(CLAIMS, namespace="default")
    sets.patch("web", {"spec": {"replicas": 1}}, type="merge")
    eventually(lambda: [c.name for c in claims.list()] == ["data-web-0"], "the claim of web-1 goes with it")
    sets.delete("web")
    eventually(lambda: not claims.list().items and not pod_names(client), "the set takes everything with it")


def test_a_converged_set_costs_no_writes(client: Client, server: FakeAPIServer) -> None:
    client.resource(SETS, namespace="default").create(statefulset(replicas=2))
    eventually(lambda: converged(client, 2))
    eventually(lambda: len(client.resource(GVR("", "v1", "events"), namespace="default").list()) >= 2)
    marker = client.resource(GVR("", "v1", "configmaps"), namespace="default")
    before = len([r for r in server.requests if r.verb in ("create", "update", "patch", "delete")])
    # Ten changes that mean nothing to it wake it up each time.
    for n in range(10):
        client.resource(SETS, namespace="default").patch("web", {"metadata": {"labels": {"n": str(n)}}}, type="merge")
    marker.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "done"}})
    eventually(lambda: converged(client, 2))
    after = len([r for r in server.requests if r.verb in ("create", "update", "patch", "delete")])
    assert after - before == 11, "only the test's own writes"


def test_on_delete_leaves_pods_alone_until_somebody_deletes_them(client: Client) -> None:
    sets = client.resource(SETS, namespace="default")
    sets.create(statefulset(replicas=2, updateStrategy={"type": "OnDelete"}))
    eventually(lambda: converged(client, 2))
    before = uids(client)
    set_image(client, "example.com/app:2")
    eventually(lambda: status(client).get("updatedReplicas", 0) == 0)
    client.resource(PODS, namespace="default").delete("web-0")
    eventually(lambda: (status(client).get("updatedReplicas"), status(client).get("readyReplicas")) == (1, 2))
    assert images(client) == {"web-0": "example.com/app:2", "web-1": "example.com/app:1"}
    assert uids(client)["web-1"] == before["web-1"]


def test_a_set_made_again_takes_over_the_pods_and_revisions_it_finds(client: Client) -> None:
    sets = client.resource(SETS, namespace="default")
    sets.create(statefulset(replicas=2))
    eventually(lambda: converged(client, 2))
    before = uids(client)
    sets.delete("web", propagation_policy="Orphan")
    eventually(lambda: not sets.list())
    assert uids(client) == before
    made = sets.create(statefulset(replicas=2))
    eventually(lambda: converged(client, 2) and status(client)["updatedReplicas"] == 2)
    assert uids(client) == before
    for gvr in (PODS, REVISIONS):
        owners = [o.controller_owner for o in client.resource(gvr, namespace="default").list()]
        assert {owner.uid for owner in owners if owner} == {made.uid}


def test_a_set_does_not_take_what_its_selector_does_not_select(client: Client) -> None:
    pods = client.resource(PODS, namespace="default")
    stranger = {"apiVersion": "v1", "kind": "Pod", **statefulset()["spec"]["template"]}
    pods.create({**stranger, "metadata": {"name": "web-0", "namespace": "default", "labels": {"app": "other"}}})
    client.resource(SETS, namespace="default").create(statefulset(replicas=2, podManagementPolicy="Parallel"))
    eventually(lambda: status(client).get("observedGeneration") == 1)
    assert pods.get("web-0").controller_owner is None
