"""H5: create an object, or bring it to what a function makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest

from runtime.client import Client, Conflict, NotFound, Unstructured
from runtime.controller import ReconcileContext, Upserted, create_or_patch, create_or_update
from runtime.manager import Manager
from runtime.testing import FakeAPIServer
from runtime.types import JSONObject, Request
from tests.support.managers import CONFIGMAPS, FOO_CRD, FOOS, OFF, configmap, eventually, running

BOTH = pytest.mark.parametrize("upsert", [create_or_update, create_or_patch])
Upsert = Callable[..., Upserted]


def data(**wanted: str) -> Callable[[JSONObject], None]:
    return lambda obj: obj.setdefault("data", {}).update(wanted)


class Bench:
    def __init__(self, server: FakeAPIServer) -> None:
        self.server = server
        self.client: Client = server.client()
        self.maps = self.client.resource(CONFIGMAPS, "default")

    def verbs(self) -> list[str]:
        """What was asked since the last time."""
        verbs = [entry.verb for entry in self.server.requests]
        self.server.requests.clear()
        return verbs


@pytest.fixture
def bench(server: FakeAPIServer) -> Bench:
    return Bench(server)


@BOTH
def test_created_updated_unchanged(bench: Bench, upsert: Upsert) -> None:
    made = upsert(bench.client, CONFIGMAPS, configmap("a", x="1"), data(y="2"))
    assert (made.action, made.changed, made.object["data"]) == ("created", True, {"x": "1", "y": "2"})
    bench.maps.patch("a", {"data": {"theirs": "kept"}})
    changed = upsert(bench.client, CONFIGMAPS, configmap("a"), data(y="3"))
    assert changed.action == "updated"
    assert changed.object["data"] == {"x": "1", "y": "3", "theirs": "kept"} == bench.maps.get("a")["data"]
    bench.verbs()
    same = upsert(bench.client, CONFIGMAPS, configmap("a"), data(y="3"))
    assert (same.action, same.changed) == ("unchanged", False)
    assert bench.verbs() == ["get"]


@BOTH
def test_a_cache_that_shows_it_saves_the_request(bench: Bench, upsert: Upsert) -> None:
    cached = bench.maps.create(configmap("a", x="1"))
    bench.verbs()
    assert upsert(bench.client, CONFIGMAPS, configmap("a"), data(x="1"), cached=cached).object is cached
    assert bench.verbs() == []
    assert upsert(bench.client, CONFIGMAPS, configmap("a"), data(x="2"), cached=cached).action == "updated"


@BOTH
def test_what_the_cache_lacks_is_not_lost(bench: Bench, upsert: Upsert) -> None:
    """A projection, or a state of before: what is written is based on what the server has."""
    whole = bench.maps.create(configmap("a", x="1", theirs="kept"))
    slim = whole.to_dict()
    slim["data"] = {"x": "1"}
    upsert(bench.client, CONFIGMAPS, configmap("a"), data(x="2"), cached=Unstructured(slim))
    assert bench.maps.get("a")["data"] == {"x": "2", "theirs": "kept"}


@BOTH
def test_somebody_who_is_faster_is_not_overwritten(bench: Bench, upsert: Upsert) -> None:
    bench.maps.create(configmap("a", count="0"))
    calls: list[str] = []

    def add_one(obj: JSONObject) -> None:
        calls.append(obj["data"]["count"])
        if len(calls) == 1:
            bench.maps.patch("a", {"data": {"count": "10", "theirs": "yes"}})
        obj["data"]["count"] = str(int(obj["data"]["count"]) + 1)

    written = upsert(bench.client, CONFIGMAPS, configmap("a"), add_one)
    assert calls == ["0", "10"]
    assert written.object["data"] == {"count": "11", "theirs": "yes"}


@BOTH
def test_who_is_always_faster_is_told_of(bench: Bench, upsert: Upsert) -> None:
    bench.maps.create(configmap("a", count="0"))

    def race(obj: JSONObject) -> None:
        bench.maps.patch("a", {"data": {"count": str(int(obj["data"]["count"]) + 1)}})
        obj["data"]["ours"] = "yes"

    with pytest.raises(Conflict):
        upsert(bench.client, CONFIGMAPS, configmap("a"), race)
    assert "ours" not in bench.maps.get("a")["data"]


@BOTH
def test_an_object_that_comes_or_goes_meanwhile(bench: Bench, upsert: Upsert) -> None:
    calls = 0

    def meddle(obj: JSONObject) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:  # it was not there, and now it is
            bench.maps.create(configmap("a", theirs="yes"))
        elif calls == 2:  # it was there, and now it is not
            bench.maps.delete("a")
        obj.setdefault("data", {})["ours"] = "yes"

    written = upsert(bench.client, CONFIGMAPS, configmap("a"), meddle)
    assert (written.action, written.object["data"]) == ("created", {"ours": "yes"})
    assert calls == 3


@BOTH
@pytest.mark.parametrize("field", ["name", "namespace"])
def test_the_function_may_not_make_it_another_object(bench: Bench, upsert: Upsert, field: str) -> None:
    def rename(obj: JSONObject) -> None:
        obj["metadata"][field] = "other"

    with pytest.raises(ValueError, match="another object"):
        upsert(bench.client, CONFIGMAPS, configmap("a"), rename)
    bench.maps.create(configmap("a"))
    with pytest.raises(ValueError, match="another object"):
        upsert(bench.client, CONFIGMAPS, configmap("a"), rename)
    with pytest.raises(ValueError, match="another object"):
        upsert(bench.client, CONFIGMAPS, configmap("a"), rename, cached=bench.maps.get("a"))
    with pytest.raises(ValueError, match=r"no metadata\.name"):
        upsert(bench.client, CONFIGMAPS, {"kind": "ConfigMap", "metadata": {"generateName": "a-"}}, rename)


@BOTH
def test_nulls_are_no_difference_and_deletions_are(bench: Bench, upsert: Upsert) -> None:
    initial = configmap("a", x="1", y="2")
    upsert(bench.client, CONFIGMAPS, initial, lambda obj: obj.update(binaryData=None))
    assert upsert(bench.client, CONFIGMAPS, initial, lambda obj: obj.update(binaryData=None)).action == "unchanged"
    assert upsert(bench.client, CONFIGMAPS, initial, lambda obj: obj["data"].pop("y")).action == "updated"
    assert bench.maps.get("a")["data"] == {"x": "1"}
    assert initial == configmap("a", x="1", y="2")


@BOTH
def test_what_the_server_takes_back_is_no_change(bench: Bench, upsert: Upsert) -> None:
    """It resets what may not be set: the request changed nothing, and says so."""
    bench.maps.create(configmap("a"))

    def set_generation(obj: JSONObject) -> None:
        obj["metadata"]["generation"] = 99

    before = bench.maps.get("a").resource_version
    assert upsert(bench.client, CONFIGMAPS, configmap("a"), set_generation).action == "unchanged"
    assert bench.maps.get("a").resource_version == before


@BOTH
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_write_whose_answer_is_lost_is_not_done_twice(
    bench: Bench, upsert: Upsert, when: Literal["before", "after"]
) -> None:
    for verb in ("create", "update", "patch"):
        bench.server.faults.add(verb=verb, resource="configmaps", drop=when, times=1)
    for wanted in ("1", "2"):
        for _ in range(3):
            try:
                upsert(bench.client, CONFIGMAPS, configmap("a"), data(x=wanted))
            except Exception as error:
                assert getattr(error, "ambiguous", False)  # noqa: PT017 it may also succeed
        assert bench.maps.get("a")["data"] == {"x": wanted}
        assert upsert(bench.client, CONFIGMAPS, configmap("a"), data(x=wanted)).action == "unchanged"


def foo(**spec: Any) -> JSONObject:
    return {
        "apiVersion": FOOS.api_version,
        "kind": "Foo",
        "metadata": {"name": "f", "namespace": "default"},
        "spec": {"deploymentName": "d", "replicas": 1} | spec,
    }


def test_the_status_is_patched_by_itself(bench: Bench) -> None:
    bench.server.apply_manifests(FOO_CRD)
    foos = bench.client.resource(FOOS, "default")

    def bring(replicas: int, available: int | None) -> str:
        def mutate(obj: JSONObject) -> None:
            obj["spec"]["replicas"] = replicas
            if available is None:
                obj.pop("status", None)
            else:
                obj["status"] = {"availableReplicas": available}

        written = create_or_patch(bench.client, FOOS, foo(), mutate)
        stored = foos.get("f")
        assert stored.resource_version == written.object.resource_version
        assert (stored["spec"]["replicas"], (stored.get("status") or {}).get("availableReplicas")) == (
            replicas,
            available,
        )
        return written.action

    assert bring(1, 1) == "created"
    assert bring(1, 1) == "unchanged"
    assert bring(2, 1) == "updated"
    assert bring(2, 2) == "updated_status_only"
    assert bring(3, 3) == "updated_status"
    assert bring(3, None) == "updated_status_only"
    bench.verbs()
    assert bring(3, None) == "unchanged"
    assert "patch" not in bench.verbs()


def test_a_reconcile_that_finds_all_as_it_should_be_asks_nothing(server: FakeAPIServer) -> None:
    done: list[tuple[str, str]] = []

    def reconcile(request: Request, ctx: ReconcileContext) -> None:
        if request.name != "a":
            return
        made = ctx.create_or_update(CONFIGMAPS, configmap("child", "default"), data(x="1"))
        patched = ctx.create_or_patch(CONFIGMAPS, configmap("child", "default"), data(y="2"))
        done.append((made.action, patched.action))

    client = server.client()
    maps = client.resource(CONFIGMAPS, "default")
    manager = Manager(client, **OFF)
    manager.controller("upsert").for_(CONFIGMAPS).complete(reconcile)
    with running(manager):
        maps.create(configmap("a"))
        eventually(lambda: done)
        eventually(lambda: manager.informer(CONFIGMAPS).indexer.get("default/child"))
        eventually(lambda: manager.informer(CONFIGMAPS).indexer.get("default/child")["data"].get("y"))  # type: ignore[index]
        server.requests.clear()
        maps.patch("a", {"data": {"touched": "yes"}})
        eventually(lambda: len(done) > 1)
    assert done[0] == ("created", "updated")
    assert done[-1] == ("unchanged", "unchanged")
    assert not [entry for entry in server.requests if entry.name == "child"]
    with pytest.raises(NotFound):
        maps.get("nothing")
