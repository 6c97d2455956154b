"""The OpenAPI v3 document of a group and version."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, cast

import orjson

from runtime.testing.kinds.model import Kind
from runtime.testing.kinds.openapi_paths import META, gvk, paths_of
from runtime.testing.kinds.schemas import REF, definitions
from runtime.types import JSONObject

QUANTITY: Final = "io.k8s.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING: Final = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
RAW: Final = "io.k8s.apimachinery.pkg.runtime.RawExtension"
TIME: Final = f"{META}.Time"
MICRO_TIME: Final = f"{META}.MicroTime"
PATCH: Final = f"{META}.Patch"
_LIST_META: Final = f"{META}.ListMeta"
_SPECIAL: Final[Mapping[str, JSONObject]] = {
    QUANTITY: {"oneOf": [{"type": "string"}, {"type": "number"}]},
    INT_OR_STRING: {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    RAW: {"type": "object"},
    TIME: {"type": "string", "format": "date-time"},
    MICRO_TIME: {"type": "string", "format": "date-time"},
    PATCH: {"type": "object"},
}
_INT_OR_STRING_MARK: Final = "x-kubernetes-int-or-string"
# What the schema of a field says of such a type, and nothing else.
_FIELD_MARKS: Final = frozenset(
    {"type", "format", _INT_OR_STRING_MARK, "x-micro-time", "x-quantity", "x-raw", "x-shown", "x-pointer"}
)
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
        paths |= paths_of(kind, schema_name(kind))
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
            schemas[schema_name(kind)] = _published(kind.schema or {}, todo, custom=True) | {
                "x-kubernetes-group-version-kind": [gvk(kind)]
            }
        else:
            todo.append(schema_name(kind))
        if "list" in kind.verbs:
            schemas[f"{schema_name(kind)}List"] = _list_schema(kind)
            todo.append(_LIST_META)
        todo += [reference for path in paths_of(kind, schema_name(kind)).values() for reference in _references(path)]
    todo = [each for each in todo if each not in schemas]
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


def _list_schema(kind: Kind) -> JSONObject:
    text = {"type": "string"}
    return {
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": text,
            "kind": text,
            "metadata": {"allOf": [{"$ref": REF + _LIST_META}]},
            "items": {"type": "array", "items": {"$ref": REF + schema_name(kind)}},
        },
        "x-kubernetes-group-version-kind": [{**gvk(kind), "kind": kind.list_kind}],
    }


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].removeprefix(REF)
        for value in node.values():
            yield from _references(value)


def _published(schema: Schema, todo: list[str], *, custom: bool = False) -> JSONObject:
    """A schema as clients expect it; what it refers to is added to ``todo``.

    :param custom: it is of a CRD, and stays as it was written there.
    """
    named = None if custom else _named(schema)
    out: JSONObject = {}
    if named is not None:
        todo.append(named)
        out["$ref"] = REF + named
    for key, value in schema.items():
        if key == "$ref":
            todo.append(str(value).removeprefix(REF))
        if key in ("items", "additionalProperties", "not") and isinstance(value, Mapping):
            out[key] = _published(value, todo, custom=custom)
        elif key == "properties":
            fields = cast(Mapping[str, Schema], value)
            out[key] = {name: _published(field, todo, custom=custom) for name, field in fields.items()}
        elif not _is_internal(key) and (named is None or key not in ("type", "format", _INT_OR_STRING_MARK)):
            out[key] = value
    shown = schema.get("x-shown")
    if shown is not None and "default" not in out and named is None:
        out["default"] = shown
    if "$ref" in out and len(out) > 1:  # nothing may stand beside a $ref
        out["allOf"] = [{"$ref": out.pop("$ref")}]
    return out


def _named(schema: Schema) -> str | None:
    """The name of the schema of a type with a JSON of its own, where the field is of such a type."""
    if schema.get("x-quantity"):
        return QUANTITY
    if schema.get("x-raw"):
        return RAW
    if schema.get(_INT_OR_STRING_MARK) and not schema.keys() - _FIELD_MARKS:
        return INT_OR_STRING
    if schema.get("format") == "date-time" and not schema.keys() - _FIELD_MARKS:
        return MICRO_TIME if schema.get("x-micro-time") else TIME
    return None


def _is_internal(key: str) -> bool:
    return key.startswith("x-") and not key.startswith("x-kubernetes-")
