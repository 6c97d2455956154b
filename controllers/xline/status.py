"""The status of an XlineCluster from one look. Pure: the same look gives the same status."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias

import msgspec

from controllers.xline.children import STATEFULSET_STAGE
from controllers.xline.decide import Decision
from controllers.xline.rollout import TAKE_OUT
from controllers.xline.world import AVAILABLE, MemberView, World
from crds.meta import Condition, ObjectReference
from crds.xlinecluster import Bootstrap, Member, Phase, XlineClusterStatus
from membership.xline.guard import describe

Truth: TypeAlias = Literal["True", "False", "Unknown"]

PROGRESSING = "Progressing"
DEGRADED = "Degraded"
BACKED_UP = "BackedUp"

FORMER_DATA = "FormerData"
INVALID_SPEC = "InvalidSpec"
NAME_TAKEN = "NameTaken"
PAUSED = "Paused"
REJECTED = "Rejected"
SECRET_MISSING = "SecretMissing"  # noqa: S105 - no secret
VOLUMES_LOST = "VolumesLost"
VOLUMES_NOT_MARKED = "VolumesNotMarked"
WAITING_FOR_DELETION = "WaitingForDeletion"
WORKLOAD_CHANGED = "WorkloadChanged"
WORKLOAD_UNAVAILABLE = "WorkloadUnavailable"

_NOTHING = Decision()


@dataclass(frozen=True, slots=True)
class Problem:
    """What keeps the operator from doing what the spec asks.

    :ivar reason: of the conditions and the event.
    :ivar message: a sentence that names object or field and says what to do.
    :ivar stage: where it got stuck, in the Go operator's words.
    :ivar stops: nothing else is done either. False: one wish is refused, and all others are seen to.
    """

    reason: str
    message: str
    stage: str = STATEFULSET_STAGE
    stops: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """One condition without its times."""

    type: str
    status: Truth
    reason: str
    message: str


def build_status(
    world: World,
    old: XlineClusterStatus,
    spec_hash: str,
    problem: Problem | None = None,
    decision: Decision = _NOTHING,
    *,
    noted: bool = True,
) -> XlineClusterStatus:
    """The status to store. What others have written into it for good (bootstrap, plan, ...) stays.

    :param old: the status as it was: conditions keep their time while they keep their value.
    :param problem: what could not be done, if anything.
    :param decision: what is being done.
    :param noted: False: that the cluster has run is not told here if it was not before: its volumes must tell first.
    """
    bootstrap = bootstrapped(world)
    if not noted:
        bootstrap = msgspec.structs.replace(bootstrap, completed=world.bootstrap.completed)
    verdicts = [
        _available(bootstrap, world),
        _progressing(bootstrap, world, problem, decision),
        _degraded(bootstrap, world, problem),
    ]
    names, generation = world.names, world.obj.generation
    return msgspec.structs.replace(
        old,
        phase=_phase(bootstrap, world, problem, decision, degraded=verdicts[2].status == "True"),
        observed_generation=generation,
        conditions=conditions(old.conditions, verdicts, generation, world.now),
        replicas=sum(member.pod is not None for member in world.members.values()),
        ready_replicas=ready(world),
        label_selector=names.selector_text,
        leader=world.engine.leader,
        voters=sum(member.voter for member in world.engine.listed) if world.listing_known else old.voters,
        members=_members(world),
        message=_message(verdicts, world, problem, decision),
        bootstrap=bootstrap,
        workload=world.backend.kind if world.workload.exists else old.workload,
        image=world.workload.image or world.cluster.spec.image or world.profile.default_image,
        last_apply_spec_hash=spec_hash if problem is None else old.last_apply_spec_hash,
        stage=problem.stage if problem else "complete",
        stage_status="failed" if problem else "succeeded",
        last_message=problem.message if problem else None,
        stateful_set_ref=ObjectReference(names.stateful_set, names.namespace),
        service_ref=ObjectReference(names.headless, names.namespace),
    )


def stuck_status(
    old: XlineClusterStatus, generation: int, problem: Problem, now: datetime, phase: Phase = "Failed"
) -> XlineClusterStatus:
    """For a spec that cannot be read, or a cluster that cannot be started: what was known stays, and the problem is
    told."""
    verdicts = [
        Verdict(PROGRESSING, "False", problem.reason, problem.message),
        Verdict(DEGRADED, "True", problem.reason, problem.message),
    ]
    if not any(condition.type == AVAILABLE for condition in old.conditions):
        verdicts.insert(0, Verdict(AVAILABLE, "False", problem.reason, "the cluster was never started"))
    return msgspec.structs.replace(
        old,
        phase=phase,
        observed_generation=generation,
        conditions=conditions(old.conditions, verdicts, generation, now),
        message=problem.message,
        stage=problem.stage,
        stage_status="failed",
        last_message=problem.message,
    )


def conditions(old: list[Condition], verdicts: list[Verdict], generation: int, now: datetime) -> list[Condition]:
    """The verdicts as conditions, in place of the old ones of their types; others stay."""
    before = {condition.type: condition for condition in old}
    time = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for verdict in verdicts:
        was = before.get(verdict.type)
        unchanged = was is not None and was.status == verdict.status
        before[verdict.type] = Condition(
            type=verdict.type,
            status=verdict.status,
            reason=verdict.reason,
            message=verdict.message,
            last_transition_time=was.last_transition_time if was is not None and unchanged else time,
            observed_generation=generation,
        )
    return list(before.values())


def find(conditions: list[Condition], kind: str) -> Condition | None:
    """The condition of that type."""
    return next((condition for condition in conditions if condition.type == kind), None)


def ready(world: World) -> int:
    """How many of the members that there shall be are ready."""
    return sum(member.ready for member in world.wanted)


def _size(world: World) -> int:
    return len(world.ordinals)


def bootstrapped(world: World) -> Bootstrap:
    """The bootstrap with what this look has seen. Completed once, completed for ever: an outage later does not undo
    it.

    What an agent has seen counts, too, though its Pod is not ready: it is not before this is told, and we may reach no
    member ourselves.
    """
    bootstrap = world.bootstrap
    cluster_id = f"{world.engine.cluster_id:x}" if world.engine.cluster_id else ""
    told = any(member.heartbeat is not None and member.heartbeat.ran for member in world.members.values())
    done = bootstrap.completed or told or bool(world.engine.leader) or ready(world) >= _size(world)
    return msgspec.structs.replace(bootstrap, completed=done, cluster_id=bootstrap.cluster_id or cluster_id)


def _phase(bootstrap: Bootstrap, world: World, problem: Problem | None, decision: Decision, *, degraded: bool) -> Phase:
    if problem is not None and problem.stops:
        return "Failed"
    if world.cluster.spec.paused:
        return "Paused"
    if not bootstrap.completed:
        return "Bootstrapping"
    if decision.action is not None:
        return decision.phase
    if degraded:
        return "Degraded"
    return "Running" if world.workload.settled else "Updating"


def _available(bootstrap: Bootstrap, world: World) -> Verdict:
    engine, size = world.engine, _size(world)
    if engine.leader and engine.hearsay:
        why = next(iter(engine.errors.values()), "no Pod has an address")
        message = f"{engine.leader} leads, as the agents say; the operator reaches no member: {why}"
        return Verdict(AVAILABLE, "True", "QuorumHealthy", message)
    if engine.leader:
        return Verdict(AVAILABLE, "True", "QuorumHealthy", f"{engine.leader} leads; {_answering(world)}")
    answering, majority = len(engine.statuses), size // 2 + 1
    unheard = answering < majority and all(status.has_leader for status in engine.statuses.values())
    if unheard and ready(world) >= majority:
        # Their own probes, which the kubelet runs, say that they serve. The operator just cannot see it.
        why = f": {next(iter(engine.errors.values()))}" if engine.errors else ""
        message = f"{_ready(world)}; {answering or 'none'} of them answer the operator{why}"
        return Verdict(AVAILABLE, "True", "MembersReady", message)
    if not bootstrap.completed:
        return Verdict(AVAILABLE, "False", "Bootstrapping", "no majority of members runs yet")
    return Verdict(AVAILABLE, "False", "NoQuorum", f"no leader that a majority agrees on; {_answering(world)}")


def _progressing(bootstrap: Bootstrap, world: World, problem: Problem | None, decision: Decision) -> Verdict:
    if problem is not None and problem.stops:
        return Verdict(PROGRESSING, "False", problem.reason, problem.message)
    if world.cluster.spec.paused:
        return Verdict(PROGRESSING, "False", PAUSED, "spec.paused: nothing is changed until it is taken back")
    if not bootstrap.completed:
        return Verdict(PROGRESSING, "True", "Bootstrapping", _ready(world))
    if decision.action is not None:
        return Verdict(PROGRESSING, "True", decision.action.reason, decision.action.message)
    if problem is not None:
        return Verdict(PROGRESSING, "False", problem.reason, problem.message)
    if not world.workload.settled:
        return Verdict(PROGRESSING, "True", "RollingOut", _ready(world))
    if ready(world) < _size(world):
        return Verdict(PROGRESSING, "True", "MembersNotReady", _ready(world))
    return Verdict(PROGRESSING, "False", "Complete", _ready(world))


def _degraded(bootstrap: Bootstrap, world: World, problem: Problem | None) -> Verdict:
    if problem is not None and problem.stops:
        return Verdict(DEGRADED, "True", problem.reason, problem.message)
    if not bootstrap.completed:
        return Verdict(DEGRADED, "False", "Bootstrapping", "the cluster is being started")
    foreign = [
        name
        for name, status in world.engine.statuses.items()
        if bootstrap.cluster_id and status.cluster_id and f"{status.cluster_id:x}" != bootstrap.cluster_id
    ]
    if foreign:
        message = (
            f"{', '.join(foreign)} belongs to another cluster than {bootstrap.cluster_id}: "
            "what is written there is not seen by the others"
        )
        return Verdict(DEGRADED, "True", "ForeignCluster", message)
    if world.strangers:
        who = ", ".join(sorted(describe(member) for member in world.strangers))
        message = (
            f"the engine lists {who}, not of this cluster, without which perhaps nobody can join or restart: {TAKE_OUT}"
        )
        return Verdict(DEGRADED, "True", "UnexpectedMembers", message)
    missing = [member.name for member in world.wanted if not member.ready]
    if missing:
        return Verdict(DEGRADED, "True", "MembersNotReady", f"not ready: {', '.join(missing)}")
    if len(world.engine.statuses) > _size(world) // 2 and not world.engine.leader:
        return Verdict(DEGRADED, "True", "NoLeader", "the members do not agree on a leader")
    return Verdict(DEGRADED, "False", "AsExpected", "every member is ready")


def _members(world: World) -> list[Member]:
    """Those there shall be, and those that are members still; with what is known of them."""
    shown = (view for view in world.members.values() if view.ordinal in world.ordinals or view.listed)
    return [_member(world, view) for view in shown]


def _member(world: World, view: MemberView) -> Member:
    status, heartbeat = world.engine.statuses.get(view.name), view.heartbeat
    member_id = status.member_id if status else view.listed_id
    return Member(
        name=view.name,
        id=f"{member_id:x}" if member_id else "",
        ready=view.ready,
        leader=view.ordinal == world.leader,
        learner=view.learner or bool(status and status.is_learner),
        version=status.version if status else "",
        state=heartbeat.state if heartbeat is not None else "",
        detail=heartbeat.detail if heartbeat is not None else "",
    )


def _message(verdicts: list[Verdict], world: World, problem: Problem | None, decision: Decision) -> str:
    """For people who read one line."""
    available, progressing, _ = verdicts
    if problem is not None and problem.stops:
        return problem.message
    if progressing.reason == "Bootstrapping":
        text = f"starting: {_ready(world)}"
    elif available.status != "True":
        text = f"clients are not served: {available.message}"
    elif world.engine.leader:
        text = f"{_ready(world)}, {world.engine.leader} leads"
    else:
        text = _ready(world)
    if progressing.reason == PAUSED:
        text += f"; {progressing.message}"
    if decision.action is not None and progressing.reason == decision.action.reason:
        text += f"; {decision.action.message}"
    if problem is not None:
        text += f"; {problem.message}"
    if _size(world) % 2 == 0 and decision.action is None:
        text += f"; an even number of members survives no more losses than {_size(world) - 1}"
    return text


def _ready(world: World) -> str:
    return f"{ready(world)} of {_size(world)} members are ready"


def _answering(world: World) -> str:
    answering = sum(member.name in world.engine.statuses for member in world.wanted)
    return f"{answering} of {_size(world)} members answer"
