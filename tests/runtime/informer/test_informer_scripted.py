"""Behaviours that client-go's own tests promise (sections 2.1 to 2.6 and 2.14 of client-go.md), against a script."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from runtime import GVR
from runtime.client import ConnectionFailed, Unstructured
from runtime.informer import (
    Event,
    JitteredBackoff,
    Reflector,
    Replacement,
    ResourceEventHandler,
    SharedIndexInformer,
    wait_for_cache_sync,
)
from runtime.testing import FakeClock, FakeControllerSource, SourceRequest
from tests.runtime.informer.informer_support import Recorder, quick
from tests.support.waiting import eventually

THINGS = GVR("", "v1", "configmaps")

Make = Callable[..., SharedIndexInformer]


def thing(name: str, **body: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "ns", "name": name}, **body}


@pytest.fixture
def following() -> Iterator[Make]:
    """Makes informers of a source, starts them, and ends them with the test."""
    informers: list[SharedIndexInformer] = []

    def make(source: FakeControllerSource, *handlers: Recorder, start: bool = True, **options: Any) -> Any:
        options.setdefault("backoff", None if "clock" in options else quick())
        informer = SharedIndexInformer(source, THINGS, **options)
        informers.append(informer)
        for handler in handlers:
            informer.add_event_handler(handler)
        if start:
            informer.start()
        return informer

    yield make
    for informer in informers:
        informer.stop()
        informer.join()


def reached(informer: SharedIndexInformer, source: FakeControllerSource) -> SharedIndexInformer:
    """Wait until the cache is where the source is, and the watch is quiet."""
    assert informer.wait_until(source.resource_version, 20), (informer.sync_state, source.requests)
    eventually(lambda: source.caught_up)
    return informer


class Ladder:
    """A back-off of its own (R4): counts its steps, each as long as the given ones, the last for ever."""

    def __init__(self, *steps: float) -> None:
        self.steps = steps
        self.taken = 0

    def next(self) -> float:
        self.taken += 1
        return self.steps[min(self.taken, len(self.steps)) - 1]


class Sunk:
    """A sink that writes down what a bare reflector does to it."""

    def __init__(self) -> None:
        self.content: dict[str, str] = {}
        self.done: list[str] = []

    def begin_replace(self) -> Replacement:
        return _Incoming(self)

    def apply(self, events: Any) -> None:
        for event in events:
            self._apply(self.content, event)
            self.done.append(f"{event.type} {event.object.resource_version}")

    def _apply(self, content: dict[str, str], event: Event) -> None:
        if event.type == "DELETED":
            content.pop(event.object.name, None)
        elif event.type != "BOOKMARK":
            content[event.object.name] = event.object.resource_version


class _Incoming:
    def __init__(self, sink: Sunk) -> None:
        self._sink = sink
        self._content: dict[str, str] = {}

    def add(self, objects: Any) -> None:
        self._content.update({obj.name: obj.resource_version for obj in objects})

    def apply(self, events: Any) -> None:
        for event in events:
            self._sink._apply(self._content, event)

    def commit(self, resource_version: str) -> None:
        self._sink.content = self._content
        self._sink.done.append(f"replaced at {resource_version}")


@pytest.fixture
def reflecting() -> Iterator[Callable[..., Reflector]]:
    """Runs bare reflectors in threads that end with the test."""
    running: list[tuple[Reflector, threading.Thread]] = []

    def run(source: FakeControllerSource, sink: Sunk, **options: Any) -> Reflector:
        reflector = Reflector(source, sink, **options)
        thread = threading.Thread(target=reflector.run, name="reflector")
        running.append((reflector, thread))
        thread.start()
        return reflector

    yield run
    for reflector, thread in running:
        reflector.stop()
        thread.join()


# The reflector (2.1)


@pytest.mark.parametrize("watch_list", [True, False])
def test_a_reflector_lists_and_watches(watch_list: bool, reflecting: Callable[..., Reflector]) -> None:
    """TestReflectorListAndWatch: what is asked (R5, R15, R28), that a replacement comes first and events in order."""
    source, sink = FakeControllerSource([thing("a"), thing("b")], watch_list=watch_list), Sunk()
    reflector = reflecting(source, sink, watch_timeout=200.0, idle_timeout=70.0)
    eventually(lambda: source.caught_up)
    source.modify(thing("a"))
    source.delete("ns/b")
    source.bookmark(9)
    eventually(lambda: sink.done[-1:] == ["BOOKMARK 9"])
    assert sink.done == ["replaced at 3", "MODIFIED 4", "DELETED 5", "BOOKMARK 9"]
    assert sink.content == {"a": "4"}
    assert reflector.last_sync_resource_version == "9"
    *lists, watch = source.requests
    assert (watch.verb, watch.resource_version) == ("watch", "" if watch_list else "3")
    assert watch.send_initial_events is watch_list
    assert 200 <= watch.timeout_seconds <= 400
    assert watch.idle_timeout == 70.0
    assert lists == ([] if watch_list else [SourceRequest("list", "0", limit=500)])


@pytest.mark.parametrize(
    ("fail", "told", "lists"),
    [
        ({"verb": "list", "status": 500, "reason": "InternalError"}, 1, 2),
        ({"verb": "list", "error": ConnectionFailed("refused", sent=False), "times": 2}, 2, 3),
        ({"verb": "watch", "status": 403, "reason": "Forbidden"}, 1, 2),
        ({"verb": "watch", "status": 429, "reason": "TooManyRequests", "times": 3}, 0, 1),
        ({"verb": "watch", "error": ConnectionFailed("refused", sent=False)}, 0, 1),
    ],
    ids=["list 500", "list refused", "watch 403", "watch 429", "watch refused"],
)
def test_whatever_fails_at_first_the_store_is_the_list_and_the_events(
    fail: dict[str, Any], told: int, lists: int, reflecting: Callable[..., Reflector]
) -> None:
    """TestReflectorListAndWatchWithErrors: only a failed list, and a watch that cannot be started, are told (R26); a
    busy or absent server costs no new list (R16)."""
    source, sink = FakeControllerSource([thing("a")], watch_list=False), Sunk()
    source.fail(**fail)
    errors: list[Exception] = []
    reflecting(source, sink, backoff=JitteredBackoff(base=0.001, max_delay=0.002), on_error=errors.append)
    eventually(lambda: source.caught_up)
    source.add(thing("b"))
    eventually(lambda: sink.content == {"a": "2", "b": "3"})
    assert len(errors) == told
    whole = [ask for ask in source.asked("list") if not ask.resource_version_match]
    assert len(whole) == lists


@pytest.mark.parametrize("retry_after", [None, 30])
def test_a_back_off_of_ones_own_sets_the_pace(retry_after: int | None, reflecting: Callable[..., Reflector]) -> None:
    """TestNewReflectorWithCustomBackoff, TestBackoffOnTooManyRequests: each failure takes one step of the ladder (R4),
    and waits no less than the server asked for."""
    clock, ladder = FakeClock(), Ladder(10.0, 20.0, 40.0)
    source = FakeControllerSource(watch_list=False, clock=clock)
    source.fail("watch", status=429, reason="TooManyRequests", retry_after=retry_after, times=3)
    reflecting(source, Sunk(), backoff=ladder, clock=clock)
    for number, step in enumerate(ladder.steps, 1):
        clock.wait_for_waiters(1, timed=True)
        assert (ladder.taken, len(source.asked("watch"))) == (number, number)
        wait = max(step, retry_after or 0.0)
        clock.advance(wait - 0.001)
        assert clock.waiters == 1, "it waits on"
        clock.advance(0.001)
        eventually(lambda: len(source.asked("watch")) > number)  # noqa: B023
    eventually(lambda: source.caught_up)
    assert ladder.taken == 3
    assert len(source.asked("list")) == 1


def test_a_watch_is_closed_when_it_has_brought_an_error(reflecting: Callable[..., Reflector]) -> None:
    """TestCloseWatchChannelOnError (R25): also while the next one has to wait."""
    clock, source, sink = FakeClock(), FakeControllerSource([thing("a")]), Sunk()
    reflecting(source, sink, clock=clock)
    eventually(lambda: source.caught_up)
    source.send_line(b'{"type":"ERROR","object":{"kind":"Status","code":500,"reason":"InternalError"}}')
    clock.wait_for_waiters(1, timed=True)
    assert source.watches == 0


@pytest.mark.parametrize("code", [429, 500])
def test_a_stream_that_brought_an_error_before_its_end_is_closed_too(
    code: int, reflecting: Callable[..., Reflector]
) -> None:
    """R25: before the wait (429), and before the list in its place (500)."""
    clock, source = FakeClock(), FakeControllerSource([thing("a")])
    source.ends_initial_events = False
    open_at_list: list[int] = []
    source.on_request = lambda ask: open_at_list.append(source.watches) if ask.verb == "list" else None
    reflecting(source, Sunk(), clock=clock)
    eventually(lambda: source.caught_up)
    source.send_line(b'{"type":"ERROR","object":{"kind":"Status","code":%d}}' % code)
    if code == 429:
        eventually(lambda: source.watches == 0)
    else:
        eventually(lambda: open_at_list)
        assert open_at_list == [0]


def test_a_watch_is_not_kept_open_while_its_version_is_in_doubt(reflecting: Callable[..., Reflector]) -> None:
    """R25: the server accepts a watch, and is too busy to say whether it knows the version."""
    clock, source = FakeClock(), FakeControllerSource([thing("a")])
    reflecting(source, Sunk(), clock=clock)
    eventually(lambda: source.caught_up)
    clock.advance(2)
    source.fail("list", status=429, reason="TooManyRequests")
    source.drop_watches(broken=True)
    clock.wait_for_waiters(1, timed=True)
    assert [ask.resource_version_match for ask in source.asked("list")] == ["NotOlderThan"]
    assert source.watches == 0
    clock.advance(60)
    eventually(lambda: source.caught_up)
    assert [ask.resource_version_match for ask in source.asked("list")] == ["NotOlderThan"] * 2


def test_a_broken_watch_costs_no_new_list(following: Make) -> None:
    """R18: nor does one that ends, where it lived for a second; nothing that came meanwhile is lost."""
    clock = FakeClock()
    source = FakeControllerSource([thing("a")], clock=clock)
    recorder = Recorder()
    informer = reached(following(source, recorder, clock=clock), source)
    for broken in (True, False):
        clock.advance(2)
        with_watch = len(source.asked("watch"))
        source.drop_watches(broken=broken)
        source.modify(thing("a", data={"broken": str(broken)}))
        reached(informer, source)
        assert len(source.asked("watch")) == with_watch + 1
    assert informer.sync_state.relists == 0
    eventually(
        lambda: recorder.calls == [("add", "a", "2", True), ("update", "a", "2", "3"), ("update", "a", "3", "4")]
    )


def test_a_version_that_was_refused_is_not_asked_for_again_until_a_list_succeeds(following: Make) -> None:
    """R5, R6: the newest state is asked for at once, and still after a wait; from then on versions count again."""
    source = FakeControllerSource([thing("a")], watch_list=False)
    informer = reached(following(source), source)
    source.fail("list", status=410, reason="Expired")
    source.fail("list", status=500, reason="InternalError")
    source.reset_watch()
    reached(informer, source)
    source.reset_watch()
    reached(informer, source)
    whole = [ask.resource_version for ask in source.asked("list") if not ask.resource_version_match]
    assert whole == ["0", "2", "", "", "3"]


def test_one_watch_is_made_and_stopped(following: Make) -> None:
    """TestReflectorWatchStoppedAfter, TestRunUntil."""
    source = FakeControllerSource([thing("a")])
    informer = reached(following(source), source)
    informer.stop()
    informer.join()
    assert (len(source.asked("watch")), source.watches) == (1, 0)


def test_the_transform_runs_once_for_each_object_also_in_a_stream(following: Make) -> None:
    """TestReflectorRespectStoreTransformer: client-go's counts 5 for two initial objects and an update (R37); here it
    is 3."""
    seen: list[str] = []

    def transform(obj: dict[str, Any]) -> dict[str, Any]:
        seen.append(obj["metadata"]["resourceVersion"])
        return obj

    source = FakeControllerSource([thing("a"), thing("b")])
    informer = reached(following(source, transform=transform), source)
    source.modify(thing("a"))
    reached(informer, source)
    assert seen == ["2", "3", "4"]


# The initial state as a stream (2.2)


def test_a_busy_server_is_asked_for_the_same_again(following: Make) -> None:
    """TestWatchList, 429: three requests with identical options, and no list (R32)."""
    source = FakeControllerSource([thing("a")])
    source.fail("watch", status=429, reason="TooManyRequests", times=2)
    reached(following(source), source)
    first, *others = [(ask.resource_version, ask.send_initial_events) for ask in source.requests]
    assert first == ("", True)
    assert others == [first, first]


def test_only_the_true_end_ends_the_initial_events(following: Make) -> None:
    """TestWatchList, annotation value (R30); what changes before it counts (R31), and is not seen before it (R29)."""
    source = FakeControllerSource([thing("a"), thing("b")])
    source.ends_initial_events = False
    recorder = Recorder()
    informer = following(source, recorder)
    eventually(lambda: source.caught_up)
    source.modify(thing("a"))
    source.delete("ns/b")
    source.add(thing("c"))
    for value in ("True", "1", "false", ""):
        source.bookmark(initial_events_end=value)
    eventually(lambda: source.caught_up)
    assert not informer.has_synced()
    assert len(informer.indexer) == 0
    source.bookmark(initial_events_end="true")
    assert wait_for_cache_sync(informer, timeout=20)
    eventually(lambda: recorder.calls == [("add", "a", "4", True), ("add", "c", "6", True)])
    assert informer.last_sync_resource_version == source.resource_version == "6"
    assert len(source.requests) == 1


# Queues and controllers (2.3, 2.4)


@pytest.mark.parametrize("watch_list", [True, False])
def test_changes_of_all_keys_come_in_the_order_they_happened(watch_list: bool, following: Make) -> None:
    """TestRealFIFO_basic, _addUpdate, _detectLineJumpers (Q1): also two updates of one key, and across keys."""
    source = FakeControllerSource(watch_list=watch_list)
    recorder = Recorder()
    informer = reached(following(source, recorder), source)
    expected: list[tuple[Any, ...]] = []
    for round_ in range(20):
        for name in "abc":
            version = int(source.resource_version)
            if round_ == 0:
                source.add(thing(name))
                expected.append(("add", name, str(version + 1), False))
            else:
                old = source.objects[f"ns/{name}"].resource_version
                source.modify(thing(name, data={"round": str(round_)}))
                expected.append(("update", name, old, str(version + 1)))
    source.delete("ns/b")
    expected.append(("delete", "b", source.resource_version))
    reached(informer, source)
    eventually(lambda: recorder.calls == expected)


@pytest.mark.parametrize("watch_list", [True, False])
@pytest.mark.parametrize("content", [[], ["a"], ["a", "b"]], ids=len)
def test_when_an_informer_and_its_handlers_have_synced(content: list[str], watch_list: bool, following: Make) -> None:
    """TestRealFIFO_HasSynced (Q4): an empty list is a list; a handler has synced once its last initial call is over."""
    source = FakeControllerSource([thing(name) for name in content], watch_list=watch_list)
    arrived, release = threading.Event(), threading.Event()

    def hold(_: SourceRequest) -> None:
        arrived.set()
        release.wait(20)

    source.on_request = hold
    going = threading.Event()
    informer = following(source, start=False)
    blocked = informer.add_event_handler(ResourceEventHandler(on_add=lambda *_: going.wait(20)))
    free = informer.add_event_handler(ResourceEventHandler())
    informer.start()
    assert arrived.wait(20)
    assert (informer.has_synced(), free.has_synced(), blocked.has_synced()) == (False, False, False)
    release.set()
    assert wait_for_cache_sync(informer, free, timeout=20)
    assert not content or not blocked.has_synced()
    going.set()
    assert wait_for_cache_sync(blocked, timeout=20)


@pytest.mark.parametrize("lost", [False, True])
def test_handlers_and_store_see_what_the_transform_made_in_deletions_too(lost: bool, following: Make) -> None:
    """TestTransformingInformer: a deletion that was seen and one that a list shows."""

    def transform(obj: dict[str, Any]) -> dict[str, Any]:
        return {**obj, "mark": "made"}

    marks: list[str] = []
    source = FakeControllerSource([thing("a")])
    informer = following(source, start=False, transform=transform)
    informer.add_event_handler(
        ResourceEventHandler(
            on_add=lambda obj, _: marks.append(obj["mark"]),
            on_update=lambda old, new: marks.extend((old["mark"], new["mark"])),
            on_delete=lambda obj: marks.append((obj if isinstance(obj, Unstructured) else obj.obj)["mark"]),
        )
    )
    informer.start()
    reached(informer, source)
    source.modify(thing("a"))
    reached(informer, source)
    cached = informer.indexer.get("ns/a")
    assert cached is not None
    assert cached["mark"] == "made"
    if lost:
        source.delete_drop_watch("ns/a")
        source.reset_watch()
    else:
        source.delete("ns/a")
    reached(informer, source)
    eventually(lambda: marks == ["made"] * 4)


def test_after_a_reset_the_list_tells_what_was_missed(following: Make) -> None:
    """TestResetWatch: an add for the new object, an update for the old one, a lost deletion; nothing for the rest."""
    source = FakeControllerSource([thing("a"), thing("b"), thing("c")])
    recorder = Recorder()
    informer = reached(following(source, recorder), source)
    eventually(lambda: len(recorder.calls) == 3)
    source.modify_drop_watch(thing("a"))
    source.delete_drop_watch("ns/b")
    source.add_drop_watch(thing("d"))
    source.reset_watch()
    reached(informer, source)
    eventually(lambda: recorder.calls[3:] == [("lost", "b", "3"), ("update", "a", "2", "5"), ("add", "d", "7", False)])
    assert informer.sync_state.relist_reasons["expired"] == 1


# Shared informers (2.5)


def test_setters_that_race_with_the_start_work_or_refuse(following: Make) -> None:
    """TestSharedInformerStartRace."""
    for _ in range(30):
        source = FakeControllerSource([thing("a")])
        informer = following(source, start=False)
        begin, wrong = threading.Barrier(4), list[BaseException]()

        def set_all(informer: SharedIndexInformer = informer, begin: threading.Barrier = begin) -> None:
            begin.wait()
            for setter, value in (
                (informer.set_transform, dict),
                (informer.set_watch_error_handler, print),
                (informer.add_event_handler, ResourceEventHandler()),
                (informer.add_indexers, {threading.current_thread().name: lambda obj: [obj.name]}),
            ):
                try:
                    setter(value)  # type: ignore[arg-type]
                except RuntimeError:
                    continue  # it had started
                except BaseException as error:
                    wrong.append(error)  # noqa: B023

        setters = [threading.Thread(target=set_all, name=f"setter-{number}") for number in range(3)]
        for setter in setters:
            setter.start()
        begin.wait()
        informer.start()
        for setter in setters:
            setter.join()
        assert wait_for_cache_sync(informer, *informer.handlers, timeout=20)
        assert wrong == []
        assert len(informer.handlers) == 3


@pytest.mark.parametrize("added", ["never started", "before the start", "after the start"])
def test_a_removed_handler_can_be_awaited_whenever_it_was_added(added: str, following: Make) -> None:
    """TestShutDownEventHandler_Lifecycles (I13)."""
    source = FakeControllerSource([thing("a")])
    informer = following(source, start=False)
    recorder = Recorder()
    if added == "after the start":
        informer.start()
        reached(informer, source)
    registration = informer.add_event_handler(recorder)
    if added == "before the start":
        informer.start()
        reached(informer, source)
    if added != "never started":
        eventually(lambda: len(recorder.calls) == 1)
    informer.remove_event_handler(registration)
    assert registration.join(20)
    assert not registration.active
    if added != "never started":
        source.add(thing("b"))
        reached(informer, source)
    assert len(recorder.calls) == (0 if added == "never started" else 1)


def test_after_the_stop_there_are_no_new_indices_and_handlers(following: Make) -> None:
    """TestIndexer, TestAddOnStoppedSharedInformer (I2, S6)."""
    informer = following(FakeControllerSource())
    informer.stop()
    with pytest.raises(RuntimeError, match="stopped"):
        informer.add_indexers({"late": lambda obj: [obj.name]})
    with pytest.raises(RuntimeError, match="stopped"):
        informer.add_event_handler(Recorder())


def test_who_comes_to_share_a_watch_hears_what_there_is_before_what_comes(following: Make) -> None:
    """I5, I6 over two informers: also what comes between the start of the second and what it takes over."""
    source = FakeControllerSource([thing("a")])
    busy, go_on = threading.Event(), threading.Event()

    def hold(obj: Unstructured, _: bool) -> None:
        if obj.name == "b":
            busy.set()
            go_on.wait(20)

    first = following(source, start=False, shared_as="both")
    first.add_event_handler(ResourceEventHandler(on_add=hold), inline=True)
    first.start()
    reached(first, source)
    source.add(thing("b"))
    assert busy.wait(20)
    recorder = Recorder()
    second = following(source, recorder, shared_as="both")
    for name in "cdef":
        source.add(thing(name))
    assert not second.wait_until("3", 0)
    go_on.set()
    reached(second, source)
    assert (first.sharers, source.watches) == (2, 1)
    eventually(lambda: len(recorder.calls) == 6)
    assert sorted(call[1] for call in recorder.calls) == list("abcdef")
    initial = [call[3] for call in recorder.calls]
    assert initial == sorted(initial, reverse=True)


# What no upstream suite has (2.14)


def test_a_half_open_watch_is_noticed_and_nothing_is_lost(following: Make) -> None:
    """B3: within the idle timeout, by a connection that is closed and another that goes on from there."""
    clock = FakeClock()
    source = FakeControllerSource([thing("a")], clock=clock)
    recorder = Recorder()
    informer = reached(following(source, recorder, clock=clock, idle_timeout=60.0), source)
    source.bookmark()  # so this is a server that sends them
    eventually(lambda: informer.sync_state.last_bookmark is not None and source.caught_up)
    source.stall()
    source.modify(thing("a"))
    source.delete("ns/a")
    clock.advance(59)
    assert len(source.asked("watch")) == 1
    clock.advance(1)
    reached(informer, source)
    assert (len(source.asked("watch")), source.watches) == (2, 1)
    eventually(lambda: recorder.calls == [("add", "a", "2", True), ("update", "a", "2", "3"), ("delete", "a", "4")])
    assert informer.sync_state.relists == 0


@pytest.mark.parametrize("watch_list", [True, False])
def test_what_is_deleted_between_the_list_and_the_watch_is_not_kept(watch_list: bool, following: Make) -> None:
    """2.14: the tracker of client-go's fake client loses it (T2)."""
    source = FakeControllerSource([thing("a"), thing("b")], watch_list=watch_list)

    def delete_in_between(request: SourceRequest) -> None:
        if request.verb == "watch" and "ns/a" in source.objects:
            source.delete("ns/a")

    source.on_request = delete_in_between
    recorder = Recorder()
    informer = reached(following(source, recorder), source)
    assert informer.indexer.list_keys() == ["ns/b"]
    seen = [] if watch_list else [("add", "a", "2", True), ("delete", "a", "4")]
    eventually(lambda: recorder.of("a") == seen)


def test_deleted_and_created_again_during_a_disconnect_is_two_objects(following: Make) -> None:
    """S1, against client-go's one update between two uids."""
    clock = FakeClock()
    source = FakeControllerSource([thing("a")], clock=clock)
    recorder = Recorder()
    informer = reached(following(source, recorder, clock=clock), source)
    clock.advance(2)
    source.stall()
    source.delete("ns/a")
    source.add(thing("a"))
    source.drop_watches(broken=True)
    source.resume()
    reached(informer, source)
    told = [("add", "a", "2", True), ("delete", "a", "3"), ("add", "a", "4", False)]
    eventually(lambda: recorder.calls == told)


def test_created_again_unseen_is_a_lost_object_and_a_new_one(following: Make) -> None:
    """S1, Q10: only a list tells that the uid is another."""
    source = FakeControllerSource([thing("a")])
    recorder = Recorder()
    informer = reached(following(source, recorder), source)
    source.delete_drop_watch("ns/a")
    source.add_drop_watch(thing("a"))
    source.reset_watch()
    reached(informer, source)
    eventually(lambda: recorder.calls == [("add", "a", "2", True), ("lost", "a", "2"), ("add", "a", "4", False)])


@pytest.mark.parametrize("start", [9, 10**25 - 2])
def test_versions_are_compared_as_numbers_however_long(start: int, following: Make) -> None:
    """S9: "9" is before "10", and 26 digits are after 25."""
    source = FakeControllerSource(resource_version=start)
    informer = reached(following(source), source)
    target = str(start + 3)
    assert not informer.wait_until(target, 0)
    for name in "abc":
        source.add(thing(name))
    assert informer.wait_until(target, 20)
    assert informer.wait_until(str(start), 0)
    assert informer.last_sync_resource_version == target == informer.indexer.resource_version


@pytest.mark.parametrize("refuse_future", [True, False])
def test_a_server_restored_from_a_backup_is_listed_anew(refuse_future: bool, following: Make) -> None:
    """R7, and kubernetes#107457: the cache is ahead of the server, which real ones answer with silence."""
    source = FakeControllerSource([thing("a"), thing("b")], refuse_future=refuse_future)
    recorder = Recorder()
    informer = reached(following(source, recorder), source)
    backup = source.backup()
    source.delete("ns/a")
    source.add(thing("c"))
    reached(informer, source)
    source.restore(backup)
    eventually(lambda: sorted(informer.indexer.list_keys()) == ["ns/a", "ns/b"])
    eventually(lambda: [call[0] for call in recorder.calls] == ["add", "add", "delete", "add", "lost", "add"])
    source.add(thing("d"))
    reached(informer, source)


class Jumping(FakeClock):
    """A clock whose wall-clock time an administrator, or NTP, sets."""

    def __init__(self) -> None:
        super().__init__()
        self.jump = timedelta()

    def now(self) -> datetime:
        return super().now() + self.jump


@pytest.mark.parametrize("hours", [1, -1])
def test_a_jump_of_the_wall_clock_changes_nothing(hours: int, following: Make) -> None:
    """2.14: idle timeouts, back-off, quarantine and resync go by the monotonic time."""
    clock = Jumping()
    source = FakeControllerSource([thing("a")], clock=clock)
    fails = True

    def transform(obj: dict[str, Any]) -> dict[str, Any]:
        if fails:
            raise ValueError("not yet")
        return obj

    informer = following(source, clock=clock, transform=transform, idle_timeout=60.0, resync_period=3000.0)
    eventually(lambda: informer.sync_state.quarantined and source.caught_up)
    clock.jump = timedelta(hours=hours)
    clock.advance(0.5)
    assert len(source.asked("watch")) == 1
    assert list(informer.sync_state.quarantined) == ["ns/a"]
    fails = False
    clock.wait_for_waiters(2, timed=True)
    clock.advance(0.6)
    eventually(lambda: not informer.sync_state.quarantined)
    assert informer.indexer.list_keys() == ["ns/a"]
    age = informer.sync_state.event_age
    assert age is None or age < 60
