"""What may stand in one version of a CRD beside its schema."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from runtime.testing.kinds import errors
from runtime.testing.kinds.crds.field_paths import FieldPathError, resolve_field_path
from runtime.testing.kinds.model import FieldError
from runtime.types import JSONMapping

_COLUMN_TYPES: Final = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS: Final = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_MAX_WARNING: Final = 256
_MAX_SELECTABLE: Final = 8


def deprecation_problems(version: JSONMapping, path: str) -> list[FieldError]:
    warning = version.get("deprecationWarning")
    if warning is None:
        return []
    where = f"{path}.deprecationWarning"
    if not version.get("deprecated"):
        return [errors.invalid(where, warning, "can only be set for deprecated versions")]
    found: list[FieldError] = []
    if len(warning.encode()) > _MAX_WARNING:
        found.append(errors.invalid(where, warning, f"must be <= {_MAX_WARNING} characters long"))
    if not warning:
        found.append(errors.invalid(where, warning, "must not be an empty string"))
    bad = next((index for index, char in enumerate(warning) if not char.isprintable()), None)
    if bad is not None:
        place = len(warning[:bad].encode())
        detail = "must only contain printable UTF-8 characters; non-printable character found at index"
        found.append(errors.invalid(where, warning, f"{detail} {place}"))
    return found


def subresource_problems(subresources: JSONMapping | None, path: str) -> list[FieldError]:
    scale = (subresources or {}).get("scale")
    if scale is None:
        return []
    found: list[FieldError] = []
    for field, roots, what in (
        ("specReplicasPath", (".spec.",), ".spec"),
        ("statusReplicasPath", (".status.",), ".status"),
        ("labelSelectorPath", (".spec.", ".status."), "either .spec or .status"),
    ):
        given = scale.get(field) or ""
        where = f"{path}.scale.{field}"
        if not given:
            if field != "labelSelectorPath":
                found.append(errors.required(where))
        elif not given.startswith("."):
            found.append(errors.invalid(where, given, "must be a simple json path starting with ."))
        elif not given.startswith(roots):
            found.append(errors.invalid(where, given, f"should be a json path under {what}"))
    return found


def column_problems(columns: Iterable[JSONMapping] | None, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    for index, column in enumerate(columns or ()):
        where = f"{path}[{index}]"
        if not column.get("name"):
            found.append(errors.required(f"{where}.name"))
        kind, detail = column.get("type") or "", f"must be one of {','.join(_COLUMN_TYPES)}"
        if not kind:
            found.append(errors.required(f"{where}.type", detail))
        elif kind not in _COLUMN_TYPES:
            found.append(errors.invalid(f"{where}.type", kind, detail))
        form = column.get("format")
        if form and form not in _COLUMN_FORMATS:
            found.append(errors.invalid(f"{where}.format", form, f"must be one of {','.join(_COLUMN_FORMATS)}"))
        given = column.get("jsonPath") or ""
        if not given:
            found.append(errors.required(f"{where}.JSONPath"))
        elif not given.startswith("."):
            found.append(errors.invalid(f"{where}.JSONPath", given, "must be a simple json path starting with ."))
    return found


def selectable_problems(fields: Iterable[JSONMapping], schema: JSONMapping | None, path: str) -> list[FieldError]:
    """:param schema: in the same version; None if there is none of its own."""
    if schema is None:
        detail = "may only be set when `version.schema.openAPIV3Schema` is not included"
        return [errors.invalid(path, "", detail)]
    found: list[FieldError] = []
    seen: set[str] = set()
    for index, each in enumerate(fields):
        where, given = f"{path}[{index}].jsonPath", each.get("jsonPath") or ""
        if not given:
            found.append(errors.required(where))
            continue
        try:
            target = resolve_field_path(given, schema, brackets=False)
        except FieldPathError as error:
            found.append(errors.invalid(where, given, f"is an invalid path: {error}"))
            continue
        if target.root == "metadata":
            found.append(errors.invalid(where, given, "must not point to fields in metadata"))
        if target.schema.get("type") not in ("string", "boolean", "integer"):
            detail = (
                "must point to a field of type string, boolean or integer. "
                "Enum string fields and strings with formats are allowed."
            )
            found.append(errors.invalid(where, given, detail))
        if target.text in seen:
            found.append(errors.duplicate(where, given))
        seen.add(target.text)
    if len(seen) > _MAX_SELECTABLE:
        found.append(errors.too_many(path, len(seen), _MAX_SELECTABLE))
    return found
