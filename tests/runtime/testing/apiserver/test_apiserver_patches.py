"""JSON, merge and strategic merge patches."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.testing.apiserver import StatusError, patch_json, patch_strategic
from runtime.testing.kinds.registry import DefaultRegistry
from runtime.types import GVR
from tests.runtime.testing.apiserver.apiserver_helpers import (
    APPLY,
    CONFIGMAPS,
    JSON_PATCH,
    MERGE,
    STATEFULSETS,
    STRATEGIC,
    Http,
)

DOCUMENT = {"a": {"b": [1, 2, 3], "c~/d": True}, "n": None}


@pytest.mark.parametrize(
    ("operation", "result"),
    [
        ({"op": "add", "path": "/x", "value": 1}, {**DOCUMENT, "x": 1}),
        ({"op": "add", "path": "/a/b/1", "value": 9}, {"a": {"b": [1, 9, 2, 3], "c~/d": True}, "n": None}),
        ({"op": "add", "path": "/a/b/-", "value": 9}, {"a": {"b": [1, 2, 3, 9], "c~/d": True}, "n": None}),
        ({"op": "remove", "path": "/a/b/0"}, {"a": {"b": [2, 3], "c~/d": True}, "n": None}),
        ({"op": "remove", "path": "/a/c~0~1d"}, {"a": {"b": [1, 2, 3]}, "n": None}),
        ({"op": "replace", "path": "/a/b", "value": []}, {"a": {"b": [], "c~/d": True}, "n": None}),
        ({"op": "move", "from": "/a/b", "path": "/b"}, {"a": {"c~/d": True}, "b": [1, 2, 3], "n": None}),
        ({"op": "copy", "from": "/a/b/2", "path": "/n"}, {**DOCUMENT, "n": 3}),
        ({"op": "test", "path": "/a/b/2", "value": 3}, DOCUMENT),
        ({"op": "test", "path": "/a/b/2", "value": 3.0}, DOCUMENT),
        ({"op": "test", "path": "/n", "value": None}, DOCUMENT),
        ({"op": "replace", "path": "", "value": {"new": 1}}, {"new": 1}),
        # What the real server's library makes of it, which is not what the RFC says.
        ({"op": "test", "path": "/none", "value": None}, DOCUMENT),
        ({"op": "replace", "path": "/none", "value": 1}, {**DOCUMENT, "none": 1}),
        ({"op": "copy", "from": "/none", "path": "/x"}, {**DOCUMENT, "x": None}),
        ({"op": "add", "path": "/x"}, {**DOCUMENT, "x": None}),
        ({"op": "add", "path": "ignored/x", "value": 1}, {**DOCUMENT, "x": 1}),
        ({"op": "add", "path": "/a/b/01", "value": 9}, {"a": {"b": [1, 9, 2, 3], "c~/d": True}, "n": None}),
        ({"op": "add", "path": "/a/b/-1", "value": 9}, {"a": {"b": [1, 2, 3, 9], "c~/d": True}, "n": None}),
        ({"op": "remove", "path": "/a/b/-1"}, {"a": {"b": [1, 2], "c~/d": True}, "n": None}),
    ],
)
def test_json_patch_operations(operation: dict[str, Any], result: dict[str, Any]) -> None:
    before = {"a": {"b": [1, 2, 3], "c~/d": True}, "n": None}
    assert patch_json.apply(before, [operation]) == result
    assert before == DOCUMENT, "the document itself stays as it was"


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a/b/0", "value": 2},
        {"op": "test", "path": "/a/b/0", "value": True},
        {"op": "test", "path": "/a/c~0~1d", "value": 1},
        {"op": "remove", "path": "/none"},
        {"op": "add", "path": "/none/deep", "value": 1},
        {"op": "add", "path": "/a/b/4", "value": 1},
        {"op": "add", "path": "/a/b/x", "value": 1},
        {"op": "remove", "path": "/a/b/-4"},
        {"op": "replace", "path": "/a/b/3", "value": 1},
        {"op": "remove", "path": "/a/b/-"},
        {"op": "move", "from": "/a", "path": "/a/b"},
        {"op": "shuffle", "path": "/a"},
        {"op": "add", "value": 1},
        {"op": "add", "path": "x", "value": 1},
        {"op": "remove", "path": ""},
        {"op": "add", "path": "", "value": {}},
    ],
)
def test_json_patch_operations_that_do_not_fit(operation: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "runtime.testing.apiserver"), pytest.raises(StatusError) as caught:
        patch_json.apply(DOCUMENT, [operation])
    assert caught.value.code == 422
    assert caught.value.message == "the server rejected our request due to an error in our request"
    assert caplog.messages[0].startswith("a JSON patch was refused: ")


def test_a_json_patch_is_done_as_a_whole_or_not_at_all(api: Http) -> None:
    made = api.made(CONFIGMAPS, "a", data={"k": "v"})
    operations = [
        {"op": "add", "path": "/data/x", "value": "1"},
        {"op": "test", "path": "/data/k", "value": "other"},
    ]
    assert api("PATCH", f"{CONFIGMAPS}/a", operations, content_type=JSON_PATCH).status == 422
    assert api.get(f"{CONFIGMAPS}/a").body == made


@pytest.mark.parametrize("media", [JSON_PATCH, MERGE, STRATEGIC])
@pytest.mark.parametrize("body", [b"{", b'"text"', b""])
def test_a_patch_must_be_one(api: Http, media: str, body: bytes) -> None:
    api.made(CONFIGMAPS, "a")
    answer = api("PATCH", f"{CONFIGMAPS}/a", body, content_type=media)
    assert answer.status == 400
    assert "error decoding patch" in answer.body["message"]


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c", "d": "e"}}, {"a": {"b": None}}, {"a": {"d": "e"}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": "text"}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
    ],
)
def test_merge_patches(target: dict[str, Any], patch: dict[str, Any], result: dict[str, Any]) -> None:
    assert patch_json.merge(target, patch) == result


def test_a_patch_with_an_old_version_conflicts_one_without_does_not(api: Http) -> None:
    old = api.made(CONFIGMAPS, "a")["metadata"]["resourceVersion"]
    assert api.merge(f"{CONFIGMAPS}/a", {"data": {"k": "1"}}).status == 200
    stale = {"metadata": {"resourceVersion": old}, "data": {"k": "2"}}
    assert api.merge(f"{CONFIGMAPS}/a", stale).status == 409
    assert api.merge(f"{CONFIGMAPS}/a", {"data": {"k": "3"}}).status == 200


@pytest.mark.parametrize(
    ("patch", "status"),
    [
        ({"metadata": {"name": "b"}}, 400),
        ({"metadata": None}, 400),
        ({"kind": "Secret"}, 422),
        ({"apiVersion": "v9"}, 422),
    ],
)
def test_a_patch_cannot_make_another_object_of_it(api: Http, patch: dict[str, Any], status: int) -> None:
    api.made(CONFIGMAPS, "a")
    assert api.merge(f"{CONFIGMAPS}/a", patch).status == status


# -- strategic merge

_FOUND = DefaultRegistry().lookup(GVR("apps", "v1", "statefulsets"))
assert _FOUND is not None
KIND = _FOUND


def containers(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": list(items), **more}}}}


def strategic(target: dict[str, Any], patch: dict[str, Any]) -> Any:
    return patch_strategic.apply(KIND, target, patch)["spec"]["template"]["spec"].get("containers")


A, B = {"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}


def test_items_merge_by_their_key() -> None:
    assert strategic(containers(A, B), containers({"name": "b", "image": "b:2"})) == [A, {**B, "image": "b:2"}]
    new = {"name": "c", "image": "c:1"}
    assert strategic(containers(A, B), containers(new)) == [new, A, B]


def test_two_items_of_one_key_merge_with_each_other() -> None:
    first, second = {"name": "b", "image": "b:2"}, {"name": "b", "args": ["x"]}
    assert strategic(containers(A, B), containers(first, second)) == [A, {**first, **second}]
    assert strategic(containers(A), containers(first, second)) == [{**first, **second}, A]


def test_lists_within_items_merge_too() -> None:
    env = [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]
    patch = {"name": "a", "env": [{"name": "Y", "value": "3"}, {"name": "Z", "value": "4"}], "args": ["9"]}
    (merged,) = strategic(containers({**A, "env": env, "args": ["1", "2"]}), containers(patch))
    assert merged["env"] == [env[0], {"name": "Y", "value": "3"}, {"name": "Z", "value": "4"}]
    assert merged["args"] == ["9"], "a list without a merge strategy is replaced"


def test_directives_of_lists() -> None:
    assert strategic(containers(A, B), containers({"name": "a", "$patch": "delete"})) == [B]
    assert strategic(containers(A, B), containers(B, {"$patch": "replace"})) == [B]
    order = {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}
    target = containers(A, B)
    assert strategic(target, {"spec": {"template": {"spec": order}}}) == [B, A]
    new = {"name": "c", "image": "c:1"}
    ordered = containers(new, **{"$setElementOrder/containers": [{"name": "a"}, {"name": "c"}, {"name": "b"}]})
    assert strategic(target, ordered) == [A, new, B]


def test_directives_of_maps_and_plain_lists() -> None:
    target = {"metadata": {"labels": {"x": "1", "y": "2"}, "finalizers": ["e/a", "e/b"]}}

    def merged(**patch: Any) -> Any:
        return patch_strategic.apply(KIND, target, {"metadata": patch})["metadata"]

    assert merged(labels={"z": "3", "$patch": "replace"})["labels"] == {"z": "3"}
    assert merged(labels={"$patch": "delete"})["labels"] == {}
    assert merged(labels={"$retainKeys": ["x"], "x": "9"})["labels"] == {"x": "9"}
    assert merged(finalizers=["e/c"])["finalizers"] == ["e/c", "e/a", "e/b"]
    assert merged(**{"$deleteFromPrimitiveList/finalizers": ["e/a"]})["finalizers"] == ["e/b"]


def test_what_was_not_there_is_taken_as_it_is_without_what_has_directives() -> None:
    def merged(**patch: Any) -> Any:
        return patch_strategic.apply(KIND, {"metadata": {"name": "x", "labels": "?"}}, {"metadata": patch})["metadata"]

    assert merged(annotations={"a": "1", "$patch": "replace"}) == {"name": "x", "labels": "?"}
    assert merged(labels={"a": "1", "b": None}) == {"name": "x", "labels": {"a": "1"}}, "of another type"
    owners = [{"kind": "no uid", "name": None}, {"uid": "u", "$patch": "delete"}, {"$patch": "replace"}]
    assert merged(ownerReferences=owners)["ownerReferences"] == [{"kind": "no uid"}]
    assert merged(**{"$deleteFromPrimitiveList/finalizers": ["e/a"]}) == {"name": "x", "labels": "?"}


def test_one_item_that_says_so_replaces_the_list_by_the_items_without_directives() -> None:
    patch = containers(B, {"name": "c", "$patch": "replace"}, {"name": "d", "$patch": "delete"})
    assert strategic(containers(A), patch) == [B]


def test_an_item_is_deleted_and_added_anew_by_one_patch() -> None:
    new = {"name": "a", "image": "a:2"}
    assert strategic(containers({**A, "args": ["1"]}, B), containers({"name": "a", "$patch": "delete"}, new)) == [
        new,
        B,
    ]


@pytest.mark.parametrize(
    "patch",
    [
        containers({"image": "no-name"}),
        containers({"image": "no-name", "$patch": "delete"}),
        containers({"name": "a", "$patch": "nonsense"}),
        containers({"name": "a", "$patch": "merge"}),
        {"metadata": {"labels": {"$patch": "merge", "a": "b"}}},
        {"metadata": {"$setElementOrder/finalizers": {}}},
        {"metadata": {"$setElementOrder/finalizers": 1, "finalizers": ["a"]}},
        {"metadata": {"$setElementOrder/finalizers": ["a"], "finalizers": None}},
        {"metadata": {"finalizers": ["b", "a"], "$setElementOrder/finalizers": ["a", "b"]}},
        {"metadata": {"finalizers": ["c"], "$setElementOrder/finalizers": ["a", "b"]}},
    ],
)
def test_what_cannot_be_merged_is_an_error(patch: dict[str, Any]) -> None:
    target = {**containers(A), "metadata": {"labels": {}, "finalizers": ["a"]}}
    with pytest.raises(StatusError) as caught:
        patch_strategic.apply(KIND, target, patch)
    assert caught.value.code == 500


@pytest.mark.parametrize("patch", [{"$retainKeys": "x"}, {"$retainKeys": ["x"], "x": "1", "y": "2"}])
def test_a_bad_list_of_keys_to_retain_is_the_fault_of_the_client(patch: dict[str, Any]) -> None:
    with pytest.raises(StatusError) as caught:
        patch_strategic.apply(KIND, {"metadata": {"labels": {"y": "1"}}}, {"metadata": {"labels": patch}})
    assert (caught.value.code, caught.value.message) == (400, "invalid patch format of retainKeys")


def test_custom_resources_have_no_strategic_merge(api: Http, widgets: str) -> None:
    answer = api("PATCH", f"{widgets}/a", {}, content_type=STRATEGIC)
    assert answer.status == 415


def test_strategic_merge_over_http(api: Http) -> None:
    template = {"metadata": {"labels": {"app": "s"}}, "spec": {"containers": [A, B]}}
    spec = {"replicas": 1, "serviceName": "s", "selector": {"matchLabels": {"app": "s"}}, "template": template}
    api.made(STATEFULSETS, "s", spec=spec)
    patch = containers({"name": "b", "image": "b:2"})
    answer = api("PATCH", f"{STATEFULSETS}/s", patch, content_type=STRATEGIC).body
    images = [each["image"] for each in answer["spec"]["template"]["spec"]["containers"]]
    assert images == ["a:1", "b:2"]
    assert answer["metadata"]["generation"] == 2


@pytest.mark.parametrize("operations", [{"op": "add"}, ["add"], [{"op": 1}], [{"op": "add", "path": 1}], "text"])
def test_what_is_no_json_patch(api: Http, operations: object) -> None:
    api.made(CONFIGMAPS, "a")
    answer = api("PATCH", f"{CONFIGMAPS}/a", operations, content_type=JSON_PATCH)
    assert (answer.status, answer.body["reason"]) == (400, "BadRequest")


@pytest.mark.parametrize(
    ("content_type", "body", "warning"),
    [
        (MERGE, b'{"data":{"k":"1","k":"2"}}', 'duplicate field "data.k"'),
        (STRATEGIC, b'{"data":{"k":"1","k":"2"}}', 'duplicate field "data.k"'),
        (MERGE, b'{"more":{"k":"1"}}', 'unknown field "more"'),
        (
            JSON_PATCH,
            b'[{"op":"add","op":"add","path":"/data/k","value":"2"}]',
            'json patch duplicate field "[0].op"',
        ),
        (
            JSON_PATCH,
            b'[{"op":"add","more":1,"path":"/data/k","value":"2"}]',
            'json patch unknown field "[0].more"',
        ),
    ],
)
def test_a_strict_patch_says_nothing_twice_and_nothing_unknown(
    api: Http, content_type: str, body: bytes, warning: str
) -> None:
    api.made(CONFIGMAPS, "a", data={"k": "v"})
    path = f"{CONFIGMAPS}/a"
    answer = api("PATCH", f"{path}?fieldValidation=Strict", body, content_type=content_type)
    assert answer.status == 422
    details = answer.body["details"]
    assert details.keys() == {"causes"}, "it does not even say of which kind"
    assert [(each["reason"], each["field"]) for each in details["causes"]] == [("FieldValueInvalid", "patch")]
    assert "warning" not in api("PATCH", f"{path}?fieldValidation=Ignore", body, content_type=content_type).headers
    warned = api("PATCH", path, body, content_type=content_type).headers["warning"]
    assert warned == ['299 - "' + warning.replace('"', '\\"') + '"']


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/yaml", b"metadata: {name: b}\ndata:\n  k: '1'\n  k: '2'\n"),
        (APPLY, b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata:\n  k: '1'\n  k: '2'\n"),
    ],
)
def test_yaml_with_a_key_twice_is_warned_of_by_line(api: Http, content_type: str, body: bytes) -> None:
    apply = content_type == APPLY
    method, path = ("PATCH", f"{CONFIGMAPS}/b?fieldManager=m") if apply else ("POST", f"{CONFIGMAPS}?x=y")
    assert api(method, f"{path}&fieldValidation=Strict", body, content_type=content_type).status == 400
    answer = api(method, path, body, content_type=content_type)
    assert (answer.status, answer.body["data"]) == (201, {"k": "2"})
    line = 6 if apply else 4
    assert answer.headers["warning"] == [f'299 - "line {line}: key \\"k\\" already set in map"']


def test_a_patch_cannot_change_the_kind(api: Http) -> None:
    api.made(CONFIGMAPS, "a")
    for content_type, status in ((MERGE, 422), (STRATEGIC, 200)):
        answer = api("PATCH", f"{CONFIGMAPS}/a", {"kind": "Secret"}, content_type=content_type)
        assert answer.status == status
    assert answer.body["kind"] == "ConfigMap"


def test_nulls_in_the_objects_of_a_merged_list_are_dropped() -> None:
    patch = {"new": [{"a": None, "b": 1}, None], "old": {"deep": {"c": None, "d": 1}}}
    assert patch_json.merge({"old": 1}, patch) == {"new": [{"b": 1}, None], "old": {"deep": {"d": 1}}}


def test_problems_of_patch_options_are_told_in_the_real_order(api: Http) -> None:
    query = f"fieldManager={'m' * 129}&dryRun=x&fieldValidation=y&force=true"
    answer = api.merge(f"{CONFIGMAPS}/a?{query}", {})
    fields = [each["field"] for each in answer.body["details"]["causes"]]
    assert (answer.status, fields) == (422, ["force", "fieldManager", "dryRun", "fieldValidation"])
    answer = api("PATCH", f"{CONFIGMAPS}/a?dryRun=x", {}, content_type=APPLY)
    assert [each["field"] for each in answer.body["details"]["causes"]] == ["fieldManager", "dryRun"]
