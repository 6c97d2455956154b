"""The way from client-side to server-side apply: ``kubectl apply --server-side`` of what ``kubectl apply`` has made.

Client-side apply keeps what it has applied in an annotation. What stands there is kubectl's own, so that applying it by
the server is no conflict, and the annotation is kept up to date. Other field managers have no part in this.
"""

from __future__ import annotations

import orjson

from runtime.testing.apiserver.fieldset import EMPTY, Paths
from runtime.testing.apiserver.typed import compare, field_paths, type_of
from runtime.testing.kinds.model import Kind
from runtime.types import JSONObject

ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
_MANAGER = "kubectl"


def own_fields(kind: Kind, live: JSONObject, manager: str) -> Paths:
    """The fields that ``manager`` has applied by itself, and that nobody has changed since."""
    if manager != _MANAGER or not _annotation(live):
        return EMPTY
    try:
        applied = orjson.loads(_annotation(live))
    except ValueError:
        return EMPTY
    if not isinstance(applied, dict) or applied.get("apiVersion") != kind.gvr.api_version:
        return EMPTY
    difference = compare(applied, live, type_of(kind))
    return field_paths(applied, type_of(kind)) - difference.changed - difference.removed


def keep_annotation(obj: JSONObject, config: JSONObject, manager: str) -> None:
    """Say in the annotation, if there is one, that ``config`` was applied."""
    if manager != _MANAGER or not _annotation(obj):
        return
    metadata = dict(config["metadata"])
    annotations = {name: text for name, text in (metadata.pop("annotations", None) or {}).items() if name != ANNOTATION}
    if annotations:
        metadata["annotations"] = annotations
    applied = orjson.dumps({**config, "metadata": metadata}, option=orjson.OPT_SORT_KEYS).decode() + "\n"
    obj["metadata"]["annotations"] = {**obj["metadata"]["annotations"], ANNOTATION: applied}


def _annotation(obj: JSONObject) -> str:
    return str((obj["metadata"].get("annotations") or {}).get(ANNOTATION) or "")
