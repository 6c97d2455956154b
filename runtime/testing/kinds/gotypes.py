"""JSON as the Go types of the built-in kinds read and write it, with the texts of Go's decoder for what they refuse."""

from __future__ import annotations

import base64
import binascii
import copy
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import cast

from runtime.testing.kinds.gojson import type_name
from runtime.testing.kinds.model import DecodeError
from runtime.testing.kinds.quantity import QuantityError, canonical_quantity
from runtime.testing.kinds.schemas import REF, resolve

Schema = Mapping[str, object]
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})")
_MICRO_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}(Z|[+-]\d{2}:\d{2})")
_BOUNDS = {"int32": 2**31, "int64": 2**63}
_GO_KINDS = {"boolean": "bool", "integer": "number", "number": "number", "array": "array"}
_BASE64 = re.compile(r"[A-Za-z0-9+/]*")


def fit(schema: Schema, obj: object, struct: str) -> None:
    """Make ``obj`` what the real server makes of it when it decodes and encodes it, in place.

    Nulls, and empty lists and maps that are optional, are dropped; quantities and times get their canonical form.

    :param struct: name of the Go type, for the message.
    :raises DecodeError: for the first field whose value has the wrong type.
    """
    _fit(schema, obj, struct, "")


def prune_unknown(schema: Schema, obj: object) -> list[str]:
    """Drop fields that the schema does not have, in place; returns their paths, sorted."""
    dropped: list[str] = []
    _prune(schema, obj, "", dropped)
    return sorted(dropped)


def _prune(schema: Schema, value: object, path: str, dropped: list[str]) -> None:
    if "$ref" in schema:
        schema = resolve(schema)
    if isinstance(value, dict):
        properties = schema.get("properties")
        additional = schema.get("additionalProperties")
        if isinstance(properties, dict):
            for name in [each for each in value if each not in properties]:
                del value[name]
                dropped.append(f"{path}.{name}" if path else name)
            for name, given in value.items():
                if isinstance(given, dict | list):
                    _prune(properties[name], given, f"{path}.{name}" if path else name, dropped)
        elif isinstance(additional, dict):
            for name, given in value.items():
                _prune(additional, given, f"{path}.{name}", dropped)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, item in enumerate(value):
            _prune(cast(Schema, schema["items"]), item, f"{path}[{index}]", dropped)


def _fit(schema: Schema, value: object, struct: str, path: str) -> object:
    """Check and convert one value; returns what stands in its place."""
    ref = schema.get("$ref")
    if ref is not None:
        schema = resolve(schema)
    kind = schema.get("type")
    if kind == "object":
        _fit_object(schema, value, struct if ref is None else _struct_name(ref), path)
    elif kind == "array":
        if not isinstance(value, list):
            raise _mismatch(value, struct, path, _go_type(schema))
        items = cast(Schema, schema["items"])
        value[:] = [_zero(items) if each is None else _fit(items, each, struct, path) for each in value]
    elif schema.get("x-quantity"):
        return _quantity(value)
    elif schema.get("x-kubernetes-int-or-string"):
        if not isinstance(value, int | str) or isinstance(value, bool):
            raise _mismatch(value, struct, path, "intstr.IntOrString")
    elif kind is not None:
        return _fit_scalar(schema, str(kind), value, struct, path)
    return value


def _fit_object(schema: Schema, value: object, struct: str, path: str) -> None:
    properties = cast(Mapping[str, Schema], schema.get("properties") or {})
    if not isinstance(value, dict):
        raise _mismatch(value, struct, path, struct if properties else _go_type(schema))
    additional = schema.get("additionalProperties")
    required = schema.get("required") or ()
    for name in list(value):
        given, field = value[name], properties.get(name)
        if field is None:
            if isinstance(additional, Mapping):
                value[name] = "" if given is None else _fit(additional, given, struct, path)
        elif given is None or (given in ([], {}) and name not in cast(list[str], required) and _is_collection(field)):
            del value[name]
        else:
            value[name] = _fit(field, given, struct, f"{path}.{name}" if path else name)


def _zero(schema: Schema) -> object:
    """What Go makes of a null in a list: the zero value of its type."""
    if "$ref" in schema:
        schema = resolve(schema)
    if schema.get("x-quantity"):
        return "0"
    if schema.get("x-kubernetes-int-or-string"):
        return 0
    zeros: dict[str, object] = {"object": {}, "string": "", "integer": 0, "number": 0, "boolean": False}
    return copy.copy(zeros.get(str(schema.get("type"))))


def _is_collection(schema: Schema) -> bool:
    """A list, or a map (not a struct, whose empty form means something)."""
    return schema.get("type") == "array" or isinstance(schema.get("additionalProperties"), Mapping)


def _fit_scalar(schema: Schema, kind: str, value: object, struct: str, path: str) -> object:
    if kind == "integer":
        return _integer(schema, value, struct, path)
    if kind == "number":
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _mismatch(value, struct, path, "float64")
    elif kind == "boolean":
        if not isinstance(value, bool):
            raise _mismatch(value, struct, path, "bool")
    elif not isinstance(value, str):
        raise _mismatch(value, struct, path, "string")
    elif schema.get("format") == "date-time":
        return _time(value, micro=bool(schema.get("x-micro-time")))
    elif schema.get("format") == "byte":
        _check_base64(value)
    return value


def _integer(schema: Schema, value: object, struct: str, path: str) -> int:
    form = str(schema.get("format") or "int64")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _mismatch(value, struct, path, form)
    bound = _BOUNDS[form]
    if not -bound <= value < bound:
        raise DecodeError(f"json: cannot unmarshal number {value} into Go struct field {struct}.{path} of type {form}")
    return value


def _quantity(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DecodeError("quantities must be a string or a number")
    try:
        return canonical_quantity(value)
    except QuantityError as error:
        raise DecodeError(str(error)) from None


def _time(value: str, micro: bool) -> str:
    if (_MICRO_TIME if micro else _TIME).fullmatch(value):
        if len(value) == (27 if micro else 20):  # canonical already: UTC, and no fraction where none belongs
            return value
        try:
            moment = datetime.fromisoformat(value.replace("Z", "+00:00")).astimezone(UTC)
        except ValueError as error:
            raise DecodeError(f'parsing time "{value}": {error}') from None
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")
    layout = "2006-01-02T15:04:05.000000Z07:00" if micro else "2006-01-02T15:04:05Z07:00"
    rest = re.sub(r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}", "", value)
    element = ".000000" if micro and rest != value else "2006" if rest == value else "Z07:00"
    raise DecodeError(f'parsing time "{value}" as "{layout}": cannot parse "{rest}" as "{element}"')


def _check_base64(value: str) -> None:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        good = _BASE64.match(value)
        place = good.end() if good is not None else 0
        raise DecodeError(f"illegal base64 data at input byte {place}") from None


def _mismatch(value: object, struct: str, path: str, expected: str) -> DecodeError:
    kind = type_name(value)
    shown = _GO_KINDS.get(kind, kind)
    if kind == "number" and expected in _BOUNDS:
        shown = f"number {value}"
    return DecodeError(f"json: cannot unmarshal {shown} into Go struct field {struct}.{path} of type {expected}")


def _struct_name(ref: object) -> str:
    return str(ref).removeprefix(REF).rsplit(".", 1)[1]


def _go_type(schema: Schema) -> str:
    ref = schema.get("$ref")
    if ref is not None:
        package, name = str(ref).rsplit(".", 2)[1:]
        return f"{package}.{name}"
    kind = schema.get("type")
    if kind == "array":
        return f"[]{_go_type(cast(Schema, schema['items']))}"
    if kind == "object":
        additional = schema.get("additionalProperties")
        return f"map[string]{_go_type(additional) if isinstance(additional, Mapping) else 'interface {}'}"
    if schema.get("x-quantity"):
        return "resource.Quantity"
    if schema.get("format") == "byte":
        return "[]uint8"
    return {"boolean": "bool", "integer": str(schema.get("format") or "int64"), "number": "float64"}.get(
        str(kind), "string"
    )
