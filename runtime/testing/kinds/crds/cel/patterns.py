"""Literals that are judged when an expression is compiled: regular expressions, durations and times."""

from __future__ import annotations

from runtime.testing.kinds.crds.cel import syntax
from runtime.testing.kinds.crds.cel.values import duration, timestamp
from runtime.testing.kinds.crds.patterns import PatternError, go_pattern


def literal_problem(node: syntax.Call) -> str:
    """What is wrong with the literal that a call is given, empty if nothing is."""
    if not node.arguments:
        return ""
    literal = node.arguments[-1 if node.target is None else 0]
    if not isinstance(literal, syntax.Literal) or not isinstance(literal.value, str):
        return ""
    if node.function in ("matches", "find", "findAll"):
        try:
            go_pattern(literal.value)
        except PatternError as error:
            return f"invalid {node.function} argument: {error}"
    check = {"duration": duration, "timestamp": timestamp}.get(node.function)
    if check is not None and node.target is None:
        try:
            check(literal.value)
        except syntax.CelError as error:
            return f"invalid {node.function} argument: {error}"
    return ""
