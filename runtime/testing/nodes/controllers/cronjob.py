"""CronJobs into Jobs, each at its time.

The last of the times that were missed is made up for, unless ``startingDeadlineSeconds`` have passed since; the Job of
a time is called by it, so none runs twice. Schedules are cron's five fields, read by cronsim: where clocks are put
forward or back it does what Debian's cron does, which differs from the real controller within that hour.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from runtime.client import AlreadyExists, Conflict, NotFound, Unstructured
from runtime.controller import ReconcileContext
from runtime.manager import Manager
from runtime.testing.nodes.controllers.job import JOBS
from runtime.testing.nodes.controllers.pods import owner_reference
from runtime.testing.nodes.controllers.statefulset import write_status
from runtime.types import GVR, JSONObject, Request, Result

CRONJOBS = GVR("batch", "v1", "cronjobs")
SCHEDULED_AT: Final = "batch.kubernetes.io/cronjob-scheduled-timestamp"  # annotation of Jobs

_MANY_MISSED: Final = 100  # times; then somebody should look at the clock
_SLACK: Final = 0.1  # seconds after the time, as the real controller has it


def register(manager: Manager) -> None:
    """Add the controller to the manager."""

    def reconcile(request: Request, ctx: ReconcileContext) -> Result | None:
        try:
            cron = ctx.lister(CRONJOBS).namespace(request.namespace).get(request.name)
        except NotFound:
            return None
        if cron.deletion_timestamp is not None:
            return None
        return _CronSync(ctx, cron).run()

    manager.controller("cronjob").for_(CRONJOBS).owns(JOBS).complete(reconcile)


class _CronSync:
    """One pass over one CronJob."""

    def __init__(self, ctx: ReconcileContext, cron: Unstructured) -> None:
        self.ctx, self.cron = ctx, cron
        self.spec: JSONObject = cron["spec"]
        self.status: JSONObject = dict(cron.get("status") or {})
        self.now = ctx.clock.now()
        self.api = ctx.client.resource(JOBS, namespace=cron.namespace)
        jobs = ctx.lister(JOBS).namespace(cron.namespace).list()
        self.jobs = [job for job in jobs if (owner := job.controller_owner) and owner.uid == cron.uid]

    def run(self) -> Result | None:
        old = dict(self.status)
        self._forget_old_jobs()
        self._see_what_ended()
        wait = None if self.spec.get("suspend") else self._schedule()
        self._write(old)
        return Result(requeue_after=wait) if wait is not None else None

    # -- times

    def _schedule(self) -> float | None:
        """Run what is due. Returns seconds until the next time; None if there is none."""
        zone = self._zone()
        if zone is None:
            return None
        try:
            due, missed, following = self._times(zone)
        except CronSimError as error:
            self._event("Warning", "UnparseableSchedule", f"unparseable schedule {self.spec['schedule']!r}: {error}")
            return None
        if missed > _MANY_MISSED:
            self._event("Warning", "TooManyMissedTimes", f"too many missed start times: {missed}; check clock skew")
        if due is not None:
            self._run_at(due)
        return None if following is None else max(0.0, (following - self.now).total_seconds()) + _SLACK

    def _zone(self) -> ZoneInfo | None:
        name = self.spec.get("timeZone") or "UTC"
        try:
            return ZoneInfo(name)
        except (KeyError, OSError, ValueError):  # the first is "not found"
            self._event("Warning", "UnknownTimeZone", f"invalid timeZone {name!r}: unknown time zone")
            return None

    def _times(self, zone: ZoneInfo) -> tuple[datetime | None, int, datetime | None]:
        """The last time that is due, how many were missed, and the next one."""
        text = self.status.get("lastScheduleTime")
        earliest = datetime.fromisoformat(text) if text else self.cron.creation_timestamp or self.now
        limit = self.spec.get("startingDeadlineSeconds")
        if limit is not None:
            earliest = max(earliest, self.now - timedelta(seconds=limit))
        due, missed = None, 0
        for time in _iterate(self.spec["schedule"], earliest.astimezone(zone)):
            if time > self.now:
                return due, missed, time
            due, missed = time, missed + 1
        return due, missed, None

    def _run_at(self, time: datetime) -> None:
        active = [job for job in self.jobs if not _ended(job)]
        policy = self.spec.get("concurrencyPolicy")
        if active and policy == "Forbid":
            self._event("Normal", "JobAlreadyActive", "Not starting job because prior execution is running")
            return
        if active and policy == "Replace":
            for job in active:
                self._delete(job)
        template = self.spec["jobTemplate"]
        metadata: JSONObject = copy.deepcopy(template.get("metadata") or {})
        annotations = {**(metadata.get("annotations") or {}), SCHEDULED_AT: time.isoformat()}
        name = f"{self.cron.name}-{int(time.timestamp()) // 60}"
        metadata |= {
            "name": name,
            "namespace": self.cron.namespace,
            "annotations": annotations,
            "ownerReferences": [owner_reference(self.cron, controller=True)],
        }
        body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": copy.deepcopy(template["spec"])}
        try:
            self.jobs.append(self.api.create(body))
        except AlreadyExists:
            owner = self.api.get(name).controller_owner
            if owner is None or owner.uid != self.cron.uid:
                self._event("Warning", "FailedCreate", f"Error creating job: {name} exists and is not ours")
        else:
            self._event("Normal", "SuccessfulCreate", f"Created job {name}")
        self.status["lastScheduleTime"] = _stamp(time)

    # -- Jobs

    def _forget_old_jobs(self) -> None:
        for condition, field in (("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")):
            ended = [job for job in self.jobs if _ended(job) == condition]
            ended.sort(key=lambda job: (str((job.get("status") or {}).get("startTime") or ""), job.name))
            limit = self.spec.get(field)
            for job in ended[: max(0, len(ended) - limit)] if limit is not None else ():
                self._delete(job)

    def _see_what_ended(self) -> None:
        known = {reference.get("uid") for reference in self.status.get("active") or ()}
        for job in self.jobs:
            ended = _ended(job)
            if ended and job.uid in known:
                self._event("Normal", "SawCompletedJob", f"Saw completed job: {job.name}, condition: {ended}")
            time = (job.get("status") or {}).get("completionTime") if ended == "Complete" else None
            if time and time > str(self.status.get("lastSuccessfulTime") or ""):
                self.status["lastSuccessfulTime"] = time

    def _delete(self, job: Unstructured) -> None:
        try:
            self.api.delete(job.name, propagation_policy="Background", preconditions={"uid": job.uid})
        except (NotFound, Conflict):
            return
        finally:
            self.jobs = [other for other in self.jobs if other.uid != job.uid]
        self._event("Normal", "SuccessfulDelete", f"Deleted job {job.name}")

    # -- what others see

    def _write(self, old: JSONObject) -> None:
        self.status["active"] = [
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "name": job.name,
                "namespace": job.namespace,
                "uid": job.uid,
                "resourceVersion": job.resource_version,
            }
            for job in sorted(self.jobs, key=lambda job: job.name)
            if not _ended(job)
        ]
        if _known(old) != _known(self.status):
            write_status(self.ctx.client, CRONJOBS, self.cron, self.status)

    def _event(self, kind: str, reason: str, message: str) -> None:
        self.ctx.recorder.event(self.cron, kind, reason, message)


def _iterate(schedule: str, after: datetime) -> Iterator[datetime]:
    """The schedule's times later than ``after``, in its time zone."""
    if len(schedule.split()) != 5:
        raise CronSimError("expected exactly 5 fields")
    return CronSim(schedule.replace("?", "*"), after)


def _ended(job: Unstructured) -> str:
    """``Complete`` or ``Failed``; empty while it is not over."""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True":
            return str(condition["type"])
    return ""


def _known(status: JSONObject) -> JSONObject:
    """What of a status is worth a write: a Job's resourceVersion alone is not."""
    active = [(each.get("name"), each.get("uid")) for each in status.get("active") or ()]
    times = {key: status.get(key) for key in ("lastScheduleTime", "lastSuccessfulTime")}
    return {**times, "active": active}


def _stamp(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
