"""The OpenAPI v3 document of a group and version."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final, cast

import orjson

from runtime.testing.kinds.model import Kind
from runtime.testing.kinds.schemas import REF, definitions
from runtime.types import JSONObject

QUANTITY: Final = "io.k8s.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING: Final = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_SPECIAL: Final[Mapping[str, JSONObject]] = {
    QUANTITY: {"oneOf": [{"type": "string"}, {"type": "number"}]},
    INT_OR_STRING: {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
}
_CACHED: Final = 64  # documents; a document is made again when it was pushed out
_cache: OrderedDict[tuple[Kind, ...], bytes] = OrderedDict()
_cache_lock: Final = threading.Lock()

Schema = Mapping[str, object]


def document(kinds: Sequence[Kind]) -> bytes:
    """The document of these kinds, all of one group and version. Encoded once: kinds never change."""
    key = tuple(kinds)
    with _cache_lock:
        found = _cache.get(key)
        if found is None:
            found = _cache[key] = orjson.dumps(_build(kinds), option=orjson.OPT_SORT_KEYS)
            if len(_cache) > _CACHED:
                _cache.popitem(last=False)
        return found


def digest(encoded: bytes) -> str:
    """What a client caches a document by."""
    return hashlib.sha512(encoded).hexdigest().upper()


def _build(kinds: Sequence[Kind]) -> JSONObject:
    paths: JSONObject = {}
    for kind in kinds:
        paths |= _paths(kind)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "components": {"schemas": schemas_of(kinds)},
    }


def schemas_of(kinds: Sequence[Kind]) -> dict[str, JSONObject]:
    """The schemas of the kinds and of all that these refer to, by name."""
    schemas: dict[str, JSONObject] = {}
    todo: list[str] = []
    for kind in kinds:
        if kind.custom:
            schemas[schema_name(kind)] = _published(kind.schema or {}, todo) | {
                "x-kubernetes-group-version-kind": [_gvk(kind)]
            }
        else:
            todo.append(schema_name(kind))
    while todo:
        name = todo.pop()
        if name not in schemas:
            known = _SPECIAL.get(name)
            schemas[name] = dict(known) if known is not None else _published(definitions()[name], todo)
    return schemas


def schema_name(kind: Kind) -> str:
    """``io.k8s.api.core.v1.Pod``; of a custom resource its group backwards, version and kind."""
    if not kind.custom:
        return str((kind.schema or {})["$ref"]).removeprefix(REF)
    group = ".".join(reversed(kind.gvr.group.split(".")))
    return f"{group}.{kind.gvr.version}.{kind.kind}"


def _published(schema: Schema, todo: list[str]) -> JSONObject:
    """A schema as clients expect it; what it refers to is added to ``todo``."""
    if schema.get("x-quantity"):
        todo.append(QUANTITY)
        return {"$ref": REF + QUANTITY}
    if schema.get("x-kubernetes-int-or-string") and len(schema) == 1:
        todo.append(INT_OR_STRING)
        return {"$ref": REF + INT_OR_STRING}
    out: JSONObject = {}
    for key, value in schema.items():
        if key == "$ref":
            todo.append(str(value).removeprefix(REF))
        if key in ("items", "additionalProperties", "not") and isinstance(value, Mapping):
            out[key] = _published(value, todo)
        elif key == "properties":
            fields = cast(Mapping[str, Schema], value)
            out[key] = {name: _published(field, todo) for name, field in fields.items()}
        elif key != "x-micro-time":
            out[key] = value
    if "$ref" in out and len(out) > 1:  # nothing may stand beside a $ref
        out["allOf"] = [{"$ref": out.pop("$ref")}]
    return out


def _gvk(kind: Kind) -> JSONObject:
    return {"group": kind.gvr.group, "kind": kind.kind, "version": kind.gvr.version}


# Paths: clients look for the verbs of a kind, and whether it takes fieldValidation


def _paths(kind: Kind) -> JSONObject:
    collection = kind.gvr.prefix
    if kind.namespaced:
        collection += "/namespaces/{namespace}"
    collection += f"/{kind.gvr.resource}"
    many: JSONObject = {}
    one: JSONObject = {}
    if "list" in kind.verbs:
        many["get"] = _operation(kind, "list")
    if "create" in kind.verbs:
        many["post"] = _operation(kind, "post", writes=True)
    if "deletecollection" in kind.verbs:
        many["delete"] = _operation(kind, "deletecollection")
    for verb, method, action in (
        ("get", "get", "get"),
        ("update", "put", "put"),
        ("patch", "patch", "patch"),
        ("delete", "delete", "delete"),
    ):
        if verb in kind.verbs:
            one[method] = _operation(kind, action, writes=method in ("put", "patch"))
    found: JSONObject = {collection: many}
    if one:
        found[f"{collection}/{{name}}"] = one
        if "status" in kind.subresources:
            found[f"{collection}/{{name}}/status"] = {
                method: _operation(kind, method, writes=method != "get") for method in ("get", "put", "patch")
            }
    return found


def _operation(kind: Kind, action: str, *, writes: bool = False) -> JSONObject:
    names = ["dryRun", "fieldManager", "fieldValidation"] if writes else []
    if action == "patch":
        names.append("force")
    parameters: list[JSONObject] = [
        {
            "name": name,
            "in": "query",
            "schema": {"type": "boolean" if name == "force" else "string", "uniqueItems": True},
        }
        for name in names
    ]
    content = {"application/json": {"schema": {"$ref": REF + schema_name(kind)}}}
    operation: JSONObject = {
        "responses": {"200": {"description": "OK", "content": content}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _gvk(kind),
    }
    if parameters:
        operation["parameters"] = parameters
    return operation
