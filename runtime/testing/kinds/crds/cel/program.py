"""Expressions, compiled: parsed, written out, checked, and their cost estimated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runtime.testing.kinds.crds.cel.checker import Checked, check
from runtime.testing.kinds.crds.cel.costs import estimate
from runtime.testing.kinds.crds.cel.evaluator import Evaluation
from runtime.testing.kinds.crds.cel.macros import expand
from runtime.testing.kinds.crds.cel.syntax import TOO_DEEP, CelError, parse
from runtime.testing.kinds.crds.cel.types import Type, optional_of
from runtime.testing.kinds.crds.cel.values import Value


@dataclass(frozen=True, eq=False)
class Program:
    """A compiled expression."""

    source: str
    checked: Checked
    self_type: Type

    @property
    def uses_old_self(self) -> bool:
        return "oldSelf" in self.checked.variables

    @property
    def result(self) -> Type:
        return self.checked.result

    def most(self) -> int:
        """What one evaluation may cost at most, by the sizes that the schema allows."""
        return estimate(self.checked, self.self_type)

    def evaluate(self, variables: Mapping[str, Value]) -> tuple[Value, int]:
        """The value, and what it cost.

        :raises CelError: if the evaluation fails.
        """
        evaluation = Evaluation(self.checked)
        try:
            return evaluation.run(variables), evaluation.cost
        except CelError as error:
            error.cost = evaluation.cost
            raise


def compile_rule(source: str, self_type: Type, *, optional_old_self: bool) -> Program:
    """:param self_type: the type of ``self`` and ``oldSelf``.
    :param optional_old_self: ``oldSelf`` is an optional value.
    :raises CelError: with the texts of the real server.
    """
    variables = {"self": self_type, "oldSelf": optional_of(self_type) if optional_old_self else self_type}
    try:
        return Program(source, check(expand(parse(source), source), source, variables), self_type)
    except RecursionError:
        raise CelError(TOO_DEEP) from None
