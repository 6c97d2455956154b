"""What the status page knows of a manager that is in trouble."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.controller import ReconcileContext
from runtime.manager import Manager
from runtime.manager.statuspage import objects, survey
from runtime.manager.statuspage.document import Document, encode
from runtime.testing import FakeAPIServer
from runtime.types import GVR, Request, TerminalError
from tests.runtime.manager.status_scene import HOSTILE, LOOK, TERMINAL, Scene, stuck
from tests.support.managers import CONFIGMAPS, ON, configmap, eventually, http, running

MONITORS = GVR("monitoring.coreos.com", "v1", "servicemonitors")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with FakeAPIServer() as server, stuck(server) as scene:
        yield scene


def test_a_run_that_does_not_end_is_stuck_and_shown_where(scene: Scene) -> None:
    hangs = scene.found("hangs")
    assert hangs in scene.document("hangs").stuck
    assert (hangs.controller, hangs.namespace, hangs.state) == ("shops", "default", "running")
    assert hangs.since is not None
    assert hangs.since >= LOOK
    assert any(line.endswith("wait_for_nothing") for line in hangs.stack)
    assert any("status_scene.py" in line for line in hangs.stack)
    assert not any("execution.py" in line for line in hangs.stack)
    assert not any(line.startswith("/") for line in hangs.stack)


def test_a_failing_object_tells_why_since_when_and_when_it_is_tried_again(scene: Scene) -> None:
    fails = scene.found("fails")
    assert fails.state in ("backing_off", "queued")  # as the clock's last step has it
    assert fails.error == "ConnectionError: the shop does not answer\nand says nothing more"
    assert fails.failures >= 2
    assert fails in scene.document("fails").stuck
    assert [run.result for run in fails.runs] == ["error"] * len(fails.runs)
    assert all(run.reconcile_id for run in fails.runs)
    assert [run.ago for run in fails.runs] == sorted(run.ago for run in fails.runs)
    if fails.state == "backing_off":
        assert fails.due is not None
        assert fails.since is not None
        assert fails.since >= LOOK


def test_a_terminal_error_is_told_until_something_changes(scene: Scene) -> None:
    terminal = scene.found("terminal")
    assert terminal in scene.document("terminal").stuck
    assert (terminal.state, terminal.error, terminal.due) == ("failed", f"TerminalError: {TERMINAL}", None)
    assert [run.result for run in terminal.runs] == ["terminal_error"]


def test_an_object_that_waits_for_its_own_write_tells_what_does_not_show_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    parked = scene.found("parked")
    assert parked.state == "parked"
    wait = parked.waits_for
    assert wait is not None
    assert (wait.resource, wait.namespace, wait.watch_lost) == ("secrets.v1", "default", False)
    assert wait.missing.startswith("version ")
    assert parked.error == ""
    assert parked.since is not None
    monkeypatch.setattr(objects, "_STUCK_AFTER", {"parked": parked.since})
    assert scene.found("parked").name in [each.name for each in scene.document("parked").stuck]
    monkeypatch.setattr(objects, "_STUCK_AFTER", {"parked": 1e9})
    assert not scene.document("parked").stuck


def test_what_waits_for_a_worker_tells_for_how_long(scene: Scene) -> None:
    second = scene.found("second")
    assert (second.controller, second.state) == ("busy", "queued")
    assert second.since is not None
    assert second.since >= LOOK
    assert second.runs == []
    assert second in scene.document("second").stuck


def test_who_is_well_is_not_stuck(scene: Scene) -> None:
    well, later = scene.found("well"), scene.found("later")
    assert (well.state, later.state) == ("idle", "scheduled")
    assert later.due == pytest.approx(3600, abs=200)
    assert [run.result for run in later.runs] == ["requeue_after"]
    stuck_names = {each.name for each in scene.document().stuck}
    assert stuck_names >= {"hangs", "fails", "terminal", "second"}
    assert not stuck_names & {"well", "later"}
    assert {"well", "later"} <= {each.name for each in scene.document().recent}


def test_the_worst_come_first(scene: Scene) -> None:
    states = [each.state for each in scene.document().stuck]
    assert states.index("failed") < states.index("backing_off") or "backing_off" not in states


def test_objects_are_found_by_a_part_of_their_key(scene: Scene) -> None:
    document = scene.document("ULT/h")
    assert document.filter == "ULT/h"
    assert [each.name for each in document.stuck] == ["hangs"]
    assert not document.recent
    document = scene.document("there is none of this name")
    assert not document.stuck
    assert not document.recent
    assert len(scene.document("x" * 5000).filter) == 200


def test_controllers_tell_what_they_do(scene: Scene) -> None:
    shops, busy = scene.document().controllers
    assert (shops.name, shops.state, shops.workers, shops.waits_for) == ("shops", "working", 3, {})
    assert (shops.active, shops.parked, shops.delayed >= 1) == (1, 1, True)
    assert shops.totals["terminal_error"] == 1
    assert shops.totals["error"] >= 4
    assert shops.longest_running >= LOOK
    assert shops.objects >= 6
    assert (busy.name, busy.depth, busy.active) == ("busy", 1, 1)


def test_informers_tell_what_they_hold_and_how_old_it_is(scene: Scene) -> None:
    maps, pods, secrets = scene.document().informers
    assert (maps.resource, maps.namespace, maps.objects, maps.synced, maps.connected) == (
        "configmaps.v1", "", 6, True, True,
    )  # fmt: skip
    assert maps.bytes > 600
    assert maps.age is not None
    assert (pods.resource, pods.objects, pods.bytes) == ("pods.v1", 0, 0)
    assert secrets.objects == 1


def test_events_are_told_as_they_were_recorded(scene: Scene) -> None:
    (event,) = (each for each in scene.document().events if each.reason == "NotAllowed")
    assert (event.type, event.kind, event.name, event.message) == ("Warning", "ConfigMap", "terminal", TERMINAL)
    assert (event.component, event.count) == ("shops", 1)


def test_names_and_errors_are_told_as_they_are(scene: Scene) -> None:
    assert scene.found(HOSTILE).error == f"ValueError: {HOSTILE}"
    assert json.loads(encode(scene.document(HOSTILE)))["stuck"][0]["name"] == HOSTILE


def test_a_document_is_made_once_for_all_who_ask_at_the_same_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "_FRESH", 60.0)
    looker = scene.manager._survey
    assert looker is not None
    first = looker.document()
    assert looker.document() is first
    assert looker.document("other") is not first
    monkeypatch.setattr(survey, "_FRESH", 0.0)
    assert looker.document("other") is not looker.document("other")


def test_many_stuck_objects_are_counted_and_not_all_told() -> None:
    with FakeAPIServer() as server:
        manager = Manager(server.client(), **ON)

        def fail(_request: Request, _ctx: ReconcileContext) -> None:
            raise TerminalError("no")

        controller = manager.controller("many").for_(CONFIGMAPS).complete(fail)
        with running(manager):
            for number in range(70):
                controller.enqueue(Request("default", f"object-{number}"))
            eventually(lambda: controller.stats.terminal_errors.value == 70)
            document: Document = json.loads(http(manager.metrics_address, "/status/v1")[1], object_hook=_Named)
            assert (len(document.stuck), document.stuck_left_out) == (50, 20)
            document = json.loads(http(manager.metrics_address, "/status/v1?object=object-7")[1], object_hook=_Named)
            assert [each.name for each in document.stuck] == ["object-7"]


def test_of_what_is_well_the_latest_are_told_and_more_of_what_is_looked_for() -> None:
    with FakeAPIServer() as server:
        manager = Manager(server.client(), **ON)
        controller = manager.controller("many").for_(CONFIGMAPS).complete(lambda _request, _ctx: None)
        with running(manager):
            for number in range(40):
                controller.enqueue(Request("default", f"object-{number}"))
            eventually(lambda: controller.stats.outcomes["success"].value == 40 and len(controller.history or ()) == 40)
            status = _status(manager)
            assert (len(status["recent"]), status["recent_left_out"]) == (15, 25)
            assert [each["name"] for each in status["recent"]] == [f"object-{number}" for number in range(39, 24, -1)]
            status = _status(manager, "?object=object")
            assert (len(status["recent"]), status["recent_left_out"]) == (40, 0)


class _Named(dict[str, Any]):
    def __getattr__(self, name: str) -> object:
        return self[name]


def test_what_keeps_a_controller_from_working_is_told_once() -> None:
    with FakeAPIServer() as server:
        manager = Manager(server.client(), **ON)
        manager.controller("monitors").for_(MONITORS).complete(lambda _request, _ctx: None)
        manager.controller("maps").for_(CONFIGMAPS).complete(lambda _request, _ctx: None)
        with running(manager, wait=False):
            eventually(lambda: len(_status(manager)["problems"]) == 1 and "404" in str(_status(manager)["problems"]))
            status = _status(manager)
            (problem,) = status["problems"]
            assert problem["about"] == f"cache of {MONITORS}"
            monitors, _ = status["controllers"]
            assert monitors["state"] == "waiting"
            assert "404" in monitors["waits_for"][str(MONITORS)]
            (informer,) = (each for each in status["informers"] if each["resource"] == str(MONITORS))
            assert (informer["synced"], informer["refused"]) == (False, 404)


def _status(manager: Manager, query: str = "") -> dict[str, Any]:
    address = eventually(lambda: manager.metrics_address)
    found: dict[str, Any] = json.loads(http(address, f"/status/v1{query}")[1])
    return found


def test_a_lost_watch_and_an_object_that_cannot_be_cached_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "_WITHOUT_WATCH", 0.0)

    def transform(obj: dict[str, object]) -> dict[str, object]:
        if obj["metadata"]["name"] == "odd":  # type: ignore[index]
            raise ValueError("too odd")
        return obj

    with FakeAPIServer() as server:
        server.client().resource(CONFIGMAPS, "default").create(configmap("odd"))
        manager = Manager(server.client(), transform=transform, **ON)
        manager.controller("maps").for_(CONFIGMAPS).complete(lambda _request, _ctx: None)
        with running(manager):
            (problem,) = eventually(lambda: _status(manager)["problems"])
            assert problem == {"about": "cache of configmaps.v1", "why": "cannot hold default/odd: ValueError: too odd"}
            server.stop()
            eventually(lambda: any("lost its watch" in each["why"] for each in _status(manager)["problems"]))
            assert _status(manager)["informers"][0]["connected"] is False


def test_who_leads_is_told_by_both() -> None:
    options = ON | {"leader_election": True, "leader_election_id": "shops", "leader_election_namespace": "default"}
    with FakeAPIServer() as server:
        leader, standby = (Manager(server.client(), name=name, **options) for name in ("one", "two"))
        for manager in (leader, standby):
            manager.controller("maps").for_(CONFIGMAPS).complete(lambda _request, _ctx: None)
        with running(leader, wait=False):
            assert leader.elected.wait(30)
            with running(standby, wait=False):
                eventually(lambda: _election(standby)["leader"])
                first, second = _election(leader), _election(standby)
                assert (first["lease"], first["namespace"], first["leads"]) == ("shops", "default", True)
                assert first["expires_in"] > 0
                assert second["leads"] is False
                assert second["leader"] == first["leader"] == first["identity"] != second["identity"]
                states = [_status(manager)["controllers"][0]["state"] for manager in (leader, standby)]
                assert states == ["working", "standby"]


def _election(manager: Manager) -> dict[str, Any]:
    found: dict[str, Any] = _status(manager)["election"]
    return found


def test_each_field_is_described(scene: Scene) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "status-page.md").read_text()
    fields = _fields(json.loads(encode(scene.document())))
    assert len(fields) > 60
    assert [field for field in sorted(fields) if f"`{field}`" not in page] == []


def _fields(value: object) -> set[str]:
    """The names of all fields; the keys of free maps are none."""
    if isinstance(value, list):
        return set().union(*map(_fields, value))
    if isinstance(value, dict):
        free = ("totals", "waits_for", "quarantined", "events_dropped")
        return {*value, *set().union(*(_fields(each) for key, each in value.items() if key not in free))}
    return set()


def test_nothing_is_remembered_where_nobody_looks() -> None:
    before = set(threading.enumerate())
    with FakeAPIServer() as server:
        manager = Manager(server.client(), metrics_bind_address="0", health_probe_bind_address="0")
        controller = manager.controller("maps").for_(CONFIGMAPS).complete(lambda _request, _ctx: None)
        assert controller.history is None
        with running(manager):
            assert "runnable-status-page" not in [thread.name for thread in set(threading.enumerate()) - before]
