"""Members are rolled, grown, replaced and recovered on a local node: real etcd servers, under a client that writes."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from controllers.xline import names as known
from controllers.xline.workloads import ADVANCED_STATEFULSETS
from crds.xlinecluster import XLINECLUSTERS
from runtime.types import GVR, JSONObject
from tests.controllers.xline.xline_local import SLOW, Local
from tests.controllers.xline.xline_world import AGENT, EVENTS, NAMESPACE
from tests.support.etcd_process import wait_for

EARLIER = Path(__file__).parent / "earlier_operator.yaml"

pytestmark = [pytest.mark.etcd, pytest.mark.slow, pytest.mark.timeout(400)]


def restarted(local: Local) -> list[str]:
    """Pods in the order in which the operator replaced them, or their containers."""
    return [
        entry.name
        for entry in local.server.requests.writes()
        if entry.user_agent == AGENT and entry.resource == "pods" and entry.code == 200 and not entry.subresource
    ]


def assert_led(local: Local, member: str) -> None:
    """It was the leader, and handed over before it was restarted."""
    events = local.client.resource(EVENTS, namespace=NAMESPACE).list()
    told = [str(event["message"]) for event in events if event["reason"] == "MovingLeader"]
    assert any(message.startswith(f"{member} is the last") for message in told), told


def container(local: Local, ordinal: int) -> JSONObject:
    (status,) = local.pod(ordinal)["status"]["containerStatuses"]
    found: JSONObject = status
    return found


def test_members_get_new_images_in_place_and_other_changes_by_new_pods_the_leader_last(local: Local) -> None:
    local.create()
    local.start_operator()
    local.wait_whole()
    pods = local.uids()
    with local.recorder() as recorder:
        recorder.wait_progress()
        local.edit(image="quay.io/coreos/etcd:v3.5.18")
        wait_for(lambda: len(restarted(local)) == 3, 2 * SLOW, "three containers replaced")
        local.wait_whole()
        assert_led(local, restarted(local)[-1])
        assert sorted(restarted(local)) == sorted(pods)
        assert local.uids() == pods
        assert {container(local, n)["image"] for n in range(3)} == {"quay.io/coreos/etcd:v3.5.18"}
        assert [container(local, n)["restartCount"] for n in range(3)] == [1, 1, 1]
        local.edit(podTemplate={"metadata": {"annotations": {"example.com/team": "a"}}})
        wait_for(lambda: len(restarted(local)) == 6, 2 * SLOW, "three Pods replaced")
        local.wait_whole()
        assert_led(local, restarted(local)[-1])
        assert not pods.items() & local.uids().items()
        recorder.wait_progress()
    verdict = recorder.verdict()
    print(f"rolled twice: {verdict}")


def test_a_template_that_does_not_start_stops_at_its_first_member(local: Local) -> None:
    local.create()
    local.start_operator()
    local.wait_whole()
    with local.recorder() as recorder:
        recorder.wait_progress()
        local.edit(image="example.com/nothing/here:v3.5.18")
        wait_for(
            lambda: "RolloutStuck" in str(local.status().get("conditions")), 2 * SLOW, "the rollout standing still"
        )
        assert len(restarted(local)) == 1
        local.edit(image="quay.io/coreos/etcd:v3.5.18")
        wait_for(lambda: len(restarted(local)) == 4, 2 * SLOW, "all of them replaced")
        local.wait_whole()
        assert restarted(local)[1] == restarted(local)[0], "the one that stood still comes first"
        recorder.wait_progress()
    print(f"stuck and put right: {recorder.verdict()}")


def test_volumes_grow_and_the_pods_do_not_notice(local: Local) -> None:
    local.create()
    local.start_operator()
    local.wait_whole()
    stateful_set = local.children()["statefulsets/demo-sts"].uid
    # Done, but nobody is told so: as if the operator had died on the way.
    local.server.faults.add(verb="patch", resource="persistentvolumeclaims", drop="after", times=1)
    local.server.faults.add(verb="delete", resource="statefulsets", drop="after", times=1)
    local.server.faults.add(verb="create", resource="statefulsets", drop="after", times=1)
    grow(local, known.STATEFULSETS)
    assert local.children()["statefulsets/demo-sts"].uid != stateful_set


def test_so_they_do_in_an_advanced_set(local_kruise: Local) -> None:
    local_kruise.create()
    local_kruise.start_operator()
    local_kruise.wait_whole()
    before = local_kruise.get(ADVANCED_STATEFULSETS, "demo-sts")
    grow(local_kruise, ADVANCED_STATEFULSETS)
    after = local_kruise.get(ADVANCED_STATEFULSETS, "demo-sts")
    assert before is not None
    assert after is not None
    assert after.uid == before.uid


def grow(local: Local, workloads: GVR) -> None:
    pods = local.uids()
    with local.recorder() as recorder:
        local.edit(storage={"size": "2Gi"})

        def grown() -> bool:
            claims = local.client.resource(known.CLAIMS, namespace=NAMESPACE).list()
            sizes = [claim["status"]["capacity"]["storage"] for claim in claims]
            live = local.get(workloads, "demo-sts")
            template = live and live["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"]
            return sizes == ["2Gi"] * 3 and template == "2Gi"

        wait_for(grown, SLOW, "claims and template of 2Gi")
        local.wait_whole()
        recorder.wait_progress()
    print(f"grown: {recorder.verdict()}")
    assert local.uids() == pods


def test_a_cluster_of_before_the_agents_gets_them_one_by_one_the_leader_last(local: Local) -> None:
    owner = local.create()
    members = [f"demo-sts-{ordinal}" for ordinal in range(3)]
    frozen = {"bootstrap": {"members": members, "token": "demo-12345678", "completed": True}}
    clusters = local.client.resource(XLINECLUSTERS, namespace=NAMESPACE)
    clusters.patch("demo", {"status": frozen}, type="merge", subresource="status")
    controller = {"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid}
    for manifest in yaml.safe_load_all(EARLIER.read_text()):
        manifest["metadata"]["ownerReferences"] = [{**controller, "controller": True}]
        gvr = known.SERVICES if manifest["kind"] == "Service" else known.STATEFULSETS
        local.client.resource(gvr, namespace=NAMESPACE).create(manifest)
    wait_for(lambda: len(local.member_addresses()) == 3, SLOW, "three addresses")
    with local.recorder() as recorder:
        recorder.wait_progress()
        local.start_operator()
        wait_for(lambda: len(restarted(local)) == 3, 3 * SLOW, "three Pods replaced")
        local.wait_whole(seconds=2 * SLOW)
        recorder.wait_progress()
    print(f"given agents: {recorder.verdict()}")
    assert sorted(restarted(local)) == members
    assert all(local.pod(ordinal)["spec"]["initContainers"] for ordinal in range(3))
    assert_led(local, restarted(local)[-1])


def test_a_lost_disk_is_made_good(local: Local) -> None:
    local.create()
    local.start_operator()
    local.wait_whole()
    old = member_id(local, 2)
    with local.recorder() as recorder:
        recorder.wait_progress()
        lose(local, 2)
        wait_for(lambda: member_id(local, 2) not in ("", old), 2 * SLOW, "a new member in its place")
        local.wait_whole(seconds=2 * SLOW)
        recorder.wait_progress()
    print(f"a disk lost: {recorder.verdict()}")


def test_a_lost_majority_is_recovered_from_when_asked_for(local: Local) -> None:
    local.create()
    local.start_operator()
    local.wait_whole()
    assert local.etcdctl("put", "kept", "yes") == "OK"
    local.edit(paused=True)  # or one of them may be replaced before the other has gone
    wait_for(lambda: local.status().get("phase") == "Paused", SLOW, "the pause")
    lose(local, 0, 1)
    wait_for(lambda: local.condition("Available") == ("False", "NoQuorum"), SLOW, "no majority")
    local.edit(recovery={"survivor": "demo-sts-2", "id": "first"}, paused=False)

    def recovered() -> bool:
        return bool((local.status()["plan"].get("recovery") or {}).get("completed"))

    wait_for(recovered, 3 * SLOW, "the survivor leading a cluster of its own")
    local.wait_whole(seconds=3 * SLOW)
    assert local.etcdctl("get", "kept", "--print-value-only") == "yes"
    assert local.status()["plan"]["ordinals"] == [0, 1, 2]


def lose(local: Local, *ordinals: int) -> None:
    """Their disks are gone, and their Pods with them, all at once: no server uses its grace period to vote on."""
    pids = [pid for ordinal in ordinals for pid in local.node.pids(NAMESPACE, f"demo-sts-{ordinal}").values()]
    for ordinal in ordinals:
        local.client.resource(known.CLAIMS, namespace=NAMESPACE).delete(f"data-demo-sts-{ordinal}")
    for ordinal in ordinals:
        local.client.resource(known.PODS, namespace=NAMESPACE).delete(f"demo-sts-{ordinal}", grace_period_seconds=0)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def member_id(local: Local, ordinal: int) -> str:
    members = local.status().get("members", ())
    return next((str(member.get("id", "")) for member in members if member["name"] == f"demo-sts-{ordinal}"), "")
