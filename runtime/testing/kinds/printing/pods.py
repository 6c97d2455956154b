"""Pods as kubectl shows them: how many containers are ready, and one word for all that can happen to one."""

from __future__ import annotations

from datetime import datetime

from runtime.testing.kinds.durations import age
from runtime.testing.kinds.printing.base import AGE, NONE, Col, Printer, Timed, at
from runtime.types import JSONMapping


def _sidecars(obj: JSONMapping) -> set[str]:
    """Names of the init containers that keep running."""
    initial = (obj.get("spec") or {}).get("initContainers") or ()
    return {each["name"] for each in initial if each.get("restartPolicy") == "Always"}


def _ready(obj: JSONMapping) -> object:
    sidecars = _sidecars(obj)
    status = obj.get("status") or {}
    total = len((obj.get("spec") or {}).get("containers") or ()) + len(sidecars)
    ready = sum(
        bool(each.get("ready")) and "running" in (each.get("state") or {})
        for each in status.get("containerStatuses") or ()
    )
    ready += sum(
        each.get("name") in sidecars and bool(each.get("ready")) for each in status.get("initContainerStatuses") or ()
    )
    return f"{ready}/{total}"


def _status(obj: JSONMapping) -> object:
    status = obj.get("status") or {}
    reason = str(status.get("reason") or status.get("phase") or "")
    gated = any(
        each.get("type") == "PodScheduled" and each.get("reason") == "SchedulingGated"
        for each in status.get("conditions") or ()
    )
    if gated:
        reason = "SchedulingGated"
    initializing = _initializing(obj)
    if initializing:
        reason = initializing
    else:
        reason = _container_reason(obj, reason)
    if obj["metadata"].get("deletionTimestamp"):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return reason


def _initializing(obj: JSONMapping) -> str:
    """What the first init container that is not done does; empty when all are."""
    sidecars = _sidecars(obj)
    statuses = (obj.get("status") or {}).get("initContainerStatuses") or ()
    total = len((obj.get("spec") or {}).get("initContainers") or ())
    for index, each in enumerate(statuses):
        state = each.get("state") or {}
        ended = state.get("terminated")
        if ended is not None and ended.get("exitCode") == 0:
            continue
        if each.get("name") in sidecars and each.get("started"):
            continue
        if ended is not None:
            return f"Init:{ended.get('reason') or _exit(ended)}"
        waiting = (state.get("waiting") or {}).get("reason")
        if waiting and waiting != "PodInitializing":
            return f"Init:{waiting}"
        return f"Init:{index}/{total}"
    return ""


def _exit(ended: JSONMapping) -> str:
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _container_reason(obj: JSONMapping, reason: str) -> str:
    status = obj.get("status") or {}
    running = False
    for each in reversed(status.get("containerStatuses") or ()):
        state = each.get("state") or {}
        waiting = (state.get("waiting") or {}).get("reason")
        ended = state.get("terminated")
        if waiting:
            reason = waiting
        elif ended is not None:
            reason = ended.get("reason") or _exit(ended)
        elif each.get("ready") and "running" in state:
            running = True
    if reason == "Completed" and running:
        return "Running" if _is_ready(status) else "NotReady"
    return reason


def _is_ready(status: JSONMapping) -> bool:
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in status.get("conditions") or ())


def _restarts(obj: JSONMapping, now: datetime) -> object:
    status = obj.get("status") or {}
    sidecars = _sidecars(obj)
    counted = [each for each in status.get("initContainerStatuses") or () if each.get("name") in sidecars]
    counted += status.get("containerStatuses") or ()
    if not counted and _initializing(obj):
        counted = list(status.get("initContainerStatuses") or ())
    total = sum(each.get("restartCount", 0) for each in counted)
    ends = [((each.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or "" for each in counted]
    last = max(ends, default="")
    return f"{total} ({age(last, now)} ago)" if total and last else str(total)


def _gates(obj: JSONMapping) -> object:
    gates = (obj.get("spec") or {}).get("readinessGates") or ()
    if not gates:
        return NONE
    true = {
        each.get("type") for each in (obj.get("status") or {}).get("conditions") or () if each.get("status") == "True"
    }
    return f"{sum(each.get('conditionType') in true for each in gates)}/{len(gates)}"


POD = Printer(
    Col("Ready", _ready),
    Col("Status", _status),
    Timed("Restarts", _restarts),
    AGE,
    Col("IP", at("status.podIP"), priority=1),
    Col("Node", at("spec.nodeName"), priority=1),
    Col("Nominated Node", at("status.nominatedNodeName"), priority=1),
    Col("Readiness Gates", _gates, priority=1),
)
