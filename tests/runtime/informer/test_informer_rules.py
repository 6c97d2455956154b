"""Rules of client-go.md that no other test of this folder holds us to; each test names its own."""

from __future__ import annotations

import itertools
import queue
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runtime.client import Client, ConnectionFailed, ResourceClient, Unstructured
from runtime.informer import (
    DeletedFinalStateUnknown,
    Indexer,
    JitteredBackoff,
    Lister,
    ResourceEventHandler,
    ResourceSource,
    SharedIndexInformer,
    SharedInformerFactory,
    split_key,
)
from runtime.testing import FakeAPIServer, FakeClock
from tests.runtime.informer.informer_support import (
    CONFIGMAPS,
    WIDGETS,
    Act,
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
    status,
    synced,
    unstructured,
    until,
    watching,
)

Make = Callable[..., SharedIndexInformer]


class Lines:
    """A watch on which the test sends one line after the other."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def send(self, line: bytes) -> None:
        self._lines.put(line)

    def __call__(self, handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.close_connection = True
        while not handler.server.script.ended.is_set():
            try:
                line = self._lines.get(timeout=0.05)
            except queue.Empty:
                continue
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
            handler.wfile.flush()


class Fixed(random.Random):
    """The same share of the jitter each time."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self._share = share

    def random(self) -> float:
        return self._share


# Back-off


@pytest.mark.parametrize("share", [0.0, 0.999])
def test_the_ladder_of_the_back_off(share: float) -> None:
    """R2: base 0.8 s, doubling up to 30 s, each up to twice as long."""
    backoff = JitteredBackoff(clock=FakeClock(), rng=Fixed(share))
    waits = [backoff.next() for _ in range(9)]
    assert waits == pytest.approx([base * (1 + share) for base in (0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30, 30)])


def test_a_server_that_stays_dead_is_never_hammered_anew() -> None:
    """R3: only two minutes without a failure start the ladder again; two minutes of failures do not."""
    clock = FakeClock()
    backoff = JitteredBackoff(clock=clock, rng=Fixed(0.5))
    for _ in range(6):
        clock.advance(backoff.next())
    for _ in range(60):
        wait = backoff.next()
        assert wait == pytest.approx(45.0)
        clock.advance(wait)
    clock.advance(119.0)
    assert backoff.next() == pytest.approx(45.0)
    clock.advance(45.0 + 120.1)
    assert backoff.next() == pytest.approx(1.2)


def test_a_failing_list_is_followed_by_a_wait_that_begins_when_it_ended(script: Script, scripted: Make) -> None:
    """R1, R4: at once, then one step of the given back-off after each end of a run."""
    clock = FakeClock()
    steps = itertools.count(1)

    class Steps:
        def next(self) -> float:
            return 10.0 * next(steps)

    def slow(handler: Handler) -> None:
        clock.advance(100.0)
        status(500, "InternalError")(handler)

    script.then_list = slow
    scripted(clock=clock, backoff=Steps, idle_timeout=None)
    for number in (1, 2, 3):
        until(lambda n=number: len(script.asked_lists) == n)  # type: ignore[misc]
        clock.wait_for_waiters(timed=True)
        clock.advance(10.0 * number - 1.0)
        clock.wait_for_waiters(timed=True)
        assert len(script.asked_lists) == number
        clock.advance(1.0)


# Lists


def too_large(message: str, reason: str, cause: dict[str, str] | None = None) -> Act:
    body: dict[str, Any] = {
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 504, "reason": reason, "message": message,
        "details": {"causes": [cause] if cause else []},
    }  # fmt: skip
    return lambda handler: handler.answer(504, body, {"Retry-After": "1"})


@pytest.mark.parametrize(
    "refusal",
    [
        too_large("later", "Timeout", {"reason": "ResourceVersionTooLarge", "message": "not yet"}),
        too_large("later", "Timeout", {"message": "Too large resource version"}),
        too_large("Too large resource version: 9, current: 5", "Timeout"),
    ],
    ids=["by its reason", "1.17", "before 1.17"],
)
def test_a_version_from_the_future_is_told_in_three_ways(script: Script, scripted: Make, refusal: Act) -> None:
    """R7, R6: the newest is asked for at once, and never mind Retry-After."""
    script.lists += [refusal, listing(10, obj("a", 1))]
    synced(scripted(clock=FakeClock(), backoff=None))
    assert [ask.query.get("resourceVersion") for ask in script.asked_lists] == ["0", None]


def test_another_timeout_is_no_version_from_the_future(script: Script, scripted: Make) -> None:
    """R7."""
    script.lists += [status(504, "Timeout", "the request timed out"), listing(10, obj("a", 1))]
    synced(scripted())
    assert [ask.query.get("resourceVersion") for ask in script.asked_lists] == ["0", "0"]


def test_pages_of_the_newest_state_say_nothing_of_the_watch_cache(script: Script, scripted: Make) -> None:
    """R9, R10: only a first list that was paged although any version would do makes later ones paged."""
    script.lists += [
        listing(10, obj("a", 1)),
        status(410, "Expired"),
        listing(20, obj("a", 1), more="p2"),
        listing(20, obj("b", 2)),
        listing(30, obj("a", 1)),
    ]
    script.watches += [watching(error_event(410, "Expired")), watching(error_event(500, "InternalError"))]
    informer = synced(scripted())
    until(lambda: informer.last_sync_resource_version == "30")
    asked = [(ask.query.get("resourceVersion"), ask.query.get("limit")) for ask in script.asked_lists]
    assert asked == [("0", "500"), ("10", None), (None, "500"), (None, "500"), ("20", None)]


def test_a_table_is_no_list(script: Script, scripted: Make) -> None:
    """R11: it has no items, which must not be taken for an empty collection."""
    table = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "20"}, "rows": []}
    script.lists += [listing(10, obj("a", 1)), lambda handler: handler.answer(200, table), listing(30, obj("b", 21))]
    script.watches.append(watching(error_event(500, "InternalError")))
    told: list[Exception] = []
    informer = scripted(start=False)
    informer.set_watch_error_handler(told.append)
    informer.start()
    until(lambda: "ns/b" in informer.indexer)
    assert "Table" in str(told[0])


def test_a_list_that_is_cut_off_by_the_end_is_no_error(script: Script, scripted_client: Client) -> None:
    """R14."""
    told: list[Exception] = []
    script.then_list = lambda handler: handler.stall()
    factory = SharedInformerFactory(scripted_client, watch_list=False)
    informer = factory.informer(WIDGETS)
    informer.set_watch_error_handler(told.append)
    factory.start()
    until(lambda: script.asked_lists)
    factory.shutdown()
    assert told == []
    assert informer.sync_state.last_error is None


# Watches


def test_the_server_is_asked_to_end_each_watch_after_another_time(script: Script, scripted: Make) -> None:
    """R15."""
    script.lists.append(listing(10))
    script.watches += [watching(bookmark(11 + number), then="end") for number in range(2)]
    scripted()
    until(lambda: len(script.asked_watches) == 3)
    asked = [int(ask.query["timeoutSeconds"]) for ask in script.asked_watches]
    assert all(300 <= seconds <= 600 for seconds in asked)
    assert len(set(asked)) > 1
    assert {ask.query["allowWatchBookmarks"] for ask in script.asked_watches} == {"true"}


class Refusing(ResourceSource):
    """Nobody listens when it wants to watch, so many times."""

    def __init__(self, resource: ResourceClient, times: int) -> None:
        super().__init__(resource, supports_watch_list=False)
        self.times = times

    def watch(self, **options: Any) -> Any:
        if self.times:
            self.times -= 1
            raise ConnectionFailed("watch: connection refused", sent=False)
        return super().watch(**options)


def test_while_nobody_listens_the_watch_is_asked_for_again_and_no_list(script: Script, scripted_client: Client) -> None:
    """R16: from the same version, a step of the back-off later."""
    clock = FakeClock()
    script.lists.append(listing(10))
    script.watches.append(watching(added(obj("a", 11))))
    source = Refusing(scripted_client.resource(WIDGETS), 3)
    informer = SharedIndexInformer(source, WIDGETS, clock=clock)
    informer.start()
    for left in (2, 1, 0):
        until(lambda n=left: source.times == n)  # type: ignore[misc]
        clock.wait_for_waiters(timed=True)
        clock.advance(60.0)
    until(lambda: "ns/a" in informer.indexer)
    informer.stop()
    informer.join()
    assert len(script.asked_lists) == 1
    assert script.asked_watches[0].query["resourceVersion"] == "10"


def test_the_store_reaches_each_version_with_its_event(script: Script, scripted: Make) -> None:
    """R23, S8, Q13: add, modification, bookmark and deletion, in their order."""
    lines = Lines()
    script.lists.append(listing(5))
    script.watches.append(lines)
    informer = synced(scripted())
    reached = []
    for line in (added(obj("a", 10)), modified(obj("a", 20)), bookmark(30), deleted(obj("a", 40))):
        before = informer.indexer.resource_version
        lines.send(line)
        until(lambda b=before: informer.indexer.resource_version != b)  # type: ignore[misc]
        reached.append(informer.indexer.resource_version)
    assert reached == ["10", "20", "30", "40"]


def test_after_the_stop_nothing_is_stored(script: Script, scripted: Make, recorder: Recorder) -> None:
    """R25."""
    lines = Lines()
    script.lists.append(listing(10))
    script.watches.append(lines)
    informer = scripted(recorder)
    synced(informer)
    until(lambda: informer.sync_state.connected)
    informer.stop()
    lines.send(added(obj("a", 11)))
    informer.join()
    assert informer.indexer.list() == []
    assert recorder.calls == []


class Late:
    """A watch that hands out one more batch after it was closed: what had been read by then."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[list[bytes]]:
        self.closed.wait(20)
        yield [added(obj("a", 11)).strip()]

    def close(self) -> None:
        self.closed.set()


class Overtaken(ResourceSource):
    def watch(self, **options: Any) -> Any:
        return Late()


def test_what_was_read_before_the_stop_is_not_stored_after_it(script: Script, scripted_client: Client) -> None:
    """R25."""
    script.lists.append(listing(10))
    source = Overtaken(scripted_client.resource(WIDGETS), supports_watch_list=False)
    informer = SharedIndexInformer(source, WIDGETS)
    informer.start()
    synced(informer)
    until(lambda: informer.sync_state.connected)
    informer.stop()
    informer.join()
    assert informer.indexer.list() == []
    assert informer.last_sync_resource_version == "10"


def test_a_resync_waits_for_the_watch(script: Script, scripted: Make) -> None:
    """R24: what may be out of date is not delivered as if it were news."""
    clock = FakeClock()
    script.lists.append(listing(10, obj("a", 1)))
    script.watches += [status(429, "TooManyRequests", **{"Retry-After": "100"}), watching()]
    recorder = Recorder()
    informer = scripted(start=False, clock=clock, resync_period=10.0, idle_timeout=None)
    informer.add_event_handler(recorder, inline=True)
    informer.start()
    until(lambda: script.asked_watches and recorder.calls)
    for _ in range(3):
        clock.wait_for_waiters(2, timed=True)  # the resync, and the pause before the next watch
        clock.advance(10.0)
    clock.wait_for_waiters(2, timed=True)
    assert len(recorder.calls) == 1
    clock.advance(70.0)
    until(lambda: informer.sync_state.connected)
    clock.wait_for_waiters(timed=True)
    clock.advance(10.0)
    until(lambda: len(recorder.calls) > 1)
    assert recorder.calls[1] == ("update", "a", "1", "1")


def test_the_last_watch_error_handler_counts_and_may_raise(script: Script, scripted: Make) -> None:
    """R26."""
    told: list[str] = []

    def raising(error: Exception) -> None:
        told.append(str(error))
        raise SystemExit(1)

    script.lists += [status(500, "InternalError", "first"), status(500, "InternalError", "second"), listing(10)]
    informer = scripted(start=False)
    informer.set_watch_error_handler(lambda error: told.append("replaced"))
    informer.set_watch_error_handler(raising)
    informer.start()
    synced(informer)
    assert ["first" in told[0], "second" in told[1], len(told)] == [True, True, 2]


def test_a_source_that_cannot_stream_is_not_asked_to(script: Script, scripted: Make) -> None:
    """R34: neither for the first state nor for a later one."""
    script.lists += [listing(10, obj("a", 1)), listing(20, obj("b", 2))]
    script.watches.append(watching(error_event(410, "Expired")))
    informer = synced(scripted(watch_list=False))
    until(lambda: informer.last_sync_resource_version == "20")
    until(lambda: len(script.asked_watches) == 2)
    assert not any(ask.is_watch_list for ask in script.asked)


def test_after_a_list_in_its_place_the_stream_is_tried_again(script: Script, scripted: Make) -> None:
    """R32, R33: the fallback is for one cycle."""
    script.watches += [
        status(400, "BadRequest"),
        watching(error_event(500, "InternalError")),
        watching(added(obj("b", 2)), bookmark(20, end="true")),
    ]
    script.lists.append(listing(10, obj("a", 1)))
    informer = synced(scripted(watch_list=True))
    until(lambda: informer.last_sync_resource_version == "20")
    assert [ask.is_watch_list for ask in script.asked_watches] == [True, False, True]
    assert len(script.asked_lists) == 1


# The store and its readers


@pytest.mark.parametrize("key", ["a/b/c", "/a", "a/", "", "//"])
def test_what_is_no_key(key: str) -> None:
    """S1."""
    with pytest.raises(ValueError, match="not a key"):
        split_key(key)
    assert Indexer().get(key) is None


def test_an_index_that_nobody_is_filed_under_any_more_is_empty() -> None:
    """S3, S5: values without objects do not pile up."""
    store = Indexer({"by-app": lambda obj: [obj.labels["app"]] if "app" in obj.labels else []})
    for number in range(100):
        store.put(unstructured("a", number + 1, metadata={"labels": {"app": f"v{number}"}}))
    assert store.list_index_func_values("by-app") == ["v99"]
    store.delete("ns/a")
    assert store.list_index_func_values("by-app") == []


def test_a_namespace_is_listed_without_an_index_too() -> None:
    """S10: never an error."""
    store = Indexer()
    store.put(unstructured("a"))
    store.put(unstructured("b", namespace="other"))
    assert [o.name for o in Lister(store, WIDGETS).namespace("ns").list()] == ["a"]
    assert [o.name for o in Lister(store, WIDGETS).namespace("nowhere").list()] == []


def test_a_reader_cannot_change_what_is_cached() -> None:
    """S2, S14: there is no mutation to detect."""
    store = Indexer()
    store.put(unstructured("a", spec={"list": [1]}, metadata={"labels": {"app": "x"}}))
    shared = store.get("ns/a")
    assert shared is not None
    shared["spec"]["list"].append(2)
    shared.to_dict()["spec"] = None
    with pytest.raises(TypeError):
        shared["spec"] = None  # type: ignore[index]
    again = store.get("ns/a")
    assert again is not None
    assert again["spec"] == {"list": [1]}
    assert again.labels == {"app": "x"}


# Handlers


def test_a_deletion_carries_the_version_of_the_deletion(script: Script, scripted: Make, recorder: Recorder) -> None:
    """I16."""
    script.lists.append(listing(10, obj("a", 1)))
    script.watches.append(watching(deleted(obj("a", 11))))
    scripted(recorder)
    until(lambda: len(recorder.calls) == 2)
    assert recorder.calls[1] == ("delete", "a", "11")


def test_whoever_only_wants_the_name_need_not_tell_deletions_apart() -> None:
    """I18, Q10."""
    known = unstructured("a", 7)
    lost = DeletedFinalStateUnknown("ns/a", known)
    for gone in (known, lost):
        assert (gone.key, gone.namespace, gone.name, gone.uid) == ("ns/a", "ns", "a", "uid-a")


def test_notifications_before_the_start_of_the_handlers_are_not_lost(script: Script, scripted: Make) -> None:
    """I20: whatever is distributed first, a thread or the first event."""
    script.lists.append(listing(10, *(obj(f"o{number}", 1) for number in range(100))))
    informer = scripted(start=False)
    recorders = [Recorder() for _ in range(10)]
    adding = threading.Thread(target=lambda: [informer.add_event_handler(recorder) for recorder in recorders])
    adding.start()
    informer.start()
    adding.join()
    until(lambda: all(len(recorder.calls) == 100 for recorder in recorders))


@pytest.mark.parametrize("inline", [True, False])
def test_a_handler_that_raises_stalls_nothing(script: Script, scripted: Make, inline: bool) -> None:
    """I8, I22: not even one that runs in the thread of the reflector, and none of its calls is skipped."""
    heard: list[str] = []

    def raising(obj: Unstructured, is_in_initial_list: bool) -> None:
        heard.append(obj.name)
        raise KeyError(obj.name)

    script.lists.append(listing(10, obj("a", 1), obj("b", 2)))
    script.watches.append(watching(added(obj("c", 11))))
    informer = scripted(start=False)
    registration = informer.add_event_handler(ResourceEventHandler(on_add=raising), inline=inline)
    informer.start()
    until(lambda: len(heard) == 3)
    until(lambda: registration.errors == 3)
    assert registration.has_synced()


def test_after_the_stop_removing_a_handler_is_no_error(script: Script, scripted: Make, recorder: Recorder) -> None:
    """I2."""
    informer = scripted(start=False)
    registration = informer.add_event_handler(recorder)
    informer.start()
    informer.stop()
    informer.join()
    informer.remove_event_handler(registration)
    informer.remove_event_handler(registration)


def test_a_factory_can_be_shut_down_by_several_at_once(script: Script, scripted_client: Client) -> None:
    """F2, F4: each returns when everything has ended."""
    factory = SharedInformerFactory(scripted_client, watch_list=False)
    factory.informer(WIDGETS)
    factory.start()
    until(lambda: script.asked)
    alive: list[bool] = []

    def shut_down() -> None:
        factory.shutdown()
        alive.append(any(thread.name.startswith("informer/") for thread in threading.enumerate()))

    threads = [threading.Thread(target=shut_down) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert alive == [False] * 4


def test_one_resource_may_have_its_own_resync_period(scripted_client: Client) -> None:
    """F5, I12: None takes the informer's, 0 is none."""
    with SharedInformerFactory(scripted_client, 60.0, resync_periods={WIDGETS: 5.0}) as factory:
        widgets, configmaps = factory.informer(WIDGETS), factory.informer(CONFIGMAPS)
        assert (widgets.resync_check_period, configmaps.resync_check_period) == (5.0, 60.0)
        assert widgets.add_event_handler(Recorder()).resync_period == 5.0
        assert widgets.add_event_handler(Recorder(), resync_period=0.0).resync_period == 0.0


def test_only_the_metadata_may_be_cached(api: FakeAPIServer, configmaps: ResourceClient) -> None:
    """F6: what a metadata informer is for, less the bytes on the wire."""
    configmaps.create({"metadata": {"name": "a", "labels": {"app": "x"}}, "data": {"k": "v"}})
    with api.client() as client, SharedInformerFactory(client, namespace="default", projection=[]) as factory:
        informer = factory.informer(CONFIGMAPS)
        factory.start()
        synced(informer)
        cached = informer.indexer.get("default/a")
        assert cached is not None
        assert cached.labels == {"app": "x"}
        assert cached.get("data") is None
