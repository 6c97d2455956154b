"""Volumes grow one after the other, and then the template of those to come."""

from __future__ import annotations

from controllers.xline import expansion
from controllers.xline.workloads import ADVANCED_STATEFULSET
from tests.controllers.xline.xline_scene import Scene, ago, claim, claim_spec


def grown(*ordinals: int, **how: object) -> Scene:
    """3 members asked to have 2Gi; these have them."""
    scene = Scene(spec={"storage": {"size": "2Gi"}}, **how)  # type: ignore[arg-type]
    for ordinal in ordinals:
        scene.claims[ordinal] = claim(ordinal, "2Gi")
    return scene


def next_(scene: Scene) -> tuple[str, str]:
    action = expansion.next_action(scene.world())
    return (action.reason, action.message) if action else ("", "")


def waits(scene: Scene) -> str:
    action = expansion.next_action(scene.world())
    assert action is not None
    assert action.do is None
    assert not action.blocks, "a driver that never grows a volume must not keep the cluster from anything else"
    return action.message


def pending(scene: Scene, ordinal: int, seconds: float) -> Scene:
    scene.claims[ordinal]["status"] = {
        "capacity": {"storage": "1Gi"},
        "conditions": [
            {
                "type": "FileSystemResizePending",
                "status": "True",
                "lastTransitionTime": ago(seconds),
                "message": "waiting for user to (re-)start a pod",
            }
        ],
    }
    return scene


def test_nothing_grows_that_is_large_enough() -> None:
    assert expansion.next_action(Scene(spec={"storage": {"size": "1024Mi"}}).world()) is None


def test_claims_grow_one_after_the_other_and_the_template_last() -> None:
    for done in range(3):
        reason, message = next_(grown(*range(done)))
        assert reason == "ExpandingVolume"
        assert message == f"the volume of demo-sts-{done} grows from 1Gi to 2Gi"
    reason, message = next_(grown(0, 1, 2))
    assert (reason, "is made again" in message) == ("RemakingWorkload", True)
    scene = grown(0, 1, 2, claim_template=claim_spec("2Gi"))
    assert expansion.next_action(scene.world()) is None


def test_an_advanced_set_keeps_its_object() -> None:
    reason, message = next_(grown(0, 1, 2, backend=ADVANCED_STATEFULSET))
    assert (reason, "is made again" in message) == ("RemakingWorkload", False)


def test_the_next_claim_waits_until_the_volume_has_grown() -> None:
    scene = grown(0)
    scene.claims[0]["status"]["capacity"]["storage"] = "1Gi"
    assert "demo-sts-0 grows to 2Gi" in waits(scene)


def test_a_volume_that_is_not_bound_yet_holds_nothing_up() -> None:
    scene = grown(0)
    del scene.claims[0]["status"]
    assert "demo-sts-1" in next_(scene)[1]


def test_a_claim_that_goes_or_is_gone_is_left_alone() -> None:
    scene = grown(1)
    scene.claims[0]["metadata"]["deletionTimestamp"] = ago(1)
    assert "demo-sts-2" in next_(scene)[1]
    del scene.claims[0]
    assert "demo-sts-2" in next_(scene)[1]


def test_a_file_system_is_given_time_to_grow_in_use() -> None:
    assert "(re-)start" in waits(pending(grown(0, 1, 2), 1, 60))


def test_one_that_does_not_grow_in_use_has_its_pod_restarted_the_leader_last() -> None:
    assert next_(pending(grown(0, 1, 2), 1, 600))[0] == "RestartingForExpansion"
    assert next_(pending(grown(0, 1, 2, leads=1), 1, 600))[0] == "MovingLeader"


def test_not_while_another_is_unwell() -> None:
    assert "later" in waits(pending(grown(0, 1, 2), 1, 600).down(2))


def test_a_pod_that_was_restarted_for_it_is_not_restarted_again() -> None:
    scene = pending(grown(0, 1, 2), 1, 600)
    scene.pods[1]["metadata"]["creationTimestamp"] = ago(500)
    assert "grows to 2Gi" in waits(scene)
