"""A local node under a world's API server: its Pods really run, and its etcd servers answer."""

from __future__ import annotations

import subprocess
from pathlib import Path

from controllers.xline import names as known
from crds.xlinecluster import XLINECLUSTERS
from runtime.client import Unstructured
from runtime.testing.localcluster import LocalCluster
from runtime.testing.nodes import find_etcdctl
from tests.controllers.xline.xline_world import NAMESPACE, World
from tests.support.etcd_process import wait_for
from tests.support.recorder import Recorder

SLOW = 60.0  # seconds: three etcd servers on a machine that has other things to do


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

    def wait_whole(self, members: int = 3, seconds: float = SLOW) -> None:
        """Until that many members are ready, one leads, and the operator, which has seen the last change, is done."""

        def whole() -> bool:
            live = self.cluster()
            status = live.get("status") or {}
            seen = status.get("observedGeneration") == live.generation
            settled = seen and self.condition("Progressing") == ("False", "Complete")
            return settled and status.get("readyReplicas") == members and bool(status.get("leader"))

        wait_for(whole, seconds, f"{members} members with a leader")

    def recorder(self) -> Recorder:
        """Clients of the members that run."""
        return Recorder(self.member_addresses)

    def member_addresses(self) -> list[str]:
        selector = "app.kubernetes.io/name=xlinecluster"
        pods = self.client.resource(known.PODS, namespace=NAMESPACE).list(label_selector=selector)
        addresses = [str((pod.get("status") or {}).get("podIP") or "") for pod in pods]
        return [f"{address}:2379" for address in addresses if address]

    def pod(self, ordinal: int) -> Unstructured:
        found = self.get(known.PODS, f"demo-sts-{ordinal}")
        assert found is not None
        return found

    def volume(self, ordinal: int) -> Path:
        """The folder that is the member's volume."""
        return self.node.root / "pvc" / NAMESPACE / f"data-demo-sts-{ordinal}"

    def uids(self) -> dict[str, str]:
        return {pod.name: pod.uid for pod in self.client.resource(known.PODS, namespace=NAMESPACE).list()}

    def claims(self) -> list[str]:
        return [claim.name for claim in self.client.resource(known.CLAIMS, namespace=NAMESPACE).list()]

    def pods(self) -> list[str]:
        return [pod.name for pod in self.client.resource(known.PODS, namespace=NAMESPACE).list()]

    def delete_and_wait(self) -> None:
        self.client.resource(XLINECLUSTERS, namespace=NAMESPACE).delete("demo")
        wait_for(lambda: not self.children() and not self.pods(), SLOW, "the objects going")
        wait_for(lambda: not list(self.node.processes()), SLOW, "the processes going")
