"""A member whose disk is lost for good is replaced by an empty one, under the same name.

A volume that somebody has deleted needs nothing of the operator: the Pod comes back with an empty one, and the agent in
it removes the old member and joins as a new one. ``spec.replaceDeadMembers`` has the operator do that to a member that
is down for long because its node is: it deletes the volume, which the cluster has other copies of, and the Pod, so that
both can be made elsewhere. That is done to one member at a time, and only while all others are well.

A claim in use stays until its Pod has gone, so the claim is deleted first: from then on it can be seen that this Pod
has to go, too, whoever looks.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from controllers.xline import rollout
from controllers.xline.deletions import deletion
from controllers.xline.names import CLAIMS, PODS
from controllers.xline.podstate import condition, since
from controllers.xline.world import Action, Do, MemberView, Refused, World
from runtime.client import Forbidden, NotFound, Unstructured
from runtime.controller import ReconcileContext
from runtime.types import GVR, JSONMapping

NODES: Final = GVR("", "v1", "nodes")

REPLACING_MEMBER: Final = "ReplacingMember"
REPLACEMENT_REFUSED: Final = "ReplacementRefused"

_UNSCHEDULABLE: Final = "Unschedulable"


def unrecoverable(lost: Collection[str], members: Collection[str]) -> bool:
    """Whether so many members have lost their volumes that the rest is no majority: then nobody can let them join
    again, and making their volumes anew would only hide that the data is gone."""
    return len(members) - len(set(lost) & set(members)) < len(members) // 2 + 1


def next_action(world: World) -> Action | None:
    """Replace the member that is dead, or go on replacing it; None if none is, or none may be."""
    settings = world.cluster.spec.replace_dead_members
    if settings is None or not world.bootstrap.completed:
        return None
    patience = timedelta(seconds=settings.after_seconds)
    for member in world.wanted:
        down_since = _down_since(member)
        # One that answers has its data, whatever its kubelet says, or does not say any more.
        answers = member.name in world.engine.statuses
        if down_since is None or answers or world.now - down_since < patience:
            continue
        if member.ordinal == world.leader or _blocked(world, member):
            return None  # what is in the way is told elsewhere; the dead one is not the only one then
        return _replace(world, member, down_since)
    return None


def _blocked(world: World, member: MemberView) -> str:
    if sum(other.voter or other.ordinal in world.ordinals for other in world.members.values()) < 3:
        return "one of two cannot do without the other"
    return rollout.obstacle(world, member)


def _down_since(member: MemberView) -> datetime | None:
    """Since when its Pod is known not to run where it is; None if it runs, or may come back by itself."""
    pod = member.pod
    if pod is None or member.healthy or member.ready:
        return None
    if pod.deletion_timestamp is not None:
        return pod.deletion_timestamp  # the end of its grace period: a node that lives has ended it by then
    scheduled = condition(pod, "PodScheduled")
    if scheduled is not None and scheduled.get("status") == "False" and _waits_for_its_volume(scheduled):
        return since(scheduled)
    return None  # on a node that is lost it is told to end after five minutes


def _waits_for_its_volume(scheduled: JSONMapping) -> bool:
    """Whether no node can take the Pod because its volume is elsewhere, as the scheduler says."""
    text = str(scheduled.get("message") or "").lower()
    return scheduled.get("reason") == _UNSCHEDULABLE and "volume" in text and "affinity" in text


def _replace(world: World, member: MemberView, down_since: datetime) -> Action:
    pod, claim = member.pod, member.claim
    assert pod is not None
    why = f"{member.name} is down since {down_since:%Y-%m-%d %H:%M:%S} UTC"
    if claim is not None and claim.deletion_timestamp is None and _is_of(pod, claim):
        message = f"{why}: its volume {claim.name} is deleted, and an empty member joins in its place"
        do = deletion(world, CLAIMS, claim, (REPLACING_MEMBER, message))
        return Action(REPLACING_MEMBER, message, _if_dead(pod, do))
    message = f"{why}: its Pod is deleted without waiting for its node"
    do = deletion(world, PODS, pod, (REPLACING_MEMBER, message), grace=0)
    return Action(REPLACING_MEMBER, message, _if_dead(pod, do))


def _is_of(pod: Unstructured, claim: Unstructured) -> bool:
    """Whether the claim was there when the Pod was made; a younger one is its replacement already."""
    made, existed = pod.creation_timestamp, claim.creation_timestamp
    return made is not None and existed is not None and existed <= made


def _if_dead(pod: Unstructured, do: Do) -> Do:
    """Does it only if the Pod's node is gone or not ready, asked of the server now."""
    node = pod["spec"].get("nodeName")

    def checked(ctx: ReconcileContext) -> None:
        if node and _lives(str(node), ctx):
            raise Refused(
                REPLACEMENT_REFUSED,
                f"Pod {pod.name} is not replaced: its node {node} is ready, so its volume is not lost; see with "
                f"kubectl describe pod {pod.name} why it does not run",
            )
        do(ctx)

    return checked


def _lives(node: str, ctx: ReconcileContext) -> bool:
    try:
        live = ctx.client.resource(NODES).get(node)
    except NotFound:
        return False
    except Forbidden as error:
        raise Refused(
            REPLACEMENT_REFUSED,
            f"spec.replaceDeadMembers: the operator must be allowed to get nodes, to see whether {node} is down: "
            f"{error}",
        ) from error
    ready = condition(live, "Ready")
    return ready is not None and ready.get("status") == "True"
