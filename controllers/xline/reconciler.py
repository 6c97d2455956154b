"""One look at one XlineCluster: write what is missing, tell what is there.

Everything is decided from the object, the caches and the members' own answers; nothing is kept between two looks. A
look that ends anywhere, between any two writes, is made good by the next one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import msgspec
import orjson

from controllers.xline import names as known
from controllers.xline import volumes
from controllers.xline.bootstrap import (
    FormerData,
    Gone,
    OutdatedDefinition,
    VolumesLeaving,
    alive,
    first_bootstrap,
    frozen,
)
from controllers.xline.children import SERVICE_STAGE, STATEFULSET_STAGE, Child, Plan, children
from controllers.xline.events import between
from controllers.xline.members import Observe, observe
from controllers.xline.names import Names
from controllers.xline.observed import Observed, Pod, endpoints, pod_of, workload_of
from controllers.xline.status import (
    AVAILABLE,
    FORMER_DATA,
    INVALID_SPEC,
    NAME_TAKEN,
    PROGRESSING,
    REJECTED,
    SCALING_UNSUPPORTED,
    VOLUMES_LOST,
    WAITING_FOR_DELETION,
    Problem,
    Subject,
    build_status,
    find,
    stuck_status,
)
from crds.decoding import InvalidObject, convert, decode
from crds.xlinecluster import XLINECLUSTERS, XlineCluster, XlineClusterStatus
from membership.xline.engines import profile_for
from membership.xline.settings import SettingError
from runtime.client import Forbidden, Invalid, NotFound, Unstructured
from runtime.controller import AlreadyOwnedError, NotOurs, ReconcileContext
from runtime.controller.applier import applied_hash_annotation
from runtime.types import JSONObject, Request, Result

_ASK_TIMEOUT: Final = 1.0  # seconds a member has to answer
_SETTLED: Final = 15.0  # seconds between two looks at a cluster that is well: leaders change without a Pod changing
_CHANGING: Final = 5.0  # ... that is changing, or not well: its Pods report by themselves
_ELECTING: Final = 1.0  # ... whose Pods run while nobody leads: an election takes about that long
_LEFT_OVER: Final = 1.0  # ... while objects of a deleted cluster of the same name are still there
_PATIENCE = 10.0  # seconds that such objects may take before the new cluster's status speaks of them


class _LeftOver(Exception):
    """An object of a deleted cluster of this name has not been garbage-collected yet."""


class XlineReconciler:
    """Reconciles XlineClusters. Stateless, so any number of workers may share it.

    :param cluster_domain: the DNS domain of the Kubernetes cluster.
    :param ask: how members are asked; a test may answer for them.
    """

    def __init__(self, cluster_domain: str, ask: Observe = observe) -> None:
        self._cluster_domain = cluster_domain
        self._ask = ask

    def __call__(self, request: Request, ctx: ReconcileContext) -> Result | None:
        try:
            obj = ctx.lister(XLINECLUSTERS).namespace(request.namespace).get(request.name)
        except NotFound:
            return None
        if obj.deletion_timestamp is not None:
            return None  # what we made goes by its owner references; making it anew would fight that
        try:
            cluster = decode(XlineCluster, obj.to_dict())
        except InvalidObject as error:
            where = f"{error.field}: {error.problem}" if error.field else error.problem
            self._tell_stuck(obj, Problem(INVALID_SPEC, where), ctx)
            return None
        if not _is_frozen(cluster):
            problem = self._setting_problem(cluster)
            if problem is not None:  # the members of a cluster that cannot start are not frozen
                self._tell_stuck(obj, problem, ctx)
                return None
        try:
            obj, bootstrap = frozen(obj, cluster, ctx)
            plan = Plan(cluster, bootstrap, self._cluster_domain)
            problem = self._bring_about(obj, plan, ctx)
        except Gone:
            return None  # deleted meanwhile
        except (VolumesLeaving, _LeftOver) as error:
            ctx.log.info("waiting for the garbage collector", reason=str(error))
            self._tell_waiting(obj, str(error), ctx)
            return Result(requeue_after=_LEFT_OVER)
        except FormerData as error:
            self._tell_stuck(obj, Problem(FORMER_DATA, str(error)), ctx)
            return Result(requeue_after=_SETTLED)
        except OutdatedDefinition as error:
            ctx.log.error("cannot work with the installed CRD", reason=str(error))
            ctx.recorder.event(obj, "Warning", "OutdatedDefinition", str(error))
            return Result(requeue_after=_SETTLED)
        volumes.set_retention(obj, cluster, bootstrap.members, ctx)
        observed = self._observe(plan, ctx)
        status = self._tell(obj, plan, observed, problem, ctx)
        return Result(requeue_after=_next_look(status, observed))

    def _setting_problem(self, cluster: XlineCluster) -> Problem | None:
        try:
            children(Plan(cluster, first_bootstrap(cluster), self._cluster_domain))
        except SettingError as error:
            return Problem(INVALID_SPEC, str(error))
        return None

    def _bring_about(self, obj: Unstructured, plan: Plan, ctx: ReconcileContext) -> Problem | None:
        """Apply all children. Returns the first problem that only a person can solve.

        :raises Gone: the cluster was deleted meanwhile.
        :raises ClientError: a write failed in a way that may pass. Reconcile again.
        """
        try:
            wanted = children(plan)
        except SettingError as error:
            return Problem(INVALID_SPEC, str(error))
        problem = self._incompatible_image(plan, ctx)
        if problem is not None:
            return problem
        if any(self._cached(child, plan.names, ctx) is None for child in wanted):
            # They may be missing because the garbage collector has begun, which we heard of before the deletion itself.
            alive(obj, ctx)
        first: Problem | None = None
        for child in wanted:
            if first is not None and first.stage == SERVICE_STAGE and child.stage == STATEFULSET_STAGE:
                continue  # without their Service members do not find each other
            problem = self._apply(obj, plan, child, ctx)
            first = first or problem
        return first or _scaling_problem(plan)

    @staticmethod
    def _incompatible_image(plan: Plan, ctx: ReconcileContext) -> Problem | None:
        """Members that run are not rolled to a server of another kind: halfway neither half has a majority."""
        with suppress(NotFound):
            live = ctx.lister(known.STATEFULSETS).namespace(plan.names.namespace).get(plan.names.stateful_set)
            running = workload_of(live).image
            now = profile_for(msgspec.structs.replace(plan.cluster.spec, image=running))
            if running and plan.bootstrap.completed and now is not plan.profile:
                return Problem(
                    INVALID_SPEC,
                    f"spec.image: the members run {running} ({now.name}), and {plan.image} ({plan.profile.name}) uses "
                    "other ports and does not join them; create another XlineCluster and copy the data",
                )
        return None

    def _apply(self, obj: Unstructured, plan: Plan, child: Child, ctx: ReconcileContext) -> Problem | None:
        before = self._cached(child, plan.names, ctx)
        if child.gvr == known.STATEFULSETS and plan.bootstrap.completed:
            lost = volumes.lost(plan.names, plan.bootstrap.members, ctx, surely=before is None)
            if lost:
                # Not even updated: were it deleted this moment, that would make it again.
                return _lost_volumes(plan, lost) if before is None else None
        try:
            applied = ctx.apply(child.gvr, child.manifest, owner=obj)
        except AlreadyOwnedError as error:
            return Problem(NAME_TAKEN, str(error), child.stage)
        except NotOurs as error:
            if _is_left_over(child, obj, ctx):
                raise _LeftOver(f"{child} of a deleted cluster of this name is still there") from None
            return Problem(NAME_TAKEN, str(error), child.stage)
        except (Invalid, Forbidden) as error:  # the latter is what quotas and admission plugins say, too
            return Problem(REJECTED, f"{child} was refused: {error}", child.stage)
        if applied.changed:
            _tell_child(obj, plan, child, before, applied.object, ctx)
        return None

    @staticmethod
    def _cached(child: Child, names: Names, ctx: ReconcileContext) -> Unstructured | None:
        try:
            return ctx.lister(child.gvr).namespace(names.namespace).get(child.name)
        except NotFound:
            return None

    def _observe(self, plan: Plan, ctx: ReconcileContext) -> Observed:
        names, members = plan.names, tuple(plan.bootstrap.members)
        lister = ctx.lister(known.PODS).namespace(names.namespace)
        pods: dict[str, Pod] = {}
        for member in members:
            with suppress(NotFound):
                pods[member] = pod_of(lister.get(member))
        try:
            live = ctx.lister(known.STATEFULSETS).namespace(names.namespace).get(names.stateful_set)
            ours = live if live.controller_owner and live.controller_owner.uid == plan.cluster.metadata.uid else None
        except NotFound:
            ours = None
        remaining = ctx.remaining()
        timeout = _ASK_TIMEOUT if remaining is None else min(_ASK_TIMEOUT, remaining / 3)
        view = self._ask(endpoints(pods), len(members), timeout)
        return Observed(members, workload_of(ours), pods, view)

    def _tell(
        self,
        obj: Unstructured,
        plan: Plan,
        observed: Observed,
        problem: Problem | None,
        ctx: ReconcileContext,
    ) -> XlineClusterStatus:
        old = _stored_status(obj)
        subject = Subject(
            names=plan.names,
            generation=obj.generation,
            replicas=plan.cluster.spec.replicas,
            image=plan.image,
            spec_hash=_digest(obj.get("spec") or {}),
            bootstrap=plan.bootstrap,
        )
        new = build_status(subject, observed, problem, old, ctx.clock.now())
        self._store(obj, old, new, ctx)
        return new

    def _tell_waiting(self, obj: Unstructured, what: str, ctx: ReconcileContext) -> None:
        """Say what a new cluster waits for, unless the garbage collector is just about to do it."""
        created = obj.creation_timestamp
        if created is not None and (ctx.clock.now() - created).total_seconds() >= _PATIENCE:
            message = f"{what}: see with kubectl describe what holds it (a finalizer, or a Pod that uses it)"
            self._tell_stuck(obj, Problem(WAITING_FOR_DELETION, message), ctx)

    def _tell_stuck(self, obj: Unstructured, problem: Problem, ctx: ReconcileContext) -> None:
        """There is nothing to look at, only a problem to tell."""
        old = _stored_status(obj)
        self._store(obj, old, stuck_status(old, obj.generation, problem, ctx.clock.now()), ctx)

    @staticmethod
    def _store(obj: Unstructured, old: XlineClusterStatus, new: XlineClusterStatus, ctx: ReconcileContext) -> None:
        """Write the status if it differs, then say what has changed."""
        status: JSONObject = msgspec.to_builtins(new)
        try:
            if ctx.patch_status(XLINECLUSTERS, obj, status) is obj:
                return
        except NotFound:
            return  # deleted meanwhile
        for event in between(old, new):
            ctx.log.info(event.message, reason=event.reason)
            ctx.recorder.event(obj, event.type, event.reason, event.message)


def _stored_status(obj: Unstructured) -> XlineClusterStatus:
    """The status in the object. If it cannot be read (somebody else's CRD), the bootstrap alone, which must not be
    forgotten."""
    status = obj.get("status") or {}
    for readable in (status, {"bootstrap": status.get("bootstrap")} if isinstance(status, Mapping) else {}):
        with suppress(msgspec.ValidationError):
            return convert(readable, XlineClusterStatus)
    return XlineClusterStatus()


def _is_frozen(cluster: XlineCluster) -> bool:
    return cluster.status is not None and cluster.status.bootstrap is not None


def _scaling_problem(plan: Plan) -> Problem | None:
    """Members are added and removed by agreement of those that run, which is not built yet. Changing the number of
    Pods alone would lose the majority, so a changed ``spec.replicas`` changes nothing."""
    wanted = plan.cluster.spec.replicas
    if wanted == plan.size:
        return None
    return Problem(
        SCALING_UNSUPPORTED,
        f"spec.replicas: {wanted} members are wanted, but a cluster that exists keeps its {plan.size}; "
        f"set it back to {plan.size}",
    )


def _lost_volumes(plan: Plan, lost: list[str]) -> Problem:
    """A member that starts with an empty disk under its old identity forgets what it has promised, and a majority of
    them would be bootstrapped a second time."""
    return Problem(
        VOLUMES_LOST,
        f"StatefulSet {plan.names.stateful_set} is gone, and so are the volumes {', '.join(lost)}: it is not made "
        "again on empty disks. Bring these PersistentVolumeClaims back (one made empty by hand says that its data may "
        "be lost), or delete the XlineCluster and all its PersistentVolumeClaims to begin anew",
    )


def _is_left_over(child: Child, owner: Unstructured, ctx: ReconcileContext) -> bool:
    """Whether it belongs to a deleted cluster of the same name, and is about to be garbage-collected."""
    try:
        live = ctx.client.resource(child.gvr, namespace=owner.namespace).get(child.name)
    except NotFound:
        return True  # gone since
    holder = live.controller_owner
    return holder is not None and (holder.kind, holder.name) == (owner.kind, owner.name)


def _tell_child(
    obj: Unstructured,
    plan: Plan,
    child: Child,
    before: Unstructured | None,
    after: Unstructured,
    ctx: ReconcileContext,
) -> None:
    """Created, updated because we want something else now, or put right because somebody changed it."""
    known_spec = _stored_status(obj).observed_generation == obj.generation
    if before is None and not (known_spec and plan.bootstrap.completed):
        reason, message = "Created", f"made {child}"
    elif before is None:
        reason, message = "DriftRepaired", f"{child} was missing and is made again"
    elif _applied_hash(before, ctx) == _applied_hash(after, ctx):
        reason, message = "DriftRepaired", f"{child} was changed by somebody and is put right"
    else:
        reason, message = "Updated", f"changed {child}"
    ctx.log.info(message, reason=reason)
    ctx.recorder.event(obj, "Normal", reason, message)


def _applied_hash(child: Unstructured, ctx: ReconcileContext) -> str | None:
    return child.annotations.get(applied_hash_annotation(ctx.field_manager))


def _next_look(status: XlineClusterStatus, observed: Observed) -> float:
    progressing, available = find(status.conditions, PROGRESSING), find(status.conditions, AVAILABLE)
    if observed.engine.leader is None and any(pod.address for pod in observed.pods.values()):
        return _ELECTING
    if progressing is None or available is None or (progressing.status, available.status) != ("False", "True"):
        return _CHANGING
    return _SETTLED


def _digest(spec: JSONObject) -> str:
    return hashlib.blake2b(orjson.dumps(spec, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()
