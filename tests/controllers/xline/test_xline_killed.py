"""The operator is killed right after each of its writes while a cluster grows and shrinks, and another goes on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

import crds
from runtime.testing.localcluster import LocalCluster
from runtime.testing.nodes.controllers import ADVANCED_STATEFULSET_CRD
from tests.controllers.xline.operator_process import Executioner, operator_process
from tests.controllers.xline.xline_local import SLOW, Local
from tests.support.etcd_process import wait_for

pytestmark = [pytest.mark.etcd, pytest.mark.slow, pytest.mark.timeout(900)]


class Bereaved(Local):
    """A local world whose operators are processes.

    :ivar stride: every how manyth write is tried: most are the same with both kinds of workload.
    """

    def __init__(self, cluster: LocalCluster, folder: Path, stride: int) -> None:
        super().__init__(cluster)
        self.stride = stride
        self._kubeconfig = cluster.server.kubeconfig(folder / "kubeconfig")
        self._log = folder / "operator.log"

    def is_whole(self, size: int) -> bool:
        live = self.cluster()
        status = live.get("status") or {}
        return bool(
            status.get("observedGeneration") == live.generation
            and (status.get("phase"), status.get("readyReplicas"), status.get("voters")) == ("Running", size, size)
            and len(self.pods()) == size
        )

    def scale(self, size: int, at: int) -> list[str]:
        """Have the cluster scaled by an operator that dies at its ``at``-th write, and by its successor. Returns the
        writes up to that one, or all there were."""
        self.edit(replicas=size)
        with operator_process(self._kubeconfig, self._log) as first:
            executioner = Executioner(self.server, first, at)
            wait_for(lambda: executioner.done.is_set() or self.is_whole(size), 2 * SLOW, "the end, either way")
            wait_for(lambda: first.runs is not executioner.done.is_set(), what="the death")
        if executioner.done.is_set():
            with operator_process(self._kubeconfig, self._log):
                wait_for(lambda: self.is_whole(size), 2 * SLOW, f"{size} members after a death at {executioner.seen}")
        return executioner.seen


@pytest.fixture(params=["StatefulSet", "AdvancedStatefulSet"])
def bereaved(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bereaved]:
    manifests = [Path(crds.__file__).parent, *([ADVANCED_STATEFULSET_CRD] if "Advanced" in request.param else [])]
    with LocalCluster(tmp_path, manifests=manifests) as cluster:
        here = Bereaved(cluster, tmp_path, stride=2 if "Advanced" in request.param else 1)
        try:
            yield here
        finally:
            here.client.close()


def test_an_operator_killed_after_any_write_of_a_scaling_is_succeeded_by_one_that_ends_it(bereaved: Bereaved) -> None:
    bereaved.create(replicas=2)
    bereaved.scale(2, at=10_000)
    told: dict[int, set[str]] = {2: set(), 3: set()}
    with bereaved.recorder() as recorder:
        for at in itertools.count(1, bereaved.stride):
            reached = False
            for size in (3, 2):
                revision = bereaved.status()["plan"]["revision"]
                writes = bereaved.scale(size, at)
                reached = reached or len(writes) == at
                told[size].update(writes)
                plan = bereaved.status()["plan"]
                assert len(plan["ordinals"]) == size
                assert plan["revision"] == revision + 1, f"one step, whoever died at {writes}"
            if not reached:
                break
        recorder.wait_progress()
    print(f"killed at {at} writes: {recorder.verdict()}; writes: {told}")
    assert {"patch xlineclusters/status", "patch statefulsets", "patch poddisruptionbudgets"} <= told[3]
    assert {"patch xlineclusters/status", "patch statefulsets", "patch poddisruptionbudgets"} <= told[2]
