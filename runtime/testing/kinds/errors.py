"""The causes of a 422 answer, with the texts that the real server uses."""

from __future__ import annotations

from collections.abc import Iterable

from runtime.testing.kinds import gojson
from runtime.testing.kinds.model import FieldError


def required(field: str, detail: str = "") -> FieldError:
    return FieldError("FieldValueRequired", field, f"Required value: {detail}" if detail else "Required value")


def invalid(field: str, value: object, detail: str) -> FieldError:
    return FieldError("FieldValueInvalid", field, f"Invalid value: {gojson.value(value)}: {detail}")


def type_invalid(field: str, value: object, detail: str) -> FieldError:
    return FieldError("FieldValueTypeInvalid", field, f"Invalid value: {gojson.value(value)}: {detail}")


def not_supported(field: str, value: object, supported: Iterable[object]) -> FieldError:
    choices = ", ".join(gojson.value(each) for each in supported)
    return FieldError(
        "FieldValueNotSupported",
        field,
        f"Unsupported value: {gojson.value(value)}: supported values: {choices}",
    )


def duplicate(field: str, value: object) -> FieldError:
    return FieldError("FieldValueDuplicate", field, f"Duplicate value: {gojson.value(value)}")


def forbidden(field: str, detail: str) -> FieldError:
    return FieldError("FieldValueForbidden", field, f"Forbidden: {detail}")


def too_long(field: str, most: int) -> FieldError:
    unit = "byte" if most == 1 else "bytes"
    return FieldError("FieldValueTooLong", field, f"Too long: may not be more than {most} {unit}")


def too_many(field: str, actual: int, most: int) -> FieldError:
    unit = "item" if most == 1 else "items"
    return FieldError("FieldValueTooMany", field, f"Too many: {actual}: must have at most {most} {unit}")


def not_found(field: str, value: object) -> FieldError:
    return FieldError("FieldValueNotFound", field, f"Not found: {gojson.value(value)}")


def warning(text: str) -> FieldError:
    """Something that is only warned of: the write goes on."""
    return FieldError("", "", text, warns=True)
