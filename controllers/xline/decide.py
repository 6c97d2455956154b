"""The one thing to do next, of all that concerns a cluster. Pure; the operator does it, and ``plan`` prints it.

The order is that of precedence: a step under way is finished before anything else begins, a member that is lost is
replaced before the others are restarted, and the number of members changes last of all.
"""

from __future__ import annotations

from controllers.xline import scaling
from controllers.xline.planning import persist, published
from controllers.xline.world import Action, World

PUBLISHING_PLAN = "PublishingPlan"


def decide(world: World) -> Action | None:
    """The next action; None if all is as it should be. Children have been applied before."""
    if world.plan.revision == 0:
        return _publish(world)
    step = scaling.finish(world)
    if step is not None:
        return step
    return scaling.next_action(world)


def _publish(world: World) -> Action:
    """Agents go by the plan: until there is one, nobody may join or leave."""
    plan = published(world.plan)
    members = ", ".join(world.names.member(ordinal) for ordinal in plan.ordinals)
    return Action(PUBLISHING_PLAN, f"the members are {members}", persist(world.obj, plan), again=0.1)
