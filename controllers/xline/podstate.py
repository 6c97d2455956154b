"""What a member's Pod says about itself, read from its object."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from controllers.xline.names import CONTAINER
from runtime.client import Unstructured
from runtime.types import JSONMapping

# Reasons for which a container waits that time alone seldom cures.
_TROUBLE = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImageInspectError",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)


def condition(obj: Unstructured, kind: str) -> JSONMapping | None:
    """The condition of that type in its status."""
    status: JSONMapping = obj.get("status") or {}
    return next((found for found in status.get("conditions") or () if found.get("type") == kind), None)


def since(found: JSONMapping | None) -> datetime | None:
    """When the condition last changed; None if it does not tell."""
    text = (found or {}).get("lastTransitionTime")
    return datetime.fromisoformat(text) if text else None


def server_status(pod: Unstructured) -> JSONMapping | None:
    """The status of the server's container; None before the kubelet has told of it."""
    return next((found for found in _statuses(pod, "containerStatuses") if found.get("name") == CONTAINER), None)


def server_started(pod: Unstructured) -> bool:
    """Whether the server's container runs and its startup probe has succeeded. It says nothing of a majority."""
    found = server_status(pod)
    return found is not None and bool(found.get("started"))


def trouble(pod: Unstructured) -> str:
    """Why the Pod does not run, if that will hardly pass by itself; else ``""``."""
    scheduled = condition(pod, "PodScheduled")
    if scheduled is not None and scheduled.get("status") == "False":
        return f"it cannot be scheduled: {scheduled.get('message') or scheduled.get('reason') or 'no reason given'}"
    for found in (*_statuses(pod, "initContainerStatuses"), *_statuses(pod, "containerStatuses")):
        waiting = (found.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _TROUBLE:
            detail = f": {waiting['message']}" if waiting.get("message") else ""
            return f"container {found.get('name')}: {waiting['reason']}{detail}"
    return ""


def _statuses(pod: Unstructured, field: str) -> Iterator[JSONMapping]:
    status: JSONMapping = pod.get("status") or {}
    yield from status.get(field) or ()
