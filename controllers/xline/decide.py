"""The one thing to do next, of all that concerns a cluster. Pure; the operator does it, and ``plan`` prints it.

The order is that of precedence: a step under way is finished before anything else begins, a member that is lost is
replaced before the others are restarted, and the number of members changes last of all.
"""

from __future__ import annotations

from collections.abc import Callable
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
    plan = published(world.plan)
    members = ", ".join(world.names.member(ordinal) for ordinal in plan.ordinals)
    return Action(PUBLISHING_PLAN, f"the members are {members}", persist(world.obj, plan), again=0.1)


_CONCERNS: Final[tuple[tuple[Phase, Concern], ...]] = (
    ("Paused", pausing.next_action),
    ("Bootstrapping", _publish),
    ("Recovering", recovery.next_action),
    ("Scaling", scaling.finish),
    ("Recovering", replacement.next_action),
    ("Updating", expansion.next_action),
    ("Updating", rollout.next_action),
    ("Scaling", scaling.next_action),
)


def decide(world: World) -> Decision:
    """What to do next. The children have been applied before."""
    for phase, concern in _CONCERNS:
        action = concern(world)
        if action is not None:
            return Decision(phase, action)
    return Decision()
