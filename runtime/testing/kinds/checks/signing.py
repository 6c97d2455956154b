"""CertificateSigningRequests: what a write of each part may change, and what may not be asked for."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from runtime.testing.kinds import errors
from runtime.testing.kinds.model import FieldError
from runtime.types import JSONObject

_SIGNER: Final = re.compile(r"[^/]+/[^/]+")
_SHORTEST: Final = 600  # seconds
_DECISIONS: Final = ("Approved", "Denied")
_TRUE_ONLY: Final = (*_DECISIONS, "Failed")


def update(obj: JSONObject, old: JSONObject, subresource: str | None, now: datetime) -> None:
    """What is asked for stays; ``approval`` changes the conditions, ``status`` all of the status but who has decided
    what."""
    obj["spec"] = copy.deepcopy(old["spec"])
    before = copy.deepcopy(old.get("status") or {})
    if subresource not in ("status", "approval"):
        obj["status"] = before
        return
    status = obj.setdefault("status", {})
    if subresource == "status":
        _keep_decisions(status, before)
    _date(status, before, now.strftime("%Y-%m-%dT%H:%M:%SZ"))
    if subresource == "approval":
        before.pop("conditions", None)
        obj["status"] = before | {key: value for key, value in status.items() if key == "conditions"}


def validate(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    """Of a main write."""
    if old is not None:
        return []  # what is asked for stays as it is
    spec = obj.get("spec") or {}
    found: list[FieldError] = []
    if not spec.get("usages"):
        found.append(errors.required("spec.usages", "usages must be provided"))
    signer = spec.get("signerName") or ""
    if not signer:
        found.append(errors.required("spec.signerName"))
    elif not _SIGNER.fullmatch(signer):
        detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        found.append(errors.invalid("spec.signerName", signer, detail))
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < _SHORTEST:
        detail = "may not specify a duration less than 600 seconds (10 minutes)"
        found.append(errors.invalid("spec.expirationSeconds", seconds, detail))
    return found


def validate_approval(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    return [*_condition_problems(obj), *_removals(obj, old or {})]


def validate_status(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    old = old or {}
    found = validate_approval(obj, old)
    for each in _DECISIONS:
        if len(_of(obj, each)) > len(_of(old, each)):
            found.append(errors.forbidden("status.conditions", f'updates may not add a condition of type "{each}"'))
    certificate = (old.get("status") or {}).get("certificate")
    if certificate and (obj.get("status") or {}).get("certificate") != certificate:
        found.append(errors.forbidden("status.certificate", "updates may not modify existing certificate content"))
    return found


def _condition_problems(obj: JSONObject) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, each in enumerate(_conditions(obj)):
        path, kind, status = f"status.conditions[{index}]", each.get("type") or "", each.get("status") or ""
        allowed = ("True",) if kind in _TRUE_ONLY else ("False", "True", "Unknown")
        if not kind:
            yield errors.required(f"{path}.type")
        if not status:
            yield errors.required(f"{path}.status")
        elif status not in allowed:
            yield errors.not_supported(f"{path}.status", status, allowed)
        if kind in _DECISIONS and seen & {*_DECISIONS} - {kind}:
            yield errors.invalid(f"{path}.type", kind, "Approved and Denied conditions are mutually exclusive")
        if kind in seen:
            yield errors.duplicate(f"{path}.type", kind)
        seen.add(kind)


def _removals(obj: JSONObject, old: JSONObject) -> Iterator[FieldError]:
    for each in _TRUE_ONLY:
        if len(_of(obj, each)) < len(_of(old, each)):
            yield errors.forbidden("status.conditions", f'updates may not remove a condition of type "{each}"')


def _keep_decisions(status: JSONObject, before: JSONObject) -> None:
    """Put the decisions back as they were, unless there are more or fewer of them, which is refused later."""
    conditions = status.get("conditions") or []
    for each in _DECISIONS:
        places = [index for index, condition in enumerate(conditions) if condition.get("type") == each]
        kept = [condition for condition in before.get("conditions") or () if condition.get("type") == each]
        if len(places) == len(kept):
            for place, condition in zip(places, kept, strict=True):
                conditions[place] = condition


def _date(status: JSONObject, before: JSONObject, now: str) -> None:
    """A condition that does not say when it was written, is now; since when it is as it is, is known of the one before
    it."""
    since = {
        (each.get("type"), each.get("status")): each["lastTransitionTime"]
        for each in reversed(before.get("conditions") or ())
        if each.get("lastTransitionTime")
    }
    for each in status.get("conditions") or ():
        each["lastUpdateTime"] = each.get("lastUpdateTime") or now
        each["lastTransitionTime"] = each.get("lastTransitionTime") or since.get(
            (each.get("type"), each.get("status")), now
        )


def _conditions(obj: JSONObject) -> list[JSONObject]:
    found: list[JSONObject] = (obj.get("status") or {}).get("conditions") or []
    return found


def _of(obj: JSONObject, kind: str) -> list[JSONObject]:
    return [each for each in _conditions(obj) if each.get("type") == kind]
