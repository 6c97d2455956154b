"""The answers a server gives when it refuses, as exceptions that know their ``Status`` body."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from runtime.testing.kinds.model import FieldError, Kind
from runtime.types import JSONObject

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


class StatusError(Exception):
    """A refusal, answered as a ``Status``.

    :param details: ``retryAfterSeconds`` among them also becomes the ``Retry-After`` header.
    :param headers: further response headers.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: JSONObject | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.headers = dict(headers or {})
        self.list_meta: JSONObject = {}  # a token to continue with, in a 410

    @property
    def body(self) -> JSONObject:
        status: JSONObject = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.list_meta,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        status["code"] = self.code
        return status


class PlainError(Exception):
    """A refusal that the real server answers as plain text: a path of no known API group, or a kubelet's word.

    :param headers: further response headers.
    """

    def __init__(self, code: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.headers = dict(headers or {})


def quote(value: object) -> str:
    """A value as the messages show it: strings in double quotes."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def qualified(group: str, resource: str) -> str:
    return f"{resource}.{group}" if group else resource


def details(kind: Kind, name: str) -> JSONObject:
    """``Status.details`` that names one object, or a collection when ``name`` is empty."""
    found: JSONObject = {}
    if name:
        found["name"] = name
    if kind.gvr.group:
        found["group"] = kind.gvr.group
    found["kind"] = kind.gvr.resource
    return found


def not_found(kind: Kind, name: str) -> StatusError:
    return resource_not_found(kind.gvr.group, kind.gvr.resource, name)


def resource_not_found(group: str, resource: str, name: str) -> StatusError:
    """404 of an object of a resource that need not exist."""
    found: JSONObject = {"name": name} if name else {}
    if group:
        found["group"] = group
    found["kind"] = resource
    return StatusError(404, "NotFound", f"{qualified(group, resource)} {quote(name)} not found", found)


def namespace_not_found(namespace: str) -> StatusError:
    return StatusError(
        404,
        "NotFound",
        f"namespaces {quote(namespace)} not found",
        {"name": namespace, "kind": "namespaces"},
    )


def no_such_path() -> StatusError:
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def no_such_group() -> PlainError:
    return PlainError(404, "404 page not found\n")


def already_exists(kind: Kind, name: str) -> StatusError:
    message = f"{qualified(kind.gvr.group, kind.gvr.resource)} {quote(name)} already exists"
    return StatusError(409, "AlreadyExists", message, details(kind, name))


def conflict(kind: Kind, name: str, why: str = MODIFIED) -> StatusError:
    what = f"{qualified(kind.gvr.group, kind.gvr.resource)} {quote(name)}"
    return StatusError(409, "Conflict", f"Operation cannot be fulfilled on {what}: {why}", details(kind, name))


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def forbidden(kind: Kind, name: str, why: str, causes: Sequence[JSONObject] = ()) -> StatusError:
    error = forbidden_resource(kind.gvr.group, kind.gvr.resource, name, why)
    if causes:
        error.details = {**(error.details or {}), "causes": list(causes)}
    return error


def forbidden_resource(group: str, resource: str, name: str, why: str) -> StatusError:
    """403 about a resource that need not exist. :param name: "" for a collection."""
    found: JSONObject = {"name": name} if name else {}
    if group:
        found["group"] = group
    if resource:
        found["kind"] = resource
    what = f"{qualified(group, resource)} {quote(name)}" if name else qualified(group, resource)
    return StatusError(403, "Forbidden", f"{what} is forbidden: {why}", found)


def invalid(group: str, kind: str, name: str, errors: Iterable[FieldError]) -> StatusError:
    """422 with one cause per error; the message lists them as the real server does."""
    listed = list(errors)
    causes = [{"reason": e.reason, "message": e.message, "field": e.field} for e in listed]
    texts = list(dict.fromkeys(f"{e.field}: {e.message}" for e in listed))
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    found: JSONObject = {}
    if name:
        found["name"] = name
    if group:
        found["group"] = group
    if kind:
        found["kind"] = kind
    found["causes"] = causes
    return StatusError(422, "Invalid", f"{qualified(group, kind)} {quote(name)} is invalid: {text}", found)


def invalid_object(kind: Kind, name: str, errors: Iterable[FieldError]) -> StatusError:
    # QUIRK kept: events are those of the core group, whatever group they are sent to.
    return invalid(kind.storage_key[0], kind.kind, name, errors)


def invalid_options(kind: str, errors: Iterable[FieldError]) -> StatusError:
    """422 about the query (``ListOptions``, ``PatchOptions`` ...)."""
    return invalid("meta.k8s.io", kind, "", errors)


def method_not_allowed(kind: Kind, verb: str) -> StatusError:
    if not kind.custom:
        # Built-in kinds have no route for it, so that nobody knows any more what the request was about.
        return StatusError(
            405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {}
        )
    what = quote(qualified(kind.gvr.group, kind.gvr.resource))
    message = f"{verb or 'this'} is not supported on resources of kind {what}"
    return StatusError(405, "MethodNotAllowed", message, details(kind, ""))


def unsupported_media_type(offered: Sequence[str]) -> StatusError:
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(offered)}"
    return StatusError(415, "UnsupportedMediaType", message)


def request_too_large(limit: int) -> StatusError:
    """:param limit: bytes that a body may have."""
    return StatusError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}")


def expired(message: str) -> StatusError:
    return StatusError(410, "Expired", message)


def too_old(version: int, oldest: int) -> StatusError:
    return expired(f"too old resource version: {version} ({oldest})")


def future_version(version: int, current: int) -> StatusError:
    """504 with the seconds after which the client should ask again, as for a cache that lags behind."""
    return StatusError(
        504,
        "Timeout",
        f"Timeout: Too large resource version: {version}, current: {current}",
        {
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        },
    )


def internal(message: str) -> StatusError:
    return StatusError(500, "InternalError", f"Internal error occurred: {message}", {"causes": [{"message": message}]})


def unauthorized() -> StatusError:
    return StatusError(401, "Unauthorized", "Unauthorized")
