"""Which series PromQL expressions speak of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from runtime.types import JSONObject
from tests.deploy.deployed import DEPLOY, documents

_TOKENS = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*")"""
    r"|(?P<duration>\[[^\]]*\])"
    r"|(?P<name>[a-zA-Z_:][\w:]*)"
    r"|(?P<number>[0-9.]+)"
    r"|(?P<operator>=~|!~|!=|==|<=|>=|[-+*/%^<>=(){},])"
    r"|(?P<space>\s+)"
)
_LISTS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}
# Of the target that is scraped, not of the series that it serves.
TARGET = {"job", "instance"}


@dataclass(frozen=True, slots=True)
class Uses:
    """:ivar selected: metric -> labels that it is selected by.
    :ivar grouped: labels by which results are put together.
    """

    selected: Mapping[str, frozenset[str]]
    grouped: frozenset[str]


def uses(expression: str) -> Uses:
    """:raises ValueError: it holds something that is no token of PromQL."""
    tokens = list(_tokens(expression))
    selected: dict[str, frozenset[str]] = {}
    grouped: set[str] = set()
    at = 0
    while at < len(tokens):
        kind, text = tokens[at]
        following = tokens[at + 1][1] if at + 1 < len(tokens) else ""
        if kind != "name" or text in _WORDS:
            at += 1
        elif text in _LISTS:
            names, at = _inside(tokens, at + 1, ")") if following == "(" else ([], at + 1)
            grouped.update(names)
        elif following in ("(", "by", "without"):  # a function
            at += 1
        elif following == "{":
            names, at = _inside(tokens, at + 1, "}")
            selected[text] = selected.get(text, frozenset()) | frozenset(names)
        else:
            selected[text] = selected.get(text, frozenset())
            at += 1
    return Uses(selected, frozenset(grouped))


def _tokens(expression: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(expression):
        found = _TOKENS.match(expression, at)
        if found is None or found.lastgroup is None:
            raise ValueError(f"no PromQL: {expression[at : at + 20]!r} in {expression!r}")
        if found.lastgroup != "space":
            yield found.lastgroup, found[0]
        at = found.end()


def _inside(tokens: Sequence[tuple[str, str]], at: int, end: str) -> tuple[list[str], int]:
    """The names from one bracket to the other, and where it goes on."""
    names = []
    while tokens[at][1] != end:
        names += [tokens[at][1]] if tokens[at][0] == "name" else []
        at += 1
    return names, at + 1


def alerts() -> dict[str, JSONObject]:
    """The alerting rules, by name."""
    (document,) = documents(DEPLOY / "monitoring" / "alerts.yaml")
    return {rule["alert"]: rule for group in document["spec"]["groups"] for rule in group["rules"]}


def panels() -> dict[str, list[str]]:
    """The expressions of the dashboard by the panels' titles, with its variables set to everything."""
    dashboard = json.loads((DEPLOY / "monitoring" / "dashboard.json").read_text())
    return {
        panel["title"]: [_set(target["expr"]) for target in panel["targets"]]
        for panel in dashboard["panels"]
        if panel["type"] != "row"
    }


def variables() -> list[str]:
    """What the dashboard's variables are filled from, as selectors."""
    dashboard = json.loads((DEPLOY / "monitoring" / "dashboard.json").read_text())
    queries = [each["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"]
    found = [re.fullmatch(r"label_values\((.*), (\w+)\)", query) for query in queries]
    return [f"count by ({match[2]}) ({_set(match[1])})" for match in found if match]


def _set(expression: str) -> str:
    for name, value in (("$namespace", ".*"), ("$cluster", ".*"), ("$__rate_interval", "1m"), ("$__range", "1h")):
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return expression
