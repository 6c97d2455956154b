"""Parts of a request: path segments, queries and bodies of the verbs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias
from urllib.parse import quote

import orjson

from runtime.client._http import Response
from runtime.client.errors import ClientError, ConnectionFailed, Target
from runtime.client.unstructured import Unstructured
from runtime.types import GVR, JSONMapping

Object: TypeAlias = Unstructured | JSONMapping
PatchType: TypeAlias = Literal["merge", "json", "strategic"]
Propagation: TypeAlias = Literal["Foreground", "Background", "Orphan"]
FieldValidation: TypeAlias = Literal["Ignore", "Warn", "Strict"]

PATCH_TYPES: dict[str, str] = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}


class Write(NamedTuple):
    """A write that took effect or may have, as told to the observers of a client. Dry runs are not told.

    :ivar verb: ``create``, ``update``, ``patch``, ``apply``, ``delete`` or ``deletecollection``.
    :ivar name: as the server chose it; ``""`` where that is unknown, or of a collection.
    :ivar object: the object as the server answered it. None where it answered none: a delete that took effect at
        once, and subresources that are no view of the object (a scale, an eviction).
    :ivar resource_version: what the object has from this write on, as far as the answer tells; ``""`` if it does not.
    :ivar uid: of the object, as far as the answer tells.
    :ivar failure: set: the call raised this, and whether the write took effect is unknown (``failure.ambiguous``).
    """

    verb: str
    gvr: GVR
    namespace: str
    name: str
    subresource: str
    object: Unstructured | None
    resource_version: str = ""
    uid: str = ""
    failure: ClientError | None = None


def path_segment(what: str, text: str) -> str:
    """A namespace or name for a path.

    :raises ValueError: no object can be called so, and the path would lead elsewhere.
    """
    if text in (".", "..") or "/" in text or "%" in text:
        raise ValueError(f"{what} {text!r} cannot be the name of an object: it may not be '.', '..' or hold '/' or '%'")
    return quote(text, safe="")


def object_target(verb: str, gvr: GVR, namespace: str, name: str, subresource: str | None) -> Target:
    """What a call is about, as its errors say it."""
    resource = f"{gvr}/{subresource}" if subresource else str(gvr)
    where = f"{namespace}/{name}" if namespace and name else namespace or name
    return Target(verb, f"{resource} {where}" if where else resource)


def object_path(gvr: GVR, namespace: str, name: str, subresource: str | None) -> str:
    """Where the API serves an object, or without a name the collection.

    :raises ValueError: no object can be called so.
    """
    parts = [gvr.prefix]
    if namespace:
        parts += ["namespaces", path_segment("namespace", namespace)]
    parts.append(gvr.resource)
    if name:
        parts.append(path_segment("name", name))
    if subresource:
        parts += [quote(part, safe="") for part in subresource.split("/")]
    return "/".join(parts)


def answered_object(response: Response, target: Target) -> Unstructured:
    """:raises ConnectionFailed: what answered was no API server; what the call did is unknown."""
    try:
        return Unstructured.from_bytes(response.body)
    except ValueError as e:
        raise ConnectionFailed(f"{target}: the answer is no object: {e}", sent=True, retryable=False) from e


def as_object(obj: Object) -> Unstructured:
    return obj if isinstance(obj, Unstructured) else Unstructured(obj)


def name_of(obj: Unstructured) -> str:
    """:raises ValueError: the object has no name."""
    if not obj.name:
        raise ValueError(f"{obj!r} has no metadata.name")
    return obj.name


def selector_text(selector: object) -> str | None:
    """A selector as its query parameter; None for one that selects everything."""
    return None if selector is None else str(selector) or None


def patch_body(value: JSONMapping | Sequence[JSONMapping]) -> bytes:
    """:raises TypeError: it holds something that JSON cannot say."""
    try:
        return orjson.dumps(value, option=orjson.OPT_UTC_Z)
    except orjson.JSONEncodeError as e:
        raise TypeError(f"the patch cannot be written as JSON: {e}") from None


def build_query(**parameters: str | int | bool | None) -> dict[str, str]:
    return {
        key: ("true" if value else "false") if isinstance(value, bool) else str(value)
        for key, value in parameters.items()
        if value is not None
    }


def write_query(dry_run: bool, field_manager: str | None, field_validation: FieldValidation | None) -> dict[str, str]:
    return build_query(dryRun="All" if dry_run else None, fieldManager=field_manager, fieldValidation=field_validation)


def delete_options(
    grace_period_seconds: int | None,
    propagation_policy: Propagation | None,
    conditions: Mapping[str, str],
    dry_run: bool,
) -> bytes | None:
    options: dict[str, Any] = {}
    if grace_period_seconds is not None:
        options["gracePeriodSeconds"] = grace_period_seconds
    if propagation_policy is not None:
        options["propagationPolicy"] = propagation_policy
    if conditions:
        options["preconditions"] = dict(conditions)
    if dry_run:
        options["dryRun"] = ["All"]
    return orjson.dumps({"kind": "DeleteOptions", "apiVersion": "v1", **options}) if options else None
