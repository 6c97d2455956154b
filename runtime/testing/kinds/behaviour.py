"""How the built-in kinds behave when they are written: what is common to them, and where each one differs."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from runtime.testing.kinds.gotypes import complete, fit, prune_unknown
from runtime.testing.kinds.model import FieldError
from runtime.testing.kinds.schemas import REF
from runtime.types import JSONObject

Change = Callable[[JSONObject], None]
Check = Callable[[JSONObject, JSONObject | None], list[FieldError]]
Update = Callable[[JSONObject, JSONObject, str | None], None]

# A scheduler writes a node and the condition about it; an approval is a condition.
_WRITE_STATUS_TOO = ("approval", "binding")
_TYPE = frozenset({"metadata", "apiVersion", "kind"})


@dataclass(frozen=True)
class BuiltinBehaviour:
    """A :class:`~runtime.testing.kinds.model.Behaviour` put together from functions.

    :param model: name of the kind's schema.
    :param has_status: the kind has a status subresource, so that a main write cannot touch its status.
    :param spec_fields: the top-level fields whose change moves ``metadata.generation``; empty: all but metadata
        and status.
    :param on_create: after the common preparation of a create.
    :param on_update: after the common preparation of an update.
    :param sub_checks: the checks of writes to a subresource, where they are not ``checks``.
    :param status_keeps: fields of the metadata that a write to ``status`` leaves alone.
    """

    kind: str
    model: str
    has_status: bool = False
    spec_fields: tuple[str, ...] = ("spec",)
    defaults: Change | None = None
    on_create: Change | None = None
    on_update: Update | None = None
    checks: tuple[Check, ...] = ()
    sub_checks: Mapping[str, tuple[Check, ...]] = field(default_factory=dict)
    status_keeps: tuple[str, ...] = ()

    @functools.cached_property
    def _schema(self) -> dict[str, object]:
        return {"$ref": REF + self.model}

    def default(self, obj: JSONObject) -> None:
        fit(self._schema, obj, self.kind)
        if self.defaults is not None:
            self.defaults(obj)

    def prune(self, obj: JSONObject) -> list[str]:
        return prune_unknown(self._schema, obj)

    def prepare_create(self, obj: JSONObject) -> None:
        if self.has_status:
            obj.pop("status", None)
            self._complete(obj)
        if self.on_create is not None:
            self.on_create(obj)

    def prepare_update(self, obj: JSONObject, old: JSONObject, subresource: str | None) -> None:
        if subresource == "status":
            for each in {*obj, *old} - {"status"} - _TYPE:
                _keep(obj, old, each)
            for each in self.status_keeps:
                _keep(obj["metadata"], old["metadata"], each)
        elif self.has_status and subresource not in _WRITE_STATUS_TOO:
            _keep(obj, old, "status")
        if self.on_update is not None:
            self.on_update(obj, old, subresource)

    def validate(self, obj: JSONObject, old: JSONObject | None, subresource: str | None = None) -> list[FieldError]:
        checks = self.sub_checks.get(subresource or "", self.checks)
        return [error for check in checks for error in check(obj, old)]

    def generation_changed(self, obj: JSONObject, old: JSONObject) -> bool:
        fields = self.spec_fields or {*obj, *old} - _TYPE - {"status"}
        return any(obj.get(each) != old.get(each) for each in fields)

    def _complete(self, obj: JSONObject) -> None:
        """Fill in what is always shown."""
        complete(self._schema, obj)


def _keep(obj: JSONObject, old: JSONObject, name: str) -> None:
    if name in old:
        obj[name] = copy.deepcopy(old[name])
    else:
        obj.pop(name, None)
