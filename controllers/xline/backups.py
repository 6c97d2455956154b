"""``spec.backup``: a CronJob for its schedule, a Job for each trigger, and what became of them.

A Job is called after its trigger, so no trigger is served twice, whoever looks and however often.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError

from controllers.xline import names as known
from controllers.xline.backuppods import backup_job
from controllers.xline.names import Names
from controllers.xline.outcomes import all_ended, ended, ended_at, outcome_of, stuck
from controllers.xline.status import BACKED_UP, INVALID_SPEC, NAME_TAKEN, REJECTED, Problem, Verdict, conditions
from controllers.xline.world import World
from crds.xlinebackup import BackupFailure, BackupRecord, BackupSettings, BackupStatus
from crds.xlinecluster import XlineClusterStatus
from membership.xline.settings import SettingError
from runtime.client import AlreadyExists, Conflict, NotFound, Unstructured
from runtime.client.errors import REFUSED
from runtime.controller import AlreadyOwnedError, NotOurs, ReconcileContext
from runtime.quantity import parse_quantity
from runtime.types import GVR, JSONObject

if TYPE_CHECKING:
    from controllers.xline.children import Plan

_STARTING_DEADLINE: Final = 3600  # seconds after its time that a scheduled backup is still begun
_TRIGGER: Final = "xline.io.datenlord.com/backup-trigger"  # annotation of Jobs
_HISTORY: Final = 3


def apply_backups(world: World, plan: Plan, ctx: ReconcileContext) -> Problem | None:
    """Bring about what ``spec.backup`` asks for; no write if it is there.

    :returns: what only a person can solve. The cluster itself is seen to all the same.
    :raises ClientError: a write failed in a way that may pass. Reconcile again.
    """
    settings = world.cluster.spec.backup
    try:
        if settings is not None:
            check(settings)
            _keep_claim(settings, world.names, ctx)
        _keep_schedule(world, plan, settings, ctx)
        if settings is not None and world.bootstrap.completed:
            _serve_trigger(world, plan, settings, ctx)
    except SettingError as error:
        return Problem(INVALID_SPEC, str(error), stops=False)
    except (AlreadyOwnedError, NotOurs) as error:
        return Problem(NAME_TAKEN, f"spec.backup: {error}", stops=False)
    except REFUSED as error:
        return Problem(REJECTED, f"spec.backup: {error}", stops=False)
    return None


def check(settings: BackupSettings) -> None:
    """
    :raises SettingError: the schedule cannot be kept.
    """
    _zone(settings)
    if settings.schedule is not None:
        _next_time(settings.schedule, datetime.now(UTC))


def _own_jobs(world: World, ctx: ReconcileContext) -> tuple[list[Unstructured], list[Unstructured]]:
    """The Jobs of backups, and the Pods of all Jobs of the cluster."""
    selector, namespace = world.names.backup_selector, world.names.namespace
    jobs = [job for job in ctx.lister(known.JOBS).namespace(namespace).list(selector) if _is_ours(job, world, ctx)]
    pods = ctx.lister(known.PODS).namespace(namespace).list(selector)
    if all(all_ended(job, pods) for job in jobs if ended(job)):
        return jobs, pods
    # The cache of Pods is behind that of Jobs; what they said last is in no other place.
    return jobs, list(ctx.client.resource(known.PODS, namespace=namespace).list(label_selector=selector))


def status_of(
    world: World, old: BackupStatus | None, jobs: Iterable[Unstructured], pods: list[Unstructured]
) -> BackupStatus | None:
    """``status.backup``: what was known, and what Jobs have come to since. None without ``spec.backup`` and backups."""
    settings = world.cluster.spec.backup
    if settings is None and old is None:
        return None
    was = old or BackupStatus()
    success, failure, trigger = was.last_success, was.last_failure, was.trigger
    for job in jobs:
        outcome = outcome_of(job, pods) if ended(job) else None
        if outcome is None:
            continue
        served = job.annotations.get(_TRIGGER)
        if settings is not None and served is not None and served == settings.trigger:
            trigger = served
        taken = _by_our_clock(outcome.backup, job)
        if taken is not None and (success is None or _is_later(taken.time, success.time)):
            success = taken
        if outcome.reason and (failure is None or _is_later(ended_at(job), failure.time)):
            failure = BackupFailure(
                time=ended_at(job), reason=outcome.reason, message=outcome.message[:1024], job=job.name
            )
    return BackupStatus(
        last_success=success, last_failure=failure, next_time=_announced(world, settings), trigger=trigger
    )


def verdict(
    settings: BackupSettings | None, status: BackupStatus | None, problem: Problem | None = None
) -> Verdict | None:
    """The condition that tells whether backups work; None: nothing is known, or wanted."""
    if settings is None or status is None:
        return None
    if problem is not None:
        return Verdict(BACKED_UP, "False", problem.reason, problem.message)
    success, failure = status.last_success, status.last_failure
    if failure is not None and (success is None or _is_later(failure.time, success.time)):
        return Verdict(BACKED_UP, "False", failure.reason, f"{failure.job}: {failure.message}")
    if success is None:
        return None
    return Verdict(BACKED_UP, "True", "BackupSucceeded", f"{success.name} holds everything up to {success.revision}")


def told(
    world: World, status: XlineClusterStatus, problem: Problem | None, ctx: ReconcileContext
) -> XlineClusterStatus:
    """``status`` with what is known of backups.

    :param problem: what keeps :func:`apply_backups` from its work.
    """
    jobs, pods = _own_jobs(world, ctx)
    backup = status_of(world, status.backup, jobs, pods)
    waiting = next((why for job in jobs if not ended(job) and (why := stuck(job, pods, world.now)) is not None), None)
    if problem is None and waiting is not None:
        problem = Problem(*waiting)
    found = verdict(world.cluster.spec.backup, backup, problem)
    listed = [each for each in status.conditions if found is not None or each.type != BACKED_UP]
    if found is not None:
        listed = conditions(listed, [found], world.obj.generation, world.now)
    return msgspec.structs.replace(status, backup=backup, conditions=listed)


# -- what is kept


def _keep_claim(settings: BackupSettings, names: Names, ctx: ReconcileContext) -> None:
    """The volume of backups: made once, owned by nobody, so that nothing but a person ever deletes it."""
    volume = settings.destination.volume
    if volume is None or volume.size is None:
        return
    claims = ctx.lister(known.CLAIMS).namespace(names.namespace)
    api = ctx.client.resource(known.CLAIMS, namespace=names.namespace)
    try:
        claim = claims.get(names.backup_claim)
    except NotFound:
        spec: JSONObject = {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": volume.size}},
        }
        if volume.storage_class_name is not None:
            spec["storageClassName"] = volume.storage_class_name
        metadata = {"name": names.backup_claim, "labels": names.backup_labels}
        body = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
        with suppress(AlreadyExists):
            api.create(body)
        return
    present = str(claim["spec"]["resources"]["requests"]["storage"])
    if parse_quantity(volume.size) > parse_quantity(present):
        patch = {"metadata": {"uid": claim.uid}, "spec": {"resources": {"requests": {"storage": volume.size}}}}
        api.patch(claim.name, patch, type="merge")


def _keep_schedule(world: World, plan: Plan, settings: BackupSettings | None, ctx: ReconcileContext) -> None:
    """The CronJob, from the time on when there is something to back up."""
    names = world.names
    manifest = cron_job(world, plan)
    if manifest is not None:
        ctx.apply(known.CRONJOBS, manifest, owner=world.obj)
    elif settings is None or settings.schedule is None:
        with suppress(NotFound):
            live = ctx.lister(known.CRONJOBS).namespace(names.namespace).get(names.backup)
            owner = live.controller_owner
            if owner is not None and owner.uid == world.obj.uid and live.deletion_timestamp is None:
                _delete(known.CRONJOBS, live, ctx)


def cron_job(world: World, plan: Plan) -> JSONObject | None:
    """What keeps the schedule; None without one, and before there is something to back up."""
    names, settings = world.names, world.cluster.spec.backup
    if settings is None or settings.schedule is None or not world.bootstrap.completed:
        return None
    spec: JSONObject = {
        "schedule": settings.schedule,
        "concurrencyPolicy": "Forbid",
        "suspend": world.cluster.spec.paused,
        "startingDeadlineSeconds": _STARTING_DEADLINE,
        "successfulJobsHistoryLimit": _HISTORY,
        "failedJobsHistoryLimit": _HISTORY,
        "jobTemplate": {"metadata": {"labels": names.backup_labels}, "spec": backup_job(plan, settings)},
    }
    if settings.time_zone is not None:
        spec["timeZone"] = settings.time_zone
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": names.backup, "namespace": names.namespace, "labels": names.backup_labels},
        "spec": spec,
    }


def _serve_trigger(world: World, plan: Plan, settings: BackupSettings, ctx: ReconcileContext) -> None:
    """One Job for the trigger that is set, and none any more for earlier ones that are over."""
    names, old = world.names, world.cluster.status.backup if world.cluster.status is not None else None
    wanted = job_name(names, settings.trigger) if settings.trigger is not None else ""
    found, pods = _own_jobs(world, ctx)
    for job in found:
        if _TRIGGER in job.annotations and job.name != wanted and ended(job) and _is_told(job, pods, old, world):
            _delete(known.JOBS, job, ctx)
    if not is_due(world, found):
        return
    metadata = {
        "name": wanted,
        "namespace": names.namespace,
        "labels": names.backup_labels,
        "annotations": {_TRIGGER: settings.trigger},
        "ownerReferences": [owner_reference(world.obj)],
    }
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": backup_job(plan, settings)}
    jobs = ctx.client.resource(known.JOBS, namespace=names.namespace)
    try:
        jobs.create(body)
    except AlreadyExists:
        if not _owned(jobs.get(wanted), world.obj):
            raise NotOurs(f"Job {names.namespace}/{wanted} exists and is not ours: delete it") from None
        return
    message = f"Job {wanted} takes a backup, as spec.backup.trigger {settings.trigger!r} asks for"
    ctx.log.info(message, reason="BackupStarted")
    ctx.recorder.event(world.obj, "Normal", "BackupStarted", message)


def is_due(world: World, jobs: Iterable[Unstructured]) -> bool:
    """Whether the trigger asks for a backup that neither the status nor a Job knows of."""
    settings, status = world.cluster.spec.backup, world.cluster.status
    if settings is None or settings.trigger is None or world.cluster.spec.paused or not world.bootstrap.completed:
        return False
    served = status.backup.trigger if status is not None and status.backup is not None else None
    name = job_name(world.names, settings.trigger)
    return served != settings.trigger and all(job.name != name for job in jobs)


def foretold(world: World, ctx: ReconcileContext) -> str:
    """The backup that would be taken now, in words; empty if there is none to take.

    :raises SettingError: as :func:`check`.
    """
    settings = world.cluster.spec.backup
    if settings is None:
        return ""
    check(settings)
    jobs = ctx.lister(known.JOBS).namespace(world.names.namespace).list(world.names.backup_selector)
    if settings.trigger is None or not is_due(world, jobs):
        return ""
    return f"Job {job_name(world.names, settings.trigger)} takes a backup, as spec.backup.trigger asks for"


def _is_told(job: Unstructured, pods: list[Unstructured], old: BackupStatus | None, world: World) -> bool:
    """Whether the status has what this Job has come to, or something later."""
    new = status_of(world, old, [job], pods)
    return (
        old is not None
        and new is not None
        and (new.last_success, new.last_failure) == (old.last_success, old.last_failure)
    )


def job_name(names: Names, trigger: str) -> str:
    return f"{names.backup}-{hashlib.sha256(trigger.encode()).hexdigest()[:10]}"


def owner_reference(owner: Unstructured) -> JSONObject:
    """What makes ``owner`` the controller of an object."""
    return {
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _owned(job: Unstructured, owner: Unstructured) -> bool:
    holder = job.controller_owner
    return holder is not None and holder.uid == owner.uid


def _is_ours(job: Unstructured, world: World, ctx: ReconcileContext) -> bool:
    """Of a trigger, or of our CronJob. The restore is not a backup."""
    if job.name == world.names.restore:
        return False
    holder = job.controller_owner
    if holder is None or holder.uid == world.obj.uid:
        return holder is not None
    with suppress(NotFound):
        cron = ctx.lister(known.CRONJOBS).namespace(job.namespace).get(holder.name)
        return cron.uid == holder.uid and _owned(cron, world.obj)
    return False


def _delete(gvr: GVR, obj: Unstructured, ctx: ReconcileContext) -> None:
    with suppress(NotFound, Conflict):
        ctx.client.resource(gvr, namespace=obj.namespace).delete(
            obj.name, propagation_policy="Background", preconditions={"uid": obj.uid}
        )


# -- times


def _by_our_clock(backup: BackupRecord | None, job: Unstructured) -> BackupRecord | None:
    """It was taken before its Job was over: one of a node whose clock is fast would hide failures until that day."""
    over = ended_at(job)
    if backup is None or not over or not _is_later(backup.time, over):
        return backup
    return msgspec.structs.replace(backup, time=over)


def _is_later(time: str, other: str) -> bool:
    """Of two times as the API writes them, with fractions of seconds or without."""
    return datetime.fromisoformat(time) > datetime.fromisoformat(other)


def _announced(world: World, settings: BackupSettings | None) -> str | None:
    """When the next scheduled one is due."""
    if settings is None or settings.schedule is None or world.cluster.spec.paused:
        return None
    try:
        due = _next_time(settings.schedule, world.now.astimezone(_zone(settings)))
    except SettingError:
        return None
    return due.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if due else None


def _zone(settings: BackupSettings) -> tzinfo:
    if settings.time_zone is None:
        return UTC  # known also where no time zones are installed
    try:
        return ZoneInfo(settings.time_zone)
    except (KeyError, OSError, ValueError):  # the first is "not found"
        raise SettingError("spec.backup.timeZone", f"{settings.time_zone!r} is no time zone") from None


def _next_time(schedule: str, after: datetime) -> datetime | None:
    try:
        return next(CronSim(schedule.replace("?", "*"), after), None)
    except CronSimError as error:
        raise SettingError("spec.backup.schedule", f"{schedule!r}: {error}; five fields as cron has them") from None
