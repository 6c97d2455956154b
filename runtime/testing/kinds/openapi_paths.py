"""The paths of an OpenAPI document: every request that a kind answers, with its parameters and bodies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from runtime.testing.kinds.model import Kind
from runtime.testing.kinds.schemas import REF
from runtime.types import JSONObject

META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1"
_JSON: Final = "application/json"
_YAML: Final = "application/yaml"
_PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
_STREAM: Final = "application/json;stream=watch"
_PATCHES: Final = ("application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json")
_STRATEGIC: Final = "application/strategic-merge-patch+json"
_WRITE: Final = {"dryRun": "string", "fieldManager": "string", "fieldValidation": "string"}
_LIST: Final = {
    "allowWatchBookmarks": "boolean",
    "continue": "string",
    "fieldSelector": "string",
    "labelSelector": "string",
    "limit": "integer",
    "resourceVersion": "string",
    "resourceVersionMatch": "string",
    "sendInitialEvents": "boolean",
    "timeoutSeconds": "integer",
    "watch": "boolean",
}
_DELETE: Final = {
    "dryRun": "string",
    "gracePeriodSeconds": "integer",
    "ignoreStoreReadErrorWithClusterBreakingPotential": "boolean",
    "orphanDependents": "boolean",
    "propagationPolicy": "string",
}
_DELETE_MANY: Final = {key: kind for key, kind in {**_DELETE, **_LIST}.items() if key != "watch"}
_CONNECT: Final = frozenset({"attach", "exec", "portforward", "proxy"})
_OBJECT_METHODS: Final = {"get": "read", "put": "replace", "patch": "patch"}
# Subresources with objects of another kind than their parent: what they take and give, and how.
_OTHERS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "binding": ("io.k8s.api.core.v1.Binding", ("post",)),
    "eviction": ("io.k8s.api.policy.v1.Eviction", ("post",)),
    "scale": ("io.k8s.api.autoscaling.v1.Scale", ("get", "put", "patch")),
    "token": ("io.k8s.api.authentication.v1.TokenRequest", ("post",)),
}
_VERBS: Final = {"get": "read", "put": "replace", "patch": "patch", "post": "create"}


def paths_of(kind: Kind, schema: str) -> JSONObject:
    """The paths of one kind.

    :param schema: name of its schema; that of its list is the same with ``List`` behind.
    """
    return _Paths(kind, schema).all()


class _Paths:
    def __init__(self, kind: Kind, schema: str) -> None:
        self._kind = kind
        self._schema = schema
        group = "".join(part.capitalize() for part in kind.gvr.group.removesuffix(".k8s.io").split("."))
        version = kind.gvr.version[0].upper() + kind.gvr.version[1:]
        self._group = f"{group or 'Core'}{version}"
        self._scope = "Namespaced" if kind.namespaced else ""
        inside = "/namespaces/{namespace}" if kind.namespaced else ""
        self._collection = f"{kind.gvr.prefix}{inside}/{kind.gvr.resource}"

    def all(self) -> JSONObject:
        found: JSONObject = {self._collection: self._many()}
        if self._kind.namespaced and "list" in self._kind.verbs:
            everywhere = f"{self._kind.gvr.prefix}/{self._kind.gvr.resource}"
            name = f"list{self._group}{self._kind.kind}ForAllNamespaces"
            found[everywhere] = {"get": self._operation(name, "list", self._listed(), _LIST)}
        one = self._one()
        if one:
            found[f"{self._collection}/{{name}}"] = one
        for each in sorted(self._kind.subresources):
            found[f"{self._collection}/{{name}}/{each}"] = self._subresource(each)
        return {path: self._with_parameters(path, operations) for path, operations in found.items() if operations}

    def _many(self) -> JSONObject:
        kind, found = self._kind, dict[str, object]()
        name = f"{self._group}{self._scope}{kind.kind}"
        if "list" in kind.verbs:
            found["get"] = self._operation(f"list{name}", "list", self._listed(), _LIST)
        if "create" in kind.verbs:
            found["post"] = self._operation(f"create{name}", "post", self._schema, _WRITE, self._body(self._schema))
        if "deletecollection" in kind.verbs:
            name = f"delete{self._group}Collection{self._scope}{kind.kind}"
            options = self._body(f"{META}.DeleteOptions")
            found["delete"] = self._operation(name, "deletecollection", f"{META}.Status", _DELETE_MANY, options)
        return found

    def _one(self) -> JSONObject:
        kind = self._kind
        name = f"{self._group}{self._scope}{kind.kind}"
        verbs = {"get": "get", "update": "put", "patch": "patch"}
        found = self._object([method for verb, method in verbs.items() if verb in kind.verbs], name, self._schema)
        if "delete" in kind.verbs:
            options = self._body(f"{META}.DeleteOptions")
            found["delete"] = self._operation(f"delete{name}", "delete", f"{META}.Status", _DELETE, options)
        return found

    def _subresource(self, sub: str) -> JSONObject:
        name = f"{self._group}{self._scope}{self._kind.kind}{sub[0].upper()}{sub[1:]}"
        if sub in _CONNECT:
            return {
                method: self._operation(f"connect{self._group}{method.capitalize()}{name}", "connect", None, {})
                for method in ("get", "post")
            }
        if sub == "log":
            return {"get": self._operation(f"read{name}", "get", None, {"container": "string", "tailLines": "integer"})}
        schema, methods = _OTHERS.get(sub, (self._schema, ("put",) if sub == "finalize" else tuple(_OBJECT_METHODS)))
        return self._object(methods, name, schema)

    def _object(self, methods: Iterable[str], name: str, schema: str) -> JSONObject:
        found: JSONObject = {}
        for method in methods:
            query = {} if method == "get" else {**_WRITE, "force": "boolean"} if method == "patch" else _WRITE
            body = None
            if method == "patch":
                body = self._patch()
            elif method != "get":
                body = self._body(schema)
            found[method] = self._operation(f"{_VERBS[method]}{name}", method, schema, query, body)
        return found

    def _listed(self) -> str:
        return f"{self._schema}List"

    def _body(self, schema: str) -> JSONObject:
        types = (_JSON, _YAML) if self._kind.custom else (_JSON, _YAML, _PROTOBUF)
        return {"content": {each: {"schema": {"$ref": REF + schema}} for each in types}, "required": True}

    def _patch(self) -> JSONObject:
        types = _PATCHES if self._kind.custom else (*_PATCHES, _STRATEGIC)
        return {"content": {each: {"schema": {"$ref": f"{REF}{META}.Patch"}} for each in types}, "required": True}

    def _operation(
        self, name: str, action: str, schema: str | None, query: Mapping[str, str], body: JSONObject | None = None
    ) -> JSONObject:
        """:param schema: of the answer; None for text."""
        types: Iterable[str] = (_JSON, _YAML) if self._kind.custom else (_JSON, _YAML, _PROTOBUF)
        if schema is None:
            content: JSONObject = {"text/plain": {"schema": {"type": "string"}}}
        else:
            types = (*types, _STREAM) if action == "list" else types
            content = {each: {"schema": {"$ref": REF + schema}} for each in types}
        answer = {"description": "OK", "content": content}
        answers = {"200": answer, "401": {"description": "Unauthorized"}}
        if action in ("post", "put", "patch"):
            answers["201"] = {**answer, "description": "Created"}
        if action in ("post", "delete"):
            answers["202"] = {**answer, "description": "Accepted"}
        operation: JSONObject = {
            "operationId": name,
            "tags": [f"{self._group[0].lower()}{self._group[1:]}"],
            "responses": answers,
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk(self._kind),
        }
        if query:
            operation["parameters"] = [_query(key, kind) for key, kind in sorted(query.items())]
        if body is not None:
            operation["requestBody"] = body
        return operation

    @staticmethod
    def _with_parameters(path: str, operations: JSONObject) -> JSONObject:
        names = [each for each in ("name", "namespace") if f"{{{each}}}" in path]
        parameters = [
            {"name": each, "in": "path", "required": True, "schema": {"type": "string", "uniqueItems": True}}
            for each in names
        ]
        return {**operations, "parameters": [*parameters, _query("pretty", "string")]}


def gvk(kind: Kind) -> JSONObject:
    """What ``x-kubernetes-group-version-kind`` says of a kind."""
    return {"group": kind.gvr.group, "kind": kind.kind, "version": kind.gvr.version}


def _query(name: str, kind: str) -> JSONObject:
    return {"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": True}}
