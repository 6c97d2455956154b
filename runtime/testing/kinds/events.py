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
_MAX_NOTE = 1024  # bytes, whatever the message says
_MAX_SHORT = 128
# What an update through events.k8s.io/v1 may not change.
_IMMUTABLE = (
    *("involvedObject", "reason", "message", "source", "firstTimestamp", "lastTimestamp", "count", "type"),
    *("eventTime", "action", "related", "reportingComponent", "reportingInstance"),
)


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
    """Core Events are loosely checked: the namespace; and those that tell a time, as new ones do, all that matters."""
    del old
    namespace = (obj.get("metadata") or {}).get("namespace") or ""
    involved = (obj.get("involvedObject") or {}).get("namespace") or ""
    if obj.get("eventTime"):
        fits = involved or namespace in ("default", "kube-system")
    else:
        fits = involved == namespace or (not involved and namespace == "default")
    found = [] if fits else [errors.invalid("involvedObject.namespace", involved, "does not match event.namespace")]
    return found + (_reported(obj) if obj.get("eventTime") else [])


def _reported(obj: JSONObject) -> list[FieldError]:
    found: list[FieldError] = []
    controller = obj.get("reportingComponent") or ""
    if not controller:
        found.append(errors.required("reportingController"))
    found += [
        errors.invalid("reportingController", controller, problem) for problem in names.bad_qualified_name(controller)
    ]
    for name, most in (("reportingInstance", _MAX_SHORT), ("action", _MAX_SHORT), ("reason", _MAX_SHORT)):
        value = obj.get(name) or ""
        if not value:
            found.append(errors.required(name))
        elif _bytes(value) > most:
            found.append(errors.invalid(name, "", f"can have at most {most} characters"))
    if _bytes(obj.get("message") or "") > _MAX_NOTE:
        found.append(errors.invalid("message", "", f"can have at most {_MAX_NOTE} characters"))
    return found


def validate_new(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    """A new-style Event says when, who and what; the old fields may not be set, and nothing but the series changes.

    The field names are the core ones, for the server checks what it stores.
    """
    event = to_core({**obj})
    found = validate_core(event, None)
    if old is not None:
        before = to_core({**old})
        if event.get("series") != before.get("series"):
            found += _series(event)
        return found + [
            errors.invalid(name.replace("Component", "Controller"), event.get(name), "field is immutable")
            for name in _IMMUTABLE
            if (event.get(name) or None) != (before.get(name) or None)
        ]
    found += _series(event)
    if not event.get("eventTime"):
        found.append(errors.required("eventTime"))
    if event.get("type") not in ("Normal", "Warning"):
        found.append(errors.invalid("type", "", f"has invalid value: {event.get('type') or ''}"))
    found += [
        errors.invalid(name, "", "needs to be unset")
        for name in ("firstTimestamp", "lastTimestamp", "count", "source")
        if event.get(name)
    ]
    return found


def _series(event: JSONObject) -> list[FieldError]:
    series = event.get("series")
    if series is None:
        return []
    found = []
    if (series.get("count") or 0) < 2:
        found.append(errors.invalid("series.count", "", "should be at least 2"))
    if not series.get("lastObservedTime"):
        found.append(errors.required("series.lastObservedTime"))
    return found


def _bytes(text: str) -> int:
    return len(text.encode())
