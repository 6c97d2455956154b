"""Which groups, versions and resources there are: ``/api``, ``/apis``, ``/openapi``."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

import orjson

from runtime.testing.kinds import openapi, openapi_v2
from runtime.testing.kinds.model import Kind, Registry
from runtime.types import JSONObject

Answer = tuple[int, str, bytes]

_JSON: Final = "application/json"
_TEXT: Final = "text/plain; charset=utf-8"
_AGGREGATED: Final = re.compile(
    r"application/json\s*;\s*g=apidiscovery\.k8s\.io\s*;\s*v=v2\s*;\s*as=APIGroupDiscoveryList"
)
_VERSION: Final = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")
_OBJECT_VERBS: Final = ("get", "patch", "update")
_PROXY_VERBS: Final = ("create", "delete", "get", "patch", "update")


class _Sub(NamedTuple):
    """A subresource: what can be done with it, and of which kind its objects are (none: its parent's)."""

    verbs: tuple[str, ...]
    kind: str = ""
    group: str = ""
    version: str = ""


_SUBRESOURCES: Final[Mapping[str, _Sub]] = {
    "approval": _Sub(_OBJECT_VERBS),
    "attach": _Sub(("create", "get"), "PodAttachOptions"),
    "binding": _Sub(("create",), "Binding"),
    "ephemeralcontainers": _Sub(_OBJECT_VERBS),
    "eviction": _Sub(("create",), "Eviction", "policy", "v1"),
    "exec": _Sub(("create", "get"), "PodExecOptions"),
    "finalize": _Sub(("update",)),
    "log": _Sub(("get",)),
    "portforward": _Sub(("create", "get"), "PodPortForwardOptions"),
    "resize": _Sub(_OBJECT_VERBS),
    "scale": _Sub(_OBJECT_VERBS, "Scale", "autoscaling", "v1"),
    "status": _Sub(_OBJECT_VERBS),
    "token": _Sub(("create",), "TokenRequest", "authentication.k8s.io", "v1"),
}


def serve(registry: Registry, path: str, query: Mapping[str, str], accept: str) -> Answer | None:
    """The answer to a GET of a discovery or OpenAPI path: status, content type, body. None for any other path.

    :param query: not used by any path today; ``hash`` of an OpenAPI document only lets clients cache it.
    """
    del query
    path = path.rstrip("/") or "/"
    if path.startswith("/openapi/"):
        return _openapi(registry, path, accept)
    if path == "/":
        return _root(registry)
    if path in ("/api", "/apis"):
        return _groups(registry, path, accept)
    parts = path.removeprefix("/").split("/")
    if parts[0] == "api" and len(parts) == 2:
        return _resources(registry, "", parts[1])
    if parts[0] == "apis" and len(parts) == 2:
        return _group(registry, parts[1])
    if parts[0] == "apis" and len(parts) == 3:
        return _resources(registry, parts[1], parts[2])
    return None


def version_order(version: str) -> tuple[int, int, int, str]:
    """Sort key that puts the version a client should prefer first: v2, v1, v2beta1, v1alpha1, others by name."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return (1, 0, 0, version)
    major, stage, minor = match.groups()
    rank = {None: 0, "beta": 1, "alpha": 2}[stage]
    return (0, rank, -int(major) * 1000 - int(minor or 0), version)


def _by_group(registry: Registry) -> dict[str, dict[str, list[Kind]]]:
    groups: dict[str, dict[str, list[Kind]]] = {}
    for kind in registry.kinds():
        groups.setdefault(kind.gvr.group, {}).setdefault(kind.gvr.version, []).append(kind)
    return {
        group: {version: versions[version] for version in sorted(versions, key=version_order)}
        for group, versions in groups.items()
    }


def _json(body: object, content_type: str = _JSON) -> Answer:
    return 200, content_type, orjson.dumps(body)


def _root(registry: Registry) -> Answer:
    paths = ["/api", "/api/v1", "/apis"]
    for group, versions in sorted(_by_group(registry).items()):
        if group:
            paths += [f"/apis/{group}", *(f"/apis/{group}/{version}" for version in versions)]
    paths += ["/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]
    return _json({"paths": paths})


def _groups(registry: Registry, path: str, accept: str) -> Answer:
    aggregated = _AGGREGATED.search(accept)
    groups = _by_group(registry)
    if aggregated is not None:
        chosen = {group: kinds for group, kinds in groups.items() if bool(group) == (path == "/apis")}
        body = {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": "apidiscovery.k8s.io/v2",
            "metadata": {},
            "items": [_group_discovery(group, kinds) for group, kinds in chosen.items()],
        }
        return _json(body, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
    if path == "/api":
        address = {"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}
        return _json(
            {"kind": "APIVersions", "versions": list(groups.get("", {})), "serverAddressByClientCIDRs": [address]}
        )
    listed = [_api_group(group, versions) for group, versions in groups.items() if group]
    return _json({"kind": "APIGroupList", "apiVersion": "v1", "groups": listed})


def _group(registry: Registry, group: str) -> Answer | None:
    versions = _by_group(registry).get(group)
    if versions is None or not group:
        return None
    return _json({"kind": "APIGroup", "apiVersion": "v1", **_api_group(group, versions)})


def _api_group(group: str, versions: Iterable[str]) -> JSONObject:
    listed = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


# The resources of one group and version


def _resources(registry: Registry, group: str, version: str) -> Answer | None:
    kinds = _by_group(registry).get(group, {}).get(version)
    if not kinds:
        return None
    listed: list[JSONObject] = []
    for kind in kinds:
        listed.append(_resource(kind))
        listed += [_subresource(kind, name) for name in sorted(kind.subresources)]
    head: JSONObject = {"kind": "APIResourceList"}
    if group:
        head["apiVersion"] = "v1"
    return _json({**head, "groupVersion": f"{group}/{version}" if group else version, "resources": listed})


def _resource(kind: Kind) -> JSONObject:
    resource: JSONObject = {
        "name": kind.gvr.resource,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    if not kind.custom and "get" in kind.verbs and "create" in kind.verbs:
        resource["storageVersionHash"] = _storage_hash(kind)
    return resource | _names(kind)


def _storage_hash(kind: Kind) -> str:
    """Tells clients when the version in which objects are stored changes."""
    group, version = kind.gvr.group, kind.gvr.version
    if kind.to_storage is not None:  # another version's objects
        group, version = kind.storage_key[0], {"autoscaling": "v2"}.get(group, "v1")
    return base64.b64encode(hashlib.sha256(f"{group}/{version}/{kind.kind}".encode()).digest()[:8]).decode()


def _names(kind: Kind) -> JSONObject:
    given: JSONObject = {}
    if kind.short_names:
        given["shortNames"] = list(kind.short_names)
    if kind.categories:
        given["categories"] = list(kind.categories)
    return given


def _subresource(kind: Kind, name: str) -> JSONObject:
    sub = _sub(kind, name)
    resource: JSONObject = {
        "name": f"{kind.gvr.resource}/{name}",
        "singularName": "",
        "namespaced": kind.namespaced,
        "kind": sub.kind or kind.kind,
        "verbs": list(sub.verbs),
    }
    if sub.group:
        resource |= {"group": sub.group, "version": sub.version}
    return resource


def _sub(kind: Kind, name: str) -> _Sub:
    if name == "proxy":
        return _Sub(_PROXY_VERBS, f"{kind.kind}ProxyOptions")
    return _SUBRESOURCES[name]


# Aggregated discovery: all groups in one answer


def _group_discovery(group: str, versions: Mapping[str, list[Kind]]) -> JSONObject:
    listed = [
        {
            "version": version,
            "resources": [_resource_discovery(kind) for kind in kinds],
            "freshness": "Current",
        }
        for version, kinds in versions.items()
    ]
    return {"metadata": {"name": group} if group else {}, "versions": listed}


def _resource_discovery(kind: Kind) -> JSONObject:
    resource: JSONObject = {
        "resource": kind.gvr.resource,
        "responseKind": _response_kind(kind, kind.kind),
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    resource |= _names(kind)
    if kind.subresources:
        resource["subresources"] = [_sub_discovery(kind, name) for name in sorted(kind.subresources)]
    return resource


def _sub_discovery(kind: Kind, name: str) -> JSONObject:
    sub = _sub(kind, name)
    response = (
        {"group": sub.group, "version": sub.version, "kind": sub.kind}
        if sub.group
        else _response_kind(kind, sub.kind or kind.kind)
    )
    return {"subresource": name, "responseKind": response, "verbs": list(sub.verbs)}


def _response_kind(kind: Kind, name: str) -> JSONObject:
    """Built-in resources leave group and version empty, which clients read as the resource's own."""
    if kind.custom:
        return {"group": kind.gvr.group, "version": kind.gvr.version, "kind": name}
    return {"group": "", "version": "", "kind": name}


# OpenAPI


def _openapi(registry: Registry, path: str, accept: str) -> Answer | None:
    groups = _by_group(registry)
    if path == "/openapi/v2":
        return openapi_v2.serve(list(registry.kinds()), accept)
    documents: dict[str, Callable[[], bytes]] = {}
    for group, versions in groups.items():
        for version, kinds in versions.items():
            name = f"apis/{group}/{version}" if group else f"api/{version}"
            documents[name] = lambda kinds=kinds: openapi.document(kinds)  # type: ignore[misc]
    if path == "/openapi/v3":
        paths = {
            name: {"serverRelativeURL": f"/openapi/v3/{name}?hash={openapi.digest(make())}"}
            for name, make in sorted(documents.items())
        }
        return _json({"paths": paths}, _TEXT)
    make = documents.get(path.removeprefix("/openapi/v3/"))
    return None if make is None else (200, _JSON, make())
