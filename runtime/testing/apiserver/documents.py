"""What a server says of itself: discovery, OpenAPI, health, version."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Final

import orjson

from runtime.clock import Clock
from runtime.testing.apiserver import errors
from runtime.testing.apiserver.http import Request, Response, http_date
from runtime.testing.apiserver.negotiation import (
    JSON,
    check_json,
    first_of,
    negotiate_aggregated,
    negotiate_document,
)
from runtime.testing.apiserver.render import render
from runtime.testing.kinds.model import Registry

VERSION: Final = {
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
_LIVE: Final = ("ping", "log", "etcd")
_HEALTH: Final = {
    "healthz": _LIVE,
    "livez": _LIVE,
    "readyz": (*_LIVE, "etcd-readiness", "informer-sync", "shutdown"),
}
_TEXT: Final = "text/plain; charset=utf-8"
_AGGREGATED: Final = "g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def serve_document(registry: Registry, request: Request, clock: Clock) -> Response:
    """The answer to a path that is no resource. Raises ``StatusError`` and ``PlainError``."""
    path = request.path.rstrip("/")
    check = path.removeprefix("/").partition("/")
    if check[0] in _HEALTH and (not check[1] or check[2] in _HEALTH[check[0]]):
        return _health(check[0], check[2], request)
    if path == "/version":
        if request.method != "GET":
            raise _method_not_allowed()
        check_json(request)
        return Response(200, orjson.dumps(VERSION, option=orjson.OPT_INDENT_2))
    if path.startswith("/openapi/"):
        return _open_api(registry, request, path, clock)
    from runtime.testing.kinds import discovery  # much to import: not before somebody asks

    aggregated = negotiate_aggregated(request) if path in ("/api", "/apis") else None
    found = discovery.serve(registry, path, request.query, f"application/json;{_AGGREGATED}" if aggregated else "")
    if found is None:
        raise errors.no_such_group()
    if request.method != "GET" and (request.method != "HEAD" or _for_get_alone(registry, path)):
        raise _method_not_allowed()
    body = found[2]
    if not path:
        return Response(200, body)
    if aggregated is None:
        shown = negotiate_document(request)
        return Response(200, render(body, shown), shown.media)
    headers = {"ETag": _tag(body), "Vary": "Accept", "Cache-Control": "public"}
    if request.header("if-none-match") == headers["ETag"]:
        return Response(304, headers=headers)
    return Response(200, render(body, aggregated), f"{aggregated.media};{_AGGREGATED}", headers)


def _for_get_alone(registry: Registry, path: str) -> bool:
    """Whether that is a document of the router that has built-in kinds. The others take a HEAD as well."""
    parts = path.removeprefix("/").split("/")
    if parts[0] == "api":
        return True
    built_in = ([kind.gvr.group, kind.gvr.version] for kind in registry.kinds() if not kind.custom)
    return parts[0] == "apis" and parts[1:] in built_in


def _method_not_allowed() -> errors.StatusError:
    message = "the server does not allow this method on the requested resource"
    return errors.StatusError(405, "MethodNotAllowed", message, {})


def _health(name: str, check: str, request: Request) -> Response:
    if check or "verbose" not in request.query:
        return Response(200, b"ok", _TEXT)
    left_out = request.query.get("exclude", "")
    lines = [f"[+]{each} {'excluded: ok' if each == left_out else 'ok'}" for each in _HEALTH[name]]
    if left_out and left_out not in _HEALTH[name]:
        lines.append(f'warn: some health checks cannot be excluded: no matches for "{left_out}"')
    lines.append(f"{name} check passed\n")
    return Response(200, "\n".join(lines).encode(), _TEXT)


def _open_api(registry: Registry, request: Request, path: str, clock: Clock) -> Response:
    from runtime.testing.kinds import discovery, openapi_v2

    offered = (JSON, openapi_v2.PROTOBUF, openapi_v2.PROTOBUF_ANSWER) if path == "/openapi/v2" else (JSON,)
    media = JSON if path == "/openapi/v3" else first_of(request, offered)
    found = discovery.serve(registry, path, request.query, media or "")
    if found is None:
        raise errors.no_such_group()
    if media is None:
        return Response(406, content_type=_TEXT)
    status, content_type, body = found
    tag = _tag(body)
    headers = {"ETag": tag, "Vary": "Accept"}
    asked = request.query.get("hash", "")
    if asked and path.startswith("/openapi/v3/"):
        if f'"{asked}"' != tag:
            return Response(301, content_type=_TEXT, headers={"Location": f"{path}?hash={tag[1:-1]}", **headers})
        expires = http_date(clock.now() + timedelta(days=365))
        headers |= {"Cache-Control": "public, immutable", "Expires": expires}
    if tag in (each.strip() for each in request.header("if-none-match").split(",")):
        return Response(304, headers=headers)
    return Response(status, body, content_type, headers)


def _tag(body: bytes) -> str:
    return f'"{hashlib.sha512(body).hexdigest().upper()}"'
