"""How the built-in kinds behave when they are written: what is common to them, and where each one differs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from runtime.testing.kinds.model import FieldError
from runtime.types import JSONObject

Change = Callable[[JSONObject], None]
Check = Callable[[JSONObject, JSONObject | None], list[FieldError]]
Update = Callable[[JSONObject, JSONObject, str | None], None]
Prune = Callable[[JSONObject], list[str]]


def _nothing(obj: JSONObject) -> None:
    return None


def _unchanged(obj: JSONObject, old: JSONObject, subresource: str | None) -> None:
    return None


@dataclass(frozen=True)
class BuiltinBehaviour:
    """A :class:`~runtime.testing.kinds.model.Behaviour` put together from functions.

    :param has_status: the kind has a status subresource, so that a main write cannot touch its status.
    :param spec_fields: the top-level fields whose change moves ``metadata.generation``; empty: all but metadata
        and status.
    :param on_create: after the common preparation of a create.
    :param on_update: after the common preparation of an update.
    """

    has_status: bool = False
    spec_fields: tuple[str, ...] = ("spec",)
    defaults: Change = _nothing
    pruner: Prune = lambda obj: []
    on_create: Change = _nothing
    on_update: Update = _unchanged
    checks: tuple[Check, ...] = ()
    initial_status: JSONObject | None = None

    def default(self, obj: JSONObject) -> None:
        self.defaults(obj)

    def prune(self, obj: JSONObject) -> list[str]:
        return self.pruner(obj)

    def prepare_create(self, obj: JSONObject) -> None:
        if self.has_status:
            obj.pop("status", None)
        if self.initial_status is not None:
            obj["status"] = copy.deepcopy(self.initial_status)
        self.on_create(obj)

    def prepare_update(self, obj: JSONObject, old: JSONObject, subresource: str | None) -> None:
        if subresource == "status":
            _keep_all_but_status(obj, old)
        elif self.has_status:
            _keep(obj, old, "status")
        self.on_update(obj, old, subresource)

    def validate(self, obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
        return [error for check in self.checks for error in check(obj, old)]

    def generation_changed(self, obj: JSONObject, old: JSONObject) -> bool:
        fields = self.spec_fields or tuple(
            sorted({*obj, *old} - {"metadata", "status", "apiVersion", "kind"})
        )
        return any(obj.get(each) != old.get(each) for each in fields)


def _keep(obj: JSONObject, old: JSONObject, field: str) -> None:
    if field in old:
        obj[field] = copy.deepcopy(old[field])
    else:
        obj.pop(field, None)


def _keep_all_but_status(obj: JSONObject, old: JSONObject) -> None:
    for field in {*obj, *old} - {"status", "metadata", "apiVersion", "kind"}:
        _keep(obj, old, field)
