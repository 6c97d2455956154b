"""Reviews: kinds that are answered and never stored. What they come to is the API server's business; here is what may
be asked."""

from __future__ import annotations

from typing import Final

from runtime.testing.kinds import errors, names
from runtime.testing.kinds.behaviour import BuiltinBehaviour
from runtime.testing.kinds.checks.common import label_value, requirement_values
from runtime.testing.kinds.model import FieldError, Kind
from runtime.testing.kinds.schemas import REF, resolve
from runtime.types import GVR, JSONMapping, JSONObject

_SHORTEST: Final = 600  # seconds
_LONGEST: Final = 1 << 32


def validate_self_access_review(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    del old
    spec = obj.get("spec") or {}
    return [*_check_subject(spec), *_check_selectors(spec), *_check_metadata(obj)]


def validate_access_review(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    del old
    spec = obj.get("spec") or {}
    return [*_check_subject(spec), *_check_user(spec), *_check_selectors(spec), *_check_metadata(obj)]


def validate_local_access_review(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    del old
    spec, namespace = obj.get("spec") or {}, obj["metadata"].get("namespace") or ""
    found = [*_check_subject(spec), *_check_user(spec), *_check_selectors(spec), *_check_metadata(obj, "namespace")]
    asked = spec.get("resourceAttributes")
    if asked is not None and (asked.get("namespace") or "") != namespace:
        detail = "must match metadata.namespace"
        found.append(errors.invalid("spec.resourceAttributes.namespace", asked.get("namespace") or "", detail))
    if spec.get("nonResourceAttributes") is not None:
        detail = "disallowed on this kind of request"
        found.append(errors.invalid("spec.nonResourceAttributes", spec["nonResourceAttributes"], detail))
    return found


def validate_token_request(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    del old
    seconds = (obj.get("spec") or {}).get("expirationSeconds")
    if seconds is None:
        return []
    if seconds < _SHORTEST:
        detail = "may not specify a duration less than 10 minutes"
        return [errors.invalid("spec.expirationSeconds", seconds, detail)]
    if seconds > _LONGEST:
        detail = "may not specify a duration larger than 2^32 seconds"
        return [errors.invalid("spec.expirationSeconds", seconds, detail)]
    return []


def _check_subject(spec: JSONMapping) -> list[FieldError]:
    """A review is about a resource or about a path, and not about both."""
    asked = [each for each in ("resourceAttributes", "nonResourceAttributes") if spec.get(each) is not None]
    if len(asked) == 1:
        return []
    detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
    if asked:
        detail = "cannot be specified in combination with resourceAttributes"
        return [errors.invalid("spec.nonResourceAttributes", spec["nonResourceAttributes"], detail)]
    return [errors.invalid("spec.resourceAttributes", None, detail)]


def _check_user(spec: JSONMapping) -> list[FieldError]:
    if spec.get("user") or spec.get("groups"):
        return []
    return [errors.invalid("spec.user", "", "at least one of user or group must be specified")]


def _check_selectors(spec: JSONMapping) -> list[FieldError]:
    """A list may be asked about as far as selectors narrow it. Newer operators are no matter."""
    found: list[FieldError] = []
    for name in ("fieldSelector", "labelSelector"):
        selector, path = (spec.get("resourceAttributes") or {}).get(name), f"spec.resourceAttributes.{name}"
        if selector is None:
            continue
        raw, requirements = selector.get("rawSelector"), selector.get("requirements") or ()
        if raw and requirements:
            detail = "may not specified at the same time as requirements"
            found.append(errors.invalid(f"{path}.rawSelector", raw, detail))
        if not raw and not requirements:
            detail = f"when {path} is specified, requirements or rawSelector is required"
            found.append(errors.required(f"{path}.requirements", detail))
        check = _check_field if name == "fieldSelector" else _check_label
        for index, each in enumerate(requirements):
            found += check(each, f"{path}.requirements[{index}]")
    return found


def _check_field(requirement: JSONMapping, path: str) -> list[FieldError]:
    missing = [] if requirement.get("key") else [errors.required(f"{path}.key", "must be specified")]
    return [*missing, *requirement_values(requirement, path)]


def _check_label(requirement: JSONMapping, path: str) -> list[FieldError]:
    key = str(requirement.get("key") or "")
    found = requirement_values(requirement, path)
    found += [errors.invalid(f"{path}.key", key, problem) for problem in names.bad_qualified_name(key)]
    for index, value in enumerate(requirement.get("values") or ()):
        found += label_value(str(value), f"{path}.values[{index}]")
    return found


def _check_metadata(obj: JSONMapping, *allowed: str) -> list[FieldError]:
    metadata = {k: v for k, v in obj["metadata"].items() if v and k not in (*allowed, "managedFields")}
    if not metadata:
        return []
    detail = f"must be empty except for {allowed[0]}" if allowed else "must be empty"
    return [errors.invalid("metadata", metadata, detail)]


_MODEL: Final = "io.k8s.api.authentication.v1.TokenRequest"

# What is sent to the ``token`` subresource of a service account. It has no path of its own, so no registry knows it.
TOKEN_REQUEST: Final = Kind(
    gvr=GVR("authentication.k8s.io", "v1", "tokenrequests"),
    kind="TokenRequest",
    namespaced=True,
    singular="tokenrequest",
    behaviour=BuiltinBehaviour("TokenRequest", _MODEL, checks=(validate_token_request,)),
    verbs=("create",),
    schema={"$ref": REF + _MODEL},
    resolve=resolve,
    review=True,
)
