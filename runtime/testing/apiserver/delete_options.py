"""What a DELETE asks for: preconditions, a grace period, what becomes of dependents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.testing.apiserver import errors
from runtime.testing.apiserver.codec import TYPE_META, decode, json_type, media_type
from runtime.testing.apiserver.http import Request
from runtime.testing.apiserver.options import boolean, integer
from runtime.testing.kinds import errors as kind_errors
from runtime.testing.kinds.gotypes import fit
from runtime.testing.kinds.model import DecodeError, FieldError
from runtime.testing.kinds.schemas import REF
from runtime.types import JSONObject

FOREGROUND, BACKGROUND, ORPHAN = "Foreground", "Background", "Orphan"
_POLICIES = (FOREGROUND, BACKGROUND, ORPHAN)
_ACCEPTED = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_SCHEMA = {"$ref": f"{REF}io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"}


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """:param grace: seconds; None for the object's own.
    :param policy: what becomes of dependents; empty if the request does not say.
    :param uid: what the object's must be; None for any. Empty, nothing has it.
    :param version: the same of its resourceVersion.
    :param waits: the deprecated ``orphanDependents=false``, whose answer is 202 while the object is still there.
    """

    grace: int | None = None
    policy: str = ""
    uid: str | None = None
    version: str | None = None
    dry_run: bool = False
    waits: bool = False


def delete_options(request: Request) -> DeleteOptions:
    """From the body if there is one, which makes the query count for nothing, else from the query.

    Raises 400, 415 and 422.
    """
    return from_object(_decoded(request) if request.body else _queried(request.query))


def _decoded(request: Request) -> JSONObject:
    media = media_type(request) or "application/json"
    if media not in _ACCEPTED:
        raise errors.unsupported_media_type(_ACCEPTED)
    body = decode(request.body, media)
    if body is None:
        return {}
    if not isinstance(body, dict):
        why = f"json: cannot unmarshal {json_type(body)} into Go value of type {TYPE_META}"
        raise errors.bad_request(f"couldn't get version/kind; json parse error: {why}")
    kind = body.get("kind") or "DeleteOptions"
    if kind != "DeleteOptions":
        raise errors.bad_request(f"decoded object of kind {errors.quote(kind)} cannot be converted to DeleteOptions")
    try:
        fit(_SCHEMA, body, "DeleteOptions")
    except DecodeError as error:
        raise errors.bad_request(str(error)) from None
    return body


def _queried(query: Mapping[str, str]) -> JSONObject:
    found: JSONObject = {}
    if "gracePeriodSeconds" in query:
        found["gracePeriodSeconds"] = integer(query, "gracePeriodSeconds")
    if "orphanDependents" in query:
        found["orphanDependents"] = boolean(query, "orphanDependents")
    if "propagationPolicy" in query:
        found["propagationPolicy"] = query["propagationPolicy"]
    if query.get("dryRun"):
        found["dryRun"] = [query["dryRun"]]
    found["preconditions"] = {each: query[each] for each in ("uid", "resourceVersion") if query.get(each)}
    return found


def from_object(body: Mapping[str, Any]) -> DeleteOptions:
    """From a DeleteOptions object of the right types. Raises 422."""
    orphan, policy = body.get("orphanDependents"), body.get("propagationPolicy")
    dry_run = body.get("dryRun") or []
    found = _problems(orphan, policy, dry_run)
    if found:
        raise errors.invalid_options("DeleteOptions", found)
    if orphan is not None:
        policy = ORPHAN if orphan else BACKGROUND
    conditions = body.get("preconditions") or {}
    return DeleteOptions(
        body.get("gracePeriodSeconds"),
        policy or "",
        conditions.get("uid"),
        conditions.get("resourceVersion"),
        bool(dry_run),
        waits=orphan is False,
    )


def _problems(orphan: bool | None, policy: str | None, dry_run: list[str]) -> list[FieldError]:
    found = []
    if orphan is not None and policy is not None:
        why = "orphanDependents and deletionPropagation cannot be both set"
        found.append(kind_errors.invalid("propagationPolicy", policy, why))
    if policy is not None and policy not in _POLICIES:
        found.append(kind_errors.not_supported("propagationPolicy", policy, (*_POLICIES, "nil")))
    if any(each != "All" for each in dry_run):
        found.append(kind_errors.not_supported("dryRun", dry_run, ("All",)))
    return found
