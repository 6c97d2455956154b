"""Structural OpenAPI schemas, as CustomResourceDefinitions want them, from msgspec types.

A structural schema has no ``$ref`` and gives every node a type, so nested types are written out in place. What a
type says about itself ends up in the schema: ``Meta(description=, ge=, pattern=, ...)`` of a field, its default,
``Literal`` as ``enum``, and ``Meta(extra_json_schema=)`` for formats and ``x-kubernetes-*`` extensions.
"""

from __future__ import annotations

import re
from typing import cast

import msgspec
from msgspec import inspect

from runtime.types import JSONObject


def rules(*pairs: tuple[str, str]) -> JSONObject:
    """CEL validation rules for ``Meta(extra_json_schema=)``.

    :param pairs: ``(rule, message)``; the message is what a user reads who broke the rule.
    """
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in pairs]}


def map_list(*keys: str) -> JSONObject:
    """Marks a list as a map by these keys: apply merges its items instead of replacing the list."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


ATOMIC_LIST: JSONObject = {"x-kubernetes-list-type": "atomic"}


def structural_schema(kind: type[msgspec.Struct]) -> JSONObject:
    """The schema of a resource's type, with the three fields that every object has.

    :raises TypeError: if the type says something which a structural schema cannot.
    """
    schema = _schema(inspect.type_info(kind), kind.__name__)
    properties: JSONObject = schema.pop("properties")
    metadata = properties.pop("metadata", {"type": "object"})
    head = {
        "apiVersion": {
            "type": "string",
            "description": "Group and version of this representation of the object.",
        },
        "kind": {"type": "string", "description": "The kind of the object."},
        "metadata": {"type": "object", **_only_name(metadata)},
    }
    return {**schema, "properties": {**head, **properties}}


def _only_name(metadata: JSONObject) -> JSONObject:
    """A CRD may constrain nothing of metadata but the name."""
    name = metadata.get("properties", {}).get("name", {})
    constrained = {key: name[key] for key in ("maxLength", "pattern") if key in name}
    return {"properties": {"name": {"type": "string", **constrained}}} if constrained else {}


def _schema(info: inspect.Type, where: str) -> JSONObject:
    match info:
        case inspect.Metadata(type=inner, extra_json_schema=extra):
            return _ordered({**_schema(inner, where), **(extra or {})})
        case inspect.StructType():
            return _struct(info, where)
        case inspect.UnionType(types=types):
            return _optional(types, where)
        case inspect.ListType(item_type=item):
            return _ordered({"type": "array", **_lengths(info, "Items"), "items": _schema(item, f"{where}[]")})
        case inspect.DictType(value_type=inspect.AnyType()):
            return {"type": "object"}
        case inspect.DictType(value_type=value):
            return {"type": "object", "additionalProperties": _schema(value, f"{where}{{}}")}
        case _:
            return _scalar(info, where)


def _scalar(info: inspect.Type, where: str) -> JSONObject:
    match info:
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.IntType(ge=ge, le=le):
            return {"type": "integer", **_given(minimum=ge, maximum=le)}
        case inspect.StrType(pattern=pattern):
            return {"type": "string", **_lengths(info, "Length"), **_given(pattern=pattern)}
        case inspect.LiteralType(values=values) if all(isinstance(value, str) for value in values):
            return {"type": "string", "enum": list(values)}
        case _:
            raise TypeError(f"{where}: a structural schema cannot say {info!r}")


def _lengths(info: inspect.Type, suffix: str) -> JSONObject:
    least = cast("int | None", getattr(info, "min_length", None))
    most = cast("int | None", getattr(info, "max_length", None))
    return _given(**{f"min{suffix}": least, f"max{suffix}": most})


def _given(**keywords: object) -> JSONObject:
    return {name: value for name, value in keywords.items() if value is not None}


def _optional(types: tuple[inspect.Type, ...], where: str) -> JSONObject:
    """``X | None`` is an X that may be absent; any other union is not structural."""
    rest = [info for info in types if not isinstance(info, inspect.NoneType)]
    if len(rest) != 1:
        raise TypeError(f"{where}: a structural schema has one type per field, not a union of {len(rest)}")
    return _schema(rest[0], where)


def _struct(info: inspect.StructType, where: str) -> JSONObject:
    properties = {field.encode_name: _field(field, f"{where}.{field.encode_name}") for field in info.fields}
    required = [field.encode_name for field in info.fields if field.required]
    description = _description(info.cls)
    return _ordered(
        {
            "type": "object",
            **({"description": description} if description else {}),
            "properties": properties,
            **({"required": required} if required else {}),
        }
    )


def _field(field: inspect.Field, where: str) -> JSONObject:
    schema = _schema(field.type, where)
    default = _default(field)
    return _ordered({**schema, "default": default}) if default is not None else schema


def _default(field: inspect.Field) -> object | None:
    """A field's default belongs into the schema if it says something: ``None``, false and what is empty do not.

    A nested type as the factory is ``{}``: the server fills in that type's own defaults.
    """
    factory = field.default_factory
    if isinstance(factory, type) and issubclass(factory, msgspec.Struct):
        return {}
    value = field.default
    return None if value is msgspec.NODEFAULT or not value else value


_ORDER = ("type", "format", "description", "default", "enum", "minimum", "maximum", "minLength", "maxLength", "pattern")
_LAST = ("additionalProperties", "items", "properties", "required")


def _ordered(schema: JSONObject) -> JSONObject:
    """The order in which people read a schema: what it is, what it may hold, then its parts."""
    middle = [key for key in schema if key not in _ORDER and key not in _LAST]
    return {key: schema[key] for key in (*_ORDER, *middle, *_LAST) if key in schema}


def _description(cls: type) -> str:
    """The docstring as running text; paragraphs stay paragraphs."""
    text = cls.__dict__.get("__doc__") or ""  # its own, not an inherited one
    return "\n\n".join(re.sub(r"\s+", " ", part).strip() for part in text.split("\n\n")).replace("``", "`")
