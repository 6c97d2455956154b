"""One member more or less at a time: which, when, and what has to be over before the next.

A step begins with a change of the plan (:func:`next_action`) and is finished (:func:`departure`, :func:`arrival`)
before the next begins. The agent of a new member adds it; the agent of one that goes removes it, once its Pod ends and
the plan no longer has it. The operator changes the plan and the workload, and moves leadership out of the way;
everything it goes by is in the API or said by the members, so that it may die anywhere.

Adding a member: the plan gets the lowest free ordinal; the workload gets its Pod (:func:`shape`); its agent lets it
join as a learner and promotes it; once the engine lists it as a voter the step is over.

Removing one: everybody else has to be well, or the one that goes is not; the plan loses it; if it leads, it hands over;
the workload loses its Pod; once Pod and member are gone, and its volume if that is asked for, the step is over.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from controllers.xline.deletions import deletion
from controllers.xline.leadership import WAITING_FOR_HEALTH, can_hand_over, hand_over, heir, is_well
from controllers.xline.names import CLAIMS, PODS
from controllers.xline.planning import changed, lowest_free, persist
from controllers.xline.podstate import condition, since, trouble
from controllers.xline.world import AVAILABLE, Action, MemberView, World
from membership.xline.client import MemberList
from membership.xline.guard import may_remove
from runtime.client import Unstructured

ADDING_MEMBER = "AddingMember"
DELETING_VOLUME = "DeletingVolume"
KEEPING_MEMBER = "KeepingMember"
REMOVING_MEMBER = "RemovingMember"
REPLACING_POD = "ReplacingPod"
SCALING_UNSUPPORTED = "ScalingUnsupported"
WAITING_FOR_DEPARTURE = "WaitingForDeparture"
WAITING_FOR_MEMBER = "WaitingForMember"

_OVERDUE = timedelta(seconds=60)  # after the end of its grace period a Pod that is still there will not end by itself
_LEADERLESS = timedelta(seconds=30)  # many elections
_SOON = 1.0  # seconds: what is waited for shows in the engine alone, of which nobody tells us


# -- beginning a step


def next_action(world: World) -> Action | None:
    """Begin the next step towards ``spec.replicas``; None if there are that many members, or the last is not over."""
    have, wanted = len(world.ordinals), world.cluster.spec.replicas
    if have == wanted or departure(world) is not None or arrival(world) is not None:
        return None
    goal = f"{wanted} members are wanted, and there are {have}"
    if not world.profile.changes_membership:
        return None
    if have < wanted:
        blocked = _not_well(world, world.ordinals)
        if blocked:
            return Action(WAITING_FOR_HEALTH, f"{goal}: no member is added while {blocked}", again=_SOON)
        return _add(world, lowest_free(world.ordinals), f"{goal}; the lowest free ordinal is next")
    chosen = victim(world)
    blocked = _cannot_lose(world, chosen)
    if blocked:
        return Action(WAITING_FOR_HEALTH, f"{goal}: {_name(world, chosen)} does not go while {blocked}", again=_SOON)
    return _remove(world, chosen, f"{goal}; {_why(world, chosen)}")


def refusal(world: World) -> str:
    """Why ``spec.replicas`` is not done, whatever becomes of the cluster; ``""`` if it is."""
    have, wanted = len(world.ordinals), world.cluster.spec.replicas
    if have == wanted or world.profile.changes_membership:
        return ""
    return (
        f"spec.replicas: {wanted} members are wanted, but {world.profile.name} cannot change the {have} it was made "
        f"with; set it back to {have}"
    )


def victim(world: World) -> int:
    """Who goes next: one that is not well, else the highest that does not lead, of those that can go."""
    candidates = sorted(world.backend.removable(world.ordinals), reverse=True)
    unwell = (ordinal for ordinal in candidates if not is_well(world.members[ordinal]))
    followers = (ordinal for ordinal in candidates if ordinal != world.leader)
    return next(unwell, next(followers, candidates[0]))


def _why(world: World, chosen: int) -> str:
    member = world.members[chosen]
    if not world.backend.any_order:
        return "a StatefulSet loses its highest ordinal"
    if not is_well(member):
        return "it is not well"
    if chosen == world.leader:
        return "there is no other that could go"
    return "it is the highest that does not lead"


# -- finishing it


def departure(world: World) -> Action | None:
    """What is left of a removal; None if it is over."""
    return _departure(world) or _missed(world) or _volume_of_the_removed(world)


def arrival(world: World) -> Action | None:
    """What is left of an addition; None if it is over, which it is once the member has a vote."""
    change = world.plan.change
    ordinal = world.ordinal_of(change.member) if change is not None and change.kind == "Add" else None
    if ordinal not in world.ordinals or not world.listing_known:
        return None
    member = world.members[ordinal]
    if member.voter:
        return None
    wanted = world.cluster.spec.replicas
    if wanted < len(world.ordinals) and ordinal in world.backend.removable(world.ordinals):
        return _remove(world, ordinal, f"{wanted} members are wanted, and it has no vote yet")
    if member.pod is not None and not member.terminating and world.workload.is_current(member.pod) is False:
        message = f"{member.name} has not joined, and its Pod is of a former template: a new one takes its place"
        return Action(REPLACING_POD, message, deletion(world, PODS, member.pod, (REPLACING_POD, message)))
    # Its agent does not add it while another is not well, who may have to be replaced for that.
    others = [other for other in world.ordinals if other != ordinal]
    blocks = member.listed or not _not_well(world, others)
    return Action(WAITING_FOR_MEMBER, f"{member.name} joins: {_progress(member)}", again=_SOON, blocks=blocks)


def shape(world: World) -> tuple[int, ...]:
    """The ordinals that the workload shall run now: those of the plan, and one that goes as long as it must stay."""
    return tuple(sorted({*world.ordinals, *_held(world)}))


def _held(world: World) -> list[int]:
    """Members whose Pod must not be taken yet, although the plan no longer has them."""
    return [member.ordinal for member in _going(world) if _before_departure(world, member) is not None]


def _going(world: World) -> list[MemberView]:
    """Members of the engine's whose Pods the workload still has, and the plan has not."""
    running = set(world.workload.ordinals) - set(world.ordinals)
    # Those that a StatefulSet made just now runs below the highest are not known at all yet.
    return [
        member
        for ordinal in sorted(running & set(world.members))
        if not (member := world.members[ordinal]).terminating
        and (member.listed or (not world.listing_known and world.bootstrap.completed and _has_been(member)))
    ]


def _has_been(member: MemberView) -> bool:
    """Whether it may ever have run."""
    return member.pod is not None or member.claim is not None


def _before_departure(world: World, member: MemberView) -> Action | None:
    """What has to be done, or to happen, before a member's Pod is taken; None: nothing."""
    if world.cluster.spec.replicas > len(world.ordinals):
        return _add(
            world, member.ordinal, f"{world.cluster.spec.replicas} members are wanted again", event=KEEPING_MEMBER
        )
    blocked = _cannot_lose(world, member.ordinal)
    if blocked:
        # It still is a member. Whoever is not well may have to be replaced, or rolled back, to become so.
        return Action(WAITING_FOR_HEALTH, f"{member.name} does not go while {blocked}", again=_SOON, blocks=False)
    if member.ordinal == world.leader and can_hand_over(world):
        return hand_over(world, f"{member.name} goes", _heirs(world))
    return None


def _heirs(world: World) -> tuple[int, ...]:
    """Who may lead after one that goes: not one that goes next, if there is another."""
    if world.backend.any_order:
        return world.ordinals
    staying = tuple(sorted(world.ordinals)[: world.cluster.spec.replicas])
    return staying if heir(world, staying) is not None else world.ordinals


def _departure(world: World) -> Action | None:
    for member in _going(world):
        action = _before_departure(world, member)
        if action is not None:
            return action
    idle = set(world.backend.ordinals_of(world.backend.shape(world.ordinals)))
    for member in world.members.values():
        if member.ordinal in world.ordinals:
            continue
        if member.pod is not None and member.ordinal not in idle:
            return Action(WAITING_FOR_DEPARTURE, f"{member.name} leaves: {_still_there(world, member.pod)}")
        if member.listed:
            return Action(
                WAITING_FOR_DEPARTURE,
                f"{member.name} has left without a word: the leader's agent takes it off the member list",
                again=_SOON,
            )
    return None


def _still_there(world: World, pod: Unstructured) -> str:
    ends = pod.deletion_timestamp
    if ends is None or world.now - ends < _OVERDUE:
        return "its Pod is still there"
    return (
        f"its Pod should have ended at {ends:%H:%M:%S} UTC; if its node is gone, "
        f"kubectl delete pod {pod.name} --force gives it up"
    )


def _missed(world: World) -> Action | None:
    """Bring the member back that went last, if its Pod ended before its agent could take it out of the cluster, and
    without it there is no majority that could: its volume still has its vote.

    That it still is a member is known from the last list that could be had. If that was out of date nothing is lost: a
    member that is out sets its data aside, and one that has no vote is given up again.
    """
    change, voters = world.plan.change, world.cluster.status.voters if world.cluster.status is not None else None
    if change is None or change.kind != "Remove" or voters is None or voters <= len(world.ordinals):
        return None
    ordinal = world.ordinal_of(change.member)
    member = world.members.get(ordinal) if ordinal is not None else None
    if member is None or member.ordinal in world.ordinals or not _is_long_unserved(world):
        return None
    if member.claim is None or member.claim.deletion_timestamp is not None:
        return None
    why = f"nobody leads, and of the {voters} members with a vote it may still be one: it has not left in time"
    return _add(world, member.ordinal, why, event=KEEPING_MEMBER)


def _is_long_unserved(world: World) -> bool:
    told = condition(world.obj, AVAILABLE)
    began = since(told) if told is not None and told.get("status") == "False" else None
    return world.leader is None and began is not None and world.now - began >= _LEADERLESS


def _volume_of_the_removed(world: World) -> Action | None:
    """Only that of the member removed last: an older one stayed because it was asked for then."""
    change = world.plan.change
    if change is None or change.kind != "Remove" or not world.listing_known:
        return None
    ordinal = world.ordinal_of(change.member)
    member = world.members.get(ordinal) if ordinal is not None else None
    if member is None or member.ordinal in world.ordinals or member.pod is not None or member.claim is None:
        return None
    wanted = world.cluster.spec.storage.retention_policy.when_scaled
    if wanted != "Delete" or member.claim.deletion_timestamp is not None:
        return None
    message = f"{member.name} has left: its volume {member.claim.name} goes, as storage.retentionPolicy.whenScaled says"
    return Action(DELETING_VOLUME, message, deletion(world, CLAIMS, member.claim, (DELETING_VOLUME, message)))


def _progress(member: MemberView) -> str:
    if member.pod is None:
        return "it has no Pod yet"
    if member.learner:
        return f"it catches up as a learner{_trouble(member)}"
    return f"its agent has not added it yet{_trouble(member)}"


def _trouble(member: MemberView) -> str:
    """What the kubelet or its agent says is the matter, in brackets; ``""`` if they say nothing."""
    said = trouble(member.pod) if member.pod is not None else "it has no Pod"
    if not said and member.heartbeat is not None:
        said = member.heartbeat.detail
    return f" ({said})" if said else ""


# -- the parts of steps


def _add(world: World, ordinal: int, why: str, event: str = ADDING_MEMBER) -> Action:
    plan = changed(world.plan, "Add", ordinal, world.names, why)
    message = f"{_name(world, ordinal)} becomes a member: {why}"
    return Action(event, message, persist(world.obj, plan, (event, message)), again=_SOON)


def _remove(world: World, ordinal: int, why: str) -> Action:
    plan = changed(world.plan, "Remove", ordinal, world.names, why)
    message = f"{_name(world, ordinal)} leaves the cluster: {why}"
    return Action(REMOVING_MEMBER, message, persist(world.obj, plan, (REMOVING_MEMBER, message)), again=_SOON)


# -- who is well


def _not_well(world: World, ordinals: Iterable[int]) -> str:
    """Why these are not all voters that are well; ``""`` if they are."""
    if not world.bootstrap.completed:
        return "the cluster is being started"
    if world.leader is None:
        return "it is not known who leads"
    if not world.listing_known:
        return "the engine's member list cannot be had"
    unwell = [world.members[ordinal] for ordinal in ordinals if not is_well(world.members[ordinal])]
    if len(unwell) == 1:
        return f"{unwell[0].name} is not well{_trouble(unwell[0])}"
    return f"{', '.join(member.name for member in unwell)} are not well" if unwell else ""


def _cannot_lose(world: World, chosen: int) -> str:
    """Why this member cannot go now; ``""`` if it can.

    One that is well goes only if all others are. One that is not well goes if those that are well are a majority of
    what is left: to lose it costs nothing.
    """
    others = [ordinal for ordinal in world.ordinals if ordinal != chosen]
    member = world.members[chosen]
    if is_well(member) or world.leader is None or not world.listing_known or not world.bootstrap.completed:
        return _not_well(world, others)
    if not member.listed:
        return ""
    well = {other.listed_id for other in world.members.values() if is_well(other)}
    return may_remove(MemberList(world.engine.cluster_id, world.engine.listed), well, member.listed_id) or ""


def _name(world: World, ordinal: int) -> str:
    return world.names.member(ordinal)
