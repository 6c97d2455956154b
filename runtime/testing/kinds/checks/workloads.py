"""Checks of the kinds that make Pods."""

from __future__ import annotations

from typing import Final

from runtime.testing.kinds import errors
from runtime.testing.kinds.checks import common
from runtime.testing.kinds.checks.pods import check_template
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


def _check_selector(spec: JSONMapping, what: str) -> list[FieldError]:
    """The selector has to be there, not empty, and select the template's Pods."""
    found: list[FieldError] = []
    selector = spec.get("selector")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if selector is None:
        found.append(errors.required("spec.selector"))
    else:
        found += common.label_selector(selector, "spec.selector")
        if common.is_empty_selector(selector):
            detail = f"empty selector is invalid for {what}"
            found.append(errors.invalid("spec.selector", selector, detail))
    if selector is None or not common.selects(selector, labels) or common.is_empty_selector(selector):
        found.append(errors.invalid("spec.template.metadata.labels", labels, _MISMATCH))
    return found


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
    found += _check_selector(spec, "statefulset")
    claims = [(claim.get("metadata") or {}).get("name") or "" for claim in spec.get("volumeClaimTemplates") or ()]
    found += check_template(spec.get("template"), "spec.template", claims=claims)
    if old is not None:
        found += _check_stateful_update(spec, old["spec"])
    return found


def _check_stateful_update(spec: JSONMapping, old: JSONMapping) -> list[FieldError]:
    kept = {key: value for key, value in spec.items() if key not in _STATEFUL_MUTABLE}
    before = {key: value for key, value in old.items() if key not in _STATEFUL_MUTABLE}
    return [] if kept == before else [errors.forbidden("spec", _STATEFUL_UPDATE)]


def validate_stateful_status(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    """Counts are not negative, and none is above the number of replicas."""
    del old
    status = obj.get("status") or {}
    found: list[FieldError] = []
    counts = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    for field in ("replicas", *counts):
        found += common.not_negative(status.get(field), f"status.{field}")
    if "observedGeneration" in status:
        found += common.not_negative(status["observedGeneration"], "status.observedGeneration")
    for field in counts:
        if status.get(field, 0) > status.get("replicas", 0):
            detail = "cannot be greater than status.replicas"
            found.append(errors.invalid(f"status.{field}", status.get(field, 0), detail))
    if status.get("availableReplicas", 0) > status.get("readyReplicas", 0):
        detail = "cannot be greater than status.readyReplicas"
        found.append(errors.invalid("status.availableReplicas", status["availableReplicas"], detail))
    return found


def validate_deployment(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found = common.not_negative(spec.get("replicas"), "spec.replicas")
    found += _check_selector(spec, "deployment")
    found += check_template(spec.get("template"), "spec.template")
    strategy = spec.get("strategy") or {}
    if strategy.get("type") == "Recreate":
        if strategy.get("rollingUpdate") is not None:
            detail = "may not be specified when strategy `type` is 'Recreate'"
            found.append(errors.forbidden("spec.strategy.rollingUpdate", detail))
    else:
        found += common.one_of(strategy.get("type"), ("Recreate", "RollingUpdate"), "spec.strategy.type")
    for field in ("minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"):
        found += common.not_negative(spec.get(field), f"spec.{field}")
    return found + _immutable(obj, old, "selector")


def validate_replica_set(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found = common.not_negative(spec.get("replicas"), "spec.replicas")
    found += _check_selector(spec, "replicaset")
    found += check_template(spec.get("template"), "spec.template")
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
    found = _check_selector(spec, "daemonset")
    found += check_template(spec.get("template"), "spec.template")
    found += common.one_of(
        (spec.get("updateStrategy") or {}).get("type"), ("RollingUpdate", "OnDelete"), "spec.updateStrategy.type"
    )
    return found + _immutable(obj, old, "selector")


def validate_job(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found: list[FieldError] = []
    for field in ("parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"):
        found += common.not_negative(spec.get(field), f"spec.{field}")
    found += check_template(spec.get("template"), "spec.template", restart=("OnFailure", "Never"))
    if (spec.get("template") or {}).get("spec", {}).get("restartPolicy") == "Always":
        found = [each for each in found if each.field != "spec.template.spec.restartPolicy"]
        detail = 'Unsupported value: "Always": supported values: "OnFailure", "Never"'
        found.append(FieldError("FieldValueNotSupported", "spec.template.spec.restartPolicy", detail))
    for field in ("selector", "template", "completionMode"):
        found += _immutable(obj, old, field)
    return found


def validate_cron_job(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    del old
    spec = obj.get("spec") or {}
    found: list[FieldError] = []
    if not spec.get("schedule"):
        found.append(errors.required("spec.schedule"))
    found += common.one_of(spec.get("concurrencyPolicy"), ("Allow", "Forbid", "Replace"), "spec.concurrencyPolicy")
    template = ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template")
    return found + check_template(template, "spec.jobTemplate.spec.template", restart=("OnFailure", "Never"))


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
    return found + common.label_selector(spec.get("selector"), "spec.selector")


def _count_or_percent(value: object, path: str) -> list[FieldError]:
    if isinstance(value, str):
        number = value.removesuffix("%")
        if number == value or not number.isdigit():
            detail = (
                "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', "
                "regex used for validation is '[0-9]+%')"
            )
            return [errors.invalid(path, value, detail)]
        return [] if int(number) <= 100 else [errors.invalid(path, value, "must not be greater than 100%")]
    return common.not_negative(value, path)
