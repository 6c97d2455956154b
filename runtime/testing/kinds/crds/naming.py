"""Which CRD may have which names: the conditions NamesAccepted and Established."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from runtime.testing.kinds.crds.approval import approval_condition
from runtime.testing.kinds.crds.conversion import is_bad_bundle
from runtime.types import JSONMapping, JSONObject

_RESOURCES: Final = (
    ("plural", "PluralConflict"),
    ("singular", "SingularConflict"),
    ("shortNames", "ShortNamesConflict"),
)
_KINDS: Final = (("kind", "KindConflict"), ("listKind", "ListKindConflict"))


def next_status(crd: JSONMapping, others: Iterable[JSONMapping], now: datetime) -> JSONObject:
    """The status of ``crd`` after one more step of the real server's controllers, beside the other CRDs of the server;
    the same if there is nothing left to do.

    First its names are looked at: those that another CRD of the group has are not accepted. Once all are, the CRD is
    established, which means that its objects are served.
    """
    status = dict(crd.get("status") or {})
    conditions = [dict(each) for each in status.get("conditions") or ()]
    status["conditions"] = conditions
    _look_at_approval(crd, conditions, now)
    if not _same_names(crd["spec"]["names"], status.get("acceptedNames") or {}):
        before = [dict(each) for each in conditions], status.get("acceptedNames")
        _look_at_names(crd, status, others, now)
        if (conditions, status["acceptedNames"]) != before:
            return status
    if is_true(conditions, "NamesAccepted") and not is_true(conditions, "Established"):
        _establish(crd, conditions, now)
    status["conditions"] = conditions or None
    return status


def is_established(crd: JSONMapping) -> bool:
    """Whether the CRD's objects are served."""
    return is_true((crd.get("status") or {}).get("conditions") or (), "Established")


def is_true(conditions: Iterable[JSONMapping], kind: str) -> bool:
    return any(each.get("type") == kind and each.get("status") == "True" for each in conditions)


def set_condition(
    conditions: list[JSONObject], kind: str, is_true: bool, reason: str, message: str, now: datetime
) -> None:
    """Add or change a condition; its time moves with its status only."""
    new: JSONObject = {
        "type": kind,
        "status": "True" if is_true else "False",
        "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "reason": reason,
        "message": message,
    }
    for each in conditions:
        if each.get("type") == kind:
            if each.get("status") == new["status"] and each.get("lastTransitionTime"):
                del new["lastTransitionTime"]
            each.update(new)
            return
    conditions.append(new)


def _same_names(wanted: JSONMapping, accepted: JSONMapping) -> bool:
    return {k: v for k, v in wanted.items() if v} == {k: v for k, v in accepted.items() if v}


def _look_at_approval(crd: JSONMapping, conditions: list[JSONObject], now: datetime) -> None:
    found = approval_condition(crd)
    if found is not None:
        set_condition(conditions, "KubernetesAPIApprovalPolicyConformant", *found, now)


def _look_at_names(crd: JSONMapping, status: JSONObject, others: Iterable[JSONMapping], now: datetime) -> None:
    conditions = status["conditions"]
    accepted, conflict = _accept(crd["spec"], status.get("acceptedNames") or {}, others)
    status["acceptedNames"] = accepted
    reason, message = conflict or ("NoConflicts", "no conflicts found")
    set_condition(conditions, "NamesAccepted", conflict is None, reason, message, now)
    if is_true(conditions, "Established"):
        return
    if conflict is None:
        text = "the initial names have been accepted"
        set_condition(conditions, "Established", False, "Installing", text, now)
    elif not any(each.get("type") == "Established" for each in conditions):
        set_condition(conditions, "Established", False, "NotAccepted", "not all names are accepted", now)


def _establish(crd: JSONMapping, conditions: list[JSONObject], now: datetime) -> None:
    webhook = (crd["spec"].get("conversion") or {}).get("webhook") or {}
    if is_bad_bundle((webhook.get("clientConfig") or {}).get("caBundle") or ""):
        text = "The conversion webhook CABundle is invalid"
        set_condition(conditions, "Established", False, "InvalidCABundle", text, now)
        return
    text = "the initial names have been accepted"
    set_condition(conditions, "Established", True, "InitialNamesAccepted", text, now)


def _accept(
    spec: JSONMapping, accepted_before: JSONMapping, others: Iterable[JSONMapping]
) -> tuple[JSONObject, tuple[str, str] | None]:
    """The names that the CRD has from now on, and the last conflict."""
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        if other["spec"]["group"] == spec["group"]:
            theirs = (other.get("status") or {}).get("acceptedNames") or {}
            resources |= {theirs.get("plural", ""), theirs.get("singular", ""), *(theirs.get("shortNames") or ())}
            kinds |= {theirs.get("kind", ""), theirs.get("listKind", "")}
    wanted, accepted = spec["names"], dict(accepted_before)
    conflict: tuple[str, str] | None = None
    for fields, taken in ((_RESOURCES, resources), (_KINDS, kinds)):
        for name, reason in fields:
            value = wanted.get(name)
            if value == accepted.get(name):
                continue
            had, given = _listed(accepted.get(name)), _listed(value)
            clashes = [each for each in given if each in taken and each not in had]
            if clashes:
                texts = [f'"{each}" is already in use' for each in clashes]
                conflict = (reason, texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
            elif value:
                accepted[name] = value
            else:
                accepted.pop(name, None)
    if wanted.get("categories"):
        accepted["categories"] = wanted["categories"]
    else:
        accepted.pop("categories", None)
    return accepted, conflict


def _listed(value: str | list[str] | None) -> list[str]:
    """One name, or the short names; either may be left out."""
    if isinstance(value, list):
        return value
    return [value] if value else []
