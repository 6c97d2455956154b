"""Selectors that cannot be read, in the words of the real server."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runtime.selectors import LabelSelector, SelectorError
from runtime.testing.apiserver.selectorerrors import field_selector_error, label_selector_error

REQUIREMENT = "unable to parse requirement: "
NAME = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("app=x=y", "found '=', expected: ',' or 'end of string'"),
        ("app in x", f"{REQUIREMENT}found 'x' expected: '('"),
        ("=x", "found '=', expected: !, identifier, or 'end of string'"),
        ("app in (", f"{REQUIREMENT}found '', expected: ',', ')' or identifier"),
        ("a b", f"{REQUIREMENT}found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a,", "found '', expected: identifier after ','"),
        ("a in (b c)", f"{REQUIREMENT}found 'c', expected: ',' or ')'"),
        ("a in (b,=)", f"{REQUIREMENT}found '=', expected: ',', or identifier"),
        ("a=(", f"{REQUIREMENT}found '(', expected: identifier"),
        ("!", f"{REQUIREMENT}found '', expected: identifier"),
        ("!a=b", "found '=', expected: ',' or 'end of string'"),
        ("-a=b", f'{REQUIREMENT}<nil>: Invalid value: "-a": {NAME}'),
        (
            f"app={'v' * 64}",
            f'{REQUIREMENT}values[0][app]: Invalid value: "{"v" * 64}": must be no more than 63 bytes',
        ),
        (
            "a>b",
            f"{REQUIREMENT}values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ],
)
def test_why_a_label_selector_cannot_be_read(text: str, why: str) -> None:
    assert label_selector_error(text) == why


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        ("b=1,a", "invalid selector: 'b=1,a'; can't understand 'a'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        ("a=b\\c", "invalid field selector: invalid escape sequence: \\c"),
        ("a=b\\", "invalid field selector: invalid escape sequence: \\"),
    ],
)
def test_why_a_field_selector_cannot_be_read(text: str, why: str) -> None:
    assert field_selector_error(text) == why


PARTS = ["a", "b1", "in", "notin", " ", "=", "==", "!=", "!", "(", ")", ",", ">", "<", "5", "x/y", "-", "A.b", "/", "é"]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=9).map("".join))
@example("a in (,)")
@example("a in (b,,c),!d")
def test_a_selector_can_be_read_if_nothing_is_said_against_it(text: str) -> None:
    why = label_selector_error(text)
    if why:
        with pytest.raises(SelectorError):
            LabelSelector.parse(text)
    else:
        LabelSelector.parse(text)
