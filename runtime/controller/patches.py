"""Merge patches that hold nothing but what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.client import Unstructured
from runtime.types import GVR, JSONMapping, JSONObject

if TYPE_CHECKING:
    from runtime.client import Client

__all__ = ["merge_patch", "patch_status", "without_nulls"]


def patch_status(client: Client, gvr: GVR, obj: Unstructured, status: JSONMapping) -> Unstructured:
    """Bring ``obj.status`` to ``status`` by a merge patch of the differences; no request if there are none.

    Fields that ``status`` lacks are removed. There is one writer of a status, its controller, so the patch asks for
    no particular resourceVersion; a write computed from a stale cache is corrected by the next reconcile.

    :returns: the object as stored now; ``obj`` itself if nothing had to be written.
    :raises NotFound: the object is gone, or its kind has no status subresource.
    """
    patch = merge_patch(obj.get("status") or {}, status)
    if not patch:
        return obj
    resource = client.resource(gvr, namespace=obj.namespace or None)
    # The uid makes a patch meant for a deleted object miss the new one of its name.
    body = {"metadata": {"uid": obj.uid}, "status": patch}
    return resource.patch(obj.name, body, type="merge", subresource="status")


def merge_patch(old: JSONMapping, new: JSONMapping) -> JSONObject:
    """The JSON merge patch (RFC 7386) that turns ``old`` into ``new``; ``{}`` if they are equal."""
    patch: JSONObject = {key: None for key in old if new.get(key) is None}
    for key, value in new.items():
        if value is None or (key in old and old[key] == value):
            continue
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            inner = merge_patch(before, value)
            if inner:
                patch[key] = inner
        else:
            patch[key] = without_nulls(value) if isinstance(value, dict) else value
    return {key: value for key, value in patch.items() if value is not None or old.get(key) is not None}


def without_nulls(value: JSONMapping) -> JSONObject:
    """A copy, new all the way down, of what is set: the API takes null for absent."""
    return {key: _clean(part) for key, part in value.items() if part is not None}


def _clean(value: object) -> object:
    if isinstance(value, dict):
        return without_nulls(value)
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value
