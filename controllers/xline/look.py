"""From what the caches hold and the members say to one :class:`World`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from controllers.xline.heartbeats import heartbeat_of
from controllers.xline.members import Endpoint, EngineView
from controllers.xline.names import Names
from controllers.xline.workloads import Workload
from controllers.xline.world import MemberView, World
from crds.xlinecluster import Bootstrap, XlineCluster
from crds.xlineplan import MembershipPlan
from membership.xline.client import ListedMember
from membership.xline.matching import Matching
from runtime.client import Unstructured

RUNNING = "Running"  # the state of an agent whose member is well


@dataclass(frozen=True, slots=True)
class Seen:
    """What the API server has of one cluster.

    :ivar pods: by ordinal; so are ``claims``, those of the data volumes.
    """

    obj: Unstructured
    cluster: XlineCluster
    names: Names
    bootstrap: Bootstrap
    plan: MembershipPlan
    workload: Workload
    pods: Mapping[int, Unstructured]
    claims: Mapping[int, Unstructured]


def world_of(seen: Seen, endpoints: Mapping[str, Endpoint], engine: EngineView, now: datetime) -> World:
    """All of it, put together by ordinal."""
    listed, strangers = _by_ordinal(seen, engine)
    leader = seen.names.ordinal(engine.leader) if engine.leader else None
    ordinals = {*seen.plan.ordinals, *seen.workload.ordinals, *seen.pods, *seen.claims, *listed}
    members = {ordinal: _member(seen, ordinal, listed.get(ordinal), engine) for ordinal in sorted(ordinals)}
    return World(
        obj=seen.obj,
        cluster=seen.cluster,
        names=seen.names,
        bootstrap=seen.bootstrap,
        plan=seen.plan,
        workload=seen.workload,
        members=members,
        engine=engine,
        leader=leader,
        now=now,
        endpoints=endpoints,
        strangers=strangers,
    )


def _by_ordinal(seen: Seen, engine: EngineView) -> tuple[dict[int, ListedMember], tuple[ListedMember, ...]]:
    """Listed members by ordinal, and those that are none of ours.

    Of two entries with one ordinal (a member that was added again) the one that has started, or has a vote.
    """
    addresses = {pod.name: str((pod.get("status") or {}).get("podIP") or "") for pod in seen.pods.values()}
    matching = Matching(seen.names.stateful_set, addresses, {})
    found: dict[int, ListedMember] = {}
    strangers = []
    for member in engine.listed:
        ordinal = matching.ordinal_of(member)
        if ordinal is None:
            strangers.append(member)
            continue
        other = found.get(ordinal)
        if other is None or (member.started, member.voter) > (other.started, other.voter):
            found[ordinal] = member
    return found, tuple(strangers)


def _member(seen: Seen, ordinal: int, listed: ListedMember | None, engine: EngineView) -> MemberView:
    pod = seen.pods.get(ordinal)
    view = MemberView(
        ordinal=ordinal,
        name=seen.names.member(ordinal),
        pod=pod,
        claim=seen.claims.get(ordinal),
        listed_id=listed.id if listed else 0,
        voter=listed is not None and listed.voter,
        learner=listed is not None and listed.is_learner,
        heartbeat=heartbeat_of(pod, seen.cluster.metadata.uid),
    )
    return replace(view, healthy=view.ready and _follows(view, engine))


def _follows(member: MemberView, engine: EngineView) -> bool:
    """Whether it follows the leader, or is it: by its own word to us, or where that cannot be had, to its agent."""
    if engine.leader is None:
        return False
    leader = engine.statuses[engine.leader].member_id
    status = engine.statuses.get(member.name)
    if status is not None:
        return status.leader_id == leader and not status.is_learner and status.member_id == member.listed_id
    heartbeat = member.heartbeat
    return heartbeat is not None and heartbeat.state == RUNNING and heartbeat.leader_id == f"{leader:x}"
