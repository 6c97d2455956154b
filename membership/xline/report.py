"""What an agent tells of its member: the heartbeat, the role, its status, and whether clients should come."""

from __future__ import annotations

from membership.xline.http import Answer
from membership.xline.look import Look
from membership.xline.model import Heartbeat, Identity, Role
from membership.xline.states import State
from runtime.types import JSONMapping

LAG = 5000  # entries behind the leader: so many etcd keeps for those who are slow, before it sends them everything


def beat_of(identity: Identity, look: Look, state: State, detail: str) -> Heartbeat:
    """The heartbeat for what was seen; its sequence and incarnation are the writer's."""
    own, plan = look.own, look.plan
    ids = look.ids
    return Heartbeat(
        sequence=0,
        incarnation="",
        cluster_uid=plan.uid if plan is not None else "",
        pod=identity.pod,
        pod_uid=identity.pod_uid,
        ordinal=identity.ordinal,
        state=str(state),
        detail=detail,
        member_id=f"{ids.member:x}" if ids is not None else "",
        cluster_id=f"{ids.cluster:x}" if ids is not None else "",
        leader_id=f"{own.leader_id:x}" if own is not None and own.leader_id else "",
        is_leader=own is not None and own.is_leader,
        is_learner=own is not None and own.is_learner,
        term=own.term if own is not None else 0,
        applied_index=own.applied_index if own is not None else 0,
        raft_index=own.raft_index if own is not None else 0,
        revision=own.revision if own is not None else 0,
        db_size=own.db_size if own is not None else 0,
        version=own.version if own is not None else "",
        alarms=own.alarms if own is not None else (),
        errors=own.errors if own is not None else (),
        reachable=tuple(sorted(contact.name for contact in look.survey.others)),
        recovered=look.marks.recovery_id,
        ran=look.marks.ran,
    )


def shown_status(identity: Identity, look: Look | None, state: State, detail: str, *, ready: bool) -> JSONMapping:
    """What ``/status`` answers.

    :param look: None: nothing was looked at yet.
    """
    shown: dict[str, object] = {"state": str(state), "detail": detail, "ready": ready}
    if look is None:
        return shown
    beat, plan = beat_of(identity, look, state, detail), look.plan
    shown |= {"facts": str(look.facts), "member": {name: getattr(beat, name) for name in beat.__struct_fields__}}
    told = plan and {"ordinals": sorted(plan.ordinals or ()), "stale": plan.stale, "paused": plan.paused}
    return shown | {"plan": told}


def role_of_member(look: Look) -> Role | None:
    """What its Pod is labelled as; None: it follows nobody, so it has no role."""
    own = look.own
    if own is None or not own.has_leader:
        return None
    if own.is_learner:
        return "learner"
    return "leader" if own.is_leader else "follower"


def is_ready(look: Look, state: State) -> Answer:
    """Whether clients should be sent to the member: it is a voter that follows a leader, and is not far behind.

    Nobody writes before it stands in the XlineCluster that the cluster has run: until then members that lose their
    disks may make it anew.
    """
    own = look.own
    if state is not State.RUNNING or own is None:
        return Answer(False, str(state))
    if look.plan is not None and not look.plan.bootstrapped:
        return Answer(False, "the operator has not noted yet that the cluster has run")
    leader = look.survey.leader
    behind = (leader.status.raft_index if leader is not None else own.raft_index) - own.applied_index
    if behind > LAG:
        return Answer(False, f"{behind} entries behind")
    if look.trouble:
        return Answer(False, look.trouble)
    return Answer(True, "")
