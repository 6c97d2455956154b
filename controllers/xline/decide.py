"""The one thing to do next, of all that concerns a cluster. Pure; the operator does it, and ``plan`` prints it.

The order is that of precedence: a step under way is finished before anything else begins, a member that is lost is
replaced before the others are restarted, and the number of members changes last of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from controllers.xline import expansion, pausing, recovery, replacement, rollout, scaling
from controllers.xline.planning import persist, published
from controllers.xline.world import Action, World
from crds.xlinecluster import Phase

PUBLISHING_PLAN = "PublishingPlan"

Concern: TypeAlias = Callable[[World], Action | None]


@dataclass(frozen=True, slots=True)
class Decision:
    """:ivar action: the next one; None if all is as it should be.
    :ivar phase: what the cluster is at because of it.
    """

    phase: Phase = "Running"
    action: Action | None = None


def _publish(world: World) -> Action | None:
    """Agents go by the plan: until there is one, nobody may join or leave."""
    if world.plan.revision:
        return None
    plan = published(world.plan, world.cluster.spec)
    members = ", ".join(world.names.member(ordinal) for ordinal in plan.ordinals)
    return Action(PUBLISHING_PLAN, f"the members are {members}", persist(world.obj, plan), again=0.1)


_CONCERNS: Final[tuple[tuple[Phase, Concern], ...]] = (
    ("Paused", pausing.next_action),
    ("Bootstrapping", _publish),
    ("Recovering", recovery.next_action),
    ("Scaling", scaling.departure),
    ("Recovering", replacement.next_action),
    ("Scaling", scaling.arrival),
    ("Updating", expansion.next_action),
    ("Updating", rollout.next_action),
    ("Scaling", scaling.next_action),
)


def decisions(world: World) -> Iterator[Decision]:
    """What each concern would do next, in their order; those that are content say nothing.

    A later one may be done only if all before it have been refused, or wait for something that does not block.
    """
    for phase, concern in _CONCERNS:
        action = concern(world)
        if action is not None:
            yield Decision(phase, action)


def decide(world: World, refused: Callable[[Decision], bool] = lambda _: False) -> Decision:
    """What to do next. The children have been applied before.

    :param refused: tries an action; whether it cannot be done until a person acts, so that the next one has its turn.
    """
    waiting = Decision()
    for decision in decisions(world):
        action = decision.action
        assert action is not None
        if action.do is None and not action.blocks:
            waiting = waiting if waiting.action is not None else decision
        elif action.do is None or not refused(decision):
            return decision
    return waiting
