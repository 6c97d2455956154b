"""Regular expressions of Go, by RE2 and, where that is not installed, by Python's engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runtime.testing.kinds.crds import patterns
from runtime.testing.kinds.crds.patterns import PatternError, go_pattern


@pytest.fixture(params=["RE2", "Python"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "Python":
        monkeypatch.setattr(patterns, "_re2", lambda: None)
    go_pattern.cache_clear()
    yield request.param
    go_pattern.cache_clear()


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(a", "missing closing ): `(a`"),
        ("a)", "unexpected ): `a)`"),
        ("[a", "missing closing ]: `[a`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("a++", "invalid nested repetition operator: `++`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        (r"(a)\1", r"invalid escape sequence: `\1`"),
    ],
)
def test_what_go_does_not_take_is_refused_in_its_words(pattern: str, why: str) -> None:
    with pytest.raises(PatternError) as caught:
        go_pattern(pattern)

    assert str(caught.value) == f"error parsing regexp: {why}"


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("pattern", ["(?u)a", "(?L)a", "a{99999999999999999999}b{2,1}", r"\Z", "(?x: a)(?<=a)"])
def test_what_only_python_takes_or_stumbles_over_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        go_pattern(pattern)


@pytest.mark.usefixtures("engine")
def test_the_end_is_the_end_and_classes_are_ascii() -> None:
    assert go_pattern(r"^\d$").search("1")
    assert go_pattern(r"^\d$").search("1\n") is None
    assert go_pattern(r"^\d$").search("\u0661") is None
    assert go_pattern("(?m)^a$").search("b\na\n")


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("\\", "trailing backslash at end of expression: ``"),
        ("(?P<a b>x)", "invalid named capture: `(?P<a b>`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        (r"\C", r"invalid escape sequence: `\C`"),
    ],
)
def test_what_re2_says_is_said_as_go_says_it(pattern: str, why: str) -> None:
    with pytest.raises(PatternError) as caught:
        go_pattern(pattern)

    assert str(caught.value) == f"error parsing regexp: {why}"
