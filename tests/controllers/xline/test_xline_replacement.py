"""When the operator gives a member up."""

from __future__ import annotations

import pytest

from controllers.xline import replacement
from crds.xlineplan import Change, MembershipPlan
from tests.controllers.xline.xline_scene import Scene, ago

ASKED = {"replaceDeadMembers": {"afterSeconds": 600}}
NO_NODE = "0/3 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity."


def next_(scene: Scene) -> tuple[str, str]:
    action = replacement.next_action(scene.world())
    return (action.reason, action.message) if action else ("", "")


def lost(ordinal: int = 2, seconds: float = 601, spec: dict[str, object] | None = None, **how: object) -> Scene:
    """A node is lost: its Pod was told to end, and nobody says that it has."""
    return Scene(spec=ASKED if spec is None else spec, **how).terminating(ordinal, seconds)  # type: ignore[arg-type]


def homeless(ordinal: int, seconds: float, message: str = NO_NODE, reason: str = "Unschedulable") -> Scene:
    scene = Scene(spec=ASKED).down(ordinal)
    del scene.pods[ordinal]["spec"]["nodeName"]
    scene.pods[ordinal]["status"]["conditions"].append(
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": reason,
            "message": message,
            "lastTransitionTime": ago(seconds),
        }
    )
    return scene


def test_first_the_volume_goes_and_then_the_pod() -> None:
    scene = lost()
    reason, message = next_(scene)
    assert (reason, "volume data-demo-sts-2 is deleted" in message) == ("ReplacingMember", True)
    scene.claims[2]["metadata"]["deletionTimestamp"] = ago(1)
    reason, message = next_(scene)
    assert (reason, "its Pod is deleted" in message) == ("ReplacingMember", True)


def test_a_volume_that_was_made_anew_stays() -> None:
    scene = lost()
    scene.claims[2]["metadata"]["creationTimestamp"] = ago(10)
    assert "its Pod is deleted" in next_(scene)[1]


def test_a_pod_that_fits_nowhere_because_of_its_volume_is_dead_too() -> None:
    assert next_(homeless(1, 601))[0] == "ReplacingMember"
    assert next_(homeless(1, 599))[0] == ""
    assert next_(homeless(1, 601, "0/3 nodes are available: 3 Insufficient cpu."))[0] == ""
    assert next_(homeless(1, 601, reason="SchedulingGated"))[0] == ""


def test_nobody_is_given_up_early_unasked_or_for_crashing() -> None:
    assert next_(lost(seconds=599))[0] == ""
    assert next_(lost(spec={}))[0] == ""
    assert next_(Scene(spec=ASKED).down(2, waiting="CrashLoopBackOff"))[0] == ""
    assert next_(Scene(spec=ASKED))[0] == ""


def test_one_that_answers_has_its_data_although_its_kubelet_is_not_heard_of() -> None:
    scene = lost()
    assert scene.answers == {0, 1}
    scene.answers = {0, 1, 2}
    assert next_(scene)[0] == ""


def test_also_while_another_is_about_to_go() -> None:
    """It may have been planned before; it goes once this one is well again."""
    plan = MembershipPlan(ordinals=[0, 1], revision=2, change=Change(kind="Remove", member="demo-sts-2", reason="why"))
    scene = lost(1, plan=plan)
    scene.replicas = 2
    assert next_(scene)[0] == "ReplacingMember"
    gone = lost(1, plan=plan, listed={0, 1})
    assert next_(gone)[0] == ""  # one of two


def test_one_that_is_off_the_list_already_is_still_replaced() -> None:
    assert next_(lost(listed={0, 1}))[0] == "ReplacingMember"


def test_not_while_the_others_could_not_let_it_join_again() -> None:
    assert next_(lost().down(1))[0] == ""
    assert next_(lost().no_quorum())[0] == ""
    assert next_(lost(learners={0}))[0] == ""
    assert next_(lost(1, replicas=2))[0] == ""
    assert next_(lost(bootstrapped=False))[0] == ""


@pytest.mark.parametrize(
    ("lost", "members", "hopeless"),
    [(1, 3, False), (2, 3, True), (3, 3, True), (1, 1, True), (1, 2, True), (2, 5, False), (3, 5, True), (0, 3, False)],
)
def test_a_majority_of_volumes_is_what_a_cluster_needs(lost: int, members: int, hopeless: bool) -> None:
    names = [f"m-{n}" for n in range(members)]
    assert replacement.unrecoverable([*names[:lost], "stranger"], names) is hopeless
