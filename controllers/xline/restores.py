"""``spec.restoreFrom``: a cluster that starts with the data of a backup.

It is bootstrapped with a single member, the lowest, and a Job puts the backup on that one's volume before there is a
workload. When the member runs, the others join as they do whenever a cluster grows: so all have the same data, and
nothing ever starts with half of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from controllers.xline import names as known
from controllers.xline.backuppods import restore_job
from controllers.xline.backups import owner_reference
from controllers.xline.bootstrap import alive
from controllers.xline.names import Names, is_left_over
from controllers.xline.outcomes import ended, outcome_of, stuck
from controllers.xline.pod import claim_template
from controllers.xline.status import INVALID_SPEC, NAME_TAKEN, PROGRESSING, REJECTED, Problem, Verdict
from controllers.xline.status import conditions as with_verdicts
from controllers.xline.workloads import Workload
from controllers.xline.world import AVAILABLE
from crds.xlinebackup import RestoreSource, RestoreStatus
from crds.xlinecluster import XLINECLUSTERS, Bootstrap, XlineCluster, XlineClusterStatus
from membership.xline.settings import SettingError
from runtime.client import AlreadyExists, NotFound, Unstructured
from runtime.client.errors import REFUSED
from runtime.controller import ReconcileContext

if TYPE_CHECKING:
    from controllers.xline.children import Plan

RESTORING: Final = "Restoring"
RESTORE_FAILED: Final = "RestoreFailed"


@dataclass(frozen=True, slots=True)
class Underway:
    """A restore that is not done.

    :ivar problem: what only a person can solve; None while it goes on.
    """

    message: str
    problem: Problem | None = None


def pending(cluster: XlineCluster, bootstrap: Bootstrap, workload: Workload) -> bool:
    """Whether data has to be put in place before anything may start. Never once a workload exists: its members run."""
    restored = cluster.status.restore if cluster.status is not None else None
    return (
        cluster.spec.restore_from is not None
        and not (restored is not None and restored.completed)
        and not bootstrap.completed
        and not workload.exists
    )


def restore(obj: Unstructured, cluster: XlineCluster, plan: Plan, ctx: ReconcileContext) -> Underway | None:
    """One step towards the data. None: it is in place, which is written down.

    :raises Gone: the cluster was deleted meanwhile.
    :raises ClientError: a request failed in a way that may pass. Reconcile again.
    """
    source = cluster.spec.restore_from
    assert source is not None
    names = plan.names
    try:
        job = _job(obj, plan, source, ctx)
    except SettingError as error:
        return _refused(INVALID_SPEC, str(error))
    except REFUSED as error:
        return _refused(REJECTED, f"spec.restoreFrom: {error}")
    except _Taken as error:
        return _refused(NAME_TAKEN, f"spec.restoreFrom: {error}")
    except _Busy as error:
        return Underway(str(error))
    if not ended(job):
        seen = ctx.lister(known.PODS).namespace(names.namespace).list(names.backup_selector)
        waiting = stuck(job, seen, ctx.clock.now())
        return Underway(foretold(plan) + (f", but does not begin: {waiting[1]} ({waiting[0]})" if waiting else ""))
    pods = ctx.client.resource(known.PODS, namespace=names.namespace).list(label_selector=names.backup_selector)
    outcome = outcome_of(job, pods)
    if outcome is not None and outcome.reason:
        return _refused(
            RESTORE_FAILED,
            f"spec.restoreFrom: {outcome.message} ({outcome.reason}); nothing was started. To try again, put it right "
            f"and delete Job {names.restore}",
        )
    backup = outcome.backup if outcome is not None else None
    done = RestoreStatus(
        completed=True,
        name=backup.name if backup is not None else source.name,
        revision=backup.revision if backup is not None else 0,
        message=outcome.message if outcome is not None else "",
    )
    patch = {
        "metadata": {"uid": obj.uid, "resourceVersion": obj.resource_version},
        "status": {"restore": msgspec.to_builtins(done)},
    }
    clusters = ctx.client.resource(XLINECLUSTERS, namespace=obj.namespace)
    clusters.patch(obj.name, patch, type="merge", subresource="status")
    ctx.recorder.event(obj, "Normal", "Restored", f"the cluster starts with the data of backup {done.name}")
    return None


def foretold(plan: Plan) -> str:
    """What a restore does, in words."""
    source = plan.cluster.spec.restore_from
    name = source.name if source is not None else ""
    return f"Job {plan.names.restore} puts backup {name} on the volume of {plan.bootstrap.members[0]}"


def restoring_status(old: XlineClusterStatus, generation: int, message: str, now: datetime) -> XlineClusterStatus:
    """While the data is being put in place."""
    verdicts = [
        Verdict(AVAILABLE, "False", RESTORING, "the cluster starts when the data of the backup is in place"),
        Verdict(PROGRESSING, "True", RESTORING, message),
    ]
    return msgspec.structs.replace(
        old,
        phase="Bootstrapping",
        observed_generation=generation,
        conditions=with_verdicts(old.conditions, verdicts, generation, now),
        message=message,
        last_message=None,
    )


class _Taken(Exception):
    """Something else is called as what we need."""


class _Busy(Exception):
    """Somebody works on the volume who has to end first."""


def _job(obj: Unstructured, plan: Plan, source: RestoreSource, ctx: ReconcileContext) -> Unstructured:
    """The Job, made now if it is not there."""
    names = plan.names
    try:
        found = ctx.lister(known.JOBS).namespace(names.namespace).get(names.restore)
    except NotFound:
        found = None
    if found is None:
        alive(obj, ctx)
        _await_former(names, ctx)
        _keep_claim(obj, plan, ctx)
        body = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": names.restore,
                "namespace": names.namespace,
                "labels": names.backup_labels,
                "ownerReferences": [owner_reference(obj)],
            },
            "spec": restore_job(plan, source),
        }
        jobs = ctx.client.resource(known.JOBS, namespace=names.namespace)
        try:
            found = jobs.create(body)
            ctx.recorder.event(obj, "Normal", RESTORING, f"Job {names.restore} brings backup {source.name} here")
        except AlreadyExists:
            found = jobs.get(names.restore)
    owner = found.controller_owner
    if owner is None or owner.uid != obj.uid:
        raise _Taken(f"Job {names.namespace}/{names.restore} exists and is not of this cluster: delete it")
    return found


def _await_former(names: Names, ctx: ReconcileContext) -> None:
    """A Job that is deleted goes before its Pods do, and two restores in one folder would mix what they make.

    :raises _Busy: a Pod of a former Job of this name has not ended.
    """
    for pod in ctx.client.resource(known.PODS, namespace=names.namespace).list(label_selector=names.backup_selector):
        owner = pod.controller_owner
        former = owner is not None and (owner.kind, owner.name) == ("Job", names.restore)
        if former and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
            raise _Busy(f"waiting for Pod {pod.name} of an earlier Job {names.restore} to end")


def _keep_claim(obj: Unstructured, plan: Plan, ctx: ReconcileContext) -> None:
    """The first member's volume, as the workload would make it, for it to be found there by the workload."""
    names = plan.names
    template = claim_template(plan)
    name = names.claim(plan.bootstrap.members[0])
    metadata = {**template["metadata"], "name": name, "namespace": names.namespace}
    body = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"]}
    claims = ctx.client.resource(known.CLAIMS, namespace=names.namespace)
    try:
        claims.create(body)
    except AlreadyExists:
        live = claims.get(name)
        ours = live.annotations.get(known.TOKEN) == plan.bootstrap.token
        if not ours or live.deletion_timestamp is not None or is_left_over(live, obj):
            raise _Taken(
                f"PersistentVolumeClaim {names.namespace}/{name} exists and may hold data of something else: delete it"
            ) from None


def _refused(reason: str, message: str) -> Underway:
    return Underway(message, Problem(reason, message))
