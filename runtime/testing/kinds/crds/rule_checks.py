"""The CEL rules of a schema, judged when the CRD is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from runtime.testing.kinds import errors
from runtime.testing.kinds.crds.cel.program import Program, compile_rule
from runtime.testing.kinds.crds.cel.syntax import CelError
from runtime.testing.kinds.crds.cel.types import Type, escaped, type_of
from runtime.testing.kinds.model import FieldError
from runtime.types import JSONMapping

_RULE_LIMIT: Final = 10_000_000
_TOTAL_LIMIT: Final = 100_000_000
_MOST: Final = 2**64 - 1
_MAX_REQUEST: Final = 3 * 1024 * 1024
_NAMED: Final = 4  # of the most expensive rules, where all together are too expensive


@dataclass(frozen=True)
class RuleContext:
    """What there is to know of a node of the schema when its rules are judged.

    :param parent: None for the root.
    :param step: from the parent: the name of a property, ``items`` or ``additional``.
    :param count: how many values of the node an object can hold; None if there is no bound.
    """

    schema: JSONMapping
    parent: RuleContext | None = None
    step: str = ""
    count: int | None = 1

    @cached_property
    def type(self) -> Type | None:
        """None if rules cannot see values of this node."""
        above = self.parent.type if self.parent is not None else None
        if above is not None and self.step in ("items", "additional"):
            if above.kind == ("list" if self.step == "items" else "map"):
                return above.params[-1]
        elif above is not None and (escaped(self.step) or "") in above.fields:
            return above.fields[escaped(self.step) or ""]
        is_resource = self.parent is None or bool(self.schema.get("x-kubernetes-embedded-resource"))
        return type_of(self.schema, is_resource=is_resource)

    def property(self, name: str, schema: JSONMapping) -> RuleContext:
        return self._below(name, schema)

    def items(self, schema: JSONMapping) -> RuleContext:
        return self._below("items", schema)

    def additional(self, schema: JSONMapping) -> RuleContext:
        return self._below("additional", schema)

    def _below(self, step: str, schema: JSONMapping) -> RuleContext:
        each = _most_children(self.schema)
        count = None if self.count is None or each is None else min(self.count * each, _MOST)
        return RuleContext(schema, self, step, count)


def _most_children(schema: JSONMapping) -> int | None:
    if schema.get("type") == "array":
        most = schema.get("maxItems")
    elif schema.get("type") == "object" and schema.get("additionalProperties") is not None:
        most = schema.get("maxProperties")
    else:
        return 1
    return None if most is None else max(int(most), 0)


class RuleChecks:
    """Judges the rules of one schema.

    :param costs: whether a single rule that may cost too much is refused; not if it was there before.
    """

    def __init__(self, *, costs: bool = True) -> None:
        self._costs = costs
        self._spent: list[tuple[int, str]] = []

    def root(self, schema: JSONMapping) -> RuleContext:
        return RuleContext(schema)

    def problems(self, context: RuleContext, path: str, uncorrelated: str) -> list[FieldError]:
        """What is wrong with the rules of one node.

        :param path: of its rules.
        :param uncorrelated: the first node above whose values cannot be told apart between two states of an object.
        """
        found: list[FieldError] = []
        for index, rule in enumerate(context.schema.get("x-kubernetes-validations") or ()):
            found += self._rule_problems(context, rule, f"{path}[{index}]", uncorrelated)
        return found

    def total_problems(self, path: str) -> list[FieldError]:
        """Whether all rules together may cost too much, once all nodes were judged."""
        total = min(sum(cost for cost, _ in self._spent), _MOST)
        if total <= _TOTAL_LIMIT:
            return []
        worst = sorted((each for each in self._spent if each[0] >= _TOTAL_LIMIT // 100), key=lambda each: -each[0])
        detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        found = [errors.forbidden(where, detail) for _, where in worst[:_NAMED]]
        name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        return [*found, errors.forbidden(path, _too_expensive(name, total, _TOTAL_LIMIT))]

    def _rule_problems(
        self, context: RuleContext, rule: JSONMapping, where: str, uncorrelated: str
    ) -> list[FieldError]:
        own = context.type
        if own is None:
            detail = "internal error: failed to construct type information for x-kubernetes-validations rules"
            return [FieldError("InternalError", where.rpartition("[")[0], f"Internal error: {detail}")]
        program, problem = _compiled(rule, "rule", own, "bool", "cel expression must evaluate to a bool")
        found: list[FieldError] = []
        if program is not None:
            found += self._cost_problems(f"{where}.rule", "estimated rule cost", self._times(context, own, program))
        if problem:
            found.append(errors.invalid(f"{where}.rule", _shown(rule), problem))
        elif rule.get("messageExpression"):
            wanted = "messageExpression must evaluate to a string"
            message, problem = _compiled(rule, "messageExpression", own, "string", wanted)
            if problem:
                found.append(errors.invalid(f"{where}.messageExpression", _shown(rule), problem))
            elif message is not None:
                place = f"{where}.messageExpression"
                found += self._cost_problems(place, "estimated messageExpression cost", message.most())
        if program is not None and program.uses_old_self:
            if uncorrelated:
                detail = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {uncorrelated}"
                found.append(errors.invalid(f"{where}.rule", str(rule["rule"]), detail))
        elif rule.get("optionalOldSelf") is not None:
            detail = "may not be set if oldSelf is not used in rule"
            found.append(errors.invalid(f"{where}.optionalOldSelf", rule["optionalOldSelf"], detail))
        return found

    @staticmethod
    def _times(context: RuleContext, own: Type, program: Program) -> int:
        count = _MAX_REQUEST // (own.min_size + 1) if context.count is None else context.count
        return min(program.most() * count, _MOST)

    def _cost_problems(self, where: str, name: str, cost: int) -> list[FieldError]:
        self._spent.append((cost, where))
        if not self._costs or cost <= _RULE_LIMIT:
            return []
        return [errors.forbidden(where, _too_expensive(name, cost, _RULE_LIMIT))]


def _compiled(rule: JSONMapping, field: str, own: Type, result: str, otherwise: str) -> tuple[Program | None, str]:
    """The program, or why there is none."""
    prefix = "" if field == "rule" else "messageExpression "
    try:
        program = compile_rule(str(rule[field]), own, optional_old_self=bool(rule.get("optionalOldSelf")))
    except CelError as error:
        return None, f"{prefix}compilation failed: {error}"
    if program.result.kind != result:
        return None, otherwise
    return program, ""


def _shown(rule: JSONMapping) -> Mapping[str, object]:
    """A rule as Go prints it."""
    return {
        "Rule": rule.get("rule") or "",
        "Message": rule.get("message") or "",
        "MessageExpression": rule.get("messageExpression") or "",
        "Reason": rule.get("reason"),
        "FieldPath": rule.get("fieldPath") or "",
        "OptionalOldSelf": rule.get("optionalOldSelf"),
    }


def _too_expensive(name: str, cost: int, limit: int) -> str:
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return (
        f"{name} exceeds budget by factor of {shown} (try simplifying the rule, or adding maxItems, maxProperties, "
        "and maxLength where arrays, maps, and strings are declared)"
    )
