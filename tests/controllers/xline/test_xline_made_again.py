"""Real members of a cluster that is deleted and created again on its volumes, one of which was lost meanwhile.

The empty member comes first, then one that had missed the last writes: together they would be a majority that knows
nothing of them.
"""

from __future__ import annotations

import shutil

import pytest

from controllers.xline import names as known
from crds.xlinecluster import XLINECLUSTERS
from membership.xline.heartbeat import parse_heartbeat
from runtime.testing.apiserver.faults import Asked
from tests.controllers.xline.xline_local import SLOW, Local
from tests.controllers.xline.xline_world import NAMESPACE
from tests.support.etcd_process import wait_for

pytestmark = [pytest.mark.etcd, pytest.mark.slow, pytest.mark.timeout(300)]


class Door:
    """Keeps Pods from being given a node."""

    def __init__(self, local: Local) -> None:
        self._local = local
        self._shut: frozenset[str] = frozenset()
        local.server.faults.add(self._is_shut, status=500)

    def _is_shut(self, asked: Asked) -> bool:
        return (asked.verb, asked.subresource) == ("create", "binding") and asked.name in self._shut

    def keep_out(self, *ordinals: int) -> None:
        """These, and no others, from now on. One that runs goes on."""
        self._shut = frozenset(f"demo-sts-{ordinal}" for ordinal in ordinals)

    def put_out(self, ordinal: int) -> None:
        """Its Pod ends, and waits for a node as long as it is kept out."""
        was = self._local.pod(ordinal)
        self._local.client.resource(known.PODS, namespace=NAMESPACE).delete(was.name)
        wait_for(lambda: self._local.uids().get(was.name, was.uid) != was.uid, SLOW, f"the end of {was.name}")


def ids(local: Local) -> dict[str, str]:
    """By the engine's own list."""
    lines = [line.split(", ") for line in local.etcdctl("member", "list").splitlines()]
    return {fields[2]: fields[0] for fields in lines}


def state(local: Local, ordinal: int) -> str:
    pod = local.get(known.PODS, f"demo-sts-{ordinal}")
    beat = parse_heartbeat(pod) if pod is not None else None
    return beat.state if beat is not None else ""


def has_server_begun(local: Local, ordinal: int) -> bool:
    return (local.volume(ordinal) / "data" / "member").exists()


def write_what_one_misses(local: Local, door: Door) -> dict[str, str]:
    """Members 0 and 2 have it, member 1 has not. Returns who they are."""
    local.create()
    local.start_operator()
    local.wait_whole()
    before = ids(local)
    door.keep_out(1)
    door.put_out(1)
    wait_for(lambda: local.etcdctl("put", "key", "value") == "OK", SLOW, "an acknowledged write")
    return before


def lose_disk(local: Local, ordinal: int) -> None:
    for found in local.volume(ordinal).iterdir():
        shutil.rmtree(found) if found.is_dir() else found.unlink()


def come_one_by_one(local: Local, door: Door, before: dict[str, str]) -> None:
    """The one that is empty first; at the end all are there, and nothing is missing."""
    door.keep_out(1, 2)
    wait_for(lambda: state(local, 0) in ("WaitPeers", "Bootstrap"), SLOW, "the first word of the empty member")
    door.keep_out(2)
    wait_for(lambda: state(local, 1) in ("Restart", "Partitioned", "Running"), SLOW, "the one that is behind")
    assert state(local, 0) == "WaitPeers"
    assert not has_server_begun(local, 0)
    door.keep_out()
    local.wait_whole()
    assert local.etcdctl("get", "key", "--print-value-only") == "value"
    after = ids(local)
    assert {name for name in before if before[name] != after[name]} == {"demo-sts-0"}
    assert before["demo-sts-0"] not in after.values()


def test_an_empty_volume_of_a_cluster_that_is_made_again_does_not_vote_for_its_former_member(local: Local) -> None:
    door = Door(local)
    before = write_what_one_misses(local, door)
    was = local.status()["bootstrap"]
    local.delete_and_wait()
    lose_disk(local, 0)
    door.keep_out(0, 1, 2)
    local.create()
    wait_for(lambda: "bootstrap" in local.status(), what="the bootstrap")
    assert local.status()["bootstrap"] == was
    come_one_by_one(local, door, before)


def test_nor_does_one_of_a_workload_that_was_left_and_taken_over(local_kruise: Local) -> None:
    local, door = local_kruise, Door(local_kruise)
    before = write_what_one_misses(local, door)
    was = local.status()["bootstrap"]
    clusters = local.client.resource(XLINECLUSTERS, namespace=NAMESPACE)
    clusters.delete("demo", propagation_policy="Orphan")
    wait_for(lambda: local.get(XLINECLUSTERS, "demo") is None, SLOW, "the end of the XlineCluster alone")
    door.keep_out(0, 1, 2)
    for ordinal in (2, 0):
        door.put_out(ordinal)
    wait_for(lambda: not list(local.node.processes()), SLOW, "the processes going")
    lose_disk(local, 0)
    local.create()
    wait_for(lambda: "bootstrap" in local.status(), what="the bootstrap")
    assert local.status()["bootstrap"] == was
    come_one_by_one(local, door, before)


def test_members_that_were_left_behind_obey_the_cluster_that_takes_them_over(local: Local) -> None:
    """Their agents were told at their start of which XlineCluster they are; this one has the same token."""
    local.create()
    local.start_operator()
    local.wait_whole()
    was = local.uids()
    local.client.resource(XLINECLUSTERS, namespace=NAMESPACE).delete("demo", propagation_policy="Orphan")
    wait_for(lambda: local.get(XLINECLUSTERS, "demo") is None, SLOW, "the end of the XlineCluster alone")
    local.create()
    local.wait_whole()
    assert local.uids() == was
    local.edit(replicas=2)
    local.wait_whole(2)
    assert sorted(ids(local)) == ["demo-sts-0", "demo-sts-1"]
    assert "Left" in local.reasons()
