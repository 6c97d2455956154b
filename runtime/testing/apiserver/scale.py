"""The scale subresource: ``autoscaling/v1 Scale`` as a view of an object's replicas."""

from __future__ import annotations

from typing import Any

import orjson

from runtime.testing.apiserver.errors import bad_request, invalid
from runtime.testing.apiserver.log import Stored
from runtime.testing.kinds.model import FieldError, Kind, ScalePaths
from runtime.types import JSONObject


def scale_paths(kind: Kind) -> ScalePaths:
    return kind.scale or ScalePaths(".spec.replicas", ".status.replicas", ".status.selector")


def scale_of(kind: Kind, stored: Stored) -> JSONObject:
    """The Scale object that shows ``stored``."""
    metadata, paths = stored.obj["metadata"], scale_paths(kind)
    shown = {
        each: metadata[each]
        for each in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        if each in metadata
    }
    replicas = _dig(stored.obj, paths.spec_replicas)
    status: JSONObject = {"replicas": _dig(stored.obj, paths.status_replicas) or 0}
    selector = _selector(kind, stored.obj, paths)
    if selector:
        status["selector"] = selector
    spec: JSONObject = {"replicas": replicas} if replicas else {}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": shown,
        "spec": spec,
        "status": status,
    }


def encode(kind: Kind, stored: Stored) -> bytes:
    return orjson.dumps(scale_of(kind, stored))


def with_scale(kind: Kind, obj: JSONObject, scale: JSONObject) -> JSONObject:
    """``obj`` with the replicas that a written Scale wants. Raises 400 and 422."""
    if scale.get("kind") not in (None, "Scale"):
        raise bad_request(f"the kind in the data ({scale.get('kind')}) does not match the expected kind (Scale)")
    spec, metadata = scale.get("spec") or {}, scale.get("metadata") or {}
    if not isinstance(spec, dict) or not isinstance(metadata, dict):
        raise bad_request("Scale: spec and metadata must be objects")
    replicas = spec.get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise bad_request("Scale: spec.replicas must be an integer")
    if replicas < 0:
        message = f"Invalid value: {replicas}: must be greater than or equal to 0"
        raise invalid(
            "autoscaling", "Scale", obj["metadata"]["name"], [FieldError("FieldValueInvalid", "spec.replicas", message)]
        )
    _put(obj, scale_paths(kind).spec_replicas, replicas)
    for each in ("name", "namespace", "resourceVersion", "uid"):  # what it says must be true of the object
        if metadata.get(each):
            obj["metadata"][each] = metadata[each]
    return obj


def _selector(kind: Kind, obj: JSONObject, paths: ScalePaths) -> str:
    if paths.label_selector:
        found = _dig(obj, paths.label_selector)
        if isinstance(found, str):
            return found
    if kind.custom:
        return ""
    selector = _dig(obj, ".spec.selector")
    if not isinstance(selector, dict):
        return ""
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for each in selector.get("matchExpressions") or ():
        key, operator, values = each["key"], each["operator"], ",".join(sorted(each.get("values") or ()))
        forms = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}
        terms.append(forms.get(operator, f"!{key}"))
    return ",".join(terms)


def _dig(obj: Any, path: str) -> Any:
    for part in path.strip(".").split("."):
        if not isinstance(obj, dict):
            return None
        obj = obj.get(part)
    return obj


def _put(obj: JSONObject, path: str, value: object) -> None:
    *parents, last = path.strip(".").split(".")
    for part in parents:
        obj = obj.setdefault(part, {})
    obj[last] = value
