"""The status of an XlineCluster from what was observed. Pure: the same look gives the same status."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias

import msgspec

from controllers.xline.children import STATEFULSET_STAGE
from controllers.xline.names import Names
from controllers.xline.observed import Observed
from crds.meta import Condition, ObjectReference
from crds.xlinecluster import Bootstrap, Member, XlineClusterStatus

Truth: TypeAlias = Literal["True", "False", "Unknown"]

AVAILABLE = "Available"
PROGRESSING = "Progressing"
DEGRADED = "Degraded"

FORMER_DATA = "FormerData"
INVALID_SPEC = "InvalidSpec"
NAME_TAKEN = "NameTaken"
REJECTED = "Rejected"
SCALING_UNSUPPORTED = "ScalingUnsupported"
VOLUMES_LOST = "VolumesLost"
WAITING_FOR_DELETION = "WaitingForDeletion"


@dataclass(frozen=True, slots=True)
class Problem:
    """What keeps the operator from doing what the spec asks.

    :param reason: of the conditions and the event.
    :param message: a sentence that names object or field and says what to do.
    :param stage: where it got stuck, in the Go operator's words.
    """

    reason: str
    message: str
    stage: str = STATEFULSET_STAGE


@dataclass(frozen=True, slots=True)
class Subject:
    """What the status is about.

    :param replicas: as the spec wants; ``bootstrap.members`` is what there is.
    """

    names: Names
    generation: int
    replicas: int
    image: str
    spec_hash: str
    bootstrap: Bootstrap


@dataclass(frozen=True, slots=True)
class Verdict:
    """One condition without its times."""

    type: str
    status: Truth
    reason: str
    message: str


def build_status(
    subject: Subject, observed: Observed, problem: Problem | None, old: XlineClusterStatus, now: datetime
) -> XlineClusterStatus:
    """The status to store.

    :param problem: what could not be done, if anything.
    :param old: the status as it was: conditions keep their time while they keep their value.
    :param now: aware.
    """
    bootstrap = _bootstrapped(subject.bootstrap, observed)
    verdicts = [
        _available(bootstrap, observed),
        _progressing(bootstrap, observed, problem),
        _degraded(bootstrap, observed, problem),
    ]
    names = subject.names
    return XlineClusterStatus(
        observed_generation=subject.generation,
        conditions=conditions(old.conditions, verdicts, subject.generation, now),
        replicas=observed.workload.replicas,
        ready_replicas=observed.workload.ready,
        label_selector=names.selector_text,
        leader=observed.engine.leader,
        members=_members(observed),
        message=_message(verdicts, observed, problem),
        bootstrap=bootstrap,
        image=observed.workload.image or subject.image,
        last_apply_spec_hash=subject.spec_hash if problem is None else old.last_apply_spec_hash,
        stage=problem.stage if problem else "complete",
        stage_status="failed" if problem else "succeeded",
        last_message=problem.message if problem else None,
        stateful_set_ref=ObjectReference(names.stateful_set, names.namespace),
        service_ref=ObjectReference(names.headless, names.namespace),
    )


def stuck_status(old: XlineClusterStatus, generation: int, problem: Problem, now: datetime) -> XlineClusterStatus:
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


def _bootstrapped(bootstrap: Bootstrap, observed: Observed) -> Bootstrap:
    """Completed once, completed for ever: an outage later does not undo it."""
    cluster_id = f"{observed.engine.cluster_id:x}" if observed.engine.cluster_id else ""
    done = bootstrap.completed or bool(observed.engine.leader) or observed.ready >= observed.size
    return msgspec.structs.replace(bootstrap, completed=done, cluster_id=bootstrap.cluster_id or cluster_id)


def _available(bootstrap: Bootstrap, observed: Observed) -> Verdict:
    engine = observed.engine
    if engine.leader:
        message = f"{engine.leader} leads; {_of(len(engine.statuses), observed.size)} answer"
        return Verdict(AVAILABLE, "True", "QuorumHealthy", message)
    answering = len(engine.statuses)
    unheard = answering < observed.majority and all(status.has_leader for status in engine.statuses.values())
    if unheard and observed.ready >= observed.majority:
        # Their own probes, which the kubelet runs, say that they serve. The operator just cannot see it.
        why = f": {next(iter(engine.errors.values()))}" if engine.errors else ""
        message = (
            f"{_of(observed.ready, observed.size)} are ready; {answering or 'none'} of them answer the operator{why}"
        )
        return Verdict(AVAILABLE, "True", "MembersReady", message)
    if not bootstrap.completed:
        return Verdict(AVAILABLE, "False", "Bootstrapping", "no majority of members runs yet")
    message = f"no leader that a majority agrees on; {_of(len(engine.statuses), observed.size)} answer"
    return Verdict(AVAILABLE, "False", "NoQuorum", message)


def _progressing(bootstrap: Bootstrap, observed: Observed, problem: Problem | None) -> Verdict:
    if problem is not None:
        return Verdict(PROGRESSING, "False", problem.reason, problem.message)
    ready = f"{_of(observed.ready, observed.size)} are ready"
    if not bootstrap.completed:
        return Verdict(PROGRESSING, "True", "Bootstrapping", ready)
    if not observed.workload.settled:
        return Verdict(PROGRESSING, "True", "RollingOut", ready)
    if observed.ready < observed.size:
        return Verdict(PROGRESSING, "True", "MembersNotReady", ready)
    return Verdict(PROGRESSING, "False", "Complete", ready)


def _degraded(bootstrap: Bootstrap, observed: Observed, problem: Problem | None) -> Verdict:
    if problem is not None and problem.reason != SCALING_UNSUPPORTED:
        return Verdict(DEGRADED, "True", problem.reason, problem.message)
    if not bootstrap.completed:
        return Verdict(DEGRADED, "False", "Bootstrapping", "the cluster is being started")
    foreign = [
        name
        for name, status in observed.engine.statuses.items()
        if bootstrap.cluster_id and status.cluster_id and f"{status.cluster_id:x}" != bootstrap.cluster_id
    ]
    if foreign:
        message = (
            f"{', '.join(foreign)} belongs to another cluster than {bootstrap.cluster_id}: "
            "what is written there is not seen by the others"
        )
        return Verdict(DEGRADED, "True", "ForeignCluster", message)
    strangers = _strangers(observed)
    if strangers:
        message = f"the engine lists members which are not of this cluster: {', '.join(strangers)}"
        return Verdict(DEGRADED, "True", "UnexpectedMembers", message)
    if observed.ready < observed.size:
        # By name if the Pods tell; the StatefulSet's count may be ahead of them or behind.
        missing = [member for member in observed.members if not observed.is_ready(member)]
        message = f"not ready: {', '.join(missing)}" if missing else "not all members are ready"
        return Verdict(DEGRADED, "True", "MembersNotReady", message)
    if len(observed.engine.statuses) >= observed.majority and not observed.engine.leader:
        return Verdict(DEGRADED, "True", "NoLeader", "the members do not agree on a leader")
    return Verdict(DEGRADED, "False", "AsExpected", "every member is ready")


def _strangers(observed: Observed) -> list[str]:
    return sorted(
        member.name or f"{member.id:x}" for member in observed.engine.listed if member.name not in observed.members
    )


def _members(observed: Observed) -> list[Member]:
    """Those there should be, with what is known of them."""
    ids = {member.name: member.id for member in observed.engine.listed if member.name}
    found = []
    for name in observed.members:
        status = observed.engine.statuses.get(name)
        member_id = status.member_id if status else ids.get(name)
        found.append(
            Member(
                name=name,
                id=f"{member_id:x}" if member_id else "",
                ready=observed.is_ready(name),
                leader=name == observed.engine.leader,
                learner=bool(status and status.is_learner),
                version=status.version if status else "",
            )
        )
    return found


def _message(verdicts: list[Verdict], observed: Observed, problem: Problem | None) -> str:
    """For people who read one line."""
    available, progressing, _ = verdicts
    if problem is not None and problem.reason != SCALING_UNSUPPORTED:
        return problem.message
    ready = f"{_of(observed.ready, observed.size)} are ready"
    if progressing.reason == "Bootstrapping":
        text = f"starting: {ready}"
    elif available.status != "True":
        text = f"clients are not served: {available.message}"
    elif observed.engine.leader:
        text = f"{ready}, {observed.engine.leader} leads"
    else:
        text = ready
    if problem is not None:
        text += f"; {problem.message}"
    if observed.size % 2 == 0:
        text += f"; an even number of members survives no more losses than {observed.size - 1}"
    return text


def _of(count: int, size: int) -> str:
    return f"{count} of {size} members"
