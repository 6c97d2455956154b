"""The document behind the status page, format version 1; docs/status-page.md describes each field.

Fields may be added in version 1; one that is renamed, removed or changes its meaning makes it version 2. All durations
are seconds. What somebody else wrote (names, errors) is any text, with what is no Unicode replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import orjson

__all__ = [
    "VERSION",
    "ControllerStatus",
    "Document",
    "ElectionStatus",
    "EventStatus",
    "InformerStatus",
    "ObjectState",
    "ObjectStatus",
    "Problem",
    "RunStatus",
    "Series",
    "WaitStatus",
    "encode",
]

VERSION: Final = 1

ObjectState: TypeAlias = Literal["running", "parked", "queued", "backing_off", "failed", "scheduled", "idle"]
ControllerState: TypeAlias = Literal["not_started", "waiting", "standby", "working"]


@dataclass(frozen=True, slots=True)
class RunStatus:
    ago: float
    seconds: float
    result: str
    error: str
    reconcile_id: str


@dataclass(frozen=True, slots=True)
class WaitStatus:
    resource: str
    namespace: str
    missing: str
    watch_lost: bool


@dataclass(frozen=True, slots=True)
class ObjectStatus:
    controller: str
    namespace: str
    name: str
    state: ObjectState
    since: float | None
    due: float | None
    priority: int
    failures: int
    error: str
    waits_for: WaitStatus | None
    stack: Sequence[str]
    runs: Sequence[RunStatus]


@dataclass(frozen=True, slots=True)
class Series:
    ago: Sequence[float]
    depth: Sequence[int]
    busy: Sequence[float]
    rate: Sequence[float]
    errors: Sequence[float]
    p50: Sequence[float | None]
    p99: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class ControllerStatus:
    name: str
    state: ControllerState
    waits_for: Mapping[str, str]
    workers: int
    active: int
    depth: int
    delayed: int
    parked: int
    longest_running: float
    totals: Mapping[str, int]
    panics: int
    timeouts: int
    own_write_waits: int
    own_write_timeouts: int
    objects: int
    series: Series


@dataclass(frozen=True, slots=True)
class InformerStatus:
    resource: str
    namespace: str
    required: bool
    synced: bool
    connected: bool
    refused: int
    objects: int
    bytes: int
    last_event: float | None
    last_bookmark: float | None
    age: float | None
    relists: int
    watch_restarts: int
    backlog: int
    quarantined: Mapping[str, str]
    quarantined_count: int
    error: str
    error_ago: float | None


@dataclass(frozen=True, slots=True)
class EventStatus:
    ago: float
    count: int
    type: str
    reason: str
    message: str
    kind: str
    namespace: str
    name: str
    component: str


@dataclass(frozen=True, slots=True)
class ElectionStatus:
    lease: str
    namespace: str
    identity: str
    leader: str
    leads: bool
    expires_in: float
    renew_seconds: float


@dataclass(frozen=True, slots=True)
class Problem:
    about: str
    why: str


@dataclass(frozen=True, slots=True)
class Document:
    version: int
    at: str
    name: str
    host: str
    pid: int
    state: str
    up: float | None
    election: ElectionStatus | None
    problems: Sequence[Problem]
    stuck: Sequence[ObjectStatus]
    stuck_left_out: int
    controllers: Sequence[ControllerStatus]
    informers: Sequence[InformerStatus]
    recent: Sequence[ObjectStatus]
    recent_left_out: int
    filter: str
    events: Sequence[EventStatus]
    events_dropped: Mapping[str, int]


def encode(document: Document) -> bytes:
    return orjson.dumps(document)
