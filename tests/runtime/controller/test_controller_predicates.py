"""H1 to H3: which changes count, and whose keys they enqueue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runtime.client import Unstructured
from runtime.controller import (
    LOW_PRIORITY,
    Change,
    Kind,
    Predicate,
    all_of,
    annotation_changed,
    any_of,
    generation_changed,
    label_changed,
    not_,
    resource_version_changed,
)
from runtime.controller.sources import EnqueueHandler, map_object, map_owner, map_with
from runtime.informer import DeletedFinalStateUnknown
from runtime.logging import get_logger
from runtime.types import Request


def obj(name: str = "a", version: str = "1", **metadata: Any) -> Unstructured:
    return Unstructured(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "ns", "resourceVersion": version} | metadata,
        }
    )


def owned(*owners: tuple[str, str, str, bool], version: str = "1") -> Unstructured:
    """By (apiVersion, kind, name, controller)."""
    refs = [
        {"apiVersion": api, "kind": kind, "name": name, "uid": name, "controller": controller}
        for api, kind, name, controller in owners
    ]
    return obj(version=version, ownerReferences=refs)


UPDATES: list[tuple[Predicate, dict[str, Any]]] = [
    (generation_changed, {"generation": 2}),
    (label_changed, {"labels": {"a": "2"}}),
    (annotation_changed, {"annotations": {"a": "2"}}),
    (resource_version_changed, {"version": "2"}),
]


@pytest.mark.parametrize(("predicate", "change"), UPDATES)
def test_a_ready_made_predicate_sees_its_own_change_only(predicate: Predicate, change: dict[str, Any]) -> None:
    base: dict[str, Any] = {"generation": 1, "labels": {"a": "1"}, "annotations": {"a": "1"}, "version": "1"}
    old = obj(**base)
    assert predicate(Change("update", obj(**(base | change)), old))
    for other, other_change in UPDATES:
        if other is not predicate:
            assert not predicate(Change("update", obj(**(base | other_change)), old))
    assert not predicate(Change("update", old, old))


@pytest.mark.parametrize("predicate", [predicate for predicate, _ in UPDATES])
def test_adds_and_deletes_pass(predicate: Predicate) -> None:
    assert predicate(Change("add", obj()))
    assert predicate(Change("delete", obj()))


def test_and_or_not() -> None:
    yes: Predicate = lambda _: True  # noqa: E731
    no: Predicate = lambda _: False  # noqa: E731
    change = Change("add", obj())
    assert all_of(yes, yes)(change)
    assert not all_of(yes, no)(change)
    assert any_of(no, yes)(change)
    assert not any_of(no, no)(change)
    assert not_(no)(change)
    assert not not_(yes)(change)


class Enqueued:
    """What a handler enqueued, with priorities."""

    def __init__(self, mapper: Callable[[Change], Any] = map_object, predicates: tuple[Predicate, ...] = ()) -> None:
        self.keys: list[tuple[str, int]] = []
        self.handler = EnqueueHandler(self._add, mapper, predicates, get_logger("test"))

    def _add(self, request: Request, /, priority: int) -> None:
        self.keys.append((str(request), priority))

    def names(self) -> list[str]:
        return [key for key, _ in self.keys]


def test_live_changes_come_before_the_initial_list_and_resyncs() -> None:
    seen = Enqueued()
    seen.handler.on_add(obj(), True)
    seen.handler.on_update(obj(), obj())
    seen.handler.on_add(obj(), False)
    seen.handler.on_update(obj(), obj(version="2"))
    seen.handler.on_delete(obj())
    assert [priority for _, priority in seen.keys] == [LOW_PRIORITY, LOW_PRIORITY, 0, 0, 0]


def test_a_tombstone_is_unwrapped_before_predicates_see_it() -> None:
    changes: list[Change] = []
    seen = Enqueued(predicates=(lambda change: not changes.append(change),))  # type: ignore[func-returns-value]
    seen.handler.on_delete(DeletedFinalStateUnknown("ns/a", obj()))
    seen.handler.on_delete(obj())
    assert seen.names() == ["ns/a", "ns/a"]
    assert [(change.kind, change.state_unknown) for change in changes] == [("delete", True), ("delete", False)]


def test_all_predicates_must_agree() -> None:
    seen = Enqueued(predicates=(lambda _: True, lambda _: False))
    seen.handler.on_add(obj(), False)
    assert seen.keys == []


def test_a_predicate_that_raises_lets_the_change_pass() -> None:
    def broken(_: Change) -> bool:
        raise KeyError("spec")

    seen = Enqueued(predicates=(broken,))
    seen.handler.on_add(obj(), False)
    assert seen.names() == ["ns/a"]


FOO = Kind("Foo", namespaced=True)


def test_owners_are_matched_by_group_and_kind_whatever_the_version() -> None:
    seen = Enqueued(map_owner("x.io", FOO, controller_only=False))
    seen.handler.on_add(
        owned(
            ("x.io/v1", "Foo", "one", False),
            ("x.io/v9", "Foo", "two", True),
            ("y.io/v1", "Foo", "other-group", False),
            ("x.io/v1", "Bar", "other-kind", False),
        ),
        False,
    )
    assert seen.names() == ["ns/one", "ns/two"]


def test_by_default_only_the_controlling_owner_counts() -> None:
    seen = Enqueued(map_owner("x.io", FOO, controller_only=True))
    seen.handler.on_add(owned(("x.io/v1", "Foo", "one", False), ("x.io/v1", "Foo", "two", True)), False)
    assert seen.names() == ["ns/two"]


def test_a_child_that_changes_hands_is_noticed_by_both_owners() -> None:
    seen = Enqueued(map_owner("x.io", FOO, controller_only=True))
    seen.handler.on_update(owned(("x.io/v1", "Foo", "old", True)), owned(("x.io/v1", "Foo", "new", True), version="2"))
    assert sorted(seen.names()) == ["ns/new", "ns/old"]


def test_a_cluster_scoped_owner_has_no_namespace() -> None:
    seen = Enqueued(map_owner("x.io", Kind("Foo", namespaced=False), controller_only=True))
    seen.handler.on_add(owned(("x.io/v1", "Foo", "one", True)), False)
    assert seen.names() == ["one"]


def test_a_map_function_is_asked_about_old_and_new_and_each_key_counts_once() -> None:
    asked: list[str] = []

    def map_fn(changed: Unstructured) -> list[Request]:
        asked.append(changed.resource_version)
        return [Request("ns", "same"), Request("ns", f"only-{changed.resource_version}")]

    seen = Enqueued(map_with(map_fn))
    seen.handler.on_update(obj(), obj(version="2"))
    assert sorted(asked) == ["1", "2"]
    assert sorted(seen.names()) == ["ns/only-1", "ns/only-2", "ns/same"]


def test_a_map_function_that_fails_on_one_state_still_maps_the_other() -> None:
    """Of an object that has just been given the field it needs, or has lost it."""
    seen = Enqueued(map_with(lambda o: [Request("ns", o["spec"]["ref"])]))
    without = obj()
    with_ref = Unstructured(without.to_dict() | {"spec": {"ref": "web"}})
    newer = Unstructured(obj(version="2").to_dict() | {"spec": {"ref": "web"}})
    for old, new in ((without, newer), (with_ref, obj(version="3"))):
        with pytest.raises(KeyError):  # the informer counts and logs it
            seen.handler.on_update(old, new)
    assert seen.names() == ["ns/web", "ns/web"]


@pytest.mark.parametrize("wrong", ["ns/web", ("ns", "web"), None])
def test_what_is_no_request_is_refused_before_it_reaches_a_worker(wrong: Any) -> None:
    seen = Enqueued(map_with(lambda _: [wrong]))
    with pytest.raises(TypeError, match="Request"):
        seen.handler.on_add(obj(), False)
    assert seen.keys == []
