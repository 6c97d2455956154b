"""YAML as Go reads and writes it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runtime.testing.apiserver.kubeyaml import dump_yaml, parse_documents, parse_yaml
from tests.runtime.testing.apiserver.apiserver_helpers import APPLY, CONFIGMAPS, Http

WORDS = (
    *("y", "N", "yes", "off", "null", "~", "=", "<<", "2026-01-01", "22:22", "1:30.5"),
    *("1e3", "017", "0o17", "08", "1_000", ".inf", "a b"),
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("y", True),
        ("N", False),
        ("off", False),
        ("1e3", 1000.0),
        ("017", 15),
        ("0o17", 15),
        ("08", 8.0),
        ("0x1F", 31),
        ("1_000", 1000),
        ("22:22", "22:22"),
        ("1:30.5", "1:30.5"),
        ("2026-01-01", "2026-01-01"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("=", "="),
        ("~", None),
        ("", None),
        ("'y'", "y"),
        (".5", 0.5),
        ("1.", 1.0),
        ("-1", -1),
        ("1.2.3", "1.2.3"),
        ("v1", "v1"),
    ],
)
def test_words_and_numbers(text: str, value: Any) -> None:
    read = parse_yaml(f"a: {text}\n")
    assert read == {"a": value}
    assert isinstance(read, dict)
    assert type(read["a"]) is type(value)


def test_keys_are_strings_and_a_merge_is_made() -> None:
    assert parse_yaml("y: 1\n2: 3\n") == {"true": 1, "2": 3}
    assert parse_yaml("a: &a {x: 1}\nb:\n  <<: *a\n  z: 2\n") == {"a": {"x": 1}, "b": {"x": 1, "z": 2}}
    assert parse_documents("a: 22:22\n---\n---\nb: [on, y]\n") == [{"a": "22:22"}, {"b": [True, "y"]}]


def test_what_is_written_is_read_as_it_was_by_whoever_reads_it() -> None:
    value = {
        "words": list(WORDS),
        **{word: word for word in WORDS},
        "long": "word" + " word" * 200,
        "lines": "a\n b\n\nc",
    }

    written = dump_yaml(value)

    assert parse_yaml(written) == value
    assert yaml.safe_load(written) == value
    assert b"long: word word" in written
    assert max(map(len, written.splitlines())) > 1000  # nothing is folded


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.sampled_from(WORDS) | st.text(alphabet="ynoe0123.:-_+ \n#'\"é"),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.just("a b"), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_any_value_survives(value: Any) -> None:
    written = dump_yaml({"value": value})
    assert parse_yaml(written) == {"value": value}
    assert parse_documents(written) == [{"value": value}]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"a: b: c", "yaml: mapping values are not allowed in this context"),
        (b"x: 1\na: b: c\n", "yaml: line 2: mapping values are not allowed in this context"),
        (b"x: 1\na:\n\t- b", "yaml: line 3: found character that cannot start any token"),
        (b"x: 1\n- a\n", "yaml: line 1: did not find expected key"),
        (b"a: 'x\n", "yaml: line 2: found unexpected end of stream"),
        (b"a: \x01", "yaml: control characters are not allowed"),
        (b"\xff", "yaml: invalid leading UTF-8 octet"),
    ],
)
def test_what_is_no_yaml_is_told_in_the_words_of_go(api: Http, text: bytes, why: str) -> None:
    """Its parser is libyaml, too, but it counts lines in its own way."""
    created = api("POST", CONFIGMAPS, text, content_type="application/yaml")
    applied = api("PATCH", f"{CONFIGMAPS}/a?fieldManager=me", text, content_type=APPLY)

    what = "the object provided is unrecognized (must be of type ConfigMap)"
    assert (created.status, created.body["message"]) == (400, f"{what}: {why} ({text.hex()})")
    assert applied.body["message"] == f"error decoding YAML: error converting YAML to JSON: {why}"


def test_of_several_documents_the_first_counts(api: Http) -> None:
    for name, text in (("a", "metadata: {name: a}\n---\nmetadata: {name: b}\n"), ("c", "metadata: {name: c}\n---\n[")):
        made = api("POST", f"{CONFIGMAPS}?fieldValidation=Strict", text.encode(), content_type="application/yaml")
        assert (made.status, made.body["metadata"]["name"]) == (201, name)
