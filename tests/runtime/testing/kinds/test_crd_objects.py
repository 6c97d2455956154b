"""Objects of a CRD beyond the keywords of their schema: replicas, embedded objects, their status, their metadata."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.types import GVR
from tests.runtime.testing.kinds.kinds_helpers import JSON, JSONMaker, Sandbox, Submit, crd

WIDGETS = GVR("example.com", "v1", "widgets")
TEXT = {"type": "string"}
OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
SCALE = {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n", "labelSelectorPath": ".status.s"}


@pytest.mark.parametrize(
    ("spec", "status", "causes"),
    [
        ({"n": 0}, {"n": 2**31 - 1, "s": "a=b"}, []),
        ({}, {}, []),
        ({"n": -1}, {}, [".spec.n"]),
        ({"n": 2**31}, {}, [".spec.n"]),
        ({"n": "3"}, {}, [".spec.n"]),
        ({"n": True}, {}, [".spec.n"]),
        ({}, {"n": -1}, [".status.n"]),
        ({}, {"s": 3}, [".status.s"]),
    ],
)
def test_replicas(
    spec: JSON, status: JSON, causes: list[str], sandbox: Sandbox, widget: JSONMaker, submit: Submit
) -> None:
    sandbox.define(crd(OPEN, subresources={"scale": SCALE}))
    kind = sandbox.kind(WIDGETS)

    written = submit(kind, {**widget(spec), "status": status})

    assert written.causes == [("FieldValueInvalid", each) for each in causes]


def test_a_write_of_the_status_is_judged_by_the_status_alone(
    sandbox: Sandbox, widget: JSONMaker, submit: Submit
) -> None:
    root = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": {"a": {**TEXT, "maxLength": 1}}},
            "status": {"type": "object", "properties": {"b": {**TEXT, "maxLength": 1}}},
        },
    }
    sandbox.define(crd(root, subresources={"status": {}}))
    kind = sandbox.kind(WIDGETS)
    old = {**widget({"a": "long"}), "status": {"b": "x"}}
    asked = {**widget({"a": "longer"}), "status": {"b": "y"}}

    good = submit(kind, asked, old, "status")
    bad = submit(kind, {**asked, "status": {"b": "long"}}, old, "status")

    assert good.errors == []
    assert (good.obj["spec"], good.obj["status"]) == ({"a": "long"}, {"b": "y"})
    assert bad.causes == [("FieldValueTooLong", "status.b")]


@pytest.mark.parametrize(
    ("given", "causes"),
    [
        ({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"b": "c"}}, "any": [1]}, []),
        ({"apiVersion": "v1"}, [("FieldValueRequired", "spec.t.kind")]),
        ({"kind": "Pod"}, [("FieldValueRequired", "spec.t.apiVersion")]),
        ({"apiVersion": "a/b/c", "kind": "Pod"}, [("FieldValueInvalid", "spec.t.apiVersion")]),
        ({"apiVersion": "v1", "kind": "p_d"}, [("FieldValueInvalid", "spec.t.kind")]),
        (
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a/b"}},
            [("FieldValueInvalid", "spec.t.metadata.name")],
        ),
        (
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"a": "b c"}}},
            [("FieldValueInvalid", "spec.t.metadata.labels")],
        ),
        (
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "A"}]}},
            [("FieldValueInvalid", f"spec.t.metadata.ownerReferences.{each}") for each in ("name", "uid")],
        ),
    ],
)
def test_embedded_objects(
    given: JSON, causes: list[tuple[str, str]], sandbox: Sandbox, widget: JSONMaker, submit: Submit
) -> None:
    embedded: Any = {**OPEN, "x-kubernetes-embedded-resource": True}
    kind = sandbox.custom({"type": "object", "properties": {"t": embedded}})

    assert submit(kind, widget({"t": given})).causes == causes


def test_what_metadata_does_not_know_is_dropped_from_embedded_objects(
    sandbox: Sandbox, widget: JSONMaker, submit: Submit
) -> None:
    embedded: Any = {"type": "object", "properties": {"a": TEXT}, "x-kubernetes-embedded-resource": True}
    kind = sandbox.custom({"type": "object", "properties": {"t": embedded}})
    given = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "nonsense": 1}, "a": "x", "b": "y"}

    written = submit(kind, widget({"t": given}))

    assert written.errors == []
    assert written.obj["spec"]["t"] == {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "a": "x"}


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"labels": {"a": "b"}}, None),
        ({"labels": {"a": "b c"}}, "metadata.labels"),
        ({"labels": {"a": 1}}, "metadata"),
        ({"labels": "a"}, "metadata"),
    ],
)
def test_defaults_that_are_embedded_objects(
    metadata: JSON, field: str | None, sandbox: Sandbox, make_crd: JSONMaker
) -> None:
    default = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
    embedded = {**OPEN, "x-kubernetes-embedded-resource": True, "default": default}

    causes = sandbox.define(make_crd({"type": "object", "properties": {"t": embedded}})).causes

    where = f"spec.validation.openAPIV3Schema.properties[t].default.{field}"
    assert causes == ([] if field is None else [("FieldValueInvalid", where)])
