"""CustomResourceDefinitions themselves: which are refused, what they become, which names they get."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from runtime.testing.kinds.model import DecodeError
from runtime.types import GVR
from tests.runtime.testing.kinds.kinds_helpers import JSON, JSONMaker, Sandbox, Submit

OBJECT = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
ROOT = "spec.validation.openAPIV3Schema"


def spec(schema: JSON) -> JSON:
    return {"type": "object", "properties": {"spec": schema}}


@pytest.mark.parametrize(
    ("schema", "cause"),
    [
        (None, ("FieldValueRequired", "spec.versions[0].schema.openAPIV3Schema")),
        ({"type": "array", "items": {"type": "string"}}, ("FieldValueInvalid", f"{ROOT}.type")),
        (spec({"type": "thing"}), ("FieldValueNotSupported", f"{ROOT}.properties[spec].type")),
        (spec({"properties": {}}), ("FieldValueRequired", f"{ROOT}.properties[spec].type")),
        (spec({"type": "array"}), ("FieldValueRequired", f"{ROOT}.properties[spec].items")),
        (spec({"type": "integer", "default": "x"}), ("FieldValueTypeInvalid", f"{ROOT}.properties[spec].default")),
        (spec({"type": "string", "pattern": "("}), ("FieldValueInvalid", f"{ROOT}.properties[spec].pattern")),
        (spec({"type": "string", "pattern": "(?=a)"}), ("FieldValueInvalid", f"{ROOT}.properties[spec].pattern")),
        (
            spec({"type": "string", "uniqueItems": True}),
            ("FieldValueForbidden", f"{ROOT}.properties[spec].uniqueItems"),
        ),
        (
            spec(
                {"type": "object", "additionalProperties": {"type": "string"}, "properties": {"a": {"type": "string"}}}
            ),
            ("FieldValueForbidden", f"{ROOT}.properties[spec].additionalProperties"),
        ),
        (
            spec({"type": "string", "anyOf": [{"type": "string"}]}),
            ("FieldValueForbidden", f"{ROOT}.properties[spec].anyOf[0].type"),
        ),
        (
            spec({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "bag"}),
            ("FieldValueNotSupported", f"{ROOT}.properties[spec].x-kubernetes-list-type"),
        ),
        (
            spec(
                {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["k"],
                    "items": {"type": "object", "properties": {"k": {"type": "string"}}},
                }
            ),
            ("FieldValueRequired", f"{ROOT}.properties[spec].items.properties[k].default"),
        ),
    ],
)
def test_a_schema_that_is_not_structural_is_refused(
    schema: Any, cause: tuple[str, str], sandbox: Sandbox, make_crd: JSONMaker
) -> None:
    assert cause in sandbox.define(make_crd(schema)).causes


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda crd: crd["metadata"].update(name="other.example.com"), ("FieldValueInvalid", "metadata.name")),
        (lambda crd: crd["spec"].update(scope="Somewhere"), ("FieldValueNotSupported", "spec.scope")),
        (lambda crd: crd["spec"].update(group="nodots"), ("FieldValueInvalid", "spec.group")),
        (lambda crd: crd["spec"]["versions"][0].pop("name"), ("FieldValueInvalid", "spec.versions[0].name")),
        (lambda crd: crd["spec"]["names"].update(plural="Widgets"), ("FieldValueInvalid", "spec.names.plural")),
        (lambda crd: crd["spec"]["names"].update(listKind="Widget"), ("FieldValueInvalid", "spec.names.listKind")),
        (lambda crd: crd["spec"]["versions"][0].update(storage=False), ("FieldValueInvalid", "spec.versions")),
        (
            lambda crd: crd["spec"]["versions"][0].update(subresources={"scale": {"specReplicasPath": ".metadata.x"}}),
            ("FieldValueInvalid", "spec.subresources.scale.specReplicasPath"),
        ),
        (
            lambda crd: crd["spec"]["versions"][0].update(
                additionalPrinterColumns=[{"name": "A", "type": "text", "jsonPath": ".spec.a"}]
            ),
            ("FieldValueInvalid", "spec.additionalPrinterColumns[0].type"),
        ),
    ],
)
def test_a_malformed_definition_is_refused(
    change: Callable[[JSON], object], cause: tuple[str, str], sandbox: Sandbox, make_crd: JSONMaker
) -> None:
    crd = make_crd(OBJECT)
    change(crd)

    assert cause in sandbox.define(crd).causes


def test_names_and_conditions_are_filled_in(sandbox: Sandbox, make_crd: JSONMaker) -> None:
    written = sandbox.define(make_crd(OBJECT))

    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    assert written.obj["spec"]["names"] == names
    assert written.obj["spec"]["conversion"] == {"strategy": "None"}
    assert written.obj["status"]["acceptedNames"] == names
    assert written.obj["status"]["storedVersions"] == ["v1"]
    assert [(each["type"], each["status"]) for each in written.obj["status"]["conditions"]] == [
        ("NamesAccepted", "True"),
        ("Established", "True"),
    ]


def test_installing_again_changes_nothing(sandbox: Sandbox, make_crd: JSONMaker) -> None:
    written = sandbox.define(make_crd(OBJECT))
    sandbox.clock.advance(60)

    assert sandbox.registry.install_crd(written.obj) == written.obj["status"]


def test_a_taken_kind_is_not_served(sandbox: Sandbox, make_crd: JSONMaker) -> None:
    sandbox.define(make_crd(OBJECT))
    second = sandbox.define(make_crd(OBJECT, plural="gadgets"))

    conditions = {each["type"]: (each["status"], each["reason"]) for each in second.obj["status"]["conditions"]}
    assert conditions == {"NamesAccepted": ("False", "ListKindConflict"), "Established": ("False", "NotAccepted")}
    assert sandbox.registry.lookup(GVR("example.com", "v1", "gadgets")) is None
    assert sandbox.registry.lookup(GVR("example.com", "v1", "widgets")) is not None


def test_groups_share_no_names(sandbox: Sandbox, make_crd: JSONMaker) -> None:
    other = make_crd(OBJECT)
    other["metadata"]["name"], other["spec"]["group"] = "widgets.other.com", "other.com"
    sandbox.define(make_crd(OBJECT))
    sandbox.define(other)

    assert sandbox.kind(GVR("example.com", "v1", "widgets")).kind == "Widget"
    assert sandbox.kind(GVR("other.com", "v1", "widgets")).kind == "Widget"


def test_names_are_free_again_once_the_crd_is_gone(sandbox: Sandbox, make_crd: JSONMaker) -> None:
    first = sandbox.define(make_crd(OBJECT))
    sandbox.registry.remove_crd(first.obj)

    assert sandbox.registry.lookup(GVR("example.com", "v1", "widgets")) is None
    sandbox.define(make_crd(OBJECT, plural="gadgets"))
    assert sandbox.registry.lookup(GVR("example.com", "v1", "gadgets")) is not None


def test_every_served_version_is_a_kind_of_one_storage(sandbox: Sandbox, make_crd: JSONMaker) -> None:
    crd = make_crd(OBJECT)
    crd["spec"]["versions"] += [
        {"name": "v2", "served": True, "storage": False, "schema": {"openAPIV3Schema": OBJECT}, "deprecated": True},
        {"name": "v3", "served": False, "storage": False, "schema": {"openAPIV3Schema": OBJECT}},
    ]
    assert sandbox.define(crd).errors == []
    one, two = (sandbox.kind(GVR("example.com", version, "widgets")) for version in ("v1", "v2"))

    assert one.storage_key == two.storage_key == ("example.com", "widgets")
    assert sandbox.registry.lookup(GVR("example.com", "v3", "widgets")) is None
    assert two.warning == "example.com/v2 Widget is deprecated"
    assert one.warning == ""
    assert two.from_storage is not None
    assert two.from_storage({"apiVersion": "example.com/v1", "kind": "Widget"})["apiVersion"] == "example.com/v2"


def test_what_the_webhook_of_a_service_would_do_is_missed_aloud(sandbox: Sandbox, make_crd: JSONMaker) -> None:
    crd = make_crd(OBJECT)
    service = {"namespace": "default", "name": "converter"}
    crd["spec"]["conversion"] = {
        "strategy": "Webhook",
        "webhook": {"clientConfig": {"service": service}, "conversionReviewVersions": ["v1"]},
    }
    crd["spec"]["versions"].append(
        {"name": "v2", "served": True, "storage": False, "schema": {"openAPIV3Schema": OBJECT}}
    )
    assert sandbox.define(crd).errors == []

    assert "reaches no conversion webhook of a Service" in sandbox.kind(GVR("example.com", "v2", "widgets")).warning


def test_group_scope_and_kind_of_an_established_crd_stay(sandbox: Sandbox, make_crd: JSONMaker, submit: Submit) -> None:
    old = sandbox.define(make_crd(OBJECT)).obj
    changed = make_crd(OBJECT)
    changed["spec"]["scope"] = "Cluster"

    kind = sandbox.builtin("customresourcedefinitions")
    assert ("FieldValueInvalid", "spec.scope") in submit(kind, {**changed, "status": old["status"]}, old).causes


def test_a_default_that_came_later_shows_in_old_objects(sandbox: Sandbox, make_crd: JSONMaker) -> None:
    schema: JSON = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer"}}}},
    }
    sandbox.define(make_crd(schema))
    assert sandbox.kind(GVR("example.com", "v1", "widgets")).from_storage is None
    schema["properties"]["spec"]["properties"]["m"] = {"type": "string", "default": "new"}
    sandbox.define(make_crd(schema))

    read = sandbox.kind(GVR("example.com", "v1", "widgets")).from_storage
    assert read is not None
    assert read({"apiVersion": "example.com/v1", "kind": "Widget", "spec": {"n": 1}})["spec"] == {"n": 1, "m": "new"}


@pytest.mark.parametrize("status", [True, False], ids=["with-status", "without-status"])
def test_status_subresource(status: bool, sandbox: Sandbox, widget: JSONMaker, submit: Submit) -> None:
    """With one, a write touches status or the rest, never both; without one, status is a field like any other."""
    version: JSON = {"subresources": {"status": {}}} if status else {}
    spec_schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    kind = sandbox.custom(spec_schema, **version)
    created = submit(kind, {**widget({"n": 1}), "status": {}})
    assert ("status" in created.obj) is not status
    old = {**widget({"n": 1}), "status": {}}

    changed = submit(kind, {**widget({"n": 2})}, old)
    assert ("status" in changed.obj) is status
    assert kind.behaviour.generation_changed(changed.obj, old)

    written = submit(kind, {**widget({"n": 9}), "status": {}}, {**widget({"n": 1})}, "status")
    assert written.obj["spec"] == {"n": 1}
    assert written.obj["status"] == {}


def test_a_status_write_leaves_metadata_alone_but_for_the_version(
    sandbox: Sandbox, widget: JSONMaker, submit: Submit
) -> None:
    kind = sandbox.custom({"type": "object"}, subresources={"status": {}})
    old = widget({})
    new = {**widget({}), "status": {}}
    new["metadata"] = {**new["metadata"], "labels": {"a": "b"}, "resourceVersion": "7"}

    assert submit(kind, new, old, "status").obj["metadata"] == {"name": "w", "resourceVersion": "7"}


def test_selectable_fields_and_scale(sandbox: Sandbox, widget: JSONMaker) -> None:
    kind = sandbox.custom(
        {"type": "object", "properties": {"color": {"type": "string"}, "n": {"type": "integer"}}},
        selectableFields=[{"jsonPath": ".spec.color"}],
        subresources={
            "scale": {
                "specReplicasPath": ".spec.n",
                "statusReplicasPath": ".status.n",
                "labelSelectorPath": ".status.selector",
            }
        },
    )

    assert kind.field_labels(widget({"color": "red"})) == {"spec.color": "red"}
    assert kind.field_labels(widget({})) == {"spec.color": ""}
    assert kind.scale is not None
    assert kind.scale.label_selector == ".status.selector"
    assert kind.subresources == {"scale"}


def test_a_schema_change_moves_the_registry_s_generation(sandbox: Sandbox, make_crd: JSONMaker) -> None:
    before = sandbox.registry.generation
    written = sandbox.define(make_crd(OBJECT))
    installed = sandbox.registry.generation
    sandbox.registry.remove_crd(written.obj)

    assert before < installed < sandbox.registry.generation
    sandbox.registry.remove_crd(written.obj)  # again: nothing to remove
    assert sandbox.registry.generation == installed + 1


@pytest.mark.parametrize(
    ("below", "why"),
    [
        ({"items": {"type": 5}}, "cannot unmarshal number into Go struct field JSONSchemaProps.type of type string"),
        ({"items": {"properties": {"a": {"items": {"required": 5}}}}}, "JSONSchemaProps.required"),
        ({"items": [1]}, "JSONSchemaProps"),
        ({"additionalProperties": 5}, "boolean or JSON schema expected"),
        ({"additionalProperties": {"enum": "x"}}, "JSONSchemaProps.enum"),
    ],
)
def test_a_schema_of_the_wrong_types_is_no_crd(below: JSON, why: str, sandbox: Sandbox, make_crd: JSONMaker) -> None:
    with pytest.raises(DecodeError, match=re.escape(why)):
        sandbox.define(make_crd(spec({"type": "array", **below})))


def test_what_schemas_do_not_know_is_dropped(sandbox: Sandbox, make_crd: JSONMaker) -> None:
    given = spec({"type": "array", "items": {"type": "string", "unheard": 1, "nullable": False}})

    written = sandbox.define(make_crd(given))

    stored = written.obj["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert stored == {"type": "array", "items": {"type": "string"}}
