"""Jobs into Pods that run to their end.

A Pod that has ended is counted once, whatever happens to it or to us: it keeps a finalizer until its uid stands in the
Job's ``status.uncountedTerminatedPods``, and it leaves that list for the counters when the finalizer is gone.

Honoured are parallelism, completions, backoffLimit, activeDeadlineSeconds, ttlSecondsAfterFinished, suspend and
podReplacementPolicy. Indexed Jobs, podFailurePolicy, successPolicy and managedBy are not; an event says so.
"""

from __future__ import annotations

import contextlib
import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from runtime.client import Conflict, Invalid, NotFound, Unstructured
from runtime.controller import ReconcileContext
from runtime.manager import Manager
from runtime.testing.nodes.controllers.pods import is_ready, owner_reference
from runtime.testing.nodes.controllers.statefulset import PODS, write_status
from runtime.types import GVR, JSONObject, Request, Result

JOBS = GVR("batch", "v1", "jobs")
TRACKED: Final = "batch.kubernetes.io/job-tracking"  # finalizer of Pods that are not counted yet
NAME_LABEL: Final = "batch.kubernetes.io/job-name"

_UNSUPPORTED = ("podFailurePolicy", "successPolicy", "managedBy", "backoffLimitPerIndex")


@dataclass(frozen=True, slots=True)
class JobBackoff:
    """How long a Job waits to replace a Pod that failed: ``base`` seconds, doubling up to ``limit``. The real
    controller's numbers are 10 s and 600 s."""

    base: float = 1.0
    limit: float = 600.0

    def after(self, failures: int) -> float:
        return min(self.base * 2.0 ** min(failures - 1, 60), self.limit) if failures else 0.0


def register(manager: Manager, backoff: JobBackoff | None = None) -> None:
    """Add the controller to the manager."""
    policy = backoff or JobBackoff()

    def reconcile(request: Request, ctx: ReconcileContext) -> Result | None:
        try:
            job = ctx.lister(JOBS).namespace(request.namespace).get(request.name)
        except NotFound:
            _let_go(ctx, request, None)
            return None
        return _JobSync(ctx, job, policy).run()

    manager.controller("job").for_(JOBS).owns(PODS).with_options(workers=2).complete(reconcile)


def _let_go(ctx: ReconcileContext, request: Request, job: Unstructured | None) -> None:
    """Nobody counts the Pods of a Job that is gone, or going."""
    for pod in ctx.lister(PODS).namespace(request.namespace).list():
        owner = pod.controller_owner
        if owner is None or (owner.kind, owner.name) != ("Job", request.name):
            continue
        if TRACKED in pod.finalizers and (job is None or owner.uid == job.uid):
            _untrack(ctx, pod)


def _untrack(ctx: ReconcileContext, pod: Unstructured) -> None:
    rest = [each for each in pod.finalizers if each != TRACKED]
    body = {"metadata": {"uid": pod.uid, "resourceVersion": pod.resource_version, "finalizers": rest}}
    try:
        ctx.client.resource(PODS, namespace=pod.namespace).patch(pod.name, body, type="merge")
    except (NotFound, Invalid):
        return  # it went, or another has its name


@dataclass(slots=True)
class _Counts:
    """The status's numbers, as they are to be written."""

    succeeded: int
    failed: int
    uncounted_succeeded: list[str] = field(default_factory=list)
    uncounted_failed: list[str] = field(default_factory=list)

    @property
    def uncounted(self) -> set[str]:
        return {*self.uncounted_succeeded, *self.uncounted_failed}

    @property
    def all_succeeded(self) -> int:
        return self.succeeded + len(self.uncounted_succeeded)

    @property
    def all_failed(self) -> int:
        return self.failed + len(self.uncounted_failed)


class _JobSync:
    """One pass over one Job."""

    def __init__(self, ctx: ReconcileContext, job: Unstructured, backoff: JobBackoff) -> None:
        self.ctx, self.job, self.backoff = ctx, job, backoff
        self.spec: JSONObject = job["spec"]
        self.old: JSONObject = job.get("status") or {}
        self.now = ctx.clock.now()
        self.conditions: list[JSONObject] = [dict(each) for each in self.old.get("conditions") or ()]
        self.api = ctx.client.resource(PODS, namespace=job.namespace)
        pods = ctx.lister(PODS).namespace(job.namespace).list()
        self.pods = [pod for pod in pods if (owner := pod.controller_owner) and owner.uid == job.uid]

    def run(self) -> Result | None:
        if self.job.deletion_timestamp is not None:
            _let_go(self.ctx, Request(self.job.namespace, self.job.name), self.job)
            return None
        if self._is("Complete") or self._is("Failed"):
            return self._after_the_end()
        unsupported = [name for name in _UNSUPPORTED if self.spec.get(name)]
        if unsupported or self.spec.get("completionMode") == "Indexed":
            what = ", ".join(unsupported) or "completionMode Indexed"
            self.ctx.recorder.event(self.job, "Warning", "Unsupported", f"local nodes have no {what}; nothing is run")
            return None
        counts = self._count()
        start = self._start_time()
        verdict = self._verdict(counts, start)
        wait = self._finish(verdict, counts) if verdict else self._manage(counts, start)
        self._write(counts, start)
        for pod in self.pods:
            if pod.uid in counts.uncounted and TRACKED in pod.finalizers:
                _untrack(self.ctx, pod)
        return Result(requeue_after=wait) if wait is not None else None

    # -- counting

    def _count(self) -> _Counts:
        recorded = self.old.get("uncountedTerminatedPods") or {}
        held = {pod.uid for pod in self.pods if TRACKED in pod.finalizers}
        counts = _Counts(int(self.old.get("succeeded") or 0), int(self.old.get("failed") or 0))
        for uid in recorded.get("succeeded") or ():
            if uid in held:
                counts.uncounted_succeeded.append(uid)
            else:
                counts.succeeded += 1
        for uid in recorded.get("failed") or ():
            if uid in held:
                counts.uncounted_failed.append(uid)
            else:
                counts.failed += 1
        for pod in self.pods:
            if pod.uid in counts.uncounted or TRACKED not in pod.finalizers:
                continue
            if _phase(pod) == "Succeeded":
                counts.uncounted_succeeded.append(pod.uid)
            elif self._has_failed(pod):
                counts.uncounted_failed.append(pod.uid)
        return counts

    def _has_failed(self, pod: Unstructured) -> bool:
        if _phase(pod) == "Failed":
            return True
        return pod.deletion_timestamp is not None and self.spec.get("podReplacementPolicy") != "Failed"

    def _active(self) -> list[Unstructured]:
        return [
            pod for pod in self.pods if _phase(pod) not in ("Succeeded", "Failed") and pod.deletion_timestamp is None
        ]

    def _terminating(self) -> list[Unstructured]:
        return [
            pod
            for pod in self.pods
            if _phase(pod) not in ("Succeeded", "Failed") and pod.deletion_timestamp is not None
        ]

    # -- deciding

    def _start_time(self) -> datetime | None:
        if self.spec.get("suspend"):
            return None
        text = self.old.get("startTime")
        return datetime.fromisoformat(text) if text else self.now

    def _verdict(self, counts: _Counts, start: datetime | None) -> tuple[str, str, str] | None:
        """``(Complete | Failed, reason, message)`` once it is decided; what was decided stays."""
        for kind, interim in (("Failed", "FailureTarget"), ("Complete", "SuccessCriteriaMet")):
            decided = next((each for each in self.conditions if each["type"] == interim), None)
            if decided is not None and decided["status"] == "True":
                return kind, decided["reason"], decided["message"]
        deadline = self.spec.get("activeDeadlineSeconds")
        if counts.all_failed > self.spec["backoffLimit"] or self._restarts() > self.spec["backoffLimit"]:
            return "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        if deadline is not None and start is not None and self.now >= start + timedelta(seconds=deadline):
            return "Failed", "DeadlineExceeded", "Job was active longer than specified deadline"
        completions = self.spec.get("completions")
        if completions is not None:
            done = counts.all_succeeded >= completions
        else:  # a work queue: over when one has succeeded and all have ended
            done = counts.all_succeeded > 0 and not self._active()
        return ("Complete", "CompletionsReached", "Reached expected number of succeeded pods") if done else None

    def _restarts(self) -> int:
        """Of Pods that restart their containers themselves: each counts as a failure."""
        if self.spec["template"]["spec"].get("restartPolicy") != "OnFailure":
            return -1
        return sum(
            int(each.get("restartCount") or 0)
            for pod in self._active()
            for kind in ("initContainerStatuses", "containerStatuses")
            for each in (pod.get("status") or {}).get(kind) or ()
        )

    # -- acting

    def _manage(self, counts: _Counts, start: datetime | None) -> float | None:
        """Bring the number of running Pods to what is wanted. Returns seconds until it must be looked at again."""
        active = self._active()
        if start is None:
            for pod in active:
                self._delete(pod)
            self._set("Suspended", "True", "JobSuspended", "Job suspended")
            return None
        if any(each["type"] == "Suspended" for each in self.conditions):
            self._set("Suspended", "False", "JobResumed", "Job resumed")
        completions = self.spec.get("completions")
        wanted = int(self.spec["parallelism"])
        if completions is not None:
            wanted = min(wanted, completions - counts.all_succeeded)
        elif counts.all_succeeded:
            wanted = len(active)
        if self.spec.get("podReplacementPolicy") == "Failed":
            wanted -= len(self._terminating())
        for pod in active[max(wanted, 0) :]:
            self._delete(pod)
        wait = self._backing_off(counts)
        if wait > 0:
            return self._sooner(wait, start)
        for _ in range(wanted - len(active)):
            self._create()
        return self._sooner(None, start)

    def _sooner(self, wait: float | None, start: datetime) -> float | None:
        deadline = self.spec.get("activeDeadlineSeconds")
        if deadline is None:
            return wait
        left = max(0.001, (start + timedelta(seconds=deadline) - self.now).total_seconds())
        return left if wait is None else min(wait, left)

    def _backing_off(self, counts: _Counts) -> float:
        """Seconds until a Pod may follow those that failed in a row."""
        if not counts.all_failed:
            return 0.0
        ended = [time for pod in self.pods if self._has_failed(pod) and (time := _ended(pod))]
        if not ended:
            return 0.0
        after = self.backoff.after(counts.all_failed)
        return max(0.0, (max(ended) + timedelta(seconds=after) - self.now).total_seconds())

    def _finish(self, verdict: tuple[str, str, str], counts: _Counts) -> float | None:
        """Nothing may run, and everything must be counted, before it is over."""
        kind, reason, message = verdict
        self._set("SuccessCriteriaMet" if kind == "Complete" else "FailureTarget", "True", reason, message)
        active = self._active()
        for pod in active:
            self._delete(pod)
        if active or self._terminating() or counts.uncounted:
            return None
        self._set(kind, "True", reason, message)
        event = "Completed" if kind == "Complete" else reason
        self.ctx.recorder.event(self.job, "Normal" if kind == "Complete" else "Warning", event, message)
        return self._until_removed(self.now)

    def _after_the_end(self) -> Result | None:
        for pod in self.pods:
            if TRACKED in pod.finalizers:
                _untrack(self.ctx, pod)
        ended = next(each for each in self.conditions if each["type"] in ("Complete", "Failed"))
        wait = self._until_removed(datetime.fromisoformat(ended["lastTransitionTime"]))
        if wait is None:
            return None
        if wait > 0:
            return Result(requeue_after=wait)
        jobs = self.ctx.client.resource(JOBS, namespace=self.job.namespace)
        with contextlib.suppress(NotFound, Conflict):
            jobs.delete(self.job.name, propagation_policy="Background", preconditions={"uid": self.job.uid})
        return None

    def _until_removed(self, ended: datetime) -> float | None:
        ttl = self.spec.get("ttlSecondsAfterFinished")
        if ttl is None:
            return None
        return max(0.0, (ended + timedelta(seconds=ttl) - self.now).total_seconds())

    def _create(self) -> None:
        template = self.spec["template"]
        metadata: JSONObject = copy.deepcopy(template.get("metadata") or {})
        metadata |= {
            "generateName": f"{self.job.name[:57]}-",
            "namespace": self.job.namespace,
            "ownerReferences": [owner_reference(self.job, controller=True)],
            "finalizers": [*(metadata.get("finalizers") or ()), TRACKED],
        }
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copy.deepcopy(template["spec"])}
        try:
            pod = self.api.create(body)
        except Invalid as error:
            self.ctx.recorder.event(self.job, "Warning", "FailedCreate", f"Error creating: {error}")
            raise
        self.pods.append(pod)
        self.ctx.recorder.event(self.job, "Normal", "SuccessfulCreate", f"Created pod: {pod.name}")

    def _delete(self, pod: Unstructured) -> None:
        try:
            self.api.delete(pod.name, preconditions={"uid": pod.uid})
        except (NotFound, Conflict):
            return
        self.ctx.recorder.event(self.job, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.name}")

    # -- what others see

    def _is(self, kind: str) -> bool:
        return any(each["type"] == kind and each["status"] == "True" for each in self.conditions)

    def _set(self, kind: str, status: str, reason: str, message: str) -> None:
        old = next((each for each in self.conditions if each["type"] == kind), None)
        if old is not None and old["status"] == status:
            return
        stamp = _stamp(self.now)
        new = {"type": kind, "status": status, "reason": reason, "message": message}
        new |= {"lastProbeTime": stamp, "lastTransitionTime": stamp}
        self.conditions = [each for each in self.conditions if each["type"] != kind] + [new]

    def _write(self, counts: _Counts, start: datetime | None) -> None:
        active = self._active()
        status: JSONObject = {
            "active": len(active),
            "ready": sum(1 for pod in active if is_ready(pod)),
            "terminating": len(self._terminating()),
            "succeeded": counts.succeeded,
            "failed": counts.failed,
            "uncountedTerminatedPods": {
                "succeeded": counts.uncounted_succeeded,
                "failed": counts.uncounted_failed,
            },
            "conditions": self.conditions,
            "startTime": _stamp(start) if start else None,
        }
        if self._is("Complete"):
            status["completionTime"] = _stamp(self.now)
        if any((self.old.get(key) or None) != (value or None) for key, value in _plain(status).items()):
            write_status(self.ctx.client, JOBS, self.job, status)


def _plain(status: JSONObject) -> JSONObject:
    """What is empty counts as absent."""
    uncounted = {key: value for key, value in status["uncountedTerminatedPods"].items() if value}
    return {**status, "uncountedTerminatedPods": uncounted}


def _phase(pod: Unstructured) -> str:
    return str((pod.get("status") or {}).get("phase") or "")


def _ended(pod: Unstructured) -> datetime | None:
    """When its last container ended; for one that is being deleted before that, when that began."""
    times = [
        ended["finishedAt"]
        for each in (pod.get("status") or {}).get("containerStatuses") or ()
        if (ended := (each.get("state") or {}).get("terminated")) and ended.get("finishedAt")
    ]
    if times:
        return max(datetime.fromisoformat(time) for time in times)
    return pod.deletion_timestamp or pod.creation_timestamp


def _stamp(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
