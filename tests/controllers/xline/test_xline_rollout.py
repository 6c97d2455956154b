"""Which member gets the new template next, and when."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from controllers.xline import inplace, rollout
from controllers.xline.decide import decisions
from controllers.xline.events import between
from controllers.xline.world import Action
from crds.meta import Condition
from crds.xlinecluster import Phase, XlineClusterStatus
from crds.xlineplan import Change, ChangeKind, MembershipPlan
from membership.xline.client import ListedMember
from runtime.client import Unstructured
from tests.controllers.xline.xline_scene import Scene, template


def next_(scene: Scene) -> tuple[str, str]:
    action = rollout.next_action(scene.world())
    return (action.reason, action.message) if action else ("", "")


def is_wait(action: Action | None) -> bool:
    return action is not None and action.do is None


def test_nothing_is_done_where_every_pod_is_of_the_present_template() -> None:
    assert rollout.next_action(Scene().world()) is None


def test_followers_come_first_from_the_top_and_the_leader_last() -> None:
    for leads, first in ((0, 2), (1, 2), (2, 1)):
        reason, message = next_(Scene(leads=leads).outdated(0, 1, 2))
        assert reason == "RollingMember"
        assert f"demo-sts-{first} " in message


def test_a_member_that_is_not_well_comes_before_those_that_are() -> None:
    reason, message = next_(Scene().outdated(0, 1, 2).down(1, started=True))
    assert reason == "RollingMember"
    assert "demo-sts-1 " in message


def test_the_leader_hands_over_before_its_pod_is_taken() -> None:
    reason, message = next_(Scene(leads=1).outdated(1))
    assert reason == "MovingLeader"
    assert "from demo-sts-1 to demo-sts-0" in message


def test_a_single_member_is_replaced_though_it_leads() -> None:
    assert next_(Scene(replicas=1).outdated(0))[0] == "RollingMember"


def test_it_waits_while_somebody_else_is_not_well() -> None:
    for scene, why in (
        (Scene().outdated(0, 1).down(2, started=True), "demo-sts-2 is not a voter that is well"),
        (Scene(lag={2: rollout.MAX_LAG + 1}).outdated(1), "demo-sts-2 is 5001 entries behind"),
        (Scene(learners={2}).outdated(1), "demo-sts-2 has no vote yet"),
        (Scene(listed={0, 1}).outdated(1), "demo-sts-2 is not a voter that is well"),
        (Scene().no_quorum().outdated(1), "it is not known who leads"),
        (Scene().terminating(2).outdated(1), "the former Pod of demo-sts-2 ends"),
        (Scene(listed=set()).outdated(1), "the engine's member list cannot be had"),
    ):
        action = rollout.next_action(scene.world())
        assert is_wait(action)
        assert action is not None
        assert why in action.message


def test_one_that_lags_little_can_take_over() -> None:
    assert next_(Scene(lag={2: rollout.MAX_LAG}).outdated(1))[0] == "RollingMember"


def test_it_waits_for_the_pod_that_has_gone() -> None:
    scene = Scene().outdated(0, 1)
    del scene.pods[2]
    scene.answers = {0, 1}
    reason, message = next_(scene)
    assert (reason, "demo-sts-2 has no Pod" in message) == ("RolloutWaiting", True)


def test_a_template_that_does_not_work_stops_with_its_first_member() -> None:
    action = rollout.next_action(Scene().outdated(0, 1).down(2, waiting="ImagePullBackOff").world())
    assert is_wait(action)
    assert action is not None
    assert action.reason == "RolloutStuck"
    assert "demo-sts-2" in action.message
    assert "ImagePullBackOff" in action.message


def test_nor_does_one_that_crashes_meanwhile_get_it() -> None:
    """demo-sts-1 is down for a moment, with what is known to work: were it replaced, two would be down for good."""
    action = rollout.next_action(Scene().outdated(0, 1).down(1, 2, waiting="CrashLoopBackOff").world())
    assert is_wait(action)


def test_what_runs_without_a_majority_is_not_taken_for_idle() -> None:
    """Two servers that run, and wait for each other: an etcd that knows no leader does not answer."""
    scene = Scene().no_quorum().outdated(0, 1, 2).down(1, 2, started=True)
    assert is_wait(rollout.next_action(scene.world()))


def test_what_is_being_replaced_in_place_has_not_started_yet() -> None:
    scene = Scene().outdated(0, 1).down(1, waiting="CrashLoopBackOff")
    scene.pods[2]["metadata"]["annotations"][inplace.REPLACED] = '{"xline":"run://2-1"}'
    assert is_wait(rollout.next_action(scene.world()))


@pytest.mark.parametrize(
    ("ours", "strangers", "learners", "reason"),
    [
        (3, 0, False, "RollingMember"),
        (3, 1, False, "RolloutWaiting"),
        (3, 2, False, "RolloutWaiting"),
        (5, 1, False, "RollingMember"),
        (5, 2, False, "RollingMember"),
        (5, 3, False, "RolloutWaiting"),
        (1, 1, True, "RollingMember"),
    ],
)
def test_votes_of_members_that_are_none_of_ours_count_as_missing(
    ours: int, strangers: int, learners: bool, reason: str
) -> None:
    """Three of ours and one that somebody has added by hand: without a second one there is no majority."""
    world = Scene(replicas=ours).outdated(ours - 1).world()
    odd = tuple(ListedMember(90 + n, "odd", ("http://elsewhere:2380",), (), learners) for n in range(strangers))
    engine = replace(world.engine, listed=(*world.engine.listed, *odd))
    action = rollout.next_action(replace(world, engine=engine, strangers=odd))
    assert action is not None
    assert action.reason == reason
    assert reason == "RollingMember" or ("member odd (5a)" in action.message and rollout.TAKE_OUT in action.message)


def stepping(kind: ChangeKind) -> Scene:
    """The fourth of four members goes, or is to become one."""
    ordinals = [0, 1, 2] if kind == "Remove" else [0, 1, 2, 3]
    plan = MembershipPlan(ordinals=ordinals, revision=2, change=Change(kind=kind, member="demo-sts-3", reason="why"))
    scene = Scene(replicas=4, plan=plan, listed={0, 1, 2, 3} if kind == "Remove" else {0, 1, 2})
    scene.replicas = len(ordinals)
    return scene if kind == "Remove" else scene.down(3)


def done(scene: Scene) -> list[Action]:
    """What would be done, and not only waited for, before anything that waits and blocks."""
    actions = [found.action for found in decisions(scene.world()) if found.action is not None]
    before = itertools.takewhile(lambda action: action.do is not None or not action.blocks, actions)
    return [action for action in before if action.do is not None]


@pytest.mark.parametrize("kind", ["Remove", "Add"])
def test_one_that_falls_ill_while_another_goes_or_comes_gets_what_may_cure_it(kind: ChangeKind) -> None:
    """The one waits for the other, and that for a template that works: nobody would ever go on."""
    ill = stepping(kind).outdated(0, 1, 2).down(1, started=True)
    assert [action.reason for action in done(ill)] == ["RollingMember"]
    assert "demo-sts-1" in done(ill)[0].message


@pytest.mark.parametrize("kind", ["Remove", "Add"])
def test_those_that_are_well_are_left_alone_meanwhile(kind: ChangeKind) -> None:
    assert done(stepping(kind).outdated(0, 2).down(1)) == []
    if kind == "Add":
        assert done(stepping(kind).outdated(0, 1, 2)) == []
    more = stepping(kind).down(1)
    more.replicas += 1 if kind == "Add" else -1
    assert done(more) == []  # nor does another step begin


def test_a_pod_that_ends_is_not_told_to_end_again() -> None:
    assert rollout.next_action(Scene().outdated(2).terminating(2).world()) is None


def test_its_correction_replaces_the_member_that_is_stuck_first() -> None:
    scene = Scene().outdated(0, 1, 2).down(2, waiting="ImagePullBackOff")
    reason, message = next_(scene)
    assert (reason, "demo-sts-2 " in message) == ("RollingMember", True)


def test_members_that_never_ran_are_replaced_without_a_quorum() -> None:
    scene = Scene(bootstrapped=False).no_quorum().outdated(0, 1, 2).down(0, 1, 2, waiting="ErrImagePull")
    assert next_(scene)[0] == "RollingMember"
    started = Scene(bootstrapped=False).no_quorum().outdated(1, 2).down(0, 1, 2, waiting="ErrImagePull")
    started.pods[0]["status"]["containerStatuses"][0] |= {"started": True, "state": {"running": {}}}
    reason, message = next_(started)
    assert (reason, "demo-sts-1 " in message) == ("RollingMember", True), "the first has started: on with the second"


def test_members_that_are_starting_are_left_alone() -> None:
    scene = Scene(bootstrapped=False).no_quorum().outdated(0, 1, 2)
    assert is_wait(rollout.next_action(scene.world()))


def test_it_waits_until_the_controller_has_told_the_revision() -> None:
    assert is_wait(rollout.next_action(Scene(observed=False).outdated(0).world()))


# -- in place


def test_where_images_alone_differ_the_pod_stays() -> None:
    old, new = template("etcd:v3.5.16"), template("etcd:v3.5.17")
    assert next_(Scene(template=new).outdated(1, template=old))[0] == "UpdatingInPlace"
    assert next_(Scene(template=new, spec={"update": {"inPlace": False}}).outdated(1, template=old))[0] == (
        "RollingMember"
    )


@pytest.mark.parametrize(
    "other",
    [
        template(nodeSelector={"a": "b"}),
        template(initContainers=[{"name": "agent", "image": "agent:2"}]),
        inplace.with_digest({"metadata": {"labels": {"a": "b"}}, "spec": template()["spec"]}),
    ],
)
def test_any_other_difference_replaces_it(other: dict[str, object]) -> None:
    assert next_(Scene(template=other).outdated(1, template=template()))[0] == "RollingMember"


def test_a_pod_of_before_the_digest_is_replaced() -> None:
    scene = Scene().outdated(1)
    del scene.pods[1]["metadata"]["annotations"][inplace.TEMPLATE]
    assert next_(scene)[0] == "RollingMember"


def test_the_leader_hands_over_before_its_container_is_replaced() -> None:
    old, new = template("etcd:v3.5.16"), template("etcd:v3.5.17")
    assert next_(Scene(leads=1, template=new).outdated(1, template=old))[0] == "MovingLeader"


def test_an_update_in_place_lasts_until_the_container_of_before_is_gone() -> None:
    """Between the patch and the kubelet's doing the Pod looks well and is of the present revision."""
    old, new = template("etcd:v3.5.16"), template("etcd:v3.5.17")
    scene = Scene(template=new).outdated(1, 2, template=old)
    world = scene.world()
    body = inplace.patch(world.workload, Unstructured(scene.pods[2]))
    assert body["metadata"]["labels"] == {"controller-revision-hash": "demo-sts-new"}
    assert body["metadata"]["uid"] == "pod-2"
    assert body["metadata"]["resourceVersion"] == "102"
    assert body["spec"] == {"containers": [{"name": "xline", "image": "etcd:v3.5.17"}]}
    metadata = scene.pods[2]["metadata"]
    metadata["labels"] |= body["metadata"]["labels"]
    metadata["annotations"] |= body["metadata"]["annotations"]
    reason, message = next_(scene)
    assert (reason, "demo-sts-2" in message) == ("RolloutWaiting", True)
    scene.pods[2]["status"]["containerStatuses"][0]["containerID"] = "run://2-2"
    reason, message = next_(scene)
    assert (reason, "demo-sts-1 " in message) == ("UpdatingInPlace", True)


def test_an_update_in_place_that_is_taken_back_before_the_kubelet_has_seen_it_gets_a_new_pod() -> None:
    """The container would go on as it is, and the update of it would be unfinished for ever."""
    former, taken_back = template("etcd:v3.5.16"), template("etcd:v3.5.17")
    scene = Scene(template=former).outdated(2, template=taken_back)
    scene.pods[2]["metadata"]["annotations"][inplace.REPLACED] = '{"xline":"run://2-1"}'
    assert next_(scene)[0] == "RollingMember"
    scene.pods[2]["metadata"]["annotations"][inplace.REPLACED] = '{"xline":"run://2-0"}'
    assert next_(scene)[0] == "UpdatingInPlace"


def test_the_last_update_in_place_is_waited_for_too() -> None:
    scene = Scene()
    scene.pods[0]["metadata"]["annotations"][inplace.REPLACED] = '{"xline":"run://0-1"}'
    assert is_wait(rollout.next_action(scene.world()))
    scene.pods[0]["metadata"]["annotations"][inplace.REPLACED] = '{"xline":"run://0-0"}'
    assert rollout.next_action(scene.world()) is None


# -- what is told


def status(phase: Phase, reason: str, message: str = "because") -> XlineClusterStatus:
    told = Condition(type="Progressing", status="True", reason=reason, message=message, last_transition_time="")
    return XlineClusterStatus(phase=phase, conditions=[told])


def test_that_a_rollout_stands_still_is_told_once() -> None:
    rolling, stuck = status("Updating", "RollingMember"), status("Updating", "RolloutStuck", "demo-sts-2 is broken")
    assert [tuple(event) for event in between(rolling, stuck)] == [("Warning", "RolloutStuck", "demo-sts-2 is broken")]
    assert list(between(stuck, stuck)) == []
    assert list(between(stuck, rolling)) == []


def test_that_it_is_over_is_told_too() -> None:
    (event,) = between(status("Updating", "RollingMember"), status("Running", "Complete"))
    assert (event.type, event.reason) == ("Normal", "RolledOut")
