"""Server-side apply: who owns what, what conflicts, what goes when nobody wants it any more."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.testing.apiserver import FakeAPIServer, StatusError, fieldset, ownership
from runtime.testing.apiserver.lastapplied import ANNOTATION as LAST_APPLIED
from runtime.testing.apiserver.typed import compare, field_paths, merge, remove, type_of
from runtime.testing.clock import FakeClock
from runtime.testing.kinds.registry import DefaultRegistry
from runtime.types import GVR
from tests.runtime.testing.apiserver.apiserver_helpers import (
    CONFIGMAPS,
    CRDS,
    JSON_PATCH,
    STATEFULSETS,
    WIDGET_CRD,
    Http,
    widget,
)


def configmap(name: str = "a", **data: str) -> dict[str, Any]:
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
    return {**body, "data": data} if data else body


def owners(body: dict[str, Any]) -> dict[str, Any]:
    """Manager to what it owns."""
    return {each["manager"]: each["fieldsV1"] for each in body["metadata"].get("managedFields", ())}


def test_an_apply_creates_and_owns(api: Http) -> None:
    answer = api.apply(f"{CONFIGMAPS}/a", configmap(k="v"))
    assert answer.status == 201
    (entry,) = answer.body["metadata"]["managedFields"]
    assert entry["operation"] == "Apply"
    assert entry["apiVersion"] == "v1"
    assert entry["fieldsV1"] == {"f:data": {"f:k": {}}}


def test_applying_the_same_again_changes_nothing(api: Http) -> None:
    first = api.apply(f"{CONFIGMAPS}/a", configmap(k="v")).body
    again = api.apply(f"{CONFIGMAPS}/a", configmap(k="v"))
    assert again.status == 200
    assert again.body == first


def test_what_is_no_longer_applied_goes_unless_somebody_else_owns_it(api: Http) -> None:
    api.apply(f"{CONFIGMAPS}/a", configmap(mine="1", ours="1"), "alice")
    api.apply(f"{CONFIGMAPS}/a", configmap(ours="1", theirs="1"), "bob")
    api.merge(f"{CONFIGMAPS}/a", {"data": {"other": "1"}})
    body = api.apply(f"{CONFIGMAPS}/a", configmap(), "alice").body
    assert body["data"] == {"ours": "1", "theirs": "1", "other": "1"}
    assert set(owners(body)) == {"bob", "tests"}
    body = api.apply(f"{CONFIGMAPS}/a", configmap(theirs="1"), "bob").body
    assert body["data"] == {"theirs": "1", "other": "1"}


def test_a_conflict_names_the_field_and_its_owner(api: Http) -> None:
    api.apply(f"{CONFIGMAPS}/a", configmap(k="1"), "alice")
    answer = api.apply(f"{CONFIGMAPS}/a", configmap(k="2"), "bob")
    assert answer.status == 409
    assert answer.body["message"] == 'Apply failed with 1 conflict: conflict with "alice": .data.k'
    (cause,) = answer.body["details"]["causes"]
    assert (cause["reason"], cause["field"]) == ("FieldManagerConflict", ".data.k")
    assert api.get(f"{CONFIGMAPS}/a").body["data"] == {"k": "1"}


def test_the_same_value_is_shared_without_conflict(api: Http) -> None:
    api.apply(f"{CONFIGMAPS}/a", configmap(k="1"), "alice")
    body = api.apply(f"{CONFIGMAPS}/a", configmap(k="1"), "bob").body
    assert owners(body) == {"alice": {"f:data": {"f:k": {}}}, "bob": {"f:data": {"f:k": {}}}}


def test_force_takes_over(api: Http) -> None:
    api.apply(f"{CONFIGMAPS}/a", configmap(k="1", keep="1"), "alice")
    body = api.apply(f"{CONFIGMAPS}/a", configmap(k="2"), "bob", force="true").body
    assert body["data"] == {"k": "2", "keep": "1"}
    assert owners(body) == {"alice": {"f:data": {"f:keep": {}}}, "bob": {"f:data": {"f:k": {}}}}


def test_an_update_takes_over_what_it_changes_and_drops_what_it_removes(api: Http) -> None:
    api.apply(f"{CONFIGMAPS}/a", configmap(k="1", l="1", m="1"), "alice")
    body = api.merge(f"{CONFIGMAPS}/a?fieldManager=edit", {"data": {"k": "2", "l": None}}).body
    assert owners(body) == {"alice": {"f:data": {"f:m": {}}}, "edit": {"f:data": {"f:k": {}}}}
    answer = api.apply(f"{CONFIGMAPS}/a", configmap(k="1", m="1"), "alice")
    assert answer.status == 409
    assert '"edit" using v1 at ' in answer.body["message"] or '"edit" using v1' in answer.body["message"]


def test_an_update_is_recorded_under_the_user_agent(api: Http) -> None:
    assert set(owners(api.made(CONFIGMAPS, "a", data={"k": "v"}))) == {"tests"}


def test_labels_are_owned_one_by_one_and_defaults_by_nobody(api: Http) -> None:
    template = {
        "metadata": {"labels": {"app": "s"}},
        "spec": {"containers": [{"name": "main", "image": "example.com/app:1"}]},
    }
    config = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "s", "labels": {"mine": "1"}},
        "spec": {"serviceName": "s", "selector": {"matchLabels": {"app": "s"}}, "template": template},
    }
    body = api.apply(f"{STATEFULSETS}/s", config).body
    owned = owners(body)["me"]
    assert owned["f:metadata"] == {"f:labels": {"f:mine": {}}}
    assert owned["f:spec"]["f:selector"] == {}, "a label selector is one value"
    main = owned["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"main"}']
    assert main == {".": {}, "f:image": {}, "f:name": {}}
    config["metadata"] = {"name": "s"}
    assert "labels" not in api.apply(f"{STATEFULSETS}/s", config).body["metadata"]


def test_lists_of_custom_resources_merge_as_their_schema_says(api: Http, widgets: str) -> None:
    mine = widget("a", parts=[{"name": "x", "value": 1}], tags=["1"], words=["b", "a"])
    api.apply(f"{widgets}/a", mine, "alice")
    theirs = widget("a", parts=[{"name": "y", "value": 2}], tags=["2"])
    body = api.apply(f"{widgets}/a", theirs, "bob").body
    assert body["spec"]["parts"] == [{"name": "x", "value": 1}, {"name": "y", "value": 2}]
    assert body["spec"]["tags"] == ["1", "2"]
    conflicting = widget("a", parts=[{"name": "x", "value": 9}], words=["c"])
    answer = api.apply(f"{widgets}/a", conflicting, "bob")
    fields = [cause["field"] for cause in answer.body["details"]["causes"]]
    assert fields == ['.spec.parts[name="x"].value', ".spec.words"]
    body = api.apply(f"{widgets}/a", widget("a"), "alice").body
    assert body["spec"] == {"parts": [{"name": "y", "value": 2}], "tags": ["2"]}


def test_status_is_applied_apart(api: Http, widgets: str) -> None:
    api.apply(f"{widgets}/a", {**widget("a", size="s"), "status": {"replicas": 7}}, "spec-writer")
    status = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "status": {"replicas": 1}}
    body = api.apply(f"{widgets}/a/status", status, "status-writer").body
    assert body["spec"] == {"size": "s"}
    assert body["status"] == {"replicas": 1}
    assert owners(body) == {
        "spec-writer": {"f:spec": {"f:size": {}}},
        "status-writer": {"f:status": {"f:replicas": {}}},
    }
    entry = next(e for e in body["metadata"]["managedFields"] if e["manager"] == "status-writer")
    assert entry["subresource"] == "status"
    missing = {**status, "metadata": {"name": "none"}}
    assert api.apply(f"{widgets}/none/status", missing).status == 404


def test_scale_takes_replicas_over(api: Http, widgets: str) -> None:
    api.apply(f"{widgets}/a", widget("a", replicas=1), "alice")
    api.merge(f"{widgets}/a/scale?fieldManager=scaler", {"spec": {"replicas": 5}})
    answer = api.apply(f"{widgets}/a", widget("a", replicas=1), "alice")
    assert answer.status == 409
    assert 'conflict with "scaler" with subresource "scale"' in answer.body["message"]


def test_forgotten_owners_begin_anew(api: Http) -> None:
    api.apply(f"{CONFIGMAPS}/a", configmap(k="v"), "alice")
    reset = [{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]
    body = api("PATCH", f"{CONFIGMAPS}/a", reset, content_type=JSON_PATCH).body
    assert "managedFields" not in body["metadata"]
    answer = api.apply(f"{CONFIGMAPS}/a", configmap(k="w"), "alice")
    assert "before-first-apply" in answer.body["message"]


def test_an_apply_with_a_version_needs_that_version(api: Http) -> None:
    old = api.apply(f"{CONFIGMAPS}/a", configmap(k="1")).body["metadata"]["resourceVersion"]
    api.apply(f"{CONFIGMAPS}/a", configmap(k="2"))
    stale = configmap(k="3")
    stale["metadata"]["resourceVersion"] = old
    assert api.apply(f"{CONFIGMAPS}/a", stale).status == 409


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}}, 400, "does not match the name"),
        ({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}, 400, "invalid object type"),
        ({"metadata": {"name": "a"}}, 400, "invalid object type"),
        (b"not: [yaml", 400, "error decoding YAML"),
        (b"[]", 400, "cannot unmarshal array into Go value of type map[string]interface {}"),
        (b"null", 400, "invalid object type: /, Kind="),
        (
            {**configmap(), "metadata": {"name": "a", "managedFields": [{"manager": "x"}]}},
            400,
            "managedFields must be nil",
        ),
        ({**configmap(), "metadata": {"name": "a", "managedFields": []}}, 400, "managedFields must be nil"),
        ({"apiVersion": "v1", "kind": "ConfigMap"}, 400, "(a based on URL) was undeterminable"),
        ({**configmap(), "metadata": {"name": "a", "namespace": "b"}}, 400, "the namespace of the provided object"),
    ],
)
def test_bad_configurations(api: Http, body: Any, status: int, words: str) -> None:
    answer = api.apply(f"{CONFIGMAPS}/a", body)
    assert answer.status == status
    assert words in answer.body["message"]


def test_only_a_new_object_needs_its_name(api: Http) -> None:
    """The URL has it, and what is applied to an object that is there has its name."""
    api.apply(f"{CONFIGMAPS}/a", configmap(k="1"))
    nameless = {**configmap(k="2"), "metadata": {}}
    answer = api.apply(f"{CONFIGMAPS}/a", nameless)
    assert (answer.status, answer.body["metadata"]["name"], answer.body["data"]) == (200, "a", {"k": "2"})
    assert api.apply(f"{CONFIGMAPS}/b", nameless).status == 400
    other = {**configmap(k="3"), "metadata": {"name": "b"}}
    assert api.apply(f"{CONFIGMAPS}/a", other).status == 400
    assert api.apply(f"{CONFIGMAPS}/a", other, "you").status == 409, "a conflict is found first"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"nope": 1}, ".spec.nope: field not declared in schema"),
        ({"parts": [{"name": "x"}, {"name": "x"}]}, '.spec.parts: duplicate entries for key [name="x"]'),
        ({"parts": [{"value": 1}]}, ".spec.parts: element 0: associative list with keys has an element that omits"),
        ({"parts": {}}, ".spec.parts: expected list"),
        ({"tags": ["a", "a"]}, '.spec.tags: duplicate entries for key [="a"]'),
    ],
)
def test_what_does_not_fit_the_kind_cannot_be_applied(api: Http, widgets: str, spec: Any, words: str) -> None:
    answer = api.apply(f"{widgets}/a", widget("a", **spec), fieldValidation="Ignore")
    assert answer.status == 500
    where = "failed to create typed patch object (default/a; example.com/v1, Kind=Widget): "
    assert answer.body["message"].startswith(where + words)
    assert api.get(f"{widgets}/a").status == 404


def test_a_status_write_has_no_say_in_who_owns_the_rest(api: Http, widgets: str) -> None:
    made = api.apply(f"{widgets}/a", widget("a", size="s"), "owner").body
    other = {**widget("a", size="t"), "status": {"replicas": 1}}
    applied = api.apply(f"{widgets}/a/status", other, "applier")
    assert applied.status == 200, applied  # no conflict in what it cannot change
    version = applied.body["metadata"]["resourceVersion"]
    bare = {**widget("a"), "metadata": {"name": "a", "resourceVersion": version}, "status": {"replicas": 2}}
    answer = api.put(f"{widgets}/a/status?fieldManager=putter", bare)
    assert answer.body["spec"] == made["spec"]
    assert owners(answer.body)["owner"] == {"f:spec": {"f:size": {}}}


def test_an_apply_needs_a_manager(api: Http) -> None:
    answer = api("PATCH", f"{CONFIGMAPS}/a", configmap(), content_type="application/apply-patch+yaml")
    assert answer.status == 422
    assert answer.body["details"]["causes"][0]["field"] == "fieldManager"


def test_updaters_are_bounded(api: Http) -> None:
    api.made(CONFIGMAPS, "a", data={"k": "v"})
    for number in range(15):
        api.merge(f"{CONFIGMAPS}/a?fieldManager=m{number}", {"data": {f"k{number}": "x"}})
    body = api.get(f"{CONFIGMAPS}/a").body
    assert len(body["metadata"]["managedFields"]) == 10
    assert "ancient-changes" in owners(body)


# -- the algebra below

_FOUND = DefaultRegistry().lookup(GVR("", "v1", "pods"))
assert _FOUND is not None
KIND = _FOUND
NODE = type_of(KIND)

names = st.sampled_from(["a", "b", "c"])
labels: st.SearchStrategy[dict[str, str]] = st.dictionaries(names, st.sampled_from(["1", "2"]), min_size=1, max_size=3)
item: st.SearchStrategy[dict[str, str]] = st.fixed_dictionaries({"name": names, "value": names})
container: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"name": names},
    optional={
        "image": st.sampled_from(["x", "y"]),
        "args": st.lists(names, min_size=1, max_size=2),
        "env": st.lists(
            st.fixed_dictionaries({"name": names, "value": names}),
            min_size=1,
            max_size=2,
            unique_by=lambda e: e["name"],
        ),
    },
)
pods: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"metadata": st.fixed_dictionaries({"name": st.just("p")}, optional={"labels": labels})},
    optional={
        "spec": st.fixed_dictionaries(
            {"containers": st.lists(container, min_size=1, max_size=3, unique_by=lambda c: c["name"])},
            optional={"nodeSelector": labels, "nodeName": names},
        )
    },
)


def members(value: Any) -> Any:
    """For comparison: lists of items by name, in any order; without what is empty."""
    if isinstance(value, dict):
        found = {k: members(v) for k, v in value.items() if k != "managedFields"}
        return {k: v for k, v in found.items() if v not in ({}, [])}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {each["name"]: members(each) for each in value}
    return value


@given(st.lists(st.lists(st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"1"']), min_size=1, max_size=4)))
def test_fields_v1_says_exactly_which_paths_there_are(paths: list[list[str]]) -> None:
    wanted = frozenset(tuple(path) for path in paths)
    assert fieldset.decode(fieldset.encode(wanted)) == wanted


@settings(max_examples=200, deadline=None)
@given(pods, pods)
def test_after_a_merge_everything_applied_is_there(live: dict[str, Any], config: dict[str, Any]) -> None:
    merged = merge(live, config, NODE)
    assert merge(merged, config, NODE) == merged
    assert field_paths(config, NODE) <= field_paths(merged, NODE)
    assert field_paths(merged, NODE) <= field_paths(live, NODE) | field_paths(config, NODE)
    difference = compare(merged, merge(merged, config, NODE), NODE)
    assert not difference.changed
    assert not difference.removed


@settings(max_examples=200, deadline=None)
@given(pods)
def test_removing_all_fields_leaves_nothing(pod: dict[str, Any]) -> None:
    assert not remove(pod, field_paths(pod, NODE), NODE)


@settings(max_examples=200, deadline=None)
@given(pods, pods, pods)
def test_a_manager_that_applies_anew_leaves_nothing_behind(
    base: dict[str, Any], first: dict[str, Any], second: dict[str, Any]
) -> None:
    """Applying ``first`` and then ``second`` gives what applying ``second`` at once gives, as long as the others'
    fields are theirs."""
    now = "2020-01-01T00:00:00Z"
    start = ownership.apply(KIND, None, base, "base", now)

    def applied(live: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
        return ownership.apply(KIND, live, config, "me", now, force=False)

    try:
        direct = applied(start, second)
        twice = applied(applied(start, first), second)
    except StatusError as error:
        assert error.code == 409  # noqa: PT017
        return
    assert members(twice) == members(direct)


def test_nobody_owns_what_is_written_of_an_empty_object(api: Http) -> None:
    body = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reason": "Began",
        "type": "Normal",
    }
    made = api.post("/api/v1/namespaces/default/events", body).body
    assert made["eventTime"] is None
    (entry,) = made["metadata"]["managedFields"]
    assert entry["fieldsV1"] == {"f:involvedObject": {}, "f:reason": {}, "f:type": {}}


def test_kubectl_goes_over_to_the_server_without_conflicts_in_what_it_has_applied_itself(api: Http) -> None:
    applied = configmap("a", k="1", other="1")
    text = json.dumps(applied)
    live = {**applied, "metadata": {"name": "a", "annotations": {LAST_APPLIED: text}}}
    path = f"{CONFIGMAPS}/a"
    assert api.post(f"{CONFIGMAPS}?fieldManager=kubectl-client-side-apply", live).status == 201
    wanted = configmap("a", k="2", other="1")
    assert api.apply(path, wanted, "somebody").status == 409
    answer = api.apply(path, wanted, "kubectl")
    assert (answer.status, answer.body["data"]) == (200, {"k": "2", "other": "1"})
    kept = answer.body["metadata"]["annotations"][LAST_APPLIED]
    assert kept.endswith("\n")
    assert json.loads(kept) == wanted


@pytest.mark.parametrize("text", ["", "{", "[]", '{"apiVersion": "v2", "kind": "ConfigMap", "data": {"k": "1"}}'])
def test_an_annotation_that_says_nothing_of_this_object_allows_nothing(api: Http, text: str) -> None:
    live = {**configmap("a", k="1"), "metadata": {"name": "a", "annotations": {LAST_APPLIED: text}}}
    assert api.post(f"{CONFIGMAPS}?fieldManager=kubectl-client-side-apply", live).status == 201
    assert api.apply(f"{CONFIGMAPS}/a", configmap("a", k="2"), "kubectl").status == 409


def test_what_others_have_changed_since_is_a_conflict_for_kubectl_too(api: Http) -> None:
    applied = configmap("a", k="1", other="1")
    live = {**applied, "metadata": {"name": "a", "annotations": {LAST_APPLIED: json.dumps(applied)}}}
    path = f"{CONFIGMAPS}/a"
    assert api.post(f"{CONFIGMAPS}?fieldManager=kubectl-client-side-apply", live).status == 201
    assert api.merge(f"{path}?fieldManager=bob", {"data": {"k": "bob's"}}).status == 200
    answer = api.apply(path, configmap("a", k="2", other="2"), "kubectl")
    assert [each["field"] for each in answer.body["details"]["causes"]] == [".data.k"]


def test_metadata_that_is_written_with_the_status_is_owned_with_it(api: Http, widgets: str) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    deployments = "/apis/apps/v1/namespaces/default/deployments"
    api.made(deployments, "d", spec=spec)
    assert api.post(widgets, widget("w")).status == 201
    change = {"metadata": {"labels": {"l": "1"}, "annotations": {"k": "1"}}, "status": {"replicas": 1}}
    body = api.merge(f"{deployments}/d/status?fieldManager=ctl", change).body
    owned = {"f:metadata": {"f:annotations": {".": {}, "f:k": {}}}, "f:status": {"f:replicas": {}}}
    assert owners(body)["ctl"] == owned, "labels are not changed with the status"
    body = api.merge(f"{widgets}/w/status?fieldManager=ctl", change).body
    assert owners(body)["ctl"] == {"f:status": {".": {}, "f:replicas": {}}}


@pytest.mark.parametrize("spec", [{"replicas": "x"}, {"replicas": True}, {"size": 1}, {"parts": {}}, {"words": [1]}])
def test_an_applied_value_of_another_type_cannot_be_owned(api: Http, widgets: str, spec: dict[str, Any]) -> None:
    answer = api.apply(f"{widgets}/w", widget("w", **spec))
    assert answer.status == 500
    assert answer.body["message"].startswith("failed to create typed patch object")


@pytest.mark.parametrize(
    "entry",
    [
        {"manager": "m", "operation": "Other", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {}},
        {"manager": "m", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {}},
        {"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsV1": {}},
        {"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV2", "fieldsV1": {}},
    ],
)
def test_owners_that_cannot_be_read_are_not_taken_over(api: Http, entry: dict[str, Any]) -> None:
    before = api.apply(f"{CONFIGMAPS}/a", configmap(k="v")).body["metadata"]["managedFields"]
    answer = api.merge(f"{CONFIGMAPS}/a", {"metadata": {"managedFields": [entry]}})
    assert (answer.status, answer.body["metadata"]["managedFields"]) == (200, before)
    answer = api.merge(f"{CONFIGMAPS}/a", {"metadata": {"managedFields": []}})
    assert answer.body["metadata"]["managedFields"] == before, "an empty list forgets nothing"


def test_quantities_and_ports_may_be_numbers_or_texts(api: Http) -> None:
    container = {"name": "c", "image": "i", "resources": {"limits": {"cpu": 1}}}
    probe = {"httpGet": {"port": "web"}}
    spec = {"containers": [{**container, "livenessProbe": probe}]}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    answer = api.apply("/api/v1/namespaces/default/pods/p", body)
    assert (answer.status, answer.body["spec"]["containers"][0]["resources"]["limits"]) == (201, {"cpu": "1"})


def test_who_creates_an_object_owns_what_is_one_value_as_one(api: Http) -> None:
    """A selector is atomic, labels are owned one by one, ports by their keys."""
    made = api.made(
        "/api/v1/namespaces/default/services",
        "a",
        metadata={"labels": {"app": "x"}},
        spec={"selector": {"app": "x", "tier": "y"}, "ports": [{"port": 80, "name": "http"}]},
    )
    (entry,) = made["metadata"]["managedFields"]
    owned = entry["fieldsV1"]
    assert owned["f:metadata"]["f:labels"] == {".": {}, "f:app": {}}
    assert owned["f:spec"]["f:selector"] == {}
    key = 'k:{"port":80,"protocol":"TCP"}'
    assert owned["f:spec"]["f:ports"][key] == {
        ".": {},
        "f:name": {},
        "f:port": {},
        "f:protocol": {},
        "f:targetPort": {},
    }


def test_null_is_an_empty_text_in_a_map_and_no_field_in_a_struct(api: Http) -> None:
    config = {**configmap("n"), "data": {"k": None, "l": "1"}, "immutable": None}
    made = api.apply(f"{CONFIGMAPS}/n", config)
    assert made.status == 201
    assert made.body["data"] == {"k": "", "l": "1"}
    assert "immutable" not in made.body
    assert api.apply(f"{CONFIGMAPS}/n", config).body == made.body


def test_applying_the_same_later_changes_nothing_either() -> None:
    """Not even where what is stored of it is less than was said."""
    clock = FakeClock()
    with FakeAPIServer(clock=clock) as server:
        api = Http(server)
        config = {**configmap("n", l="1"), "immutable": None}
        made = api.apply(f"{CONFIGMAPS}/n", config).body
        clock.advance(60.0)
        assert api.apply(f"{CONFIGMAPS}/n", config).body == made
        other = api.apply(f"{CONFIGMAPS}/n", configmap("n", l="1"), "other").body
        assert other["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
        api.close()


def test_null_stays_where_a_custom_resource_may_have_it(api: Http, widgets: str) -> None:
    nullable = deepcopy(WIDGET_CRD)
    nullable["metadata"]["name"] = "gadgets.example.com"
    nullable["spec"]["names"] = {"plural": "gadgets", "kind": "Gadget"}
    schema = nullable["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    schema["size"]["nullable"] = True
    assert api.post(CRDS, nullable).status == 201
    spec = {"size": None, "replicas": None, "words": ["a"]}
    config = {"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": "n"}, "spec": spec}
    path = widgets.replace("widgets", "gadgets/n")
    made = api.apply(path, config)
    assert (made.status, made.body["spec"]) == (201, {"size": None, "words": ["a"]})
    assert api.apply(path, config).body == made.body
