"""The OpenAPI v2 document: as JSON, and in the protobuf form that kubectl asks for.

The protobuf messages are those of gnostic's ``openapi.v2`` package. Only what our schemas use is encoded, by hand:
a dozen fields do not pay for generated code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, cast

import orjson

from runtime.testing.kinds.model import Kind
from runtime.testing.kinds.openapi import INT_OR_STRING, QUANTITY, schema_name, schemas_of
from runtime.testing.kinds.openapi_paths import paths_of
from runtime.testing.kinds.protobuf.wire import message, number, text
from runtime.testing.kinds.schemas import REF
from runtime.types import JSONObject

# What clients ask for, and what is answered: the @ is no valid media type, and Go's parser refuses it.
PROTOBUF: Final = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
PROTOBUF_ANSWER: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_V2_REF: Final = "#/definitions/"
_TITLE, _VERSION = "Kubernetes", "unversioned"

Schema = Mapping[str, object]


def serve(kinds: Sequence[Kind], accept: str) -> tuple[int, str, bytes]:
    """The document of all kinds: status, content type, body."""
    schemas = {name: _as_v2(name, schema) for name, schema in sorted(schemas_of(kinds).items())}
    asked = PROTOBUF in accept or PROTOBUF_ANSWER in accept
    if asked and "application/json" not in accept:
        return 200, PROTOBUF_ANSWER, _document(schemas)
    body = {
        "swagger": "2.0",
        "info": {"title": _TITLE, "version": _VERSION},
        "paths": _paths(kinds),
        "definitions": schemas,
    }
    return 200, "application/json", orjson.dumps(body)


def _paths(kinds: Iterable[Kind]) -> JSONObject:
    found: JSONObject = {}
    for kind in kinds:
        for path, item in paths_of(kind, schema_name(kind)).items():
            operations = {key: _operation(each) for key, each in item.items() if key != "parameters"}
            found[path] = {**operations, "parameters": [_parameter(each) for each in item["parameters"]]}
    return found


def _operation(operation: JSONObject) -> JSONObject:
    """Bodies are parameters, and media types stand beside the schemas."""
    out = {key: value for key, value in operation.items() if key not in ("requestBody", "responses", "parameters")}
    parameters = [_parameter(each) for each in operation.get("parameters", ())]
    produced: dict[str, None] = {}
    out["responses"] = {}
    for code, answer in operation["responses"].items():
        content = answer.get("content", {})
        produced |= dict.fromkeys(content)
        schema = next((each["schema"] for each in content.values()), None)
        shown = {"schema": _convert(schema)} if schema is not None else {}
        out["responses"][code] = {"description": answer["description"], **shown}
    out["produces"] = list(produced)
    body = operation.get("requestBody")
    if body is not None:
        out["consumes"] = list(body["content"])
        schema = _convert(next(iter(body["content"].values()))["schema"])
        parameters.append({"name": "body", "in": "body", "required": True, "schema": schema})
    return {**out, "parameters": parameters}


def _parameter(parameter: JSONObject) -> JSONObject:
    return {**{key: value for key, value in parameter.items() if key != "schema"}, **parameter["schema"]}


def _as_v2(name: str, schema: Schema) -> JSONObject:
    if name == QUANTITY:
        return {"type": "string"}
    if name == INT_OR_STRING:
        return {"type": "string", "format": "int-or-string"}
    return _convert(schema)


def _convert(schema: Schema) -> JSONObject:
    """OpenAPI v2 has no oneOf, anyOf, not or nullable, and its references are elsewhere."""
    out: JSONObject = {}
    for key, value in schema.items():
        if key == "$ref":
            out[key] = _V2_REF + str(value).removeprefix(REF)
        elif key == "properties":
            out[key] = {name: _convert(field) for name, field in cast(Mapping[str, Schema], value).items()}
        elif key in ("items", "additionalProperties") and isinstance(value, Mapping):
            out[key] = _convert(value)
        elif key == "allOf":
            refs = [each for each in cast(Sequence[Schema], value) if "$ref" in each]
            if refs:
                out["$ref"] = _V2_REF + str(refs[0]["$ref"]).removeprefix(REF)
        elif key not in ("oneOf", "anyOf", "not", "nullable", "default", "enum", "example", "x-kubernetes-validations"):
            out[key] = value
    return out


# Protobuf


def _document(schemas: Mapping[str, Schema]) -> bytes:
    info = text(1, _TITLE) + text(2, _VERSION)
    named = b"".join(message(1, _named(name, _schema(schema))) for name, schema in schemas.items())
    return text(1, "2.0") + message(2, info) + message(8, b"") + message(9, named)


def _schema(schema: Schema) -> bytes:
    out = b""
    if "$ref" in schema:
        out += text(1, str(schema["$ref"]))
    for field, key in ((2, "format"), (3, "title"), (4, "description"), (13, "pattern")):
        if schema.get(key):
            out += text(field, str(schema[key]))
    out += b"".join(text(19, str(each)) for each in cast(Iterable[object], schema.get("required") or ()))
    additional = schema.get("additionalProperties")
    if isinstance(additional, Mapping):
        out += message(21, message(1, _schema(additional)))
    elif additional is True:
        out += message(21, number(2, 1))
    if schema.get("type"):
        out += message(22, text(1, str(schema["type"])))
    if isinstance(schema.get("items"), Mapping):
        out += message(23, message(1, _schema(cast(Schema, schema["items"]))))
    if schema.get("properties"):
        fields = cast(Mapping[str, Schema], schema["properties"])
        out += message(25, b"".join(message(1, _named(name, _schema(each))) for name, each in fields.items()))
    for key, value in schema.items():
        if key.startswith("x-"):
            out += message(31, _named(key, text(2, orjson.dumps(value).decode())))
    return out


def _named(name: str, value: bytes) -> bytes:
    return text(1, name) + message(2, value)
