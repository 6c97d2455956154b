"""Writes an XlineCluster's children: each brought to what it should be, or the problem that only a person can solve."""

from __future__ import annotations

from dataclasses import replace

from controllers.xline import names as known
from controllers.xline import recovery, scaling, volumes
from controllers.xline.bootstrap import alive
from controllers.xline.children import SERVICE_STAGE, STATEFULSET_STAGE, Child, Plan, children
from controllers.xline.inplace import with_digest
from controllers.xline.planning import confirm
from controllers.xline.replacement import unrecoverable
from controllers.xline.status import INVALID_SPEC, NAME_TAKEN, REJECTED, VOLUMES_LOST, Problem
from controllers.xline.workloads import Workload
from controllers.xline.world import World
from membership.xline.settings import SettingError
from runtime.client import NotFound, Unstructured
from runtime.client.errors import REFUSED
from runtime.controller import AlreadyOwnedError, NotOurs, ReconcileContext
from runtime.controller.applier import applied_hash_annotation
from runtime.types import JSONMapping, JSONObject


class LeftOver(Exception):
    """An object of a deleted cluster of this name has not been garbage-collected yet."""


def apply_children(world: World, plan: Plan, ctx: ReconcileContext) -> tuple[World, Problem | None]:
    """Apply all children.

    :returns: the world with the workload as it is now; and the first problem that only a person can solve.
    :raises Gone: the cluster was deleted meanwhile.
    :raises LeftOver: wait for the garbage collector.
    :raises Outdated: the plan has changed meanwhile.
    :raises ClientError: a write failed in a way that may pass. Reconcile again.
    """
    try:
        wanted = wanted_children(world, plan)
    except SettingError as error:
        return world, Problem(INVALID_SPEC, str(error))
    applying = _Applying(world, plan, ctx)
    if any(applying.cached(child) is None for child in wanted):
        # They may be missing because the garbage collector has begun, which we heard of before the deletion itself.
        alive(world.obj, ctx)
    first: Problem | None = None
    for child in wanted:
        if first is not None and first.stage == SERVICE_STAGE and child.stage == STATEFULSET_STAGE:
            continue  # without their Service members do not find each other
        problem = applying.apply(child)
        first = first or problem
    return replace(world, workload=applying.workload), first


def wanted_children(world: World, plan: Plan) -> list[Child]:
    """All of them, as they should be now.

    :raises SettingError: if the engine cannot honour a setting.
    """
    made = children(plan)
    return [workload_child(child, world) if child.gvr == known.STATEFULSETS else child for child in made]


def workload_child(made: Child, world: World) -> Child:
    """The StatefulSet as a workload of the cluster's kind, with the ordinals it shall run now.

    The claims' size stays what it is in a workload that exists: it cannot be applied, and grows in its own way.
    """
    backend = world.backend
    common = dict(made.manifest["spec"])
    size = _claim_size(world.workload)
    if size is not None:
        common["volumeClaimTemplates"] = [_with_size(claim, size) for claim in common["volumeClaimTemplates"]]
    common["template"] = with_digest(common["template"])
    manifest = {
        **made.manifest,
        "apiVersion": backend.gvr.api_version,
        "spec": backend.spec(common, scaling.shape(world)),
    }
    return Child(backend.gvr, made.stage, manifest)


def _claim_size(workload: Workload) -> str | None:
    spec: JSONMapping = (workload.obj.get("spec") if workload.obj is not None else None) or {}
    for claim in spec.get("volumeClaimTemplates") or ():
        if claim["metadata"].get("name") == known.VOLUME:
            size: str = claim["spec"]["resources"]["requests"]["storage"]
            return size
    return None


def _with_size(claim: JSONObject, size: str) -> JSONObject:
    return {**claim, "spec": {**claim["spec"], "resources": {"requests": {"storage": size}}}}


class _Applying:
    """The children of one look.

    :ivar workload: as it is after what was applied so far.
    """

    def __init__(self, world: World, plan: Plan, ctx: ReconcileContext) -> None:
        self.world = world
        self.plan = plan
        self.ctx = ctx
        self.workload = world.workload

    def cached(self, child: Child) -> Unstructured | None:
        if child.gvr == self.world.backend.gvr:
            return self.world.workload.obj
        try:
            return self.ctx.lister(child.gvr).namespace(self.world.names.namespace).get(child.name)
        except NotFound:
            return None

    def apply(self, child: Child) -> Problem | None:
        before, is_workload = self.cached(child), child.gvr == self.world.backend.gvr
        if is_workload:
            lost = self._lost_majority(surely=before is None)
            if lost:
                # Not even updated: were it deleted this moment, that would make it again. It is made for the survivor
                # of a recovery, once the plan has that member alone.
                begins = recovery.next_action(self.world) is not None
                return None if before is not None or begins else _lost_volumes(self.world, lost)
            if self.world.workload.ordinals != self.world.backend.ordinals_of(child.manifest["spec"]):
                confirm(self.world.obj, self.ctx)
            before = self._without_others_fields(before)
        try:
            # The workload only as this look has seen it: who else has changed it may have had another number in mind.
            seen = before.resource_version if is_workload and before is not None else None
            applied = self.ctx.apply(child.gvr, child.manifest, owner=self.world.obj, resource_version=seen)
        except AlreadyOwnedError as error:
            return Problem(NAME_TAKEN, str(error), child.stage)
        except NotOurs as error:
            if _is_left_over(child, self.world.obj, self.ctx):
                raise LeftOver(f"{child} of a deleted cluster of this name is still there") from None
            return Problem(NAME_TAKEN, str(error), child.stage)
        except REFUSED as error:
            return Problem(REJECTED, f"{child} was refused: {error}", child.stage)
        if is_workload:
            self.workload = replace(self.workload, obj=applied.object)
        if applied.changed:
            self._tell(child, before, applied.object)
        return None

    def _lost_majority(self, *, surely: bool) -> list[str]:
        """Claims that do not exist any more, if so many that no majority of the members has its data. The agents bring
        back a minority."""
        if not self.world.bootstrap.completed:
            return []
        change = self.world.plan.change
        joining = change.member if change is not None and change.kind == "Add" else ""
        members = [member.name for member in self.world.wanted if member.name != joining or member.voter]
        lost = volumes.lost(self.world.names, members, self.ctx, surely=surely)
        claims = [self.world.names.claim(member) for member in members]
        return lost if unrecoverable(lost, claims) else []

    def _without_others_fields(self, live: Unstructured | None) -> Unstructured | None:
        """Take out of the workload what would move Pods and is not ours, so that an apply leaves it: settings for
        rolling, which the server filled in for an earlier operator and which an apply would be refused for; and a first
        ordinal, which somebody has set by hand."""
        owner = live.controller_owner if live is not None else None
        if live is None or owner is None or owner.uid != self.world.obj.uid:
            return live
        spec: JSONMapping = live.get("spec") or {}
        undone: JSONObject = {}
        if (spec.get("updateStrategy") or {}).get("rollingUpdate"):
            undone["updateStrategy"] = {"type": "OnDelete", "rollingUpdate": None}
        if (spec.get("ordinals") or {}).get("start"):
            undone["ordinals"] = None
        if not undone:
            return live
        patch = {"metadata": {"uid": live.uid, "resourceVersion": live.resource_version}, "spec": undone}
        resource = self.ctx.client.resource(self.world.backend.gvr, namespace=live.namespace)
        return resource.patch(live.name, patch, type="merge")

    def _tell(self, child: Child, before: Unstructured | None, after: Unstructured) -> None:
        """Created, updated because we want something else now, or put right because somebody changed it."""
        status, obj, ctx = self.world.cluster.status, self.world.obj, self.ctx
        known_spec = status is not None and status.observed_generation == obj.generation
        if before is None and not (known_spec and self.plan.bootstrap.completed):
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


def _lost_volumes(world: World, lost: list[str]) -> Problem:
    """A member that starts with an empty disk under its old identity forgets what it has promised, and a majority of
    such members forgets what it has acknowledged."""
    refused = recovery.refusal(world)
    return Problem(
        VOLUMES_LOST,
        f"{', '.join(lost)} of this cluster {'is' if len(lost) == 1 else 'are'} gone with the data, and with it a "
        "majority of the members: recover from one that is left (spec.recovery), bring the volumes back, or create "
        f"another XlineCluster; {world.names.stateful_set} is not made again without them"
        + (f". {refused[1]}" if refused else ""),
    )


def _is_left_over(child: Child, owner: Unstructured, ctx: ReconcileContext) -> bool:
    """Whether it belongs to a deleted cluster of the same name, and is about to be garbage-collected."""
    try:
        live = ctx.client.resource(child.gvr, namespace=owner.namespace).get(child.name)
    except NotFound:
        return True  # gone since
    holder = live.controller_owner
    return holder is not None and (holder.kind, holder.name) == (owner.kind, owner.name)
