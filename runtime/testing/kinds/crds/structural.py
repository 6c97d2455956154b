"""Whether the schema of a CRD is structural, as the real server demands."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.testing.kinds import errors
from runtime.testing.kinds.crds.cel import CelError, compile_expression
from runtime.testing.kinds.crds.cel_types import rule_problem
from runtime.testing.kinds.crds.defaulting import apply_defaults, prune
from runtime.testing.kinds.crds.patterns import PatternError, go_pattern
from runtime.testing.kinds.crds.schema import METADATA_FIELDS, compile_schema
from runtime.testing.kinds.crds.validation import validate
from runtime.testing.kinds.model import FieldError
from runtime.types import JSONMapping

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_FORBIDDEN = ("$ref", "definitions", "dependencies", "patternProperties", "additionalItems", "id", "$schema")
# What may stand below anyOf and its like: value validations only.
_STRUCTURE_ONLY = (
    "additionalProperties",
    "default",
    "description",
    "nullable",
    "title",
    "type",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
)
_ALTERNATIVES = ("allOf", "anyOf", "oneOf")
_RULE_REASONS = (
    "FieldValueRequired",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueDuplicate",
)


def check_schema(schema: JSONMapping, path: str) -> list[FieldError]:
    """All that is wrong with the root schema of a version."""
    found: list[FieldError] = []
    kind = schema.get("type")
    if not kind:
        found.append(errors.required(f"{path}.type", "must not be empty at the root"))
    elif kind != "object":
        found.append(errors.invalid(f"{path}.type", kind, "must be object at the root"))
    _check(schema, path, found, is_root=True)
    return found


def _check(schema: JSONMapping, path: str, found: list[FieldError], is_root: bool = False) -> None:
    before = len(found)
    _check_forbidden(schema, path, found)
    _check_type(schema, path, found, is_root)
    _check_pattern(schema, path, found)
    _check_list_type(schema, path, found)
    for name, child in (schema.get("properties") or {}).items():
        if is_root and name in METADATA_FIELDS:
            _check_root_metadata(name, child, path, found)
            continue
        _check(child, f"{path}.properties[{name}]", found)
    additional = schema.get("additionalProperties")
    if isinstance(additional, Mapping):
        if schema.get("properties"):
            found.append(
                errors.forbidden(
                    f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive"
                )
            )
        _check(additional, f"{path}.additionalProperties", found)
    elif additional is False:
        found.append(errors.forbidden(f"{path}.additionalProperties", "additionalProperties cannot be set to false"))
    items = schema.get("items")
    if isinstance(items, Mapping):
        _check(items, f"{path}.items", found)
    _check_alternatives(schema, path, found)
    if len(found) == before:
        _check_default(schema, path, found)
        _check_rules(schema, path, found, is_root)


def _check_root_metadata(name: str, child: JSONMapping, path: str, found: list[FieldError]) -> None:
    allowed = {"metadata": "object"}.get(name, "string")
    if child.get("type") != allowed:
        found.append(errors.invalid(f"{path}.properties[{name}].type", child.get("type"), f"must be {allowed}"))


def _check_forbidden(schema: JSONMapping, path: str, found: list[FieldError]) -> None:
    for field in _FORBIDDEN:
        if schema.get(field):
            found.append(errors.forbidden(f"{path}.{field}", f"{field} is not supported"))
    if schema.get("uniqueItems"):
        detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        found.append(errors.forbidden(f"{path}.uniqueItems", detail))


def _check_type(schema: JSONMapping, path: str, found: list[FieldError], is_root: bool) -> None:
    kind = schema.get("type")
    int_or_string = schema.get("x-kubernetes-int-or-string")
    if kind and kind not in _TYPES:
        found.append(errors.not_supported(f"{path}.type", kind, _TYPES))
    elif kind and int_or_string:
        found.append(errors.invalid(f"{path}.type", kind, "must be empty if x-kubernetes-int-or-string is true"))
    elif not kind and not is_root and not int_or_string and not schema.get("x-kubernetes-preserve-unknown-fields"):
        what = "specified array items" if path.endswith(".items") else "specified object fields"
        found.append(errors.required(f"{path}.type", f"must not be empty for {what}"))
    if kind == "array" and not schema.get("items"):
        found.append(errors.required(f"{path}.items", "must be specified"))
    if schema.get("x-kubernetes-embedded-resource"):
        if kind != "object":
            detail = "must be object if x-kubernetes-embedded-resource is true"
            found.append(errors.invalid(f"{path}.type", kind or "", detail))
        if not schema.get("properties") and not schema.get("x-kubernetes-preserve-unknown-fields"):
            detail = (
                "must not be empty if x-kubernetes-embedded-resource is true without "
                "x-kubernetes-preserve-unknown-fields"
            )
            found.append(errors.required(f"{path}.properties", detail))


def _check_pattern(schema: JSONMapping, path: str, found: list[FieldError]) -> None:
    pattern = schema.get("pattern")
    if not pattern:
        return
    try:
        go_pattern(pattern)
    except PatternError as error:
        detail = f"must be a valid regular expression, but isn't: {error}"
        found.append(errors.invalid(f"{path}.pattern", pattern, detail))


def _check_list_type(schema: JSONMapping, path: str, found: list[FieldError]) -> None:
    kind = schema.get("x-kubernetes-list-type")
    keys = schema.get("x-kubernetes-list-map-keys") or []
    where = f"{path}.x-kubernetes-list-type"
    if kind is None:
        if keys:
            found.append(errors.required(where, "must be map if x-kubernetes-list-map-keys is non-empty"))
        return
    if kind not in ("atomic", "set", "map"):
        found.append(errors.not_supported(where, kind, ("atomic", "set", "map")))
    elif schema.get("type") != "array":
        found.append(
            errors.invalid(
                f"{path}.type", schema.get("type") or "", "must be array if x-kubernetes-list-type is specified"
            )
        )
    elif kind == "map":
        _check_map_keys(schema, keys, path, found)


def _check_map_keys(schema: JSONMapping, keys: list[str], path: str, found: list[FieldError]) -> None:
    if not keys:
        detail = "must not be empty if x-kubernetes-list-type is map"
        found.append(errors.required(f"{path}.x-kubernetes-list-map-keys", detail))
    items = schema.get("items") or {}
    if items.get("type") != "object":
        detail = "must be object if parent array's x-kubernetes-list-type is map"
        found.append(errors.invalid(f"{path}.items.type", items.get("type") or "", detail))
    properties = items.get("properties") or {}
    for index, key in enumerate(keys):
        if key not in properties:
            detail = "entries must all be names of item properties"
            found.append(errors.invalid(f"{path}.x-kubernetes-list-map-keys[{index}]", key, detail))
        elif key not in (items.get("required") or []) and "default" not in properties[key]:
            detail = (
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            )
            found.append(errors.required(f"{path}.items.properties[{key}].default", detail))


def _check_alternatives(schema: JSONMapping, path: str, found: list[FieldError]) -> None:
    for field in _ALTERNATIVES:
        for index, each in enumerate(schema.get(field) or []):
            _check_value_only(each, f"{path}.{field}[{index}]", found, _is_int_or_string_form(schema, field))
    negated = schema.get("not")
    if isinstance(negated, Mapping):
        _check_value_only(negated, f"{path}.not", found, False)


def _is_int_or_string_form(schema: JSONMapping, field: str) -> bool:
    """``anyOf: [{type: integer}, {type: string}]`` is allowed with x-kubernetes-int-or-string."""
    return bool(schema.get("x-kubernetes-int-or-string")) and field in ("anyOf", "allOf")


def _check_value_only(schema: JSONMapping, path: str, found: list[FieldError], types_allowed: bool) -> None:
    for field in _STRUCTURE_ONLY:
        if schema.get(field) and not (types_allowed and field == "type"):
            found.append(errors.forbidden(f"{path}.{field}", "must be empty to be structural"))
    _check_pattern(schema, path, found)
    for name, child in (schema.get("properties") or {}).items():
        _check_value_only(child, f"{path}.properties[{name}]", found, False)
    if isinstance(schema.get("items"), Mapping):
        _check_value_only(schema["items"], f"{path}.items", found, False)
    for field in _ALTERNATIVES:
        for index, each in enumerate(schema.get(field) or []):
            _check_value_only(each, f"{path}.{field}[{index}]", found, types_allowed)
    if isinstance(schema.get("not"), Mapping):
        _check_value_only(schema["not"], f"{path}.not", found, False)


def _check_default(schema: JSONMapping, path: str, found: list[FieldError]) -> None:
    if schema.get("default") is None:
        return
    node = compile_schema({key: value for key, value in schema.items() if key != "default"})
    value = {"value": schema["default"]}
    wrapper = compile_schema({"type": "object", "properties": {"value": {}}})
    wrapper.properties["value"] = node
    apply_defaults(wrapper, value)
    where = f"{path}.default"
    if isinstance(value["value"], dict) and prune(wrapper, value):
        found.append(errors.invalid(where, schema["default"], "must not have unknown fields"))
    for error in validate(node, value["value"], ""):
        field = where if error.field in ("", "<nil>") else f"{where}.{error.field}"
        found.append(FieldError(error.reason, field, error.message))


def _check_rules(schema: JSONMapping, path: str, found: list[FieldError], is_root: bool) -> None:
    for index, rule in enumerate(schema.get("x-kubernetes-validations") or []):
        where = f"{path}.x-kubernetes-validations[{index}]"
        text = str(rule.get("rule") or "")
        if not text.strip():
            found.append(errors.required(f"{where}.rule", "rule is not specified"))
            continue
        if rule.get("reason") and rule["reason"] not in _RULE_REASONS:
            found.append(errors.not_supported(f"{where}.reason", rule["reason"], _RULE_REASONS))
        optional = bool(rule.get("optionalOldSelf"))
        problem = _problem(schema, text, optional, "bool", is_root)
        if problem:
            found.append(errors.invalid(f"{where}.rule", text, problem))
        expression = str(rule.get("messageExpression") or "")
        problem = _problem(schema, expression, optional, "string", is_root) if expression else ""
        if problem:
            found.append(errors.invalid(f"{where}.messageExpression", expression, problem))


def _problem(schema: JSONMapping, text: str, optional_old_self: bool, result: str, is_root: bool) -> str:
    """Why the expression is refused, empty if it is not."""
    try:
        program = compile_expression(text)
    except CelError as error:
        return str(error)
    return rule_problem(schema, program.tree, optional_old_self=optional_old_self, result=result, is_root=is_root)
