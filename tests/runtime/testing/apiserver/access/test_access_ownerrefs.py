"""OwnerReferencesPermissionEnforcement: who may make one object depend on another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runtime.testing.apiserver import FakeAPIServer
from tests.runtime.testing.apiserver.access.access_helpers import (
    BINDINGS,
    CLUSTER_BINDINGS,
    CLUSTER_ROLES,
    ROLES,
    Caller,
    binding,
    made,
    person,
    role,
    rule,
)

MAPS = "/api/v1/namespaces/default/configmaps"
PLUGIN = "OwnerReferencesPermissionEnforcement"
WRITER = rule("create,update,patch,get", "", "configmaps")


@pytest.fixture
def guarded() -> Iterator[FakeAPIServer]:
    with FakeAPIServer(
        authorization_mode="RBAC", enable_admission_plugins=PLUGIN, garbage_collection_delay=None
    ) as running:
        yield running


@pytest.fixture
def jane(call: Callable[..., Caller]) -> Caller:
    return call("jane")


def grant(admin: Caller, *rules: dict[str, Any]) -> None:
    made(admin.post(CLUSTER_ROLES, role("janes", WRITER, *rules)))
    made(admin.post(CLUSTER_BINDINGS, binding("janes", "janes", person("jane"), kind="ClusterRole")))


def owned(name: str, blocks: bool | None, kind: str = "ConfigMap", uid: str = "u") -> dict[str, Any]:
    reference: dict[str, Any] = {"apiVersion": "v1", "kind": kind, "name": "owner", "uid": uid}
    if blocks is not None:
        reference["blockOwnerDeletion"] = blocks
    return {"metadata": {"name": name, "ownerReferences": [reference]}}


@pytest.mark.parametrize(
    ("more", "obj", "status"),
    [
        ([], {"metadata": {"name": "a"}}, 201),
        ([], owned("a", None), 201),
        ([], owned("a", False), 201),
        ([], owned("a", True), 403),
        ([rule("update", "", "configmaps/finalizers")], owned("a", True), 201),
        ([rule("update", "", "configmaps/finalizers", "owner")], owned("a", True), 201),
        ([rule("update", "", "configmaps/finalizers", "other")], owned("a", True), 403),
        ([rule("update", "", "configmaps/finalizers")], owned("a", True, "Node"), 403),
        ([rule("update", "", "nodes/finalizers")], owned("a", True, "Node"), 201),
        ([rule("update", "", "*/finalizers")], owned("a", True, "Nothing"), 403),
    ],
)
def test_a_new_object(
    admin: Caller, jane: Caller, more: list[dict[str, Any]], obj: dict[str, Any], status: int
) -> None:
    grant(admin, *more)
    answer = jane.post(MAPS, obj)
    assert answer.status == status, answer
    if status == 403:
        assert "blockOwnerDeletion" in answer.body["message"]


def test_a_role_in_a_namespace_says_nothing_of_owners_outside(admin: Caller, jane: Caller) -> None:
    made(admin.post(ROLES, role("janes", WRITER, rule("update", "", "nodes/finalizers,configmaps/finalizers"))))
    made(admin.post(BINDINGS, binding("janes", "janes", person("jane"))))
    assert jane.post(MAPS, owned("a", True)).status == 201
    assert jane.post(MAPS, owned("b", True, "Node")).status == 403


def test_who_changes_owners_must_be_allowed_to_delete(admin: Caller, jane: Caller) -> None:
    grant(admin)
    made(admin.post(MAPS, {"metadata": {"name": "a"}}))
    assert jane.put(f"{MAPS}/a", {"metadata": {"name": "a", "labels": {"x": "y"}}}).status == 200
    refused = jane.put(f"{MAPS}/a", owned("a", None))
    assert refused.status == 403
    assert "cannot set an ownerRef on a resource you can't delete" in refused.body["message"]
    assert admin.put(f"{MAPS}/a", owned("a", True)).status == 200
    kept = owned("a", True)
    kept["data"] = {"k": "v"}
    assert jane.put(f"{MAPS}/a", kept).status == 200  # the owners stay as they are


def test_only_what_begins_to_block_is_judged(admin: Caller, jane: Caller) -> None:
    grant(admin, rule("delete", "", "configmaps"))
    made(admin.post(MAPS, owned("a", True)))
    both = owned("a", True)
    both["metadata"]["ownerReferences"].append({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "v"})
    assert jane.put(f"{MAPS}/a", both).status == 200
    both["metadata"]["ownerReferences"][1]["blockOwnerDeletion"] = True
    assert jane.put(f"{MAPS}/a", both).status == 403


def test_unknown_plugins_are_named() -> None:
    with pytest.raises(ValueError, match="unknown admission plugin 'ResourceQuota'"):
        FakeAPIServer(enable_admission_plugins=f"{PLUGIN}, ResourceQuota")
