"""What is told about clusters and members, from what the caches hold."""

from __future__ import annotations

import orjson

from controllers.xline import names as known
from crds.xlinecluster import XLINECLUSTERS
from membership.xline.model import HEARTBEAT
from tests.controllers.xline.xline_world import NAMESPACE, Operator, World
from tests.support.etcd_process import wait_for


def samples(operator: Operator) -> dict[tuple[str, ...], float]:
    """(name, label values) -> value."""
    found: dict[tuple[str, ...], float] = {}
    for metric in operator.registry.prometheus().collect():
        for sample in metric.samples:
            if metric.name.startswith("xline_"):
                found[sample.name, *sample.labels.values()] = sample.value
    return found


def test_numbers_of_a_cluster_come_with_it_and_go_with_it(world: World) -> None:
    made = world.create()
    operator = world.start_operator()
    world.wait_children()
    world.run_pods({0: True, 1: True, 2: False})
    wait_for(lambda: world.status().get("readyReplicas") == 2, what="two ready members")
    world.settle(operator)
    beat = {"sequence": 1, "incarnation": "i", "clusterUid": made.uid, "pod": "demo-sts-0", "ordinal": 0}
    pods = world.client.resource(known.PODS, namespace=NAMESPACE)
    beat |= {"podUid": pods.get("demo-sts-0").uid, "state": "Running", "dbSize": 4096, "term": 7}
    pods.patch("demo-sts-0", {"metadata": {"annotations": {HEARTBEAT: orjson.dumps(beat).decode()}}}, type="merge")
    cluster, member = (NAMESPACE, "demo"), (NAMESPACE, "demo", "demo-sts-0")
    wait_for(lambda: samples(operator).get(("xline_member_db_size_bytes", *member)) == 4096, what="the heartbeat")
    found = samples(operator)
    assert found["xline_cluster_replicas_wanted", *cluster] == 3
    assert found["xline_cluster_members_planned", *cluster] == 3
    assert found["xline_cluster_members_ready", *cluster] == 2
    assert found["xline_cluster_has_leader", *cluster] == 0
    assert found["xline_member_ready", *member] == 1
    assert found["xline_member_ready", NAMESPACE, "demo", "demo-sts-2"] == 0
    assert found["xline_member_term", *member] == 7
    assert ("xline_member_term", NAMESPACE, "demo", "demo-sts-1") not in found, "it has not said"
    phases = {key[-1]: value for key, value in found.items() if key[0] == "xline_cluster_phase"}
    assert sum(phases.values()) == 1
    assert phases[world.status()["phase"]] == 1
    world.client.resource(XLINECLUSTERS, namespace=NAMESPACE).delete("demo")
    wait_for(lambda: not samples(operator), what="the numbers going")
