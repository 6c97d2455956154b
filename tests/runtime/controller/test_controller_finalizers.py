"""B9: if setup ever ran, cleanup runs before the object disappears."""

from __future__ import annotations

from typing import Literal

import pytest

from runtime.client import Client, Conflict, ConnectionFailed, Invalid, NotFound, ResourceClient, Unstructured
from runtime.controller import Finalizers, ensure_finalizer, finalized, remove_finalizer
from runtime.testing import FakeAPIServer
from runtime.types import GVR, Result
from tests.support.managers import configmap

CONFIGMAPS = GVR("", "v1", "configmaps")
OURS, THEIRS = "example.com/ours", "example.com/theirs"


class Bench:
    def __init__(self, server: FakeAPIServer) -> None:
        self.server = server
        self.client: Client = server.client()
        self.maps: ResourceClient = self.client.resource(CONFIGMAPS, "default")
        self.calls: list[str] = []
        self.outcome: Result | Exception | None = None

    def create(self, *finalizers: str) -> Unstructured:
        obj = configmap("a")
        obj["metadata"]["finalizers"] = list(finalizers)
        return self.maps.create(obj)

    def reconcile(self) -> Result | None:
        """With a fresh read, as a reconcile would."""
        return finalized(
            self.client,
            CONFIGMAPS,
            self.maps.get("a"),
            OURS,
            setup=self.called("setup"),
            cleanup=self.called("cleanup"),
        )

    def called(self, what: str):  # type: ignore[no-untyped-def]
        def call(_: Unstructured) -> Result | None:
            self.calls.append(what)
            if isinstance(self.outcome, Exception):
                raise self.outcome
            return self.outcome

        return call

    def is_gone(self) -> bool:
        try:
            self.maps.get("a")
        except NotFound:
            return True
        return False


@pytest.fixture
def bench(server: FakeAPIServer) -> Bench:
    return Bench(server)


def test_the_finalizer_is_stored_before_setup_runs(bench: Bench) -> None:
    obj = bench.create(THEIRS)

    def setup(_: Unstructured) -> Result | None:
        assert bench.maps.get("a").finalizers == [THEIRS, OURS]
        return Result(requeue_after=7)

    result = finalized(bench.client, CONFIGMAPS, obj, OURS, setup=setup, cleanup=bench.called("cleanup"))
    assert result == Result(requeue_after=7)


def test_setup_does_not_run_if_the_finalizer_cannot_be_stored(bench: Bench) -> None:
    bench.create()
    bench.server.faults.add(verb="patch", status=422, times=1)
    with pytest.raises(Exception, match="422"):
        bench.reconcile()
    assert bench.calls == []


def test_cleanup_runs_before_the_object_disappears(bench: Bench) -> None:
    bench.create()
    bench.reconcile()
    bench.maps.delete("a")
    assert not bench.is_gone()
    bench.reconcile()
    assert bench.calls == ["setup", "cleanup"]
    assert bench.is_gone()


@pytest.mark.parametrize("outcome", [RuntimeError("no"), Result(requeue_after=5)])
def test_the_object_stays_until_cleanup_has_succeeded(bench: Bench, outcome: Result | Exception) -> None:
    bench.create(OURS)
    bench.maps.delete("a")
    bench.outcome = outcome
    if isinstance(outcome, Exception):
        with pytest.raises(RuntimeError):
            bench.reconcile()
    else:
        assert bench.reconcile() == outcome
    assert not bench.is_gone()
    bench.outcome = None
    bench.reconcile()
    assert bench.is_gone()


def test_an_object_that_was_never_set_up_is_not_cleaned_up(bench: Bench) -> None:
    bench.create(THEIRS)
    bench.maps.delete("a")
    assert bench.reconcile() is None
    assert bench.calls == []
    assert bench.maps.get("a").finalizers == [THEIRS]


def test_a_finalizer_that_is_there_costs_no_request(bench: Bench) -> None:
    obj = bench.create(OURS)
    bench.server.requests.clear()
    assert ensure_finalizer(bench.client, CONFIGMAPS, obj, OURS) is obj
    assert len(bench.server.requests) == 0


def test_nobody_elses_finalizer_is_lost_to_a_race(bench: Bench) -> None:
    stale = bench.create()
    bench.maps.patch("a", {"metadata": {"finalizers": [THEIRS]}})
    ensure_finalizer(bench.client, CONFIGMAPS, stale, OURS)
    assert bench.maps.get("a").finalizers == [THEIRS, OURS]
    stale = bench.maps.get("a")
    bench.maps.patch("a", {"metadata": {"finalizers": [OURS]}})
    remove_finalizer(bench.client, CONFIGMAPS, stale, OURS)
    assert bench.maps.get("a").finalizers == []


def test_a_new_object_of_the_same_name_is_left_alone(bench: Bench) -> None:
    stale = bench.create()
    bench.maps.delete("a")
    bench.create()
    with pytest.raises(Conflict):
        ensure_finalizer(bench.client, CONFIGMAPS, stale, OURS)
    assert bench.maps.get("a").finalizers == []


def test_removing_from_an_object_that_is_gone_is_fine(bench: Bench) -> None:
    obj = bench.create(OURS)
    bench.maps.patch("a", {"metadata": {"finalizers": None}})
    bench.maps.delete("a")
    remove_finalizer(bench.client, CONFIGMAPS, obj, OURS)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_killed_between_any_two_calls(bench: Bench, when: Literal["before", "after"], number: int) -> None:
    """Whichever request of its life is the last of a process, before or after it takes effect: the next one goes on."""
    bench.create()
    client = Client(bench.server.url, user_agent="operator")
    killed = bench.server.faults.add(verb="!get", resource="configmaps", user_agent="operator", nth=number, drop=when)
    history: list[str] = []

    def setup(_: Unstructured) -> None:
        stored = bench.maps.get("a")
        assert OURS in stored.finalizers or stored.deletion_timestamp is not None
        history.append("setup")
        client.resource(CONFIGMAPS, "default").patch("a", {"metadata": {"annotations": {"set": "up"}}})

    def cleanup(_: Unstructured) -> None:
        assert not bench.is_gone()
        history.append("cleanup")
        client.resource(CONFIGMAPS, "default").patch("a", {"metadata": {"annotations": {"set": None}}})

    def live(times: int) -> None:
        for _ in range(times):
            if bench.is_gone():
                return
            try:
                finalized(client, CONFIGMAPS, bench.maps.get("a"), OURS, setup=setup, cleanup=cleanup)
            except ConnectionFailed:
                history.append("killed")

    live(3)
    bench.maps.delete("a")
    live(3)
    assert bench.is_gone()
    assert killed.hits == 1
    assert history[-1] == "cleanup" or history[-2:] == ["cleanup", "killed"]
    assert "setup" in history


def test_what_is_being_deleted_is_not_set_up(bench: Bench) -> None:
    """The cache does not show yet that it is."""
    stale = bench.create(THEIRS)
    bench.maps.delete("a")
    with pytest.raises(Conflict):
        finalized(bench.client, CONFIGMAPS, stale, OURS, setup=bench.called("setup"), cleanup=bench.called("cleanup"))
    assert bench.calls == []
    with pytest.raises(Invalid):
        ensure_finalizer(bench.client, CONFIGMAPS, bench.maps.get("a"), OURS)
    assert bench.maps.get("a").finalizers == [THEIRS]


def test_several_finalizers_are_stored_and_removed_at_once(bench: Bench) -> None:
    finalizers = Finalizers({OURS: bench.called("first"), "example.com/more": bench.called("second")})
    bench.create(THEIRS)
    bench.server.requests.clear()
    finalizers.run(bench.client, CONFIGMAPS, bench.maps.get("a"), bench.called("setup"))
    assert bench.maps.get("a").finalizers == [THEIRS, OURS, "example.com/more"]
    bench.maps.delete("a")
    finalizers.run(bench.client, CONFIGMAPS, bench.maps.get("a"), bench.called("setup"))
    assert bench.calls == ["setup", "first", "second"]
    assert bench.maps.get("a").finalizers == [THEIRS]
    assert [entry.verb for entry in bench.server.requests].count("patch") == 2


def test_of_several_those_that_fail_hold_up_the_deletion_alone(bench: Bench) -> None:
    outcomes: dict[str, Result | Exception | None] = {}
    called: list[str] = []

    def step(name: str):  # type: ignore[no-untyped-def]
        def cleanup(_: Unstructured) -> Result | None:
            called.append(name)
            outcome = outcomes.get(name)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        return cleanup

    names = [f"example.com/{name}" for name in "abc"]
    finalizers = Finalizers({name: step(name) for name in names})
    bench.create(*names)
    bench.maps.delete("a")

    def run() -> Result | None:
        called.clear()
        return finalizers.run(bench.client, CONFIGMAPS, bench.maps.get("a"), bench.called("setup"))

    outcomes |= {names[0]: RuntimeError("one"), names[1]: RuntimeError("two")}
    with pytest.raises(ExceptionGroup, match="2 cleanups failed") as failed:
        run()
    assert list(map(str, failed.value.exceptions)) == ["one", "two"]
    assert called == names
    assert bench.maps.get("a").finalizers == names[:2]
    outcomes |= {names[0]: RuntimeError("still one"), names[1]: Result(requeue_after=7)}
    with pytest.raises(RuntimeError, match="still one"):
        run()
    assert called == names[:2]
    outcomes |= {names[0]: Result(requeue_after=3)}
    assert run() == Result(requeue_after=3)
    assert bench.maps.get("a").finalizers == names[:2]
    outcomes.clear()
    assert run() is None
    assert bench.is_gone()


def test_a_finalizer_needs_a_domain(bench: Bench) -> None:
    for name in ("plain", "", "/x", "example.com/"):
        with pytest.raises(ValueError, match="no domain"):
            Finalizers({name: bench.called("cleanup")})
