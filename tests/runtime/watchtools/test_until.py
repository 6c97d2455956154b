"""Waiting for conditions (U6): which event meets which, what ends the wait, and that nothing is left of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from runtime.client import Cancelled, Client, DeadlineExceeded, Expired, ResourceClient, WatchEvent
from runtime.informer import Indexer
from runtime.testing import FakeAPIServer, FakeClock
from runtime.watchtools import (
    Condition,
    WaitTimeout,
    WatchClosed,
    has_condition,
    is_deleted,
    until,
    until_with_sync,
    until_without_retry,
)
from tests.runtime.informer.informer_support import (
    WIDGETS,
    Script,
    added,
    deleted,
    error_event,
    listing,
    modified,
    obj,
    status,
    unstructured,
    watching,
)
from tests.support.waiting import eventually

Background = Callable[..., "Future[Any]"]


class Events:
    """A stream of given events; ``endless`` ones block until closed."""

    def __init__(self, *events: WatchEvent, endless: bool = False) -> None:
        self.events = events
        self.endless = endless
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[WatchEvent]:
        yield from self.events
        if self.endless:
            self.closed.wait(20)

    def close(self) -> None:
        self.closed.set()


def event(type: str, name: str, version: int = 1, **body: Any) -> WatchEvent:
    return WatchEvent(type, unstructured(name, version, **body))


def named(name: str) -> Condition:
    return lambda event: event.object.name == name


def of_type(type: str) -> Condition:
    return lambda event: event.type == type


@pytest.fixture
def background() -> Iterator[Background]:
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit


# The conditions


def test_conditions_are_met_one_after_the_other() -> None:
    events = Events(event("ADDED", "b"), event("ADDED", "a"), event("MODIFIED", "a"), event("MODIFIED", "b"))
    met = until_without_retry(events, named("a"), named("b"))
    assert met is events.events[3]
    assert events.closed.is_set()


def test_one_event_can_meet_several() -> None:
    events = Events(event("ADDED", "a"), event("ADDED", "b"))
    assert until_without_retry(events, of_type("ADDED"), named("a")) is events.events[0]


def test_without_conditions_nothing_is_waited_for() -> None:
    events = Events(endless=True)
    assert until_without_retry(events) is None
    assert events.closed.is_set()


def test_what_a_condition_raises_comes_out_and_the_watch_is_closed() -> None:
    def bad(event: WatchEvent) -> bool:
        raise KeyError(event.object.name)

    events = Events(event("ADDED", "a"), endless=True)
    with pytest.raises(KeyError, match="a"):
        until_without_retry(events, bad)
    assert events.closed.is_set()


def test_a_watch_that_ends_too_early_is_an_error_that_says_how_far_it_came() -> None:
    with pytest.raises(WatchClosed, match="condition 2 of 2"):
        until_without_retry(Events(event("ADDED", "a")), named("a"), named("b"))


@pytest.mark.parametrize("came", [[], [event("ADDED", "a", 7)]])
def test_a_timeout_tells_the_last_event(background: Background, came: list[WatchEvent]) -> None:
    clock = FakeClock()
    waiting = background(until_without_retry, Events(*came, endless=True), named("b"), timeout=5.0, clock=clock)
    clock.wait_for_waiters(timed=True)
    clock.advance(5.0)
    with pytest.raises(WaitTimeout, match="ADDED Widget ns/a at 7" if came else "there was no event") as caught:
        waiting.result(20)
    assert caught.value.last_event == (came[-1] if came else None)


def test_a_stop_event_ends_the_wait(background: Background) -> None:
    stop = threading.Event()
    waiting = background(until_without_retry, Events(endless=True), named("b"), stop=stop)
    stop.set()
    with pytest.raises(Cancelled):
        waiting.result(20)
    events = Events(event("ADDED", "b"))
    with pytest.raises(Cancelled):
        until_without_retry(events, named("b"), stop=stop)
    assert events.closed.is_set()


def with_status(*conditions: Any) -> WatchEvent:
    return event("MODIFIED", "a", status={"conditions": [*conditions]})


@pytest.mark.parametrize(
    ("given", "met"),
    [
        (with_status({"type": "Ready", "status": "True"}), True),
        (with_status({"type": "Old", "status": "True"}, {"type": "Ready", "status": "True"}), True),
        (with_status({"type": "Ready", "status": "False"}), False),
        (with_status("nonsense", {}), False),
        (event("MODIFIED", "a", status="nonsense"), False),
        (event("MODIFIED", "a", status={"conditions": None}), False),
        (event("MODIFIED", "a"), False),
        (WatchEvent("DELETED", with_status({"type": "Ready", "status": "True"}).object), False),
    ],
)
def test_conditions_of_a_status(given: WatchEvent, met: bool) -> None:
    assert has_condition("Ready")(given) is met


def test_a_condition_may_be_wanted_false() -> None:
    assert has_condition("Ready", "False")(with_status({"type": "Ready", "status": "False"}))


def test_deleted() -> None:
    assert is_deleted(event("DELETED", "a"))
    assert not is_deleted(event("MODIFIED", "a"))


def test_a_plain_watch_will_do(configmaps: ResourceClient) -> None:
    listed = configmaps.list().resource_version
    configmaps.create({"metadata": {"name": "a"}})
    configmaps.delete("a")
    watch = configmaps.watch(resource_version=listed)
    met = until_without_retry(watch, named("a"), is_deleted, timeout=20)
    assert met is not None
    assert met.type == "DELETED"
    assert [*watch] == []


def test_a_plain_watch_that_is_silent_is_left_in_time(configmaps: ResourceClient) -> None:
    watch = configmaps.watch(resource_version=configmaps.list().resource_version)
    with pytest.raises(WaitTimeout):
        until_without_retry(watch, named("a"), timeout=0.2)


# until


def test_the_list_counts_and_then_the_watch(script: Script, widgets: ResourceClient) -> None:
    script.lists.append(listing(10, obj("a", 1)))
    script.watches.append(watching(modified(obj("a", 11)), added(obj("b", 12))))
    met = until(
        widgets, named("a"), of_type("MODIFIED"), name="a", label_selector="x=y", field_selector="spec.x=1", timeout=20
    )
    assert met is not None
    assert met.object.resource_version == "11"
    (listed, watched) = script.asked
    assert listed.query["fieldSelector"] == watched.query["fieldSelector"] == "metadata.name=a,spec.x=1"
    assert listed.query["labelSelector"] == watched.query["labelSelector"] == "x=y"
    assert watched.query["resourceVersion"] == "10"


def test_from_a_version_nothing_is_listed(script: Script, widgets: ResourceClient) -> None:
    script.watches.append(watching(deleted(obj("a", 11))))
    assert until(widgets, is_deleted, resource_version="10", timeout=20) is not None
    assert [ask.is_watch for ask in script.asked] == [True]


def test_until_survives_a_broken_watch_and_not_an_expired_one(
    script: Script, widgets: ResourceClient, background: Background
) -> None:
    clock = FakeClock()
    script.watches += [watching(then="drop"), watching(error_event(410, "Expired"))]
    waiting = background(until, widgets, named("a"), resource_version="10", clock=clock)
    clock.wait_for_waiters(timed=True)
    clock.advance(1.0)
    with pytest.raises(Expired):
        waiting.result(20)
    assert len(script.asked_watches) == 2


@pytest.mark.parametrize("where", ["list", "watch", "stream"])
def test_the_time_is_up_wherever_the_server_hangs(
    script: Script, widgets: ResourceClient, background: Background, where: str
) -> None:
    def hang(handler: Any) -> None:
        handler.stall()

    clock = FakeClock()
    script.lists.append(hang if where == "list" else listing(10))
    script.watches.append(hang if where == "watch" else watching())
    waiting = background(until, widgets, named("a"), timeout=5.0, clock=clock)
    eventually(lambda: len(script.asked) == (1 if where == "list" else 2))
    clock.wait_for_waiters(timed=True)
    clock.advance(5.0)
    with pytest.raises(WaitTimeout):
        waiting.result(20)


@pytest.mark.parametrize("wait", [until, until_with_sync])
def test_the_time_is_up_although_a_watch_is_open(
    script: Script, widgets: ResourceClient, background: Background, wait: Any
) -> None:
    clock, looked = FakeClock(), threading.Event()

    def never(event: WatchEvent) -> bool:
        if event.type == "MODIFIED":
            looked.set()
        return False

    script.then_watch = status(400, "BadRequest")  # no watch-list
    script.lists.append(listing(10, obj("a", 1)))
    script.watches += [] if wait is until else [script.then_watch]
    script.watches.append(watching(modified(obj("a", 11))))
    waiting = background(wait, widgets, never, timeout=5.0, clock=clock)
    assert looked.wait(20)  # so the watch is open, and nothing else comes
    clock.wait_for_waiters(timed=True)
    clock.advance(5.0)
    with pytest.raises(WaitTimeout, match="MODIFIED Widget ns/a at 11"):
        waiting.result(20)
    assert [
        thread.name for thread in threading.enumerate() if thread.name.startswith(("informer/", "watchtools/"))
    ] == []


def test_until_with_a_real_server(api: FakeAPIServer, configmaps: ResourceClient, background: Background) -> None:
    waiting = background(until, configmaps, lambda e: "done" in (e.object.get("data") or {}), name="a", timeout=20.0)
    configmaps.create({"metadata": {"name": "a"}})
    configmaps.create({"metadata": {"name": "b"}, "data": {"done": "1"}})
    configmaps.patch("a", {"data": {"done": "1"}})
    assert waiting.result(20).object.name == "a"


# until_with_sync


def test_with_sync_even_an_expired_version_is_survived(
    script: Script, widgets: ResourceClient, background: Background
) -> None:
    clock = FakeClock()
    script.then_watch = status(400, "BadRequest")
    script.watches += [status(400, "BadRequest"), watching(error_event(410, "Expired"))]
    script.lists += [listing(10, obj("a", 1)), listing(20, obj("a", 15))]
    waiting = background(until_with_sync, widgets, of_type("MODIFIED"), clock=clock)

    def ended() -> bool:
        clock.advance(1.0)
        return bool(waiting.done())

    eventually(ended)
    assert waiting.result(20).object.resource_version == "15"


def test_the_precondition_sees_the_whole_state_first(api: FakeAPIServer, configmaps: ResourceClient) -> None:
    for name in ("a", "b"):
        configmaps.create({"metadata": {"name": name}})
    seen: list[list[str]] = []

    def precondition(store: Indexer) -> bool:
        seen.append(sorted(key for key in store.list_keys() if "/kube-root" not in key))
        return False

    met = until_with_sync(configmaps, named("b"), precondition=precondition, timeout=20)
    assert seen == [["default/a", "default/b"]]
    assert met is not None
    assert met.type == "ADDED"


def test_what_no_event_will_tell_the_precondition_can(configmaps: ResourceClient) -> None:
    gone: Condition = is_deleted
    met = until_with_sync(
        configmaps, gone, name="never", precondition=lambda store: "default/never" not in store, timeout=20
    )
    assert met is None


def test_what_a_precondition_raises_comes_out(configmaps: ResourceClient) -> None:
    def bad(store: Indexer) -> bool:
        raise KeyError("bad")

    with pytest.raises(KeyError):
        until_with_sync(configmaps, is_deleted, precondition=bad)


@pytest.mark.parametrize("precondition", [None, lambda store: True], ids=["events", "precondition"])
def test_with_sync_the_time_is_up_although_the_server_never_answers(
    script: Script, widgets: ResourceClient, background: Background, precondition: Any
) -> None:
    def hang(handler: Any) -> None:
        handler.stall()

    clock = FakeClock()
    script.then_watch = script.then_list = hang
    waiting = background(until_with_sync, widgets, named("a"), precondition=precondition, timeout=5.0, clock=clock)
    eventually(lambda: script.asked)
    clock.wait_for_waiters(timed=True)
    clock.advance(5.0)
    with pytest.raises(WaitTimeout):
        waiting.result(20)


def test_an_object_that_comes_and_goes(configmaps: ResourceClient, background: Background) -> None:
    seen = threading.Event()

    def is_there(event: WatchEvent) -> bool:
        seen.set()
        return event.type == "ADDED"

    waiting = background(until_with_sync, configmaps, is_there, is_deleted, name="a", timeout=20.0)
    configmaps.create({"metadata": {"name": "a"}})
    assert seen.wait(20)  # what comes and goes while nobody looks is never shown
    configmaps.delete("a")
    assert waiting.result(20).object.name == "a"


# What the caller's client is bound to


def _after_precondition(*arguments: Any, **options: Any) -> Any:
    return until_with_sync(*arguments, precondition=lambda store: False, **options)


WAITS = pytest.mark.parametrize("wait", [until, until_with_sync, _after_precondition])


@WAITS
@pytest.mark.parametrize("bound", ["stop", "deadline", "closed"])
def test_a_client_that_may_ask_nothing_any_more_ends_the_wait(
    script: Script, scripted_client: Client, background: Background, wait: Any, bound: str
) -> None:
    stop = threading.Event()
    client = scripted_client.bound(stop, scripted_client.clock.monotonic() if bound == "deadline" else None)
    if bound == "stop":
        stop.set()
    elif bound == "closed":
        client.close()
    waiting = background(wait, client.resource(WIDGETS, "ns"), named("a"))
    with pytest.raises(DeadlineExceeded if bound == "deadline" else Cancelled):
        waiting.result(20)
    assert script.asked == []


@WAITS
def test_a_client_that_is_stopped_before_the_watch_ends_the_wait(
    script: Script, widgets: ResourceClient, background: Background, wait: Any
) -> None:
    stop = threading.Event()

    def last_list(handler: Any) -> None:
        stop.set()
        listing(10)(handler)

    script.then_watch = status(400, "BadRequest")  # no watch-list
    script.lists.append(last_list)
    waiting = background(wait, widgets.bound(stop), named("a"))
    with pytest.raises(Cancelled):
        waiting.result(20)
    assert [ask for ask in script.asked_watches if not ask.is_watch_list] == []
