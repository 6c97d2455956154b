"""What informers publish about themselves (5.6 and 5.8), as Prometheus reads it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from runtime.client import Client, ConnectionFailed
from runtime.informer import ResourceEventHandler, SharedIndexInformer, SharedInformerFactory
from runtime.informer.metrics import informer_metrics
from runtime.informer.state import PROCESSING_BUCKETS, RELIST_REASONS, Health
from runtime.testing import FakeClock
from tests.runtime.informer.informer_support import (
    CONFIGMAPS,
    WIDGETS,
    Script,
    added,
    bookmark,
    error_event,
    listing,
    modified,
    obj,
    status,
    synced,
    until,
    watching,
)
from tests.support.scraping import Scrape, scrape

Make = Callable[..., SharedIndexInformer]
WIDGET = {"name": "w", "group": "example.com", "version": "v1", "resource": "widgets"}


def of(*informers: SharedIndexInformer) -> Scrape:
    return scrape(lambda: informer_metrics(informers))


def test_a_healthy_informer(script: Script, scripted: Make) -> None:
    clock = FakeClock()
    script.lists.append(listing(10, obj("a", 1), obj("b", 2)))
    script.watches.append(watching(modified(obj("a", 11)), added(obj("c", 12)), bookmark("123456789012345678")))
    informer = synced(scripted(name="w", clock=clock, idle_timeout=None))
    until(lambda: informer.sync_state.last_bookmark is not None)
    clock.advance(7)
    seen = of(informer)
    for name, value in {
        "informer_queued_items": 0,
        "informer_store_resource_version": 456789012345678,  # S8: a double holds no more digits
        "informer_processing_latency_seconds_count": 3,
        "informer_processing_latency_seconds_sum": 0,
        "runtime_informer_synced": 1,
        "runtime_informer_connected": 1,
        "runtime_informer_watch_sharers": 1,
        "runtime_informer_last_event_age_seconds": 7,
        "runtime_informer_last_bookmark_age_seconds": 7,
        "runtime_informer_watch_restarts_total": 0,
        "runtime_informer_skipped_events_total": 0,
        "runtime_informer_quarantined_objects": 0,
        "runtime_informer_quarantines_total": 0,
        "runtime_informer_store_objects": 3,
        "runtime_informer_store_bytes": sum(len(o.raw) for o in informer.indexer.list()),
    }.items():
        assert seen.value(name, **WIDGET) == value, name
    for reason in RELIST_REASONS:  # at 0 from the start, or the first one is no increase
        assert seen.value("runtime_informer_relists_total", reason=reason, **WIDGET) == 0
    assert seen.values("runtime_informer_last_error_timestamp_seconds") == []


def test_an_informer_whose_server_refuses(script: Script, scripted: Make) -> None:
    clock = FakeClock()
    script.then_list = status(403, "Forbidden", "no rule")
    informer = scripted(name="w", clock=clock)
    until(lambda: informer.sync_state.last_error)
    seen = of(informer)
    assert seen.value("runtime_informer_synced", **WIDGET) == 0
    assert seen.value("runtime_informer_connected", **WIDGET) == 0
    assert seen.value("runtime_informer_last_error_timestamp_seconds", **WIDGET) == clock.now().timestamp()
    for unknown in ("informer_store_resource_version", "runtime_informer_last_event_age_seconds"):
        assert seen.values(unknown) == []


def test_relists_and_errors_of_the_server(script: Script, scripted: Make) -> None:
    script.lists += [listing(10), listing(20), listing(30), listing(40)]
    script.watches += [
        watching(error_event(410, "Expired")),
        watching(error_event(500, "InternalError")),
        status(504, "Timeout", "Too large resource version: 30, current: 5"),
        watching(bookmark(41)),
    ]
    informer = scripted(name="w")
    until(lambda: informer.last_sync_resource_version == "41")
    seen = of(informer)
    assert seen.value("runtime_informer_relists_total", reason="expired", **WIDGET) == 1
    assert seen.value("runtime_informer_relists_total", reason="error_event", **WIDGET) == 1
    assert seen.value("runtime_informer_relists_total", reason="too_large", **WIDGET) == 1
    assert seen.value("runtime_informer_error_events_total", code="410", **WIDGET) == 1
    assert seen.value("runtime_informer_error_events_total", code="500", **WIDGET) == 1
    assert seen.value("runtime_informer_watch_restarts_total", **WIDGET) == 2


def test_a_handler_that_lags_and_raises(script: Script, scripted: Make) -> None:
    clock = FakeClock()
    entered, release = threading.Event(), threading.Event()

    def slow(*_: object) -> None:
        entered.set()
        assert release.wait(15)
        raise ArithmeticError("the handler's own")

    script.lists.append(listing(10, obj("a", 1)))
    script.watches.append(watching(*(added(obj(f"o{n}", 11 + n)) for n in range(5))))
    informer = scripted(name="w", clock=clock, start=False, idle_timeout=None)
    informer.add_event_handler(ResourceEventHandler(on_add=slow), name="slow")
    informer.add_event_handler(ResourceEventHandler(on_add=lambda *_: None), name="quick")
    informer.start()
    try:
        assert entered.wait(15)
        until(lambda: len(informer.indexer) == 6)
        clock.advance(5)
        seen = of(informer)
        waiting = seen.value("runtime_informer_handler_backlog", handler="slow", **WIDGET)
        assert 5 <= waiting <= 6  # the five, and the mark that the list is complete
        assert seen.value("runtime_informer_handler_backlog_age_seconds", handler="slow", **WIDGET) == 5
        until(lambda: of(informer).value("runtime_informer_handler_backlog", handler="quick", **WIDGET) == 0)
        release.set()
        until(lambda: of(informer).value("runtime_informer_handler_errors_total", handler="slow", **WIDGET) == 6)
        assert of(informer).value("runtime_informer_handler_errors_total", handler="quick", **WIDGET) == 0
    finally:
        release.set()
        informer.stop()
        informer.join()


def test_handlers_of_one_name_count_as_one(script: Script, scripted: Make) -> None:
    def fails(*_: object) -> None:
        raise ArithmeticError

    script.lists.append(listing(10, obj("a", 1)))
    informer = scripted(name="w", start=False)
    for _ in range(2):
        informer.add_event_handler(ResourceEventHandler(on_add=fails), name="same")
    informer.start()
    until(lambda: of(informer).value("runtime_informer_handler_errors_total", handler="same") == 2)
    informer.stop()
    informer.join()


def test_of_handlers_of_one_name_the_backlogs_add_up_and_the_oldest_counts(script: Script, scripted: Make) -> None:
    clock = FakeClock()
    entered, release = threading.Event(), threading.Event()

    def slow(*_: object) -> None:
        entered.set()
        assert release.wait(15)

    script.lists.append(listing(10, obj("a", 1)))
    script.watches.append(watching(*(added(obj(f"o{n}", 11 + n)) for n in range(5))))
    informer = scripted(name="w", clock=clock, start=False, idle_timeout=None)
    informer.add_event_handler(ResourceEventHandler(on_add=slow), name="same")
    quick_one = informer.add_event_handler(ResourceEventHandler(on_add=lambda *_: None), name="same")
    informer.start()
    try:
        assert entered.wait(15)
        until(lambda: len(informer.indexer) == 6 and quick_one.backlog == 0)
        clock.advance(5)
        seen = of(informer)
        assert seen.value("runtime_informer_handler_backlog", handler="same", **WIDGET) >= 5
        assert seen.value("runtime_informer_handler_backlog_age_seconds", handler="same", **WIDGET) == 5
    finally:
        release.set()
        informer.stop()
        informer.join()


def test_how_long_the_server_has_failed() -> None:
    clock = FakeClock()
    health, error = Health(clock), ConnectionFailed("gone", sent=False)
    assert health.watch_opened() is None
    assert health.failed(error) == 0
    clock.advance(5)
    assert health.failed(error) == 5
    assert health.watch_opened() == 5
    assert health.watch_opened() is None
    clock.advance(7)
    assert health.failed(error) == 0


def test_objects_in_quarantine(script: Script, scripted: Make) -> None:
    def transform(o: dict[str, Any]) -> dict[str, Any]:
        if o["metadata"]["name"] == "b":
            raise ArithmeticError("cannot digest b")
        return o

    script.lists.append(listing(10, obj("a", 1), obj("b", 2)))
    informer = synced(scripted(name="w", transform=transform, clock=FakeClock(), idle_timeout=None))
    seen = of(informer)
    assert seen.value("runtime_informer_quarantined_objects", **WIDGET) == 1
    assert seen.value("runtime_informer_quarantines_total", **WIDGET) == 1
    assert seen.value("runtime_informer_store_objects", **WIDGET) == 1


def test_what_is_received_but_not_stored_is_queued(script: Script, scripted: Make) -> None:
    release = threading.Event()

    def transform(o: dict[str, Any]) -> dict[str, Any]:
        if o["metadata"]["name"] == "c":
            assert release.wait(15)
        return o

    script.lists += [listing(10, obj("a", 1), obj("b", 2), more="p2"), listing(10, obj("c", 3))]
    informer = scripted(name="w", transform=transform)
    try:
        until(lambda: of(informer).value("informer_queued_items", **WIDGET) == 2)
    finally:
        release.set()
    synced(informer)
    assert of(informer).value("informer_queued_items", **WIDGET) == 0


def test_what_a_stream_has_brought_is_queued_until_it_is_complete(script: Script, scripted: Make) -> None:
    script.watches += [
        watching(added(obj("a", 1)), added(obj("b", 2)), added(obj("c", 3)), then="end"),
        watching(added(obj("a", 1)), added(obj("b", 2))),
    ]
    informer = scripted(name="w", watch_list=True)
    # Not 5: what the first stream had brought was of no use.
    until(lambda: of(informer).value("informer_queued_items", **WIDGET) == 2 and len(script.asked_watches) == 2)
    assert of(informer).value("runtime_informer_synced", **WIDGET) == 0


def test_changes_that_come_together_take_the_same_time_each() -> None:
    clock = FakeClock()
    health = Health(clock)
    health.heard(40, bookmark=False)
    assert health.snapshot(synced=True, quarantined={}).queued == 40
    clock.advance(0.02)
    health.applied(40)
    health.heard(1, bookmark=False)
    clock.advance(3)
    health.applied(1)
    bounds, counts, total = health.snapshot(synced=True, quarantined={}).processing
    assert bounds == PROCESSING_BUCKETS
    assert dict(zip(bounds, counts, strict=False)) == dict.fromkeys(bounds, 0) | {0.025: 40, 5.0: 1}
    assert total == pytest.approx(40 * 0.02 + 3)
    assert health.snapshot(synced=True, quarantined={}).queued == 0


def test_a_shared_watch_is_told_of_by_all_who_share_it() -> None:
    clock = FakeClock()
    watch, one = Health(clock), Health(clock)
    one.follow(watch)
    watch.watch_opened()
    watch.heard(3, bookmark=True)
    watch.relisting("expired")
    one.object_failed("ns/a: ArithmeticError")
    one.handler_failed()
    clock.advance(1)
    state = one.snapshot(synced=True, quarantined={})
    assert one.connected
    assert (state.connected, state.queued, state.event_age, state.bookmark_age) == (True, 3, 1, 1)
    assert state.relist_reasons == {"expired": 1}
    assert (state.quarantines, state.handler_errors, state.last_error) == (1, 1, "ns/a: ArithmeticError")
    watch.failed(ConnectionFailed("gone", sent=False))
    assert one.snapshot(synced=True, quarantined={}).last_error == "ConnectionFailed: gone"  # the newest of both
    clock.advance(1)
    one.object_failed("ns/b: ArithmeticError")
    assert one.snapshot(synced=True, quarantined={}).last_error == "ns/b: ArithmeticError"
    assert watch.snapshot(synced=True, quarantined={}).last_error == "ConnectionFailed: gone"


# Identity (I24)


def test_one_informer_of_a_name_publishes_until_it_stops(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with SharedInformerFactory(client, name="twice") as first, SharedInformerFactory(client, name="twice") as second:
        for factory in (first, second):
            factory.informer(CONFIGMAPS)
            factory.start()
            assert all(factory.wait_for_cache_sync(15).values())
        first.informer(CONFIGMAPS).add_event_handler(ResourceEventHandler(), name="only-of-the-first")
        for _ in range(2):
            seen = scrape(first.metrics, second.metrics)
            assert seen.value("runtime_informer_synced", name="twice") == 1
            assert len(seen.values("runtime_informer_handler_errors_total", name="twice")) == 1
            assert scrape(second.metrics).values("runtime_informer_synced") == []
        refusals = [record for record in caplog.records if "publishes no metrics" in record.getMessage()]
        assert [record.levelname for record in refusals] == ["ERROR"]  # once, not at each scrape
        first.shutdown()
        assert scrape(first.metrics).values("runtime_informer_synced") == []
        assert scrape(second.metrics).value("runtime_informer_synced", name="twice") == 1


def test_informers_that_share_a_watch_are_told_apart_by_name(script: Script, scripted: Make) -> None:
    script.then_list = listing(10)
    script.watches.append(watching(bookmark(12)))
    one, two = synced(scripted(name="one")), synced(scripted(name="two"))
    until(lambda: one.last_sync_resource_version == two.last_sync_resource_version == "12")
    seen = of(one, two)
    for name in ("one", "two"):
        assert seen.value("runtime_informer_synced", name=name) == 1
        assert seen.value("runtime_informer_connected", name=name) == 1
        assert seen.value("runtime_informer_watch_sharers", name=name) == 2
        assert seen.value("informer_store_resource_version", name=name) == 12
        assert seen.value("informer_processing_latency_seconds_count", name=name) == 1
    assert len(script.asked_watches) == 1


def test_what_does_not_run_publishes_nothing(client: Client) -> None:
    with SharedInformerFactory(client, name="idle") as factory:
        factory.informer(WIDGETS)
        assert scrape(factory.metrics).values("runtime_informer_synced") == []
