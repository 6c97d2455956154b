"""CEL rules: evaluation, transition rules, messages, Kubernetes' functions, and what is refused with the CRD."""

from __future__ import annotations

from typing import Any

import pytest

from tests.runtime.testing.kinds.kinds_helpers import JSON, JSONMaker, Sandbox, Submit

TEXT = {"type": "string"}
NUMBER = {"type": "integer"}


def rules(*given: str | JSON) -> list[JSON]:
    return [{"rule": each} if isinstance(each, str) else each for each in given]


def test_rule_with_reason_and_field_path(sandbox: Sandbox, widget: JSONMaker, submit: Submit) -> None:
    kind = sandbox.custom(
        {
            "type": "object",
            "properties": {"min": NUMBER, "max": NUMBER},
            "x-kubernetes-validations": rules(
                {
                    "rule": "!has(self.min) || !has(self.max) || self.min <= self.max",
                    "message": "min above max",
                    "reason": "FieldValueForbidden",
                    "fieldPath": ".min",
                }
            ),
        }
    )

    assert submit(kind, widget({"min": 1, "max": 2})).errors == []
    written = submit(kind, widget({"min": 3, "max": 2}))
    assert written.causes == [("FieldValueForbidden", "spec.min")]
    assert written.messages == ["spec.min: Forbidden: min above max"]


def test_message_expression_and_its_fallback(sandbox: Sandbox, widget: JSONMaker, submit: Submit) -> None:
    kind = sandbox.custom(
        {
            "type": "object",
            "properties": {
                "a": {
                    **TEXT,
                    "x-kubernetes-validations": rules({"rule": "self == 'x'", "messageExpression": "'not ' + self"}),
                },
                "b": {
                    "type": "array",
                    "items": TEXT,
                    "x-kubernetes-validations": rules(
                        {"rule": "self.size() > 0", "messageExpression": "'first: ' + self[0]", "message": "empty"}
                    ),
                },
                "c": {**TEXT, "x-kubernetes-validations": rules("self == 'z'")},
            },
        }
    )

    assert submit(kind, widget({"a": "y", "b": [], "c": "y"})).messages == [
        'spec.a: Invalid value: "y": not y',
        "spec.b: Invalid value: empty",
        "spec.c: Invalid value: \"y\": failed rule: self == 'z'",
    ]


def test_transition_rules_judge_changes_only(sandbox: Sandbox, widget: JSONMaker, submit: Submit) -> None:
    kind = sandbox.custom(
        {
            "type": "object",
            "properties": {
                "fixed": {**TEXT, "x-kubernetes-validations": rules("self == oldSelf")},
                "items": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["k"],
                    "items": {
                        "type": "object",
                        "required": ["k"],
                        "properties": {
                            "k": TEXT,
                            "n": {**NUMBER, "x-kubernetes-validations": rules("self >= oldSelf")},
                        },
                    },
                },
            },
        }
    )
    old = widget({"fixed": "a", "items": [{"k": "x", "n": 5}]})

    assert submit(kind, widget({"fixed": "a"})).errors == []  # a create changes nothing
    assert submit(kind, widget({"fixed": "a", "items": [{"k": "new", "n": 1}, {"k": "x", "n": 6}]}), old).errors == []
    assert submit(kind, widget({"fixed": "b", "items": [{"k": "new", "n": 1}, {"k": "x", "n": 4}]}), old).causes == [
        ("FieldValueInvalid", "spec.fixed"),
        ("FieldValueInvalid", "spec.items[1].n"),
    ]


def test_optional_old_self(sandbox: Sandbox, widget: JSONMaker, submit: Submit) -> None:
    kind = sandbox.custom(
        {
            "type": "object",
            "properties": {
                "n": {
                    **NUMBER,
                    "x-kubernetes-validations": rules(
                        {"rule": "oldSelf.hasValue() ? self > oldSelf.value() : self == 0", "optionalOldSelf": True}
                    ),
                }
            },
        }
    )

    assert submit(kind, widget({"n": 0})).errors == []
    assert submit(kind, widget({"n": 1})).causes == [("FieldValueInvalid", "spec.n")]
    assert submit(kind, widget({"n": 1}), widget({"n": 0})).errors == []
    assert submit(kind, widget({"n": 1}), widget({"n": 2})).causes == [("FieldValueInvalid", "spec.n")]


def test_rules_wait_until_the_object_has_its_shape(sandbox: Sandbox, widget: JSONMaker, submit: Submit) -> None:
    kind = sandbox.custom(
        {"type": "object", "properties": {"n": {**NUMBER, "x-kubernetes-validations": rules("self > 5")}}}
    )

    assert [each.reason for each in submit(kind, widget({"n": "x"})).errors] == [
        "FieldValueTypeInvalid",
        "FieldValueInvalid",
    ]
    assert "some validation rules were not checked" in submit(kind, widget({"n": "x"})).messages[1]


def test_a_rule_that_fails_to_evaluate_refuses(sandbox: Sandbox, widget: JSONMaker, submit: Submit) -> None:
    kind = sandbox.custom(
        {
            "type": "object",
            "properties": {"missing": NUMBER, "here": NUMBER},
            "x-kubernetes-validations": rules("self.missing == 1"),
        }
    )

    assert submit(kind, widget({"here": 1})).messages == [
        'spec: Invalid value: "object": no such key: missing evaluating rule: self.missing == 1'
    ]


@pytest.mark.parametrize(
    ("rule", "value", "holds"),
    [
        ("self.s.lowerAscii() == 'ab'", {"s": "AB"}, True),
        ("self.s.split(',').size() == 2", {"s": "a,b"}, True),
        ("self.s.matches('^a+$')", {"s": "ab"}, False),
        ("self.s.find('[0-9]+') == '12'", {"s": "a12b"}, True),
        ("'%s-%d'.format([self.s, 3]) == 'x-3'", {"s": "x"}, True),
        ("self.l.isSorted() && self.l.sum() == 6 && self.l.max() == 3", {"l": [1, 2, 3]}, True),
        ("self.l.exists_one(x, x > 2)", {"l": [1, 2, 3]}, True),
        ("self.l.map(x, x * 2).indexOf(4) == 1", {"l": [1, 2, 3]}, True),
        ("sets.contains(self.l, [1, 3])", {"l": [1, 2, 3]}, True),
        ("self.s.contains('b')", {"s": "abc"}, True),
        ("quantity(self.s).isGreaterThan(quantity('500Mi'))", {"s": "1Gi"}, True),
        ("isQuantity(self.s)", {"s": "1Zi"}, False),
        ("isIP(self.s) && ip(self.s).family() == 4", {"s": "10.0.0.1"}, True),
        ("url(self.s).getHost() == 'a:1'", {"s": "http://a:1/x"}, True),
        ("self.?s.orValue('none') == 'none'", {}, True),
        ("self.?s.orValue('none') == 'none'", {"s": "some"}, False),
        ("self.m.all(k, self.m[k] < 3)", {"m": {"a": 1, "b": 2}}, True),
        ("self.t > timestamp('2020-01-01T00:00:00Z')", {"t": "2021-01-01T00:00:00Z"}, True),
        ("self.d > duration('1h')", {"d": "1h30m"}, True),
        ("self.r > 1.0", {"r": 2}, True),
        ("self.x__dash__y == 1 && self.__namespace__ == 2", {"x-y": 1, "namespace": 2}, True),
        ("type(self.i) == int ? self.i > 0 : self.i.endsWith('%')", {"i": "5%"}, True),
        ("self.s == 'a' || self.l[7] == 1", {"s": "a", "l": []}, True),
    ],
)
def test_functions(rule: str, value: Any, holds: bool, sandbox: Sandbox, widget: JSONMaker, submit: Submit) -> None:
    kind = sandbox.custom(
        {
            "type": "object",
            "properties": {
                "s": TEXT,
                "l": {"type": "array", "items": NUMBER, "maxItems": 10},
                "m": {"type": "object", "additionalProperties": NUMBER},
                "t": {"type": "string", "format": "date-time"},
                "d": {"type": "string", "format": "duration"},
                "r": {"type": "number"},
                "x-y": NUMBER,
                "namespace": NUMBER,
                "i": {"x-kubernetes-int-or-string": True},
            },
            "x-kubernetes-validations": rules(rule),
        }
    )

    assert (submit(kind, widget(value)).errors == []) is holds


def test_a_root_rule_sees_the_name(sandbox: Sandbox, make_crd: JSONMaker, submit: Submit) -> None:
    schema = {"type": "object", "x-kubernetes-validations": rules("self.metadata.name.startsWith('w')")}
    assert sandbox.define(make_crd(schema)).errors == []
    kind = next(each for each in sandbox.registry.kinds() if each.custom)

    assert submit(kind, {"metadata": {"name": "w"}}).errors == []
    assert submit(kind, {"metadata": {"name": "v"}}).causes == [("FieldValueInvalid", "<nil>")]


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("self +", "Syntax error"),
        ("self.nope == 1", "undefined field 'nope'"),
        ("self.s.length == 1", "does not support field selection"),
        ("self.s.size()", "must evaluate to a bool"),
        ("self.s == 1", "found no matching overload for '_==_' applied to '(string, int)'"),
        ("self.s && true", "ERROR: <input>:1:5: expected type 'bool' but found 'string'"),
        ("this.s == 'x'", "undeclared reference to 'this'"),
        ("self.s.all(c, c == 'x')", "cannot be range of a comprehension"),
        ("self.l.all(x, x == 'a')", "found no matching overload"),
        ("", "rule is not specified"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_with_the_crd(
    rule: str, problem: str, sandbox: Sandbox, make_crd: JSONMaker
) -> None:
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {"s": TEXT, "l": {"type": "array", "items": NUMBER}},
                "x-kubernetes-validations": [{"rule": rule}],
            }
        },
    }

    (error,) = sandbox.define(make_crd(schema)).errors

    assert error.field == "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule"
    assert problem in error.message


@pytest.mark.parametrize(
    "rule",
    [
        "self.l.filter(x, x > 1).size() == 2 ? self.s == 'a' : has(self.s)",
        "self.l.exists(x, x in [1, 2]) && !(self.s in ['a'])",
        "size(self.s) < 5 && int(self.s) + 1 > 2",
        "self.l.map(x, x * 2).size() == 2",
        "self.l.size() > 1.5 || self.s != ''",
    ],
)
def test_a_good_rule_is_not_refused(rule: str, sandbox: Sandbox) -> None:
    sandbox.custom(
        {
            "type": "object",
            "properties": {"s": TEXT, "l": {"type": "array", "items": NUMBER, "maxItems": 100}},
            "x-kubernetes-validations": rules(rule),
        }
    )
