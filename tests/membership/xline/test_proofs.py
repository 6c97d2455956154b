"""What an agent makes sure of before it begins something, on an API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import crds
from crds.xlinecluster import XLINECLUSTERS
from membership.xline.heartbeat import PODS, HeartbeatWriter
from membership.xline.model import HEARTBEAT, Heartbeat, Identity, member_selector
from membership.xline.planreader import PlanReader
from membership.xline.proofs import Proofs
from membership.xline.states import Stopping
from runtime.client import Client, ClientError
from runtime.clock import SYSTEM
from runtime.testing import FakeAPIServer

TOKEN = "demo-1"
MEMBERS = [f"demo-sts-{ordinal}" for ordinal in range(3)]


class Scene:
    """A cluster of three that has never run, by its XlineCluster, and the agent of its first member."""

    def __init__(self, server: FakeAPIServer, client: Client, folder: Path) -> None:
        self.server = server
        self._clusters = client.resource(XLINECLUSTERS, namespace="default")
        created = self._clusters.create(
            {
                "apiVersion": "xline.io.datenlord.com/v1alpha1",
                "kind": "XlineCluster",
                "metadata": {"name": "demo"},
                "spec": {"replicas": 3, "engine": "etcd"},
            }
        )
        self.uid = created.uid
        self.publish(bootstrap={"members": MEMBERS, "token": TOKEN, "completed": False})
        self.pods = client.resource(PODS, namespace="default")
        self.uids = {name: self._pod(name) for name in MEMBERS}
        identity = Identity(
            namespace="default",
            cluster="demo",
            pod=MEMBERS[0],
            pod_uid=self.uids[MEMBERS[0]],
            ordinal=0,
            engine="etcd",
            peer_url="",
            client_url="",
            initial=tuple((name, f"http://{name}:2380") for name in MEMBERS),
        )
        plans = PlanReader(client, "default", "demo", pod_copy=folder / "one", volume_copy=folder / "two")
        self.proofs = Proofs(identity, TOKEN, client, plans, HeartbeatWriter(client, identity), SYSTEM)

    def publish(self, **status: object) -> None:
        self._clusters.patch("demo", {"status": status}, type="merge", subresource="status")

    def _pod(self, name: str) -> str:
        containers = [{"name": "xline", "image": "etcd"}]
        metadata = {"name": name, "labels": member_selector("demo")}
        return self.pods.create({"metadata": metadata, "spec": {"containers": containers}}).uid

    def says(self, name: str, **what: object) -> None:
        beat = Heartbeat(
            sequence=1,
            incarnation="i",
            pod=name,
            ordinal=1,
            state="Partitioned",
            **{"cluster_uid": self.uid, "pod_uid": self.uids[name], **what},  # type: ignore[arg-type]
        )
        annotations = {HEARTBEAT: msgspec.json.encode(beat).decode()}
        self.pods.patch(name, {"metadata": {"annotations": annotations}}, type="merge")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with FakeAPIServer() as server, server.client() as client:
        server.apply_manifests(Path(crds.__file__).parent)
        yield Scene(server, client, tmp_path)


def test_a_cluster_has_run_by_what_any_of_its_pods_says(scene: Scene) -> None:
    assert scene.proofs.has_run() == ""
    for what in ({}, {"term": 7, "raft_index": 3}, {"leader_id": "1", "cluster_uid": "of an earlier one"}):
        scene.says(MEMBERS[1], **what)
        assert scene.proofs.has_run() == ""
    scene.says(MEMBERS[1], leader_id="1", pod_uid="of an earlier Pod")
    assert scene.proofs.has_run() == ""
    # Also one that has lost its leader, or its data.
    told: tuple[dict[str, str | int], ...] = ({"leader_id": "1"}, {"raft_index": 4}, {"revision": 2}, {"ran": True})
    for beat in told:
        scene.says(MEMBERS[1], **beat)
        assert scene.proofs.has_run().startswith(MEMBERS[1])


def test_a_cluster_has_run_by_what_the_operator_says_now(scene: Scene) -> None:
    scene.publish(bootstrap={"token": "of a later one"})
    assert "operator" in scene.proofs.has_run()
    scene.publish(bootstrap={"token": TOKEN, "completed": True})
    assert "operator" in scene.proofs.has_run()


def test_nothing_is_proven_by_an_api_server_that_fails(scene: Scene) -> None:
    for resource in ("xlineclusters", "pods"):
        scene.server.faults.add(resource=resource, status=500)
        with pytest.raises(ClientError):
            scene.proofs.has_run()
        scene.server.faults.clear()
    scene.server.faults.add(resource="pods", status=500)
    with pytest.raises(ClientError):
        scene.proofs.replaced()


def test_a_plan_that_cannot_be_understood_condemns_nobody(scene: Scene) -> None:
    """An operator that is newer may have written it."""
    scene.publish(plan={"ordinals": [1, 2]})
    scene.pods.delete(MEMBERS[0], grace_period_seconds=0)
    assert scene.proofs.stopping(SYSTEM.monotonic()) is Stopping.LEAVE
    scene.publish(bootstrap={"clusterId": "no number"})
    assert scene.proofs.stopping(SYSTEM.monotonic()) is Stopping.STAY
