"""From a request to its answer: every verb of every kind."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

import orjson

from runtime.testing.apiserver import crds, errors, patches, scale
from runtime.testing.apiserver.apply import apply_body, server_side_apply
from runtime.testing.apiserver.audit import Audit, AuditEntry
from runtime.testing.apiserver.binding import bind
from runtime.testing.apiserver.codec import decode, decode_object, duplicate_fields, media_type
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.deletes import Deleted, Deleter, parse_options, returns_object
from runtime.testing.apiserver.faults import Asked, Fault, Faults
from runtime.testing.apiserver.http import Request, Response
from runtime.testing.apiserver.log import Stored
from runtime.testing.apiserver.logs import read_log
from runtime.testing.apiserver.negotiation import negotiate
from runtime.testing.apiserver.options import boolean
from runtime.testing.apiserver.ownership import Ownership
from runtime.testing.apiserver.present import Presenter
from runtime.testing.apiserver.reads import read_collection, read_object
from runtime.testing.apiserver.routing import Target, parse
from runtime.testing.apiserver.selection import Selection
from runtime.testing.apiserver.store import clone
from runtime.testing.apiserver.writes import WriteOptions, Writer, Written, check_uid, present
from runtime.testing.kinds import discovery
from runtime.testing.kinds import errors as kind_errors
from runtime.types import JSONObject

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
_MAX_MANAGER = 128
# Who everybody is as long as nobody authenticates.
_CALLER = {"username": "system:admin", "uid": "", "groups": ["system:masters", "system:authenticated"]}
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


class Api:
    """Answers requests. Called from the threads of many connections."""

    def __init__(self, context: Context, audit: Audit, faults: Faults) -> None:
        self._context = context
        self._audit = audit
        self._faults = faults
        self._writer = Writer(context)
        self._deleter = Deleter(context)

    def handle(self, request: Request) -> Response | None:
        """The answer; None if the connection is to be dropped without one. Never raises."""
        target: Target | None = None
        refusal: Response | None = None
        try:
            target = self._target(request)
        except (errors.StatusError, errors.PlainError) as error:
            refusal = _refusal(error)
        verb = _verb(request, target)
        fault = self._faults.strike(_asked(request, target, verb))
        response = self._struck(request, target, verb, fault, refusal)
        self._record(request, target, verb, response)
        return response

    def _struck(
        self,
        request: Request,
        target: Target | None,
        verb: str,
        fault: Fault | None,
        refusal: Response | None,
    ) -> Response | None:
        """Serve the request as the fault lets it be served."""
        if fault is None:
            return refusal or self._served(request, target, verb)
        if fault.delay:
            self._context.clock.wait_event(self._context.stopping, fault.delay)
        if fault.drop == "before":
            return None
        if fault.status is not None:
            return _injected(fault)
        response = refusal or self._served(request, target, verb)
        return None if fault.drop == "after" else response

    def _served(self, request: Request, target: Target | None, verb: str) -> Response:
        try:
            if target is None:
                return self._non_resource(request)
            return self._resource(request, target, verb)
        except (errors.StatusError, errors.PlainError) as error:
            return _refusal(error)
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

    # -- paths that are no resources

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

    # -- resources

    def _resource(self, request: Request, target: Target, verb: str) -> Response:
        if request.method not in _METHODS or (not target.subresource and verb not in target.kind.verbs):
            raise errors.method_not_allowed(target.kind, verb)
        if target.subresource not in ("", "status"):
            return self._subresource(request, target)
        if verb == "get":
            return read_object(self._context, target, request)
        if verb in ("list", "watch"):
            return read_collection(self._context, target, request)
        if verb == "create" and not target.subresource:
            return self._create(request, target)
        if verb == "update":
            return self._update(request, target)
        if verb == "patch":
            return self._patch(request, target)
        if verb == "delete" and not target.subresource:
            return self._delete(request, target)
        if verb == "deletecollection":
            return self._delete_collection(request, target)
        raise errors.method_not_allowed(target.kind, verb)

    def _create(self, request: Request, target: Target) -> Response:
        presenter = _presenter(request, target)
        options = _write_options(request, "CreateOptions")
        obj = decode_object(request, target.kind)
        if target.kind.answer is not None:
            problems = target.kind.behaviour.validate(obj, None)
            if problems:
                raise errors.invalid_object(target.kind, "", problems)
            return Response(201, orjson.dumps(target.kind.answer(obj, _CALLER)))
        written = self._writer.create(target, obj, options, Ownership(options.manager))
        return self._answer(presenter, self._finish(target, written, dry_run=options.dry_run))

    def _update(self, request: Request, target: Target) -> Response:
        presenter = _presenter(request, target)
        options = _write_options(request, "UpdateOptions")
        obj = decode_object(request, target.kind)
        own = Ownership(options.manager, target.subresource)
        check = check_uid(target.kind, obj)
        written = self._writer.update(target, lambda _: clone(obj), options, own, check)
        return self._answer(presenter, self._finish(target, written, dry_run=options.dry_run))

    def _patch(self, request: Request, target: Target) -> Response:
        presenter = _presenter(request, target)
        apply = patches.patch_type(request, target.kind) == patches.APPLY_PATCH
        options = _write_options(request, "PatchOptions")
        if apply:
            config = apply_body(request, target)
            force = boolean(request.query.get("force", ""))
            written = server_side_apply(self._writer, self._context, target, config, options, force=force)
        else:
            change = patches.parse(request, target.kind)
            options = replace(options, patch=request.body.decode("utf-8", "replace"))
            own = Ownership(options.manager, target.subresource)
            written = self._writer.update(target, change, options, own)
        return self._answer(presenter, self._finish(target, written, dry_run=options.dry_run))

    def _delete(self, request: Request, target: Target) -> Response:
        presenter = _presenter(request, target)
        options = parse_options(_optional_body(request), request.query)
        deleted = self._deleter.delete(target.kind, target.namespace, target.name, options)
        if deleted.removed and not returns_object(target.kind):
            return Response(200, orjson.dumps(_success(target, deleted)))
        return presenter.answer(200, presenter.single(deleted.stored))

    def _delete_collection(self, request: Request, target: Target) -> Response:
        presenter = _presenter(request, target)
        options = parse_options(_optional_body(request), request.query)
        selection = Selection(
            target.kind, request.query.get("labelSelector", ""), request.query.get("fieldSelector", "")
        )
        deleted = self._deleter.delete_collection(target.kind, target.namespace, selection, options)
        version = self._context.store.version
        body = presenter.collection(deleted, version, "", None)
        return presenter.answer(200, body)

    def _finish(self, target: Target, written: Written, *, dry_run: bool = False) -> Written:
        """What a write sets off: a CRD's kinds are served."""
        if target.kind.storage_key == crds.CRDS and written.stored.version and not written.removed and not dry_run:
            written.stored = crds.after_write(self._context, target.kind, written.stored)
        return written

    def _answer(self, presenter: Presenter, written: Written) -> Response:
        return presenter.answer(201 if written.created else 200, presenter.single(written.stored), written.warnings)

    # -- subresources

    def _subresource(self, request: Request, target: Target) -> Response:
        if target.subresource == "scale":
            return self._scale(request, target)
        if target.subresource == "log" and request.method == "GET":
            return read_log(self._context, target, request)
        if target.subresource == "finalize" and request.method == "PUT":
            return self._update(request, target)
        if target.subresource == "binding" and request.method == "POST":
            return self._bind(request, target)
        raise errors.method_not_allowed(target.kind, _verb(request, target))

    def _scale(self, request: Request, target: Target) -> Response:
        kind = target.kind
        if request.method in ("GET", "HEAD"):
            stored = self._context.store.get(kind.storage_key, target.namespace, target.name)
            if stored is None:
                raise errors.not_found(kind, target.name)
            return Response(200, scale.encode(kind, stored))
        if request.method == "PUT":
            body = decode(request.body, media_type(request) or "application/json")
            if not isinstance(body, dict):
                raise errors.bad_request("the body must be a Scale object")
            wanted = body

            def change(obj: JSONObject) -> JSONObject:
                return scale.with_scale(kind, obj, wanted)
        elif request.method == "PATCH":
            patch = patches.parse(request, kind)

            def change(obj: JSONObject) -> JSONObject:
                stored = Stored("", target.namespace, target.name, 0, obj)
                return scale.with_scale(kind, obj, patch(scale.scale_of(kind, stored)))
        else:
            raise errors.method_not_allowed(kind, _verb(request, target))
        main = Target(kind, target.namespace, target.name, "")
        options = _write_options(request, "UpdateOptions")
        written = self._writer.update(main, change, options, Ownership(options.manager, "scale"))
        return Response(200, scale.encode(kind, written.stored))

    def _bind(self, request: Request, target: Target) -> Response:
        kind, body = target.kind, decode(request.body, media_type(request) or "application/json")
        if not isinstance(body, dict):
            raise errors.bad_request("the body must be a Binding object")
        main = Target(kind, target.namespace, target.name, "binding")
        options = _write_options(request, "CreateOptions")
        now = self._context.timestamp()
        own = Ownership(options.manager, "binding")
        self._writer.update(main, lambda pod: bind(kind, pod, body, now), options, own)
        done = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
        return Response(201, orjson.dumps(done))

    # -- in process

    def put(self, target: Target, obj: JSONObject) -> JSONObject:
        """Create, or update what is there, without HTTP; returns the stored object. Raises ``StatusError``."""
        options = WriteOptions(manager="apply_manifests")
        try:
            obj = {"apiVersion": target.kind.gvr.api_version, "kind": target.kind.kind, **clone(obj)}
            written = self._writer.create(target, clone(obj), options, Ownership(options.manager))
        except errors.StatusError as error:
            if error.reason != "AlreadyExists":
                raise
            found = Target(target.kind, target.namespace, obj["metadata"]["name"], "")
            written = self._writer.update(
                found, lambda old: {**old, **_main_part(obj, old)}, options, Ownership(options.manager)
            )
        return present(target.kind, self._finish(target, written).stored)

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


def _main_part(obj: JSONObject, old: JSONObject) -> JSONObject:
    metadata = {**old["metadata"], **obj["metadata"]}
    return {**{k: v for k, v in obj.items() if k != "status"}, "metadata": metadata}


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


def _presenter(request: Request, target: Target) -> Presenter:
    representation = negotiate(request.header("accept"))
    return Presenter(target.kind, representation, request.query.get("includeObject", "Metadata"))


def _write_options(request: Request, kind: str) -> WriteOptions:
    """Raises 422 about ``kind`` (``CreateOptions`` ...) for values that are not allowed."""
    query: Mapping[str, str] = request.query
    found = []
    dry_run, validation = query.get("dryRun", ""), query.get("fieldValidation", "")
    if dry_run not in ("", "All"):
        found.append(kind_errors.not_supported("dryRun", [dry_run], ("All",)))
    if validation not in ("", "Ignore", "Strict", "Warn"):
        choices = ("", "Ignore", "Strict", "Warn")
        found.append(kind_errors.not_supported("fieldValidation", validation, choices))
    if kind == "PatchOptions" and query.get("force") and media_type(request) != patches.APPLY_PATCH:
        found.append(kind_errors.forbidden("force", "may not be specified for non-apply patch"))
    if len(query.get("fieldManager", "")) > _MAX_MANAGER:
        found.append(kind_errors.too_long("fieldManager", _MAX_MANAGER))
    if found:
        raise errors.invalid_options(kind, found)
    manager = query.get("fieldManager") or request.header("user-agent").split("/")[0] or "unknown"
    duplicates: tuple[str, ...] = ()
    if validation != "Ignore" and media_type(request) in ("", "application/json"):
        duplicates = _duplicates(request.body)
    return WriteOptions(bool(dry_run), validation or "Warn", manager[:_MAX_MANAGER], duplicates)


def _duplicates(body: bytes) -> tuple[str, ...]:
    try:
        return duplicate_fields(body)
    except ValueError:
        return ()  # said better when the body is decoded


def _optional_body(request: Request) -> object:
    return decode(request.body, media_type(request) or "application/json") if request.body else None


def _success(target: Target, deleted: Deleted) -> JSONObject:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {**errors.details(target.kind, target.name), "uid": deleted.stored.uid},
    }
