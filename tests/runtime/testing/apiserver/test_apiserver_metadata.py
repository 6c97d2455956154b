"""Metadata of written objects: what the server sets, refuses, and warns about."""

from __future__ import annotations

from typing import Any

import pytest

from tests.runtime.testing.apiserver.apiserver_helpers import CONFIGMAPS, STATEFULSETS, Answer, Http, widget

OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u1"}


def configmap(name: str = "a", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **metadata}}


def causes(answer: Answer) -> list[tuple[str, str]]:
    return [(each["reason"], each["field"]) for each in answer.body["details"]["causes"]]


def test_system_fields_of_a_new_object_are_the_servers_and_owned_by_nobody(api: Http) -> None:
    given: dict[str, Any] = {"uid": "mine", "deletionGracePeriodSeconds": 5}
    given["deletionTimestamp"] = "2020-01-01T00:00:00Z"
    made = api.post(CONFIGMAPS, configmap(**given, creationTimestamp="2020-01-01T00:00:00Z", selfLink="/x")).body
    metadata = made["metadata"]
    assert metadata["uid"] != "mine"
    assert not metadata["creationTimestamp"].startswith("2020")
    assert metadata.keys() == {"name", "namespace", "uid", "resourceVersion", "creationTimestamp"}


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        (
            "creationTimestamp",
            "yesterday",
            'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"',
        ),
        ("uid", 5, "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.uid of type string"),
    ],
)
def test_what_a_new_object_may_not_say_has_to_be_of_the_right_type_all_the_same(
    api: Http, field: str, value: Any, why: str
) -> None:
    """It is decoded before anybody forgets it."""
    refused = api.post(CONFIGMAPS, configmap(**{field: value}))

    assert (refused.status, refused.body["reason"]) == (400, "BadRequest")
    assert refused.body["message"] == f'ConfigMap in version "v1" cannot be handled as a ConfigMap: {why}'


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"generation": -1}, [("FieldValueInvalid", "metadata.generation")]),
        ({"finalizers": ["orphan", "foregroundDeletion"]}, [("FieldValueInvalid", "metadata.finalizers")]),
        ({"ownerReferences": [{**OWNER, "kind": "Event"}]}, [("FieldValueInvalid", "metadata.ownerReferences")]),
        (
            {"ownerReferences": [{**OWNER, "apiVersion": "a/b/c"}]},
            [("FieldValueInvalid", "metadata.ownerReferences.apiVersion")],
        ),
        (
            {"ownerReferences": [{**OWNER, "controller": True}, {**OWNER, "uid": "u2", "controller": True}]},
            [("FieldValueInvalid", "metadata.ownerReferences")],
        ),
        (
            {"finalizers": ["a b"], "ownerReferences": [{**OWNER, "uid": ""}], "labels": {"a": "x y"}},
            [
                ("FieldValueInvalid", "metadata.labels"),
                ("FieldValueInvalid", "metadata.ownerReferences.uid"),
                ("FieldValueInvalid", "metadata.finalizers"),
            ],
        ),
    ],
)
def test_new_metadata_is_judged_field_by_field_in_order(
    api: Http, metadata: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    answer = api.post(CONFIGMAPS, configmap(**metadata))
    assert answer.status == 422
    assert causes(answer) == expected


def test_a_bad_base_of_a_generated_name_is_told_twice(api: Http) -> None:
    answer = api.post(CONFIGMAPS, {"metadata": {"generateName": "a_"}})
    assert causes(answer) == [("FieldValueInvalid", "metadata.generateName"), ("FieldValueInvalid", "metadata.name")]
    assert api.post(CONFIGMAPS, {"metadata": {"generateName": "ab-"}}).status == 201


@pytest.mark.parametrize(("path", "times"), [(CONFIGMAPS, 4), (STATEFULSETS, 3)])
def test_causes_of_a_change_are_told_as_often_as_they_are_judged(api: Http, path: str, times: int) -> None:
    body: dict[str, Any] = configmap()
    if path == STATEFULSETS:
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        body["spec"] = {"selector": {"matchLabels": {"a": "b"}}, "serviceName": "s", "template": template}
    assert api.post(path, body).status == 201
    answer = api.merge(f"{path}/a", {"metadata": {"labels": {"k": "x y"}}})
    assert causes(answer) == [("FieldValueInvalid", "metadata.labels")] * times
    answer = api.merge(f"{path}/a", {"metadata": {"uid": "other"}})
    assert causes(answer) == [("FieldValueInvalid", "metadata.uid")] * 2


def test_owner_references_that_are_the_same_are_kept_once_with_a_warning(api: Http) -> None:
    answer = api.post(CONFIGMAPS, configmap(ownerReferences=[OWNER, OWNER, {**OWNER, "name": "p"}]))
    assert [each["name"] for each in answer.body["metadata"]["ownerReferences"]] == ["o", "p"]
    (warning,) = answer.headers["warning"]
    assert warning.endswith('duplicate UID(s) observed: u1"')
    assert "mutating admission" not in warning
    answer = api.merge(f"{CONFIGMAPS}/a", {"metadata": {"ownerReferences": [OWNER, OWNER]}})
    assert answer.body["metadata"]["ownerReferences"] == [OWNER]
    (warning,) = answer.headers["warning"]
    assert "after mutating admission" in warning


def test_a_missing_namespace_comes_before_what_is_wrong_with_the_object(api: Http) -> None:
    answer = api.post("/api/v1/namespaces/none/configmaps", configmap("A_B"))
    assert (answer.status, answer.body["details"]) == (404, {"name": "none", "kind": "namespaces"})


def test_a_taken_name_of_an_object_with_a_base_asks_to_try_again(api: Http) -> None:
    body = configmap(generateName="a-")
    assert api.post(CONFIGMAPS, body).status == 201
    answer = api.post(CONFIGMAPS, body)
    assert (answer.status, answer.body["reason"]) == (409, "AlreadyExists")
    assert answer.body["details"] == {"name": "a", "kind": "configmaps", "retryAfterSeconds": 1}
    assert answer.headers["retry-after"] == ["1"]


def test_another_namespace_is_told_before_another_name(api: Http, widgets: str) -> None:
    assert api.post(widgets, widget("a")).status == 201
    body = widget("b")
    body["metadata"]["namespace"] = "other"
    answer = api.put(f"{widgets}/a", body)
    assert answer.status == 400
    assert answer.body["message"].startswith("the namespace of the provided object")


def test_a_change_cannot_touch_when_an_object_is_deleted(api: Http) -> None:
    api.post(CONFIGMAPS, configmap(finalizers=["example.com/f"]))
    at = api.delete(f"{CONFIGMAPS}/a").body["metadata"]["deletionTimestamp"]
    changed = api.merge(f"{CONFIGMAPS}/a", {"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z"}})
    assert (changed.status, changed.body["metadata"]["deletionTimestamp"]) == (200, at)
    refused = api.merge(f"{CONFIGMAPS}/a", {"metadata": {"deletionGracePeriodSeconds": 7}})
    assert causes(refused) == [("FieldValueInvalid", "metadata.deletionGracePeriodSeconds")] * 2


def test_many_warnings_are_cut_short(api: Http) -> None:
    names = [f"{letter}{'x' * 400}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    answer = api.post(CONFIGMAPS, {**configmap(), **dict.fromkeys(names, 1)})
    sent = [each.removeprefix('299 - "')[:-1] for each in answer.headers["warning"]]
    assert len(sent) == 16  # times 256 characters are the 4096 that fit
    assert all(each.startswith('unknown field \\"') for each in sent)


@pytest.mark.parametrize("field", ["labels", "annotations"])
@pytest.mark.parametrize("given", [{"a": None, "b": "x"}, {"b": "x", "a": None}])
def test_null_is_an_empty_text_wherever_it_stands(api: Http, widgets: str, field: str, given: dict[str, Any]) -> None:
    for path, obj in ((CONFIGMAPS, configmap()), (widgets, widget("a"))):
        obj["metadata"][field] = given
        made = api.post(path, obj)
        assert (made.status, made.body["metadata"][field]) == (201, {"a": "", "b": "x"})
        obj["metadata"] = {"name": "b", field: None}
        none = api.post(path, obj)
        assert (none.status, field in none.body["metadata"]) == (201, False)
