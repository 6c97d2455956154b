"""Numbers about clusters and members, read from the caches at each scrape: who is gone is gone from them, too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, TypeVar, get_args

from controllers.xline import names as known
from controllers.xline.heartbeats import heartbeat_of
from controllers.xline.status import BACKED_UP, DEGRADED, find
from controllers.xline.world import AVAILABLE
from crds.decoding import InvalidObject, decode
from crds.xlinecluster import XLINECLUSTERS, Member, Phase, XlineCluster, XlineClusterStatus
from membership.xline.model import Heartbeat
from runtime.client import NotFound, Unstructured
from runtime.controller import CacheNotReady
from runtime.informer import Lister
from runtime.metrics.registry import MetricSource
from runtime.types import GVR

if TYPE_CHECKING:
    from prometheus_client.core import Metric

Labels = TypeVar("Labels", bound=tuple[str, ...])

_CLUSTER = ("namespace", "xlinecluster")
_MEMBER = (*_CLUSTER, "member")


class _Cluster(NamedTuple):
    labels: tuple[str, str]
    obj: XlineCluster
    status: XlineClusterStatus


class _Member(NamedTuple):
    labels: tuple[str, str, str]
    status: Member
    heartbeat: Heartbeat | None


# name -> text, value; None where it is not known.
_OF_CLUSTERS: dict[str, tuple[str, Callable[[_Cluster], float | None]]] = {
    "xline_cluster_replicas_wanted": ("Members that spec.replicas asks for.", lambda c: c.obj.spec.replicas),
    "xline_cluster_members_planned": (
        "Members that the plan has now.",
        lambda c: len(c.status.plan.ordinals) if c.status.plan else None,
    ),
    "xline_cluster_voters": ("Members with a vote.", lambda c: c.status.voters),
    "xline_cluster_members_ready": ("Members whose Pod is ready.", lambda c: c.status.ready_replicas),
    "xline_cluster_has_leader": ("Whether a majority agrees on a leader.", lambda c: c.status.leader is not None),
    "xline_cluster_available": ("Whether clients are served.", lambda c: _is_true(c.status, AVAILABLE)),
    "xline_cluster_degraded": ("Whether something is wrong.", lambda c: _is_true(c.status, DEGRADED)),
    "xline_cluster_backed_up": ("Whether the last backup succeeded.", lambda c: _is_true(c.status, BACKED_UP)),
    "xline_cluster_backup_timestamp_seconds": (
        "When the newest backup was taken, in seconds since 1970.",
        lambda c: _backup_time(c.status),
    ),
    "xline_cluster_backup_size_bytes": (
        "Size of the newest backup.",
        lambda c: c.status.backup.last_success.size if c.status.backup and c.status.backup.last_success else None,
    ),
    "xline_cluster_plan_revision": (
        "Changes of the membership so far.",
        lambda c: c.status.plan.revision if c.status.plan else None,
    ),
}
_OF_MEMBERS: dict[str, tuple[str, Callable[[_Member], float | None]]] = {
    "xline_member_ready": ("Whether its Pod is ready.", lambda m: m.status.ready),
    "xline_member_is_leader": ("Whether it leads, and a majority agrees.", lambda m: m.status.leader),
    "xline_member_is_learner": ("Whether it has no vote yet.", lambda m: m.status.learner),
    "xline_member_term": ("Raft term, by its last heartbeat.", lambda m: m.heartbeat.term if m.heartbeat else None),
    "xline_member_applied_index": (
        "Raft index it has applied, by its last heartbeat.",
        lambda m: m.heartbeat.applied_index if m.heartbeat else None,
    ),
    "xline_member_db_size_bytes": (
        "Size of its database, by its last heartbeat.",
        lambda m: m.heartbeat.db_size if m.heartbeat else None,
    ),
    "xline_member_alarms": (
        "Alarms it knows of, by its last heartbeat.",
        lambda m: len(m.heartbeat.alarms) if m.heartbeat else None,
    ),
}


def metric_source(lister_of: Callable[[GVR], Lister]) -> MetricSource:
    """A source for the manager's registry.

    :param lister_of: the cache of a resource; raises CacheNotReady while it is not complete.
    """

    def collect() -> Iterable[Metric]:
        from runtime.metrics.families import gauge

        clusters = list(_clusters(lister_of))
        members = [member for cluster in clusters for member in _members(cluster, lister_of)]
        phases = {
            (*cluster.labels, phase): float(cluster.status.phase == phase)
            for cluster in clusters
            for phase in get_args(Phase)
        }
        yield gauge("xline_cluster_phase", "1 for the phase it is in.", (*_CLUSTER, "phase"), phases)
        for name, (text, of_cluster) in _OF_CLUSTERS.items():
            found = {cluster.labels: of_cluster(cluster) for cluster in clusters}
            yield gauge(name, text, _CLUSTER, _known(found))
        for name, (text, of_member) in _OF_MEMBERS.items():
            yield gauge(name, text, _MEMBER, _known({member.labels: of_member(member) for member in members}))

    return collect


def _known(found: Mapping[Labels, float | None]) -> dict[Labels, float]:
    return {labels: float(value) for labels, value in found.items() if value is not None}


def _clusters(lister_of: Callable[[GVR], Lister]) -> Iterator[_Cluster]:
    with suppress(CacheNotReady):
        for obj in lister_of(XLINECLUSTERS).list():
            with suppress(InvalidObject):  # its status says so
                cluster = decode(XlineCluster, obj.to_dict())
                yield _Cluster((obj.namespace, obj.name), cluster, cluster.status or XlineClusterStatus())


def _members(cluster: _Cluster, lister_of: Callable[[GVR], Lister]) -> Iterator[_Member]:
    with suppress(CacheNotReady):
        pods = lister_of(known.PODS).namespace(cluster.labels[0])
        for member in cluster.status.members:
            pod: Unstructured | None = None
            with suppress(NotFound):
                pod = pods.get(member.name)
            yield _Member((*cluster.labels, member.name), member, heartbeat_of(pod, cluster.obj.metadata.uid))


def _backup_time(status: XlineClusterStatus) -> float | None:
    newest = status.backup.last_success if status.backup is not None else None
    return None if newest is None else datetime.fromisoformat(newest.time).timestamp()


def _is_true(status: XlineClusterStatus, kind: str) -> bool | None:
    condition = find(status.conditions, kind)
    return None if condition is None else condition.status == "True"
