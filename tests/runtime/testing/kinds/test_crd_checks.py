"""What a CustomResourceDefinition must look like: schemas, versions, selectable fields, conversion, approval."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from runtime.types import GVR
from tests.runtime.testing.kinds.kinds_helpers import CRDS, JSON, JSONMaker, Sandbox, Submit, crd

ROOT = "spec.validation.openAPIV3Schema"
SPEC = f"{ROOT}.properties[spec]"
TEXT = {"type": "string"}
KEPT = "x-kubernetes-preserve-unknown-fields"
EMBEDDED = "x-kubernetes-embedded-resource"
EITHER = "x-kubernetes-int-or-string"
RULES = "x-kubernetes-validations"
LIST = "x-kubernetes-list-type"
KEYS = "x-kubernetes-list-map-keys"
MAP = "x-kubernetes-map-type"


def props(**properties: JSON) -> JSON:
    return {"type": "object", "properties": properties}


def listed(items: JSON, **more: Any) -> JSON:
    return {"type": "array", "items": items, **more}


def by(items: JSON, *keys: str) -> JSON:
    return listed(items, **{LIST: "map", KEYS: list(keys)})


def keyed(**more: Any) -> JSON:
    return {**props(k=TEXT, l=listed(TEXT)), "required": ["k", "l"], **more}


@pytest.mark.parametrize(
    ("schema", "reason", "where"),
    [
        # Types.
        ({}, "Required", ".type"),
        ({KEPT: True}, None, ""),
        ({EITHER: True}, None, ""),
        ({EITHER: True, "type": "string"}, None, ""),
        ({EITHER: True, "anyOf": [{"type": "integer"}, {"type": "string"}]}, None, ""),
        ({EITHER: True, "anyOf": [{"type": "string"}, {"type": "integer"}]}, "Forbidden", ".anyOf[0].type"),
        (
            {EITHER: True, "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"minimum": 1}]},
            None,
            "",
        ),
        ({EITHER: True, KEPT: True}, "Invalid", f".{KEPT}"),
        ({**TEXT, KEPT: True}, None, ""),
        ({**props(), KEPT: False}, "Invalid", f".{KEPT}"),
        ({"type": "null"}, "NotSupported", ".type"),
        # What stands below a junctor must stand outside, too, and may only narrow values.
        ({**props(a=TEXT), "anyOf": [{"properties": {"a": {"minLength": 1}}}]}, None, ""),
        ({**TEXT, "not": {"pattern": "^a"}}, None, ""),
        ({**TEXT, "allOf": [{"description": "d"}]}, "Forbidden", ".allOf[0].description"),
        ({**TEXT, "oneOf": [{"default": "x"}]}, "Forbidden", ".oneOf[0].default"),
        ({**TEXT, "oneOf": [{"nullable": True}]}, "Forbidden", ".oneOf[0].nullable"),
        ({**props(), "not": {"additionalProperties": TEXT}}, "Forbidden", ".not.additionalProperties"),
        ({**props(), "not": {KEPT: True}}, "Forbidden", f".not.{KEPT}"),
        ({**TEXT, "not": {RULES: [{"rule": "true"}]}}, "Forbidden", f".not.{RULES}"),
        # What OpenAPI knows, and CRDs do not.
        ({"$ref": "#/x"}, "Forbidden", ".$ref"),
        ({**TEXT, "dependencies": {"a": ["b"]}}, "Forbidden", ".dependencies"),
        ({**TEXT, "definitions": {"a": TEXT}}, "Forbidden", ".definitions"),
        ({**props(), "patternProperties": {"a": TEXT}}, "Forbidden", ".patternProperties"),
        ({**props(a=TEXT), "additionalProperties": False}, "Forbidden", ".additionalProperties"),
        ({"type": "array", "items": [TEXT]}, "Forbidden", ".items"),
        ({**TEXT, "id": "x"}, "Forbidden", ".id"),
        # Lists and maps.
        (listed(TEXT, **{LIST: "set"}), None, ""),
        (listed(props(), **{LIST: "set"}), "Invalid", f".items.{MAP}"),
        (listed({**props(), MAP: "atomic"}, **{LIST: "set"}), None, ""),
        (listed(listed(TEXT, **{LIST: "set"}), **{LIST: "set"}), "Invalid", f".items.{LIST}"),
        (listed(listed(TEXT, **{LIST: "atomic"}), **{LIST: "set"}), None, ""),
        (listed({**TEXT, "nullable": True}, **{LIST: "set"}), "Forbidden", ".items.nullable"),
        ({**TEXT, LIST: "set"}, "Invalid", ".type"),
        ({**TEXT, MAP: "atomic"}, "Invalid", ".type"),
        ({**props(), MAP: "bag"}, "NotSupported", f".{MAP}"),
        (by(keyed(), "k"), None, ""),
        (listed(keyed(), **{LIST: "map"}), "Required", f".{KEYS}"),
        (by(keyed(), "k", "k"), "Invalid", f".{KEYS}"),
        (by(keyed(), "x"), "Invalid", f".{KEYS}"),
        (by(keyed(), "l"), "Invalid", ".items.properties[l].type"),
        (by(TEXT, "k"), "Invalid", ".items.type"),
        (by({**keyed(), "nullable": True}, "k"), "Forbidden", ".items.nullable"),
        (by(props(k={**TEXT, "default": "x"}), "k"), None, ""),
        (listed(TEXT, **{KEYS: ["a"]}), "Required", f".{LIST}"),
        # Defaults.
        ({**TEXT, "default": None}, None, ""),
        ({**TEXT, "default": None, "nullable": True}, None, ""),
        ({**props(a=TEXT), "default": {"b": 1}}, "Invalid", ".default"),
        ({**props(a=TEXT), "default": {"b": 1}, KEPT: True}, None, ""),
        ({**props(a=TEXT), "required": ["a"], "default": {}}, "Required", ".default.a"),
        ({**TEXT, "maxLength": 2, "default": "abc"}, "TooLong", ".default"),
        ({**TEXT, "enum": ["a"], "default": "b"}, "NotSupported", ".default"),
        ({"type": "integer", "default": 1.5}, "TypeInvalid", ".default"),
        (
            {**TEXT, "default": "abc", "x-kubernetes-validations": [{"rule": "self == 'x'"}]},
            "Invalid",
            ".default",
        ),
        # It must fit as a value that is new, and as one that stays.
        (
            {**TEXT, "default": "x", RULES: [{"rule": "oldSelf.hasValue()", "optionalOldSelf": True}]},
            "Invalid",
            ".default",
        ),
        (
            {**TEXT, "default": "x", RULES: [{"rule": "!oldSelf.hasValue()", "optionalOldSelf": True}]},
            "Invalid",
            ".default",
        ),
        # Patterns are those of Go.
        ({**TEXT, "pattern": "a++"}, "Invalid", ".pattern"),
        ({**TEXT, "pattern": "\\\\Qa.b"}, None, ""),
        ({**TEXT, "pattern": "\\p{L}"}, None, ""),
        ({**TEXT, "pattern": "(?u)a"}, "Invalid", ".pattern"),
        ({**TEXT, "pattern": "a{1001}"}, "Invalid", ".pattern"),
        ({**TEXT, "pattern": "\\C"}, "Invalid", ".pattern"),
        # Embedded objects.
        ({**props(), EMBEDDED: True}, "Required", ".properties"),
        ({**props(), EMBEDDED: True, KEPT: True}, None, ""),
        ({**props(a=TEXT), EMBEDDED: True}, None, ""),
        ({**props(metadata=props(name=TEXT)), EMBEDDED: True}, None, ""),
        ({**props(apiVersion={"type": "integer"}), EMBEDDED: True}, "Invalid", ".properties[apiVersion].type"),
        ({**TEXT, EMBEDDED: True}, "Invalid", ".type"),
    ],
)  # fmt: skip
def test_a_schema(schema: JSON, reason: str | None, where: str, sandbox: Sandbox, make_crd: JSONMaker) -> None:
    causes = sandbox.define(make_crd(props(spec=schema))).causes

    if reason is None:
        assert causes == []
    else:
        assert (f"FieldValue{reason}", SPEC + where) in causes


@pytest.mark.parametrize(
    ("schema", "cause"),
    [
        (props(metadata={"type": "object"}), None),
        (props(metadata=props(name={**TEXT, "maxLength": 3})), None),
        (props(metadata=props(labels=props(a=TEXT))), ("Forbidden", f"{ROOT}.properties[metadata]")),
        (props(metadata=TEXT), ("Invalid", f"{ROOT}.properties[metadata].type")),
        (props(kind={"type": "integer"}), ("Invalid", f"{ROOT}.properties[kind].type")),
        ({**props(), "nullable": True}, ("Forbidden", f"{ROOT}.nullable")),
        (
            {**props(), "anyOf": [{"properties": {"a": {"minLength": 1}}}]},
            ("Required", f"{ROOT}.properties[a]"),
        ),
        ({"type": "object", "additionalProperties": TEXT}, ("Forbidden", f"{ROOT}.additionalProperties")),
    ],
)
def test_a_root(schema: JSON, cause: tuple[str, str] | None, sandbox: Sandbox, make_crd: JSONMaker) -> None:
    causes = sandbox.define(make_crd(schema)).causes

    assert causes == [] if cause is None else (f"FieldValue{cause[0]}", cause[1]) in causes


def test_a_root_of_a_kind_with_a_status_holds_little_but_properties(sandbox: Sandbox, make_crd: JSONMaker) -> None:
    odd = {**props(spec={"type": "object"}), "minProperties": 1}

    assert sandbox.define(make_crd(odd)).errors == []
    assert sandbox.define(make_crd(odd, subresources={"status": {}})).causes == [("FieldValueInvalid", ROOT)]


Change = Callable[[JSON], object]


def webhook(**client: Any) -> JSON:
    return {
        "strategy": "Webhook",
        "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": client or {"url": "https://a.example.com/x"}},
    }


def service(**more: Any) -> JSON:
    return {"service": {"namespace": "n", "name": "s", **more}}


def fields(*paths: str) -> Change:
    return lambda spec: spec["versions"][0].update(selectableFields=[{"jsonPath": path} for path in paths])


@pytest.mark.parametrize(
    ("change", "causes"),
    [
        # Fields to select by.
        (fields(".spec.text"), []),
        (fields(".spec.number", ".spec.flag"), []),
        (fields(".spec.real"), [("Invalid", "selectableFields[0].jsonPath")]),
        (fields(".spec.list"), [("Invalid", "selectableFields[0].jsonPath")]),
        (fields(".spec.list[0]"), [("Invalid", "selectableFields[0].jsonPath")]),
        (fields(".spec"), [("Invalid", "selectableFields[0].jsonPath")]),
        (fields(".spec.none"), [("Invalid", "selectableFields[0].jsonPath")]),
        (fields(".metadata.name"), [("Invalid", "selectableFields[0].jsonPath")]),
        (fields("spec.text"), [("Invalid", "selectableFields[0].jsonPath")]),
        (fields(""), [("Required", "selectableFields[0].jsonPath")]),
        (fields(".spec.text", ".spec.text"), [("Duplicate", "selectableFields[1].jsonPath")]),
        (fields(*[f".spec.t{i}" for i in range(8)]), []),
        (fields(*[f".spec.t{i}" for i in range(9)]), [("TooMany", "selectableFields")]),
        # Conversion.
        (lambda spec: spec.update(conversion=webhook()), []),
        (lambda spec: spec.update(conversion={"strategy": "Magic"}), [("NotSupported", "conversion.strategy")]),
        (lambda spec: spec.update(conversion={"strategy": ""}), [("Required", "conversion.strategy")]),
        (
            lambda spec: spec.update(conversion={"strategy": "Webhook"}),
            [
                ("Required", "conversion.webhookClientConfig"),
                ("Required", "conversion.conversionReviewVersions"),
            ],
        ),
        (
            lambda spec: spec.update(conversion={**webhook(), "strategy": "None"}),
            [
                ("Forbidden", "conversion.webhookClientConfig"),
                ("Forbidden", "conversion.conversionReviewVersions"),
            ],
        ),
        (
            lambda spec: spec.update(conversion=webhook(url="http://a.example.com")),
            [("Invalid", "conversion.webhookClientConfig.url")],
        ),
        (
            lambda spec: spec.update(conversion=webhook(url="https://a.example.com", **service())),
            [("Required", "conversion.webhookClientConfig")],
        ),
        (lambda spec: spec.update(conversion=webhook(**service(path="/a"))), []),
        (
            lambda spec: spec.update(conversion=webhook(**service(namespace=""))),
            [("Required", "conversion.webhookClientConfig.service.name")],
        ),
        (
            lambda spec: spec.update(conversion=webhook(**service(port=70000))),
            [("Invalid", "conversion.webhookClientConfig.service.port")],
        ),
        (
            lambda spec: spec.update(conversion=webhook(**service(path="a"))),
            [("Invalid", "conversion.webhookClientConfig.service.path")],
        ),
        (
            lambda spec: spec.update(conversion=merged(webhook(), conversionReviewVersions=["v2"])),
            [("Invalid", "conversion.conversionReviewVersions")],
        ),
        (
            lambda spec: spec.update(conversion=merged(webhook(), conversionReviewVersions=[])),
            [("Required", "conversion.conversionReviewVersions")],
        ),
        # Deprecation.
        (lambda spec: spec["versions"][0].update(deprecated=True, deprecationWarning="old"), []),
        (
            lambda spec: spec["versions"][0].update(deprecationWarning="old"),
            [("Invalid", "versions[0].deprecationWarning")],
        ),
        (
            lambda spec: spec["versions"][0].update(deprecated=True, deprecationWarning=""),
            [("Invalid", "versions[0].deprecationWarning")],
        ),
        (
            lambda spec: spec["versions"][0].update(deprecated=True, deprecationWarning="x" * 257),
            [("Invalid", "versions[0].deprecationWarning")],
        ),
        # Scale.
        (lambda spec: spec["versions"][0].update(subresources={"scale": scale()}), []),
        (
            lambda spec: spec["versions"][0].update(subresources={"scale": scale(specReplicasPath="")}),
            [("Required", "subresources.scale.specReplicasPath")],
        ),
        (
            lambda spec: spec["versions"][0].update(subresources={"scale": scale(statusReplicasPath=".spec.n")}),
            [("Invalid", "subresources.scale.statusReplicasPath")],
        ),
        (
            lambda spec: spec["versions"][0].update(subresources={"scale": scale(labelSelectorPath=".metadata.x")}),
            [("Invalid", "subresources.scale.labelSelectorPath")],
        ),
        # Columns.
        (lambda spec: column(spec, jsonPath=""), [("Required", "additionalPrinterColumns[0].JSONPath")]),
        (lambda spec: column(spec, jsonPath="{.spec}"), [("Invalid", "additionalPrinterColumns[0].JSONPath")]),
        (lambda spec: column(spec, name=""), [("Required", "additionalPrinterColumns[0].name")]),
        (lambda spec: column(spec, type=""), [("Required", "additionalPrinterColumns[0].type")]),
        (lambda spec: column(spec, format="dwarf"), [("Invalid", "additionalPrinterColumns[0].format")]),
        (lambda spec: column(spec, type="integer", format="int32"), []),
        # Names.
        (lambda spec: spec["names"].update(shortNames=["W"]), [("Invalid", "names.shortNames[0]")]),
        (lambda spec: spec["names"].update(categories=["a", "b c"]), [("Invalid", "names.categories[1]")]),
        (
            lambda spec: spec["names"].update(kind=""),
            [("Required", f"names.{each}") for each in ("kind", "listKind", "singular")],
        ),
        (lambda spec: spec.update(preserveUnknownFields=True), [("Invalid", "preserveUnknownFields")]),
    ],
)  # fmt: skip
def test_a_spec(change: Change, causes: list[tuple[str, str]], sandbox: Sandbox) -> None:
    given = crd(
        props(
            spec=props(
                text=TEXT,
                number={"type": "integer"},
                flag={"type": "boolean"},
                real={"type": "number"},
                list=listed(TEXT),
                **{f"t{i}": TEXT for i in range(9)},
            )
        )
    )
    change(given["spec"])

    found = {cause for cause in sandbox.define(given).causes if not cause[1].startswith("status")}

    assert found == {(f"FieldValue{reason}", f"spec.{field}") for reason, field in causes}


def merged(conversion: JSON, **more: Any) -> JSON:
    return {**conversion, "webhook": {**conversion["webhook"], **more}}


def scale(**more: str) -> JSON:
    return {"specReplicasPath": ".spec.number", "statusReplicasPath": ".status.replicas", **more}


def column(spec: JSON, **more: str) -> None:
    spec["versions"][0]["additionalPrinterColumns"] = [{"name": "A", "type": "string", "jsonPath": ".spec", **more}]


def test_what_versions_do_not_share_is_named_by_version(sandbox: Sandbox, make_crd: JSONMaker) -> None:
    given = make_crd(props(spec={"type": "thing"}))
    given["spec"]["versions"].append({**given["spec"]["versions"][0], "name": "v2", "storage": False})

    same = {field for _, field in sandbox.define(given).causes}
    given["spec"]["versions"][1] = {**given["spec"]["versions"][1], "schema": {"openAPIV3Schema": props()}}
    different = {field for _, field in sandbox.define(given).causes}

    assert same == {f"{SPEC}.type"}
    assert different == {"spec.versions[0].schema.openAPIV3Schema.properties[spec].type"}


def test_versions_have_names_of_their_own(sandbox: Sandbox, make_crd: JSONMaker) -> None:
    given = make_crd(props())
    given["spec"]["versions"].append({**given["spec"]["versions"][0], "storage": False})

    assert sandbox.define(given).causes == [("FieldValueInvalid", "spec.versions")]


def test_a_version_that_was_stored_stays(sandbox: Sandbox, make_crd: JSONMaker, submit: Submit) -> None:
    old = sandbox.define(make_crd(props())).obj
    second = {**old["spec"]["versions"][0], "name": "v2"}
    both = {**old, "spec": {**old["spec"], "versions": [{**old["spec"]["versions"][0], "storage": False}, second]}}
    second_only = {**old, "spec": {**old["spec"], "versions": [second]}}

    moved = submit(sandbox.kind(CRDS), both, old)

    assert moved.errors == []
    assert moved.obj["status"]["storedVersions"] == ["v1", "v2"]
    assert submit(sandbox.kind(CRDS), second_only, moved.obj).causes == [
        ("FieldValueInvalid", "status.storedVersions[0]")
    ]


@pytest.mark.parametrize(
    ("changes", "causes"),
    [
        ({"group": "other.com"}, [("FieldValueInvalid", "spec.group")]),
        ({"scope": "Cluster"}, [("FieldValueInvalid", "spec.scope")]),
    ],
)
def test_what_never_changes(
    changes: JSON, causes: list[tuple[str, str]], sandbox: Sandbox, make_crd: JSONMaker, submit: Submit
) -> None:
    old = sandbox.define(make_crd(props())).obj

    assert submit(sandbox.kind(CRDS), {**old, "spec": {**old["spec"], **changes}}, old).causes == causes


def test_an_unknown_format_warns_when_it_comes(sandbox: Sandbox, make_crd: JSONMaker, submit: Submit) -> None:
    given = make_crd(props(spec=props(a={**TEXT, "format": "moon-phase"}, b={**TEXT, "format": "date-time"})))

    written = sandbox.define(given)
    again = submit(sandbox.kind(CRDS), given, written.obj)

    assert written.errors == []
    assert len(written.warnings) == 1
    assert '"moon-phase"' in written.warnings[0]
    assert again.warnings == []


@pytest.mark.parametrize(
    ("annotation", "cause", "condition"),
    [
        (None, "FieldValueRequired", None),
        ("whatever", "FieldValueInvalid", None),
        ("https://example.com/pull/1", None, "True"),
        ("unapproved, for tests", None, "False"),
    ],
)
def test_the_groups_of_kubernetes_need_an_approval(
    annotation: str | None, cause: str | None, condition: str | None, sandbox: Sandbox, make_crd: JSONMaker
) -> None:
    given = make_crd(props())
    given["spec"]["group"] = "example.k8s.io"
    given["metadata"] = {"name": "widgets.example.k8s.io"}
    if annotation is not None:
        given["metadata"]["annotations"] = {"api-approved.kubernetes.io": annotation}

    written = sandbox.define(given)

    assert [reason for reason, _ in written.causes] == ([] if cause is None else [cause])
    if condition is not None:
        conditions = {each["type"]: each["status"] for each in written.obj["status"]["conditions"]}
        assert conditions["KubernetesAPIApprovalPolicyConformant"] == condition
        assert conditions["Established"] == "True"


def test_a_bad_bundle_keeps_a_new_crd_from_being_served(sandbox: Sandbox, make_crd: JSONMaker, submit: Submit) -> None:
    given = make_crd(props())
    given["spec"]["conversion"] = webhook(url="https://a.example.com", caBundle="bm9uc2Vuc2U=")

    new = sandbox.define(given)
    established = Sandbox().define(make_crd(props())).obj
    later = submit(sandbox.kind(CRDS), {**given, "status": established["status"]}, established)

    assert new.errors == []
    assert {each["type"]: (each["status"], each["reason"]) for each in new.obj["status"]["conditions"]} == {
        "NamesAccepted": ("True", "NoConflicts"),
        "Established": ("False", "InvalidCABundle"),
    }
    assert sandbox.registry.lookup(GVR("example.com", "v1", "widgets")) is None
    assert later.causes == [("FieldValueInvalid", "spec.conversion.webhookClientConfig.caBundle")]


def test_versions_show_what_they_know(sandbox: Sandbox, make_crd: JSONMaker) -> None:
    given = make_crd(props(spec=props(both=TEXT, one=TEXT, given={**TEXT, "default": "first"})))
    other = props(spec=props(both=TEXT, two=TEXT, given={**TEXT, "default": "second"}))
    given["spec"]["versions"].append(
        {"name": "v2", "served": True, "storage": False, "schema": {"openAPIV3Schema": other}}
    )
    sandbox.define(given)
    first, second = (sandbox.kind(GVR("example.com", version, "widgets")) for version in ("v1", "v2"))
    assert second.to_storage is not None
    assert first.from_storage is not None
    assert second.from_storage is not None
    written: JSON = {"apiVersion": "example.com/v2", "kind": "Widget", "spec": {"both": "b", "two": "2"}}
    kept: JSON = {"apiVersion": "example.com/v1", "kind": "Widget", "spec": {"both": "b", "one": "1"}}

    assert second.to_storage(written) == {"apiVersion": "example.com/v1", "kind": "Widget", "spec": {"both": "b"}}
    assert first.from_storage(copy.deepcopy(kept))["spec"] == {"both": "b", "one": "1", "given": "first"}
    assert second.from_storage(kept) == {
        "apiVersion": "example.com/v2",
        "kind": "Widget",
        "spec": {"both": "b", "given": "first"},
    }
