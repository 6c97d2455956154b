"""What can be waited for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from runtime.client import WatchEvent
from runtime.client.watch import DELETED

Condition: TypeAlias = Callable[[WatchEvent], bool]
"""Whether what was waited for has come about with this event. What it raises ends the wait."""


def is_deleted(event: WatchEvent) -> bool:
    """The object is gone."""
    return event.type == DELETED


def has_condition(type: str, status: str = "True") -> Condition:
    """The condition for ``status.conditions`` of the object to say this, as ``kubectl wait --for=condition=Ready``."""

    def says(event: WatchEvent) -> bool:
        reported = event.object.get("status")
        conditions = reported.get("conditions") if isinstance(reported, dict) else None
        return event.type != DELETED and any(
            isinstance(each, dict) and each.get("type") == type and each.get("status") == status
            for each in (conditions if isinstance(conditions, list) else ())
        )

    return says
