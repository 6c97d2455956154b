"""PATCH: which kind of patch it is, and what it makes of an object."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from runtime.testing.apiserver import patch_json, patch_strategic
from runtime.testing.apiserver.codec import media_type
from runtime.testing.apiserver.errors import StatusError, bad_request, unsupported_media_type
from runtime.testing.apiserver.http import Request
from runtime.testing.apiserver.write_options import APPLY_PATCH
from runtime.testing.kinds.gojson import type_name
from runtime.testing.kinds.gosyntax import syntax_error
from runtime.testing.kinds.model import Kind
from runtime.types import JSONObject

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"

Patch = Callable[[JSONObject], JSONObject]


def patch_type(request: Request, kind: Kind) -> str:
    """Raises 415 for a type that this kind does not know."""
    media = media_type(request)
    if media in (JSON_PATCH, MERGE_PATCH, APPLY_PATCH) or (media == STRATEGIC_PATCH and not kind.custom):
        return media
    if kind.custom:
        raise unsupported_media_type((JSON_PATCH, MERGE_PATCH, APPLY_PATCH))
    raise StatusError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})


def parse(request: Request, kind: Kind) -> Patch:
    """The patch in the body, as a function on objects. Raises 400; the function raises 400 and 422."""
    media = patch_type(request, kind)
    try:
        body = orjson.loads(request.body)
    except ValueError as error:
        raise bad_request(f"error decoding patch: {syntax_error(request.body) or error}") from None
    if media == JSON_PATCH:
        operations = patch_json.check(body)
        return lambda obj: patch_json.apply(obj, operations)
    if body is None:
        if media == MERGE_PATCH:
            raise bad_request("Invalid JSON Patch")
        body = {}
    if not isinstance(body, dict):
        shown = {"integer": "number", "boolean": "bool"}.get(type_name(body), type_name(body))
        why = f"json: cannot unmarshal {shown} into Go value of type map[string]interface {{}}"
        raise bad_request(f"error decoding patch: {why}")
    patch = body
    if media == MERGE_PATCH:
        return lambda obj: _merged(obj, patch)
    return lambda obj: _strategic(kind, obj, patch)


def _strategic(kind: Kind, obj: JSONObject, patch: JSONObject) -> JSONObject:
    """QUIRK kept: another kind or version in the patch is of no matter."""
    return {**patch_strategic.apply(kind, obj, patch), "apiVersion": kind.gvr.api_version, "kind": kind.kind}


def _merged(obj: JSONObject, patch: JSONObject) -> JSONObject:
    result = patch_json.merge(obj, patch)
    assert isinstance(result, dict)
    return result
