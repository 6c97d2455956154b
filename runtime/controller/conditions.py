"""Conditions of a status, by the rules of the API conventions (``metav1.Condition``)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

from runtime.types import JSONMapping, JSONObject

__all__ = ["ConditionStatus", "find_condition", "is_condition", "remove_condition", "set_condition"]

ConditionStatus: TypeAlias = Literal["True", "False", "Unknown"]

_STATUSES: Final = ("True", "False", "Unknown")
_REASON: Final = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")
_LONGEST_REASON: Final = 1024
_LONGEST_MESSAGE: Final = 32768


def set_condition(
    conditions: Iterable[JSONMapping] | None,
    type: str,
    status: ConditionStatus,
    reason: str,
    message: str = "",
    *,
    now: datetime,
    observed_generation: int | None = None,
) -> list[JSONObject]:
    """The conditions with this one set: in the place of the one of its type, or at the end. A new list::

        conditions = set_condition(status.get("conditions"), "Ready", "True", "Deployed", now=ctx.clock.now())

    ``lastTransitionTime`` is ``now`` if the condition is new or its status has changed, and else what it was: one that
    is set again to what it is, is equal to what it was, so that :func:`patch_status` writes nothing.

    :param now: aware of its zone; kept in whole seconds.
    :param observed_generation: the ``metadata.generation`` this was found for; None keeps what the condition had.
    :raises ValueError: what the API server would refuse: a status that is none of the three, no reason or one that is
        not CamelCase, a text too long.
    """
    if not type:
        raise ValueError("a condition needs a type")
    if status not in _STATUSES:
        raise ValueError(f"condition {type}: status {status!r} is none of {', '.join(_STATUSES)}")
    if not _REASON.fullmatch(reason) or len(reason) > _LONGEST_REASON:
        raise ValueError(f"condition {type}: reason {reason!r} is no word in CamelCase")
    if len(message) > _LONGEST_MESSAGE:
        raise ValueError(f"condition {type}: the message has {len(message)} characters, of {_LONGEST_MESSAGE} at most")
    if now.tzinfo is None:
        raise ValueError(f"condition {type}: {now} tells no time zone")
    kept = [dict(condition) for condition in conditions or ()]
    condition = next((known for known in kept if known.get("type") == type), None)
    if condition is None:
        condition = {"type": type}
        kept.append(condition)
    if condition.get("status") != status or not condition.get("lastTransitionTime"):
        condition["lastTransitionTime"] = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    condition |= {"status": status, "reason": reason, "message": message}
    if observed_generation is not None:
        condition["observedGeneration"] = observed_generation
    return kept


def remove_condition(conditions: Iterable[JSONMapping] | None, type: str) -> list[JSONObject]:
    """The conditions without that of this type, if there is one. A new list."""
    return [dict(condition) for condition in conditions or () if condition.get("type") != type]


def find_condition(conditions: Iterable[JSONMapping] | None, type: str) -> JSONObject | None:
    """A copy of the condition of this type; None if there is none."""
    return next((dict(condition) for condition in conditions or () if condition.get("type") == type), None)


def is_condition(conditions: Iterable[JSONMapping] | None, type: str, status: ConditionStatus = "True") -> bool:
    """Whether there is a condition of this type, and it has this status."""
    condition = find_condition(conditions, type)
    return condition is not None and condition.get("status") == status
