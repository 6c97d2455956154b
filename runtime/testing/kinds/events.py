"""Events: two APIs, one storage. They are stored as core/v1 Events."""

from __future__ import annotations

from runtime.testing.kinds import errors, names
from runtime.testing.kinds.model import FieldError
from runtime.types import JSONObject

# events.k8s.io/v1 name -> core/v1 name
_NAMES = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_TO_NEW = {core: new for new, core in _NAMES.items()}
_MAX_NOTE = 1024
_MAX_REASON = 128


def to_core(obj: JSONObject) -> JSONObject:
    """An events.k8s.io/v1 Event as it is stored."""
    stored = {_NAMES.get(name, name): value for name, value in obj.items()}
    stored["apiVersion"] = "v1"
    stored.setdefault("involvedObject", {})
    for name in ("firstTimestamp", "lastTimestamp", "eventTime"):
        stored.setdefault(name, None)
    stored.setdefault("source", {})
    stored.setdefault("reportingComponent", "")
    stored.setdefault("reportingInstance", "")
    return stored


def to_new(obj: JSONObject) -> JSONObject:
    """A stored Event as events.k8s.io/v1 shows it."""
    shown = {_TO_NEW.get(name, name): value for name, value in obj.items()}
    shown["apiVersion"] = "events.k8s.io/v1"
    for name in ("reportingController", "reportingInstance", "action", "note"):
        if shown.get(name) == "":
            del shown[name]
    return shown


def default_core(obj: JSONObject) -> None:
    """A core Event shows these fields always."""
    obj.setdefault("involvedObject", {})
    for name in ("firstTimestamp", "lastTimestamp", "eventTime"):
        obj.setdefault(name, None)
    obj.setdefault("source", {})
    obj.setdefault("reportingComponent", "")
    obj.setdefault("reportingInstance", "")


def default_new(obj: JSONObject) -> None:
    """An events.k8s.io/v1 Event shows these fields always."""
    for name in ("deprecatedFirstTimestamp", "deprecatedLastTimestamp", "eventTime"):
        obj.setdefault(name, None)
    obj.setdefault("deprecatedSource", {})


def validate_core(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    """Core Events are loosely checked: their namespace has to be that of the object."""
    del old
    namespace = (obj.get("metadata") or {}).get("namespace") or ""
    involved = (obj.get("involvedObject") or {}).get("namespace") or ""
    if involved and involved != namespace:
        return [errors.invalid("involvedObject.namespace", involved, "does not match event.namespace")]
    if not involved and namespace not in ("default", "kube-system", ""):
        return [errors.invalid("involvedObject.namespace", involved, "does not match event.namespace")]
    return []


def validate_new(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    """A new-style Event says when, who and what; the old fields may not be set, and nothing but the series changes."""
    found: list[FieldError] = []
    if old is not None:
        return found
    for name in ("deprecatedFirstTimestamp", "deprecatedLastTimestamp", "deprecatedCount", "deprecatedSource"):
        if obj.get(name):
            found.append(errors.invalid(name, obj[name], "needs to be unset"))
    if not obj.get("eventTime"):
        found.append(errors.required("eventTime"))
    controller = obj.get("reportingController") or ""
    if not controller:
        found.append(errors.required("reportingController"))
    found += [
        errors.invalid("reportingController", controller, problem) for problem in names.bad_qualified_name(controller)
    ]
    for name, most in (("reportingInstance", 128), ("action", 128), ("reason", _MAX_REASON)):
        value = obj.get(name) or ""
        if not value:
            found.append(errors.required(name))
        elif len(value) > most:
            found.append(errors.invalid(name, value, f"can have at most {most} characters"))
    if len(obj.get("note") or "") > _MAX_NOTE:
        found.append(errors.invalid("note", obj["note"], f"can have at most {_MAX_NOTE} characters"))
    if obj.get("type") not in ("Normal", "Warning"):
        found.append(errors.invalid("type", obj.get("type") or "", f"has invalid value: {obj.get('type') or ''}"))
    return found
