"""The states of a container, as ``status.containerStatuses[].state`` shows them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from runtime.types import JSONMapping, JSONObject


@dataclass(frozen=True, slots=True)
class Waiting:
    reason: str = "ContainerCreating"
    message: str = ""

    def to_dict(self) -> JSONObject:
        fields = {"reason": self.reason, "message": self.message}
        return {"waiting": {key: value for key, value in fields.items() if value}}


@dataclass(frozen=True, slots=True)
class Running:
    started_at: datetime

    def to_dict(self) -> JSONObject:
        return {"running": {"startedAt": timestamp(self.started_at)}}


@dataclass(frozen=True, slots=True)
class Terminated:
    exit_code: int
    reason: str
    started_at: datetime | None
    finished_at: datetime
    signal: int = 0
    message: str = ""
    container_id: str = ""

    def to_dict(self) -> JSONObject:
        fields: JSONObject = {"exitCode": self.exit_code, "reason": self.reason}
        if self.signal:
            fields["signal"] = self.signal
        if self.message:
            fields["message"] = self.message
        fields["startedAt"] = timestamp(self.started_at) if self.started_at else None
        fields["finishedAt"] = timestamp(self.finished_at)
        if self.container_id:
            fields["containerID"] = self.container_id
        return {"terminated": fields}


State: TypeAlias = Waiting | Running | Terminated


def timestamp(moment: datetime) -> str:
    """As the API writes times: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def parse_terminated(state: JSONMapping | None, now: datetime) -> Terminated | None:
    """The end that a recorded ``state`` or ``lastState`` tells of.

    A recorded running container is one whose process this node has lost: it counts as killed.
    """
    state = state or {}
    if "terminated" in state:
        ended = state["terminated"]
        return Terminated(
            exit_code=int(ended.get("exitCode", 0)),
            reason=ended.get("reason") or "",
            started_at=parse_timestamp(ended.get("startedAt")),
            finished_at=parse_timestamp(ended.get("finishedAt")) or now,
            signal=int(ended.get("signal") or 0),
            message=ended.get("message") or "",
            container_id=ended.get("containerID") or "",
        )
    if "running" in state:
        return Terminated(
            exit_code=137,
            reason="ContainerStatusUnknown",
            started_at=parse_timestamp(state["running"].get("startedAt")),
            finished_at=now,
            signal=9,
            message="the container's process ended with the local node that ran it",
        )
    return None
