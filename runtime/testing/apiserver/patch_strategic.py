"""Strategic merge patch: a merge patch that merges lists by their schema's merge key."""

from __future__ import annotations

from runtime.testing.apiserver import patch_json
from runtime.testing.kinds.model import Kind
from runtime.types import JSONObject


def apply(kind: Kind, obj: JSONObject, patch: JSONObject) -> JSONObject:
    """``obj`` with ``patch`` merged in."""
    result = patch_json.merge(obj, patch)
    assert isinstance(result, dict)
    return result
