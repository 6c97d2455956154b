"""CEL rules of CRDs (``x-kubernetes-validations``), compiled once and evaluated where the schema has them.

``celpy`` is imported when the first schema with a rule is compiled; a server without such CRDs never loads it.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from runtime.testing.kinds.crds.correlation import MISSING, correlated, old_property, same
from runtime.testing.kinds.crds.schema import Node, Rule
from runtime.testing.kinds.model import FieldError

_REASONS = {
    "FieldValueInvalid": "Invalid value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueRequired": "Required value",
    "FieldValueDuplicate": "Duplicate value",
}
# One environment for all rules: making one costs a parser. The parser itself is not safe for threads.
_COMPILER_LOCK = threading.Lock()
_environment: Any = None


class CelError(ValueError):
    """A rule that does not compile. The text says why."""


class _Runner(Protocol):
    def evaluate(self, context: Mapping[str, object]) -> object: ...


@dataclass(frozen=True, eq=False)
class Program:
    """A compiled expression and the names it uses."""

    source: str
    runner: _Runner
    tree: Any  # lark's syntax tree
    names: frozenset[str]

    def evaluate(self, variables: Mapping[str, object]) -> object:
        """:raises CelError: if the evaluation fails, as for a missing key."""
        from celpy.evaluation import CELEvalError  # loaded already: the program was compiled

        try:
            return self.runner.evaluate(variables)
        except CELEvalError as error:
            raise CelError(str(error.args[0] if error.args else error)) from error


@dataclass(frozen=True, eq=False)
class CompiledRule:
    """A rule with its message expression."""

    rule: Rule
    program: Program
    message: Program | None

    @property
    def is_transition(self) -> bool:
        """Whether the rule is only about changes: it uses oldSelf."""
        return "oldSelf" in self.program.names


@dataclass(frozen=True, eq=False)
class RuleTree:
    """The compiled rules of a schema, in the schema's shape; only branches that hold rules."""

    node: Node
    rules: tuple[CompiledRule, ...]
    properties: Mapping[str, RuleTree]
    additional: RuleTree | None
    items: RuleTree | None


@functools.lru_cache(maxsize=1024)
def compile_expression(source: str) -> Program:
    """:raises CelError: if ``source`` is not CEL, or the CEL library is not installed."""
    global _environment
    try:  # a tenth of a second that only CRDs with rules shall pay
        import celpy
        from celpy.celparser import CELParseError
    except ImportError as error:
        raise CelError("CEL rules need the package cel-python: pip install 'xline-operator[local]'") from error

    from runtime.testing.kinds.crds.cel_functions import FUNCTIONS, rewrite_optional_access

    with _COMPILER_LOCK:
        if _environment is None:
            _environment = celpy.Environment()
        try:
            tree = _environment.compile(rewrite_optional_access(source))
        except CELParseError as error:
            raise CelError(f"compilation failed: ERROR: <input>: Syntax error: {error}") from error
        runner = _environment.program(tree, functions=FUNCTIONS)
    names = frozenset(str(each.children[0]) for each in tree.find_data("ident"))
    return Program(source, runner, tree, names)


def compile_rules(node: Node) -> RuleTree | None:
    """The rules of ``node`` and below, None if there are none.

    :raises CelError: for the first rule that does not compile.
    """
    if not node.has_rules:
        return None
    children = {name: compile_rules(child) for name, child in node.properties.items()}
    return RuleTree(
        node=node,
        rules=tuple(_compile_rule(each) for each in node.rules),
        properties={name: tree for name, tree in children.items() if tree is not None},
        additional=compile_rules(node.additional) if node.additional is not None else None,
        items=compile_rules(node.items) if node.items is not None else None,
    )


def _compile_rule(rule: Rule) -> CompiledRule:
    message = compile_expression(rule.message_expression) if rule.message_expression else None
    return CompiledRule(rule, compile_expression(rule.rule), message)


def check_rules(tree: RuleTree, value: object, path: str, old: object = MISSING) -> list[FieldError]:
    """What the rules say about ``value``. It must fit the schema already.

    :param old: the value it replaces; a value that did not change is not judged again.
    """
    found: list[FieldError] = []
    _check(tree, value, path, old, found)
    return found


def _check(tree: RuleTree, value: object, path: str, old: object, found: list[FieldError]) -> None:
    if value is None or (old is not MISSING and same(value, old)):
        return
    _check_here(tree, value, path, old, found)
    if isinstance(value, dict):
        for name, given in value.items():
            child = tree.properties.get(name)
            if child is None and name not in tree.node.properties:
                child = tree.additional
            if child is not None:
                below = f"{path}.{name}" if path else name
                _check(child, given, below, old_property(old, name), found)
    elif isinstance(value, list) and tree.items is not None:
        for index, (item, before) in enumerate(zip(value, correlated(tree.node, value, old), strict=True)):
            _check(tree.items, item, f"{path}[{index}]", before, found)


def _check_here(tree: RuleTree, value: object, path: str, old: object, found: list[FieldError]) -> None:
    if not tree.rules:
        return
    from runtime.testing.kinds.crds.cel_values import ABSENT, NAMESPACES, Optional, to_cel

    has_old = old is not MISSING and old is not None
    variables: dict[str, object] = {**NAMESPACES, "self": to_cel(tree.node, value)}
    for rule in tree.rules:
        if rule.is_transition:
            if rule.rule.optional_old_self:
                variables["oldSelf"] = Optional(to_cel(tree.node, old)) if has_old else ABSENT
            elif has_old:
                variables["oldSelf"] = to_cel(tree.node, old)
            else:
                continue
        error = _evaluate(rule, variables, path)
        if error is not None:
            found.append(error)


def _evaluate(rule: CompiledRule, variables: Mapping[str, object], path: str) -> FieldError | None:
    try:
        if rule.program.evaluate(variables):
            return None
        message = _message(rule, variables)
    except CelError as error:
        message = f"rule evaluation error: {error}, evaluating rule: {rule.rule.rule}"
    where = path + rule.rule.field_path
    prefix = _REASONS.get(rule.rule.reason, "Invalid value")
    return FieldError(rule.rule.reason, where.lstrip(".") or "<nil>", f"{prefix}: {message}")


def _message(rule: CompiledRule, variables: Mapping[str, object]) -> str:
    if rule.message is not None:
        try:
            text = str(rule.message.evaluate(variables))
        except CelError:
            text = ""  # the real server falls back to the fixed message too
        if text.strip() and "\n" not in text:
            return text
    return rule.rule.message or f"failed rule: {rule.rule.rule.strip()}"
