"""One look at one XlineCluster: write what is missing, do the one thing that is next, tell what is there.

Everything is decided from the object, the caches and the members' own answers; nothing is kept between two looks. A
look that ends anywhere, between any two writes, is made good by the next one.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec
import orjson

from controllers.xline import backups, hasrun, restores, volumes
from controllers.xline.applying import LeftOver, apply_children
from controllers.xline.bootstrap import Gone, OutdatedDefinition, first_bootstrap, frozen
from controllers.xline.certificates import apply_certificates
from controllers.xline.children import Plan, children
from controllers.xline.decide import Decision, decide
from controllers.xline.events import between
from controllers.xline.former import FormerData, VolumesLeaving
from controllers.xline.gathering import Gathered, gather
from controllers.xline.members import Observe, observe
from controllers.xline.planning import Outdated
from controllers.xline.status import (
    FORMER_DATA,
    INVALID_SPEC,
    PAUSED,
    PROGRESSING,
    WAITING_FOR_DELETION,
    Problem,
    build_status,
    find,
    stuck_status,
)
from controllers.xline.survey import Settings, refusal, stored_status, survey, unusable
from controllers.xline.world import AVAILABLE, Refused, World
from crds.decoding import InvalidObject, decode
from crds.xlinecluster import XLINECLUSTERS, Bootstrap, XlineCluster, XlineClusterStatus
from membership.xline.errors import EngineError
from membership.xline.settings import SettingError
from runtime.client import NotFound, Unstructured
from runtime.controller import ReconcileContext
from runtime.types import JSONObject, Request, Result

_SETTLED: Final = 15.0  # seconds between two looks at a cluster that is well: leaders change without a Pod changing
_CHANGING: Final = 5.0  # ... that is changing, or not well: its Pods report by themselves
_ELECTING: Final = 1.0  # ... whose Pods run while nobody leads: an election takes about that long
_UNMARKED: Final = 1.0  # ... whose volumes are not marked as of one that has run: clients may wait for it
_WRITTEN: Final = 0.05  # ... that has just been written down what it goes on with
_OUTDATED: Final = 1.0  # ... that was written to while it was looked at; the cache wakes us before that
_LEFT_OVER: Final = 1.0  # ... while objects of a deleted cluster of the same name are still there
_PATIENCE = 10.0  # seconds that such objects may take before the new cluster's status speaks of them


class XlineReconciler:
    """Reconciles XlineClusters. Stateless, so any number of workers may share it.

    :param ask: how members are asked; a test may answer for them.
    """

    def __init__(self, settings: Settings, ask: Observe = observe) -> None:
        self._settings = settings
        self._ask = ask

    def __call__(self, request: Request, ctx: ReconcileContext) -> Result | None:
        try:
            obj = ctx.lister(XLINECLUSTERS).namespace(request.namespace).get(request.name)
        except NotFound:
            return None
        if obj.deletion_timestamp is not None:
            _tell_deleting(obj, ctx)
            return None  # what we made goes by its owner references; making it anew would fight that
        try:
            cluster = decode(XlineCluster, obj.to_dict())
        except InvalidObject as error:
            where = f"{error.field}: {error.problem}" if error.field else error.problem
            _tell_stuck(obj, Problem(INVALID_SPEC, where), ctx)
            return None
        if not _is_frozen(cluster) and not self._may_start(obj, cluster, ctx):
            return None
        try:
            obj, bootstrap = frozen(obj, cluster, ctx)
            return self._look(obj, cluster, bootstrap, ctx)
        except Gone:
            return None  # deleted meanwhile
        except Outdated as error:
            ctx.log.info("look again", reason=str(error))
            return Result(requeue_after=_OUTDATED)
        except (VolumesLeaving, LeftOver) as error:
            ctx.log.info("waiting for the garbage collector", reason=str(error))
            _tell_waiting(obj, str(error), ctx)
            return Result(requeue_after=_LEFT_OVER)
        except FormerData as error:
            _tell_stuck(obj, Problem(FORMER_DATA, str(error)), ctx)
        except OutdatedDefinition as error:
            ctx.log.error("cannot work with the installed CRD", reason=str(error))
            ctx.recorder.event(obj, "Warning", "OutdatedDefinition", str(error))
        return Result(requeue_after=_SETTLED)

    def _may_start(self, obj: Unstructured, cluster: XlineCluster, ctx: ReconcileContext) -> bool:
        """Whether members may be frozen: not those of a cluster that cannot start, or must not yet."""
        if cluster.spec.paused:
            problem = Problem(PAUSED, "spec.paused: the cluster is not started until it is taken back")
            _tell_stuck(obj, problem, ctx)
            return False
        try:
            children(self._settings.plan(cluster, first_bootstrap(cluster)))
        except SettingError as error:
            _tell_stuck(obj, Problem(INVALID_SPEC, str(error)), ctx)
            return False
        return True

    def _look(
        self, obj: Unstructured, cluster: XlineCluster, bootstrap: Bootstrap, ctx: ReconcileContext
    ) -> Result | None:
        old = stored_status(obj)
        gathered = gather(obj, cluster, old, bootstrap, ctx)
        seen = gathered.seen
        plan = self._settings.plan(cluster, bootstrap, tuple(seen.plan.ordinals))
        if not cluster.spec.paused and restores.pending(cluster, bootstrap, seen.workload):
            return _restore(obj, cluster, plan, ctx)
        world, problem = survey(seen, plan, self._ask, ctx)
        noted, unmarked = hasrun.mark(world, ctx)
        if not cluster.spec.paused:
            # Without its Secrets nobody can ask the members; what they are made from can be written all the same.
            world, unmade = self._bring_about(gathered, world, plan, ctx)
            problem = unmade or problem
            volumes.set_retention(obj, cluster, ctx)
        decision = Decision()
        if problem is None:
            decision, problem = _act(world, ctx)
        problem = problem or refusal(gathered, world) or unmarked
        unsaved = backups.apply_backups(world, plan, ctx) if problem is None or not problem.stops else None
        status = build_status(world, old, _digest(obj.get("spec") or {}), problem, decision, noted=noted)
        status = backups.told(world, status, unsaved, ctx)
        _store(obj, old, status, ctx, problem.reason if problem is not None else "")
        return Result(requeue_after=_next_look(status, world, decision) if noted else _UNMARKED)

    @staticmethod
    def _bring_about(
        gathered: Gathered, world: World, plan: Plan, ctx: ReconcileContext
    ) -> tuple[World, Problem | None]:
        stops = unusable(gathered, world) or apply_certificates(world.obj, plan, ctx)
        return (world, stops) if stops is not None else apply_children(world, plan, ctx)


def _act(world: World, ctx: ReconcileContext) -> tuple[Decision, Problem | None]:
    """Do the next thing that is not refused. What a member does not do, or does not say, is tried again: the next look
    sees what became of it.

    :returns: what was done, or is waited for; and the first thing refused.
    :raises ClientError: the API server did not do it, or did not say so. Reconcile again.
    """
    refusals: list[Problem] = []

    def refused(decision: Decision) -> bool:
        action = decision.action
        assert action is not None
        assert action.do is not None
        try:
            action.do(ctx)
        except Refused as refusal:
            refusals.append(Problem(refusal.reason, refusal.message, stops=False))
            return True
        except EngineError as error:
            ctx.log.warning("a member did not do it", reason=action.reason, error=str(error))
            ctx.recorder.event(world.obj, "Warning", f"{action.reason}Failed", f"{action.message}: {error}")
        return False

    decision = decide(world, refused)
    return decision, next(iter(refusals), None)


def _restore(obj: Unstructured, cluster: XlineCluster, plan: Plan, ctx: ReconcileContext) -> Result:
    """Nothing else is done for a cluster whose data is not in place yet."""
    underway = restores.restore(obj, cluster, plan, ctx)
    if underway is None:
        return Result(requeue_after=_WRITTEN)
    if underway.problem is not None:
        _tell_stuck(obj, underway.problem, ctx)
    else:
        old = stored_status(obj)
        _store(obj, old, restores.restoring_status(old, obj.generation, underway.message, ctx.clock.now()), ctx)
    return Result(requeue_after=_CHANGING)


def _tell_deleting(obj: Unstructured, ctx: ReconcileContext) -> None:
    """Of a cluster that something holds, a finalizer or the deletion of its objects before it."""
    old = stored_status(obj)
    if old.phase is not None:
        _store(obj, old, msgspec.structs.replace(old, phase="Deleting"), ctx)


def _tell_waiting(obj: Unstructured, what: str, ctx: ReconcileContext) -> None:
    """Say what a new cluster waits for, unless the garbage collector is just about to do it."""
    created = obj.creation_timestamp
    if created is not None and (ctx.clock.now() - created).total_seconds() >= _PATIENCE:
        message = f"{what}: see with kubectl describe what holds it (a finalizer, or a Pod that uses it)"
        _tell_stuck(obj, Problem(WAITING_FOR_DELETION, message), ctx)


def _tell_stuck(obj: Unstructured, problem: Problem, ctx: ReconcileContext) -> None:
    """There is nothing to look at, only a problem to tell."""
    old = stored_status(obj)
    _store(obj, old, stuck_status(old, obj.generation, problem, ctx.clock.now()), ctx)


def _store(
    obj: Unstructured, old: XlineClusterStatus, new: XlineClusterStatus, ctx: ReconcileContext, reason: str = ""
) -> None:
    """Write the status if it differs, then say what has changed. The plan is not written here, and a bootstrap that
    this operator cannot read (a later one's) is not taken out."""
    stored = obj.get("status") or {}
    status: JSONObject = {"bootstrap": stored.get("bootstrap"), **msgspec.to_builtins(new), "plan": stored.get("plan")}
    try:
        if ctx.patch_status(XLINECLUSTERS, obj, status) is obj:
            return
    except NotFound:
        return  # deleted meanwhile
    for event in between(old, new, reason):
        ctx.log.info(event.message, reason=event.reason)
        ctx.recorder.event(obj, event.type, event.reason, event.message)


def _is_frozen(cluster: XlineCluster) -> bool:
    return cluster.status is not None and cluster.status.bootstrap is not None


def _next_look(status: XlineClusterStatus, world: World, decision: Decision) -> float:
    if decision.action is not None:
        return decision.action.again
    progressing, available = find(status.conditions, PROGRESSING), find(status.conditions, AVAILABLE)
    if world.engine.leader is None and world.endpoints:
        return _ELECTING
    if progressing is None or available is None or (progressing.status, available.status) != ("False", "True"):
        return _CHANGING
    return _SETTLED


def _digest(spec: JSONObject) -> str:
    return hashlib.blake2b(orjson.dumps(spec, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()
