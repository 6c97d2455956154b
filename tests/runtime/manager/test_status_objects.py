"""What is told of single objects where nothing runs, so that each moment can be looked at."""

from __future__ import annotations

from typing import NamedTuple

import orjson
import pytest

from runtime.controller import Controller
from runtime.controller.history import Run
from runtime.controller.own_writes import Wait
from runtime.manager import Manager
from runtime.manager.statuspage.document import ObjectStatus
from runtime.manager.statuspage.objects import objects_of
from runtime.testing import FakeAPIServer, FakeClock
from runtime.types import Request
from tests.support.managers import CONFIGMAPS, ON, SECRETS

KEY = Request("default", "a")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def controller(server: FakeAPIServer, clock: FakeClock) -> Controller:
    manager = Manager(server.client(), clock=clock, **ON)
    return manager.controller("maps").for_(CONFIGMAPS).complete(lambda _request, _ctx: None)


class Objects(NamedTuple):
    stuck: list[ObjectStatus]
    recent: list[ObjectStatus]


def look(controller: Controller, clock: FakeClock, wanted: str = "") -> Objects:
    found = objects_of(controller, clock.monotonic(), wanted)
    return Objects([each.tell() for each in found if each.stuck], [each.tell() for each in found if not each.stuck])


def only(objects: Objects) -> ObjectStatus:
    (status,) = (*objects.stuck, *objects.recent)
    return status


def ran(controller: Controller, clock: FakeClock, error: str = "") -> None:
    assert controller.history is not None
    result = "error" if error else "success"
    controller.history.add(KEY, Run(clock.monotonic(), 0.0, result, error, "id" if error else ""))


def test_who_stands_by_has_a_queue_and_nothing_that_is_stuck(controller: Controller, clock: FakeClock) -> None:
    controller.queue.add(KEY)
    clock.advance(3600)
    assert look(controller, clock).stuck == []


def test_who_failed_is_stuck_whatever_it_is_doing_now(controller: Controller, clock: FakeClock) -> None:
    ran(controller, clock, "ValueError: no")
    queue = controller.queue
    for step, state in (
        (lambda: queue.add_after(KEY, 60.0), "backing_off"),
        (lambda: queue.add(KEY), "queued"),
        (lambda: queue.get(timeout=0), "running"),
        (lambda: queue.park(KEY, 60.0), "parked"),
    ):
        step()
        (status,) = look(controller, clock).stuck
        assert (status.state, status.error) == (state, "ValueError: no")


def test_a_key_that_waits_for_its_write_does_so_also_while_a_worker_has_a_look(
    controller: Controller, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = Wait(SECRETS, "default", "version 7", 99.0, watch_lost=True)
    monkeypatch.setattr(controller, "own_write_waits", lambda: {KEY: wait})
    controller.queue.add(KEY)
    for step in (lambda: None, lambda: controller.queue.get(timeout=0)):
        step()
        (status,) = look(controller, clock).stuck
        assert (status.state, status.since) == ("parked", 99.0)
        assert status.waits_for is not None
        assert (status.waits_for.resource, status.waits_for.watch_lost) == ("secrets.v1", True)


def test_what_succeeded_and_comes_again_is_scheduled(controller: Controller, clock: FakeClock) -> None:
    ran(controller, clock)
    clock.advance(5)
    status = only(look(controller, clock))
    assert (status.state, status.since, status.due) == ("idle", 5.0, None)
    controller.queue.add_after(KEY, 60.0, priority=3)
    clock.advance(10)
    status = only(look(controller, clock))
    assert (status.state, status.since, status.due, status.priority) == ("scheduled", 15.0, 50.0, 3)
    assert look(controller, clock).stuck == []


def test_trouble_is_as_old_as_its_first_failure(controller: Controller, clock: FakeClock) -> None:
    for _ in range(15):
        ran(controller, clock, "ValueError: no")
        clock.advance(10)
    controller.queue.add_after(KEY, 60.0)
    status = only(look(controller, clock))
    assert (status.since, len(status.runs), status.runs[0].ago, status.runs[-1].ago) == (150.0, 10, 10.0, 100.0)


def test_what_is_no_text_becomes_some(controller: Controller, clock: FakeClock) -> None:
    assert controller.history is not None
    controller.history.add(Request("default", "\udcff"), Run(0.0, 0.0, "error", "ValueError: \ud800", "id"))
    (status,) = look(controller, clock).stuck
    assert (status.name, status.error, status.runs[0].error) == ("?", "ValueError: ?", "ValueError: ?")
    assert orjson.loads(orjson.dumps(status))["name"] == "?"


def test_any_object_that_is_queued_is_found_by_its_key(controller: Controller, clock: FakeClock) -> None:
    for number in range(300):
        controller.queue.add(Request("default", f"object-{number}"))
    assert look(controller, clock) == ([], [])
    assert [each.name for each in look(controller, clock, "default/object-299").recent] == ["object-299"]
    assert len(look(controller, clock, "OBJECT-1").recent) == 111  # of the 200 that wait for longest
    controller.queue.add_after(Request("", "later"), 60.0)
    assert only(look(controller, clock, "later")).state == "scheduled"
