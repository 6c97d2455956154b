"""``status.plan``: what it says where nobody has written it yet, and how it is written.

The plan is written before anything is done about it, and only by a write that fails if the object is not what the look
has seen: of two operators one has its way, and an operator that dies leaves behind what the next one finishes.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from controllers.xline.bootstrap import alive
from controllers.xline.names import Names
from controllers.xline.workloads import Workload
from controllers.xline.world import Do
from crds.xlinecluster import XLINECLUSTERS, Bootstrap, XlineClusterSpec, XlineClusterStatus
from crds.xlineplan import Change, ChangeKind, MembershipPlan
from runtime.client import Unstructured
from runtime.controller import ReconcileContext, merge_patch


class Outdated(Exception):
    """The XlineCluster is not what the look has seen any more: look again."""


def confirm(obj: Unstructured, ctx: ReconcileContext) -> None:
    """Make sure that what is wanted of the cluster, and its plan, still are what was seen. For what cannot be written
    by a CAS on the XlineCluster: an operator whose cache is behind another's must not take Pods or volumes by the
    number of members that there were once.

    :raises Outdated: they have changed.
    :raises Gone: the cluster is deleted, or being deleted.
    """
    live = alive(obj, ctx)
    if (live.get("spec"), _plan_of(live)) != (obj.get("spec"), _plan_of(obj)):
        raise Outdated(f"XlineCluster {obj.key} has changed since it was looked at")


def _plan_of(obj: Unstructured) -> object:
    return (obj.get("status") or {}).get("plan")


def current_plan(
    status: XlineClusterStatus | None, bootstrap: Bootstrap, workload: Workload, names: Names
) -> MembershipPlan:
    """The plan as it is persisted; else the one to publish first, with revision 0.

    A cluster that was just bootstrapped has the members it was bootstrapped with. One whose status was lost (restored
    from a backup without it) has those that its workload runs.
    """
    if status is not None and status.plan is not None and status.plan.ordinals:
        return status.plan
    initial = (names.ordinal(member) for member in bootstrap.members)
    ordinals = workload.ordinals or sorted(ordinal for ordinal in initial if ordinal is not None)
    return MembershipPlan(ordinals=list(ordinals))


def changed(plan: MembershipPlan, kind: ChangeKind, ordinal: int, names: Names, reason: str) -> MembershipPlan:
    """The plan with one member more or less."""
    members = {*plan.ordinals, ordinal} if kind == "Add" else set(plan.ordinals) - {ordinal}
    change = Change(kind=kind, member=names.member(ordinal), reason=reason)
    return msgspec.structs.replace(plan, ordinals=sorted(members), revision=plan.revision + 1, change=change)


def published(plan: MembershipPlan, spec: XlineClusterSpec) -> MembershipPlan:
    """The first plan. A recovery that was asked for before it is refused: a manifest that still has one, with which a
    cluster is created again on its volumes, must not carry it out, once more, before its members are up."""
    asked = spec.recovery
    return msgspec.structs.replace(plan, revision=1, refused_recovery=asked.id if asked is not None else "")


def write_plan(obj: Unstructured, plan: MembershipPlan, ctx: ReconcileContext) -> Unstructured:
    """Write ``plan`` into the status of ``obj``, if that is still as it was seen; returns it as it is stored now.

    :raises Conflict: somebody has written to it meanwhile. Reconcile again.
    :raises NotFound: it is gone.
    """
    old = _plan_of(obj)
    # A list in a merge patch replaces the other; a struct is merged, so what the new one lacks has to be taken out.
    body = merge_patch({"plan": old} if old else {}, {"plan": msgspec.to_builtins(plan)})
    patch = {"metadata": {"uid": obj.uid, "resourceVersion": obj.resource_version}, "status": body}
    return ctx.client.resource(XLINECLUSTERS, namespace=obj.namespace).patch(
        obj.name, patch, type="merge", subresource="status"
    )


def persist(obj: Unstructured, plan: MembershipPlan, event: tuple[str, str] | None = None) -> Do:
    """:func:`write_plan` as an action.

    :param event: reason and message of the event that tells of it, once it is written.
    """

    def do(ctx: ReconcileContext) -> None:
        write_plan(obj, plan, ctx)
        if event is not None:
            reason, message = event
            ctx.log.info(message, reason=reason, revision=plan.revision, ordinals=plan.ordinals)
            ctx.recorder.event(obj, "Normal", reason, message)

    return do


def lowest_free(ordinals: Iterable[int]) -> int:
    """The lowest ordinal that is not among these."""
    taken = set(ordinals)
    return next(ordinal for ordinal in range(len(taken) + 1) if ordinal not in taken)
