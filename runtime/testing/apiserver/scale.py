"""The scale subresource: ``autoscaling/v1 Scale`` as a view of an object's replicas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from runtime.testing.apiserver.log import Stored
from runtime.testing.kinds.model import Kind, ScalePaths
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
    """``obj`` with the replicas that a written Scale, a valid one, wants."""
    metadata = scale["metadata"]
    _put(obj, scale_paths(kind).spec_replicas, (scale.get("spec") or {}).get("replicas", 0))
    for each in ("name", "namespace", "resourceVersion", "uid"):  # what it says must be true of the object
        if metadata.get(each):
            obj["metadata"][each] = metadata[each]
    return obj


def as_applied(kind: Kind, scale: JSONObject) -> JSONObject:
    """The configuration of the object itself that an applied Scale amounts to."""
    config: JSONObject = {"apiVersion": kind.gvr.api_version, "kind": kind.kind, "metadata": scale["metadata"]}
    replicas = (scale.get("spec") or {}).get("replicas")
    if replicas is not None:
        _put(config, scale_paths(kind).spec_replicas, replicas)
    return config


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
    if kind.kind == "ReplicationController":  # whose selector is labels, no LabelSelector
        selector = {"matchLabels": selector}
    return selector_text(selector)


def selector_text(selector: Mapping[str, Any]) -> str:
    """A LabelSelector object as text; empty if it selects everything."""
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
