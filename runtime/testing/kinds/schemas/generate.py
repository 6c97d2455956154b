"""Write ``builtin.json`` from the models of the installed official client and the facts beside this file.

    python -m runtime.testing.kinds.schemas.generate [--check]

Only names and types of fields are taken; no text. ``--check`` writes nothing and exits 1 if the file differs.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import re
import sys
import types
import typing
from collections import deque
from pathlib import Path
from typing import Any

import orjson

from runtime.testing.kinds.builtin import ROWS, Row
from runtime.testing.kinds.schemas import REF, facts

TARGET = Path(__file__).with_name("builtin.json")
_NAME = re.compile(r"^([A-Z][a-z]+)?V\d+(?:(?:alpha|beta)\d+)?([A-Z].*)$")
_VERSION = re.compile(r"(V\d+(?:(?:alpha|beta)\d+)?)(?=[A-Z])")
_EVENT_CLASSES = {"": "CoreV1Event", "events.k8s.io": "EventsV1Event"}

Schema = dict[str, object]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the schemas of the built-in kinds.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file would change")
    check = parser.parse_args(argv).check
    data = orjson.dumps(generate(), option=orjson.OPT_SORT_KEYS) + b"\n"
    if not check:
        TARGET.write_bytes(data)
        return 0
    if TARGET.exists() and TARGET.read_bytes() == data:
        return 0
    sys.stderr.write(f"{TARGET} is out of date: run python -m runtime.testing.kinds.schemas.generate\n")
    return 1


def generate() -> dict[str, Schema]:
    """All schemas reachable from the built-in kinds, by name."""
    client: types.ModuleType = importlib.import_module("kubernetes.client")
    names: dict[type, str] = {}
    todo: deque[type] = deque()
    for row in ROWS:
        model = _class_of(client, row)
        names[model] = row.model
        todo.append(model)
    todo.append(client.V1DeleteOptions)
    names[client.V1DeleteOptions] = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
    found: dict[str, Schema] = {}
    while todo:
        model = todo.popleft()
        found[names[model]] = _Struct(model, names, todo).schema()
    for row in ROWS:
        version = {"group": row.gvr.group, "kind": row.kind, "version": row.gvr.version}
        found[row.model]["x-kubernetes-group-version-kind"] = [version]
    return found


def _class_of(client: types.ModuleType, row: Row) -> type:
    prefix = row.gvr.version.upper()
    name = _EVENT_CLASSES[row.gvr.group] if row.kind == "Event" else f"{prefix}{row.kind}"
    return typing.cast(type, getattr(client, name))


class _Struct:
    """The schema of one model class; classes met on the way are named after it and queued."""

    def __init__(self, model: type, names: dict[type, str], todo: deque[type]) -> None:
        self._model = model
        self._names = names
        self._todo = todo
        self._package = names[model].rsplit(".", 2)[0]
        self._short = names[model].rsplit(".", 1)[1]

    def schema(self) -> Schema:
        properties: dict[str, Schema] = {}
        required: list[str] = []
        for name, info in typing.cast(Any, self._model).model_fields.items():
            field = str(info.serialization_alias or name)
            properties[field] = self._field(field, info.annotation)
            if info.is_required():
                required.append(field)
        schema: Schema = {"type": "object"}
        if self._short == "FieldsV1" or not properties:
            return schema
        schema["properties"] = properties
        if required:
            schema["required"] = sorted(required)
        if self._short in facts.ATOMIC_STRUCTS:
            schema["x-kubernetes-map-type"] = "atomic"
        return schema

    def _field(self, field: str, annotation: object) -> Schema:
        schema = self._type(annotation, field)
        if field in facts.ATOMIC_MAPS.get(self._short, ()):
            schema["x-kubernetes-map-type"] = "atomic"
        merge = facts.LIST_MAPS.get(self._short, {}).get(field)
        if merge is not None:
            patch_key, keys, strategy = merge
            schema |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}
            if strategy:
                schema |= {
                    "x-kubernetes-patch-merge-key": patch_key,
                    "x-kubernetes-patch-strategy": strategy,
                }
        sets = facts.LIST_SETS.get(self._short, {})
        if field in sets:
            schema["x-kubernetes-list-type"] = "set"
            if sets[field]:
                schema["x-kubernetes-patch-strategy"] = "merge"
        elif schema.get("type") == "array" and merge is None:
            schema["x-kubernetes-list-type"] = "atomic"
        strategy = facts.PATCH_STRATEGY.get(self._short, {}).get(field, "")
        if strategy:
            schema["x-kubernetes-patch-strategy"] = strategy
        return schema

    def _type(self, annotation: object, field: str) -> Schema:
        origin = typing.get_origin(annotation)
        arguments = [each for each in typing.get_args(annotation) if each is not type(None)]
        if origin is typing.Annotated:
            return self._type(arguments[0], field)
        if origin is typing.Union or origin is types.UnionType:
            return self._union(arguments, field)
        if origin is list:
            return {"type": "array", "items": self._type(arguments[0], field)}
        if origin is dict:
            if field in facts.QUANTITY_MAPS:
                return {"type": "object", "additionalProperties": _quantity()}
            values = self._type(arguments[1], field)
            return {"type": "object"} | ({"additionalProperties": values} if values else {})
        return self._plain(annotation, field)

    def _plain(self, annotation: object, field: str) -> Schema:
        if annotation is typing.Any or annotation is object:
            return {"type": "object"} if field == "fieldsV1" else {}
        if annotation is str:
            return _quantity() if field in facts.QUANTITIES else {"type": "string"}
        if annotation is bytes:
            return {"type": "string", "format": "byte"}
        if annotation is bool:
            return {"type": "boolean"}
        if annotation is int:
            return {"type": "integer", "format": "int64" if field in facts.INT64 else "int32"}
        if annotation is float:
            return {"type": "number", "format": "double"}
        if annotation is datetime.datetime:
            micro = field in facts.MICRO_TIMES
            return {"type": "string", "format": "date-time"} | ({"x-micro-time": True} if micro else {})
        if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
            return {"$ref": REF + self._name(annotation)}
        raise TypeError(f"{self._short}.{field}: no schema for {annotation!r}")

    def _union(self, arguments: list[object], field: str) -> Schema:
        plain = [_unwrap(each) for each in arguments]
        if len(plain) == 1:
            return self._type(arguments[0], field)
        if set(plain) == {int, str}:
            return {"x-kubernetes-int-or-string": True}
        if set(plain) == {bytes, str}:
            return {"type": "string", "format": "byte"}
        if set(plain) == {float, int}:
            return {"type": "number", "format": "double"}
        return {}  # JSONSchemaPropsOrBool and its like: anything

    def _name(self, model: type) -> str:
        known = self._names.get(model)
        if known is not None:
            return known
        match = _NAME.match(model.__name__)
        version = _VERSION.search(model.__name__)
        if match is None or version is None:
            raise TypeError(f"no schema name for {model.__name__}")
        short = match.group(2)
        package = "io.k8s.apimachinery.pkg.apis.meta" if short in facts.META else self._package
        name = f"{package}.{version.group(1).lower()}.{short}"
        self._names[model] = name
        self._todo.append(model)
        return name


def _quantity() -> Schema:
    return {"x-quantity": True}


def _unwrap(annotation: object) -> object:
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    return typing.get_origin(annotation) or annotation


if __name__ == "__main__":
    raise SystemExit(main())
