"""H4: who may own what."""

from __future__ import annotations

import pytest

from runtime.client import Unstructured
from runtime.controller import AlreadyOwnedError, OwnerError, set_controller_reference, set_owner_reference
from runtime.types import JSONObject


def owner(
    name: str = "web", namespace: str = "ns", uid: str = "u1", kind: str = "Foo", api: str = "x.io/v1"
) -> Unstructured:
    metadata = {"name": name, "uid": uid} | ({"namespace": namespace} if namespace else {})
    return Unstructured({"apiVersion": api, "kind": kind, "metadata": metadata})


def child(namespace: str = "ns", *references: JSONObject) -> JSONObject:
    metadata: JSONObject = {"name": "child"} | ({"namespace": namespace} if namespace else {})
    if references:
        metadata["ownerReferences"] = list(references)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def references(obj: JSONObject) -> list[JSONObject]:
    found: list[JSONObject] = obj["metadata"]["ownerReferences"]
    return found


def test_the_reference_names_the_owner_and_makes_it_the_controller() -> None:
    obj = child()
    set_controller_reference(owner(), obj)
    assert references(obj) == [
        {
            "apiVersion": "x.io/v1",
            "kind": "Foo",
            "name": "web",
            "uid": "u1",
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]


def test_an_owner_that_is_no_controller() -> None:
    obj = child()
    set_owner_reference(owner(), obj)
    set_owner_reference(owner("db", uid="u2"), obj)
    assert [ref["name"] for ref in references(obj)] == ["web", "db"]
    assert not any("controller" in ref for ref in references(obj))


def test_a_second_controller_is_refused_and_both_are_named() -> None:
    obj = child()
    set_controller_reference(owner("first"), obj)
    with pytest.raises(AlreadyOwnedError, match=r"ConfigMap ns/child.*Foo first.*Foo second") as caught:
        set_controller_reference(owner("second", uid="u2"), obj)
    assert caught.value.holder["name"] == "first"
    assert len(references(obj)) == 1


@pytest.mark.parametrize("again", [{"uid": "u2"}, {"api": "x.io/v2"}])
def test_another_version_or_uid_is_the_same_owner_and_replaced_in_place(again: dict[str, str]) -> None:
    obj = child("ns")
    set_controller_reference(owner(), obj)
    set_owner_reference(owner("other", uid="u9"), obj)
    renewed = owner(**again)
    set_controller_reference(renewed, obj)
    assert [ref["name"] for ref in references(obj)] == ["web", "other"]
    assert references(obj)[0]["uid"] == renewed.uid
    assert references(obj)[0]["apiVersion"] == renewed.api_version


@pytest.mark.parametrize("other", [{"api": "y.io/v1"}, {"kind": "Bar"}, {"name": "db"}])
def test_another_group_kind_or_name_is_another_owner(other: dict[str, str]) -> None:
    obj = child()
    set_controller_reference(owner(), obj)
    with pytest.raises(AlreadyOwnedError):
        set_controller_reference(owner(uid="u2", **other), obj)


def test_an_owner_in_another_namespace_is_refused() -> None:
    with pytest.raises(OwnerError, match=r"namespace ns.*ConfigMap other/child.*share a namespace"):
        set_controller_reference(owner(), child("other"))


def test_a_namespaced_owner_of_a_cluster_scoped_object_is_refused() -> None:
    with pytest.raises(OwnerError, match=r"no metadata.namespace"):
        set_controller_reference(owner(), child(""))


def test_a_cluster_scoped_owner_may_own_anything() -> None:
    for namespace in ("", "ns"):
        obj = child(namespace)
        set_controller_reference(owner(namespace=""), obj)
        assert len(references(obj)) == 1


def test_an_owner_that_was_never_stored_is_refused() -> None:
    with pytest.raises(OwnerError, match="no uid"):
        set_controller_reference(owner(uid=""), child())
