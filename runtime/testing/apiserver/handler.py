"""From a request to its answer: who asks, for what, which fault strikes, and what is written down about it."""

from __future__ import annotations

import logging

import orjson

from runtime.testing.apiserver import errors
from runtime.testing.apiserver.audit import Audit, AuditEntry
from runtime.testing.apiserver.auth import Authenticator
from runtime.testing.apiserver.codec import media_type
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.faults import Asked, Fault, Faults
from runtime.testing.apiserver.http import Request, Response
from runtime.testing.apiserver.options import boolean
from runtime.testing.apiserver.routing import Target, parse
from runtime.testing.apiserver.verbs import Verbs
from runtime.testing.kinds import discovery

_log = logging.getLogger("runtime.testing.apiserver")

VERSION = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0+fake",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "python",
    "platform": "any",
}
_HEALTH = ("/healthz", "/livez", "/readyz")


class Handler:
    """Answers requests. Called from the threads of many connections."""

    def __init__(
        self, context: Context, verbs: Verbs, authenticator: Authenticator, audit: Audit, faults: Faults
    ) -> None:
        self._context = context
        self._verbs = verbs
        self._authenticator = authenticator
        self._audit = audit
        self._faults = faults

    def handle(self, request: Request) -> Response | None:
        """The answer; None if the connection is to be dropped without one. Never raises."""
        target: Target | None = None
        unknown: errors.StatusError | errors.PlainError | None = None
        try:
            target = self._target(request)
        except (errors.StatusError, errors.PlainError) as error:
            unknown = error
        verb = _verb(request, target)
        fault = self._faults.strike(_asked(request, target, verb))
        if fault is None:
            response: Response | None = self._served(request, target, verb, unknown)
        else:
            response = self._struck(fault, request, target, verb, unknown)
        self._record(request, target, verb, response)
        return response

    def _struck(
        self,
        fault: Fault,
        request: Request,
        target: Target | None,
        verb: str,
        unknown: errors.StatusError | errors.PlainError | None,
    ) -> Response | None:
        """Serve the request as the fault lets it be served."""
        if fault.delay:
            self._context.clock.wait_event(self._context.stopping, fault.delay)
        if fault.drop == "before":
            return None
        if fault.status is not None:
            return _injected(fault)
        response = self._served(request, target, verb, unknown)
        return None if fault.drop == "after" else response

    def _served(
        self,
        request: Request,
        target: Target | None,
        verb: str,
        unknown: errors.StatusError | errors.PlainError | None,
    ) -> Response:
        """:param unknown: the path names nothing, which only those may learn who may ask."""
        try:
            user = self._authenticator.authenticate(request.header("authorization"))
            if unknown is not None:
                raise unknown
            if target is None:
                return self._non_resource(request)
            return self._verbs.serve(request, target, verb, user)
        except (errors.StatusError, errors.PlainError) as error:
            return _refusal(error)
        except RecursionError:
            return _refusal(errors.bad_request("the body is nested too deeply"))
        except Exception as error:
            _log.exception("%s %s failed inside the server", request.method, request.path)
            return _refusal(errors.internal(f"{type(error).__name__}: {error}"))

    def _target(self, request: Request) -> Target | None:
        """None for paths that are no resources."""
        path = request.path
        deep = path.count("/") >= (3 if path.startswith("/api/") else 4)
        if not path.startswith(("/api/", "/apis/")) or not deep or path.endswith("/"):
            return None
        return parse(self._context.registry, path)

    def _non_resource(self, request: Request) -> Response:
        path = request.path
        if path.startswith(_HEALTH):
            return Response(200, b"ok", "text/plain; charset=utf-8")
        if path in ("/version", "/version/"):
            return Response(200, orjson.dumps(VERSION))
        found = discovery.serve(self._context.registry, path, request.query, request.header("accept"))
        if found is None:
            raise errors.no_such_group()
        status, content_type, body = found
        return Response(status, body, content_type)

    def _record(self, request: Request, target: Target | None, verb: str, response: Response | None) -> None:
        gvr = target.kind.gvr if target else None
        self._audit.add(
            AuditEntry(
                verb,
                gvr.group if gvr else "",
                gvr.version if gvr else "",
                gvr.resource if gvr else "",
                target.namespace if target else "",
                target.name if target else "",
                target.subresource if target else "",
                request.header("user-agent"),
                response.status if response else 0,
                request.path,
                dict(request.query),
                media_type(request),
            )
        )


def bad_request(code: int, message: str) -> Response:
    """The answer to bytes that are no request."""
    if code == 413:
        return _refusal(errors.StatusError(413, "RequestEntityTooLarge", message))
    return _refusal(errors.StatusError(code, "BadRequest", message))


def _verb(request: Request, target: Target | None) -> str:
    if target is None:
        return request.method.lower()
    if request.method in ("GET", "HEAD"):
        if target.watch:
            return "watch"
        if target.name:
            return "get"
        return "watch" if boolean(request.query.get("watch", "")) else "list"
    if request.method == "DELETE":
        return "delete" if target.name else "deletecollection"
    found = {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(request.method, "")
    needs_name = found in ("update", "patch")
    return found if bool(target.name) == needs_name or target.subresource else ""


def _asked(request: Request, target: Target | None, verb: str) -> Asked:
    return Asked(
        verb,
        target.kind.gvr.group if target else "",
        target.kind.gvr.resource if target else "",
        target.namespace if target else "",
        target.name if target else "",
        target.subresource if target else "",
        request.path,
        request.header("user-agent"),
    )


_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


def _injected(fault: Fault) -> Response:
    assert fault.status is not None
    error = errors.StatusError(
        fault.status,
        fault.reason or _REASONS.get(fault.status, ""),
        fault.message or f"a fault was injected: {fault.status}",
    )
    if fault.retry_after is not None:
        error.headers["Retry-After"] = str(fault.retry_after)
        error.details = {"retryAfterSeconds": fault.retry_after}
    return _refusal(error)


def _refusal(error: errors.StatusError | errors.PlainError) -> Response:
    if isinstance(error, errors.PlainError):
        return Response(error.code, error.text.encode(), "text/plain; charset=utf-8")
    return Response(error.code, orjson.dumps(error.body), headers=error.headers)
