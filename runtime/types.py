"""The few words every part of the library shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

# A JSON object as the API speaks it. Its values are whatever the kind says, which no Python type here knows.
JSONObject: TypeAlias = dict[str, Any]
JSONMapping: TypeAlias = Mapping[str, Any]


class GVR(NamedTuple):
    """Group, version and plural resource name: what names a collection in the API.

    The core group is ``""``: ``GVR("", "v1", "pods")``.
    """

    group: str
    version: str
    resource: str

    @property
    def api_version(self) -> str:
        """``apps/v1``; for the core group just ``v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def prefix(self) -> str:
        """The path below which the API server serves this group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def __str__(self) -> str:
        return f"{self.resource}.{self.version}.{self.group}" if self.group else f"{self.resource}.{self.version}"


class Request(NamedTuple):
    """The key of one object to reconcile. ``namespace`` is ``""`` for a cluster-scoped object."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True)
class Result:
    """What a reconcile that did not raise asks for next.

    :param requeue_after: seconds until the key is reconciled again; ``None`` or a value <= 0: only when
        something changes.
    :param priority: priority of that requeue; ``None`` keeps the key's own (rule C7 of client-go.md).
    :raises TypeError: ``requeue_after`` is no number, a ``timedelta`` say.
    """

    requeue_after: float | None = None
    priority: int | None = None

    def __post_init__(self) -> None:
        after: object = self.requeue_after
        if after is not None and not (isinstance(after, int | float) and after == after):
            raise TypeError(f"requeue_after is a number of seconds, not {after!r}")


class TerminalError(Exception):
    """Raised by a reconcile that trying again cannot help. Logged and counted, not requeued.

    The object is reconciled again when it, or something it watches, changes.
    """
