"""Whether JSON fits the Go types of a built-in kind, with the texts of Go's decoder when it does not."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import cast

from runtime.testing.kinds.gojson import type_name
from runtime.testing.kinds.model import DecodeError
from runtime.testing.kinds.quantity import QuantityError, parse_quantity
from runtime.testing.kinds.schemas import REF, resolve

Schema = Mapping[str, object]
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})")
_MICRO_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}(Z|[+-]\d{2}:\d{2})")
_BOUNDS = {"int32": 2**31, "int64": 2**63}
_GO_KINDS = {"boolean": "bool", "integer": "number", "number": "number", "array": "array"}
_BASE64 = re.compile(r"[A-Za-z0-9+/]*")


def check_types(schema: Schema, obj: object, struct: str) -> None:
    """:param struct: name of the Go type, for the message.

    :raises DecodeError: for the first field whose value has the wrong type.
    """
    _check(schema, obj, struct, "")


def _check(schema: Schema, value: object, struct: str, path: str) -> None:
    if value is None:
        return
    ref = schema.get("$ref")
    if ref is not None:
        schema = resolve(schema)
    kind = schema.get("type")
    if schema.get("x-quantity"):
        _check_quantity(value)
    elif schema.get("x-kubernetes-int-or-string"):
        if not isinstance(value, int | str) or isinstance(value, bool):
            raise _mismatch(value, struct, path, "intstr.IntOrString")
    elif kind == "object":
        _check_object(schema, value, struct if ref is None else _struct_name(ref), path)
    elif kind == "array":
        if not isinstance(value, list):
            raise _mismatch(value, struct, path, _go_type(schema))
        for item in value:
            _check(cast(Schema, schema["items"]), item, struct, path)
    elif kind is not None:
        _check_scalar(schema, str(kind), value, struct, path)


def _check_object(schema: Schema, value: object, struct: str, path: str) -> None:
    if not isinstance(value, dict):
        raise _mismatch(value, struct, path, _go_type(schema) if "properties" not in schema else struct)
    properties = cast(Mapping[str, Schema], schema.get("properties") or {})
    additional = schema.get("additionalProperties")
    for name, given in value.items():
        field = properties.get(name)
        if field is not None:
            _check(field, given, struct, f"{path}.{name}" if path else name)
        elif isinstance(additional, Mapping):
            _check(additional, given, struct, path)


def _check_scalar(schema: Schema, kind: str, value: object, struct: str, path: str) -> None:
    if kind == "integer":
        _check_integer(schema, value, struct, path)
    elif kind == "number":
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _mismatch(value, struct, path, "float64")
    elif kind == "boolean":
        if not isinstance(value, bool):
            raise _mismatch(value, struct, path, "bool")
    elif not isinstance(value, str):
        raise _mismatch(value, struct, path, "string")
    elif schema.get("format") == "date-time":
        _check_time(value, micro=bool(schema.get("x-micro-time")))
    elif schema.get("format") == "byte":
        _check_base64(value)


def _check_integer(schema: Schema, value: object, struct: str, path: str) -> None:
    form = str(schema.get("format") or "int64")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _mismatch(value, struct, path, form)
    bound = _BOUNDS[form]
    if not -bound <= value < bound:
        raise DecodeError(
            f"json: cannot unmarshal number {value} into Go struct field {struct}.{path} of type {form}"
        )


def _check_quantity(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DecodeError("quantities must be a string or a number")
    try:
        parse_quantity(str(value))
    except QuantityError as error:
        raise DecodeError(str(error)) from None


def _check_time(value: str, micro: bool) -> None:
    if (_MICRO_TIME if micro else _TIME).fullmatch(value):
        return
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
    return DecodeError(
        f"json: cannot unmarshal {shown} into Go struct field {struct}.{path} of type {expected}"
    )


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
