"""The CEL rules of a schema, judged when the CRD is written."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.testing.kinds import errors
from runtime.testing.kinds.crds.cel import CelError, compile_expression
from runtime.testing.kinds.crds.cel_types import rule_problem
from runtime.testing.kinds.model import FieldError
from runtime.types import JSONMapping


@dataclass(frozen=True)
class RuleContext:
    """What there is to know of a node of the schema when its rules are judged."""

    schema: JSONMapping
    is_root: bool = False

    def property(self, name: str, schema: JSONMapping) -> RuleContext:
        del name
        return RuleContext(schema, bool(schema.get("x-kubernetes-embedded-resource")))

    def items(self, schema: JSONMapping) -> RuleContext:
        return self.property("", schema)

    def additional(self, schema: JSONMapping) -> RuleContext:
        return self.property("", schema)


class RuleChecks:
    """Judges the rules of one schema.

    :param costs: whether rules that may cost too much are refused.
    """

    def __init__(self, *, costs: bool = True) -> None:
        self._costs = costs

    def root(self, schema: JSONMapping) -> RuleContext:
        return RuleContext(schema, is_root=True)

    def problems(self, context: RuleContext, path: str, uncorrelated: str) -> list[FieldError]:
        """What is wrong with the rules of one node.

        :param path: of its rules.
        :param uncorrelated: the first node above whose values cannot be told apart between two states of an object.
        """
        found: list[FieldError] = []
        for index, rule in enumerate(context.schema.get("x-kubernetes-validations") or ()):
            found += self._rule_problems(context, rule, f"{path}[{index}]", uncorrelated)
        return found

    def _rule_problems(
        self, context: RuleContext, rule: JSONMapping, where: str, uncorrelated: str
    ) -> list[FieldError]:
        text, optional = str(rule.get("rule") or ""), bool(rule.get("optionalOldSelf"))
        problem, uses_old_self = _problem(context, text, optional, "bool")
        if problem:
            return [errors.invalid(f"{where}.rule", text, problem)]
        found: list[FieldError] = []
        expression = str(rule.get("messageExpression") or "")
        if expression:
            problem, _ = _problem(context, expression, optional, "string")
            if problem:
                found.append(errors.invalid(f"{where}.messageExpression", expression, f"messageExpression {problem}"))
        if uses_old_self and uncorrelated:
            detail = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {uncorrelated}"
            found.append(errors.invalid(f"{where}.rule", text, detail))
        elif not uses_old_self and rule.get("optionalOldSelf") is not None:
            detail = "may not be set if oldSelf is not used in rule"
            found.append(errors.invalid(f"{where}.optionalOldSelf", rule["optionalOldSelf"], detail))
        return found

    def total_problems(self, path: str) -> list[FieldError]:
        """What is wrong with the rules of the schema together, once all nodes were judged."""
        del path
        return []


def _problem(context: RuleContext, text: str, optional_old_self: bool, result: str) -> tuple[str, bool]:
    """Why the expression is refused, empty if it is not; and whether it uses oldSelf."""
    try:
        program = compile_expression(text)
    except CelError as error:
        return str(error), False
    problem = rule_problem(
        context.schema, program.tree, optional_old_self=optional_old_self, result=result, is_root=context.is_root
    )
    return problem, "oldSelf" in program.names
