"""Members get a new template: one at a time, the leader last, and nobody else while one is down.

The workload's controller replaces no Pod by itself (OnDelete): which one is next, and when, is decided here from what
is seen, so an operator that dies in the middle is followed by one that goes on.

A member that is well is taken down only if all others are. One whose server does not run can be replaced at once, as
that takes nothing from anybody; but not as long as a Pod of the present template does not start either: a template that
does not work stops with the first member it was given to. Its correction replaces that Pod first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from controllers.xline import inplace, leadership
from controllers.xline.deletions import deletion
from controllers.xline.names import PODS
from controllers.xline.planning import confirm
from controllers.xline.podstate import server_started, trouble
from controllers.xline.world import Action, MemberView, World
from membership.xline.guard import describe, majority
from runtime.client import Conflict, NotFound, Unstructured
from runtime.controller import ReconcileContext

ROLLING_MEMBER: Final = "RollingMember"
ROLLOUT_STUCK: Final = "RolloutStuck"
ROLLOUT_WAITING: Final = "RolloutWaiting"
UPDATING_IN_PLACE: Final = "UpdatingInPlace"

# Entries of the log that a member may lack and still count as one that could take over: etcd keeps as many for those
# that lag before it sends them the whole data.
MAX_LAG: Final = 5000
# What to do about members of other names, which nobody but a person can have added.
TAKE_OUT: Final = "take it off the list (etcdctl member remove ID), or scale down what it belongs to"
_SOON: Final = 1.0  # seconds


def next_action(world: World) -> Action | None:
    """Replace the next member's Pod, or say what for it waits; None if all Pods are of the present template."""
    if not world.workload.exists:
        return None
    if not world.workload.observed:
        return Action(ROLLOUT_WAITING, f"waits until the controller of {world.names.stateful_set} has seen its spec")
    outdated = [member for member in world.wanted if _is_outdated(world, member)]
    if not outdated:
        return _last_one(world)
    idle = [member for member in outdated if _is_idle(world, member)]
    unstarted = [member for member in world.wanted if _is_new_and_not_started(world, member)]
    if idle and not unstarted:
        return _replace(world, idle[0], "its server does not run")
    followers = [member for member in outdated if member.ordinal != world.leader]
    target = max(followers, key=_precedence) if followers else outdated[0]
    blocked = obstacle(world, target)
    if blocked:
        return _waiting(world, unstarted, blocked)
    if must_hand_over(world, target):
        return leadership.hand_over(world, f"{target.name} is the last to get the new template")
    return _replace(world, target, f"{len(outdated)} of {len(world.wanted)} members have a former one")


def obstacle(world: World, target: MemberView) -> str:
    """Why the target's server must not be stopped now; ``""`` if it may: all others are well, and can take over."""
    if world.leader is None:
        return "it is not known who leads"
    if not world.listing_known:
        return "the engine's member list cannot be had"
    learners = [member.name for member in world.members.values() if member.learner]
    if learners:
        return f"{', '.join(learners)} has no vote yet"
    others = [
        member for member in world.wanted if member.ordinal != target.ordinal and not _is_only_planned(world, member)
    ]
    return next((why for member in others if (why := _not_back(world, member))), "") or _outvoted(world, others)


def _outvoted(world: World, others: Sequence[MemberView]) -> str:
    """Why those are no majority although all are well: members that are none of ours have votes, too, and whether they
    run is not known."""
    strangers = [stranger for stranger in world.strangers if stranger.voter]
    if not strangers or len(others) >= majority(sum(member.voter for member in world.engine.listed)):
        return ""
    who = ", ".join(describe(stranger) for stranger in strangers)
    return f"{who} has a vote and is not of this cluster: {TAKE_OUT}"


def _is_only_planned(world: World, member: MemberView) -> bool:
    """Whether it shall become a member, and is none yet: nobody misses it."""
    change = world.plan.change
    return change is not None and change.kind == "Add" and change.member == member.name and not member.listed


def must_hand_over(world: World, target: MemberView) -> bool:
    """Whether it leads, and another could."""
    return target.ordinal == world.leader and len(world.wanted) > 1 and leadership.can_hand_over(world)


def _is_outdated(world: World, member: MemberView) -> bool:
    """One that is on its way out is replaced already."""
    return member.pod is not None and not member.terminating and world.workload.is_current(member.pod) is False


def _is_idle(world: World, member: MemberView) -> bool:
    """Whether nobody misses its server: it has not started, and does not answer."""
    assert member.pod is not None
    return not (server_started(member.pod) or member.name in world.engine.statuses)


def _is_new_and_not_started(world: World, member: MemberView) -> bool:
    if member.pod is None or member.terminating:
        return True  # what comes next in its place is of the present template
    return bool(world.workload.is_current(member.pod)) and (
        not server_started(member.pod) or inplace.unfinished(member.pod)
    )


def _precedence(member: MemberView) -> tuple[bool, int]:
    """Of those that follow: first who is not well, then from the top, as workloads do."""
    return not leadership.is_well(member), member.ordinal


def _not_back(world: World, member: MemberView) -> str:
    """Why the cluster cannot rely on this member now; ``""`` if it can."""
    if member.pod is None:
        return f"{member.name} has no Pod"
    if member.terminating:
        return f"the former Pod of {member.name} ends"
    if inplace.unfinished(member.pod):
        return f"a container of {member.name} is being replaced"
    if not leadership.is_well(member):
        said = f": {member.heartbeat.detail}" if member.heartbeat is not None and member.heartbeat.detail else ""
        return f"{member.name} is not a voter that is well{said}"
    lag = _lag(world, member)
    return f"{member.name} is {lag} entries behind the leader" if lag > MAX_LAG else ""


def _lag(world: World, member: MemberView) -> int:
    """Entries that the leader has in its log and the member has not applied; 0 if one of the two does not tell."""
    assert world.leader is not None
    leader = world.engine.statuses.get(world.names.member(world.leader))
    status = world.engine.statuses.get(member.name)
    return leader.raft_index - status.applied_index if leader is not None and status is not None else 0


def _last_one(world: World) -> Action | None:
    """All Pods are of the present template; the one replaced last may still be on its way."""
    if not world.bootstrap.completed:
        return None
    for member in world.wanted:
        if member.pod is not None and not member.terminating and inplace.unfinished(member.pod):
            return _waiting(world, [member], f"a container of {member.name} is being replaced")
    return None


def _waiting(world: World, unstarted: Sequence[MemberView], why: str) -> Action:
    for member in unstarted:
        what = trouble(member.pod) if member.pod is not None else ""
        if what:
            left = sum(1 for other in world.wanted if _is_outdated(world, other))
            message = (
                f"the rollout stops at {member.name}, which does not start with the new template: {what}; "
                f"{left} members keep the former one until the spec is put right"
            )
            return Action(ROLLOUT_STUCK, message)
    return Action(ROLLOUT_WAITING, f"the next member gets the new template later: {why}", again=_SOON)


def _replace(world: World, member: MemberView, why: str) -> Action:
    pod = member.pod
    assert pod is not None
    if world.cluster.spec.update.in_place and inplace.possible(world.workload, pod):
        message = f"{member.name} gets new images in place: {why}"
        return Action(UPDATING_IN_PLACE, message, _Update(world, pod, message), again=_SOON)
    message = f"the Pod of {member.name} is replaced for the new template: {why}"
    return Action(ROLLING_MEMBER, message, deletion(world, PODS, pod, (ROLLING_MEMBER, message)), again=_SOON)


class _Update:
    """Patches the Pod, if it is still as it was seen."""

    def __init__(self, world: World, pod: Unstructured, message: str) -> None:
        self._world, self._pod, self._message = world, pod, message

    def __call__(self, ctx: ReconcileContext) -> None:
        confirm(self._world.obj, ctx)
        try:
            ctx.client.resource(PODS, namespace=self._pod.namespace).patch(
                self._pod.name, inplace.patch(self._world.workload, self._pod), type="strategic"
            )
        except (NotFound, Conflict):
            return  # it has changed; the next look tells how
        ctx.recorder.event(self._world.obj, "Normal", UPDATING_IN_PLACE, self._message)
