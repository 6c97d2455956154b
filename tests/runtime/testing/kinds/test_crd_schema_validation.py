"""Objects of a CRD against its schema: each rule refuses what it should, with the real server's words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.runtime.testing.kinds.kinds_helpers import JSONMaker, Sandbox, Submit

CASES = [
    pytest.param(
        {"type": "string"},
        "x",
        1,
        'v: Invalid value: "integer": spec.v in body must be of type string: "integer"',
        id="type",
    ),
    pytest.param({"type": "integer"}, 1, 1.5, 'spec.v in body must be of type integer: "number"', id="integer"),
    pytest.param(
        {"type": "integer"}, 2.0, True, 'spec.v in body must be of type integer: "boolean"', id="bool-is-no-int"
    ),
    pytest.param({"type": "number"}, 1, "1", 'spec.v in body must be of type number: "string"', id="number"),
    pytest.param(
        {"type": "string", "enum": ["a", "b"]},
        "a",
        "c",
        'Unsupported value: "c": supported values: "a", "b"',
        id="enum",
    ),
    pytest.param(
        {"type": "integer", "enum": [1]},
        1,
        True,
        'Unsupported value: true: supported values: "1"',
        id="enum-true-is-not-1",
    ),
    pytest.param(
        {"type": "integer", "minimum": 1},
        1,
        0,
        "Invalid value: 0: spec.v in body should be greater than or equal to 1",
        id="minimum",
    ),
    pytest.param(
        {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
        1,
        0,
        "should be greater than 0",
        id="exclusive-minimum",
    ),
    pytest.param({"type": "integer", "maximum": 9}, 9, 10, "should be less than or equal to 9", id="maximum"),
    pytest.param(
        {"type": "number", "maximum": 1.5, "exclusiveMaximum": True},
        1.4,
        1.5,
        "should be less than 1.5",
        id="exclusive-maximum",
    ),
    pytest.param(
        {"type": "number", "multipleOf": 0.1},
        0.3,
        0.25,
        "Invalid value: 0.25: spec.v in body should be a multiple of 0.1",
        id="multiple-of",
    ),
    pytest.param(
        {"type": "string", "minLength": 2},
        "ab",
        "a",
        'Invalid value: "a": spec.v in body should be at least 2 chars long',
        id="min-length",
    ),
    pytest.param(
        {"type": "string", "maxLength": 2}, "ab", "abc", "Too long: may not be more than 2 bytes", id="max-length"
    ),
    pytest.param(
        {"type": "string", "pattern": "^x+$"}, "xx", "xx\n", "spec.v in body should match '^x+$'", id="pattern"
    ),
    pytest.param(
        {"type": "string", "format": "date-time"},
        "2020-01-01T00:00:00Z",
        "2020-13-01T00:00:00Z",
        "must be of type date-time",
        id="date-time",
    ),
    pytest.param({"type": "string", "format": "ipv4"}, "1.2.3.4", "1.2.3", 'must be of type ipv4: "1.2.3"', id="ipv4"),
    pytest.param({"type": "string", "format": "duration"}, "1h30m", "soon", "must be of type duration", id="duration"),
    pytest.param({"type": "string", "format": "nobody-knows"}, "x", None, "", id="unknown-format"),
    pytest.param(
        {"type": "integer", "format": "int32"},
        7,
        2**31,
        "Checked value must be of type integer with format int32 in spec.v",
        id="int32",
    ),
    pytest.param(
        {"type": "array", "items": {"type": "integer"}, "minItems": 1},
        [1],
        [],
        "Invalid value: 0: spec.v in body should have at least 1 items",
        id="min-items",
    ),
    pytest.param(
        {"type": "array", "items": {"type": "integer"}, "maxItems": 1},
        [1],
        [1, 2],
        "Too many: 2: must have at most 1 item",
        id="max-items",
    ),
    pytest.param(
        {"type": "array", "items": {"type": "integer"}}, [1], [1, "a"], "spec.v[1]: Invalid value", id="items"
    ),
    pytest.param(
        {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        ["a"],
        ["a", "b", "a"],
        'spec.v[2]: Duplicate value: "a"',
        id="set",
    ),
    pytest.param(
        {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["n", "p"],
            "items": {
                "type": "object",
                "required": ["n"],
                "properties": {"n": {"type": "string"}, "p": {"type": "integer", "default": 1}},
            },
        },
        [{"n": "a"}, {"n": "a", "p": 2}],
        [{"n": "a"}, {"n": "a", "p": 1}],
        'spec.v[1]: Duplicate value: {"n":"a","p":1}',
        id="map",
    ),
    pytest.param(
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"k": "v"},
        {"k": 1},
        "spec.v.k: Invalid value",
        id="additional",
    ),
    pytest.param(
        {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 1},
        {"k": "v"},
        {"a": "", "b": ""},
        "Too many: 2: must have at most 1 item",
        id="max-properties",
    ),
    pytest.param(
        {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}},
        {"a": ""},
        {},
        "spec.v.a: Required value",
        id="required",
    ),
    pytest.param(
        {"x-kubernetes-int-or-string": True},
        "50%",
        1.5,
        'spec.v in body must be of type integer,string: "number"',
        id="int-or-string",
    ),
    pytest.param(
        {"type": "integer", "allOf": [{"minimum": 2}, {"maximum": 5}]},
        3,
        6,
        '"spec.v" must validate all the schemas (allOf)',
        id="all-of",
    ),
    pytest.param(
        {"type": "string", "anyOf": [{"pattern": "a"}, {"pattern": "b"}]},
        "b",
        "c",
        '"spec.v" must validate at least one schema (anyOf)',
        id="any-of",
    ),
    pytest.param(
        {"type": "string", "oneOf": [{"pattern": "a"}, {"pattern": "b"}]},
        "b",
        "ab",
        "one and only one schema (oneOf). Found 2 valid alternatives",
        id="one-of",
    ),
    pytest.param(
        {"type": "string", "not": {"enum": ["no"]}},
        "yes",
        "no",
        '"spec.v" must not validate the schema (not)',
        id="not",
    ),
    pytest.param(
        {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
        {"apiVersion": "v1", "kind": "Pod", "any": 1},
        {"kind": "Pod"},
        "spec.v.apiVersion: Required value",
        id="embedded",
    ),
]


@pytest.mark.parametrize(("schema", "good", "bad", "message"), CASES)
def test_keyword(
    schema: Any, good: Any, bad: Any, message: str, sandbox: Sandbox, widget: JSONMaker, submit: Submit
) -> None:
    kind = sandbox.custom({"type": "object", "properties": {"v": schema}})

    assert submit(kind, widget({"v": good})).errors == []
    if bad is not None:
        assert any(message in each for each in submit(kind, widget({"v": bad})).messages)


def test_all_errors_are_named_at_once(sandbox: Sandbox, widget: JSONMaker, submit: Submit) -> None:
    kind = sandbox.custom(
        {
            "type": "object",
            "required": ["gone"],
            "properties": {"gone": {"type": "string"}, "i": {"type": "integer", "minimum": 1}, "s": {"type": "string"}},
        }
    )

    assert sorted(submit(kind, widget({"i": 0, "s": 1})).causes) == [
        ("FieldValueInvalid", "spec.i"),
        ("FieldValueRequired", "spec.gone"),
        ("FieldValueTypeInvalid", "spec.s"),
    ]


def test_one_of_without_a_fit_names_the_nearest(sandbox: Sandbox, widget: JSONMaker, submit: Submit) -> None:
    kind = sandbox.custom(
        {"type": "object", "properties": {"w": {"type": "string", "oneOf": [{"pattern": "a"}, {"pattern": "b"}]}}}
    )

    assert submit(kind, widget({"w": "c"})).messages == [
        '<nil>: Invalid value: "": "spec.w" must validate one and only one schema (oneOf). Found none valid',
        "spec.w: Invalid value: \"c\": spec.w in body should match 'a'",
    ]


def test_an_unchanged_value_is_not_judged_again(sandbox: Sandbox, widget: JSONMaker, submit: Submit) -> None:
    """Ratcheting: a schema that became stricter does not block writes to something else."""
    kind = sandbox.custom(
        {
            "type": "object",
            "properties": {
                "n": {"type": "integer", "minimum": 5},
                "l": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["k"],
                    "items": {
                        "type": "object",
                        "required": ["k"],
                        "properties": {"k": {"type": "string"}, "n": {"type": "integer", "minimum": 5}},
                    },
                },
                "other": {"type": "string"},
            },
        }
    )
    old = widget({"n": 1, "l": [{"k": "a", "n": 1}, {"k": "b", "n": 6}]})

    assert submit(kind, widget({"n": 1, "other": "x", "l": [{"k": "b", "n": 7}, {"k": "a", "n": 1}]}), old).errors == []
    assert submit(kind, widget({"n": 2, "l": [{"k": "a", "n": 2}]}), old).causes == [
        ("FieldValueInvalid", "spec.n"),
        ("FieldValueInvalid", "spec.l[0].n"),
    ]


def test_defaults_fill_what_is_there_and_only_that(sandbox: Sandbox, widget: JSONMaker, submit: Submit) -> None:
    kind = sandbox.custom(
        {
            "type": "object",
            "properties": {
                "mode": {"type": "string", "default": "fast"},
                "deep": {"type": "object", "properties": {"x": {"type": "integer", "default": 1}}},
                "auto": {"type": "object", "default": {}, "properties": {"z": {"type": "integer", "default": 3}}},
                "list": {
                    "type": "array",
                    "items": {"type": "object", "properties": {"p": {"type": "integer", "default": 80}}},
                },
                "maybe": {"type": "string", "nullable": True, "default": "d"},
            },
        }
    )

    assert submit(kind, widget({})).obj["spec"] == {"mode": "fast", "auto": {"z": 3}, "maybe": "d"}
    assert submit(kind, widget({"mode": None, "deep": {}, "list": [{}], "maybe": None})).obj["spec"] == {
        "mode": "fast",
        "auto": {"z": 3},
        "deep": {"x": 1},
        "list": [{"p": 80}],
        "maybe": None,
    }


def test_defaults_are_not_shared_between_objects(sandbox: Sandbox, widget: JSONMaker, submit: Submit) -> None:
    kind = sandbox.custom(
        {"type": "object", "properties": {"l": {"type": "array", "default": [], "items": {"type": "string"}}}}
    )
    first = submit(kind, widget({})).obj
    first["spec"]["l"].append("mine")

    assert submit(kind, widget({})).obj["spec"] == {"l": []}


def test_unknown_fields_are_dropped_and_named(sandbox: Sandbox, widget: JSONMaker, submit: Submit) -> None:
    kind = sandbox.custom(
        {
            "type": "object",
            "properties": {
                "l": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer"}}}},
                "free": {
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": True,
                    "properties": {"tight": {"type": "object", "properties": {}}},
                },
            },
        }
    )
    obj = {**widget({"l": [{"a": 1, "b": 2}], "free": {"any": {"thing": 1}, "tight": {"x": 1}}, "extra": 1}), "top": 1}
    obj["metadata"]["nope"] = "x"

    written = submit(kind, obj)

    assert written.unknown == ["metadata.nope", "spec.extra", "spec.free.tight.x", "spec.l[0].b", "top"]
    assert written.obj["spec"] == {"l": [{"a": 1}], "free": {"any": {"thing": 1}, "tight": {}}}
    assert written.obj["metadata"] == {"name": "w"}


def test_null_of_a_field_that_is_not_nullable_is_dropped(sandbox: Sandbox, widget: JSONMaker, submit: Submit) -> None:
    kind = sandbox.custom(
        {"type": "object", "properties": {"yes": {"type": "string", "nullable": True}, "no": {"type": "string"}}}
    )

    written = submit(kind, widget({"yes": None, "no": None}))

    assert written.errors == []
    assert written.obj["spec"] == {"yes": None}


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        (r"^\d+$", "12", True),
        (r"^\d+$", "١٢", False),  # \d is ASCII in Go
        ("^[[:alpha:]_]+$", "ab_", True),
        ("^[[:alpha:]_]+$", "a1", False),
        (r"^a\$b$", "a$b", True),
        ("^[$]$", "$", True),
        (r"\Aab\z", "ab", True),
        (r"^\p{Lu}\pN$", "É7", True),
        (r"^\Qa.b\E$", "a.b", True),
        (r"^\Qa.b\E$", "axb", False),
        ("^a(?i)b$", "aB", True),
        ("^a{,5}$", "a{,5}", True),  # no repetition without a lower bound
        ("^a{,5}$", "aaa", False),
        ("^(?<n>a)$", "a", True),
        ("^[[:^alpha:]]$", "1", True),
        # An engine that goes back and tries again would try until the end of the world.
        ("^(a+)+$", "a" * 200 + "!", False),
    ],
)
def test_patterns_are_go_s(
    pattern: str, text: str, fits: bool, sandbox: Sandbox, widget: JSONMaker, submit: Submit
) -> None:
    kind = sandbox.custom({"type": "object", "properties": {"p": {"type": "string", "pattern": pattern}}})

    assert (submit(kind, widget({"p": text})).errors == []) is fits
