"""Informers that share one watch (complaint 9 of client-go.md)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import pytest

from runtime.client import Cancelled, Client, ResourceClient, Unstructured
from runtime.informer import ListGate, ResourceEventHandler, SharedIndexInformer, SharedInformerFactory, shared
from runtime.informer.shared import Hub, Member, _hubs
from runtime.testing import FakeAPIServer
from runtime.types import JSONObject
from tests.runtime.informer.informer_support import (
    CONFIGMAPS,
    WIDGETS,
    Handler,
    Recorder,
    Script,
    added,
    bookmark,
    deleted,
    error_event,
    listing,
    modified,
    obj,
    quick,
    status,
    synced,
    until,
    watching,
)

Make = Callable[..., SharedIndexInformer]


@pytest.fixture
def sharing(scripted_client: Client) -> Iterator[Make]:
    """Makes informers of the scripted server, each by a factory of its own; starts them unless told otherwise."""
    factories: list[SharedInformerFactory] = []

    def make(*handlers: Any, start: bool = True, watch_list: bool = False, **options: Any) -> SharedIndexInformer:
        options.setdefault("backoff", quick)
        factory = SharedInformerFactory(scripted_client, watch_list=watch_list, **options)
        factories.append(factory)
        informer = factory.informer(WIDGETS)
        for handler in handlers:
            informer.add_event_handler(handler)
        if start:
            factory.start()
        return informer

    yield make
    for factory in factories:
        factory.shutdown()
    assert not _hubs


def test_two_factories_share_one_watch_and_the_objects(
    api: FakeAPIServer, client: Client, configmaps: ResourceClient
) -> None:
    configmaps.create({"metadata": {"name": "a"}})
    calls: tuple[Recorder, Recorder] = (Recorder(), Recorder())
    with SharedInformerFactory(client) as one, SharedInformerFactory(client.bound()) as other:
        informers = one.informer(CONFIGMAPS), other.informer(CONFIGMAPS)
        for informer, recorder in zip(informers, calls, strict=True):
            informer.add_event_handler(recorder)
        one.start()
        one.wait_for_cache_sync(15)
        other.start()
        other.wait_for_cache_sync(15)
        assert [informer.sharers for informer in informers] == [2, 2]
        written = configmaps.create({"metadata": {"name": "b"}})
        assert all(informer.wait_until(written.resource_version, 15) for informer in informers)
        for key in ("default/a", "default/b"):
            assert informers[0].indexer.get(key) is informers[1].indexer.get(key) is not None
        for recorder in calls:
            until(lambda: len(recorder.of("b")) == 1)  # noqa: B023
            assert [call[:2] + call[3:] for call in recorder.calls if call[1] in "ab"] == [
                ("add", "a", True),
                ("add", "b", False),
            ]
        watches = [r for r in api.requests if r.verb == "watch" and r.resource == "configmaps"]
        assert len(watches) == 1
    assert [informer.sharers for informer in informers] == [0, 0]


@pytest.mark.parametrize(
    "options",
    [
        {"label_selector": "a=b"},
        {"field_selector": "metadata.name=a"},
        {"namespace": "ns"},
        {"projection": ["spec"]},
        {"transform": dict},
        {"transforms": {WIDGETS: dict}},
        {"watch_timeout": 400.0},
        {"idle_timeout": None},
        {"page_size": 7},
        {"watch_list": True},
        {"backoff": None},
        {"share_watches": False},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_makes_a_difference_is_not_shared(script: Script, sharing: Make, options: dict[str, Any]) -> None:
    script.then_list = listing(10)
    script.then_watch = watching(bookmark(10, end="true"))
    first = synced(sharing())
    second = synced(sharing(**options))
    assert (first.sharers, second.sharers) == (1, 1)
    until(lambda: len(script.asked_watches) == 2)


@pytest.mark.parametrize(
    "options",
    [
        {"projection": ["spec", ("metadata", "labels")]},
        {"transform": dict},
        {"page_size": 7, "watch_timeout": 400.0},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_is_the_same_is_shared(script: Script, sharing: Make, options: dict[str, Any]) -> None:
    script.lists.append(listing(10, obj("a", 3)))
    first = synced(sharing(**options))
    second = synced(sharing(**options, list_gate=ListGate(), resync_period=5.0, name="other"))
    assert (first.sharers, second.sharers) == (2, 2)
    assert first.indexer.get("ns/a") is second.indexer.get("ns/a") is not None


def test_a_transform_that_is_set_later_counts(script: Script, sharing: Make) -> None:
    script.then_list = listing(10)
    first, second, third = sharing(start=False), sharing(), sharing(transform=dict)
    first.set_transform(dict)
    first.start()
    for informer in (first, second, third):
        synced(informer)
    assert (first.sharers, second.sharers, third.sharers) == (2, 1, 2)
    first.stop()
    first.join()


def test_transforms_run_once_for_all(script: Script, sharing: Make) -> None:
    ran: list[str] = []
    failing = {"bad"}

    def transform(o: JSONObject) -> JSONObject:
        name = o["metadata"]["name"]
        ran.append(name)
        if name in failing:
            raise ArithmeticError
        return o

    begin = threading.Event()

    def list_later(handler: Handler) -> None:
        begin.wait(15)
        listing(10, obj("a", 1), obj("bad", 2))(handler)

    script.lists.append(list_later)
    script.then_list = listing(10, obj("bad", 2))  # when it is fetched
    script.watches.append(watching(modified(obj("a", 11)), added(obj("b", 12)), bookmark(20)))
    informers = [sharing(transform=transform) for _ in range(3)]
    until(lambda: len(script.asked_lists) == 1)
    begin.set()
    for informer in informers:
        assert informer.wait_until("20", 15)
        assert set(informer.sync_state.quarantined) == {"ns/bad"}
        assert informer.indexer.get("ns/a") is informers[0].indexer.get("ns/a")
        assert sorted(informer.indexer.list_keys()) == ["ns/a", "ns/b"]
    seen = [name for name in ran if name != "bad"]
    assert len(seen) in (3, 4)  # one more if a member came while the list was under way


def test_a_late_one_gets_what_there_is_and_then_what_comes(script: Script, sharing: Make, recorder: Recorder) -> None:
    go_on = threading.Event()

    def later(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for lines in ((added(obj("c", 11)), bookmark(15)), (modified(obj("a", 16)), deleted(obj("b", 17)))):
            for line in lines:
                handler.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
            go_on.wait(15)
        handler.stall()

    script.lists.append(listing(10, obj("a", 1), obj("b", 2)))
    script.watches.append(later)
    first = sharing(Recorder())
    assert first.wait_until("15", 15)
    second = synced(sharing(recorder))
    assert second.last_sync_resource_version == second.indexer.resource_version == "15"
    registration = second.handlers[0]
    until(registration.has_synced)
    assert sorted(recorder.calls) == [("add", "a", "1", True), ("add", "b", "2", True), ("add", "c", "11", True)]
    go_on.set()
    assert second.wait_until("17", 15)
    until(lambda: len(recorder.calls) == 5)
    assert recorder.calls[3:] == [("update", "a", "1", "16"), ("delete", "b", "17")]
    assert second.sync_state.connected
    assert len(script.asked) == 2


def test_the_one_that_began_may_stop_and_its_cache_stays_as_it_is(script: Script, sharing: Make) -> None:
    go_on = threading.Event()

    def later(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        go_on.wait(15)
        line = modified(obj("a", 16))
        handler.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
        handler.stall()

    script.lists.append(listing(10, obj("a", 1)))
    script.watches.append(later)
    first, second = synced(sharing()), synced(sharing())
    first.stop()
    first.join()
    assert (first.sharers, second.sharers) == (0, 1)
    go_on.set()
    assert second.wait_until("16", 15)
    cached = first.indexer.get("ns/a")
    assert cached is not None
    assert cached.resource_version == "1"
    assert first.last_sync_resource_version == first.indexer.resource_version == "10"
    assert len(script.asked) == 2
    second.stop()
    second.join()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("informer/widgets")]
    third = sharing()  # the next one begins anew
    until(lambda: len(script.asked_lists) == 2)
    assert third.sharers == 1


def test_the_one_that_began_may_stop_before_the_list_is_there(script: Script, sharing: Make) -> None:
    first_page, go_on = threading.Event(), threading.Event()

    def second_page(handler: Handler) -> None:
        first_page.set()
        go_on.wait(15)
        listing(10, obj("b", 2))(handler)

    script.lists += [listing(10, obj("a", 1), more="p2"), second_page]
    script.then_list = listing(20, obj("a", 1), obj("b", 2))
    first = sharing()
    assert first_page.wait(15)
    second = sharing()
    first.stop()
    go_on.set()
    synced(second)  # by a list of its own
    assert sorted(second.indexer.list_keys()) == ["ns/a", "ns/b"]
    first.join()
    assert first.indexer.list_keys() == []


def test_a_later_one_that_comes_within_a_list_gets_the_whole(script: Script, sharing: Make) -> None:
    first_page, go_on = threading.Event(), threading.Event()

    def second_page(handler: Handler) -> None:
        first_page.set()
        go_on.wait(15)
        listing(10, obj("b", 2))(handler)

    script.lists += [listing(10, obj("a", 1), more="p2"), second_page]
    first = sharing()
    assert first_page.wait(15)
    second = sharing()
    go_on.set()
    for informer in (first, second):
        assert sorted(synced(informer).indexer.list_keys()) == ["ns/a", "ns/b"]
    assert len(script.asked_lists) == 2


def test_a_relist_that_began_before_one_came_brings_it_up_to_date(script: Script, sharing: Make) -> None:
    first_page, go_on = threading.Event(), threading.Event()

    def second_page(handler: Handler) -> None:
        first_page.set()
        go_on.wait(15)
        listing(20, obj("b", 12))(handler)

    script.lists += [listing(10, obj("a", 1), obj("gone", 2)), listing(20, obj("a", 11), more="p2"), second_page]
    script.watches.append(watching(error_event(410, "Expired")))
    recorder = Recorder()
    first = sharing(page_size=1)
    assert first_page.wait(15)
    second = synced(sharing(recorder, page_size=1))
    assert sorted(second.indexer.list_keys()) == ["ns/a", "ns/gone"]  # as the first still has it
    until(lambda: len(recorder.calls) == 2)
    go_on.set()
    assert second.wait_until("20", 15)
    assert sorted(second.indexer.list_keys()) == sorted(first.indexer.list_keys()) == ["ns/a", "ns/b"]
    until(lambda: len(recorder.calls) == 5)
    assert sorted(recorder.calls[2:]) == [("add", "b", "12", False), ("lost", "gone", "2"), ("update", "a", "1", "11")]


def test_an_index_function_that_fails_hurts_only_its_own_informer(script: Script, sharing: Make) -> None:
    def picky(o: Unstructured) -> list[str]:
        if o.name == "b":
            raise ArithmeticError
        return ["x"]

    script.lists.append(listing(10, obj("a", 1), obj("b", 2)))
    script.then_list = listing(12, obj("b", 11))  # when it is fetched
    script.watches.append(watching(modified(obj("b", 11)), bookmark(12)))
    first = sharing(start=False)
    first.add_indexers({"picky": picky})
    first.start()
    assert first.wait_until("12", 15)
    second = sharing()
    assert second.wait_until("12", 15)
    assert first.indexer.list_keys() == ["ns/a"]
    assert set(first.sync_state.quarantined) == {"ns/b"}
    until(lambda: sorted(second.indexer.list_keys()) == ["ns/a", "ns/b"])
    first.stop()
    first.join()


def test_all_error_handlers_are_told(script: Script, sharing: Make, caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []
    hold = threading.Event()

    def first_failure(handler: Handler) -> None:
        hold.wait(15)
        status(500, "InternalError")(handler)

    script.lists += [first_failure, listing(10)]
    first, second = sharing(start=False), sharing(start=False)

    def bad(error: Exception) -> None:
        told.append("first")
        raise ArithmeticError

    first.set_watch_error_handler(bad)
    second.set_watch_error_handler(lambda error: told.append("second"))
    first.start()
    second.start()
    hold.set()
    synced(first)
    synced(second)
    assert told == ["first", "second"]
    assert "the watch error handler raised" in caplog.text
    for informer in (first, second):
        assert "InternalError" in (informer.sync_state.last_error or "")
        informer.stop()
        informer.join()


def test_an_inline_handler_may_start_and_stop_others(script: Script, sharing: Make) -> None:
    script.lists.append(listing(10, obj("a", 1)))
    script.watches.append(watching(added(obj("b", 11)), added(obj("c", 12)), bookmark(13)))
    begun: list[SharedIndexInformer] = []

    def on_add(o: Unstructured, is_in_initial_list: bool) -> None:
        if o.name == "a":
            begun.append(sharing())
        elif o.name == "c":
            begun[0].stop()

    first = sharing(start=False)
    first.add_event_handler(ResourceEventHandler(on_add=on_add), inline=True)
    first.start()
    assert first.wait_until("13", 15)
    assert first.sharers == 1
    begun[0].join()
    assert len(script.asked) == 2
    first.stop()
    first.join()


def test_many_come_and_go_and_each_that_stays_is_right(client: Client, configmaps: ResourceClient) -> None:
    """Members come and leave at any moment while the collection changes; nobody misses anything, nothing is left."""
    before = set(threading.enumerate())
    done = threading.Event()
    failures: list[str] = []

    def come_and_go(number: int) -> None:
        while not done.is_set():
            with SharedInformerFactory(client, namespace="default", backoff=quick) as factory:
                informer = factory.informer(CONFIGMAPS)
                heard: dict[str, str] = {}
                informer.add_event_handler(
                    ResourceEventHandler(
                        on_add=lambda o, _: heard.__setitem__(o.name, o.resource_version),  # noqa: B023
                        on_update=lambda _, o: heard.__setitem__(o.name, o.resource_version),  # noqa: B023
                        on_delete=lambda o: heard.pop(o.name),  # noqa: B023
                    ),
                    inline=True,
                )
                factory.start()
                if not factory.wait_for_cache_sync(15)[CONFIGMAPS]:
                    failures.append(f"{number} did not sync: {informer.sync_state}")
                written = configmaps.create({"metadata": {"generateName": f"of-{number}-"}})
                if not informer.wait_until(written.resource_version, 15):
                    failures.append(f"{number} did not see its write: {informer.sync_state}")
                configmaps.delete(written.name)
            cached = {o.name: o.resource_version for o in informer.indexer.list()}
            if heard != cached:
                failures.append(f"{number} heard {heard}, has {cached}")

    threads = [threading.Thread(target=come_and_go, args=(n,), name=f"come-and-go-{n}") for n in range(4)]
    for thread in threads:
        thread.start()
    done.wait(3)
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert not _hubs
    until(lambda: not [t for t in threading.enumerate() if t not in before and t.name.startswith("informer/")])


def test_an_inline_handler_may_wait_for_the_end_of_a_sharer(script: Script, sharing: Make) -> None:
    """Whose seeding in turn waits for that handler."""
    script.lists.append(listing(10, obj("a", 1)))
    ended: list[SharedIndexInformer] = []

    def on_add(o: Unstructured, is_in_initial_list: bool) -> None:
        other = sharing()
        other.stop()
        other.join()  # the test's own time limit is the assertion
        ended.append(other)

    first = sharing(start=False)
    first.add_event_handler(ResourceEventHandler(on_add=on_add), inline=True)
    first.start()
    until(lambda: ended)
    assert synced(first).sharers == 1
    assert ended[0].indexer.list_keys() == []
    first.stop()
    first.join()


def test_an_inline_handler_that_is_called_late_may_end_its_informer(script: Script, sharing: Make) -> None:
    """While the watch has something for it, which waits until it returns."""
    go_on, ended = threading.Event(), threading.Event()

    def later(handler: Handler) -> None:
        go_on.wait(15)
        watching(modified(obj("a", 16)))(handler)

    script.lists.append(listing(10, obj("a", 1)))
    script.watches.append(later)
    first, second = synced(sharing()), sharing(start=False)

    def on_add(o: Unstructured, is_in_initial_list: bool) -> None:
        health = second._hub.health
        first.stop()
        go_on.set()
        until(lambda: health.queued)  # the watch's thread has it in hand
        second.stop()
        second.join()
        ended.set()

    second.add_event_handler(ResourceEventHandler(on_add=on_add), inline=True)
    second.start()
    assert ended.wait(30)
    second.join()
    cached = second.indexer.get("ns/a")
    assert cached is not None
    assert cached.resource_version == "1"


def test_one_that_has_stopped_is_not_connected(script: Script, sharing: Make) -> None:
    script.lists.append(listing(10, obj("a", 1)))
    first, second = synced(sharing()), synced(sharing())
    until(lambda: second.sync_state.connected)
    first.stop()
    assert not first.sync_state.connected
    assert second.sync_state.connected


def test_one_that_is_stopped_while_it_starts_takes_nobody_along(
    script: Script, sharing: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.then_list = listing(10, obj("a", 1))
    first, second = sharing(start=False), sharing(start=False)
    enter = shared.enter

    def enter_stopped(key: Hashable | None, member: Member, own: Hub) -> tuple[Hub, bool]:
        monkeypatch.undo()
        first.stop()
        entered = enter(key, member, own)
        second.start()
        return entered

    monkeypatch.setattr(shared, "enter", enter_stopped)
    first.start()
    synced(second)
    for informer in (first, second):
        informer.stop()
        informer.join()
    assert first.indexer.list_keys() == []


def test_a_hub_whose_thread_could_not_be_started_gets_nobody(
    script: Script, sharing: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.then_list = listing(10, obj("a", 1))
    first, second = sharing(start=False), sharing(start=False)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="new thread"):
        first.start()
    monkeypatch.undo()
    second.start()
    synced(second)
    for informer in (first, second):
        informer.stop()
        informer.join()


def test_objects_of_one_that_has_stopped_are_not_fetched(script: Script, sharing: Make) -> None:
    """Its threads end soon, though the source is still open for the others."""
    script.lists.append(listing(10))
    first, second = synced(sharing()), synced(sharing())
    first.stop()
    with pytest.raises(Cancelled):
        first.ingest._fetch("ns", "a")
    assert second.sharers == 1
    assert len(script.asked_lists) == 1
