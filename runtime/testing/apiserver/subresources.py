"""The subresources that are not the object itself: scale and binding."""

from __future__ import annotations

from typing import Final

import orjson

from runtime.testing.apiserver import errors, patches, scale
from runtime.testing.apiserver.binding import bind
from runtime.testing.apiserver.codec import decode, decode_object, media_type
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.http import Request, Response
from runtime.testing.apiserver.log import Stored
from runtime.testing.apiserver.ownership import Ownership
from runtime.testing.apiserver.present import respond
from runtime.testing.apiserver.routing import Target
from runtime.testing.apiserver.write_options import APPLY_PATCH, write_options
from runtime.testing.apiserver.writes import Writer
from runtime.types import GVR, JSONObject

BINDINGS: Final = ("", "bindings")


def scale_subresource(context: Context, writer: Writer, target: Target, request: Request) -> Response:
    """GET, PUT and PATCH of ``scale``."""
    kind = target.kind
    if request.method in ("GET", "HEAD"):
        stored = context.store.get(kind.storage_key, target.namespace, target.name)
        if stored is None:
            raise errors.not_found(kind, target.name)
        return respond(request, 200, scale.encode(kind, stored))
    if request.method == "PUT":
        body = decode(request.body, media_type(request) or "application/json")
        if not isinstance(body, dict):
            raise errors.bad_request("the body must be a Scale object")
        wanted = body

        def change(obj: JSONObject) -> JSONObject:
            return scale.with_scale(kind, obj, wanted)
    elif request.method == "PATCH":
        if patches.patch_type(request, kind) == APPLY_PATCH:
            raise errors.StatusError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
        patch = patches.parse(request, kind)

        def change(obj: JSONObject) -> JSONObject:
            stored = Stored("", target.namespace, target.name, 0, obj)
            return scale.with_scale(kind, obj, patch(scale.scale_of(kind, stored)))
    else:
        raise errors.method_not_allowed(kind, request.method.lower())
    main = Target(kind, target.namespace, target.name, "")
    options = write_options(request, "UpdateOptions")
    written = writer.update(main, change, options, Ownership(options.manager, "scale"))
    return respond(request, 200, scale.encode(kind, written.stored))


def bind_by_name(context: Context, writer: Writer, target: Target, request: Request) -> Response:
    """POST of a Binding, which has the name of its Pod."""
    pods = context.registry.lookup(GVR("", "v1", "pods"))
    assert pods is not None
    name = str(decode_object(request, target.kind)["metadata"].get("name") or "")
    return bind_subresource(context, writer, Target(pods, target.namespace, name, "binding"), request)


def bind_subresource(context: Context, writer: Writer, target: Target, request: Request) -> Response:
    """POST of a Pod's ``binding``."""
    kind, body = target.kind, decode(request.body, media_type(request) or "application/json")
    if not isinstance(body, dict):
        raise errors.bad_request("the body must be a Binding object")
    main = Target(kind, target.namespace, target.name, "binding")
    options = write_options(request, "CreateOptions")
    now = context.timestamp()
    own = Ownership(options.manager, "binding")
    writer.update(main, lambda pod: bind(kind, pod, body, now), options, own)
    done = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
    return respond(request, 201, orjson.dumps(done))
