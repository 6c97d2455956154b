"""Who owns which fields: ``metadata.managedFields``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runtime.testing.kinds.model import Kind
from runtime.types import JSONObject

Recorder = Callable[[Kind, JSONObject | None, JSONObject, str], None]


@dataclass(frozen=True, slots=True)
class Ownership:
    """How a write is recorded in ``managedFields``."""

    record: Recorder

    @classmethod
    def update(cls, manager: str, subresource: str = "") -> Ownership:
        """As an update: the manager takes over what it changed."""

        def record(kind: Kind, old: JSONObject | None, obj: JSONObject, now: str) -> None:
            if old is not None and "managedFields" in old["metadata"]:
                obj["metadata"]["managedFields"] = old["metadata"]["managedFields"]
            else:
                obj["metadata"].pop("managedFields", None)

        return cls(record)
