"""The reflector against a server that misbehaves by script (rules R1 to R35)."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest

from runtime.informer import JitteredBackoff, SharedIndexInformer
from runtime.testing import FakeClock
from tests.runtime.informer.informer_support import (
    Handler,
    Recorder,
    Script,
    added,
    bookmark,
    deleted,
    dropping,
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


def test_lists_and_then_watches_from_the_lists_version(script: Script, scripted: Make, recorder: Recorder) -> None:
    script.lists.append(listing(10, obj("a", 3), obj("b", 7)))
    script.watches.append(watching(added(obj("c", 11)), modified(obj("a", 12)), deleted(obj("b", 13))))
    informer = synced(scripted(recorder))
    until(lambda: len(recorder.calls) == 5)

    assert sorted(recorder.calls[:2]) == [("add", "a", "3", True), ("add", "b", "7", True)]
    assert recorder.calls[2:] == [("add", "c", "11", False), ("update", "a", "3", "12"), ("delete", "b", "13")]
    assert sorted(informer.indexer.list_keys()) == ["ns/a", "ns/c"]
    assert informer.last_sync_resource_version == "13"
    list_, watch = script.asked
    assert list_.query == {"limit": "500", "resourceVersion": "0"}
    assert 300 <= int(watch.query.pop("timeoutSeconds")) <= 600
    assert watch.query == {"watch": "true", "resourceVersion": "10", "allowWatchBookmarks": "true"}


def test_a_page_after_another_until_the_last(script: Script, scripted: Make) -> None:
    script.lists += [
        listing(10, obj("a", 1), obj("b", 2), more="p2"),
        listing(10, obj("c", 3), more="p3"),
        listing(10, obj("d", 4)),
    ]
    informer = synced(scripted(page_size=2))
    assert sorted(informer.indexer.list_keys()) == ["ns/a", "ns/b", "ns/c", "ns/d"]
    assert [ask.query for ask in script.asked_lists] == [
        {"limit": "2", "resourceVersion": "0"},
        {"limit": "2", "continue": "p2"},
        {"limit": "2", "continue": "p3"},
    ]


def test_nothing_of_a_list_is_seen_before_its_last_page(script: Script, scripted: Make, recorder: Recorder) -> None:
    seen_at_second_page: list[list[str]] = []

    def second_page(handler: object) -> None:
        seen_at_second_page.append(informer.indexer.list_keys())
        listing(10, obj("b", 2))(handler)  # type: ignore[arg-type]

    script.lists += [listing(10, obj("a", 1), more="p2"), second_page]
    informer = scripted(recorder, start=False)
    informer.start()
    synced(informer)
    assert seen_at_second_page == [[]]
    informer.stop()
    informer.join()


def test_later_lists_are_not_paged_unless_the_first_was(script: Script, scripted: Make) -> None:
    script.lists += [listing(10), listing(20)]
    script.watches.append(watching(error_event(410, "Expired")))
    informer = synced(scripted())
    until(lambda: informer.sync_state.relists == 1)
    assert script.asked_lists[1].query == {"resourceVersion": "10"}  # R9: no limit, so that a cache can answer


def test_later_lists_are_paged_if_the_first_was(script: Script, scripted: Make) -> None:
    script.lists += [listing(10, more="p2"), listing(10), listing(20)]
    script.watches.append(watching(error_event(410, "Expired")))
    informer = synced(scripted())
    until(lambda: informer.sync_state.relists == 1)
    assert script.asked_lists[2].query == {"resourceVersion": "10", "limit": "500"}


def test_an_expired_page_begins_the_list_anew_at_once(script: Script, scripted: Make) -> None:
    script.lists += [
        listing(10, obj("a", 1), more="p2"),
        status(410, "Expired"),
        listing(30, obj("b", 2), more="p2"),
        status(410, "Expired"),
        listing(50, obj("c", 3)),
    ]
    # R6 waits for nothing: with a clock that stands still any wait would never end.
    informer = synced(scripted(clock=FakeClock(), backoff=None))
    assert informer.indexer.list_keys() == ["ns/c"]
    assert [ask.query.get("resourceVersion") for ask in script.asked_lists] == ["0", None, None, None, None]
    assert "limit" not in script.asked_lists[4].query  # the pages were what expired


@pytest.mark.parametrize(
    "refusal",
    [
        status(410, "Expired"),
        status(410, "Gone"),
        status(504, "Timeout", "Too large resource version: 10, current: 5"),
    ],
    ids=["expired", "gone", "too-large"],
)
def test_a_refused_version_is_replaced_by_the_newest(
    script: Script, scripted: Make, recorder: Recorder, refusal: Callable[[object], None]
) -> None:
    script.lists += [listing(10, obj("a", 1), obj("b", 2)), refusal, listing(20, obj("a", 15))]
    script.watches.append(watching(error_event(410, "Expired")))
    informer = synced(scripted(recorder))
    until(lambda: informer.last_sync_resource_version == "20")
    assert [ask.query.get("resourceVersion") for ask in script.asked_lists] == ["0", "10", None]
    until(lambda: len(recorder.calls) == 4)
    assert recorder.calls[2:] == [("lost", "b", "2"), ("update", "a", "1", "15")]


def test_a_watch_that_ends_goes_on_from_its_last_version_without_a_wait(script: Script, scripted: Make) -> None:
    script.lists.append(listing(10))
    script.watches += [
        watching(added(obj("a", 11)), then="end"),
        watching(bookmark(15), then="drop"),
        watching(modified(obj("a", 16))),
    ]
    informer = synced(scripted(clock=FakeClock(), backoff=None))
    until(lambda: informer.last_sync_resource_version == "16")
    assert [ask.query["resourceVersion"] for ask in script.asked_watches] == ["10", "11", "15"]
    assert len(script.asked_lists) == 1
    assert informer.sync_state.watch_restarts == 2


def test_a_silent_connection_is_noticed(script: Script, scripted: Make) -> None:
    script.lists.append(listing(10))
    script.watches += [watching(bookmark(11), then="stall"), watching(added(obj("b", 12)))]
    informer = synced(scripted(idle_timeout=0.2))
    until(lambda: "ns/b" in informer.indexer)
    assert script.asked_watches[1].query["resourceVersion"] == "11"
    assert "IdleTimeout" in (informer.sync_state.last_error or "")
    assert len(script.asked_lists) == 1


def test_a_watch_that_ends_at_once_and_empty_leads_to_a_list(script: Script, scripted: Make) -> None:
    script.lists += [listing(10), listing(11, obj("a", 11))]
    script.watches.append(watching(then="end"))
    informer = synced(scripted())
    until(lambda: "ns/a" in informer.indexer)
    assert informer.sync_state.relist_reasons == {"short_watch": 1}


@pytest.mark.parametrize("ending", ["end", "drop"])
def test_a_server_that_ends_every_watch_after_an_event_is_not_hammered(
    script: Script, scripted: Make, ending: str
) -> None:
    clock = FakeClock()
    script.lists.append(listing(10))
    script.then_watch = watching(bookmark(11), then=ending)
    informer = synced(scripted(clock=clock, idle_timeout=None))
    clock.wait_for_waiters(1, timed=True)
    assert len(script.asked_watches) == 3  # that it happens now and then costs no time
    clock.advance(1)
    until(lambda: len(script.asked_watches) == 4)
    clock.wait_for_waiters(1, timed=True)
    assert len(script.asked_watches) == 4  # at most one a second, but no less: the cache must stay fresh
    assert informer.sync_state.relists == 0


@pytest.mark.parametrize(
    ("code", "reason", "counted"),
    [(410, "Expired", "expired"), (500, "InternalError", "error_event"), (403, "Forbidden", "error_event")],
)
def test_an_error_event_leads_to_a_list(script: Script, scripted: Make, code: int, reason: str, counted: str) -> None:
    told: list[Exception] = []
    script.lists += [listing(10), listing(20, obj("a", 20))]
    script.watches.append(watching(error_event(code, reason)))
    informer = scripted(start=False)
    informer.set_watch_error_handler(told.append)
    informer.start()
    until(lambda: "ns/a" in informer.indexer)
    state = informer.sync_state
    assert state.error_events == {code: 1}
    assert state.relist_reasons == {counted: 1}
    assert state.relists == 1
    assert told == []  # R17: only lists and watch starts
    informer.stop()
    informer.join()


def test_the_events_before_an_error_event_count(script: Script, scripted: Make) -> None:
    script.lists += [listing(10), status(500, "InternalError"), listing(20, obj("a", 11))]
    script.watches.append(watching(added(obj("a", 11)), error_event(500, "InternalError")))
    informer = synced(scripted())
    until(lambda: informer.sync_state.relists == 1)
    assert [ask.query["resourceVersion"] for ask in script.asked_lists] == ["0", "11", "11"]


def test_a_busy_server_is_asked_for_a_watch_again_later_without_a_list(script: Script, scripted: Make) -> None:
    clock = FakeClock()
    script.lists.append(listing(10))
    script.watches += [
        watching(error_event(429, "TooManyRequests")),
        status(429, "TooManyRequests"),
        watching(added(obj("a", 11))),
    ]
    informer = synced(scripted(clock=clock, backoff=lambda: JitteredBackoff(clock=clock)))
    for asked in (1, 2):
        until(lambda: len(script.asked_watches) == asked)  # noqa: B023
        clock.wait_for_waiters(1, timed=True)
        clock.advance(4)
    until(lambda: "ns/a" in informer.indexer)
    assert len(script.asked_lists) == 1


def test_a_server_that_asks_for_patience_gets_it(script: Script, scripted: Make) -> None:
    clock = FakeClock()
    script.lists += [status(503, "ServiceUnavailable", **{"Retry-After": "1000"}), listing(10)]
    informer = scripted(clock=clock)
    clock.wait_for_waiters(1, timed=True)
    clock.advance(999)
    clock.wait_for_waiters(1, timed=True)
    assert len(script.asked_lists) == 1
    clock.advance(2)
    synced(informer)


def test_a_failing_list_is_tried_again_and_told(script: Script, scripted: Make) -> None:
    told: list[Exception] = []
    script.lists += [status(500, "InternalError", "etcd is down"), dropping, dropping, listing(10, obj("a", 1))]
    informer = scripted(start=False)
    informer.set_watch_error_handler(told.append)
    informer.start()
    synced(informer)
    assert "etcd is down" in str(told[0])
    assert "ns/a" in informer.indexer
    informer.stop()
    informer.join()


def test_a_watch_that_cannot_start_leads_to_a_list(script: Script, scripted: Make) -> None:
    told: list[Exception] = []
    script.lists += [listing(10), listing(20, obj("a", 20))]
    script.watches.append(status(500, "InternalError", "no watch today"))
    informer = scripted(start=False)
    informer.set_watch_error_handler(told.append)
    informer.start()
    until(lambda: "ns/a" in informer.indexer)
    assert ["no watch today" in str(error) for error in told] == [True]
    assert script.asked_lists[1].query["resourceVersion"] == "10"
    assert informer.sync_state.relist_reasons == {"start_error": 1}
    informer.stop()
    informer.join()


@pytest.mark.parametrize("garbage", [b"{not json\n", b'{"type":"ADDED"}\n', b'{"type":"ADDED","object":7}\n'])
def test_a_line_that_is_no_event_leads_to_a_list_because_one_may_be_lost(
    script: Script, scripted: Make, recorder: Recorder, garbage: bytes
) -> None:
    script.lists += [listing(10), listing(20, obj("a", 11), obj("b", 12))]
    script.watches.append(watching(added(obj("a", 11)), garbage))
    informer = synced(scripted(recorder))
    until(lambda: "ns/b" in informer.indexer)
    assert informer.sync_state.relist_reasons == {"bad_event": 1}
    until(lambda: len(recorder.calls) == 2)
    assert recorder.calls == [("add", "a", "11", False), ("add", "b", "12", False)]


def test_events_that_are_no_objects_are_skipped_and_do_not_move_the_version(script: Script, scripted: Make) -> None:
    script.lists.append(listing(10))
    script.watches += [
        watching(
            b'{"type":"ADDED","object":{"kind":"Table","rows":[]}}\n',
            b'{"type":"PONG","object":{"metadata":{"name":"x","resourceVersion":"99"}}}\n',
            b'{"type":"ADDED","object":{"kind":"Widget","metadata":{"name":"y"}}}\n',
            then="end",
        ),
        watching(added(obj("a", 11))),
    ]
    informer = synced(scripted(clock=FakeClock(), backoff=quick_after_short_watch))
    until(lambda: informer.sync_state.skipped_events == 3)
    assert informer.last_sync_resource_version == "10"


def quick_after_short_watch() -> JitteredBackoff:
    return JitteredBackoff(base=0.001, max_delay=0.001)


def test_a_bookmark_moves_the_version_of_the_store(script: Script, scripted: Make) -> None:
    script.lists.append(listing(10))
    script.watches.append(watching(bookmark(30)))
    informer = synced(scripted())
    assert informer.wait_until("30", timeout=15)
    assert informer.indexer.resource_version == "30"
    assert informer.sync_state.last_bookmark is not None


def test_synthetic_events_of_a_watch_without_a_version_do_not_move_it(script: Script, scripted: Make) -> None:
    script.lists.append(listing(""))
    script.watches += [
        watching(added(obj("a", 30)), added(obj("b", 20)), then="end"),
        watching(added(obj("c", 25)), modified(obj("a", 40)), added(obj("d", 41)), then="end"),
        watching(),
    ]
    synced(scripted())
    until(lambda: len(script.asked_watches) == 3)
    assert [ask.query.get("resourceVersion") for ask in script.asked_watches] == [None, None, "41"]  # R22


def test_a_list_asked_for_while_a_watch_opens_is_made(script: Script, scripted: Make) -> None:
    script.lists += [listing(10), listing(20, obj("a", 20))]

    def accepted_later(handler: Handler) -> None:
        informer._hub.reflector.relist()
        watching()(handler)

    script.watches.append(accepted_later)
    informer = scripted(start=False)
    informer.start()
    until(lambda: "ns/a" in informer.indexer)
    assert informer.sync_state.watch_restarts <= 1
    informer.stop()
    informer.join()


# Watch-list


def test_the_initial_state_comes_by_one_stream_which_goes_on(
    script: Script, scripted: Make, recorder: Recorder
) -> None:
    script.watches.append(
        watching(
            added(obj("a", 1)),
            added(obj("b", 2)),
            bookmark(5, end="false"),
            modified(obj("a", 6)),
            deleted(obj("b", 7)),
            bookmark(9, end="true"),
            added(obj("c", 11)),
        )
    )
    informer = synced(scripted(recorder, watch_list=True))
    until(lambda: "ns/c" in informer.indexer)
    until(lambda: len(recorder.calls) == 2)
    assert recorder.calls == [("add", "a", "6", True), ("add", "c", "11", False)]
    assert len(script.asked) == 1
    query = script.asked[0].query
    assert query.pop("timeoutSeconds")
    assert query == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
    }


def test_after_a_watch_list_the_next_watch_is_a_plain_one(script: Script, scripted: Make) -> None:
    script.watches += [watching(added(obj("a", 1)), bookmark(9, end="true"), then="end"), watching()]
    synced(scripted(watch_list=True))
    until(lambda: len(script.asked_watches) == 2)
    assert not script.asked_watches[1].is_watch_list
    assert script.asked_watches[1].query["resourceVersion"] == "9"


def test_nothing_is_synced_before_the_bookmark(script: Script, scripted: Make) -> None:
    script.watches.append(watching(added(obj("a", 1)), bookmark(9), then="stall"))
    informer = scripted(watch_list=True)
    until(lambda: informer.sync_state.last_bookmark is not None)
    assert not informer.has_synced()
    assert informer.indexer.list() == []


@pytest.mark.parametrize(
    "refusal",
    [status(422, "Invalid"), status(403, "Forbidden"), watching(error_event(500, "InternalError")), dropping],
    ids=["invalid", "forbidden", "error-event", "no-answer"],
)
def test_a_server_that_cannot_stream_the_state_is_asked_for_a_list(
    script: Script, scripted: Make, refusal: Callable[[object], None]
) -> None:
    # A reset connection is tried once more by the client itself.
    script.watches += [refusal, refusal] if refusal is dropping else [refusal]
    script.lists.append(listing(10, obj("a", 1)))
    informer = synced(scripted(watch_list=True))
    until(lambda: any(ask.is_watch and not ask.is_watch_list for ask in script.asked))
    assert informer.indexer.list_keys() == ["ns/a"]
    assert script.asked[-1].query["resourceVersion"] == "10"


def test_a_stream_that_ends_before_its_bookmark_is_thrown_away(
    script: Script, scripted: Make, recorder: Recorder
) -> None:
    script.watches += [
        watching(added(obj("a", 1)), then="end"),
        watching(added(obj("b", 2)), then="end"),
        watching(added(obj("c", 3)), bookmark(9, end="true")),
    ]
    informer = synced(scripted(recorder, watch_list=True))
    assert informer.indexer.list_keys() == ["ns/c"]
    assert script.asked_lists == []


def test_a_busy_server_is_asked_for_the_stream_again(script: Script, scripted: Make) -> None:
    script.watches += [status(429, "TooManyRequests")] * 2 + [watching(bookmark(9, end="true"))]
    synced(scripted(watch_list=True))
    assert len(script.asked) == 3
    assert all(ask.is_watch_list for ask in script.asked)


def test_a_stream_from_a_version_that_is_gone_is_asked_for_the_newest(
    script: Script, scripted: Make, recorder: Recorder
) -> None:
    script.watches += [
        watching(added(obj("a", 1)), added(obj("b", 2)), bookmark(9, end="true"), error_event(410, "Expired")),
        status(410, "Expired"),
        watching(added(obj("a", 1)), bookmark(20, end="true")),
    ]
    informer = synced(scripted(recorder, watch_list=True))
    until(lambda: informer.last_sync_resource_version == "20")
    assert [ask.query.get("resourceVersion") for ask in script.asked] == [None, "9", None]
    until(lambda: len(recorder.calls) == 3)
    assert recorder.calls[2:] == [("lost", "b", "2")]


# Stopping


@pytest.mark.parametrize("watch_list", [True, False])
def test_stop_ends_an_open_watch_at_once(script: Script, scripted: Make, watch_list: bool) -> None:
    script.lists.append(listing(10))
    script.watches.append(watching(bookmark(9, end="true")) if watch_list else watching())
    informer = synced(scripted(watch_list=watch_list, idle_timeout=None))
    until(lambda: informer.sync_state.connected)
    informer.stop()
    informer.join()  # the test's own time limit is the assertion
    assert not informer.sync_state.connected


def test_stop_ends_a_wait(script: Script, scripted: Make) -> None:
    clock = FakeClock()
    informer = scripted(clock=clock, backoff=None)
    clock.wait_for_waiters(1, timed=True)
    informer.stop()
    informer.join()
    assert len(script.asked_lists) == 1


def test_stopped_before_the_start_nothing_is_asked(script: Script, scripted: Make) -> None:
    informer = scripted(start=False)
    informer.stop()
    informer.start()
    informer.join()
    assert script.asked == []


@pytest.mark.parametrize(
    "form",
    [
        b'{"type":"ADDED","object":%b}',
        b'{"object":%b,"type":"ADDED"}',
        b'{ "type" : "ADDED", "object" : %b }',
        b'{"type":"ADDED","object":%b,"more":{"object":{}}}',
        b'{"type":"\\u0041DDED","object":%b}',
        b'{"type":"ADDED","object":%b} ',
    ],
)
def test_a_line_is_read_whatever_its_form(script: Script, scripted: Make, form: bytes) -> None:
    script.lists.append(listing(10))
    given = obj("a", 11, note='"}} ","object":{')
    script.watches.append(watching(form % orjson.dumps(given) + b"\n" + bookmark(12)))
    informer = scripted()
    assert informer.wait_until("12", 15), informer.sync_state
    cached = informer.indexer.get("ns/a")
    assert cached is not None
    assert cached.to_dict() == given


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"11"}}',
        b'{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"11"}}}}',
        b'{"type":"ADDED","object":[]}',
        b'{"type":"ADDED","object":}',
        b'{"type":"ADDED","object":',
    ],
)
def test_a_line_that_was_cut_or_garbled_is_no_event(script: Script, scripted: Make, line: bytes) -> None:
    script.lists += [listing(10), listing(20)]
    script.watches.append(watching(line + b"\n"))
    informer = scripted()
    assert informer.wait_until("20", 15), informer.sync_state
    assert informer.sync_state.relist_reasons == {"bad_event": 1}
    assert len(informer.indexer) == 0
