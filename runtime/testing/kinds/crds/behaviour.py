"""How objects of a CRD behave when they are written."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from runtime.testing.kinds.crds.cel import RuleTree, check_rules
from runtime.testing.kinds.crds.defaulting import apply_defaults, drop_nulls, prune
from runtime.testing.kinds.crds.schema import Node
from runtime.testing.kinds.crds.validation import MISSING, validate
from runtime.testing.kinds.gotypes import fit
from runtime.testing.kinds.model import FieldError
from runtime.testing.kinds.schemas import REF
from runtime.types import JSONObject

_OBJECT_META = {"$ref": f"{REF}io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
# With one of these the real server does not evaluate CEL rules: the object has not the shape they rely on.
_BLOCKING = frozenset(
    {
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueDuplicate",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    }
)
_NOT_CHECKED = FieldError(
    "FieldValueInvalid",
    "<nil>",
    "Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation",
)


@dataclass(frozen=True, eq=False)
class CustomBehaviour:
    """A :class:`~runtime.testing.kinds.model.Behaviour` made from the schema of one version of a CRD."""

    kind: str
    node: Node
    rules: RuleTree | None
    has_status: bool

    def default(self, obj: JSONObject) -> None:
        fit({"properties": {"metadata": _OBJECT_META}, "type": "object"}, obj, self.kind)
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

    def validate(self, obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
        before: object = MISSING if old is None else old
        found = validate(self.node, _body(obj), "", _body(old) if old is not None else MISSING)
        if self.rules is None:
            return found
        if any(error.reason in _BLOCKING for error in found):
            return [*found, _NOT_CHECKED]
        return found + check_rules(self.rules, obj, "", before)

    def generation_changed(self, obj: JSONObject, old: JSONObject) -> bool:
        apart = {"metadata", "apiVersion", "kind"} | ({"status"} if self.has_status else set())
        return any(obj.get(each) != old.get(each) for each in {*obj, *old} - apart)


def _body(obj: JSONObject) -> JSONObject:
    """The object with no more of its metadata than the schema of a CRD may describe: its name."""
    metadata = obj.get("metadata")
    names = {key: metadata[key] for key in ("name", "generateName") if key in metadata} if metadata else {}
    return {**obj, "metadata": names}
