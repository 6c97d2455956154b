"""What is sent to subresources that do not show the object itself. These kinds have no path of their own, so no
registry knows them."""

from __future__ import annotations

from typing import Final

from runtime.testing.kinds import errors
from runtime.testing.kinds.behaviour import BuiltinBehaviour, Check
from runtime.testing.kinds.model import FieldError, Kind
from runtime.testing.kinds.schemas import REF, resolve
from runtime.types import GVR, JSONObject


def _kind(group: str, name: str, model: str, *checks: Check) -> Kind:
    return Kind(
        gvr=GVR(group, "v1", f"{name.lower()}s"),
        kind=name,
        namespaced=True,
        singular=name.lower(),
        behaviour=BuiltinBehaviour(name, model, checks=checks),
        schema={"$ref": REF + model},
        resolve=resolve,
        has_generation=False,
    )


def _validate_scale(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    del old
    replicas = (obj.get("spec") or {}).get("replicas", 0)
    if replicas >= 0:
        return []
    return [errors.invalid("spec.replicas", replicas, "must be greater than or equal to 0")]


def _validate_binding(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    del old
    target, found = obj.get("target") or {}, []
    if target.get("kind") not in (None, "", "Node"):
        found.append(errors.not_supported("target.kind", target["kind"], ("Node", "<empty>")))
    if not target.get("name"):
        found.append(errors.required("target.name"))
    return found


EVICTION: Final = _kind("policy", "Eviction", "io.k8s.api.policy.v1.Eviction")
SCALE: Final = _kind("autoscaling", "Scale", "io.k8s.api.autoscaling.v1.Scale", _validate_scale)
BINDING: Final = _kind("", "Binding", "io.k8s.api.core.v1.Binding", _validate_binding)
