"""The whole operator where members are given up and recovered, with Pods played by hand."""

from __future__ import annotations

from controllers.xline import names as known
from tests.controllers.xline.xline_world import NAMESPACE, World
from tests.support.etcd_process import wait_for


def test_a_majority_of_volumes_that_is_lost_with_the_stateful_set_can_be_recovered_from(world: World) -> None:
    """The StatefulSet is not made again on empty volumes, but for the survivor it is."""
    world.bring_up()
    world.remove_claim(0)
    world.remove_claim(2)
    world.client.resource(known.STATEFULSETS, namespace=NAMESPACE).delete("demo-sts")
    for ordinal in range(3):
        world.client.resource(known.PODS, namespace=NAMESPACE).delete(f"demo-sts-{ordinal}", grace_period_seconds=0)
    world.wait_condition("Degraded", "True", "VolumesLost")
    world.edit(recovery={"survivor": "demo-sts-2", "id": "a"})
    wait_for(lambda: "the volume data-demo-sts-2 is gone" in world.status()["message"], what="the refusal")
    assert "statefulsets/demo-sts" not in world.children()
    world.edit(recovery={"survivor": "demo-sts-1", "id": "a"})
    world.wait_event("Recovering")
    world.wait_children()
    plan = world.status()["plan"]
    assert plan["ordinals"] == [1]
    assert plan["recovery"]["survivor"] == "demo-sts-1"


def test_a_paused_cluster_is_left_as_it_is_and_goes_on_after(world: World) -> None:
    world.create()
    operator = world.start_operator()
    world.wait_children()
    world.run_pods()
    world.wait_condition("Progressing", "False", "Complete")
    world.edit(paused=True)
    world.wait_condition("Progressing", "False", "Paused")
    world.settle(operator)
    before = len(world.writes())
    world.edit(image="quay.io/coreos/etcd:v3.5.18", replicas=5)
    world.client.resource(known.SERVICES, namespace=NAMESPACE).delete("demo-client")
    world.settle(operator)
    written = [entry for entry in world.writes()[before:] if entry.subresource != "status"]
    assert written == []
    world.edit(paused=False)
    wait_for(lambda: "services/demo-client" in world.children(), what="the Service")
