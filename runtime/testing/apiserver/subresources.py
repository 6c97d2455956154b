"""The subresources that are not the object itself: scale, binding and eviction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import orjson

from runtime.testing.apiserver import clusterdefaults, errors, patches, scale
from runtime.testing.apiserver.apply import apply_body, server_side_apply
from runtime.testing.apiserver.binding import bind
from runtime.testing.apiserver.codec import decode_object
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.eviction import Evictor
from runtime.testing.apiserver.http import Request, Response
from runtime.testing.apiserver.log import Stored
from runtime.testing.apiserver.namespaces import check_namespace
from runtime.testing.apiserver.options import boolean
from runtime.testing.apiserver.ownership import Ownership
from runtime.testing.apiserver.present import respond
from runtime.testing.apiserver.routing import Target
from runtime.testing.apiserver.store import clone
from runtime.testing.apiserver.write_options import APPLY_PATCH, warning_headers, write_options
from runtime.testing.apiserver.writes import Writer
from runtime.testing.kinds.subobjects import BINDING, EVICTION, SCALE
from runtime.types import GVR, JSONObject

BINDINGS: Final = ("", "bindings")
_OLD_EVICTION: Final = "policy/v1beta1"  # which nothing else is served in any more
_DONE: Final = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def scale_subresource(context: Context, writer: Writer, target: Target, request: Request) -> Response:
    """GET, PUT and PATCH of ``scale``."""
    kind = target.kind
    if request.method in ("GET", "HEAD"):
        stored = context.store.get(kind.storage_key, target.namespace, target.name)
        if stored is None:
            raise errors.not_found(kind, target.name)
        return respond(request, 200, scale.encode(kind, stored))
    if request.method not in ("PUT", "PATCH"):
        raise errors.method_not_allowed(kind, request.method.lower())
    patched = request.method == "PATCH"
    if patched and patches.patch_type(request, kind) == APPLY_PATCH:
        return _apply_scale(context, writer, target, request)
    options = write_options(request, "PatchOptions" if patched else "UpdateOptions")
    warnings: list[str] = []
    wanted: Callable[[JSONObject], JSONObject]
    if patched:
        options = replace(options, patch=request.body.decode("utf-8", "replace"))
        wanted = patches.parse(request, kind)
    else:
        body = decode_object(request, SCALE)
        wanted = partial(_always, body)

    def change(obj: JSONObject) -> JSONObject:
        now = scale.scale_of(kind, Stored("", target.namespace, target.name, 0, clone(obj)))
        new = clone(wanted(now))
        new.setdefault("metadata", {})
        warnings[:] = writer.shape(SCALE, new, options)
        problems = SCALE.behaviour.validate(new, None)
        if problems:
            raise errors.invalid_object(SCALE, target.name, problems)
        return scale.with_scale(kind, obj, new)

    main = Target(kind, target.namespace, target.name, "")
    plain = replace(options, strict=(), patch=None)
    written = writer.update(main, change, plain, Ownership(options.manager, "scale"))
    return respond(request, 200, scale.encode(kind, written.stored), warning_headers(warnings))


def _apply_scale(context: Context, writer: Writer, target: Target, request: Request) -> Response:
    options = write_options(request, "PatchOptions")
    config = apply_body(request, Target(SCALE, target.namespace, target.name, ""))
    warnings = writer.shape(SCALE, clone(config), options)
    problems = SCALE.behaviour.validate(config, None)
    if problems:
        raise errors.invalid_object(SCALE, target.name, problems)
    applied, plain = scale.as_applied(target.kind, config), replace(options, strict=())
    force = boolean(request.query, "force")
    written = server_side_apply(writer, context, target, applied, plain, force=force)
    return respond(request, 200, scale.encode(target.kind, written.stored), warning_headers(warnings))


def _always(body: JSONObject, obj: JSONObject) -> JSONObject:
    del obj
    return body


def bind_by_name(context: Context, writer: Writer, target: Target, request: Request) -> Response:
    """POST of a Binding, which has the name of its Pod."""
    pods = context.registry.lookup(GVR("", "v1", "pods"))
    assert pods is not None
    name = str(decode_object(request, target.kind)["metadata"].get("name") or "")
    return bind_subresource(context, writer, Target(pods, target.namespace, name, "binding"), request)


def bind_subresource(context: Context, writer: Writer, target: Target, request: Request) -> Response:
    """POST of a Pod's ``binding``."""
    options = write_options(request, "CreateOptions")
    body = decode_object(request, BINDING)
    warnings = writer.shape(BINDING, body, options)
    _check_admitted(context, target)
    if body["metadata"].get("name") != target.name:
        raise errors.bad_request("name in URL does not match name in Binding object")
    problems = BINDING.behaviour.validate(body, None)
    if problems:
        # The real server says the same, but with a 500: nobody has told it that this is the client's fault.
        raise errors.invalid_object(BINDING, target.name, problems)
    if target.subresource and body["target"].get("kind") == "Node":
        clusterdefaults.label(context.store, body, body["target"]["name"])
    now = context.timestamp()
    # QUIRK kept: nobody is recorded as the owner of what this changes.
    writer.update(target, lambda pod: bind(pod, body, now), replace(options, strict=()), None)
    return respond(request, 201, orjson.dumps(_DONE), warning_headers(warnings))


def evict_subresource(context: Context, writer: Writer, evictor: Evictor, target: Target, request: Request) -> Response:
    """POST of a Pod's ``eviction``."""
    options = write_options(request, "CreateOptions")
    body = decode_object(request, EVICTION, also=_OLD_EVICTION)
    warnings = writer.shape(EVICTION, body, options)
    _check_admitted(context, target)
    evictor.evict(target, body, dry_run=options.dry_run)
    return respond(request, 201, orjson.dumps(_DONE), warning_headers(warnings))


def _check_admitted(context: Context, target: Target) -> None:
    """Nothing is created in a namespace that is missing or going, not even an eviction."""
    check_namespace(context.store, target.kind, target.namespace, target.name)
