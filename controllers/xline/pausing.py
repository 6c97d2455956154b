"""``spec.paused``: the cluster is left alone.

The operator writes nothing but the status. The agents finish what has begun (a learner is promoted, a member whose Pod
is taken leaves) and begin nothing: nobody is added, cleaned up or maintained. A server that stops is started again on
its own data, paused or not.
"""

from __future__ import annotations

from typing import Final

from controllers.xline.world import Action, World

PAUSED: Final = "Paused"


def next_action(world: World) -> Action | None:
    """Nothing, for as long as the cluster is paused."""
    if not world.cluster.spec.paused:
        return None
    return Action(PAUSED, "spec.paused is set: nothing is changed until it is taken back")
