"""Recovery from a lost majority: a new cluster of one member's data, and of nothing else.

Writes that the survivor had not received are lost with the others, so nothing of this is ever done unasked:
``spec.recovery`` names the member that survives, and an id that makes the request one that is carried out once. One
that comes while a majority lives is refused for good: it must not wait for the day on which the majority is lost.

First the plan: it keeps the survivor alone, and the agents of all others hold their servers back from then on, whatever
data they may find. Then every Pod that ran before is replaced, the survivor's last, so that each agent decides anew.
The survivor's starts its server as the only member. Once it leads a cluster of one the recovery is complete, and the
scale loop adds the others as if they were new.
"""

from __future__ import annotations

from typing import Final

import msgspec

from controllers.xline.deletions import deletion
from controllers.xline.names import PODS
from controllers.xline.planning import persist
from controllers.xline.world import Action, MemberView, World
from crds.xlineplan import Recovery

RECOVERED: Final = "Recovered"
RECOVERING: Final = "Recovering"
RECOVERY_REFUSED: Final = "RecoveryRefused"

_RUNNING: Final = "Running"
_SOON: Final = 1.0  # seconds


def next_action(world: World) -> Action | None:
    """Begin the recovery that is asked for, or go on with the one that has begun; None if there is nothing to recover.

    One that has begun is finished even if ``spec.recovery`` is taken back: its plan is published already. Only another
    request takes its place, as long as nobody leads: the survivor may be one that cannot start.
    """
    begun = world.plan.recovery
    if begun is not None and not begun.completed and not _is_superseded(world):
        return _go_on(world, begun)
    if not _is_asked_for(world):
        return None
    if world.leader is not None:
        return _refuse_for_good(world)
    return _begin(world) if refusal(world) is None else None


def refusal(world: World) -> tuple[str, str] | None:
    """Why the recovery that is asked for is not begun: reason and message; None if it is, or none is asked for."""
    request = world.cluster.spec.recovery
    begun = world.plan.recovery
    if request is None:
        return None
    if begun is not None and request.id == begun.id:
        if request.survivor != begun.survivor:
            return _refused(
                f"spec.recovery.id {request.id} was used to recover {begun.survivor}: another recovery needs another id"
            )
        return None
    if request.id == world.plan.refused_recovery:
        return _refused(
            f"spec.recovery.id {request.id} was refused, as a majority lived when it was asked for, or the cluster was "
            "just created: take it back, and use another id if a majority is lost"
        )
    return _obstacle(world, request.survivor)


def _is_asked_for(world: World) -> bool:
    request, begun = world.cluster.spec.recovery, world.plan.recovery
    spent = (begun.id if begun is not None else None, world.plan.refused_recovery)
    return request is not None and request.id not in spent


def _is_superseded(world: World) -> bool:
    return _is_asked_for(world) and refusal(world) is None


def _refuse_for_good(world: World) -> Action:
    request = world.cluster.spec.recovery
    assert request is not None
    plan = msgspec.structs.replace(world.plan, revision=world.plan.revision + 1, refused_recovery=request.id)
    message = f"recovery {request.id} is not carried out: no majority is lost, {world.engine.leader} leads"
    return Action(RECOVERY_REFUSED, message, persist(world.obj, plan, (RECOVERY_REFUSED, message)), again=_SOON)


def _obstacle(world: World, survivor: str) -> tuple[str, str] | None:
    if not world.profile.force_new_cluster:
        return _refused(
            f"spec.recovery: {world.profile.name} cannot make a new cluster of one member's data; "
            "restore a backup into another XlineCluster instead"
        )
    if not world.bootstrap.completed:
        return _refused("spec.recovery: the cluster has never run, so there is nothing to recover")
    ordinal = world.ordinal_of(survivor)
    member = world.members.get(ordinal) if ordinal is not None else None
    if member is None:
        known = ", ".join(found.name for found in world.members.values())
        return _refused(f"spec.recovery.survivor: there is no member {survivor}; there are {known}")
    if member.claim is None or member.claim.deletion_timestamp is not None:
        return _refused(
            f"spec.recovery.survivor: the volume {world.names.claim(survivor)} is gone; name a member whose data exists"
        )
    served = _served(world)
    if served:
        return _refused(f"spec.recovery: it is not sure that a majority is lost: {served}")
    return None


def _served(world: World) -> str:
    """What speaks for a majority that lives, though no leader is agreed upon; ``""`` if nothing does. Readiness is the
    kubelet's word: a Pod is ready only if its member knows a leader, so it counts where the operator itself reaches
    nobody."""
    led = [name for name, status in world.engine.statuses.items() if status.has_leader]
    if led:
        return f"{', '.join(led)} still follow a leader"
    ready = [member.name for member in world.wanted if member.ready]
    if len(ready) > len(world.wanted) // 2:
        return f"{', '.join(ready)} are ready"
    return ""


def _begin(world: World) -> Action:
    request = world.cluster.spec.recovery
    assert request is not None
    ordinal = world.ordinal_of(request.survivor)
    assert ordinal is not None
    pods = sorted(member.pod.uid for member in world.members.values() if member.pod is not None)
    plan = msgspec.structs.replace(
        world.plan,
        ordinals=[ordinal],
        revision=world.plan.revision + 1,
        recovery=Recovery(survivor=request.survivor, id=request.id, pods=pods),
    )
    message = (
        f"recovery {request.id} begins: {request.survivor} alone is kept, and the others join it anew; what they had "
        "and it has not is lost"
    )
    return Action(RECOVERING, message, persist(world.obj, plan, (RECOVERING, message)), again=_SOON)


def _go_on(world: World, recovery: Recovery) -> Action:
    survivor = _survivor(world, recovery)
    for member in _before_survivor(world, survivor):
        if member.pod is not None and member.pod.uid in recovery.pods and not member.terminating:
            message = f"recovery {recovery.id}: the Pod of {member.name} is replaced, so that its agent decides anew"
            return Action(RECOVERING, message, deletion(world, PODS, member.pod, (RECOVERING, message)), again=_SOON)
    if survivor is not None and _has_recovered(world, survivor, recovery):
        done = msgspec.structs.replace(recovery, completed=True, pods=[])
        plan = msgspec.structs.replace(world.plan, revision=world.plan.revision + 1, recovery=done)
        message = f"recovery {recovery.id} is complete: {recovery.survivor} leads a cluster of its own"
        return Action(RECOVERED, message, persist(world.obj, plan, (RECOVERED, message)), again=_SOON)
    said = ""
    if survivor is not None and survivor.heartbeat is not None:
        said = f" (its agent: {survivor.heartbeat.state}{', ' if survivor.heartbeat.detail else ''}"
        said += f"{survivor.heartbeat.detail})"
    return Action(
        RECOVERING, f"recovery {recovery.id}: {recovery.survivor} makes a cluster of its own{said}", again=_SOON
    )


def _survivor(world: World, recovery: Recovery) -> MemberView | None:
    ordinal = world.ordinal_of(recovery.survivor)
    return world.members.get(ordinal) if ordinal is not None else None


def _before_survivor(world: World, survivor: MemberView | None) -> list[MemberView]:
    """All members, the survivor last: none of the others shall be about to vote when it starts."""
    others = [member for member in world.members.values() if survivor is None or member.ordinal != survivor.ordinal]
    return [*others, *([survivor] if survivor is not None else [])]


def _has_recovered(world: World, survivor: MemberView, recovery: Recovery) -> bool:
    """By the engine and by its agent: that has put an ordinary start in the place of the one that makes a new
    cluster, which must not be done again once others have joined."""
    heartbeat = survivor.heartbeat
    return (
        world.leader == survivor.ordinal
        and heartbeat is not None
        and heartbeat.recovered == recovery.id
        and heartbeat.state == _RUNNING
    )


def _refused(message: str) -> tuple[str, str]:
    return RECOVERY_REFUSED, message
