"""A recorder for tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runtime.client import Unstructured
from runtime.record.recorder import formatted
from runtime.types import JSONMapping

__all__ = ["FakeRecorder", "RecordedEvent"]


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """One call of a :class:`FakeRecorder`, as it was made, the arguments of ``eventf`` filled in."""

    obj: Unstructured | JSONMapping
    type: str
    reason: str
    message: str
    action: str | None = None
    related: Unstructured | JSONMapping | None = None
    annotations: Mapping[str, str] | None = None


class FakeRecorder:
    """An :class:`EventRecorder` for tests: keeps each event as ``"Type Reason message"``, in order.

    :ivar events: yours to read and to clear.
    :ivar recorded: the same events with all that was said.

    QUIRK (E10): client-go's blocks when its buffer is full; this one has no limit.
    """

    def __init__(self) -> None:
        self.events: list[str] = []
        self.recorded: list[RecordedEvent] = []

    def event(
        self,
        obj: Unstructured | JSONMapping,
        type: str,
        reason: str,
        message: str,
        *,
        action: str | None = None,
        related: Unstructured | JSONMapping | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        self.recorded.append(RecordedEvent(obj, type, reason, message, action, related, annotations))
        self.events.append(f"{type} {reason} {message}")

    def eventf(
        self,
        obj: Unstructured | JSONMapping,
        type: str,
        reason: str,
        message: str,
        *args: object,
        action: str | None = None,
        related: Unstructured | JSONMapping | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        text = formatted(message, args)
        self.event(obj, type, reason, text, action=action, related=related, annotations=annotations)
