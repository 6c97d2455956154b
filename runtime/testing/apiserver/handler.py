"""From a request to its answer: who asks, for what, which fault strikes, and what is written down about it."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

import orjson

from runtime.testing.apiserver import errors
from runtime.testing.apiserver.access.gate import Gate
from runtime.testing.apiserver.access.serviceaccounts import ServiceAccountTokens
from runtime.testing.apiserver.access.users import User
from runtime.testing.apiserver.audit import Audit, AuditEntry
from runtime.testing.apiserver.codec import media_type
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.documents import serve_document
from runtime.testing.apiserver.faults import Asked
from runtime.testing.apiserver.faults.control import Control, is_control
from runtime.testing.apiserver.faults.injector import Injector
from runtime.testing.apiserver.http import Cut, Request, Response
from runtime.testing.apiserver.options import boolean
from runtime.testing.apiserver.present import accept
from runtime.testing.apiserver.routing import Target, parse
from runtime.testing.apiserver.store import Store, TooLarge
from runtime.testing.apiserver.verbs import Verbs
from runtime.testing.kinds.model import ConversionError
from runtime.types import JSONObject

if TYPE_CHECKING:
    from runtime.testing.apiserver.auditlog import AuditFile

_log = logging.getLogger("runtime.testing.apiserver")
_ORJSON_TOO_DEEP = "Recursion limit reached"
_T = TypeVar("_T")

_OPENID: Mapping[str, tuple[Callable[[ServiceAccountTokens], JSONObject], str]] = {
    "/.well-known/openid-configuration": (ServiceAccountTokens.configuration, "application/json"),
    "/openid/v1/jwks": (ServiceAccountTokens.key_set, "application/jwk-set+json"),
}


@dataclass(slots=True)
class _Call:
    """A request, and what is known of it before it is served.

    :param target: None for paths that are no resources.
    :param name: of the object; of one that is created as its body says.
    :param user: None for who has not been recognized.
    :param acting: as whom he asks: himself, or whom he impersonates.
    :param refusal: what to answer if no fault strikes; None to serve it.
    """

    request: Request
    id: str
    received: datetime
    target: Target | None = None
    verb: str = ""
    name: str = ""
    user: User | None = None
    acting: User | None = None
    refusal: errors.StatusError | errors.PlainError | None = None


class Handler:
    """Answers requests. Called from the threads of many connections.

    :param audit_file: where the audit log is written besides; closed by whoever opened it.
    """

    def __init__(
        self,
        context: Context,
        verbs: Verbs,
        gate: Gate,
        audit: Audit,
        injector: Injector,
        control: Control,
        audit_file: AuditFile | None = None,
    ) -> None:
        self._context = context
        self._verbs = verbs
        self._gate = gate
        self._audit = audit
        self._injector = injector
        self._control = control
        self._audit_file = audit_file

    def handle(self, request: Request) -> Response | Cut:
        """The answer, or how the connection is to be closed instead. Never raises."""
        call = self._call(request)
        if is_control(request.path):
            return self._served(call)
        answer = self._injector.answer(_asked(call), lambda store: self._served(call, store))
        what = answer.what
        response = what.response if isinstance(what, Cut) else what
        if response is not None:
            response.headers["Audit-Id"] = call.id
        self._record(call, response, answer.fault)
        if response is not None and response.status >= 400:
            accept(request, response)
        return what

    def _call(self, request: Request) -> _Call:
        # As the real server does: who sends an id of his own finds it in the log.
        call = _Call(request, request.header("audit-id") or str(uuid.uuid4()), self._context.clock.now())
        try:
            call.target = self._target(request)
        except (errors.StatusError, errors.PlainError) as error:
            call.refusal = error
        call.verb = _verb(request, call.target)
        call.name = _name(request, call.target)
        try:
            call.user = self._gate.authenticate(request)
            call.acting = self._gate.act_as(call.user, request)
        except (errors.StatusError, errors.PlainError) as error:
            call.refusal = error  # that the path names nothing is only for those to know who may ask
        return call

    def _served(self, call: _Call, store: Store | None = None) -> Response:
        """:param store: to serve from this one."""
        request, user = call.request, call.acting
        try:
            if user is not None:
                self._verbs.catch_up()
                self._gate.authorize(user, request)
            if call.refusal is not None:
                raise call.refusal
            assert user is not None
            if call.target is None:
                return self._non_resource(request)
            verbs = self._verbs if store is None else Verbs(replace(self._context, store=store), self._gate)
            return verbs.serve(request, call.target, call.verb, user)
        except (errors.StatusError, errors.PlainError) as error:
            return refusal(error)
        except ConversionError as error:  # QUIRK kept: without a reason
            return refusal(errors.StatusError(500, "", str(error)))
        except TooLarge:  # QUIRK kept: what etcd says, and nothing else
            return refusal(errors.StatusError(500, "", "etcdserver: request is too large"))
        except Exception as error:
            if _too_deep(error):
                return refusal(errors.bad_request("the body is nested too deeply"))
            _log.exception("%s %s failed inside the server", request.method, request.path)
            return refusal(errors.internal(f"{type(error).__name__}: {error}"))

    def _target(self, request: Request) -> Target | None:
        """None for paths that are no resources."""
        path = request.path.rstrip("/")
        deep = path.count("/") >= (3 if path.startswith("/api/") else 4)
        if not path.startswith(("/api/", "/apis/")) or not deep:
            return None
        return parse(self._context.registry, path)

    def _non_resource(self, request: Request) -> Response:
        if is_control(request.path):
            return self._control.serve(request)
        if request.path in _OPENID:
            made, content_type = _OPENID[request.path]
            return Response(200, orjson.dumps(made(self._gate.accounts)), content_type)
        return serve_document(self._context.registry, request, self._context.clock)

    def _record(self, call: _Call, response: Response | None, fault: str) -> None:
        entry = _entry(call, response.status if response else 0, fault)
        self._audit.add(entry)
        file, clock = self._audit_file, self._context.clock
        if file is None:
            return
        if response is None or (response.stream is None and response.tunnel is None):
            refused = response is not None and response.status >= 400
            file.completed(entry, clock.now(), response.body if response and refused else b"")
            return
        file.started(entry, clock.now())
        if response.stream is not None:
            response.stream = _then(response.stream, lambda: file.completed(entry, clock.now()))
        if response.tunnel is not None:
            response.tunnel = _then(response.tunnel, lambda: file.completed(entry, clock.now()))


def _too_deep(error: Exception) -> bool:
    """Whether Python, or orjson, has refused to go down any further."""
    return isinstance(error, RecursionError) or (isinstance(error, TypeError) and str(error) == _ORJSON_TOO_DEEP)


def bad_request(code: int, message: str) -> Response:
    """The answer to bytes that are no request."""
    return refusal(errors.StatusError(code, "BadRequest", message))


def _verb(request: Request, target: Target | None) -> str:
    if target is None:
        return request.method.lower()
    if request.method in ("GET", "HEAD"):
        if target.watch:
            return "watch"
        if target.name:
            return "get"
        return "watch" if boolean(request.query, "watch") else "list"
    if request.method == "DELETE":
        return "delete" if target.name else "deletecollection"
    found = {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(request.method, "")
    needs_name = found in ("update", "patch")
    return found if bool(target.name) == needs_name or target.subresource else ""


def _name(request: Request, target: Target | None) -> str:
    if target is None or target.name or request.method != "POST":
        return target.name if target else ""
    from runtime.testing.apiserver.bodynames import body_name

    return body_name(request)


def _entry(call: _Call, code: int, fault: str) -> AuditEntry:
    gvr = call.target.kind.gvr if call.target else None
    return AuditEntry(
        verb=call.verb,
        group=gvr.group if gvr else "",
        version=gvr.version if gvr else "",
        resource=gvr.resource if gvr else "",
        namespace=call.target.namespace if call.target else "",
        name=call.name,
        subresource=call.target.subresource if call.target else "",
        user=call.user.name if call.user else "",
        user_agent=call.request.header("user-agent"),
        code=code,
        path=call.request.path,
        query=dict(call.request.query),
        content_type=media_type(call.request),
        groups=call.user.groups if call.user else (),
        impersonated=call.acting.name if call.acting and call.acting is not call.user else "",
        id=call.id,
        received=call.received,
        fault=fault,
    )


def _then(work: Callable[[_T], None], last: Callable[[], None]) -> Callable[[_T], None]:
    def run(connection: _T) -> None:
        try:
            work(connection)
        finally:
            last()

    return run


def _asked(call: _Call) -> Asked:
    request, target = call.request, call.target
    return Asked(
        call.verb,
        target.kind.gvr.group if target else "",
        target.kind.gvr.resource if target else "",
        target.namespace if target else "",
        call.name,
        target.subresource if target else "",
        request.path,
        request.header("user-agent"),
        call.acting.name if call.acting else "",
        call.acting.groups if call.acting else (),
        request.query,
    )


def refusal(error: errors.StatusError | errors.PlainError) -> Response:
    """The answer of an error."""
    if isinstance(error, errors.PlainError):
        return Response(error.code, error.text.encode(), "text/plain; charset=utf-8", error.headers)
    headers = dict(error.headers)
    retry_after = (error.details or {}).get("retryAfterSeconds")
    if retry_after:
        headers.setdefault("Retry-After", str(retry_after))
    return Response(error.code, orjson.dumps(error.body), headers=headers)
