"""Whether the defaults in the schema of a CRD fit the schema themselves."""

from __future__ import annotations

import copy

from runtime.testing.kinds import errors
from runtime.testing.kinds.crds.cel.syntax import CelError
from runtime.testing.kinds.crds.defaulting import prune_default
from runtime.testing.kinds.crds.embedded import coerce_embedded, embedded_problems
from runtime.testing.kinds.crds.rules import RuleTree, check_rules, compile_rules
from runtime.testing.kinds.crds.schema import METADATA_FIELDS, Node, compile_schema
from runtime.testing.kinds.crds.validation import validate
from runtime.testing.kinds.model import DecodeError, FieldError
from runtime.types import JSONMapping


def default_problems(schema: JSONMapping, path: str) -> list[FieldError]:
    """What is wrong with the defaults of a structural schema. Below additionalProperties nobody looks."""
    found: list[FieldError] = []
    _check(schema, path, found, is_resource=True, in_metadata=False)
    return found


def _check(schema: JSONMapping, path: str, found: list[FieldError], *, is_resource: bool, in_metadata: bool) -> None:
    is_resource = is_resource or bool(schema.get("x-kubernetes-embedded-resource"))
    if schema.get("default") is not None:
        found += _default_problems(schema, f"{path}.default", in_metadata and not is_resource)
    items = schema.get("items")
    if isinstance(items, dict):
        _check(items, f"{path}.items", found, is_resource=False, in_metadata=in_metadata and not is_resource)
    for name, child in (schema.get("properties") or {}).items():
        inside = name in METADATA_FIELDS if is_resource else in_metadata
        _check(child, f"{path}.properties[{name}]", found, is_resource=False, in_metadata=inside)


def _default_problems(schema: JSONMapping, path: str, in_metadata: bool) -> list[FieldError]:
    default = schema["default"]
    node = compile_schema(schema)
    found: list[FieldError] = []
    if not in_metadata:
        pruned = copy.deepcopy(default)
        if prune_default(node, pruned):
            found.append(errors.invalid(path, default, "must not have unknown fields"))
    wrong = _embedded_problems(node, default, path) or [
        FieldError(each.reason, _below(path, each.field), each.message) for each in validate(node, default, "")
    ]
    if wrong:
        return found + wrong
    return found + _rule_problems(schema, node, default, path)


def _embedded_problems(node: Node, default: object, path: str) -> list[FieldError]:
    typed = copy.deepcopy(default)
    try:
        coerce_embedded(node, typed, path)
    except DecodeError as error:
        field, _, message = str(error).partition(": ")
        return [FieldError("FieldValueInvalid", field, message)]
    return embedded_problems(node, typed, path)


def _below(path: str, field: str) -> str:
    return path if field in ("", "<nil>") else f"{path}.{field}"


def _rule_problems(schema: JSONMapping, node: Node, default: object, path: str) -> list[FieldError]:
    """A default has to satisfy the rules as a value that stays, and as one that is new."""
    try:
        tree: RuleTree | None = compile_rules(schema, node)
    except CelError:
        return []  # named with the rule itself
    if tree is None:
        return []
    return check_rules(tree, default, path, default, ratchets=False) or check_rules(tree, default, path)
