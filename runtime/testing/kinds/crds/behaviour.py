"""How objects of a CRD behave when they are written."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from runtime.testing.kinds import errors, paths
from runtime.testing.kinds.crds.correlation import MISSING
from runtime.testing.kinds.crds.defaulting import apply_defaults, drop_nulls, prune
from runtime.testing.kinds.crds.embedded import OBJECT_META, coerce_embedded, embedded_problems
from runtime.testing.kinds.crds.rules import RuleTree, check_rules
from runtime.testing.kinds.crds.schema import Node
from runtime.testing.kinds.crds.validation import list_problems, validate
from runtime.testing.kinds.gotypes import fit
from runtime.testing.kinds.model import FieldError, ScalePaths
from runtime.types import JSONObject

# With one of these the real server does not evaluate CEL rules: the object has not the shape they rely on.
_BLOCKING: Final = frozenset(
    {
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    }
)
_NOT_CHECKED: Final = FieldError(
    "FieldValueInvalid",
    "<nil>",
    "Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation",
)
_MAX_REPLICAS: Final = 2**31 - 1


@dataclass(frozen=True, eq=False)
class CustomBehaviour:
    """A :class:`~runtime.testing.kinds.model.Behaviour` made from the schema of one version of a CRD."""

    kind: str
    node: Node
    rules: RuleTree | None
    has_status: bool
    scale: ScalePaths | None = None

    def default(self, obj: JSONObject) -> None:
        fit({"properties": {"metadata": OBJECT_META}, "type": "object"}, obj, self.kind)
        coerce_embedded(self.node, obj)
        drop_nulls(self.node, obj)
        apply_defaults(self.node, obj)

    def prune(self, obj: JSONObject) -> list[str]:
        return prune(self.node, obj)

    def prepare_create(self, obj: JSONObject) -> None:
        if self.has_status:
            obj.pop("status", None)

    def prepare_update(self, obj: JSONObject, old: JSONObject, subresource: str | None) -> None:
        if subresource == "status":
            self._take_status_only(obj, old)
        elif self.has_status:
            obj.pop("status", None)
            if "status" in old:
                obj["status"] = copy.deepcopy(old["status"])

    @staticmethod
    def _take_status_only(obj: JSONObject, old: JSONObject) -> None:
        """Unlike for built-in kinds, a status write leaves labels and annotations alone too."""
        status, written = obj.get("status"), obj.get("metadata") or {}
        has_status = "status" in obj
        kept = copy.deepcopy(old)
        metadata = kept.setdefault("metadata", {})
        for field in ("resourceVersion", "managedFields"):
            metadata.pop(field, None)
            if field in written:
                metadata[field] = written[field]
        kept["apiVersion"] = obj.get("apiVersion", kept.get("apiVersion"))
        kept.pop("status", None)
        obj.clear()
        obj.update(kept)
        if has_status:
            obj["status"] = status

    def validate(self, obj: JSONObject, old: JSONObject | None, subresource: str | None = None) -> list[FieldError]:
        before: object = MISSING if old is None else old
        if subresource == "status":
            found = self._status_problems(obj, old or {})
        else:
            found = validate(self.node, obj, "", before)
            found += self._scale_spec_problems(obj)
            found += self._scale_status_problems(obj)
            found += embedded_problems(self.node, obj, "")
        if old is None or not list_problems(self.node, old, ""):
            found += list_problems(self.node, obj, "")
        if self.rules is None:
            return found
        if any(error.reason in _BLOCKING for error in found):
            return [*found, _NOT_CHECKED]
        return found + check_rules(self.rules, obj, "", before)

    def _status_problems(self, obj: JSONObject, old: JSONObject) -> list[FieldError]:
        """A write of the status is judged by the schema of the status alone, whose paths do not name it."""
        node, found = self.node.properties.get("status"), []
        if "status" in obj and node is not None:
            for each in validate(node, obj["status"], "", old.get("status", MISSING)):
                field = each.field if each.field == "<nil>" else f"status.{each.field}".rstrip(".")
                found.append(FieldError(each.reason, "status" if field == "<nil>" else field, each.message))
        return [*found, *self._scale_status_problems(obj)]

    def _scale_spec_problems(self, obj: JSONObject) -> Iterable[FieldError]:
        return _replicas_problems(obj, self.scale.spec_replicas) if self.scale is not None else ()

    def _scale_status_problems(self, obj: JSONObject) -> Iterable[FieldError]:
        if self.scale is None:
            return
        yield from _replicas_problems(obj, self.scale.status_replicas)
        path = self.scale.label_selector
        given = paths.get(obj, paths.dotted(path)) if path else None
        if path and given is not None and not isinstance(given, str):
            yield errors.invalid(path, "", _not_of_type(path, given, "string"))

    def generation_changed(self, obj: JSONObject, old: JSONObject) -> bool:
        apart = {"metadata", "apiVersion", "kind"} | ({"status"} if self.has_status else set())
        return any(obj.get(each) != old.get(each) for each in {*obj, *old} - apart)


def _replicas_problems(obj: JSONObject, path: str) -> Iterable[FieldError]:
    given = paths.get(obj, paths.dotted(path))
    if given is None:
        return
    if isinstance(given, bool) or not isinstance(given, int):
        yield errors.invalid(path, 0, _not_of_type(path, given, "int64"))
    elif given < 0:
        yield errors.invalid(path, given, "should be a non-negative integer")
    elif given > _MAX_REPLICAS:
        yield errors.invalid(path, given, f"should be less than or equal to {_MAX_REPLICAS}")


def _not_of_type(path: str, given: object, wanted: str) -> str:
    names = {bool: "bool", int: "int64", float: "float64", str: "string", list: "[]interface {}"}
    actual = names.get(type(given), "map[string]interface {}")
    return f"{path} accessor error: {paths.text(given)} is of the type {actual}, expected {wanted}"
