"""Of all that could be done to a cluster, what is done next."""

from __future__ import annotations

import pytest

from controllers.xline import decide as deciding
from controllers.xline.decide import Decision, decide
from controllers.xline.world import Action, World
from crds.xlineplan import Change, MembershipPlan
from runtime.controller import ReconcileContext
from tests.controllers.xline.xline_scene import Scene


def reason(world: World) -> tuple[str, str | None]:
    decision = decide(world)
    return decision.phase, decision.action.reason if decision.action else None


def test_nothing_is_done_to_a_cluster_that_is_as_it_should_be() -> None:
    assert reason(Scene().world()) == ("Running", None)


def test_the_plan_is_published_before_anything_else() -> None:
    scene = Scene(plan=MembershipPlan(ordinals=[0, 1, 2])).outdated(0, 1, 2)
    scene.replicas = 5
    assert reason(scene.world()) == ("Bootstrapping", "PublishingPlan")


def test_nothing_at_all_is_done_while_paused() -> None:
    scene = Scene(plan=MembershipPlan(ordinals=[0, 1, 2]), spec={"paused": True}).outdated(0, 1, 2)
    scene.replicas = 5
    assert reason(scene.world()) == ("Paused", "Paused")


def test_members_are_rolled_before_their_number_changes() -> None:
    scene = Scene().outdated(2)
    scene.replicas = 5
    assert reason(scene.world())[0] == "Updating"


def test_a_step_under_way_is_finished_before_members_are_rolled() -> None:
    plan = MembershipPlan(ordinals=[0, 1, 2, 3], revision=2, change=Change(kind="Add", member="demo-sts-3"))
    scene = Scene(replicas=4, plan=plan, listed={0, 1, 2}).down(3).outdated(0, 1, 2)
    assert reason(scene.world()) == ("Scaling", "WaitingForMember")


def test_a_lost_majority_is_recovered_whatever_step_was_under_way() -> None:
    plan = MembershipPlan(ordinals=[0, 1, 2, 3], revision=2, change=Change(kind="Add", member="demo-sts-3"))
    scene = Scene(replicas=4, plan=plan, spec={"recovery": {"survivor": "demo-sts-0", "id": "a"}})
    assert reason(scene.no_quorum().down(0, 1, 2, 3).world()) == ("Recovering", "Recovering")


def nothing(ctx: ReconcileContext) -> None: ...


DOES, OTHER = Action("Does", "", nothing), Action("Other", "", nothing)
WAITS, IDLES = Action("Waits", ""), Action("Idles", "", blocks=False)


@pytest.mark.parametrize(
    ("actions", "refused", "done"),
    [
        ([None, DOES, OTHER], (), DOES),
        ([DOES, OTHER], (DOES,), OTHER),
        ([DOES, OTHER], (DOES, OTHER), None),
        ([WAITS, OTHER], (), WAITS),
        ([IDLES, OTHER], (), OTHER),
        ([IDLES, OTHER], (OTHER,), IDLES),
        ([IDLES, WAITS, OTHER], (), WAITS),
        ([DOES, WAITS], (DOES,), WAITS),
        ([None, None], (), None),
    ],
)
def test_who_is_refused_or_need_not_be_waited_for_gives_its_turn_to_the_next(
    monkeypatch: pytest.MonkeyPatch, actions: list[Action | None], refused: tuple[Action, ...], done: Action | None
) -> None:
    concerns = tuple(("Scaling", lambda _, action=action: action) for action in actions)
    monkeypatch.setattr(deciding, "_CONCERNS", concerns)
    tried: list[Action] = []

    def tries(decision: Decision) -> bool:
        assert decision.action is not None
        tried.append(decision.action)
        return decision.action in refused

    assert decide(Scene().world(), tries).action is done
    assert len([action for action in tried if action not in refused]) <= 1, "one thing at a time"
