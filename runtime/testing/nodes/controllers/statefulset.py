"""StatefulSets and AdvancedStatefulSets into Pods.

One reconcile looks at the set, its Pods, claims and revisions in the cache, and takes the next step that the
ordering rules allow. Names are a function of set and ordinal, so a step repeated because the cache was old
meets AlreadyExists or NotFound and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from runtime.client import AlreadyExists, Client, Conflict, Invalid, NotFound, Unstructured
from runtime.controller import ReconcileContext
from runtime.manager import Manager
from runtime.testing.nodes.controllers import pods as p
from runtime.testing.nodes.controllers.adoption import adopt
from runtime.testing.nodes.controllers.revisions import (
    REVISIONS,
    Revisions,
    forget_old_revisions,
    sync_revisions,
)
from runtime.testing.nodes.controllers.workload import (
    ADVANCED_STATEFULSETS,
    SPECIFIED_DELETE,
    STATEFULSETS,
    Workload,
    read_workload,
)
from runtime.types import GVR, JSONObject, Request, Result

PODS = GVR("", "v1", "pods")
CLAIMS = GVR("", "v1", "persistentvolumeclaims")
_GLANCE = 1.0  # seconds until a look at what stood in the way


def register(manager: Manager, gvr: GVR) -> None:
    """Add the controller of one of the two kinds of StatefulSet to the manager."""
    name = {STATEFULSETS: "statefulset", ADVANCED_STATEFULSETS: "advanced-statefulset"}[gvr]

    def reconcile(request: Request, ctx: ReconcileContext) -> Result | None:
        try:
            owner = ctx.lister(gvr).namespace(request.namespace).get(request.name)
        except NotFound:
            return None
        if owner.deletion_timestamp is not None:
            return None  # the garbage collector takes the Pods, or lets them go
        return StatefulSetSync(ctx, gvr, read_workload(owner)).run()

    # Claims are watched to be found in the cache; what happens to one is no reason to act.
    manager.informer(CLAIMS)
    manager.controller(name).for_(gvr).owns(PODS).owns(REVISIONS).with_options(workers=4).complete(reconcile)


def write_status(client: Client, gvr: GVR, owner: Unstructured, status: JSONObject) -> None:
    """Merge into the status of this very object; one that has gone, or made room for a namesake, is left alone."""
    body = {"metadata": {"uid": owner.uid}, "status": status}
    try:
        client.resource(gvr, namespace=owner.namespace).patch(owner.name, body, type="merge", subresource="status")
    except NotFound:
        return
    except Invalid as error:
        if not any(cause.field == "metadata.uid" for cause in error.causes):
            raise


def _is_going(claim: Unstructured) -> bool:
    """Whether it is being deleted, or will be with a former Pod of the ordinal: the next one is yet to be created."""
    return claim.deletion_timestamp is not None or any(ref.kind == "Pod" for ref in claim.owner_references)


class _Blocked(Exception):
    """Nothing more may be done until something changes, or until a time has passed."""

    def __init__(self, seconds: float | None = None) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class StatefulSetSync:
    """One pass over one set."""

    def __init__(self, ctx: ReconcileContext, gvr: GVR, workload: Workload) -> None:
        self.ctx = ctx
        self.gvr = gvr
        self.workload = workload
        self.now = ctx.clock.now()
        self.pods = self._controlled_pods()
        self.unbound = False  # a Pod waits for a node: its claims may go under it
        self.pod_api = ctx.client.resource(PODS, namespace=workload.namespace)

    def run(self) -> Result | None:
        workload = self.workload
        history = self._controlled(REVISIONS)
        revisions = sync_revisions(self.ctx.client, workload, history)
        result: Result | None = None
        try:
            self._create_missing(revisions)
            self._delete_condemned()
            self._roll(revisions)
        except _Blocked as blocked:
            result = Result(requeue_after=blocked.seconds) if blocked.seconds else None
        if result is None and self.unbound:
            result = Result(requeue_after=_GLANCE)
        self._write_status(revisions)
        used = {p.revision_of(pod) for pod in self.pods.values()} | {revisions.current, revisions.update}
        forget_old_revisions(self.ctx.client, workload, history, frozenset(used))
        return result

    # -- what there is

    def _controlled(self, gvr: GVR) -> list[Unstructured]:
        found = self.ctx.lister(gvr).namespace(self.workload.namespace).list()
        if gvr == PODS:
            found = [pod for pod in found if self.workload.ordinal_of(pod.name) is not None]
        return adopt(self.ctx.client, self.gvr, gvr, self.workload, found)

    def _controlled_pods(self) -> dict[int, Unstructured]:
        found = ((self.workload.ordinal_of(pod.name), pod) for pod in self._controlled(PODS))
        return {ordinal: pod for ordinal, pod in found if ordinal is not None}

    def _availability(self, ordinal: int) -> float | None:
        """Seconds until the ordinal's Pod counts as available: 0 now, None while it is not ready or missing."""
        pod = self.pods.get(ordinal)
        return None if pod is None else p.seconds_until_available(pod, self.workload.min_ready_seconds, self.now)

    # -- the steps, in their order

    def _create_missing(self, revisions: Revisions) -> None:
        allowed = self.workload.scale_max_unavailable
        for ordinal in self.workload.ordinals:
            pod = self.pods.get(ordinal)
            if pod is None:
                self._create(ordinal, revisions)
            elif p.has_ended(pod) and pod.deletion_timestamp is None:
                self._delete(ordinal, "RecreatingFailedPod")
            elif not pod["spec"].get("nodeName") and pod.deletion_timestamp is None:
                self.unbound = True
                self._ensure_claims(ordinal)
            if self.workload.ordered:
                self._wait_available(ordinal)
            elif allowed is not None and self._availability(ordinal) != 0:
                allowed -= 1
                if allowed <= 0:
                    return

    def _wait_available(self, ordinal: int) -> None:
        wait = self._availability(ordinal)
        if wait is None:
            raise _Blocked
        if wait > 0:
            raise _Blocked(wait)

    def _create(self, ordinal: int, revisions: Revisions) -> None:
        workload = self.workload
        self._ensure_claims(ordinal)
        old = ordinal in workload.stale and workload.rolling
        revision = revisions.current if old else revisions.update
        body = p.build_pod(workload, ordinal, revisions.template(revision), revision)
        try:
            self.pods[ordinal] = self.pod_api.create(body)
        except AlreadyExists:
            # Ours that the cache does not show yet, or a stranger's that must go first: nobody tells when it has.
            raise _Blocked(_GLANCE) from None
        except Invalid as error:
            self._warn("FailedCreate", f"create Pod {workload.pod_name(ordinal)} failed: {error}")
            raise
        self._note("SuccessfulCreate", f"create Pod {workload.pod_name(ordinal)} in StatefulSet successful")

    def _ensure_claims(self, ordinal: int) -> None:
        workload = self.workload
        api = self.ctx.client.resource(CLAIMS, namespace=workload.namespace)
        for claim in p.build_claims(workload, ordinal):
            name = claim["metadata"]["name"]
            try:
                known = self.ctx.lister(CLAIMS).namespace(workload.namespace).get(name)
            except NotFound:
                known = None
            if known is not None and _is_going(known):
                raise _Blocked(_GLANCE)  # a claim on its way out must not be given to a new Pod
            if known is None:
                try:
                    api.create(claim)
                except AlreadyExists:
                    continue

    def _delete_condemned(self) -> None:
        wanted = set(self.workload.ordinals)
        for ordinal in sorted(self.pods.keys() - wanted, reverse=True):
            pod = self.pods[ordinal]
            if pod.deletion_timestamp is None:
                if self.workload.delete_claims_when_scaled:
                    self._tie_claims_to_pod(ordinal, pod)
                self._delete(ordinal, "SuccessfulDelete")
            if self.workload.ordered:
                raise _Blocked

    def _tie_claims_to_pod(self, ordinal: int, pod: Unstructured) -> None:
        api = self.ctx.client.resource(CLAIMS, namespace=self.workload.namespace)
        for claim in p.build_claims(self.workload, ordinal):
            set_lets_go = {"$patch": "delete", "uid": self.workload.owner.uid}
            references = [p.owner_reference(pod, controller=False), set_lets_go]
            try:
                api.patch(claim["metadata"]["name"], {"metadata": {"ownerReferences": references}}, type="strategic")
            except NotFound:
                continue

    def _roll(self, revisions: Revisions) -> None:
        """Replace Pods of an old revision from the highest ordinal down, at most ``max_unavailable`` at once."""
        workload = self.workload
        if not workload.rolling or workload.paused:
            return  # nor is what is marked for deletion replaced
        marked = [n for n in workload.ordinals if self._marked_for_replacement(n)]
        candidates = sorted({*marked, *self._outdated(revisions)}, reverse=True)
        unavailable = sum(1 for n in workload.ordinals if self._availability(n) != 0)
        for ordinal in candidates:
            pod = self.pods[ordinal]
            broken = self._availability(ordinal) != 0  # replacing it costs no availability
            if pod.deletion_timestamp is not None:
                continue
            if not broken and unavailable >= workload.max_unavailable:
                raise _Blocked(self._next_available())
            self._delete(ordinal, "SuccessfulDelete")
            if not broken:
                unavailable += 1

    def _marked_for_replacement(self, ordinal: int) -> bool:
        pod = self.pods.get(ordinal)
        return self.workload.advanced and pod is not None and pod.labels.get(SPECIFIED_DELETE) == "true"

    def _outdated(self, revisions: Revisions) -> Iterator[int]:
        for ordinal in self.workload.ordinals:
            pod = self.pods.get(ordinal)
            if pod is not None and ordinal not in self.workload.stale and p.revision_of(pod) != revisions.update:
                yield ordinal

    def _next_available(self) -> float | None:
        waits = [w for n in self.workload.ordinals if (w := self._availability(n))]
        return min(waits, default=None)

    def _delete(self, ordinal: int, reason: str) -> None:
        pod = self.pods[ordinal]
        try:
            self.pod_api.delete(pod.name, preconditions={"uid": pod.uid})
        except (NotFound, Conflict):
            return  # it is gone, or another Pod has its name by now
        self._note(reason, f"delete Pod {pod.name} in StatefulSet successful")

    # -- what others see

    def _write_status(self, revisions: Revisions) -> None:
        status = self._status(revisions)
        old: JSONObject = self.workload.owner.get("status") or {}
        if all(old.get(key) == value for key, value in status.items()):
            return
        write_status(self.ctx.client, self.gvr, self.workload.owner, status)

    def _status(self, revisions: Revisions) -> JSONObject:
        live = [pod for pod in self.pods.values() if not p.has_ended(pod)]
        available = [pod for n, pod in self.pods.items() if self._availability(n) == 0]
        updated = [pod for pod in live if p.revision_of(pod) == revisions.update]
        ready = [pod for pod in live if p.is_ready(pod)]
        wanted = len(self.workload.ordinals)
        # Only a rolling update ends: under OnDelete the current revision stays what it was, as in the real controller.
        rolled = self.workload.rolling and len(updated) == len(live) == len(ready) == wanted
        current = revisions.update if rolled else revisions.current
        status: JSONObject = {
            "observedGeneration": self.workload.owner.generation,
            "replicas": len(live),
            "readyReplicas": len(ready),
            "availableReplicas": len(available),
            "updatedReplicas": len(updated),
            "currentReplicas": sum(1 for pod in live if p.revision_of(pod) == current),
            "currentRevision": current,
            "updateRevision": revisions.update,
            "collisionCount": 0,
        }
        if self.workload.advanced:
            labels = (self.workload.selector or {}).get("matchLabels") or {}
            status |= {
                "updatedReadyReplicas": sum(1 for pod in updated if p.is_ready(pod)),
                "labelSelector": ",".join(f"{k}={v}" for k, v in sorted(labels.items())),
            }
        return status

    def _note(self, reason: str, message: str) -> None:
        self.ctx.recorder.event(self.workload.owner, "Normal", reason, message)

    def _warn(self, reason: str, message: str) -> None:
        self.ctx.recorder.event(self.workload.owner, "Warning", reason, message)
