"""What a caller says about an object, checked and cut to what the API server takes."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

from runtime.client import Unstructured
from runtime.types import JSONMapping, JSONObject

__all__ = [
    "EVENT_TYPES",
    "BadEvent",
    "EventNames",
    "Occurrence",
    "Reference",
    "Source",
    "cut",
    "make_occurrence",
    "make_source",
]

EVENT_TYPES: Final = ("Normal", "Warning")
# The server's limits, in bytes of UTF-8. It sets them on events of events.k8s.io; here they hold for both.
MAX_NOTE: Final = 1024
MAX_REASON: Final = 128
MAX_ACTION: Final = 128
MAX_INSTANCE: Final = 128
_ELLIPSIS: Final = "..."
_DNS_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_MAX_NAME: Final = 253
_QUALIFIED_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_MAX_QUALIFIED_NAME: Final = 63


class BadEvent(ValueError):
    """The event cannot be made: its type is unknown, it has no reason, or its object cannot be referred to (E1)."""


class Reference(NamedTuple):
    """An ObjectReference. Absent parts are empty."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    field_path: str
    resource_version: str

    @property
    def identity(self) -> tuple[str, ...]:
        """What tells one object, or part of one, from another; it does not change when the object does."""
        return self[:-1]

    @property
    def event_namespace(self) -> str:
        """Where events about it live (E2)."""
        return self.namespace or "default"

    def to_dict(self) -> JSONObject:
        parts = {
            "kind": self.kind,
            "apiVersion": self.api_version,
            "namespace": self.namespace,
            "name": self.name,
            "uid": self.uid,
            "resourceVersion": self.resource_version,
            "fieldPath": self.field_path,
        }
        return {name: value for name, value in parts.items() if value}


class Source(NamedTuple):
    """Who records.

    :ivar host: of core/v1 events: where the component runs; may be empty.
    :ivar instance: of events.k8s.io: tells the replicas of one component apart (V1).
    """

    component: str
    host: str
    instance: str


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Something that happened once, as it was recorded."""

    source: Source
    regarding: Reference
    related: Reference | None
    type: str
    reason: str
    action: str
    message: str
    annotations: Mapping[str, str]
    at: datetime


def make_source(component: str, host: str, hostname: str) -> Source:
    """:raises ValueError: the server would refuse this name as an event's reportingController."""
    prefix, slash, name = component.rpartition("/")
    fits = len(name) <= _MAX_QUALIFIED_NAME and _QUALIFIED_NAME.fullmatch(name)
    if not fits or (slash and not _is_dns_subdomain(prefix)):
        raise ValueError(
            f"{component!r} cannot be the reportingController of events: it takes at most {_MAX_QUALIFIED_NAME} "
            "letters, digits, '-', '_' and '.', with a letter or digit at both ends, perhaps after a DNS name and '/'"
        )
    return Source(component, host, _first_bytes(f"{component}-{host or hostname}", MAX_INSTANCE))


def make_occurrence(
    source: Source,
    about: Unstructured | JSONMapping,
    event_type: str,
    reason: str,
    message: str,
    at: datetime,
    *,
    action: str | None = None,
    related: Unstructured | JSONMapping | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Occurrence:
    """:raises BadEvent: see there."""
    if event_type not in EVENT_TYPES:
        raise BadEvent(f"event type {event_type!r} is unknown: use Normal or Warning")
    reason = cut(str(reason), MAX_REASON)  # callers like to hand in what they have caught
    if not reason:
        raise BadEvent("an event needs a reason: one word that says why it was recorded")
    return Occurrence(
        source,
        _reference(about),
        None if related is None else _reference(related),
        event_type,
        reason,
        cut(str(action), MAX_ACTION) if action else reason,  # events.k8s.io wants one of every event
        cut(str(message), MAX_NOTE),
        dict(annotations) if annotations else {},
        at,
    )


def cut(text: str, limit: int) -> str:
    """``text``, or as much of its beginning as fits into ``limit`` bytes of UTF-8 together with an ellipsis."""
    if text.isascii() and len(text) <= limit:
        return text
    text = text[: limit + 1]  # each character has a byte at least; the rest, which may be megabytes, is not looked at
    # Lone surrogates, as of undecodable file names, have no bytes in UTF-8.
    clean = text.encode(errors="replace")
    if len(clean) <= limit:
        return clean.decode()
    return _first_bytes(text, limit - len(_ELLIPSIS)) + _ELLIPSIS


def _first_bytes(text: str, limit: int) -> str:
    return text.encode(errors="replace")[:limit].decode(errors="ignore")


class EventNames:
    """Names of events; those of one maker never repeat. Thread-safe."""

    def __init__(self) -> None:
        self._last_nanos = 0
        self._lock = threading.Lock()  # guards _last_nanos

    def new(self, object_name: str, now: datetime) -> str:
        """``<object>.<hex nanoseconds>``; a UUID where that is no DNS subdomain (E2)."""
        nanos = int(now.timestamp() * 1e6) * 1000
        with self._lock:
            # Two events of one microsecond, or of a stopped test clock, need two names.
            nanos = self._last_nanos = max(nanos, self._last_nanos + 1)
        name = f"{object_name}.{nanos:x}"
        return name if _is_dns_subdomain(name) else str(uuid.uuid4())


def seconds(moment: datetime) -> str:
    """RFC 3339 in UTC with seconds, as core/v1 Events have it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def microseconds(moment: datetime) -> str:
    """The same with microseconds, as ``eventTime`` has it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _is_dns_subdomain(name: str) -> bool:
    return len(name) <= _MAX_NAME and _DNS_SUBDOMAIN.fullmatch(name) is not None


def _reference(about: Unstructured | JSONMapping) -> Reference:
    if isinstance(about, Unstructured):
        reference = Reference(
            about.api_version, about.kind, about.namespace, about.name, about.uid, "", about.resource_version
        )
    elif isinstance(about, Mapping):
        metadata = about.get("metadata", about)
        parts = (
            about.get("apiVersion"),
            about.get("kind"),
            *(metadata.get(key) for key in ("namespace", "name", "uid")),
            about.get("fieldPath"),
            metadata.get("resourceVersion"),
        )
        reference = Reference(*(str(part or "") for part in parts))
    else:
        raise BadEvent(f"an event needs an object, not {type(about).__name__}")
    if not reference.kind or not reference.name:
        raise BadEvent(f"an event's object needs kind and name, this one has {reference.to_dict()}")
    return reference
