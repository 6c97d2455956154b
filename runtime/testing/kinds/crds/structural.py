"""Whether the schema of a CRD is structural: every field has a type where it is declared, and what stands below
``allOf``, ``anyOf``, ``oneOf`` and ``not`` only restricts values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, cast

from runtime.testing.kinds import errors
from runtime.testing.kinds.crds.patterns import PatternError, go_pattern
from runtime.testing.kinds.model import FieldError
from runtime.types import JSONMapping

_ROOT, _ITEM, _FIELD = "at the root", "for specified array items", "for specified object fields"
_INT_OR_STRING: Final = [{"type": "integer"}, {"type": "string"}]
_UNSUPPORTED: Final = {
    "id": "id",
    "$schema": "schema",
    "$ref": "$ref",
    "patternProperties": "patternProperties",
    "dependencies": "dependencies",
    "additionalItems": "additionalItems",
    "definitions": "definitions",
}
# What may not stand in a schema that only restricts values, in the order in which it is looked for.
_DECLARATIONS: Final = (
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
)
ALTERNATIVES: Final = ("allOf", "anyOf", "oneOf")


def unsupported(schema: JSONMapping) -> str:
    """Why no structural schema can be made of this one at all, empty if one can."""
    for each in walk(schema):
        for field, shown in _UNSUPPORTED.items():
            if each.get(field) not in (None, "", {}, []):
                return f"OpenAPIV3Schema '{shown}' is not supported"
        if isinstance(each.get("items"), list):
            return "OpenAPIV3Schema 'items' must be a schema, but is an array"
        if each.get("x-kubernetes-preserve-unknown-fields") is False:
            return "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined"
    return ""


def walk(schema: JSONMapping) -> Iterator[JSONMapping]:
    """The schema and all schemas in it."""
    yield schema
    for field in ("items", "additionalProperties", "not"):
        if isinstance(schema.get(field), Mapping):
            yield from walk(schema[field])
    for field in ALTERNATIVES:
        for each in schema.get(field) or ():
            yield from walk(each)
    for each in (schema.get("properties") or {}).values():
        yield from walk(each)


def structural_problems(schema: JSONMapping, path: str) -> list[FieldError]:
    """What keeps the root schema of a version from being structural, in the real server's order: by text."""
    found: list[FieldError] = []
    _declared(schema, _ROOT, path, found)
    _complete(schema, schema, path, path, found)
    return sorted(found, key=lambda each: f"{each.field}: {each.message}")


def _declared(schema: JSONMapping, level: str, path: str, found: list[FieldError]) -> None:
    if schema.get("type") == "array" and not isinstance(schema.get("items"), Mapping):
        found.append(errors.required(f"{path}.items", "must be specified"))
    if isinstance(schema.get("items"), Mapping):
        _declared(schema["items"], _ITEM, f"{path}.items", found)
    for name, child in (schema.get("properties") or {}).items():
        _declared(child, _FIELD, f"{path}.properties[{name}]", found)
    additional = schema.get("additionalProperties")
    if additional is not None:
        if level == _ROOT:
            found.append(errors.forbidden(f"{path}.additionalProperties", "must not be used at the root"))
        if isinstance(additional, Mapping):
            _declared(additional, _FIELD, f"{path}.additionalProperties", found)
    _check_extensions(schema, path, found)
    _values(schema, path, found, skip_any_of=_is_int_or_string(schema), skip_first_all_of=_is_all_of_pattern(schema))
    _check_type(schema, level, path, found)
    _check_type_and_object_meta(schema, level, path, found)


def _check_extensions(schema: JSONMapping, path: str, found: list[FieldError]) -> None:
    if schema.get("x-kubernetes-int-or-string"):
        for field in ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"):
            if schema.get(field):
                detail = "must be false if x-kubernetes-int-or-string is true"
                found.append(errors.invalid(f"{path}.{field}", True, detail))


def _check_type(schema: JSONMapping, level: str, path: str, found: list[FieldError]) -> None:
    kind = schema.get("type") or ""
    where = f"{path}.type"
    if schema.get("x-kubernetes-embedded-resource") and kind != "object":
        detail = "must be object if x-kubernetes-embedded-resource is true"
        found.append(errors.invalid(where, kind, detail) if kind else errors.required(where, detail))
    elif not (kind or schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")):
        found.append(errors.required(where, f"must not be empty {level}"))
    if schema.get("x-kubernetes-embedded-resource") and schema.get("additionalProperties") is not None:
        detail = "must not be used if x-kubernetes-embedded-resource is set"
        found.append(errors.forbidden(f"{path}.additionalProperties", detail))
    if level == _ROOT and kind and kind != "object":
        found.append(errors.invalid(where, kind, "must be object at the root"))


def _check_type_and_object_meta(schema: JSONMapping, level: str, path: str, found: list[FieldError]) -> None:
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    properties = schema.get("properties") or {}
    is_resource = level == _ROOT or embedded
    for name in ("kind", "apiVersion"):
        if is_resource and name in properties and properties[name].get("type") != "string":
            given = properties[name].get("type") or ""
            found.append(errors.invalid(f"{path}.properties[{name}].type", given, "must be string"))
    if "metadata" in properties:
        where, metadata = f"{path}.properties[metadata]", properties["metadata"]
        if is_resource and metadata.get("type") != "object":
            found.append(errors.invalid(f"{where}.type", metadata.get("type") or "", "must be object"))
        if level == _ROOT and not _names_only(metadata):
            detail = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            found.append(errors.forbidden(where, detail))
    if embedded and not properties and not schema.get("x-kubernetes-preserve-unknown-fields"):
        detail = (
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        )
        found.append(errors.required(f"{path}.properties", detail))


def _names_only(metadata: JSONMapping) -> bool:
    apart = {"type", "default"}
    if set(metadata.get("properties") or {}) <= {"name", "generateName"}:
        apart.add("properties")
    return not any(value for field, value in metadata.items() if field not in apart)


def _is_int_or_string(schema: JSONMapping) -> bool:
    return schema.get("anyOf") == _INT_OR_STRING


def _is_all_of_pattern(schema: JSONMapping) -> bool:
    every = list(schema.get("allOf") or ())
    return bool(every) and _is_int_or_string(every[0])


def _values(
    schema: JSONMapping, path: str, found: list[FieldError], *, skip_any_of: bool, skip_first_all_of: bool
) -> None:
    """The alternatives and the pattern. Those two that say «integer or string» may name types."""
    if not skip_any_of:
        for index, each in enumerate(schema.get("anyOf") or ()):
            _restricting(each, f"{path}.anyOf[{index}]", found)
    for index, each in enumerate(schema.get("allOf") or ()):
        _restricting(each, f"{path}.allOf[{index}]", found, skip_any_of=skip_first_all_of and not index)
    for index, each in enumerate(schema.get("oneOf") or ()):
        _restricting(each, f"{path}.oneOf[{index}]", found)
    if isinstance(schema.get("not"), Mapping):
        _restricting(schema["not"], f"{path}.not", found)
    pattern = schema.get("pattern")
    if pattern:
        try:
            go_pattern(pattern)
        except PatternError as error:
            detail = f"must be a valid regular expression, but isn't: {error}"
            found.append(errors.invalid(f"{path}.pattern", pattern, detail))


def _restricting(schema: JSONMapping, path: str, found: list[FieldError], *, skip_any_of: bool = False) -> None:
    """A schema below one of the alternatives."""
    _values(schema, path, found, skip_any_of=skip_any_of, skip_first_all_of=False)
    if isinstance(schema.get("items"), Mapping):
        _restricting(schema["items"], f"{path}.items", found)
    properties = schema.get("properties") or {}
    for name, child in properties.items():
        _restricting(child, f"{path}.properties[{name}]", found)
    for field, detail in _DECLARATIONS:
        value = schema.get(field)
        given = value not in (None, False) if field == "additionalProperties" else bool(value)
        if given or (field == "default" and value is not None):
            found.append(errors.forbidden(f"{path}.{field}", detail))
    if "metadata" in properties:
        found.append(errors.forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context"))


def _complete(
    values: JSONMapping, schema: JSONMapping | None, schema_path: str, path: str, found: list[FieldError]
) -> None:
    """Whatever an alternative restricts is declared outside of it."""
    for field in ALTERNATIVES:
        for index, each in enumerate(values.get(field) or ()):
            _complete_below(each, schema, schema_path, f"{path}.{field}[{index}]", found)
    if isinstance(values.get("not"), Mapping):
        _complete_below(values["not"], schema, schema_path, f"{path}.not", found)


def _complete_below(
    values: JSONMapping, schema: JSONMapping | None, schema_path: str, path: str, found: list[FieldError]
) -> None:
    if schema is None:
        found.append(errors.required(schema_path, f"because it is defined in {path}"))
        return
    _complete(values, schema, schema_path, path, found)
    if isinstance(values.get("items"), Mapping):
        items = cast("JSONMapping | None", schema.get("items"))
        _complete_below(values["items"], items, f"{schema_path}.items", f"{path}.items", found)
    declared = schema.get("properties") or {}
    for name, child in (values.get("properties") or {}).items():
        where = f"{schema_path}.properties[{name}]"
        _complete_below(child, declared.get(name), where, f"{path}.properties[{name}]", found)
