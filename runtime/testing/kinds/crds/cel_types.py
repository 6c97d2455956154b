"""A small type check of CEL rules against the schema: what the real server refuses when the CRD is written."""

from __future__ import annotations

from runtime.types import JSONMapping


def rule_problem(schema: JSONMapping, source: str, optional_old_self: bool, result: str) -> str:
    """Why the real server would refuse the expression, empty if it would not."""
    return ""
