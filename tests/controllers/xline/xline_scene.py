"""One look at a cluster, put together by hand: what a test says of Pods, claims and members becomes a World the way the
operator makes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from controllers.xline import inplace
from controllers.xline.look import Seen, world_of
from controllers.xline.members import Endpoint, EngineView
from controllers.xline.names import Names
from controllers.xline.workloads import STATEFULSET, Backend, Workload
from controllers.xline.world import World
from crds.decoding import decode
from crds.xlinecluster import Bootstrap, XlineCluster
from crds.xlineplan import MembershipPlan
from membership.xline.client import ListedMember, MemberStatus
from membership.xline.model import HEARTBEAT
from runtime.client import Unstructured
from runtime.types import JSONObject

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UID = "12345678-aaaa"
OLD, NEW = "demo-sts-old", "demo-sts-new"


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def template(image: str = "quay.io/coreos/etcd:v3.5.17", **spec: Any) -> JSONObject:
    return inplace.with_digest({"metadata": {}, "spec": {"containers": [{"name": "xline", "image": image}], **spec}})


@dataclass
class Scene:
    """Three members that are well, until a test says otherwise.

    :ivar leads: ordinal; None: no leader.
    :ivar answers: ordinals of the members whose servers answer.
    :ivar listed: ordinals the engine lists; ``learners`` of these have no vote.
    :ivar revisions: ordinal -> that of its Pod; those left out have the present one.
    :ivar status: what an earlier look has stored, bootstrap and plan aside.
    """

    replicas: int = 3
    ordinals: list[int] | None = None
    leads: int | None = 0
    backend: Backend = STATEFULSET
    spec: JSONObject = field(default_factory=dict)
    plan: MembershipPlan | None = None
    template: JSONObject = field(default_factory=template)
    bootstrapped: bool = True
    observed: bool = True
    update_revision: str = NEW
    answers: set[int] | None = None
    listed: set[int] | None = None
    learners: set[int] = field(default_factory=set)
    lag: dict[int, int] = field(default_factory=dict)
    versions: dict[int, str] = field(default_factory=dict)
    pods: dict[int, JSONObject] = field(default_factory=dict)
    claims: dict[int, JSONObject] = field(default_factory=dict)
    claim_template: JSONObject = field(default_factory=lambda: claim_spec("1Gi"))
    status: JSONObject = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.ordinals is None:
            self.ordinals = list(range(self.replicas))
        for ordinal in self.ordinals:
            self.pods[ordinal] = pod(ordinal, self.template)
            self.claims[ordinal] = claim(ordinal)

    # -- what a test says

    def outdated(self, *ordinals: int, template: JSONObject | None = None) -> Scene:
        """Pods of these are of a former template, by default one that differs in more than images."""
        for ordinal in ordinals:
            metadata = self.pods[ordinal]["metadata"]
            metadata["labels"]["controller-revision-hash"] = OLD
            former = template or {"metadata": {"annotations": {inplace.TEMPLATE: "another"}}}
            metadata["annotations"][inplace.TEMPLATE] = former["metadata"]["annotations"][inplace.TEMPLATE]
            if template is not None:
                self.pods[ordinal]["spec"]["containers"] = template["spec"]["containers"]
        return self

    def down(self, *ordinals: int, waiting: str = "", started: bool = False) -> Scene:
        """Servers of these do not answer, and their Pods are not ready."""
        for ordinal in ordinals:
            status = self.pods[ordinal]["status"]
            status["conditions"] = [{"type": "Ready", "status": "False", "lastTransitionTime": ago(60)}]
            (container,) = status["containerStatuses"]
            state: JSONObject = {"waiting": {"reason": waiting}} if waiting else {"running": {}}
            container |= {"started": started, "ready": False, "state": state}
        present = set(self.pods) if self.answers is None else self.answers
        self.answers = present - set(ordinals)
        return self

    def terminating(self, ordinal: int, seconds: float = 0) -> Scene:
        """Its Pod's grace period ended so many seconds ago."""
        self.down(ordinal)
        self.pods[ordinal]["metadata"]["deletionTimestamp"] = ago(seconds)
        return self

    def no_quorum(self) -> Scene:
        """Nobody leads, and nobody lists anybody."""
        self.leads, self.listed = None, set()
        return self

    def heartbeat(self, ordinal: int, **said: Any) -> Scene:
        name = f"demo-sts-{ordinal}"
        uid = self.pods[ordinal]["metadata"]["uid"]
        beat = {"sequence": 1, "incarnation": "i", "clusterUid": UID, "pod": name, "podUid": uid, "ordinal": ordinal}
        text = orjson.dumps({**beat, "state": "Running", **said}).decode()
        self.pods[ordinal]["metadata"]["annotations"][HEARTBEAT] = text
        return self

    def unserved(self, seconds: float, voters: int) -> Scene:
        """Nobody leads for so long; before, so many members had a vote."""
        unavailable = {"type": "Available", "status": "False", "lastTransitionTime": ago(seconds)}
        self.status = {"voters": voters, "conditions": [unavailable]}
        return self.no_quorum()

    # -- what comes of it

    def world(self) -> World:
        assert self.ordinals is not None
        plan = self.plan or MembershipPlan(ordinals=self.ordinals, revision=7)
        obj: JSONObject = {
            "apiVersion": "xline.io.datenlord.com/v1alpha1",
            "kind": "XlineCluster",
            "metadata": {"name": "demo", "namespace": "ns", "uid": UID, "generation": 1, "resourceVersion": "900"},
            "spec": {"replicas": self.replicas, "engine": "etcd", **self.spec},
        }
        members = [f"demo-sts-{n}" for n in self.ordinals]
        bootstrap = {"members": members, "token": "t", "completed": self.bootstrapped}
        obj["status"] = {**self.status, "bootstrap": bootstrap}
        names = Names("ns", "demo")
        seen = Seen(
            obj=Unstructured(obj),
            cluster=decode(XlineCluster, obj),
            names=names,
            bootstrap=Bootstrap(members=members, token="t", completed=self.bootstrapped),
            plan=plan,
            workload=self._workload(),
            pods={ordinal: Unstructured(found) for ordinal, found in self.pods.items()},
            claims={ordinal: Unstructured(found) for ordinal, found in self.claims.items()},
        )
        endpoints = {names.member(n): Endpoint(names.member(n), f"10.0.0.{n}") for n in self.pods}
        return world_of(seen, endpoints, self._engine(), NOW)

    def _workload(self) -> Workload:
        assert self.ordinals is not None
        spec = self.backend.spec(
            {"template": self.template, "volumeClaimTemplates": [self.claim_template]}, self.ordinals
        )
        metadata = {"name": "demo-sts", "namespace": "ns", "uid": "w", "generation": 5, "resourceVersion": "800"}
        status = {
            "observedGeneration": 5 if self.observed else 4,
            "updateRevision": self.update_revision,
            "replicas": len(self.pods),
            "updatedReplicas": sum(_revision(found) == self.update_revision for found in self.pods.values()),
        }
        obj = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec, "status": status}
        return Workload(self.backend, Unstructured(obj))

    def _engine(self) -> EngineView:
        answering = set(self.pods) if self.answers is None else self.answers
        listed = set(self.ordinals or ()) if self.listed is None else self.listed
        statuses = {f"demo-sts-{n}": self._status(n) for n in sorted(answering)}
        leader = f"demo-sts-{self.leads}" if self.leads in answering else None
        return EngineView(statuses, {}, leader, tuple(self._listed(sorted(listed))))

    def _status(self, ordinal: int) -> MemberStatus:
        return MemberStatus(
            cluster_id=0xC0FFEE,
            member_id=ordinal + 1,
            version=self.versions.get(ordinal, "3.5.17"),
            leader_id=0 if self.leads is None else self.leads + 1,
            term=2,
            revision=1,
            raft_index=10_000,
            applied_index=10_000 - self.lag.get(ordinal, 0),
            db_size=1,
            db_size_in_use=1,
            is_learner=ordinal in self.learners,
            errors=(),
        )

    def _listed(self, ordinals: Sequence[int]) -> list[ListedMember]:
        return [
            ListedMember(n + 1, f"demo-sts-{n}", (f"http://demo-sts-{n}:2380",), (), n in self.learners)
            for n in ordinals
        ]


def _revision(pod: JSONObject) -> str:
    return str(pod["metadata"]["labels"]["controller-revision-hash"])


def pod(ordinal: int, made_from: JSONObject) -> JSONObject:
    name = f"demo-sts-{ordinal}"
    annotations = dict((made_from["metadata"].get("annotations") or {}).items())
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": f"pod-{ordinal}",
            "resourceVersion": f"10{ordinal}",
            "creationTimestamp": ago(3600),
            "labels": {"controller-revision-hash": NEW},
            "annotations": annotations,
        },
        "spec": {"nodeName": f"node-{ordinal}", **made_from["spec"]},
        "status": {
            "phase": "Running",
            "podIP": f"10.0.0.{ordinal}",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": ago(3000)}],
            "containerStatuses": [
                {
                    "name": "xline",
                    "containerID": f"run://{ordinal}-1",
                    "started": True,
                    "ready": True,
                    "state": {"running": {}},
                }
            ],
        },
    }


def claim_spec(size: str) -> JSONObject:
    return {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": size}}}}


def claim(ordinal: int, size: str = "1Gi") -> JSONObject:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": f"data-demo-sts-{ordinal}",
            "namespace": "ns",
            "uid": f"claim-{ordinal}",
            "resourceVersion": f"20{ordinal}",
            "creationTimestamp": ago(3600),
        },
        "spec": claim_spec(size)["spec"],
        "status": {"phase": "Bound", "capacity": {"storage": size}},
    }
