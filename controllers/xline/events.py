"""What happened between two statuses, as events for people. Pure; nothing is remembered beside the status."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from controllers.xline.rollout import ROLLOUT_STUCK
from controllers.xline.status import BACKED_UP, PROGRESSING, find
from controllers.xline.world import AVAILABLE
from crds.xlinebackup import BackupStatus
from crds.xlinecluster import Member, XlineClusterStatus


class Event(NamedTuple):
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def between(old: XlineClusterStatus, new: XlineClusterStatus, reason: str = "") -> Iterator[Event]:
    """The events that tell how ``old`` became ``new``.

    :param reason: of the problem in ``new.last_message``; that of the condition Progressing if left out, which tells of
        what is done meanwhile if the problem is no more than a wish refused.
    """
    yield from _problems(old, new, reason)
    yield from _bootstrap(old, new)
    yield from _leader(old, new)
    yield from _members(old, new)
    yield from _availability(old, new)
    yield from _scaled(old, new)
    yield from _rolled(old, new)
    yield from _advice(old, new)
    yield from _backups(old, new)


def _problems(old: XlineClusterStatus, new: XlineClusterStatus, reason: str) -> Iterator[Event]:
    """A problem is told when it is new, and again when the spec was changed and it is still there."""
    message, progressing = new.last_message, find(new.conditions, PROGRESSING)
    same = old.last_message == message and old.observed_generation == new.observed_generation
    if message and not same:
        yield Event("Warning", reason or (progressing.reason if progressing is not None else ""), message)


def _bootstrap(old: XlineClusterStatus, new: XlineClusterStatus) -> Iterator[Event]:
    was = old.bootstrap is not None and old.bootstrap.completed
    if new.bootstrap is not None and new.bootstrap.completed and not was:
        leads = f"; {new.leader} leads" if new.leader else ""
        yield Event("Normal", "Bootstrapped", f"{len(new.bootstrap.members)} members form the cluster{leads}")


def _leader(old: XlineClusterStatus, new: XlineClusterStatus) -> Iterator[Event]:
    if old.leader == new.leader or old.bootstrap is None or not old.bootstrap.completed:
        return
    if new.leader is None:
        yield Event("Warning", "LeaderLost", f"{old.leader} leads no longer, and nobody else yet")
    elif old.leader is None:
        yield Event("Normal", "LeaderElected", f"{new.leader} leads")
    else:
        yield Event("Normal", "LeaderChanged", f"{new.leader} leads; before it was {old.leader}")


def _members(old: XlineClusterStatus, new: XlineClusterStatus) -> Iterator[Event]:
    before = {member.name: member for member in old.members}
    for member in new.members:
        was = before.get(member.name, Member(name=member.name))
        if member.ready and not was.ready:
            yield Event("Normal", "MemberReady", f"{member.name} is ready")
        elif was.ready and not member.ready and not _is_leaving(member, new):
            yield Event("Warning", "MemberLost", f"{member.name} is not ready any more")


def _is_leaving(member: Member, status: XlineClusterStatus) -> bool:
    """Whether the plan does not have it any more."""
    _, _, ordinal = member.name.rpartition("-")
    return status.plan is not None and int(ordinal) not in status.plan.ordinals


def _availability(old: XlineClusterStatus, new: XlineClusterStatus) -> Iterator[Event]:
    was, now = find(old.conditions, AVAILABLE), find(new.conditions, AVAILABLE)
    if now is None or (was is not None and was.status == now.status):
        return
    if now.status == "True":
        yield Event("Normal", "Available", f"clients are served: {now.message}")
    elif was is not None and was.status == "True":
        yield Event("Warning", "Unavailable", f"clients are not served: {now.message}")


def _scaled(old: XlineClusterStatus, new: XlineClusterStatus) -> Iterator[Event]:
    if old.phase == "Scaling" and new.phase in ("Running", "Degraded", "Updating"):
        yield Event("Normal", "Scaled", f"the cluster has {len(new.members)} members")


def _rolled(old: XlineClusterStatus, new: XlineClusterStatus) -> Iterator[Event]:
    was, now = find(old.conditions, PROGRESSING), find(new.conditions, PROGRESSING)
    stuck = now is not None and now.reason == ROLLOUT_STUCK
    if now is not None and stuck and (was is None or was.reason != ROLLOUT_STUCK):
        yield Event("Warning", ROLLOUT_STUCK, now.message)
    if old.phase == "Updating" and new.phase == "Running":
        yield Event("Normal", "RolledOut", "all members are as the spec wants them")


def _advice(old: XlineClusterStatus, new: XlineClusterStatus) -> Iterator[Event]:
    """Once per change of the spec, when its members are there or being started."""
    if new.bootstrap is None or new.phase in ("Scaling", "Deleting"):
        return
    if old.observed_generation == new.observed_generation and old.phase != "Scaling":
        return
    size = len(new.members)
    if size and size % 2 == 0:
        yield Event(
            "Warning",
            "EvenReplicas",
            f"spec.replicas is {size}: that survives no more losses than {size - 1}, and costs one member more; "
            f"use {size - 1} or {size + 1}",
        )


def _backups(old: XlineClusterStatus, new: XlineClusterStatus) -> Iterator[Event]:
    """Each that was taken, and each that failed, by what the status remembers of the last."""
    was, now = old.backup or BackupStatus(), new.backup or BackupStatus()
    success, failure = now.last_success, now.last_failure
    if success is not None and (was.last_success is None or was.last_success.name != success.name):
        text = f"{success.name}: {success.size} bytes of {success.member}, everything up to revision {success.revision}"
        yield Event("Normal", "BackupSucceeded", text)
    if failure is not None and was.last_failure != failure:
        yield Event("Warning", "BackupFailed", f"{failure.job}: {failure.message} ({failure.reason})")
        return
    before, after = find(old.conditions, BACKED_UP), find(new.conditions, BACKED_UP)
    if after is None or after.status != "False" or (failure is not None and failure.reason == after.reason):
        return
    if before is None or (before.reason, before.message) != (after.reason, after.message):
        yield Event("Warning", after.reason, after.message)
