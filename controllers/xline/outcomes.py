"""What the Jobs of backups and restores have to say."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec

from membership.xline.backup.take import Outcome
from runtime.client import Unstructured
from runtime.types import JSONMapping

_WITHOUT_POD: Final = 60.0  # seconds that a Job may take to make its Pod
_OUTCOMES = msgspec.json.Decoder(Outcome)


def ended(job: Unstructured) -> str:
    """``Complete`` or ``Failed``; empty while it is not over."""
    condition = _end(job)
    return str(condition["type"]) if condition is not None else ""


def ended_at(job: Unstructured) -> str:
    """When it was over, as the API says it; empty while it is not."""
    condition = _end(job)
    return str(condition.get("lastTransitionTime") or "") if condition is not None else ""


def all_ended(job: Unstructured, pods: Iterable[Unstructured]) -> bool:
    """Whether as many Pods of a Job have ended here as it has counted, and one at least."""
    status: JSONMapping = job.get("status") or {}
    over = [pod for pod in _own(job, pods) if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")]
    return len(over) >= max(1, int(status.get("succeeded") or 0) + int(status.get("failed") or 0))


def outcome_of(job: Unstructured, pods: Iterable[Unstructured]) -> Outcome | None:
    """What a Job that is over has come to, by the last word of its last Pod; without one, by the Job itself.

    None: a Job that is complete, and whose Pod is not there to tell: it is looked at again when it is.
    """
    own = _own(job, pods)
    own.sort(key=lambda pod: (str(pod["metadata"].get("creationTimestamp") or ""), pod.name))
    said = next((found for pod in reversed(own) if (found := _last_word(pod)) is not None), None)
    condition = _end(job) or {}
    if condition.get("type") == "Complete":
        return said if said is not None and not said.reason else None
    reason, message = str(condition.get("reason") or "Failed"), str(condition.get("message") or "")
    if said is not None and said.reason:
        return said
    return Outcome(reason=reason, message=f"Job {job.name}: {message}", time=ended_at(job))


def stuck(job: Unstructured, pods: Iterable[Unstructured], now: datetime) -> tuple[str, str] | None:
    """Why a Job that is not over does not begin, as a word and a sentence: a Secret, an image or a volume is missing,
    or nobody lets it have a Pod. None: it does."""
    own = _own(job, pods)
    made = job.creation_timestamp
    if not own and made is not None and (now - made).total_seconds() > _WITHOUT_POD:
        return "PodMissing", f"Job {job.name} has no Pod: kubectl describe job {job.name} says why"
    for pod in own:
        status: JSONMapping = pod.get("status") or {}
        for kind in ("initContainerStatuses", "containerStatuses"):
            for each in status.get(kind) or ():
                waiting = (each.get("state") or {}).get("waiting") or {}
                if waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
                    return str(
                        waiting["reason"]
                    ), f"Pod {pod.name}, {each['name']}: {waiting.get('message') or 'waits'}"
        for condition in status.get("conditions") or ():
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                return str(condition.get("reason") or "Unschedulable"), f"Pod {pod.name}: {condition.get('message')}"
    return None


def _own(job: Unstructured, pods: Iterable[Unstructured]) -> list[Unstructured]:
    return [pod for pod in pods if (owner := pod.controller_owner) is not None and owner.uid == job.uid]


def _last_word(pod: Unstructured) -> Outcome | None:
    """Of the container that ended last: the one that failed, or the last of them all."""
    status: JSONMapping = pod.get("status") or {}
    for kind in ("containerStatuses", "initContainerStatuses"):
        for each in reversed(status.get(kind) or ()):
            terminated = (each.get("state") or {}).get("terminated") or {}
            text = terminated.get("message") or ""
            if not terminated or (kind == "initContainerStatuses" and not terminated.get("exitCode")):
                continue
            try:
                return _OUTCOMES.decode(text)
            except msgspec.MsgspecError:
                if terminated.get("exitCode"):
                    words = text.strip().splitlines()[-3:] or [f"exit status {terminated['exitCode']}"]
                    reason = str(terminated.get("reason") or "Error")
                    return Outcome(reason=f"Container{reason}", message=f"{each['name']}: {' / '.join(words)[:1000]}")
    return None


def _end(job: Unstructured) -> JSONMapping | None:
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True":
            found: JSONMapping = condition
            return found
    return None
