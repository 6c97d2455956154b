"""Defaults of the kinds that make Pods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from runtime.testing.kinds.defaults.pods import default_template
from runtime.types import JSONMapping, JSONObject

_CONTROLLER_UID: Final = "batch.kubernetes.io/controller-uid"


def _spec(obj: JSONObject) -> JSONObject:
    spec = obj.get("spec")
    return spec if isinstance(spec, dict) else {}


def default_stateful_set(obj: JSONObject) -> None:
    spec = _spec(obj)
    default_template(spec.get("template"))
    spec.setdefault("podManagementPolicy", "OrderedReady")
    strategy = spec.setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        strategy.setdefault("rollingUpdate", {})
    if strategy["type"] == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
        strategy["rollingUpdate"].setdefault("partition", 0)
    retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    retention.setdefault("whenDeleted", "Retain")
    retention.setdefault("whenScaled", "Retain")
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    for claim in spec.get("volumeClaimTemplates") or ():
        claim["kind"], claim["apiVersion"] = "PersistentVolumeClaim", "v1"
        claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
        claim.setdefault("status", {}).setdefault("phase", "Pending")


def default_deployment(obj: JSONObject) -> None:
    spec = _spec(obj)
    default_template(spec.get("template"))
    spec.setdefault("replicas", 1)
    strategy = spec.setdefault("strategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)


def default_replica_set(obj: JSONObject) -> None:
    spec = _spec(obj)
    default_template(spec.get("template"))
    spec.setdefault("replicas", 1)


def default_replication_controller(obj: JSONObject) -> None:
    spec = _spec(obj)
    default_replica_set(obj)
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if labels:
        spec.setdefault("selector", dict(labels))
        metadata = obj.setdefault("metadata", {})
        if not metadata.get("labels"):
            metadata["labels"] = dict(labels)


def default_daemon_set(obj: JSONObject) -> None:
    spec = _spec(obj)
    default_template(spec.get("template"))
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    spec.setdefault("revisionHistoryLimit", 10)


def default_job(obj: JSONObject) -> None:
    spec = _spec(obj)
    default_template(spec.get("template"))
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = spec["parallelism"] = 1
    spec.setdefault("parallelism", 1)
    # With a limit per index, the number of failures as a whole has none.
    spec.setdefault("backoffLimit", 2**31 - 1 if "backoffLimitPerIndex" in spec else 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    policy = "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed"
    spec.setdefault("podReplacementPolicy", policy)
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            if not pattern.get("status"):
                pattern["status"] = "True"
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    metadata = obj.get("metadata")
    if labels and isinstance(metadata, dict) and not metadata.get("labels"):
        metadata["labels"] = labels  # the same dict: what a new Job's template gets besides, the Job gets


def default_cron_job(obj: JSONObject) -> None:
    spec = _spec(obj)
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    template = (spec.get("jobTemplate") or {}).get("spec")
    if isinstance(template, dict):
        default_template(template.get("template"))


def job_labels(metadata: JSONMapping) -> dict[str, str]:
    """The labels by which a Job's Pods are known."""
    uid, name = str(metadata.get("uid") or ""), str(metadata.get("name") or "")
    return {
        "controller-uid": uid,
        "job-name": name,
        _CONTROLLER_UID: uid,
        "batch.kubernetes.io/job-name": name,
    }


def select_job(obj: JSONObject) -> None:
    """A new Job selects its Pods by its own uid, unless it says it selects them itself."""
    spec, metadata = obj.setdefault("spec", {}), obj["metadata"]
    if spec.get("manualSelector"):
        return
    generated = job_labels(metadata)
    if spec.get("selector") is None:
        spec["selector"] = {}
    _fill_labels(spec["selector"], "matchLabels", {_CONTROLLER_UID: generated[_CONTROLLER_UID]})
    template = spec.setdefault("template", {}).setdefault("metadata", {})
    shared = not metadata.get("labels") or metadata["labels"] is template.get("labels")
    _fill_labels(template, "labels", generated)
    if shared:
        metadata["labels"] = dict(template["labels"])


def _fill_labels(holder: JSONObject, field: str, values: Mapping[str, str]) -> None:
    holder[field] = {**values, **(holder.get(field) or {})}
