"""Waiting for the end of a watch-list (R35), checking it (R36), and the patience that servers ask for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from runtime.informer import SharedIndexInformer, wait_for_cache_sync
from runtime.informer.consistency import DETECTOR_ENV, InconsistentWatchList
from runtime.testing import FakeClock
from tests.runtime.informer.informer_support import (
    Handler,
    Script,
    added,
    bookmark,
    deleted,
    error_event,
    listing,
    modified,
    obj,
    status,
    synced,
    until,
    watching,
)

Make = Callable[..., SharedIndexInformer]


def waiting_ticker(clock: FakeClock) -> None:
    until(lambda: any(name.endswith("/end-bookmark") for name in clock.waiting_threads()))


def test_a_watch_list_that_brings_nothing_is_told_every_10_seconds(
    script: Script, scripted: Make, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    informer = scripted(watch_list=True, clock=clock, idle_timeout=None)
    waiting_ticker(clock)
    clock.advance(9.9)
    waiting_ticker(clock)
    assert caplog.messages == []
    for count in (1, 2):
        clock.advance(10)
        until(lambda: len(caplog.messages) == count)  # noqa: B023
        waiting_ticker(clock)
    first, second = caplog.messages
    assert "brought nothing yet" in first
    assert "waiting_for=19.9" in first
    assert "waiting_for=29.9" in second
    assert not informer.has_synced()


def test_a_watch_list_that_falls_silent_is_told_in_other_words(
    script: Script, scripted: Make, caplog: pytest.LogCaptureFixture
) -> None:
    go_on, end = threading.Event(), threading.Event()

    def slowly(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for line, then in ((added(obj("a", 1)), go_on), (added(obj("b", 2)), end), (bookmark(9, end="true"), None)):
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
            if then is not None:
                then.wait(15)
        handler.stall()

    clock = FakeClock()
    script.watches.append(slowly)
    informer = scripted(watch_list=True, clock=clock, idle_timeout=None)
    until(lambda: informer.sync_state.last_event is not None)
    waiting_ticker(clock)
    clock.advance(6)
    seen = informer.sync_state.last_event
    go_on.set()
    until(lambda: informer.sync_state.last_event != seen)
    waiting_ticker(clock)
    clock.advance(4)  # 10 s since the start, 4 s since the last event
    waiting_ticker(clock)
    assert caplog.messages == []
    clock.advance(10)
    until(lambda: caplog.messages)
    assert "fallen silent before its end bookmark" in caplog.messages[0]
    assert "events=2 silent_for=14.0 waiting_for=20.0" in caplog.messages[0]
    end.set()
    synced(informer)
    until(lambda: not any(thread.name.endswith("/end-bookmark") for thread in threading.enumerate()))


# R36


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DETECTOR_ENV, "true")


STREAM = (added(obj("a", 1)), added(obj("b", 2)), modified(obj("a", 6)), deleted(obj("b", 7)), added(obj("c", 8)))


@pytest.mark.usefixtures("checked")
def test_a_watch_list_is_compared_with_a_list_of_exactly_its_version(script: Script, scripted: Make) -> None:
    script.watches.append(watching(*STREAM, bookmark(9, end="true")))
    script.lists.append(listing(9, obj("a", 6), obj("c", 8)))
    informer = synced(scripted(watch_list=True))
    assert sorted(informer.indexer.list_keys()) == ["ns/a", "ns/c"]
    assert script.asked_lists[0].query == {"resourceVersion": "9", "resourceVersionMatch": "Exact"}


@pytest.mark.usefixtures("checked")
@pytest.mark.parametrize(
    ("listed", "named"),
    [
        ([obj("a", 6)], "ns/c"),
        ([obj("a", 6), obj("c", 8), obj("d", 3)], "ns/d"),
        ([obj("a", 5), obj("c", 8)], "ns/a"),
        ([obj("a", 6, spec={"replicas": 1}), obj("c", 8)], "ns/a"),
        ([obj("a", 6, uid="another"), obj("c", 8)], "2 objects: ns/a, ns/a"),
    ],
)
def test_a_difference_ends_the_informer_for_good(
    script: Script, scripted: Make, monkeypatch: pytest.MonkeyPatch, listed: list[dict[str, object]], named: str
) -> None:
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: raised.append(args.exc_value))
    script.watches.append(watching(*STREAM, bookmark(9, end="true")))
    script.lists.append(listing(9, *listed))
    informer = scripted(watch_list=True)
    assert not wait_for_cache_sync(informer, timeout=15)
    assert informer.sync_latch.broken  # nobody waits for what never will be
    until(lambda: raised)
    assert isinstance(raised[0], InconsistentWatchList)
    assert named in str(raised[0])
    assert "InconsistentWatchList" in (informer.sync_state.last_error or "")
    assert informer.indexer.list_keys() == []
    assert len(script.asked) == 2
    assert not informer.sync_state.connected  # the stream has been closed


@pytest.mark.usefixtures("checked")
def test_a_list_that_fails_shows_nothing(script: Script, scripted: Make, caplog: pytest.LogCaptureFixture) -> None:
    script.watches.append(watching(*STREAM, bookmark(9, end="true")))
    script.lists.append(status(410, "Expired"))
    synced(scripted(watch_list=True))
    assert "cannot be checked" in caplog.text


def test_nothing_is_compared_unless_asked_for(script: Script, scripted: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DETECTOR_ENV, "false")
    script.watches.append(watching(*STREAM, bookmark(9, end="true")))
    synced(scripted(watch_list=True))
    assert script.asked_lists == []


# A version that is yet to come


def test_a_watch_list_at_a_version_that_is_yet_to_come_is_replaced_by_the_newest(
    script: Script, scripted: Make
) -> None:
    """R6; at once, and never mind Retry-After. It is no reason to list either."""
    refusal = error_event(504, "Timeout", "Too large resource version: 10, current: 5")
    refusal = refusal.replace(b'"reason"', b'"details":{"retryAfterSeconds":1000},"reason"')
    script.watches += [
        watching(bookmark(10, end="true"), error_event(410, "Expired")),
        watching(refusal, then="end"),
        watching(added(obj("a", 3)), bookmark(5, end="true")),
    ]
    informer = scripted(watch_list=True)
    until(lambda: "ns/a" in informer.indexer)
    assert informer.last_sync_resource_version == "5"
    assert [ask.query.get("resourceVersion") for ask in script.asked] == [None, "10", None]
    assert all(ask.is_watch_list for ask in script.asked)


# Retry-After

PATIENCE = {"Retry-After": "1000"}  # more than a call may take, so that the client leaves the wait to the reflector


@pytest.mark.parametrize("code", [429, 503, 500])
def test_patience_asked_for_at_the_watch_list_is_given(script: Script, scripted: Make, code: int) -> None:
    clock = FakeClock()
    script.watches += [status(code, "Busy", **PATIENCE), watching(bookmark(9, end="true"))]
    informer = scripted(watch_list=True, clock=clock)
    assert_patient(script, clock)
    synced(informer)
    assert all(ask.is_watch_list for ask in script.asked)  # neither has it been asked for a list meanwhile


@pytest.mark.parametrize("code", [429, 503, 500])
def test_patience_asked_for_at_the_list_is_given(script: Script, scripted: Make, code: int) -> None:
    clock = FakeClock()
    script.lists += [status(code, "Busy", **PATIENCE), listing(9)]
    informer = scripted(clock=clock)
    assert_patient(script, clock)
    synced(informer)


@pytest.mark.parametrize("code", [429, 503])
def test_patience_asked_for_at_the_watch_is_given(script: Script, scripted: Make, code: int) -> None:
    clock = FakeClock()
    script.lists += [listing(9), listing(20)]
    script.watches += [status(code, "Busy", **PATIENCE), watching(added(obj("a", 21)))]
    informer = synced(scripted(clock=clock))
    assert_patient(script, clock, asked=2)
    until(lambda: "ns/a" in informer.indexer)
    assert len(script.asked_lists) == (1 if code == 429 else 2)


@pytest.mark.parametrize("code", [429, 503, 500])
def test_patience_asked_for_within_the_watch_is_given(script: Script, scripted: Make, code: int) -> None:
    clock = FakeClock()
    script.lists += [listing(9), listing(20)]
    line = error_event(code, "Busy").replace(b'"reason"', b'"details":{"retryAfterSeconds":1000},"reason"')
    script.watches += [watching(line), watching(added(obj("a", 21)))]
    informer = synced(scripted(clock=clock))
    assert_patient(script, clock, asked=2)
    until(lambda: "ns/a" in informer.indexer)


def assert_patient(script: Script, clock: FakeClock, asked: int = 1) -> None:
    until(lambda: len(script.asked) == asked)
    clock.wait_for_waiters(1, timed=True)
    clock.advance(999)
    clock.wait_for_waiters(1, timed=True)
    assert len(script.asked) == asked
    clock.advance(2)


# Stopping while the server says nothing


def test_stop_cuts_off_a_list_that_hangs(script: Script, scripted: Make) -> None:
    script.then_list = Handler.stall
    informer = scripted()
    until(lambda: len(script.asked_lists) == 1)
    informer.stop()
    informer.join()  # the test's own time limit is the assertion
    assert len(script.asked) == 1
    assert informer.sync_state.last_error is None


def test_stop_cuts_off_a_watch_that_is_not_accepted(script: Script, scripted: Make) -> None:
    script.lists.append(listing(10))
    script.then_watch = Handler.stall
    informer = synced(scripted())
    until(lambda: len(script.asked_watches) == 1)
    informer.stop()
    informer.join()
    assert informer.sync_state.last_error is None


def test_stop_between_two_pages_leaves_the_cache_alone(script: Script, scripted: Make) -> None:
    script.lists += [listing(10, obj("a", 1), more="p2"), Handler.stall]
    informer = scripted()
    until(lambda: len(script.asked_lists) == 2)
    informer.stop()
    informer.join()
    assert informer.indexer.list_keys() == []


def test_stop_within_a_watch_list_leaves_the_cache_alone(script: Script, scripted: Make) -> None:
    script.watches.append(watching(added(obj("a", 1))))
    informer = scripted(watch_list=True)
    until(lambda: informer.sync_state.last_event is not None)
    informer.stop()
    informer.join()
    assert informer.indexer.list_keys() == []


def test_warnings_only_where_something_is_wrong(
    script: Script, scripted: Make, caplog: pytest.LogCaptureFixture
) -> None:
    script.watches.append(watching(*STREAM, bookmark(9, end="true")))
    informer = synced(scripted(watch_list=True))
    informer.stop()
    informer.join()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
