"""What it means that nothing comes: dead connections, servers without bookmarks, and servers restored from a backup."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from runtime.client import Client
from runtime.informer import SharedIndexInformer, SharedInformerFactory
from runtime.informer.silence import WATCH_END_MARGIN, Silence
from runtime.testing import FakeAPIServer, FakeClock
from tests.runtime.informer.informer_support import (
    CONFIGMAPS,
    Recorder,
    Script,
    added,
    bookmark,
    dropping,
    listing,
    obj,
    quick,
    status,
    synced,
    until,
    watching,
)

Make = Callable[..., SharedIndexInformer]


# How long a watch may be silent


def test_until_bookmarks_have_failed_to_come_twice_the_timeout_is_the_given_one() -> None:
    clock = FakeClock()
    silence = Silence(90.0, clock)
    assert silence.timeout(300) == 90
    clock.advance(90)
    assert not silence.ended_watch()  # nobody knows yet whether it is dead
    assert silence.timeout(300) == 90
    clock.advance(90)
    assert not silence.ended_watch()
    assert silence.normal
    assert silence.timeout(300) == 300 + WATCH_END_MARGIN
    assert silence.ended_watch()  # not even the end that was asked for came
    assert silence.timeout(20) == 90


def test_a_bookmark_that_comes_in_time_means_that_silence_is_death() -> None:
    clock = FakeClock()
    silence = Silence(90.0, clock)
    for _ in range(2):
        silence.timeout(300)
        clock.advance(90)
        silence.ended_watch()
    silence.timeout(300)
    clock.advance(60)
    silence.broken(by_bookmark=True)
    assert silence.expects_bookmarks
    assert silence.timeout(300) == 90
    assert silence.ended_watch()


def test_bookmarks_that_come_late_do_not_count() -> None:
    """Else such a server would be taken for dead between two of them."""
    clock = FakeClock()
    silence = Silence(90.0, clock)
    for _ in range(2):
        silence.timeout(300)
        silence.ended_watch()
    silence.timeout(300)
    clock.advance(120)
    silence.broken(by_bookmark=True)
    assert silence.timeout(300) == 310
    silence.broken(by_bookmark=False)
    clock.advance(80)
    silence.broken(by_bookmark=False)
    clock.advance(20)
    silence.broken(by_bookmark=True)
    assert silence.expects_bookmarks


def test_without_a_timeout_there_never_is_one() -> None:
    silence = Silence(None, FakeClock())
    for _ in range(3):
        assert silence.timeout(300) is None
        silence.ended_watch()
    with pytest.raises(ValueError, match="idle_timeout=0"):
        Silence(0, FakeClock())


def test_a_server_without_bookmarks_is_no_reason_to_warn(
    script: Script, scripted: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "runtime.informer")
    script.lists.append(listing(10))
    informer = synced(scripted(idle_timeout=0.1))  # the watches are asked to end after 300 s or more
    until(lambda: len(script.asked_watches) == 3 and len(script.asked_probes) == 2)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "nothing came on the watch" in caplog.messages[0]
    assert [message for message in caplog.messages if "sends no bookmarks" in message]
    assert informer.sync_state.last_error is None
    assert informer.sync_state.relists == 0
    assert [ask.query["resourceVersion"] for ask in script.asked_probes] == ["10", "10"]


def test_a_dead_connection_is_told_where_bookmarks_come(
    script: Script, scripted: Make, caplog: pytest.LogCaptureFixture
) -> None:
    script.lists.append(listing(10))
    script.watches.append(watching(bookmark(11)))
    script.then_watch = watching(bookmark(12))
    informer = synced(scripted(idle_timeout=0.1))
    until(lambda: len(script.asked_watches) == 5)
    assert sum("the watch fell silent" in message for message in caplog.messages) >= 3
    assert "IdleTimeout" in (informer.sync_state.last_error or "")
    assert script.asked_probes == []  # the server has just told a version


# A server that is behind


@pytest.fixture(params=[True, False], ids=["watch-list", "list"])
def watch_list(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_a_server_restarted_with_lower_versions_is_noticed(watch_list: bool, recorder: Recorder) -> None:
    with FakeAPIServer() as first, Client(first.url) as client:
        configmaps = client.resource(CONFIGMAPS, "default")
        for i in range(30):
            configmaps.create({"metadata": {"name": f"old-{i}"}})
        with SharedInformerFactory(client, namespace="default", watch_list=watch_list, backoff=quick) as factory:
            informer = factory.informer(CONFIGMAPS)
            informer.add_event_handler(recorder)
            factory.start()
            assert factory.wait_for_cache_sync(15)[CONFIGMAPS]
            until(lambda: informer.sync_state.connected)
            first.stop()
            with FakeAPIServer(first.port) as second:  # which waits, as the real one, before it refuses
                assert second.store.version < int(informer.last_sync_resource_version)
                until(lambda: informer.indexer.list_keys() == [])
                # The second is the list at the version that was seen, before it is asked for the newest.
                assert set(informer.sync_state.relist_reasons) <= {"too_large", "short_watch"}
                written = configmaps.create({"metadata": {"name": "new"}})
                assert informer.wait_until(written.resource_version, 15)
                assert informer.indexer.list_keys() == ["default/new"]
                until(lambda: len(recorder.calls) == 61)
                assert sorted(call[0] for call in recorder.calls) == ["add"] * 31 + ["lost"] * 30
                assert [entry.code for entry in second.requests].count(504) <= 1  # each has taken three seconds


def test_a_server_restored_behind_a_proxy_that_ends_watches_properly_is_noticed_by_silence(
    script: Script, scripted: Make
) -> None:
    script.lists += [listing(100, obj("a", 90)), listing(50, obj("b", 40))]
    script.watches += [watching(bookmark(100)), watching()]
    script.probes.append(status(504, "Timeout", "Timeout: Too large resource version: 100, current: 50"))
    informer = synced(scripted(idle_timeout=0.1))
    until(lambda: "ns/b" in informer.indexer)
    assert informer.indexer.list_keys() == ["ns/b"]
    assert script.asked_probes[0].query == {
        "limit": "1",
        "resourceVersion": "100",
        "resourceVersionMatch": "NotOlderThan",
    }
    assert script.asked_lists[1].query == {"limit": "500"}  # the newest, for the other is known not to be there
    assert informer.last_sync_resource_version in ("50", "51")


def test_a_server_that_does_not_let_itself_be_asked_is_watched_all_the_same(script: Script, scripted: Make) -> None:
    script.lists.append(listing(10))
    script.watches += [watching(bookmark(11), then="drop"), watching(added(obj("a", 12)))]
    script.probes.append(status(403, "Forbidden"))
    informer = synced(scripted())
    until(lambda: "ns/a" in informer.indexer)
    assert [ask.query["resourceVersion"] for ask in script.asked_watches] == ["10", "11"]
    assert len(script.asked_lists) == 1


@pytest.mark.parametrize(("code", "asked"), [(500, 2), (404, 1)])
def test_a_server_that_fails_to_say_is_asked_with_the_next_watch(
    script: Script, scripted: Make, code: int, asked: int
) -> None:
    script.lists.append(listing(10))
    script.watches += [
        watching(bookmark(11), then="drop"),
        watching(bookmark(12), then="end"),  # which by itself would be no reason
        watching(added(obj("a", 13))),
    ]
    script.probes.append(status(code, "Whatever"))
    informer = synced(scripted(watch_timeout=0.5))
    until(lambda: "ns/a" in informer.indexer)
    assert len(script.asked_probes) == asked
    assert len(script.asked_lists) == 1


def test_after_a_list_there_is_nothing_to_ask(script: Script, scripted: Make) -> None:
    script.lists += [listing(10), listing(20)]
    script.watches += [
        watching(bookmark(11), then="drop"),
        status(500, "InternalError"),  # which leads to the list
        watching(added(obj("a", 21))),
    ]
    informer = synced(scripted())
    until(lambda: "ns/a" in informer.indexer)
    assert len(script.asked_lists) == 2
    assert script.asked_probes == []


def test_a_busy_server_is_asked_again_later(script: Script, scripted: Make) -> None:
    script.lists.append(listing(10))
    script.watches += [watching(bookmark(11), then="drop"), watching(), watching(added(obj("a", 12)))]
    script.probes.append(status(429, "TooManyRequests"))
    informer = synced(scripted())
    until(lambda: "ns/a" in informer.indexer)
    assert len(script.asked_probes) == 2
    assert len(script.asked_lists) == 1


def test_who_does_not_answer_is_listed_again(script: Script, scripted: Make) -> None:
    script.lists += [listing(10), listing(20, obj("a", 20))]
    script.watches.append(watching(bookmark(11), then="drop"))
    script.probes += [dropping, dropping]  # the client itself tries once more
    informer = synced(scripted())
    until(lambda: "ns/a" in informer.indexer)
    assert informer.sync_state.relist_reasons == {"start_error": 1}


@pytest.mark.parametrize(("watch_timeout", "asked"), [(0.5, 0), (300, 1)])
def test_a_watch_that_ended_with_events_and_in_time_needs_no_question(
    script: Script, scripted: Make, watch_timeout: float, asked: int
) -> None:
    script.lists.append(listing(10))
    script.watches += [watching(bookmark(11), then="end"), watching(added(obj("a", 12)))]
    informer = synced(scripted(watch_timeout=watch_timeout))
    until(lambda: "ns/a" in informer.indexer)
    assert len(script.asked_probes) == asked


# Answers that are no list


@pytest.mark.parametrize("kind", [("Table", "meta.k8s.io/v1"), ("Table", "meta.k8s.io/v1beta1"), ("Status", "v1")])
def test_an_answer_that_is_no_list_does_not_empty_the_cache(
    script: Script, scripted: Make, kind: tuple[str, str]
) -> None:
    """R11: its rows would read as no items."""
    body = {"kind": kind[0], "apiVersion": kind[1], "metadata": {"resourceVersion": "30"}, "rows": []}
    told: list[Exception] = []
    script.lists += [listing(10, obj("a", 1)), lambda handler: handler.answer(200, body), listing(40, obj("b", 2))]
    script.watches.append(status(500, "InternalError"))
    informer = scripted(start=False)
    seen: list[list[str]] = []

    def on_error(error: Exception) -> None:
        told.append(error)
        seen.append(informer.indexer.list_keys())

    informer.set_watch_error_handler(on_error)
    informer.start()
    until(lambda: "ns/b" in informer.indexer)
    assert f"of kind {kind[0]}" in str(told[1])
    assert seen == [["ns/a"], ["ns/a"]]
    informer.stop()
    informer.join()


def test_a_resource_that_is_called_table_is_listed(script: Script, scripted: Make) -> None:
    body = {
        "kind": "TableList",
        "apiVersion": "furniture.example.com/v1",
        "metadata": {"resourceVersion": "5"},
        "items": [obj("round", 3)],
    }
    script.lists.append(lambda handler: handler.answer(200, body))
    assert synced(scripted()).indexer.list_keys() == ["ns/round"]
