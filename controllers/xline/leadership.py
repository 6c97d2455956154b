"""Who leads, and who shall lead next."""

from __future__ import annotations

from collections.abc import Iterable

from controllers.xline.world import Action, MemberView, World
from membership.xline.client import CHANGE_TIMEOUT
from runtime.controller import ReconcileContext

MOVING_LEADER = "MovingLeader"
WAITING_FOR_HEALTH = "WaitingForHealth"

_SOON = 1.0  # seconds: an election takes about that long


def is_well(member: MemberView) -> bool:
    """Whether it has a vote, answers, follows the leader, and stays for the time being."""
    return member.voter and member.healthy and not member.terminating


def can_hand_over(world: World) -> bool:
    """Whether the engine can move leadership at all."""
    return world.profile.moves_leader


def heir(world: World, among: Iterable[int] | None = None) -> MemberView | None:
    """Who should lead next: of those that are well the one that has applied most; None if there is none.

    :param among: ordinals that may lead; all members the cluster shall have if left out.
    """
    allowed = set(world.ordinals if among is None else among) - {world.leader}
    heirs = [member for member in world.members.values() if member.ordinal in allowed and is_well(member)]
    return max(heirs, key=lambda member: (_applied(world, member), -member.ordinal), default=None)


def hand_over(world: World, why: str, among: Iterable[int] | None = None) -> Action:
    """Hand leadership to the heir, or wait where there is none. There has to be a leader.

    :param among: as :func:`heir` has it.
    """
    chosen = heir(world, among)
    if chosen is None:
        return Action(WAITING_FOR_HEALTH, f"{why}, but leads, and no other is well enough to lead", again=_SOON)
    message = f"{why}: leadership goes from {world.engine.leader} to {chosen.name}"

    def do(ctx: ReconcileContext) -> None:
        move(world, chosen, ctx)
        ctx.log.info(message, reason=MOVING_LEADER)
        ctx.recorder.event(world.obj, "Normal", MOVING_LEADER, message)

    return Action(MOVING_LEADER, message, do, again=_SOON)


def move(world: World, target: MemberView, ctx: ReconcileContext) -> None:
    """Have ``target`` lead, asked of the one that leads.

    :raises EngineError: it does not; or it may, but did not say so in time. Look again.
    """
    leader = world.engine.leader
    assert leader is not None
    remaining = ctx.remaining()
    timeout = CHANGE_TIMEOUT if remaining is None else min(CHANGE_TIMEOUT, remaining)
    with world.endpoints[leader].connect(timeout) as client:
        client.move_leader(target.listed_id, timeout=timeout)


def _applied(world: World, member: MemberView) -> int:
    status = world.engine.statuses.get(member.name)
    if status is not None:
        return status.applied_index
    return member.heartbeat.applied_index if member.heartbeat is not None else 0
