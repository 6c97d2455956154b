"""Making a core/v1 Event out of what a caller says about an object."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from runtime.client import Unstructured
from runtime.clock import Clock
from runtime.types import GVR, JSONMapping, JSONObject

__all__ = ["EVENTS", "EVENT_TYPES", "BadEvent", "EventFactory", "timestamp"]

EVENTS: Final = GVR("", "v1", "events")
EVENT_TYPES: Final = ("Normal", "Warning")
MAX_MESSAGE: Final = 1024  # characters, the limit that events.k8s.io sets on its note
_DNS_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_MAX_NAME: Final = 253


class BadEvent(ValueError):
    """The event cannot be made: its type is unknown or its object cannot be referred to (E1)."""


class EventFactory:
    """Makes the Events of one broadcaster; their names never repeat. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_nanos = 0
        self._lock = threading.Lock()  # guards _last_nanos

    def make(
        self,
        component: str,
        host: str,
        about: Unstructured | JSONMapping,
        event_type: str,
        reason: str,
        message: str,
        action: str | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> JSONObject:
        """A new Event, with count 1 (E2).

        :param about: an object, or an ObjectReference.
        :raises BadEvent: see there.
        """
        if event_type not in EVENT_TYPES:
            raise BadEvent(f"event type {event_type!r} is unknown: use Normal or Warning")
        reference = _reference(about)
        reason, message = str(reason), str(message)  # callers like to hand in what they have caught
        now = self._clock.now()
        stamp = timestamp(now)
        namespace = reference.get("namespace") or "default"
        event: JSONObject = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": self.name_for(reference["name"], now), "namespace": namespace},
            "involvedObject": reference,
            "type": event_type,
            "reason": reason,
            "action": action or reason,  # events.k8s.io has one for every event
            "message": message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 3] + "...",
            "source": {"component": component} | ({"host": host} if host else {}),
            "reportingComponent": component,
            "reportingInstance": host,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }
        if annotations:
            event["metadata"]["annotations"] = dict(annotations)
        return event

    def name_for(self, object_name: str, now: datetime) -> str:
        """``<object>.<hex nanoseconds>``; a UUID where that is no DNS subdomain (E2)."""
        nanos = int(now.timestamp() * 1e6) * 1000
        with self._lock:
            # Two events of one microsecond, or of a stopped test clock, need two names.
            nanos = self._last_nanos = max(nanos, self._last_nanos + 1)
        name = f"{object_name}.{nanos:x}"
        if len(name) <= _MAX_NAME and _DNS_SUBDOMAIN.fullmatch(name):
            return name
        return str(uuid.uuid4())


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with seconds, as core/v1 Events have it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _reference(about: Unstructured | JSONMapping) -> JSONObject:
    if isinstance(about, Unstructured):
        reference = {
            "kind": about.kind,
            "apiVersion": about.api_version,
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
            "resourceVersion": about.resource_version,
        }
    elif isinstance(about, Mapping):
        metadata = about.get("metadata", about)
        reference = {
            "kind": about.get("kind", ""),
            "apiVersion": about.get("apiVersion", ""),
            **{key: metadata.get(key, "") for key in ("namespace", "name", "uid", "resourceVersion")},
            "fieldPath": about.get("fieldPath", ""),
        }
    else:
        raise BadEvent(f"an event needs an object, not {type(about).__name__}")
    if not reference["kind"] or not reference["name"]:
        raise BadEvent(f"an event's object needs kind and name, this one has {reference}")
    return {key: value for key, value in reference.items() if value}
