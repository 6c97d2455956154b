"""The whole path on a local node: real etcd processes, started from the Pods that the operator asked for."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from controllers.xline import names as known
from crds.xlinecluster import XLINECLUSTERS
from runtime.testing.localcluster import LocalCluster
from runtime.testing.nodes import find_etcdctl
from tests.controllers.xline.xline_world import CRDS, NAMESPACE, World
from tests.support.etcd_process import wait_for

pytestmark = pytest.mark.etcd

_SLOW = 60.0  # seconds: three etcd servers on a machine that has other things to do


class Local(World):
    """A world whose Pods really run."""

    def __init__(self, cluster: LocalCluster) -> None:
        super().__init__(cluster.server)
        self.node = cluster.node

    def etcdctl(self, *command: str) -> str:
        """Through the client Service."""
        address = self.node.service_address(NAMESPACE, "demo-client")
        line = [str(find_etcdctl()), f"--endpoints=http://{address}:2379", "--command-timeout=5s", *command]
        done = subprocess.run(line, env={"ETCDCTL_API": "3"}, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def wait_whole(self) -> None:
        def whole() -> bool:
            status = self.status()
            settled = self.condition("Progressing") == ("False", "Complete")
            return settled and status.get("readyReplicas") == 3 and bool(status.get("leader"))

        wait_for(whole, _SLOW, "three members with a leader")

    def claims(self) -> list[str]:
        return [claim.name for claim in self.client.resource(known.CLAIMS, namespace=NAMESPACE).list()]

    def pods(self) -> list[str]:
        return [pod.name for pod in self.client.resource(known.PODS, namespace=NAMESPACE).list()]

    def delete_and_wait(self) -> None:
        self.client.resource(XLINECLUSTERS, namespace=NAMESPACE).delete("demo")
        wait_for(lambda: not self.children() and not self.pods(), _SLOW, "the objects going")
        wait_for(lambda: not list(self.node.processes()), _SLOW, "the processes going")


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    with LocalCluster(tmp_path, manifests=[CRDS]) as cluster:
        here = Local(cluster)
        try:
            yield here
        finally:
            here.stop_operators()
            here.client.close()


def test_data_outlives_a_statefulset_deleted_by_mistake_and_goes_with_the_cluster(local: Local) -> None:
    local.create(storage={"retentionPolicy": {"whenDeleted": "Delete"}})
    local.start_operator()
    local.wait_whole()
    assert local.etcdctl("put", "key", "value") == "OK"
    wait_for(
        lambda: all(
            claim.owner_references for claim in local.client.resource(known.CLAIMS, namespace=NAMESPACE).list()
        ),
        what="the cluster owning its claims",
    )
    old = local.children()["statefulsets/demo-sts"].uid
    local.client.resource(known.STATEFULSETS, namespace=NAMESPACE).delete("demo-sts")
    wait_for(
        lambda: "statefulsets/demo-sts" in local.children() and local.children()["statefulsets/demo-sts"].uid != old,
        _SLOW,
        "a new StatefulSet",
    )
    local.wait_whole()
    wait_for(lambda: local.etcdctl("get", "key", "--print-value-only") == "value", _SLOW, "the data")
    local.delete_and_wait()
    wait_for(lambda: local.claims() == [], _SLOW, "the volumes going")


def test_data_is_there_when_the_cluster_is_created_again(local: Local) -> None:
    """Nobody asked for anything: a mistaken `kubectl delete` loses nothing."""
    local.create()
    local.start_operator()
    local.wait_whole()
    assert local.etcdctl("put", "key", "value") == "OK"
    before = local.status()["bootstrap"]
    local.delete_and_wait()
    assert len(local.claims()) == 3
    local.create()
    local.wait_whole()
    wait_for(lambda: local.etcdctl("get", "key", "--print-value-only") == "value", _SLOW, "the data")
    assert local.status()["bootstrap"] == before  # the same cluster, not another of its name


def test_a_cluster_deleted_while_it_starts_can_be_created_again(local: Local) -> None:
    """Some members have written their identity to their volume by then, others have not: they must still agree."""
    local.create()
    operator = local.start_operator()
    wait_for(lambda: len(local.claims()) == 3 and local.node.processes(), _SLOW, "the first process")
    local.delete_and_wait()
    assert operator.looks > 0
    local.create()
    local.wait_whole()
    assert local.etcdctl("put", "key", "value") == "OK"
