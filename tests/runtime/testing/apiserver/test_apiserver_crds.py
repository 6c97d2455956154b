"""The life of a CustomResourceDefinition over HTTP: it is established, frees its names, takes its objects along."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from tests.runtime.testing.apiserver.apiserver_helpers import (
    CRDS,
    WIDGET_CRD,
    WIDGETS,
    Answer,
    Http,
    Watching,
    eventually,
    widget,
)

BETAS = WIDGETS.replace("/v1/", "/v1beta1/")
TEXT = {"type": "string"}


def version(name: str, *, storage: bool = False, spec: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": spec or {}}}}
    return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": schema}, **more}


def definition(
    *versions: dict[str, Any], plural: str = "widgets", kind: str = "Widget", **names: Any
) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind, **names},
            "versions": list(versions) or [version("v1", storage=True, spec={"a": TEXT})],
        },
    }


def conditions(obj: dict[str, Any]) -> dict[str, str]:
    return {each["type"]: f"{each['status']} {each['reason']}" for each in obj["status"].get("conditions") or ()}


def warnings(answer: Answer) -> list[str]:
    return answer.headers.get("warning", [])


def test_a_new_crd_is_established_step_by_step(api: Http, watch: Callable[..., Watching]) -> None:
    seen = watch(f"{CRDS}?watch=true")

    created = api.post(CRDS, definition())
    stored = api.get(f"{CRDS}/widgets.example.com").body

    assert created.status == 201
    assert conditions(created.body) == {}  # nobody has looked at it yet
    assert created.body["status"]["storedVersions"] == ["v1"]
    assert conditions(stored) == {"NamesAccepted": "True NoConflicts", "Established": "True InitialNamesAccepted"}
    assert [(each["type"], conditions(each["object"])) for each in seen.wait(3)] == [
        ("ADDED", {}),
        ("MODIFIED", {"NamesAccepted": "True NoConflicts", "Established": "False Installing"}),
        ("MODIFIED", {"NamesAccepted": "True NoConflicts", "Established": "True InitialNamesAccepted"}),
    ]
    assert api.get(WIDGETS).status == 200


def test_a_name_that_is_taken_is_waited_for(api: Http) -> None:
    api.post(CRDS, definition())
    api.post(CRDS, definition(plural="gadgets", kind="Widget"))
    waiting = api.get(f"{CRDS}/gadgets.example.com").body

    assert conditions(waiting) == {
        "NamesAccepted": "False ListKindConflict",
        "Established": "False NotAccepted",
    }
    assert api.get(WIDGETS.replace("widgets", "gadgets")).status == 404

    api.delete(f"{CRDS}/widgets.example.com")
    eventually(lambda: api.get(WIDGETS.replace("widgets", "gadgets")).status == 200)

    assert conditions(api.get(f"{CRDS}/gadgets.example.com").body) == {
        "NamesAccepted": "True NoConflicts",
        "Established": "True InitialNamesAccepted",
    }


def test_a_name_that_is_taken_later_leaves_the_crd_served(api: Http) -> None:
    api.post(CRDS, definition(shortNames=["wi"]))
    api.post(CRDS, definition(plural="gadgets", kind="Gadget", shortNames=["ga"]))

    changed = api.merge(f"{CRDS}/gadgets.example.com", {"spec": {"names": {"shortNames": ["ga", "wi"]}}})
    stored = api.get(f"{CRDS}/gadgets.example.com").body

    assert changed.status == 200
    assert conditions(stored) == {
        "NamesAccepted": "False ShortNamesConflict",
        "Established": "True InitialNamesAccepted",
    }
    assert stored["status"]["acceptedNames"]["shortNames"] == ["ga"]
    assert api.get(WIDGETS.replace("widgets", "gadgets")).status == 200


def test_a_crd_goes_when_its_objects_have_gone(api: Http) -> None:
    api.post(CRDS, definition())
    api.post(WIDGETS, {**widget("held"), "metadata": {"name": "held", "finalizers": ["example.com/hold"]}})
    api.post(WIDGETS, widget("free"))

    deleted = api.delete(f"{CRDS}/widgets.example.com")
    eventually(lambda: api.get(f"{WIDGETS}/free").status == 404)
    terminating = api.get(f"{CRDS}/widgets.example.com").body
    refused = api.post(WIDGETS, widget("late"))

    assert deleted.body["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    assert conditions(deleted.body)["Terminating"] == "True InstanceDeletionPending"
    assert conditions(terminating)["Terminating"] == "True InstanceDeletionInProgress"
    assert refused.status == 403
    assert api.get(f"{WIDGETS}/held").body["metadata"]["deletionTimestamp"]

    assert api.merge(f"{WIDGETS}/held", {"metadata": {"finalizers": None}}).status == 200
    eventually(lambda: api.get(f"{CRDS}/widgets.example.com").status == 404)
    assert api.get(WIDGETS).status == 404


def test_a_crd_without_objects_ends_its_watches(api: Http, watch: Callable[..., Watching]) -> None:
    api.post(CRDS, definition())
    seen = watch(f"{WIDGETS}?watch=true")

    api.delete(f"{CRDS}/widgets.example.com")

    seen.wait_end()
    eventually(lambda: api.get(f"{CRDS}/widgets.example.com").status == 404)


def test_versions_are_two_views_of_one_object(api: Http) -> None:
    both = definition(
        version("v1", storage=True, spec={"a": TEXT, "both": {"type": "integer", "default": 3}}),
        version("v1beta1", spec={"b": TEXT, "both": {"type": "integer"}}, deprecated=True),
    )
    api.post(CRDS, both)

    made = api.post(BETAS, {**widget("w", b="lost", both=5), "apiVersion": "example.com/v1beta1"})
    api.merge(f"{WIDGETS}/w", {"spec": {"a": "kept"}})

    assert made.body["apiVersion"] == "example.com/v1beta1"
    assert made.body["spec"] == {"both": 5}
    assert api.get(f"{WIDGETS}/w").body["spec"] == {"a": "kept", "both": 5}
    assert api.get(f"{BETAS}/w").body["spec"] == {"both": 5}
    assert warnings(made) == ['299 - "example.com/v1beta1 Widget is deprecated; use example.com/v1 Widget"']
    assert warnings(api.get(f"{WIDGETS}/w")) == []
    assert api.post(BETAS, widget("x")).status == 400


def test_the_deprecation_of_a_version_says_what_it_is_told_to(api: Http) -> None:
    api.post(CRDS, definition(version("v1", storage=True, deprecated=True, deprecationWarning="use gadgets")))

    assert warnings(api.get(WIDGETS)) == ['299 - "use gadgets"']


def test_a_write_that_changes_nothing_moves_an_object_to_the_new_storage_version(api: Http) -> None:
    first, second = (version(name, spec={"a": TEXT}) for name in ("v1", "v1beta1"))
    api.post(CRDS, definition({**first, "storage": True}, second))
    api.post(WIDGETS, widget("w", a="x"))
    before = api.get(f"{WIDGETS}/w").body

    unmoved = api.put(f"{WIDGETS}/w", before).body
    crd = api.get(f"{CRDS}/widgets.example.com").body
    crd["spec"]["versions"] = [first, {**second, "storage": True}]
    switched = api.put(f"{CRDS}/widgets.example.com", crd).body
    moved = api.put(f"{WIDGETS}/w", before).body
    again = api.put(f"{WIDGETS}/w", moved).body

    assert switched["status"]["storedVersions"] == ["v1", "v1beta1"]
    assert unmoved["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert moved["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]
    assert moved["metadata"]["generation"] == before["metadata"]["generation"]
    assert again["metadata"]["resourceVersion"] == moved["metadata"]["resourceVersion"]


def test_a_rule_that_came_later_warns_about_what_was_there(api: Http) -> None:
    loose = version("v1", storage=True, spec={"in": {"type": "object", "properties": {"a": TEXT}}, "b": TEXT})
    api.post(CRDS, definition(loose))
    api.post(WIDGETS, widget("w", **{"in": {"a": "long"}}))
    crd = api.get(f"{CRDS}/widgets.example.com").body
    strict = copy.deepcopy(crd["spec"]["versions"][0])
    strict["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["in"]["x-kubernetes-validations"] = [
        {"rule": "self.a.size() < 3", "message": "too long for us"}
    ]
    crd["spec"]["versions"] = [strict]
    assert api.put(f"{CRDS}/widgets.example.com", crd).status == 200

    elsewhere = api.merge(f"{WIDGETS}/w", {"spec": {"b": "x"}})
    there = api.merge(f"{WIDGETS}/w", {"spec": {"in": {"a": "longer"}}})

    assert elsewhere.status == 200
    assert [each for each in warnings(elsewhere) if "too long for us" in each] == warnings(elsewhere)
    assert len(warnings(elsewhere)) == 1
    assert there.status == 422
    assert there.body["details"]["causes"][0]["field"] == "spec.in"


def test_a_list_kind_and_a_singular_of_its_own(api: Http) -> None:
    api.post(CRDS, definition(plural="boxes", kind="Box", listKind="BoxCollection", singular="crate"))

    resources = api.get("/apis/example.com/v1").body["resources"]

    assert api.get("/apis/example.com/v1/boxes").body["kind"] == "BoxCollection"
    assert [(each["name"], each["singularName"], each["kind"]) for each in resources] == [("boxes", "crate", "Box")]


def test_short_names_come_and_go(api: Http) -> None:
    api.post(CRDS, definition(shortNames=["wd", "wdg"]))
    path = f"{CRDS}/widgets.example.com"
    for names in (["wd"], None, ["wdg"]):
        assert api.merge(path, {"spec": {"names": {"shortNames": names}}}).status == 200
        assert api.get(path).body["status"]["acceptedNames"].get("shortNames") == names


def test_a_field_to_select_by(api: Http, watch: Callable[..., Watching]) -> None:
    api.post(
        CRDS, definition(version("v1", storage=True, spec={"a": TEXT}, selectableFields=[{"jsonPath": ".spec.a"}]))
    )
    seen = watch(f"{WIDGETS}?watch=true&fieldSelector=spec.a%3Dx")
    api.post(WIDGETS, widget("one", a="x"))
    api.post(WIDGETS, widget("two", a="y"))
    api.merge(f"{WIDGETS}/one", {"spec": {"a": "y"}})

    assert [
        each["metadata"]["name"]
        for each in api.get(f"{WIDGETS}?fieldSelector=spec.a%3Dy,metadata.name%21%3Done").body["items"]
    ] == ["two"]
    assert api.get(f"{WIDGETS}?fieldSelector=spec.b%3Dy").status == 400
    assert [(each["type"], each["object"]["metadata"]["name"]) for each in seen.wait(2)] == [
        ("ADDED", "one"),
        ("DELETED", "one"),
    ]


def test_a_status_write_cannot_touch_the_spec_of_a_crd(api: Http) -> None:
    api.post(CRDS, WIDGET_CRD)
    crd = api.get(f"{CRDS}/widgets.example.com").body
    crd["spec"]["names"]["shortNames"] = ["w"]
    crd["status"]["conditions"].append({"type": "Ours", "status": "True"})

    api.put(f"{CRDS}/widgets.example.com/status", crd)
    found = api.get(f"{CRDS}/widgets.example.com").body

    assert "shortNames" not in found["spec"]["names"]
    assert [each["type"] for each in found["status"]["conditions"]][-1] == "Ours"
