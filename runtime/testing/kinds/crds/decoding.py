"""The parts of a schema that write their own JSON in Go: what may be a schema or something else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from runtime.testing.kinds.gotypes import fit, prune_unknown
from runtime.testing.kinds.model import DecodeError
from runtime.testing.kinds.schemas import REF
from runtime.types import JSONMapping, JSONObject

_STRUCT: Final = "JSONSchemaProps"
_PROPS: Final = {"$ref": f"{REF}io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.{_STRUCT}"}
_LISTS: Final = ("allOf", "anyOf", "oneOf")
_MAPS: Final = ("properties", "patternProperties", "definitions", "dependencies")


def decode_schemas(spec: JSONMapping) -> None:
    """Judge and shape, in place, what decoding by type has left alone in the schemas of a CRD. Unknown fields are
    dropped there without a word, as in Go.

    :raises DecodeError: for a value of the wrong type.
    """
    for version in spec.get("versions") or ():
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is not None:
            _decode(schema)


def _decode(schema: JSONObject) -> None:
    items = schema.get("items")
    if isinstance(items, list):
        for each in items:
            if each is not None:
                _take(each)
    elif isinstance(items, dict):
        _take(items)
    elif items is not None:
        del schema["items"]  # not an error in Go
    for name in ("additionalProperties", "additionalItems"):
        given = schema.get(name)
        if isinstance(given, dict):
            _take(given)
        elif given is not None and not isinstance(given, bool):
            raise DecodeError("boolean or JSON schema expected")
    for each in _typed(schema):
        _decode(each)


def _typed(schema: JSONObject) -> Iterator[JSONObject]:
    """The schemas below that have been decoded already."""
    for name in _LISTS:
        yield from schema.get(name) or ()
    for name in _MAPS:
        yield from (each for each in (schema.get(name) or {}).values() if isinstance(each, dict))
    if schema.get("not") is not None:
        yield schema["not"]


def _take(schema: JSONObject) -> None:
    fit(_PROPS, schema, _STRUCT)
    prune_unknown(_PROPS, schema)
    _decode(schema)
