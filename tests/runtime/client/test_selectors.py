"""Selectors: the server's grammar, its meaning, and errors that name the bad part."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.selectors import FieldSelector, LabelSelector, Requirement, SelectorError

WEB = {"app": "web", "tier": "a", "n": "5", "example.com/x": "y", "empty": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("  ", True),
        ("app=web", True),
        ("app==web", True),
        ("app=db", False),
        ("missing=web", False),
        ("app!=db", True),
        ("app!=web", False),
        ("missing!=web", True),
        ("tier in (a,b)", True),
        ("tier in ( b , c )", False),
        ("missing in (a)", False),
        ("tier notin (a)", False),
        ("tier notin (b)", True),
        ("missing notin (b)", True),
        ("app", True),
        ("missing", False),
        ("!app", False),
        ("!missing", True),
        ("! missing", True),
        ("example.com/x=y", True),
        ("app = web , tier in (a,b),!x , n!=6", True),
        ("app=web,tier=b", False),
        ("empty=", True),
        ("app=", False),
        ("missing=", False),
        ("empty in (,a)", True),
        ("n>4", True),
        ("n > 5", False),
        ("n<6", True),
        ("app>4", False),
        ("in in (in)", False),
        ("notin", False),
        ("app=web,", None),
        (",", None),
        ("a b", None),
    ],
)
def test_labels(text: str, matches: Any) -> None:
    if matches is None:
        with pytest.raises(SelectorError):
            LabelSelector.parse(text)
    else:
        assert LabelSelector.parse(text).matches(WEB) is matches


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("app=web,tier in a", "tier"),
        ("tier in (a", "the end"),
        ("tier in (a b)", "'b'"),
        ("a=b=c", "'='"),
        ("=x", "'='"),
        ("a=-b", "'-b'"),
        ("-a", "'-a'"),
        ("A_/x=1", "'A_'"),
        ("a=" + "x" * 64, "xxx"),
        ("n>x", "'x'"),
        ("!", "the end"),
        ("a,,b", "','"),
        ("a ~ b", "'~'"),
        ("a!b", "'!'"),
    ],
)
def test_errors_quote_the_selector_and_the_part(text: str, part: Any) -> None:
    with pytest.raises(SelectorError) as e:
        LabelSelector.parse(text)
    assert part in str(e.value)
    assert repr(text) in str(e.value)


def test_odd_values_of_the_server_do_not_break_matching() -> None:
    assert LabelSelector.parse("a=1").matches({"a": 1})
    assert LabelSelector.parse("a").matches({"a": None})
    assert not LabelSelector.parse("!a").matches({"a": None})


def test_empty_and_from_labels() -> None:
    assert LabelSelector.parse(None).empty
    assert LabelSelector.EVERYTHING.empty
    assert not LabelSelector.parse("a").empty
    one = LabelSelector.from_labels({"app": "web", "tier": "a"})
    assert str(one) == "app=web,tier=a"
    assert one.matches(WEB)
    assert LabelSelector.parse(one) is one
    with pytest.raises(SelectorError):
        LabelSelector.from_labels({"app": "not a value"})


def test_the_selector_of_a_spec() -> None:
    spec = {
        "matchLabels": {"app": "web"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["b", "a"]},
            {"key": "x", "operator": "DoesNotExist"},
            {"key": "n", "operator": "Exists"},
            {"key": "n", "operator": "NotIn", "values": ["7"]},
        ],
    }
    selector = LabelSelector.from_dict(spec)
    assert selector.matches(WEB)
    assert str(selector) == "app=web,tier in (a,b),!x,n,n notin (7)"
    assert LabelSelector.from_dict({}).empty
    for bad, names in (
        ({"matchExpressions": [{"key": "a", "operator": "Like"}]}, r"matchExpressions\[0\].operator"),
        ({"matchExpressions": [{"key": "a", "operator": "In"}]}, r"matchExpressions\[0\].values"),
        ({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]}, r"matchExpressions\[0\].values"),
        ({"matchLabels": {"a": 5}}, "5"),
        (None, "selects nothing"),
    ):
        with pytest.raises(SelectorError, match=names):
            LabelSelector.from_dict(bad)


names = st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,5}[A-Za-z0-9])?", fullmatch=True)
keys = names | st.builds("{}/{}".format, st.from_regex(r"[a-z0-9]{1,4}(\.[a-z]{1,3})?", fullmatch=True), names)
values = names | st.just("")
requirements = st.one_of(
    st.builds(Requirement, keys, st.sampled_from(["exists", "!"])),
    st.builds(lambda k, op, v: Requirement(k, op, (v,)), keys, st.sampled_from(["=", "!="]), values),
    st.builds(lambda k, op, v: Requirement(k, op, (str(v),)), keys, st.sampled_from([">", "<"]), st.integers(0, 99)),
    st.builds(
        lambda k, op, v: Requirement(k, op, tuple(sorted(v))),
        keys, st.sampled_from(["in", "notin"]), st.sets(values, min_size=1, max_size=3),
    ),
)  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(requirements, max_size=5), st.dictionaries(keys, values, max_size=4))
def test_a_label_selector_reads_back_as_it_was_written(wanted: Any, labels: Any) -> None:
    selector = LabelSelector(tuple(wanted))
    again = LabelSelector.parse(str(selector))
    assert again == selector
    assert again.matches(labels) == selector.matches(labels) == all(r.matches(labels) for r in wanted)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=20) | st.text("ab=!,() in", max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    for kind in (LabelSelector, FieldSelector):
        try:
            selector = kind.parse(text)
        except SelectorError:
            continue
        assert kind.parse(str(selector)) == selector


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("metadata.name=web", True),
        ("metadata.name==web", True),
        ("metadata.name!=web", False),
        ("spec.nodeName=", True),
        ("spec.nodeName!=n", True),
        ("metadata.name=web,status.phase!=Failed", True),
        ("metadata.name=web, status.phase=Failed", False),
        ("status.message=a\\,b\\=c\\\\", True),
    ],
)
def test_fields(text: str, matches: Any) -> None:
    fields = {"metadata.name": "web", "status.phase": "Running", "status.message": "a,b=c\\"}
    selector = FieldSelector.parse(text)
    assert selector.matches(fields) is matches
    assert selector.empty is (text == "")


@pytest.mark.parametrize("text", ["metadata.name", "=x", "a=b=c", "a=b\\x", "a b=c", "a=b\\"])
def test_bad_field_selectors(text: str) -> None:
    with pytest.raises(SelectorError, match="field selector"):
        FieldSelector.parse(text)


terms = st.tuples(
    st.from_regex(r"[a-z]{1,4}(\.[a-zA-Z]{1,4})?", fullmatch=True),
    st.sampled_from(["=", "!="]),
    st.text("ab=,\\ .", max_size=6).map(str.strip),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(terms, max_size=4))
def test_a_field_selector_reads_back_as_it_was_written(wanted: Any) -> None:
    selector = FieldSelector(tuple(wanted))
    assert FieldSelector.parse(str(selector)) == selector
    assert selector.fields == tuple(t[0] for t in wanted)
