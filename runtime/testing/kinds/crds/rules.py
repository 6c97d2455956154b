"""The CEL rules of a schema (``x-kubernetes-validations``), compiled once and evaluated where the schema has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from runtime.testing.kinds import gojson
from runtime.testing.kinds.crds.cel.evaluator import CostExceeded
from runtime.testing.kinds.crds.cel.library_standard import NO_OVERLOAD
from runtime.testing.kinds.crds.cel.program import Program, compile_rule
from runtime.testing.kinds.crds.cel.syntax import CelError
from runtime.testing.kinds.crds.cel.types import STRING, Type, escaped, type_of
from runtime.testing.kinds.crds.cel.values import ABSENT, Optional, to_cel
from runtime.testing.kinds.crds.correlation import MISSING, correlated, correlated_property, old_property, unchanged
from runtime.testing.kinds.crds.field_paths import FieldPathError, resolve_field_path
from runtime.testing.kinds.crds.schema import Node, Rule
from runtime.testing.kinds.model import FieldError
from runtime.types import JSONMapping

_REASONS: Final = {
    "FieldValueForbidden": "Forbidden",
    "FieldValueRequired": "Required value",
    "FieldValueDuplicate": "Duplicate value",
}
_BUDGET: Final = 10_000_000  # what all rules of one object may cost together
_MAX_MESSAGE: Final = 5 * 1024
_NO_SIGNATURE: Final = "call arguments did not match a supported operator, function or macro signature"
_OUT_OF_BUDGET: Final = "validation failed due to running out of cost budget, no further validation rules will be run"
_OUT_OF_BUDGET_FOR_MESSAGE: Final = (
    "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run"
)


@dataclass(frozen=True, eq=False)
class CompiledRule:
    """:param field_path: of the field that is blamed, below the value."""

    rule: Rule
    program: Program
    message: Program | None
    field_path: str

    @property
    def shown(self) -> str:
        return self.rule.message.strip() or self.rule.rule.strip()


@dataclass(frozen=True, eq=False)
class RuleTree:
    """The compiled rules of a schema, in the schema's shape; only branches that hold rules."""

    node: Node
    type_name: str
    is_resource: bool
    rules: tuple[CompiledRule, ...]
    properties: Mapping[str, RuleTree]
    additional: RuleTree | None
    items: RuleTree | None


def compile_rules(schema: JSONMapping, node: Node, *, is_resource: bool = False) -> RuleTree | None:
    """The rules of a schema and of all below it; None if there are none.

    :param node: the schema, compiled.
    :raises CelError: for a rule that does not compile. The CRD has been judged, so that there is none.
    """
    if not node.has_rules:
        return None
    is_resource = is_resource or node.embedded
    found = type_of(schema, is_resource=is_resource)
    return None if found is None else _tree(schema, node, found, is_resource)


def _tree(schema: JSONMapping, node: Node, own: Type, is_resource: bool) -> RuleTree:
    properties: dict[str, RuleTree] = {}
    for name, child in node.properties.items():
        if child.has_rules:
            below = schema["properties"][name]
            written = escaped(name)
            kind = own.fields.get(written) if written is not None else type_of(below, is_resource=child.embedded)
            if kind is not None:  # else rules cannot see it
                properties[name] = _tree(below, child, kind, child.embedded)
    return RuleTree(
        node,
        str(schema.get("type") or ""),
        is_resource,
        tuple(_compile(each, schema, own) for each in node.rules if each.rule.strip()),
        properties,
        _below(schema, "additionalProperties", node.additional, own),
        _below(schema, "items", node.items, own),
    )


def _below(schema: JSONMapping, field: str, node: Node | None, own: Type) -> RuleTree | None:
    if node is None or not node.has_rules or own.kind not in ("list", "map"):
        return None
    return _tree(schema[field], node, own.params[-1], node.embedded)


def _compile(rule: Rule, schema: JSONMapping, own: Type) -> CompiledRule:
    program = compile_rule(rule.rule, own, optional_old_self=rule.optional_old_self)
    message: Program | None = None
    if rule.message_expression:
        message = compile_rule(rule.message_expression, own, optional_old_self=rule.optional_old_self)
        message = message if message.result.kind == STRING.kind else None
    try:
        path = resolve_field_path(rule.field_path, schema).text if rule.field_path else ""
    except FieldPathError:
        path = ""
    return CompiledRule(rule, program, message, path)


def check_rules(
    tree: RuleTree, value: object, path: str, old: object = MISSING, *, ratchets: bool = True
) -> list[FieldError]:
    """What the rules say about ``value``. It must fit the schema already.

    :param old: the value it replaces.
    :param ratchets: whether what a rule without oldSelf says of a value that did not change is only a warning.
    """
    judge = _Judge()
    judge.check(tree, value, path, _Old(old, old if ratchets else MISSING, lambda: False))
    return judge.found


@dataclass(frozen=True)
class _Old:
    """:param value: what stood there before, for oldSelf.
    :param correlated: the same, or MISSING where it cannot be told whether it is.
    :param unchanged_above: whether the nearest value above that can be told is as it was.
    """

    value: object
    correlated: object
    unchanged_above: Callable[[], bool]

    def is_unchanged(self, node: Node, value: object) -> bool:
        return unchanged(node, value, self.correlated) if self.correlated is not MISSING else self.unchanged_above()

    def below(self, node: Node, value: object, old_value: object, correlated_value: object) -> _Old:
        above = self.unchanged_above
        if self.correlated is not MISSING:
            above = lambda: unchanged(node, value, self.correlated)  # noqa: E731
        return _Old(old_value, correlated_value if self.correlated is not MISSING else MISSING, above)


class _Judge:
    """Evaluates the rules of one object, until they have cost too much."""

    def __init__(self) -> None:
        self.found: list[FieldError] = []
        self._budget = _BUDGET

    def check(self, tree: RuleTree, value: object, path: str, old: _Old, *, is_top: bool = True) -> None:
        if value is None or self._budget < 0:
            return
        self._check_here(tree, value, path, old)
        node = tree.node
        if isinstance(value, dict):
            for name, given in value.items():
                if self._budget < 0:
                    return
                before = old_property(old.value, name)
                if name in tree.properties:
                    below = f"{path}.{name}" if path else name
                    below_old = old.below(node, value, before, correlated_property(node, old.correlated, name))
                    if is_top and name in ("apiVersion", "kind"):
                        # The old ones are not seen: both states are converted to the same.
                        below_old = _Old(before, MISSING, lambda: False)
                    self.check(tree.properties[name], given, below, below_old, is_top=False)
                elif tree.additional is not None and name not in node.properties:
                    below_old = old.below(node, value, before, old_property(old.correlated, name))
                    self.check(tree.additional, given, f"{path}[{name}]", below_old, is_top=False)
        elif isinstance(value, list) and tree.items is not None:
            before_items = correlated(node, value, old.value)
            known_items = correlated(node, value, old.correlated)
            for index, item in enumerate(value):
                below_old = old.below(node, value, before_items[index], known_items[index])
                self.check(tree.items, item, f"{path}[{index}]", below_old, is_top=False)

    def _check_here(self, tree: RuleTree, value: object, path: str, old: _Old) -> None:
        if not tree.rules:
            return
        has_old = old.value is not MISSING and old.value is not None
        plain: dict[str, object] = {"self": to_cel(tree.node, value, is_resource=tree.is_resource)}
        given = {**plain, "oldSelf": ABSENT}
        if has_old:
            before = to_cel(tree.node, old.value, is_resource=tree.is_resource)
            plain["oldSelf"], given["oldSelf"] = before, Optional(before, present=True)
        for rule in tree.rules:
            optional = rule.rule.optional_old_self
            if rule.program.uses_old_self and not has_old and not optional:
                continue
            if not self._holds(tree, rule, given if optional else plain, path):
                # QUIRK kept: a message sees oldSelf itself, also where the rule has it as an optional value.
                self._refuse(tree, rule, plain, value, path, old)
            if self._budget < 0:
                return

    def _holds(self, tree: RuleTree, rule: CompiledRule, variables: Mapping[str, object], path: str) -> bool:
        """False if there is a refusal to be made; what keeps a rule from being judged is named here."""
        try:
            result, cost = rule.program.evaluate(variables)
        except CelError as error:
            if not self._spend(error.cost):
                self._stop(tree, path, _OUT_OF_BUDGET)
            elif isinstance(error, CostExceeded):
                text = f"'{error}': no further validation rules will be run due to call cost exceeds limit for rule"
                self._stop(tree, path, f"{text}: {rule.shown}")
            elif str(error).startswith(NO_OVERLOAD):
                self._fail(tree, path, f"'{error}': {_NO_SIGNATURE} for rule: {rule.shown}")
            else:
                self._fail(tree, path, f"{error} evaluating rule: {rule.shown}")
            return True
        if not self._spend(cost):
            self._stop(tree, path, _OUT_OF_BUDGET)
            return True
        return result is True

    def _refuse(
        self, tree: RuleTree, rule: CompiledRule, variables: Mapping[str, object], value: object, path: str, old: _Old
    ) -> None:
        detail = self._message(tree, rule, variables, path)
        if detail is None:
            return
        refusal = _refusal(rule, value, path, detail)
        if not rule.program.uses_old_self and old.is_unchanged(tree.node, value):
            refusal = FieldError(refusal.reason, refusal.field, refusal.message, warns=True)
        self.found.append(refusal)

    def _spend(self, cost: int) -> bool:
        self._budget -= cost
        return self._budget >= 0

    def _message(self, tree: RuleTree, rule: CompiledRule, variables: Mapping[str, object], path: str) -> str | None:
        """None if it cost too much to find out."""
        fixed = rule.rule.message.strip() or f"failed rule: {rule.rule.rule.strip()}"
        if rule.message is None:
            return fixed
        failed: CelError | None = None
        text: object = ""
        try:
            text, cost = rule.message.evaluate(variables)
        except CelError as error:
            failed, cost = error, error.cost
        if not self._spend(cost):
            self._stop(tree, path, _OUT_OF_BUDGET_FOR_MESSAGE)
            return None
        if isinstance(failed, CostExceeded):
            shown = gojson.quoted(rule.rule.message_expression)
            stopped = "no further validation rules will be run due to call cost exceeds limit for messageExpression"
            self._stop(tree, path, f"{stopped}: {shown}")
            return None
        text = text.strip() if isinstance(text, str) else ""
        return text if text and "\n" not in text and len(text.encode()) <= _MAX_MESSAGE else fixed

    def _fail(self, tree: RuleTree, path: str, detail: str) -> None:
        message = f"Invalid value: {gojson.quoted(tree.type_name)}: {detail}"
        self.found.append(FieldError("FieldValueInvalid", path or "<nil>", message))

    def _stop(self, tree: RuleTree, path: str, detail: str) -> None:
        self._budget = -1
        self._fail(tree, path, detail)


def _refusal(rule: CompiledRule, value: object, path: str, detail: str) -> FieldError:
    where = ".".join(each for each in (path, rule.field_path) if each) or "<nil>"
    shown = "" if isinstance(value, dict | list) else f": {gojson.value(value)}"
    reason = rule.rule.reason
    if reason == "FieldValueDuplicate":
        return FieldError(reason, where, f"Duplicate value{shown}")
    if reason in _REASONS:
        return FieldError(reason, where, f"{_REASONS[reason]}: {detail}")
    return FieldError("FieldValueInvalid", where, f"Invalid value{shown}: {detail}")
