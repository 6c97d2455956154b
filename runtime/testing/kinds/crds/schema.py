"""A structural schema, compiled once per version of a CRD so that objects are checked without looking names up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runtime.testing.kinds.crds.formats import known_format
from runtime.testing.kinds.crds.patterns import Pattern, go_pattern
from runtime.types import JSONMapping

METADATA_FIELDS = frozenset({"apiVersion", "kind", "metadata"})


@dataclass(slots=True)
class Rule:
    """One entry of ``x-kubernetes-validations``."""

    rule: str
    message: str = ""
    message_expression: str = ""
    reason: str = "FieldValueInvalid"
    field_path: str = ""
    optional_old_self: bool = False


@dataclass(slots=True, eq=False)
class Node:
    """One level of a schema. ``None`` and empty mean: the schema does not say."""

    types: tuple[str, ...] = ()
    nullable: bool = False
    properties: dict[str, Node] = field(default_factory=dict)
    additional: Node | None = None  # schema of further properties
    open: bool = False  # additionalProperties: true
    closed: bool = False  # additionalProperties: false
    items: Node | None = None
    required: tuple[str, ...] = ()
    has_default: bool = False
    default: object = None
    preserve_unknown: bool = False
    embedded: bool = False
    int_or_string: bool = False
    list_type: str = ""
    list_keys: tuple[str, ...] = ()
    enum: tuple[object, ...] | None = None
    format: str = ""
    known_format: str = ""  # the format, if the server checks it for this type
    pattern: str = ""
    regex: Pattern | None = None
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: bool = False
    exclusive_maximum: bool = False
    multiple_of: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_items: int | None = None
    max_items: int | None = None
    min_properties: int | None = None
    max_properties: int | None = None
    all_of: tuple[Node, ...] = ()
    any_of: tuple[Node, ...] = ()
    one_of: tuple[Node, ...] = ()
    not_: Node | None = None
    rules: tuple[Rule, ...] = ()
    # Whether there is such a thing here or below: what is not there is not looked for in the objects.
    has_rules: bool = False
    has_defaults: bool = False
    has_embedded: bool = False

    def children(self) -> list[Node]:
        """The nodes of values below this one (not the alternatives of anyOf and its like)."""
        below = list(self.properties.values())
        below += [node for node in (self.additional, self.items) if node is not None]
        return below


def compile_schema(schema: JSONMapping) -> Node:
    """The node of ``schema``, and below it the nodes of all it describes.

    :raises PatternError: for a pattern that is no regular expression of Go (RE2).
    """
    node = Node(
        types=_types(schema),
        nullable=bool(schema.get("nullable")),
        required=tuple(schema.get("required") or ()),
        has_default="default" in schema and schema["default"] is not None,
        default=schema.get("default"),
        preserve_unknown=bool(schema.get("x-kubernetes-preserve-unknown-fields")),
        embedded=bool(schema.get("x-kubernetes-embedded-resource")),
        int_or_string=bool(schema.get("x-kubernetes-int-or-string")),
        list_type=str(schema.get("x-kubernetes-list-type") or ""),
        list_keys=tuple(schema.get("x-kubernetes-list-map-keys") or ()),
        format=str(schema.get("format") or ""),
        minimum=schema.get("minimum"),
        maximum=schema.get("maximum"),
        exclusive_minimum=bool(schema.get("exclusiveMinimum")),
        exclusive_maximum=bool(schema.get("exclusiveMaximum")),
        multiple_of=schema.get("multipleOf"),
        min_length=schema.get("minLength"),
        max_length=schema.get("maxLength"),
        min_items=schema.get("minItems"),
        max_items=schema.get("maxItems"),
        min_properties=schema.get("minProperties"),
        max_properties=schema.get("maxProperties"),
        rules=tuple(_rule(each) for each in schema.get("x-kubernetes-validations") or ()),
    )
    node.known_format = known_format(node.format, node.types)
    if schema.get("enum"):
        node.enum = tuple(schema["enum"])
    if schema.get("pattern"):
        node.pattern = str(schema["pattern"])
        node.regex = go_pattern(node.pattern)
    _add_children(node, schema)
    node.has_embedded = node.embedded or any(child.has_embedded for child in node.children())
    node.has_rules = bool(node.rules) or any(child.has_rules for child in node.children())
    node.has_defaults = node.has_default or any(child.has_defaults for child in node.children())
    return node


def _add_children(node: Node, schema: JSONMapping) -> None:
    node.properties = {name: compile_schema(each) for name, each in (schema.get("properties") or {}).items()}
    additional = schema.get("additionalProperties")
    if isinstance(additional, Mapping):
        node.additional = compile_schema(additional)
    node.open = additional is True
    node.closed = additional is False
    items = schema.get("items")
    if isinstance(items, Mapping):
        node.items = compile_schema(items)
    node.all_of = _alternatives(schema.get("allOf"))
    node.any_of = _alternatives(schema.get("anyOf"))
    node.one_of = _alternatives(schema.get("oneOf"))
    if isinstance(schema.get("not"), Mapping):
        node.not_ = compile_schema(schema["not"])


def _alternatives(schemas: object) -> tuple[Node, ...]:
    return tuple(compile_schema(each) for each in schemas) if isinstance(schemas, Sequence) else ()


def _types(schema: JSONMapping) -> tuple[str, ...]:
    if schema.get("x-kubernetes-int-or-string"):
        return ("integer", "string")
    kind = schema.get("type")
    return (str(kind),) if kind else ()


def _rule(rule: JSONMapping) -> Rule:
    return Rule(
        rule=str(rule.get("rule") or ""),
        message=str(rule.get("message") or ""),
        message_expression=str(rule.get("messageExpression") or ""),
        reason=str(rule.get("reason") or "FieldValueInvalid"),
        field_path=str(rule.get("fieldPath") or ""),
        optional_old_self=bool(rule.get("optionalOldSelf")),
    )
