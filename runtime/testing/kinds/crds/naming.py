"""Which CRD may have which names: the conditions NamesAccepted and Established."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from runtime.types import JSONObject


def new_status(crd: JSONObject, others: Iterable[JSONObject], now: datetime) -> JSONObject:
    """The status of ``crd`` beside the other CRDs of the server.

    Names that another CRD of the group has already are not accepted, and a CRD is served once all its names were.
    """
    spec, status = crd["spec"], dict(crd.get("status") or {})
    accepted, conflict = _accept(spec, status.get("acceptedNames") or {}, others)
    names_ok = conflict is None
    reason, message = conflict or ("NoConflicts", "no conflicts found")
    conditions = [dict(each) for each in status.get("conditions") or []]
    _set_condition(conditions, "NamesAccepted", names_ok, reason, message, now)
    if names_ok:
        _set_condition(
            conditions,
            "Established",
            True,
            "InitialNamesAccepted",
            "the initial names have been accepted",
            now,
        )
    elif not is_established({"status": {"conditions": conditions}}):
        _set_condition(conditions, "Established", False, "NotAccepted", "not all names are accepted", now)
    stored = list(status.get("storedVersions") or [])
    for version in spec.get("versions") or []:
        if version.get("storage") and version["name"] not in stored:
            stored.append(version["name"])
    return {**status, "acceptedNames": accepted, "conditions": conditions, "storedVersions": stored}


def is_established(crd: JSONObject) -> bool:
    """Whether the CRD's objects are served."""
    conditions = (crd.get("status") or {}).get("conditions") or []
    return any(each.get("type") == "Established" and each.get("status") == "True" for each in conditions)


def _accept(
    spec: JSONObject, accepted_before: JSONObject, others: Iterable[JSONObject]
) -> tuple[JSONObject, tuple[str, str] | None]:
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        if other["spec"]["group"] != spec["group"]:
            continue
        theirs = (other.get("status") or {}).get("acceptedNames") or {}
        resources |= {theirs.get("plural", ""), theirs.get("singular", ""), *(theirs.get("shortNames") or [])}
        kinds |= {theirs.get("kind", ""), theirs.get("listKind", "")}
    wanted = spec["names"]
    accepted: JSONObject = dict(accepted_before)
    conflict: tuple[str, str] | None = None
    for name, reason, taken in (
        ("plural", "PluralConflict", resources),
        ("singular", "SingularConflict", resources),
        ("shortNames", "ShortNamesConflict", resources),
        ("kind", "KindConflict", kinds),
        ("listKind", "ListKindConflict", kinds),
    ):
        value = wanted.get(name)
        given = value if isinstance(value, list) else [value]
        clashes = [each for each in given if each and each in taken]
        if clashes:
            conflict = (reason, ", ".join(f'"{each}" is already in use' for each in clashes))
        elif value:
            accepted[name] = value
        else:
            accepted.pop(name, None)
    if wanted.get("categories"):
        accepted["categories"] = wanted["categories"]
    return accepted, conflict


def _set_condition(
    conditions: list[JSONObject], kind: str, is_true: bool, reason: str, message: str, now: datetime
) -> None:
    status = "True" if is_true else "False"
    new = {
        "type": kind,
        "status": status,
        "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "reason": reason,
        "message": message,
    }
    for index, each in enumerate(conditions):
        if each.get("type") == kind:
            if each.get("status") == status:
                new["lastTransitionTime"] = each.get("lastTransitionTime", new["lastTransitionTime"])
            conditions[index] = new
            return
    conditions.append(new)
