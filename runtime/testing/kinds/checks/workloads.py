"""Checks of the kinds that make Pods."""

from __future__ import annotations

import copy
import re
import zoneinfo
from collections.abc import Sequence
from typing import Final

from runtime.testing.kinds import errors
from runtime.testing.kinds.checks import common
from runtime.testing.kinds.checks.pods import check_template
from runtime.testing.kinds.defaults.workloads import job_labels
from runtime.testing.kinds.model import FieldError
from runtime.types import JSONMapping, JSONObject

_STATEFUL_MUTABLE: Final = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_STATEFUL_UPDATE: Final = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_MISMATCH: Final = "`selector` does not match template `labels`"
_MAX_CRON_JOB_NAME: Final = 52  # 11 fewer than a label: the names of its Jobs are longer


def _check_selector(spec: JSONMapping, what: str, *, needed: bool = True) -> list[FieldError]:
    """The selector has to be there, not empty, and select the template's Pods. None selects nothing, an empty one all.

    :param needed: whether one that is not there is told, beside that it does not select the Pods.
    """
    found: list[FieldError] = []
    selector = spec.get("selector")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if selector is None and needed:
        found.append(errors.required("spec.selector"))
    elif selector is not None:
        found += common.label_selector(selector, "spec.selector")
        if common.is_empty_selector(selector):
            detail = f"empty selector is invalid for {what}"
            found.append(errors.invalid("spec.selector", selector, detail))
    if selector is None or not common.selects(selector, labels):
        found.append(errors.invalid("spec.template.metadata.labels", labels, _MISMATCH))
    return found


def _check_pods(spec: JSONMapping) -> list[FieldError]:
    """What is true of the Pods of all workloads that keep them running."""
    return check_template(spec.get("template"), "spec.template") + _no_deadline(spec, "ReplicaSet")


def _no_deadline(spec: JSONMapping, what: str) -> list[FieldError]:
    if ((spec.get("template") or {}).get("spec") or {}).get("activeDeadlineSeconds") is None:
        return []
    detail = f"activeDeadlineSeconds in {what} is not Supported"
    return [errors.forbidden("spec.template.spec.activeDeadlineSeconds", detail)]


def _immutable(obj: JSONMapping, old: JSONMapping | None, field: str) -> list[FieldError]:
    if old is None or obj["spec"].get(field) == old["spec"].get(field):
        return []
    return [errors.invalid(f"spec.{field}", obj["spec"].get(field), common.IMMUTABLE)]


def validate_stateful_set(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found = common.one_of(spec.get("podManagementPolicy"), ("OrderedReady", "Parallel"), "spec.podManagementPolicy")
    strategy = spec.get("updateStrategy") or {}
    kind = strategy.get("type")
    if kind not in ("RollingUpdate", "OnDelete"):
        detail = "must be 'RollingUpdate' or 'OnDelete'"
        found.append(errors.invalid("spec.updateStrategy", strategy, detail))
    elif kind == "OnDelete" and strategy.get("rollingUpdate"):
        detail = "only allowed for updateStrategy 'RollingUpdate'"
        found.append(errors.invalid("spec.updateStrategy.rollingUpdate", strategy["rollingUpdate"], detail))
    else:
        partition = (strategy.get("rollingUpdate") or {}).get("partition")
        found += common.not_negative(partition, "spec.updateStrategy.rollingUpdate.partition")
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for field in ("whenDeleted", "whenScaled"):
        where = f"spec.persistentVolumeClaimRetentionPolicy.{field}"
        found += common.one_of(retention.get(field), ("Delete", "Retain"), where)
    found += common.not_negative(spec.get("replicas"), "spec.replicas")
    found += common.not_negative(spec.get("minReadySeconds"), "spec.minReadySeconds")
    found += common.not_negative((spec.get("ordinals") or {}).get("start"), "spec.ordinals.start")
    found += _check_selector(spec, "statefulset")
    claims = [(claim.get("metadata") or {}).get("name") or "" for claim in spec.get("volumeClaimTemplates") or ()]
    found += check_template(spec.get("template"), "spec.template", claims=claims)
    found += _no_deadline(spec, "StatefulSet")
    if old is not None:
        found += _check_stateful_update(spec, old["spec"])
    return found


def _check_stateful_update(spec: JSONMapping, old: JSONMapping) -> list[FieldError]:
    kept = {key: value for key, value in spec.items() if key not in _STATEFUL_MUTABLE}
    before = {key: value for key, value in old.items() if key not in _STATEFUL_MUTABLE}
    return [] if kept == before else [errors.forbidden("spec", _STATEFUL_UPDATE)]


def status_counts(counts: Sequence[str], within: Sequence[str] = (), available: str = "") -> common.Checker:
    """A check of a status.

    :param counts: what is not negative.
    :param within: of these, what is not above ``replicas``.
    :param available: of these, what is not above ``readyReplicas`` either.
    """

    def check(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
        del old
        status = obj.get("status") or {}
        found = [error for field in counts for error in common.not_negative(status.get(field), f"status.{field}")]
        for field in within:
            if status.get(field, 0) > status.get("replicas", 0):
                found.append(
                    errors.invalid(f"status.{field}", status.get(field, 0), "cannot be greater than status.replicas")
                )
        if available and status.get(available, 0) > status.get("readyReplicas", 0):
            found.append(
                errors.invalid(f"status.{available}", status.get(available, 0), "cannot be greater than readyReplicas")
            )
        return found

    return check


validate_stateful_status = status_counts(
    *(
        ("replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas", "observedGeneration"),
        ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"),
        "availableReplicas",
    )
)
validate_deployment_status = status_counts(
    *(
        ("observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas"),
        ("updatedReplicas", "readyReplicas", "availableReplicas"),
        "availableReplicas",
    )
)
validate_replica_set_status = status_counts(
    *(
        ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"),
        ("fullyLabeledReplicas", "readyReplicas", "availableReplicas"),
        "availableReplicas",
    )
)
validate_daemon_status = status_counts(
    (
        *("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"),
        *("observedGeneration", "updatedNumberScheduled", "numberAvailable", "numberUnavailable"),
    )
)


def validate_deployment(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found = common.not_negative(spec.get("replicas"), "spec.replicas")
    found += _check_selector(spec, "deployment")
    found += _check_pods(spec)
    found += _check_strategy(spec.get("strategy") or {})
    for field in ("minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"):
        found += common.not_negative(spec.get(field), f"spec.{field}")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= spec.get("minReadySeconds", 0):
        detail = "must be greater than minReadySeconds"
        found.append(errors.invalid("spec.progressDeadlineSeconds", deadline, detail))
    return found + _immutable(obj, old, "selector")


def _check_strategy(strategy: JSONMapping) -> list[FieldError]:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "Recreate":
        if rolling is None:
            return []
        detail = "may not be specified when strategy `type` is 'Recreate'"
        return [errors.forbidden("spec.strategy.rollingUpdate", detail)]
    if kind != "RollingUpdate":
        return [errors.not_supported("spec.strategy", strategy, ("Recreate", "RollingUpdate"))]
    rolling = rolling or {}
    where, surge, unavailable = "spec.strategy.rollingUpdate", rolling.get("maxSurge"), rolling.get("maxUnavailable")
    found = _count_or_percent(unavailable, f"{where}.maxUnavailable", limited=False)
    found += _count_or_percent(surge, f"{where}.maxSurge", limited=False)
    if _is_zero(unavailable) and _is_zero(surge):
        detail = "may not be 0 when `maxSurge` is 0"
        found.append(errors.invalid(f"{where}.maxUnavailable", unavailable, detail))
    return found + _at_most_all(unavailable, f"{where}.maxUnavailable")


def _is_zero(amount: object) -> bool:
    return str(amount if amount is not None else 0).removesuffix("%") in ("0", "00", "000")


def _at_most_all(amount: object, path: str) -> list[FieldError]:
    """No more than 100 percent."""
    if isinstance(amount, str) and amount.endswith("%") and amount[:-1].isdigit() and int(amount[:-1]) > 100:
        return [errors.invalid(path, amount, "must not be greater than 100%")]
    return []


def validate_replica_set(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found = common.not_negative(spec.get("replicas"), "spec.replicas")
    found += common.not_negative(spec.get("minReadySeconds"), "spec.minReadySeconds")
    found += _check_selector(spec, "replicaset")
    found += _check_pods(spec)
    return found + _immutable(obj, old, "selector")


def validate_replication_controller(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    del old
    spec = obj.get("spec") or {}
    found = common.not_negative(spec.get("replicas"), "spec.replicas")
    if not spec.get("selector"):
        found.append(errors.required("spec.selector"))
    if spec.get("template") is None:
        found.append(errors.required("spec.template"))
        return found
    labels = (spec["template"].get("metadata") or {}).get("labels")
    if not common.selects({"matchLabels": spec.get("selector") or {}}, labels):
        found.append(errors.invalid("spec.template.metadata.labels", labels, _MISMATCH))
    return found + check_template(spec["template"], "spec.template")


def validate_daemon_set(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found = _check_selector(spec, "daemonset", needed=False)
    found += check_template(spec.get("template"), "spec.template")
    found += _no_deadline(spec, "DaemonSet")
    found += common.not_negative(spec.get("minReadySeconds"), "spec.minReadySeconds")
    found += _check_daemon_strategy(spec.get("updateStrategy") or {})
    found += common.not_negative(spec.get("revisionHistoryLimit"), "spec.revisionHistoryLimit")
    return found + _immutable(obj, old, "selector")


def _check_daemon_strategy(strategy: JSONMapping) -> list[FieldError]:
    where, kind = "spec.updateStrategy", strategy.get("type")
    if kind == "OnDelete":
        return []
    if kind != "RollingUpdate":
        return [errors.not_supported(where, strategy, ("OnDelete", "RollingUpdate"))]
    where, rolling = f"{where}.rollingUpdate", strategy["rollingUpdate"]
    surge, unavailable = rolling.get("maxSurge"), rolling.get("maxUnavailable")
    found = _count_or_percent(unavailable, f"{where}.maxUnavailable")
    found += _count_or_percent(surge, f"{where}.maxSurge")
    if _is_zero(unavailable) and _is_zero(surge):
        found.append(errors.required(f"{where}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    elif not _is_zero(unavailable) and not _is_zero(surge):
        detail = "may not be set when maxUnavailable is non-zero"
        found.append(errors.invalid(f"{where}.maxSurge", surge, detail))
    return found


def validate_job(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    spec = obj.get("spec") or {}
    if old is not None:
        return _check_job_spec(spec, "spec") + _check_job_update(obj, old)
    return _check_generated(obj) + _check_job_spec(spec, "spec") + _check_job_selector(obj)


def _check_generated(obj: JSONMapping) -> list[FieldError]:
    """What is made for a new Job was not given in another way, unless it selects its Pods itself."""
    spec, metadata = obj["spec"], obj.get("metadata") or {}
    if spec.get("manualSelector") or spec.get("selector") is None:
        return []
    expected = job_labels(metadata)
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    found = [
        errors.invalid(f"spec.template.metadata.labels[{key}]", labels, f"must be '{value}'")
        for key, value in expected.items()
        if labels.get(key) != value
    ]
    if not common.selects(spec["selector"], expected):
        found.append(errors.invalid("spec.selector", spec["selector"], "`selector` not auto-generated"))
    return found


def _check_job_spec(spec: JSONMapping, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    for field in ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"):
        found += common.not_negative(spec.get(field), f"{path}.{field}")
    mode = spec.get("completionMode")
    if mode not in ("NonIndexed", "Indexed"):
        found.append(errors.not_supported(f"{path}.completionMode", mode or "", ("Indexed", "NonIndexed")))
    elif mode == "Indexed":
        if spec.get("completions") is None:
            detail = "when completion mode is Indexed"
            found.append(errors.required(f"{path}.completions", detail))
    else:
        for field in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if spec.get(field) is not None:
                found.append(errors.invalid(f"{path}.{field}", spec[field], "requires indexed completion mode"))
    template = spec.get("template")
    found += check_template(template, f"{path}.template", restart=None)
    policy = ((template or {}).get("spec") or {}).get("restartPolicy")
    where = f"{path}.template.spec.restartPolicy"
    if policy in (None, "Always"):
        found.append(errors.required(where, 'valid values: "OnFailure", "Never"'))
    elif policy not in ("OnFailure", "Never"):
        found.append(errors.not_supported(where, policy, ("OnFailure", "Never")))
    return found


def _check_job_selector(obj: JSONMapping) -> list[FieldError]:
    """The selector of a new Job is made for it, and selects its own Pods."""
    spec = obj["spec"]
    selector = spec.get("selector")
    if selector is None:
        return [errors.required("spec.selector")]
    found = common.label_selector(selector, "spec.selector")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if not common.selects(selector, labels):
        found.append(errors.invalid("spec.template.metadata.labels", labels, _MISMATCH))
    return found


def _check_job_update(obj: JSONMapping, old: JSONMapping) -> list[FieldError]:
    """A suspended Job that never ran may still change where its Pods are to run."""
    found: list[FieldError] = []
    indexed = obj["spec"].get("completionMode") == "Indexed"
    if not indexed or obj["spec"].get("completions") != obj["spec"].get("parallelism"):
        found += _immutable(obj, old, "completions")
    found += _immutable(obj, old, "selector")
    suspended = old["spec"].get("suspend") and not (old.get("status") or {}).get("startTime")
    if _fixed_template(obj, free=bool(suspended)) != _fixed_template(old, free=bool(suspended)):
        found.append(errors.invalid("spec.template", obj["spec"].get("template"), common.IMMUTABLE))
    for field in ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"):
        found += _immutable(obj, old, field)
    return found


def _fixed_template(obj: JSONMapping, *, free: bool) -> object:
    template = copy.deepcopy(obj["spec"].get("template") or {})
    if free:
        for field in ("nodeSelector", "tolerations", "schedulingGates", "affinity"):
            template.get("spec", {}).pop(field, None)
        for field in ("labels", "annotations"):
            template.get("metadata", {}).pop(field, None)
    return template


def validate_pod_template(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    del old
    return check_template(obj.get("template"), "template", restart=None)


def validate_cron_job(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    spec = obj.get("spec") or {}
    name = str((obj.get("metadata") or {}).get("name") or "")
    found: list[FieldError] = []
    if old is None and len(name) > _MAX_CRON_JOB_NAME:
        found.append(errors.invalid("metadata.name", name, f"must be no more than {_MAX_CRON_JOB_NAME} characters"))
    if not spec.get("schedule"):
        found.append(errors.required("spec.schedule"))
    else:
        found += _check_schedule(str(spec["schedule"]))
    zone = spec.get("timeZone")
    if zone is not None and not _is_zone(zone):
        detail = "unknown time zone " + zone if zone else "timeZone must be nil or non-empty string"
        found.append(errors.invalid("spec.timeZone", zone, detail))
    for field in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        found += common.not_negative(spec.get(field), f"spec.{field}")
    found += common.one_of(spec.get("concurrencyPolicy"), ("Allow", "Forbid", "Replace"), "spec.concurrencyPolicy")
    job = {"completionMode": "NonIndexed", **((spec.get("jobTemplate") or {}).get("spec") or {})}
    found += _check_job_spec(job, "spec.jobTemplate.spec")
    if job.get("selector") is not None:
        detail = "`selector` will be auto-generated"
        found.append(errors.invalid("spec.jobTemplate.spec.selector", job["selector"], detail))
    if job.get("manualSelector"):
        found.append(errors.not_supported("spec.jobTemplate.spec.manualSelector", True, ("nil", "false")))
    return found


_SCHEDULES: Final = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_FIELDS: Final = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_NAMES: Final = {
    name: number
    for names in ("jan feb mar apr may jun jul aug sep oct nov dec", "sun mon tue wed thu fri sat")
    for number, name in enumerate(names.split(), 1 if names.startswith("jan") else 0)
}
_RANGE = re.compile(r"(\*|\?|\w+(?:-\w+)?)(?:/(\d+))?")


def _check_schedule(schedule: str) -> list[FieldError]:
    """Five fields, or one of the names."""
    if "TZ" in schedule:
        detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        return [errors.invalid("spec.schedule", schedule, detail)]
    if schedule in _SCHEDULES or schedule.startswith("@every "):
        return []
    parts = schedule.split()
    if len(parts) != len(_FIELDS):
        detail = f"expected exactly 5 fields, found {len(parts)}: [{schedule}]"
        return [errors.invalid("spec.schedule", schedule, detail)]
    for part, (least, most) in zip(parts, _FIELDS, strict=True):
        for each in part.split(","):
            match = _RANGE.fullmatch(each)
            numbers = [_number(word) for word in match[1].split("-")] if match and match[1] not in ("*", "?") else []
            if match is None or any(number is None or not least <= number <= most for number in numbers):
                return [errors.invalid("spec.schedule", schedule, f"failed to parse int from {each}")]
    return []


def _number(word: str) -> int | None:
    return int(word) if word.isdigit() else _NAMES.get(word.lower())


def _is_zone(name: str) -> bool:
    try:
        return bool(name) and name != "Local" and zoneinfo.ZoneInfo(name) is not None
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False


def validate_disruption_budget(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    del old
    spec = obj.get("spec") or {}
    found: list[FieldError] = []
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if least is not None and most is not None:
        detail = "minAvailable and maxUnavailable cannot be both set"
        found.append(errors.invalid("spec", spec, detail))
    for field, value in (("minAvailable", least), ("maxUnavailable", most)):
        found += _count_or_percent(value, f"spec.{field}")
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None:
        found += common.one_of(policy, ("AlwaysAllow", "IfHealthyBudget"), "spec.unhealthyPodEvictionPolicy")
    return found + common.label_selector(spec.get("selector"), "spec.selector")


def _count_or_percent(value: object, path: str, *, limited: bool = True) -> list[FieldError]:
    """:param limited: to 100 percent."""
    if isinstance(value, str):
        number = value.removesuffix("%")
        if number == value or not number.isdigit():
            detail = (
                "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', "
                "regex used for validation is '[0-9]+%')"
            )
            return [errors.invalid(path, value, detail)]
        return _at_most_all(value, path) if limited else []
    return common.not_negative(value, path)
