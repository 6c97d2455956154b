"""What else the real server demands of the schema in a CRD, whether it is structural or not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from runtime.testing.kinds import errors
from runtime.testing.kinds.crds.field_paths import FieldPathError, resolve_field_path
from runtime.testing.kinds.crds.rule_checks import RuleChecks, RuleContext
from runtime.testing.kinds.crds.schema import METADATA_FIELDS
from runtime.testing.kinds.crds.structural import ALTERNATIVES
from runtime.testing.kinds.model import FieldError
from runtime.types import JSONMapping

_TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
_FORBIDDEN: Final = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_REASONS: Final = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_LINE_BREAK: Final = re.compile(r"[\n\r]")


@dataclass(frozen=True)
class _Place:
    """Where in the schema a node stands.

    :param no_defaults: why there may be no default, empty if there may.
    :param in_metadata: the node belongs to the apiVersion, kind or metadata of a resource.
    :param uncorrelated: the first node above whose values cannot be told apart between two states of an object.
    """

    no_defaults: str = ""
    in_metadata: bool = False
    uncorrelated: str = ""


@dataclass
class _Found:
    schema: list[FieldError] = field(default_factory=list)
    rules: list[FieldError] = field(default_factory=list)


def schema_problems(schema: JSONMapping, path: str, rules: RuleChecks | None) -> list[FieldError]:
    """All that is wrong with the root schema of a version: first what concerns the schema, then its CEL rules.

    :param rules: judges the CEL rules; None to leave them alone, as they make no sense in a schema that is wrong.
    """
    found = _Found()
    _check(schema, path, _Place(), found, rules, rules.root(schema) if rules is not None else None, is_root=True)
    return found.schema + found.rules


def _check(
    schema: JSONMapping,
    path: str,
    place: _Place,
    found: _Found,
    rules: RuleChecks | None,
    context: RuleContext | None,
    *,
    is_root: bool = False,
) -> None:
    before = len(found.schema)
    _check_node(schema, path, place, found.schema)
    _check_children(schema, path, place, found, rules, context, is_root)
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        where = f"{path}.x-kubernetes-preserve-unknown-fields"
        found.schema.append(errors.invalid(where, False, "must be true or undefined"))
    _check_map_type(schema, path, found.schema)
    _check_list_type(schema, path, found.schema)
    given = schema.get("x-kubernetes-validations") or ()
    for index, rule in enumerate(given):
        _check_rule(schema, rule, f"{path}.x-kubernetes-validations[{index}]", found.schema)
    # What is wrong here or below makes CEL complain of things that will be gone.
    if given and len(found.schema) == before and rules is not None and context is not None:
        found.rules.extend(rules.problems(context, f"{path}.x-kubernetes-validations", place.uncorrelated))


def _check_node(schema: JSONMapping, path: str, place: _Place, found: list[FieldError]) -> None:
    kind = schema.get("type") or ""
    if kind and kind not in _TYPES:
        found.append(errors.not_supported(f"{path}.type", kind, _TYPES))
    if schema.get("default") is not None and place.no_defaults:
        found.append(errors.forbidden(f"{path}.default", f"must not be set {place.no_defaults}"))
    for name in _FORBIDDEN:
        if schema.get(name) not in (None, "", {}, []):
            found.append(errors.forbidden(f"{path}.{name}", f"{name} is not supported"))
    if kind == "null":
        detail = "type cannot be set to null, use nullable as an alternative"
        found.append(errors.forbidden(f"{path}.type", detail))
    if isinstance(schema.get("items"), list):
        found.append(errors.forbidden(f"{path}.items", "items must be a schema object and not an array"))
    if place.in_metadata and schema.get("x-kubernetes-embedded-resource"):
        where = f"{path}.x-kubernetes-embedded-resource"
        found.append(errors.forbidden(where, "must not be used inside of resource meta"))
    if schema.get("uniqueItems"):
        detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        found.append(errors.forbidden(f"{path}.uniqueItems", detail))


def _check_children(
    schema: JSONMapping,
    path: str,
    place: _Place,
    found: _Found,
    rules: RuleChecks | None,
    context: RuleContext | None,
    is_root: bool,
) -> None:
    properties = schema.get("properties") or {}
    additional = schema.get("additionalProperties")
    if additional is not None and additional is not True and properties:
        detail = "additionalProperties and properties are mutual exclusive"
        found.schema.append(errors.forbidden(f"{path}.additionalProperties", detail))
    if isinstance(additional, Mapping):
        reason = "inside additionalProperties applying to object metadata"
        below = replace(place, no_defaults=reason) if place.in_metadata else place
        inner = context.additional(additional) if context is not None else None
        _check(additional, f"{path}.additionalProperties", below, found, rules, inner)
    for name, child in properties.items():
        below = _of_property(schema, name, path, place, is_root)
        inner = context.property(name, child) if context is not None else None
        _check(child, f"{path}.properties[{name}]", below, found, rules, inner)
    for name in ("not", *ALTERNATIVES):
        given = schema.get(name)
        if isinstance(given, Mapping):
            _check(given, f"{path}.{name}", place, found, rules, None)
        for index, each in enumerate(given if isinstance(given, list) else ()):
            _check(each, f"{path}.{name}[{index}]", place, found, rules, None)
    items = schema.get("items")
    if isinstance(items, Mapping):
        below = place
        if schema.get("x-kubernetes-list-type") != "map" and not place.uncorrelated:
            below = replace(place, uncorrelated=path)
        inner = context.items(items) if context is not None else None
        _check(items, f"{path}.items", below, found, rules, inner)


def _of_property(schema: JSONMapping, name: str, path: str, place: _Place, is_root: bool) -> _Place:
    if schema.get("x-kubernetes-map-type") not in (None, "granular", "atomic") and not place.uncorrelated:
        place = replace(place, uncorrelated=path)
    if name in METADATA_FIELDS and (is_root or schema.get("x-kubernetes-embedded-resource")):
        place = replace(place, in_metadata=True)
        if is_root:
            place = replace(place, no_defaults=f"in top-level {name}")
    return place


def _check_map_type(schema: JSONMapping, path: str, found: list[FieldError]) -> None:
    map_type, kind = schema.get("x-kubernetes-map-type"), schema.get("type") or ""
    if map_type is None:
        return
    if kind != "object":
        detail = "must be object if x-kubernetes-map-type is specified"
        where = f"{path}.type"
        found.append(errors.invalid(where, kind, detail) if kind else errors.required(where, detail))
    if map_type not in ("atomic", "granular"):
        found.append(errors.not_supported(f"{path}.x-kubernetes-map-type", map_type, ("atomic", "granular")))


def _check_list_type(schema: JSONMapping, path: str, found: list[FieldError]) -> None:
    list_type, kind = schema.get("x-kubernetes-list-type"), schema.get("type") or ""
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    items = schema.get("items") if isinstance(schema.get("items"), Mapping) else None
    where = f"{path}.x-kubernetes-list-type"
    if list_type is not None and kind != "array":
        detail = "must be array if x-kubernetes-list-type is specified"
        found.append(errors.invalid(f"{path}.type", kind, detail) if kind else errors.required(f"{path}.type", detail))
    elif list_type == "set" and items is not None:
        _check_set_items(items, path, found)
    if list_type not in (None, "atomic", "set", "map"):
        found.append(errors.not_supported(where, list_type, ("atomic", "set", "map")))
    if keys and list_type != "map":
        detail = "must be map if x-kubernetes-list-map-keys is non-empty"
        found.append(errors.required(where, detail) if list_type is None else errors.invalid(where, list_type, detail))
    if list_type == "map":
        _check_map_items(schema, keys, items, path, found)
    if list_type in ("set", "map") and items is not None:
        _check_nullable(list_type, keys, items, path, found)


def _check_set_items(items: JSONMapping, path: str, found: list[FieldError]) -> None:
    detail = "must be atomic as item of a list with x-kubernetes-list-type=set"
    inner = items.get("x-kubernetes-list-type")
    if items.get("type") == "array" and inner not in (None, "atomic"):
        found.append(errors.invalid(f"{path}.items.x-kubernetes-list-type", inner, detail))
    if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        found.append(errors.invalid(f"{path}.items.x-kubernetes-map-type", inner, detail))


def _check_map_items(
    schema: JSONMapping, keys: list[str] | tuple[()], items: JSONMapping | None, path: str, found: list[FieldError]
) -> None:
    where = f"{path}.x-kubernetes-list-map-keys"
    if not keys:
        found.append(errors.required(where, "must not be empty if x-kubernetes-list-type is map"))
    if schema.get("items") is None:
        found.append(errors.required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map"))
        return
    if items is None:
        detail = "must only have a single schema if x-kubernetes-list-type is map"
        found.append(errors.invalid(f"{path}.items", schema["items"], detail))
        return
    if items.get("type") != "object":
        detail = "must be object if parent array's x-kubernetes-list-type is map"
        found.append(errors.invalid(f"{path}.items.type", items.get("type") or "", detail))
        return
    seen: set[str] = set()
    properties = items.get("properties") or {}
    for key in keys:
        if key not in properties:
            found.append(errors.invalid(where, keys, "entries must all be names of item properties"))
        elif properties[key].get("type") in ("array", "object"):
            detail = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            found.append(errors.invalid(f"{path}.items.properties[{key}].type", items["type"], detail))
        if key in seen:
            found.append(errors.invalid(where, keys, "must not contain duplicate entries"))
        seen.add(key)


def _check_nullable(
    list_type: str, keys: list[str] | tuple[()], items: JSONMapping, path: str, found: list[FieldError]
) -> None:
    if items.get("nullable"):
        detail = f"cannot be nullable when x-kubernetes-list-type is {list_type}"
        found.append(errors.forbidden(f"{path}.items.nullable", detail))
    if list_type != "map":
        return
    for key in keys:
        child = (items.get("properties") or {}).get(key)
        if child is None:
            continue
        where, why = f"{path}.items.properties[{key}]", "this property is in x-kubernetes-list-map-keys, so it"
        if key not in (items.get("required") or ()) and child.get("default") is None:
            found.append(errors.required(f"{where}.default", f"{why} must have a default or be a required property"))
        if child.get("nullable"):
            found.append(errors.forbidden(f"{where}.nullable", f"{why} cannot be nullable"))


def _check_rule(schema: JSONMapping, rule: JSONMapping, path: str, found: list[FieldError]) -> None:
    text, message = str(rule.get("rule") or ""), str(rule.get("message") or "")
    if not text.strip():
        found.append(errors.required(f"{path}.rule", "rule is not specified"))
    elif message and not message.strip():
        found.append(errors.invalid(f"{path}.message", message, "must be non-empty if specified"))
    elif _LINE_BREAK.search(message.strip()):
        found.append(errors.invalid(f"{path}.message", message, "must not contain line breaks"))
    elif _LINE_BREAK.search(text.strip()) and not message.strip():
        found.append(errors.required(f"{path}.message", "message must be specified if rule contains line breaks"))
    expression = str(rule.get("messageExpression") or "")
    if expression and not expression.strip():
        detail = "messageExpression must be non-empty if specified"
        found.append(errors.required(f"{path}.messageExpression", detail))
    reason = rule.get("reason")
    if reason is not None and reason not in _REASONS:
        found.append(errors.not_supported(f"{path}.reason", reason, _REASONS))
    target = str(rule.get("fieldPath") or "")
    if target and not target.strip():
        found.append(errors.invalid(f"{path}.fieldPath", target, "must be non-empty if specified"))
    if _LINE_BREAK.search(target):
        found.append(errors.invalid(f"{path}.fieldPath", target, "must not contain line breaks"))
    if target:
        try:
            resolve_field_path(target, schema)
        except FieldPathError:
            found.append(errors.invalid(f"{path}.fieldPath", target, "must be a valid path"))
