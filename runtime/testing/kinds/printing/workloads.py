"""Controllers of Pods as kubectl shows them."""

from __future__ import annotations

import copy
from datetime import datetime

from runtime.testing.kinds import autoscaling, paths
from runtime.testing.kinds.durations import parse_time, short
from runtime.testing.kinds.printing.base import AGE, NONE, Cell, Col, Printer, Timed, at, selector, since, text
from runtime.testing.kinds.printing.cluster import targets
from runtime.types import JSONMapping


def _of(ready: str, wanted: str) -> Col:
    ready_path, wanted_path = paths.dotted(ready), paths.dotted(wanted)

    def cell(obj: JSONMapping) -> object:
        return f"{paths.get(obj, ready_path) or 0}/{paths.get(obj, wanted_path) or 0}"

    return Col("Ready", cell)


def _names(field: str, path: str) -> Cell:
    steps = paths.dotted(path)

    def cell(obj: JSONMapping) -> object:
        containers = paths.get(obj, steps)
        return ",".join(str(each.get(field, "")) for each in containers) if isinstance(containers, list) else ""

    return cell


def _pod_field(name: str, field: str, path: str = "spec.template.spec.containers") -> Col:
    return Col(name, _names(field, path), priority=1)


_CONTAINERS = _pod_field("Containers", "name")
_IMAGES = _pod_field("Images", "image")
_SELECTOR = Col("Selector", selector("spec.selector"), priority=1)


def _number(name: str, path: str) -> Col:
    return Col(name, at(path, 0), "integer")


POD_TEMPLATE = Printer(
    Col("Containers", _names("name", "template.spec.containers")),
    Col("Images", _names("image", "template.spec.containers")),
    Col("Pod Labels", selector("template.metadata.labels")),
)
STATEFUL_SET = Printer(_of("status.readyReplicas", "spec.replicas"), AGE, _CONTAINERS, _IMAGES)
DEPLOYMENT = Printer(
    _of("status.readyReplicas", "spec.replicas"),
    Col("Up-to-date", at("status.updatedReplicas", 0)),
    Col("Available", at("status.availableReplicas", 0)),
    AGE,
    _CONTAINERS,
    _IMAGES,
    _SELECTOR,
)
REPLICA_SET = Printer(
    _number("Desired", "spec.replicas"),
    _number("Current", "status.replicas"),
    _number("Ready", "status.readyReplicas"),
    AGE,
    _CONTAINERS,
    _IMAGES,
    _SELECTOR,
)
REPLICATION_CONTROLLER = REPLICA_SET
DAEMON_SET = Printer(
    _number("Desired", "status.desiredNumberScheduled"),
    _number("Current", "status.currentNumberScheduled"),
    _number("Ready", "status.numberReady"),
    _number("Up-to-date", "status.updatedNumberScheduled"),
    _number("Available", "status.numberAvailable"),
    Col("Node Selector", selector("spec.template.spec.nodeSelector")),
    AGE,
    _CONTAINERS,
    _IMAGES,
    _SELECTOR,
)


def _owner(obj: JSONMapping) -> object:
    for each in obj["metadata"].get("ownerReferences") or ():
        if each.get("controller"):
            group = each.get("apiVersion", "").partition("/")[0] if "/" in each.get("apiVersion", "") else ""
            kind = str(each.get("kind", "")).lower()
            return f"{kind}.{group}/{each.get('name')}" if group else f"{kind}/{each.get('name')}"
    return NONE


CONTROLLER_REVISION = Printer(Col("Controller", _owner), Col("Revision", at("revision", 0)), AGE)


def _job_status(obj: JSONMapping) -> object:
    status = obj.get("status") or {}
    true = {each["type"] for each in status.get("conditions") or () if each.get("status") == "True"}
    for condition, word in (
        ("Complete", "Complete"),
        ("Failed", "Failed"),
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ):
        if condition in true:
            return word
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else "Running"


def _completions(obj: JSONMapping) -> object:
    spec, done = obj.get("spec") or {}, (obj.get("status") or {}).get("succeeded", 0)
    if spec.get("completions") is not None:
        return f"{done}/{spec['completions']}"
    parallelism = spec.get("parallelism") or 0
    return f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"


def _job_duration(obj: JSONMapping, now: datetime) -> object:
    status = obj.get("status") or {}
    start, end = parse_time(status.get("startTime")), parse_time(status.get("completionTime"))
    return "" if start is None else short(int(((end or now) - start).total_seconds()))


JOB = Printer(
    Col("Status", _job_status),
    Col("Completions", _completions),
    Timed("Duration", _job_duration),
    AGE,
    _CONTAINERS,
    _IMAGES,
    _SELECTOR,
)


def _active(obj: JSONMapping) -> object:
    return len((obj.get("status") or {}).get("active") or ())


def _last_schedule(obj: JSONMapping, now: datetime) -> object:
    if not (obj.get("status") or {}).get("lastScheduleTime"):
        return NONE
    return since("status.lastScheduleTime")(obj, now)


_JOB_POD = "spec.jobTemplate.spec.template.spec.containers"
CRON_JOB = Printer(
    Col("Schedule", at("spec.schedule", "")),
    Col("Timezone", at("spec.timeZone")),
    Col("Suspend", lambda obj: str(bool((obj.get("spec") or {}).get("suspend"))), "boolean"),
    Col("Active", _active, "integer"),
    Timed("Last Schedule", _last_schedule),
    AGE,
    _pod_field("Containers", "name", _JOB_POD),
    _pod_field("Images", "image", _JOB_POD),
    Col("Selector", selector("spec.jobTemplate.spec.selector"), priority=1),
)
DISRUPTION_BUDGET = Printer(
    Col("Min Available", text("spec.minAvailable", "N/A")),
    Col("Max Unavailable", text("spec.maxUnavailable", "N/A")),
    Col("Allowed Disruptions", at("status.disruptionsAllowed", 0), "integer"),
    AGE,
)


def _scale_target(obj: JSONMapping) -> object:
    ref = (obj.get("spec") or {}).get("scaleTargetRef") or {}
    return f"{ref.get('kind', '')}/{ref.get('name', '')}"


def _targets(obj: JSONMapping) -> object:
    """All versions show what the stored one knows."""
    return targets(autoscaling.to_v2(copy.deepcopy(dict(obj))) if obj.get("apiVersion") == "autoscaling/v1" else obj)


AUTOSCALER = Printer(
    Col("Reference", _scale_target),
    Col(
        "Targets",
        _targets,
    ),
    Col("MinPods", text("spec.minReplicas", "<unset>")),
    Col("MaxPods", at("spec.maxReplicas", 0)),
    Col("Replicas", at("status.currentReplicas", 0)),
    AGE,
)
