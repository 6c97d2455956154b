"""Rules of a CRD's schema: what they may cost, when they are judged and what they answer; ratcheting."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.testing.kinds.crds.schema import compile_schema
from runtime.testing.kinds.crds.validation import validate
from runtime.types import GVR
from tests.runtime.testing.kinds.kinds_helpers import CRDS, JSON, JSONMaker, Sandbox, Submit

SPEC = "spec.validation.openAPIV3Schema.properties[spec]"
TEXT = {"type": "string"}
SHORT = {"type": "string", "maxLength": 3}
SET = {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}
NAMED: JSON = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
    "items": {"type": "object", "required": ["name"], "properties": {"name": TEXT, "text": SHORT}},
}


def rules(*each: str | JSON) -> JSON:
    return {"x-kubernetes-validations": [{"rule": rule} if isinstance(rule, str) else rule for rule in each]}


def props(**properties: JSON) -> JSON:
    return {"type": "object", "properties": properties}


def listed(items: JSON, **more: Any) -> JSON:
    return {"type": "array", "items": items, **more}


@pytest.mark.parametrize(
    ("schema", "causes"),
    [
        # Lists without a bound are as long as a request could be.
        (
            props(all=listed({**TEXT, **rules("self.contains('x')")})),
            [
                (
                    "FieldValueForbidden",
                    f"{SPEC}.properties[all].items.x-kubernetes-validations[0].rule",
                ),
            ],
        ),
        (props(all=listed({**SHORT, **rules("self.contains('x')")}, maxItems=10)), []),
        (props(all=listed(TEXT, **rules("self.all(a, self.all(b, a != b || a == b))"))), "rule"),
        (props(all=listed(SHORT, maxItems=20, **rules("self.all(a, self.all(b, a != b || a == b))"))), []),
        (props(all=listed(TEXT, maxItems=5, **rules("self.all(a, a.matches('^[a-z]+$'))"))), []),
        (props(of={"type": "object", "additionalProperties": TEXT, **rules("self.all(k, self[k].size() > 0)")}), []),
        # The message is paid for, too.
        (
            props(
                all=listed(
                    TEXT, **rules({"rule": "true", "messageExpression": "string(self.all(a, self.all(b, true)))"})
                )
            ),
            "messageExpression",
        ),
    ],
)
def test_a_rule_may_not_cost_too_much(schema: JSON, causes: Any, sandbox: Sandbox, make_crd: JSONMaker) -> None:
    found = sandbox.define(make_crd(props(spec=schema))).causes

    if isinstance(causes, str):
        assert ("FieldValueForbidden", causes) in [(reason, field.rsplit(".", 1)[-1]) for reason, field in found]
    else:
        assert {each for each in found if each[1] != "spec.validation.openAPIV3Schema"} == set(causes)


def test_all_rules_together_may_not_cost_too_much(sandbox: Sandbox, make_crd: JSONMaker) -> None:
    dear = listed(SHORT, maxItems=1000, **rules("self.all(a, self.exists_one(b, a == b))"))

    assert sandbox.define(make_crd(props(spec=props(a=dear)))).errors == []
    errors = sandbox.define(make_crd(props(spec=props(**{f"a{i}": dear for i in range(40)})))).errors

    assert [(each.reason, each.field) for each in errors] == [
        ("FieldValueForbidden", f"{SPEC}.properties[a{i}].x-kubernetes-validations[0].rule") for i in range(4)
    ] + [("FieldValueForbidden", "spec.validation.openAPIV3Schema")]


def test_a_rule_that_was_stored_is_not_weighed_again(sandbox: Sandbox, make_crd: JSONMaker, submit: Submit) -> None:
    dear = make_crd(props(spec=props(all=listed(SHORT, maxItems=3000, **rules("self.all(a, self.all(b, a == b))")))))
    stored = submit(sandbox.kind(CRDS), dear).obj
    changed = {**stored, "spec": {**stored["spec"], "names": {**stored["spec"]["names"], "shortNames": ["w"]}}}

    assert len(submit(sandbox.kind(CRDS), stored).errors) == 1
    assert submit(sandbox.kind(CRDS), changed, stored).errors == []


def test_a_rule_that_runs_too_long_is_stopped(sandbox: Sandbox, widget: JSONMaker, submit: Submit) -> None:
    dear = f"self != 'dear' || '{'x' * 12000}'.contains('{'x' * 12000}')"
    kind = sandbox.custom(props(a={**TEXT, **rules(dear, "self == 'cheap'")}))

    assert submit(kind, widget({"a": "cheap"})).errors == []
    stopped = submit(kind, widget({"a": "dear"}))

    assert stopped.causes == [("FieldValueInvalid", "spec.a")]
    assert "call cost" in stopped.messages[0]


@pytest.mark.parametrize(("count", "stopped"), [(12, False), (13, True)])
def test_all_rules_of_an_object_may_not_run_too_long(
    count: int, stopped: bool, sandbox: Sandbox, widget: JSONMaker, submit: Submit
) -> None:
    dear = f"'{'x' * 9000}'.contains('{'x' * 9000}')"  # a twelfth of what all may cost
    kind = sandbox.custom(props(text={**TEXT, **rules(*[dear] * count)}, last={**TEXT, **rules("false")}))

    messages = submit(kind, widget({"text": "", "last": ""})).messages

    assert len(messages) == 1
    assert ("out of cost budget" in messages[0]) is stopped


@pytest.mark.parametrize(
    ("rule", "schema", "why"),
    [
        ({"rule": ""}, TEXT, "FieldValueRequired"),
        ({"rule": "self == 1"}, TEXT, "FieldValueInvalid"),
        ({"rule": "self"}, TEXT, "FieldValueInvalid"),
        ({"rule": "true", "message": "  "}, TEXT, "FieldValueInvalid"),
        ({"rule": "true", "message": "a\nb"}, TEXT, "FieldValueInvalid"),
        ({"rule": "true\n&& true"}, TEXT, "FieldValueRequired"),
        ({"rule": "true\n&& true", "message": "m"}, TEXT, None),
        ({"rule": "true", "messageExpression": "1"}, TEXT, "FieldValueInvalid"),
        ({"rule": "true", "messageExpression": "self"}, TEXT, None),
        ({"rule": "true", "messageExpression": " "}, TEXT, "FieldValueRequired"),
        ({"rule": "true", "reason": "Whatever"}, TEXT, "FieldValueNotSupported"),
        ({"rule": "true", "fieldPath": ".a"}, props(a=TEXT), None),
        ({"rule": "true", "fieldPath": ".b"}, props(a=TEXT), "FieldValueInvalid"),
        ({"rule": "true", "fieldPath": "a"}, props(a=TEXT), "FieldValueInvalid"),
        ({"rule": "true", "fieldPath": ".a.b"}, props(a=TEXT), "FieldValueInvalid"),
        ({"rule": "true", "fieldPath": "['a-b']"}, props(**{"a-b": TEXT}), None),
        ({"rule": "true", "fieldPath": ".a[0]"}, props(a=listed(TEXT)), "FieldValueInvalid"),
        ({"rule": "true", "optionalOldSelf": True}, TEXT, "FieldValueInvalid"),
        ({"rule": "oldSelf.hasValue()", "optionalOldSelf": True}, TEXT, None),
        ({"rule": "self == oldSelf"}, TEXT, None),
    ],
)
def test_the_parts_of_a_rule(rule: JSON, schema: JSON, why: str | None, sandbox: Sandbox, make_crd: JSONMaker) -> None:
    found = sandbox.define(make_crd(props(spec={**schema, **rules(rule)}))).causes

    assert [reason for reason, _ in found] == ([] if why is None else [why])


@pytest.mark.parametrize(
    ("around", "refused"),
    [
        (lambda items: listed(items, maxItems=3), True),
        (lambda items: listed(items, maxItems=3, **{"x-kubernetes-list-type": "set"}), True),
        (lambda items: listed(items, maxItems=3, **{"x-kubernetes-list-type": "atomic"}), True),
        (lambda items: {"type": "object", "additionalProperties": items, "maxProperties": 3}, False),
        (
            lambda items: {"type": "object", "properties": {"a": items}, "x-kubernetes-map-type": "atomic"},
            False,
        ),
    ],
)
def test_a_rule_on_changes_needs_to_know_what_changed(
    around: Any, refused: bool, sandbox: Sandbox, make_crd: JSONMaker
) -> None:
    found = sandbox.define(make_crd(props(spec=around({**SHORT, **rules("self == oldSelf")})))).causes

    assert [reason for reason, _ in found] == (["FieldValueInvalid"] if refused else [])


def test_changes_of_a_list_s_items_are_told_by_their_keys(sandbox: Sandbox, widget: JSONMaker, submit: Submit) -> None:
    items = {**NAMED["items"], **rules("self.text == oldSelf.text")}
    kind = sandbox.custom(props(all={**NAMED, "maxItems": 5, "items": items}))
    old = widget({"all": [{"name": "a", "text": "1"}, {"name": "b", "text": "2"}]})

    moved = widget({"all": [{"name": "c", "text": "3"}, {"name": "b", "text": "2"}, {"name": "a", "text": "1"}]})
    changed = widget({"all": [{"name": "b", "text": "9"}, {"name": "a", "text": "1"}]})

    assert submit(kind, moved, old).errors == []
    assert submit(kind, changed, old).causes == [("FieldValueInvalid", "spec.all[0]")]


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("FieldValueInvalid", "Invalid value: no x"),
        ("FieldValueForbidden", "Forbidden: no x"),
        ("FieldValueRequired", "Required value: no x"),
        ("FieldValueDuplicate", "Duplicate value"),
        (None, "Invalid value: no x"),
    ],
)
def test_the_reason_of_a_rule(
    reason: str | None, text: str, sandbox: Sandbox, widget: JSONMaker, submit: Submit
) -> None:
    rule: JSON = {"rule": "self.a != 'x'", "fieldPath": ".a", "message": "no x"}
    kind = sandbox.custom({**props(a=TEXT), **rules(rule if reason is None else {**rule, "reason": reason})})

    written = submit(kind, widget({"a": "x"}))

    assert written.causes == [(reason or "FieldValueInvalid", "spec.a")]
    assert written.messages == [f"spec.a: {text}"]


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("'no ' + self", "no x"),
        ("' no ' + self + '  '", "no x"),
        ("'no\\n' + self", "fixed"),
        ("self.substring(1)", "fixed"),
        ("self.substring(2)", "fixed"),  # fails
        (f"'{'z' * 5119}' + self", "z" * 5119 + "x"),
        (f"'{'z' * 5120}' + self", "fixed"),
    ],
)
def test_a_message_that_is_of_no_use_is_replaced(
    expression: str, text: str, sandbox: Sandbox, widget: JSONMaker, submit: Submit
) -> None:
    rule = {"rule": "self != 'x'", "message": "fixed", "messageExpression": expression}
    kind = sandbox.custom(props(a={**TEXT, **rules(rule)}))

    assert submit(kind, widget({"a": "x"})).messages == [f'spec.a: Invalid value: "x": {text}']


def test_apiversion_and_kind_are_no_old_values(sandbox: Sandbox, make_crd: JSONMaker, submit: Submit) -> None:
    sandbox.define(make_crd(props(kind={**TEXT, **rules("self == 'Other'")}, other={**TEXT, **rules("self == 'x'")})))
    kind = sandbox.kind(GVR("example.com", "v1", "widgets"))
    obj = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "other": "y"}

    written = submit(kind, obj, obj)

    assert written.causes == [("FieldValueInvalid", "kind")]
    assert len(written.warnings) == 1


@pytest.mark.parametrize(
    ("schema", "old", "new", "refused"),
    [
        # What was bad and stays as it is may stay.
        (props(a=SHORT, b=TEXT), {"a": "long"}, {"a": "long", "b": "x"}, []),
        (props(a=SHORT, b=TEXT), {"a": "long"}, {"a": "longer"}, ["spec.a"]),
        (props(a=SHORT, b=TEXT), {}, {"a": "long"}, ["spec.a"]),
        ({**props(a=TEXT, b=TEXT), "required": ["a"]}, {}, {}, []),
        ({**props(a=TEXT, b=TEXT), "required": ["a"]}, {}, {"b": "x"}, ["spec.a"]),
        # Items of a list that is a map are told by their keys, wherever they are.
        (
            props(l=NAMED),
            {"l": [{"name": "a", "text": "long"}]},
            {"l": [{"name": "b"}, {"name": "a", "text": "long"}]},
            [],
        ),
        (
            props(l=NAMED),
            {"l": [{"name": "a", "text": "long"}]},
            {"l": [{"name": "b", "text": "long"}]},
            ["spec.l[0].text"],
        ),
        # Items of another list are not, if anything of the list changed.
        (props(l=listed(SHORT)), {"l": ["long"]}, {"l": ["long"]}, []),
        (props(l=listed(SHORT)), {"l": ["long"]}, {"l": ["long", "x"]}, ["spec.l[0]"]),
        # Values of a map are told by their keys.
        (
            props(m={"type": "object", "additionalProperties": SHORT}),
            {"m": {"a": "long", "b": "x"}},
            {"m": {"a": "long", "b": "y"}},
            [],
        ),
        # Numbers are compared as Go compares them.
        (props(n={"type": "number", "maximum": 3}, b=TEXT), {"n": 5}, {"n": 5, "b": "x"}, []),
        # What the list itself may hold is part of the list.
        (
            props(l={**NAMED, "maxItems": 1}),
            {"l": [{"name": "a"}, {"name": "b"}]},
            {"l": [{"name": "a"}, {"name": "c"}]},
            ["spec.l"],
        ),
        # Twins are let pass where there were twins before, whichever.
        (props(l=SET), {"l": ["a", "a"]}, {"l": ["a", "a", "b", "b"]}, []),
        (props(l=SET), {"l": ["a", "b"]}, {"l": ["a", "b", "b"]}, ["spec.l[2]"]),
        # A change below what is wrong is a change of it.
        (
            props(o={**props(a=TEXT, b=TEXT), "maxProperties": 1}),
            {"o": {"a": "1", "b": "2"}},
            {"o": {"a": "1", "b": "3"}},
            ["spec.o"],
        ),
    ],
)
def test_ratcheting(
    schema: JSON, old: JSON, new: JSON, refused: list[str], sandbox: Sandbox, widget: JSONMaker, submit: Submit
) -> None:
    kind = sandbox.custom(schema)

    assert [error.field for error in submit(kind, widget(new), widget(old)).errors] == refused


@pytest.mark.parametrize(
    ("rule", "new", "errors", "warnings"),
    [
        ("self.a.size() < 3", {"a": "long"}, 0, 1),
        ("self.a.size() < 3", {"a": "other"}, 1, 0),
        ("self.a == oldSelf.a && self.a.size() < 3", {"a": "long"}, 1, 0),  # a rule on changes is always judged
    ],
)
def test_a_rule_that_was_broken_before_warns(
    rule: str, new: JSON, errors: int, warnings: int, sandbox: Sandbox, widget: JSONMaker, submit: Submit
) -> None:
    schema = {"type": "object", "properties": {"in": {**props(a=TEXT), **rules(rule)}, "b": TEXT}}
    kind = sandbox.custom(schema)

    written = submit(kind, widget({"in": new, "b": "x"}), widget({"in": {"a": "long"}}))

    assert (len(written.errors), len(written.warnings)) == (errors, warnings)


def test_a_broken_rule_is_no_excuse_on_the_way_in(sandbox: Sandbox, widget: JSONMaker, submit: Submit) -> None:
    kind = sandbox.custom({**props(a=TEXT, b=TEXT), **rules("self.a.size() < 3")})

    assert len(submit(kind, widget({"a": "long", "b": "x"}), widget({"a": "long"})).errors) == 1


@pytest.mark.parametrize(
    ("rule", "old", "new", "holds"),
    [
        ("!oldSelf.hasValue() || self.a == oldSelf.value().a", None, {"a": "x"}, True),
        ("!oldSelf.hasValue() || self.a == oldSelf.value().a", {"a": "y"}, {"a": "x"}, False),
        ("oldSelf.?a.orValue('z') == 'z'", {"a": "y"}, {"a": "x"}, False),
    ],
)
def test_a_rule_whose_old_value_is_optional(
    rule: str, old: JSON | None, new: JSON, holds: bool, sandbox: Sandbox, widget: JSONMaker, submit: Submit
) -> None:
    kind = sandbox.custom({**props(a=SHORT), **rules({"rule": rule, "optionalOldSelf": True})})

    written = submit(kind, widget(new), None if old is None else widget(old))

    assert (written.errors == []) is holds


def test_what_no_overload_takes_is_named_as_such(sandbox: Sandbox, widget: JSONMaker, submit: Submit) -> None:
    kind = sandbox.custom(props(i={"x-kubernetes-int-or-string": True, **rules("self > 0")}))

    assert submit(kind, widget({"i": 1})).errors == []
    detail = "call arguments did not match a supported operator, function or macro signature for rule: self > 0"
    assert submit(kind, widget({"i": "5%"})).messages == [f"spec.i: Invalid value: \"\": 'no such overload': {detail}"]


def test_rules_that_fail_are_paid_for(
    sandbox: Sandbox, widget: JSONMaker, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.testing.kinds.crds.rules._BUDGET", 10_000)
    costly = "lists.range(100).all(x, x >= 0) && self[9] == 'x'"
    kind = sandbox.custom(props(all=listed(listed(SHORT, maxItems=3, **rules(costly)), maxItems=1000)))

    messages = submit(kind, widget({"all": [["a"]] * 100})).messages

    assert "out of cost budget" in messages[-1]
    assert 1 < len(messages) < 100
    assert all("index out of bounds" in each for each in messages[:-1])


def test_a_message_sees_old_self_as_it_is(sandbox: Sandbox, widget: JSONMaker, submit: Submit) -> None:
    """The real server hands the optional value to the rule only, so that such a message gives way to the fixed one."""
    rule = {"rule": "oldSelf.hasValue() && oldSelf.value() == self", "optionalOldSelf": True, "message": "fixed"}
    expression = "oldSelf.orValue('nothing')"
    kind = sandbox.custom(props(a={**SHORT, **rules({**rule, "messageExpression": expression})}))

    first = submit(kind, widget({"a": "x"}))
    assert first.messages == ['spec.a: Invalid value: "x": fixed']
    assert submit(kind, widget({"a": "y"}), widget({"a": "x"})).messages == ['spec.a: Invalid value: "y": fixed']


def test_rules_are_judged_beside_errors_that_leave_the_shape_alone(
    sandbox: Sandbox, widget: JSONMaker, submit: Submit
) -> None:
    schema = props(a={**TEXT, "pattern": "^a$", **rules("self.size() > 1")}, n={"type": "integer"})
    kind = sandbox.custom(schema)

    assert submit(kind, widget({"a": "b"})).messages == [
        "spec.a: Invalid value: \"b\": spec.a in body should match '^a$'",
        'spec.a: Invalid value: "b": failed rule: self.size() > 1',
    ]
    wrong = submit(kind, widget({"a": "b", "n": "x"})).messages
    assert len(wrong) == 3
    assert "some validation rules were not checked" in wrong[-1]


def test_the_kind_is_judged_again_with_each_write() -> None:
    schema = props(kind={**TEXT, "enum": ["Other"]}, spec=props(a={**TEXT, "enum": ["x"]}))
    node = compile_schema(schema)
    obj = {"kind": "Widget", "metadata": {"name": "a"}, "spec": {"a": "y"}}

    found = validate(node, obj, "", obj)

    assert [each.field for each in found] == ["kind"]


def test_messages_that_fail_are_paid_for(
    sandbox: Sandbox, widget: JSONMaker, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.testing.kinds.crds.rules._BUDGET", 10_000)
    message = "lists.range(100).all(x, x >= 0) ? self[9] : 'never'"
    rule = {"rule": "self.size() > 5", "message": "fixed", "messageExpression": message}
    kind = sandbox.custom(props(all=listed(listed(SHORT, maxItems=3, **rules(rule)), maxItems=1000)))

    messages = submit(kind, widget({"all": [["a"]] * 100})).messages

    assert "messageExpression evaluation failed due to running out of cost budget" in messages[-1]
    assert 1 < len(messages) < 100
    assert all(each.endswith("fixed") for each in messages[:-1])
