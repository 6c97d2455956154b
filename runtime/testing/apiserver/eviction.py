"""The eviction subresource of Pods: a deletion that asks their disruption budget first."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from runtime.selectors import LabelSelector, SelectorError
from runtime.testing.apiserver import errors
from runtime.testing.apiserver.binding import set_pod_condition
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.delete_options import DeleteOptions, from_object
from runtime.testing.apiserver.deletes import Deleter
from runtime.testing.apiserver.log import Stored
from runtime.testing.apiserver.routing import Target
from runtime.testing.apiserver.write_options import WriteOptions
from runtime.testing.apiserver.writes import Writer
from runtime.testing.kinds.model import Kind
from runtime.types import GVR, JSONObject

_BUDGETS = GVR("policy", "v1", "poddisruptionbudgets")
_MAX_DISRUPTED = 2000
_RETRY_AFTER = 10  # seconds
_TRIES = 20
_DISRUPTION: Final = {
    "type": "DisruptionTarget",
    "status": "True",
    "reason": "EvictionByEvictionAPI",
    "message": "Eviction API: evicting",
}
_REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."


class Evictor:
    """Evicts Pods."""

    def __init__(self, context: Context, writer: Writer, deleter: Deleter) -> None:
        self._context = context
        self._writer = writer
        self._deleter = deleter

    def evict(self, target: Target, eviction: JSONObject, *, dry_run: bool) -> None:
        """Delete the Pod, and count that in its budget.

        :raises StatusError: 400 (an Eviction of another Pod), 404, 409, 422 (bad delete options), 429 (the budget does
            not allow it, now), 500 (it has several budgets).
        """
        if eviction["metadata"].get("name") != target.name:
            raise errors.bad_request("name in URL does not match name in Eviction object")
        options = from_object(eviction.get("deleteOptions") or {})
        options = replace(options, dry_run=options.dry_run or dry_run)
        for attempt in range(_TRIES):
            pod = self._context.store.get(target.kind.storage_key, target.namespace, target.name)
            if pod is None:
                raise errors.not_found(target.kind, target.name)
            if not _free(pod):
                self._evict_counted(target, pod, options)
                return
            # What may have become ready meanwhile has to be looked at again.
            fixed = (
                options if options.version is not None or _ended(pod) else replace(options, version=str(pod.version))
            )
            try:
                self._delete(target, fixed)
            except errors.StatusError as error:
                if error.reason != "Conflict" or options.version is not None or attempt == _TRIES - 1:
                    raise
            else:
                return

    def _evict_counted(self, target: Target, pod: Stored, options: DeleteOptions) -> None:
        budgets = self._budgets_of(pod)
        if len(budgets) > 1:
            raise errors.StatusError(
                500,
                "",
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            )
        free = bool(budgets) and _costs_nothing(pod, budgets[0])
        if budgets and not free:
            self._take_from(budgets[0], pod, dry_run=options.dry_run)
        try:
            # A Pod that costs nothing must not have become ready since.
            self._mark_and_delete(target, replace(options, version=str(pod.version)) if free else options)
        except errors.StatusError as error:
            if error.reason == "Conflict" and free and options.version is None:
                raise _in_progress(budgets[0].name) from None
            raise

    def _mark_and_delete(self, target: Target, options: DeleteOptions) -> None:
        marked = self._mark(target, options)
        self._delete(target, replace(options, version=str(marked.version)) if options.version is not None else options)

    def _delete(self, target: Target, options: DeleteOptions) -> None:
        self._deleter.delete(target.kind, target.namespace, target.name, options)

    def _mark(self, target: Target, options: DeleteOptions) -> Stored:
        """Say on the Pod why it goes; returns its new state."""
        now = self._context.timestamp()

        def check(current: Stored | None) -> None:
            if current is not None:
                self._deleter.check(target.kind, current, options)

        def change(pod: JSONObject) -> JSONObject:
            set_pod_condition(pod, _DISRUPTION, now)
            return pod

        main = Target(target.kind, target.namespace, target.name, "status")
        return self._writer.update(main, change, WriteOptions(dry_run=options.dry_run), None, check).stored

    # -- budgets

    def _budget_kind(self) -> Kind:
        kind = self._context.registry.lookup(_BUDGETS)
        assert kind is not None
        return kind

    def _budgets_of(self, pod: Stored) -> list[Stored]:
        objects, _ = self._context.store.snapshot(self._budget_kind().storage_key, pod.namespace)
        return [each for each in objects if _selects(each, pod)]

    def _take_from(self, budget: Stored, pod: Stored, *, dry_run: bool) -> None:
        """Count one disruption. Raises 429 and 403 if the budget has none left."""
        now = self._context.timestamp()

        def change(obj: JSONObject) -> JSONObject:
            _check_budget(obj)
            status = obj["status"]
            status["disruptionsAllowed"] -= 1
            if not status["disruptionsAllowed"]:
                _set_condition(status, now)
            status.setdefault("disruptedPods", {})[pod.name] = now
            return obj

        target = Target(self._budget_kind(), budget.namespace, budget.name, "status")
        self._writer.update(target, change, WriteOptions(dry_run=dry_run), None)


def _free(pod: Stored) -> bool:
    """Whether no budget counts this Pod."""
    return _ended(pod) or (pod.obj.get("status") or {}).get("phase", "Pending") == "Pending"


def _ended(pod: Stored) -> bool:
    phase = (pod.obj.get("status") or {}).get("phase")
    return phase in ("Succeeded", "Failed") or bool(pod.obj["metadata"].get("deletionTimestamp"))


def _costs_nothing(pod: Stored, budget: Stored) -> bool:
    """Whether a Pod that is not ready may go, whatever the budget has left."""
    conditions = (pod.obj.get("status") or {}).get("conditions") or ()
    if any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions):
        return False
    spec, status = budget.obj.get("spec") or {}, budget.obj.get("status") or {}
    if spec.get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    desired = status.get("desiredHealthy", 0)
    return bool(desired > 0 and status.get("currentHealthy", 0) >= desired)


def _selects(budget: Stored, pod: Stored) -> bool:
    """An empty selector selects all Pods of the namespace; a missing one and one that makes no sense, none."""
    try:
        return LabelSelector.from_dict((budget.obj.get("spec") or {}).get("selector")).matches(pod.labels)
    except SelectorError:
        return False


def _check_budget(budget: JSONObject) -> None:
    name, status = budget["metadata"]["name"], budget.setdefault("status", {})
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise _in_progress(name)
    if status.get("disruptionsAllowed", 0) < 0:
        raise _forbidden(name, "pdb disruptions allowed is negative")
    if len(status.get("disruptedPods") or {}) > _MAX_DISRUPTED:
        raise _forbidden(name, "DisruptedPods map too big - too many evictions not confirmed by PDB controller")
    if not status.get("disruptionsAllowed"):
        needed, has = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
        raise _too_many(f"The disruption budget {name} needs {needed} healthy pods and has {has} currently")


def _set_condition(status: JSONObject, now: str) -> None:
    conditions = status.setdefault("conditions", [])
    kept = next((each for each in conditions if each.get("type") == "DisruptionAllowed"), None)
    since = kept["lastTransitionTime"] if kept is not None and kept.get("status") == "False" else now
    conditions[:] = [each for each in conditions if each is not kept]
    conditions.append(
        {
            "type": "DisruptionAllowed",
            "status": "False",
            "observedGeneration": status.get("observedGeneration", 0),
            "lastTransitionTime": since,
            "reason": "InsufficientPods",
            "message": "",
        }
    )


def _in_progress(name: str) -> errors.StatusError:
    return _too_many(f"The disruption budget {name} is still being processed by the server.", _RETRY_AFTER)


def _too_many(why: str, retry_after: int = 0) -> errors.StatusError:
    details: JSONObject = {"causes": [{"reason": "DisruptionBudget", "message": why}]}
    if retry_after:
        details["retryAfterSeconds"] = retry_after
    return errors.StatusError(429, "TooManyRequests", _REFUSED, details)


def _forbidden(name: str, why: str) -> errors.StatusError:
    """QUIRK kept: this refusal alone names the resource in the singular."""
    details = {"name": name, "group": "policy", "kind": "poddisruptionbudget"}
    message = f"poddisruptionbudget.policy {errors.quote(name)} is forbidden: {why}"
    return errors.StatusError(403, "Forbidden", message, details)
