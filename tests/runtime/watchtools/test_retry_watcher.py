"""A watch that goes on after breaks (U5)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runtime.client import (
    Cancelled,
    ConnectionFailed,
    DeadlineExceeded,
    Expired,
    Forbidden,
    ResourceClient,
    Unauthorized,
    Watch,
    WatchEvent,
)
from runtime.testing import FakeAPIServer, FakeClock
from runtime.watchtools import RetryWatcher
from tests.runtime.informer.informer_support import (
    Act,
    Script,
    added,
    bookmark,
    deleted,
    dropping,
    error_event,
    modified,
    obj,
    status,
    watching,
)
from tests.support.waiting import eventually

Watching = Callable[..., "Reader"]


class Reader:
    """Iterates in a thread of its own; a clock that stands still is moved over each wait of the watcher."""

    def __init__(self, watcher: RetryWatcher) -> None:
        self.watcher = watcher
        self.events: list[tuple[str, str]] = []
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        try:
            for event in self.watcher:
                self.events.append((event.type, event.object.resource_version))
        except Exception as error:
            self.error = error

    @property
    def ended(self) -> bool:
        return not self.thread.is_alive()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def reading(widgets: ResourceClient, clock: FakeClock) -> Iterator[Watching]:
    readers: list[Reader] = []

    def start(version: str = "5", **options: Any) -> Reader:
        readers.append(Reader(RetryWatcher(widgets, version, clock=clock, **options)))
        return readers[-1]

    yield start
    for reader in readers:
        reader.watcher.close()
        reader.thread.join(20)
        assert reader.ended


def asked_versions(script: Script) -> list[str]:
    return [ask.query["resourceVersion"] for ask in script.asked_watches]


@pytest.mark.parametrize("version", ["", "0"])
def test_a_version_that_names_no_place_is_refused(widgets: ResourceClient, version: str) -> None:
    with pytest.raises(ValueError, match="names no place to begin"):
        RetryWatcher(widgets, version)


BREAKS: dict[str, Act] = {
    "end": watching(added(obj("a", 6)), then="end"),
    "cut": watching(added(obj("a", 6)), then="drop"),
    "500": watching(added(obj("a", 6)), error_event(500, "InternalError")),
    "504": watching(added(obj("a", 6)), error_event(504, "Timeout")),
    "unknown": watching(added(obj("a", 6)), error_event(418, "Teapot")),
}


@pytest.mark.parametrize("how", BREAKS)
def test_after_a_break_it_goes_on_from_the_last_version(
    script: Script, reading: Watching, clock: FakeClock, how: str
) -> None:
    script.watches += [BREAKS[how], watching(modified(obj("a", 7)), deleted(obj("a", 8)))]
    reader = reading()
    clock.wait_for_waiters(timed=True)
    clock.advance(1.0)
    eventually(lambda: len(reader.events) == 3)
    assert reader.events == [("ADDED", "6"), ("MODIFIED", "7"), ("DELETED", "8")]
    assert asked_versions(script) == ["5", "6"]
    assert reader.watcher.resource_version == "8"


@pytest.mark.parametrize(
    "refusal",
    [dropping, status(500, "InternalError"), status(503, "ServiceUnavailable"), status(404, "NotFound")],
    ids=["no answer", "500", "503", "404"],
)
def test_a_watch_that_cannot_begin_is_tried_again(
    script: Script, reading: Watching, clock: FakeClock, refusal: Act
) -> None:
    # A read whose connection broke is repeated once by the client itself.
    script.watches += [refusal] * (2 if refusal is dropping else 1) + [watching(added(obj("a", 6)))]
    reader = reading()
    clock.wait_for_waiters(timed=True)
    clock.advance(1.0)
    eventually(lambda: reader.events == [("ADDED", "6")])
    assert set(asked_versions(script)) == {"5"}


def test_at_most_one_watch_a_second_begins(script: Script, reading: Watching, clock: FakeClock) -> None:
    script.then_watch = watching(then="end")
    reading()
    for number in range(1, 4):
        clock.wait_for_waiters(timed=True)
        assert len(script.asked_watches) == number
        clock.advance(0.9)
        clock.wait_for_waiters(timed=True)
        assert len(script.asked_watches) == number
        clock.advance(0.1)
        eventually(lambda n=number: len(script.asked_watches) == n + 1)  # type: ignore[misc]


def test_a_long_watch_is_followed_at_once(script: Script, reading: Watching, clock: FakeClock) -> None:
    over = threading.Event()

    def long(handler: Any) -> None:
        over.wait(20)
        watching(then="end")(handler)

    script.watches.append(long)
    reading()
    eventually(lambda: script.asked_watches)
    clock.advance(1.0)  # while the watch is open: the pace counts from its beginning
    over.set()
    eventually(lambda: len(script.asked_watches) == 2)


@pytest.mark.parametrize("where", ["event", "start"])
def test_a_server_that_asks_for_patience_gets_it(
    script: Script, reading: Watching, clock: FakeClock, where: str
) -> None:
    refusal = status(500, "InternalError", **{"Retry-After": "60"})  # more than the client itself waits
    script.watches += [refusal if where == "start" else _error_event_with_patience(60)]
    reading()
    clock.wait_for_waiters(timed=True)
    clock.advance(59.0)
    clock.wait_for_waiters(timed=True)
    assert len(script.asked_watches) == 1
    clock.advance(1.0)
    eventually(lambda: len(script.asked_watches) == 2)


def _error_event_with_patience(seconds: int) -> Act:
    line = error_event(429, "TooManyRequests")
    return watching(line.replace(b'"code":429', b'"code":429,"details":{"retryAfterSeconds":%d}' % seconds))


def test_bookmarks_are_used_and_not_handed_out(script: Script, reading: Watching, clock: FakeClock) -> None:
    script.watches += [watching(added(obj("a", 6)), bookmark(40), then="end"), watching(added(obj("b", 41)))]
    reader = reading()
    clock.wait_for_waiters(timed=True)
    assert reader.watcher.resource_version == "40"
    clock.advance(1.0)
    eventually(lambda: reader.events == [("ADDED", "6"), ("ADDED", "41")])
    assert asked_versions(script) == ["5", "40"]
    assert all(ask.query["allowWatchBookmarks"] == "true" for ask in script.asked_watches)


FINAL = [
    (watching(error_event(410, "Expired")), Expired),
    (watching(error_event(410, "Gone")), Expired),
    (status(410, "Expired"), Expired),  # QUIRK: client-go asks again for ever
    (status(401, "Unauthorized"), Unauthorized),
    (status(403, "Forbidden"), Forbidden),
    (watching(added(obj("a", ""))), ConnectionFailed),
]


@pytest.mark.parametrize(
    ("act", "expected"), FINAL, ids=["410 event", "gone event", "410", "401", "403", "no resourceVersion"]
)
def test_what_a_new_watch_cannot_mend_ends_it(
    script: Script, reading: Watching, act: Act, expected: type[Exception]
) -> None:
    script.watches += [act]
    reader = reading()
    eventually(lambda: reader.ended)
    assert isinstance(reader.error, expected)
    assert reader.events == []
    assert len(script.asked_watches) == 1


def test_close_ends_an_open_watch_a_wait_and_a_request(script: Script, reading: Watching, clock: FakeClock) -> None:
    def silent(handler: Any) -> None:
        handler.stall()

    script.watches += [watching(), watching(then="end"), silent]
    for number in range(1, 4):
        reader = reading()
        if number == 2:
            clock.wait_for_waiters(timed=True)
        eventually(lambda n=number: len(script.asked_watches) == n)  # type: ignore[misc]
        reader.watcher.close()
        reader.watcher.close()
        eventually(lambda r=reader: r.ended)  # type: ignore[misc]
        assert reader.error is None


def test_closed_in_the_moment_the_watch_begins_it_ends(
    script: Script, reading: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, closed, opens = threading.Event(), threading.Event(), ResourceClient.watch

    def watch(self: ResourceClient, **options: Any) -> Watch:
        watch = opens(self, **options)
        opened.set()
        assert closed.wait(20)
        return watch

    monkeypatch.setattr(ResourceClient, "watch", watch)
    script.watches.append(watching())
    reader = reading()
    assert opened.wait(20)
    reader.watcher.close()  # it knows of no watch yet that it could close
    closed.set()
    eventually(lambda: reader.ended)
    assert reader.error is None


def test_closed_before_the_first_look_nothing_is_asked(script: Script, widgets: ResourceClient) -> None:
    with RetryWatcher(widgets, "5") as watcher:
        watcher.close()
        assert [*watcher] == []
    assert script.asked == []


def test_the_stop_event_of_the_client_is_told_apart_from_close(
    script: Script, widgets: ResourceClient, clock: FakeClock
) -> None:
    stop = threading.Event()
    script.then_watch = watching(then="end")
    reader = Reader(RetryWatcher(widgets.bound(stop), "5", clock=clock))
    clock.wait_for_waiters(timed=True)
    stop.set()
    clock.advance(1.0)
    eventually(lambda: reader.ended)
    assert isinstance(reader.error, Cancelled)


def test_the_deadline_of_the_client_ends_it(script: Script, widgets: ResourceClient, clock: FakeClock) -> None:
    with RetryWatcher(widgets.bound(deadline=0.0), "5", clock=clock) as watcher:
        reader = Reader(watcher)
        eventually(lambda: reader.ended)
    assert isinstance(reader.error, DeadlineExceeded)
    assert script.asked == []


def test_selectors_go_along(script: Script, reading: Watching) -> None:
    reading(label_selector="app=web", field_selector="metadata.name=a")
    eventually(lambda: script.asked_watches)
    (ask,) = script.asked_watches
    assert (ask.query["labelSelector"], ask.query["fieldSelector"]) == ("app=web", "metadata.name=a")


def test_silence_leads_to_another_watch(script: Script, reading: Watching, clock: FakeClock) -> None:
    script.watches += [watching(), watching(added(obj("a", 6)))]
    reader = reading(idle_timeout=0.05)
    clock.wait_for_waiters(timed=True)
    clock.advance(1.0)
    eventually(lambda: reader.events == [("ADDED", "6")])


def test_every_change_comes_once_however_often_a_real_server_cuts_the_connection(
    api: FakeAPIServer, configmaps: ResourceClient
) -> None:
    version = configmaps.list().resource_version
    clock = FakeClock()
    events: list[WatchEvent] = []
    watcher = RetryWatcher(configmaps, version, clock=clock)
    thread = threading.Thread(target=lambda: events.extend(watcher))
    thread.start()
    for number in range(5):
        configmaps.create({"metadata": {"name": f"m{number}"}})
        configmaps.delete(f"m{number}")
        eventually(lambda n=number: watcher.resource_version == configmaps.list().resource_version)  # type: ignore[misc]
        api.close_connections()
        clock.wait_for_waiters(timed=True)
        clock.advance(1.0)
    watcher.close()
    thread.join(20)
    assert [(e.type, e.object.name) for e in events] == [
        (type, f"m{number}") for number in range(5) for type in ("ADDED", "DELETED")
    ]
