"""XlineClusters and looks at them, for tests of the pure parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from controllers.xline.children import Plan
from controllers.xline.members import EngineView
from controllers.xline.names import Names
from controllers.xline.observed import Observed, Pod, Workload
from controllers.xline.status import Subject
from crds.decoding import decode
from crds.xlinecluster import Bootstrap, XlineCluster
from membership.xline.client import ListedMember, MemberStatus
from runtime.types import JSONObject

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def manifest(**spec: Any) -> JSONObject:
    return {
        "apiVersion": "xline.io.datenlord.com/v1alpha1",
        "kind": "XlineCluster",
        "metadata": {"name": "demo", "namespace": "ns", "uid": "12345678-aaaa", "generation": 1},
        "spec": {"replicas": 3, **spec},
    }


def member_names(size: int) -> list[str]:
    return [f"demo-sts-{ordinal}" for ordinal in range(size)]


def plan(size: int | None = None, **spec: Any) -> Plan:
    cluster = decode(XlineCluster, manifest(**spec))
    members = member_names(cluster.spec.replicas if size is None else size)
    return Plan(cluster, Bootstrap(members=members, token="demo-12345678"), "cluster.local")


def subject(size: int = 3, *, completed: bool = False, replicas: int | None = None) -> Subject:
    return Subject(
        names=Names("ns", "demo"),
        generation=4,
        replicas=size if replicas is None else replicas,
        image="img:1",
        spec_hash="abc",
        bootstrap=Bootstrap(members=member_names(size), token="t", completed=completed),
    )


def says(member: int, leader: int, *, term: int = 2, cluster: int = 0xC0FFEE) -> MemberStatus:
    """Member number ``member`` (its id is that plus 1) says that number ``leader`` leads; -1: nobody."""
    return MemberStatus(
        cluster_id=cluster,
        member_id=member + 1,
        version="3.5.1",
        leader_id=leader + 1,
        term=term,
        revision=1,
        raft_index=1,
        applied_index=1,
        db_size=1,
        is_learner=False,
        errors=(),
    )


def listed(names: Sequence[str]) -> tuple[ListedMember, ...]:
    return tuple(ListedMember(index + 1, name, (), (), False) for index, name in enumerate(names))


def engine(size: int = 3, *, leader: int | None = 0, silent: Sequence[int] = ()) -> EngineView:
    """All but ``silent`` answer and name ``leader`` (None: nobody)."""
    names = member_names(size)
    answering = [n for n in range(size) if n not in silent]
    return EngineView(
        statuses={names[n]: says(n, -1 if leader is None else leader) for n in answering},
        errors={names[n]: "no answer" for n in silent},
        leader=None if leader is None else names[leader],
        listed=() if leader is None else listed(names),
    )


def look(
    size: int = 3,
    *,
    ready: int | None = None,
    view: EngineView | None = None,
    settled: bool = True,
    pods: Mapping[str, bool] | None = None,
) -> Observed:
    """A look at a cluster whose first ``ready`` members are ready."""
    names = member_names(size)
    count = size if ready is None else ready
    states = pods if pods is not None else {name: index < count for index, name in enumerate(names)}
    return Observed(
        members=tuple(names),
        workload=Workload(size, count, settled),
        pods={name: Pod(name, "10.0.0.1", state) for name, state in states.items()},
        engine=view if view is not None else engine(size),
    )
