"""Objects go when their owners are gone, and only then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from runtime.testing.apiserver import FakeAPIServer
from runtime.testing.clock import FakeClock
from tests.runtime.testing.apiserver.apiserver_helpers import CONFIGMAPS, CRDS, WIDGET_CRD, Http, eventually

OPTIONS = {"kind": "DeleteOptions", "apiVersion": "v1"}
NODES = "/api/v1/nodes"


@pytest.fixture
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer(garbage_collection_delay=0.0, namespace_deletion_delay=0.0) as running:
        yield running


def reference(owner: dict[str, Any], *, kind: str = "ConfigMap", block: bool = False) -> dict[str, Any]:
    metadata = owner["metadata"]
    found = {"apiVersion": "v1", "kind": kind, "name": metadata["name"], "uid": metadata["uid"]}
    return {**found, "blockOwnerDeletion": True} if block else found


def made(api: Http, name: str, *owners: dict[str, Any], block: bool = False, **metadata: Any) -> dict[str, Any]:
    references = [reference(each, block=block) for each in owners]
    return api.made(CONFIGMAPS, name, metadata={"ownerReferences": references, **metadata})


def names(api: Http) -> set[str]:
    return {each["metadata"]["name"] for each in api.get(CONFIGMAPS).body["items"]}


def test_a_chain_goes_with_its_first_owner(api: Http) -> None:
    made(api, "grandchild", made(api, "child", made(api, "owner")))
    made(api, "stranger")
    api.delete(f"{CONFIGMAPS}/owner")
    eventually(lambda: names(api) == {"stranger"})


def test_one_remaining_owner_keeps_the_object_and_the_dead_reference_goes(api: Http) -> None:
    one, two = made(api, "one"), made(api, "two")
    made(api, "child", one, two)
    api.delete(f"{CONFIGMAPS}/one")
    eventually(lambda: api.get(f"{CONFIGMAPS}/child").body["metadata"]["ownerReferences"] == [reference(two)])
    api.delete(f"{CONFIGMAPS}/two")
    eventually(lambda: names(api) == set())


def test_an_object_of_an_owner_that_never_was_or_lives_elsewhere_goes(api: Http) -> None:
    api.made("/api/v1/namespaces", "other")
    elsewhere = api.made("/api/v1/namespaces/other/configmaps", "owner")
    made(api, "child", elsewhere)
    made(api, "orphan", {"metadata": {"name": "ghost", "uid": "no-such-uid"}})
    eventually(lambda: names(api) == set())


def test_a_namesake_of_the_owner_is_not_the_owner(api: Http) -> None:
    made(api, "child", made(api, "owner"))
    api.delete(f"{CONFIGMAPS}/owner")
    made(api, "owner")
    eventually(lambda: names(api) == {"owner"})


def test_orphaned_objects_stay(api: Http) -> None:
    made(api, "child", made(api, "owner"))
    api.delete(f"{CONFIGMAPS}/owner", {**OPTIONS, "propagationPolicy": "Orphan"})
    eventually(lambda: names(api) == {"child"})
    assert "ownerReferences" not in api.get(f"{CONFIGMAPS}/child").body["metadata"]


def test_in_the_foreground_the_owner_waits_for_what_blocks_it(api: Http) -> None:
    owner = made(api, "owner")
    made(api, "child", owner, block=True, finalizers=["example.com/hold"])
    made(api, "free", owner)
    api.delete(f"{CONFIGMAPS}/owner", {**OPTIONS, "propagationPolicy": "Foreground"})
    eventually(lambda: names(api) == {"owner", "child"})
    eventually(lambda: api.get(f"{CONFIGMAPS}/child").body["metadata"].get("deletionTimestamp"))
    assert api.get(f"{CONFIGMAPS}/owner").body["metadata"]["finalizers"] == ["foregroundDeletion"]
    api.merge(f"{CONFIGMAPS}/child", {"metadata": {"finalizers": None}})
    eventually(lambda: names(api) == set())


def test_what_is_deleted_in_the_foreground_goes_down_the_whole_chain(api: Http) -> None:
    child = made(api, "child", made(api, "owner"), block=True)
    made(api, "grandchild", child, block=True, finalizers=["example.com/hold"])
    api.delete(f"{CONFIGMAPS}/owner", {**OPTIONS, "propagationPolicy": "Foreground"})
    eventually(lambda: api.get(f"{CONFIGMAPS}/grandchild").body["metadata"].get("deletionTimestamp"))
    for name in ("owner", "child"):
        assert api.get(f"{CONFIGMAPS}/{name}").body["metadata"]["finalizers"] == ["foregroundDeletion"]
    api.merge(f"{CONFIGMAPS}/grandchild", {"metadata": {"finalizers": None}})
    eventually(lambda: names(api) == set())


def test_owners_of_each_other_do_not_wait_for_each_other_for_ever(api: Http) -> None:
    one = made(api, "one")
    two = made(api, "two", one, block=True)
    api.merge(f"{CONFIGMAPS}/one", {"metadata": {"ownerReferences": [reference(two, block=True)]}})
    api.delete(f"{CONFIGMAPS}/one", {**OPTIONS, "propagationPolicy": "Foreground"})
    eventually(lambda: names(api) == set())


def test_in_the_foreground_the_owner_does_not_wait_for_what_has_given_it_up(api: Http) -> None:
    made(api, "child", made(api, "owner"), block=True, finalizers=["example.com/hold"])
    api.delete(f"{CONFIGMAPS}/owner", {**OPTIONS, "propagationPolicy": "Foreground"})
    eventually(lambda: api.get(f"{CONFIGMAPS}/child").body["metadata"].get("deletionTimestamp"))
    api.merge(f"{CONFIGMAPS}/child", {"metadata": {"ownerReferences": None}})
    eventually(lambda: names(api) == {"child"})


def test_a_dependent_is_deleted_as_its_own_finalizers_say(api: Http) -> None:
    child = made(api, "child", made(api, "owner"), finalizers=["foregroundDeletion"])
    made(api, "grandchild", child, block=True, finalizers=["example.com/hold"])
    api.delete(f"{CONFIGMAPS}/owner")
    eventually(lambda: api.get(f"{CONFIGMAPS}/grandchild").body["metadata"].get("deletionTimestamp"))
    assert names(api) == {"child", "grandchild"}


def test_an_owner_that_is_only_going_keeps_its_dependents(api: Http) -> None:
    owner = made(api, "owner", finalizers=["example.com/hold"])
    made(api, "child", owner)
    api.delete(f"{CONFIGMAPS}/owner")
    made(api, "marker", {"metadata": {"name": "ghost", "uid": "no-such-uid"}})
    eventually(lambda: "marker" not in names(api))
    assert names(api) == {"owner", "child"}


def test_an_owner_can_be_taken_up_and_given_up(api: Http) -> None:
    owner = made(api, "owner")
    for name in ("later", "former"):
        made(api, name, *([owner] if name == "former" else []))
    api.merge(f"{CONFIGMAPS}/later", {"metadata": {"ownerReferences": [reference(owner)]}})
    api.merge(f"{CONFIGMAPS}/former", {"metadata": {"ownerReferences": None}})
    api.delete(f"{CONFIGMAPS}/owner")
    eventually(lambda: names(api) == {"former"})


def test_cluster_scoped_owners_and_owners_of_unknown_kinds(api: Http) -> None:
    node = api.made(NODES, "n")
    api.made(CONFIGMAPS, "child", metadata={"ownerReferences": [reference(node, kind="Node")]})
    ghost = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "w", "uid": "no-such-uid"}
    api.made(CONFIGMAPS, "unclear", metadata={"ownerReferences": [ghost]})
    api.delete(f"{NODES}/n")
    eventually(lambda: names(api) == {"unclear"})
    assert api.post(CRDS, WIDGET_CRD).status == 201, "now its owner is known to be missing"
    eventually(lambda: names(api) == set())


def test_an_owner_that_a_cluster_scoped_object_cannot_have_is_no_reason_to_delete_it(api: Http) -> None:
    """Its namespace is unknown, so nobody can say that it is gone."""
    owner = made(api, "owner")
    for name, references in (
        ("kept", [reference(owner)]),
        ("control", [{"apiVersion": "v1", "kind": "Node", "name": "gone", "uid": "gone"}]),
    ):
        api.made(NODES, name, metadata={"ownerReferences": references})
    eventually(lambda: api.get(f"{NODES}/control").status == 404)
    assert api.get(f"{NODES}/kept").status == 200


def test_an_owner_is_known_by_a_version_that_is_served(api: Http) -> None:
    """Of another version of its kind nobody can say that it is gone."""
    for name, version in (("kept", "v1beta1"), ("control", "v1")):
        ghost = {"apiVersion": f"apps/{version}", "kind": "Deployment", "name": "gone", "uid": "no-such-uid"}
        api.made(CONFIGMAPS, name, metadata={"ownerReferences": [ghost]})
    eventually(lambda: names(api) == {"kept"})


def test_orphaned_objects_stay_even_if_they_were_made_just_before() -> None:
    """The collector was about to look at the owner for another reason."""
    clock = _Meddling()
    with FakeAPIServer(garbage_collection_delay=0.0, clock=clock) as server:
        api = Http(server)
        owner = made(api, "owner")
        made(api, "first", owner)
        marker = made(api, "marker", {"metadata": {"name": "ghost", "uid": "no-such-uid"}})
        eventually(lambda: names(api) == {"owner", "first"})

        def meddle() -> None:
            other = Http(server)
            made(other, "last", owner)
            assert other.delete(f"{CONFIGMAPS}/owner", {**OPTIONS, "propagationPolicy": "Orphan"}).status == 200
            other.close()

        clock.meddle = meddle
        api.merge(f"{CONFIGMAPS}/first", {"metadata": {"labels": {"a": "b"}}})
        eventually(lambda: "owner" not in names(api))
        made(api, "marker", marker)  # its owner has gone, so that it goes when all before has been looked at
        eventually(lambda: "marker" not in names(api))
        assert names(api) == {"first", "last"}
        assert "ownerReferences" not in api.get(f"{CONFIGMAPS}/last").body["metadata"]
        api.close()


def test_an_object_that_was_given_another_owner_meanwhile_stays() -> None:
    clock = _Meddling()
    with FakeAPIServer(garbage_collection_delay=0.0, clock=clock) as server:
        api = Http(server)
        made(api, "child", made(api, "owner"))
        other = made(api, "other")

        def meddle() -> None:
            http = Http(server)
            answer = http.merge(f"{CONFIGMAPS}/child", {"metadata": {"ownerReferences": [reference(other)]}})
            assert answer.status == 200
            http.close()

        clock.meddle_with_deletion = meddle
        api.delete(f"{CONFIGMAPS}/owner")
        eventually(lambda: clock.meddle_with_deletion is None)
        made(api, "marker", {"metadata": {"name": "ghost", "uid": "no-such-uid"}})
        eventually(lambda: "marker" not in names(api))
        assert names(api) == {"child", "other"}
        api.close()


class _Meddling(FakeClock):
    """Lets somebody else in, once, when the collector next reads the time: ``meddle``, after it has heard of changes
    and before it attends to what follows of them; ``meddle_with_deletion``, between its look at an object and the end
    of that."""

    meddle: Callable[[], None] | None = None
    meddle_with_deletion: Callable[[], None] | None = None

    def monotonic(self) -> float:
        if self.meddle is not None and threading.current_thread().name == "apiserver-garbage":
            meddle, self.meddle = self.meddle, None
            meddle()
        return super().monotonic()

    def now(self) -> datetime:
        if self.meddle_with_deletion is not None and threading.current_thread().name == "apiserver-garbage":
            meddle, self.meddle_with_deletion = self.meddle_with_deletion, None
            meddle()
        return super().now()


def test_what_stood_there_before_the_server_started_is_looked_at_too() -> None:
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "ghost", "uid": "no-such-uid"}
    with FakeAPIServer(garbage_collection_delay=None) as first:
        before = Http(first)
        before.made(CONFIGMAPS, "child", metadata={"ownerReferences": [owner]})
        assert before.delete(f"{CONFIGMAPS}/child", {**OPTIONS, "propagationPolicy": "Foreground"}).status == 200
        kept = before.get(f"{CONFIGMAPS}/child").body
        before.close()
    with FakeAPIServer(garbage_collection_delay=0.0) as second:
        second.store.restore([(("", "configmaps"), kept)], int(kept["metadata"]["resourceVersion"]))
        after = Http(second)
        eventually(lambda: names(after) == set())
        after.close()


def test_dependents_follow_when_the_delay_is_over() -> None:
    clock = FakeClock()
    with FakeAPIServer(garbage_collection_delay=60.0, clock=clock) as server:
        api = Http(server)
        made(api, "grandchild", made(api, "child", made(api, "owner")))
        api.delete(f"{CONFIGMAPS}/owner")
        clock.advance(59)
        assert names(api) == {"child", "grandchild"}
        clock.advance(1)  # what the collector does itself has no delay
        eventually(lambda: names(api) == set())
        api.close()


def test_what_is_refused_is_tried_again_after_longer_and_longer_pauses(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    with FakeAPIServer(clock=clock, garbage_collection_delay=0.0) as server:
        api = Http(server)
        gone = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "u"}
        owners = [gone, reference(made(api, "a"))]
        metadata = {"name": "bad", "namespace": "default", "uid": "b", "ownerReferences": owners}
        server.store.create(("", "configmaps"), "default", "bad", {"metadata": metadata, "data": {"no key": ""}})

        def tried() -> int:
            return sum("garbage collection of configmaps default/bad" in each.getMessage() for each in caplog.records)

        def pass_through(name: str) -> None:
            """When this has gone, all that was due before has been done."""
            made(api, name, {"metadata": {"name": "gone", "uid": "u"}})
            eventually(lambda: name not in names(api))

        eventually(lambda: tried() == 1)
        for seconds, attempts in ((1.0, 2), (1.0, 2), (1.0, 3), (3.0, 3), (1.0, 4)):
            clock.advance(seconds)
            pass_through(f"after-{clock.monotonic():g}")
            assert tried() == attempts
        # Whoever changes it lets it be tried at once, but no more often afterwards.
        for _ in range(5):
            bad = server.store.get(("", "configmaps"), "default", "bad")
            assert bad is not None
            server.store.update(("", "configmaps"), bad, {**bad.obj, "data": {"no key": str(bad.version)}})
        pass_through("changed")
        assert tried() == 9
        for seconds, attempts in ((7.0, 9), (1.0, 10), (15.0, 10), (1.0, 11), (32.0, 12), (59.0, 12), (1.0, 13)):
            clock.advance(seconds)
            pass_through(f"after-{clock.monotonic():g}")
            assert tried() == attempts
        api.close()
