"""Handlers of an informer: what they are told, when they have synced, and what their failures do (rules I1 to I17)."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from runtime.client import ResourceClient, Unstructured
from runtime.informer import (
    DeletedFinalStateUnknown,
    FilteringResourceEventHandler,
    ResourceEventHandler,
    SharedIndexInformer,
    SharedInformerFactory,
    SyncState,
    wait_for_cache_sync,
)
from runtime.informer.handlers import name_of
from runtime.testing import FakeClock
from tests.runtime.informer.informer_support import (
    CONFIGMAPS,
    Recorder,
    Script,
    added,
    deleted,
    error_event,
    listing,
    modified,
    obj,
    synced,
    until,
    watching,
)

Make = Callable[..., SharedIndexInformer]


def test_a_handler_of_functions_is_called_positionally_and_may_leave_some_out(script: Script, scripted: Make) -> None:
    calls: list[tuple[Any, ...]] = []
    script.lists.append(listing(10, obj("a", 1)))
    script.watches.append(watching(modified(obj("a", 11)), deleted(obj("a", 12))))
    scripted(
        ResourceEventHandler(
            on_add=lambda *args: calls.append(("add", *args)),
            on_update=lambda *args: calls.append(("update", *args)),
            on_delete=lambda *args: calls.append(("delete", *args)),
        ),
        ResourceEventHandler(),
    )
    until(lambda: len(calls) == 3)
    (_, new, initial), (_, old, newer), (_, final) = calls
    assert (new.name, new.resource_version, initial) == ("a", "1", True)
    assert (old.resource_version, newer.resource_version) == ("1", "11")
    assert isinstance(final, Unstructured)
    assert final.resource_version == "12"


def test_handlers_may_be_classes(script: Script, scripted: Make) -> None:
    calls: list[str] = []

    class Mine(ResourceEventHandler):
        def on_add(self, obj: Unstructured, is_in_initial_list: bool, /) -> None:
            calls.append(obj.name)

    script.lists.append(listing(10, obj("a", 1)))
    scripted(Mine())
    until(lambda: calls == ["a"])


def test_the_cache_already_holds_the_change_when_the_handler_hears_of_it(script: Script, scripted: Make) -> None:
    wrong: list[str] = []
    heard: list[str] = []

    def on_add(o: Unstructured, _initial: bool) -> None:
        cached = informer.indexer.get(o.key)
        if cached is not o or o.key not in informer.indexer.index_keys("namespace", "ns"):
            wrong.append(o.key)
        heard.append(o.key)

    informer = scripted(start=False)
    informer.add_event_handler(ResourceEventHandler(on_add=on_add), inline=True)
    script.lists.append(listing(10, *[obj(f"o{i}", i + 1) for i in range(20)]))
    script.watches.append(watching(*[added(obj(f"w{i}", 11 + i)) for i in range(20)]))
    informer.start()
    until(lambda: len(heard) == 40)
    assert wrong == []
    informer.stop()
    informer.join()


def test_a_late_handler_gets_everything_there_is_and_then_what_comes(
    factory: SharedInformerFactory, configmaps: ResourceClient, recorder: Recorder
) -> None:
    """I5, I13: with the flag of the initial list set."""
    for name in "abc":
        configmaps.create({"metadata": {"name": name}})
    informer = factory.informer(CONFIGMAPS)
    factory.start()
    synced(informer)
    registration = informer.add_event_handler(recorder)
    assert wait_for_cache_sync(registration, timeout=15)
    assert sorted(call[:2] for call in recorder.calls) == [("add", "a"), ("add", "b"), ("add", "c")]
    assert all(call[3] is True for call in recorder.calls)
    configmaps.create({"metadata": {"name": "d"}})
    until(lambda: len(recorder.calls) == 4)
    assert recorder.calls[3][:2] == ("add", "d")
    assert recorder.calls[3][3] is False


def test_nothing_is_lost_or_doubled_for_handlers_added_while_changes_come(
    factory: SharedInformerFactory, configmaps: ResourceClient
) -> None:
    """I5."""
    informer = factory.informer(CONFIGMAPS)
    factory.start()
    synced(informer)
    recorders = []
    for i in range(30):
        configmaps.create({"metadata": {"name": f"o{i}"}})
        recorders.append(Recorder())
        informer.add_event_handler(recorders[-1], inline=bool(i % 2))
    for recorder in recorders:
        until(lambda: len(recorder.calls) >= 30)  # noqa: B023
        assert sorted(call[1] for call in recorder.calls) == sorted(f"o{i}" for i in range(30))


def test_a_registration_has_synced_only_when_its_own_initial_calls_have_returned(
    script: Script, scripted: Make
) -> None:
    """I6."""
    gate = threading.Event()
    script.lists.append(listing(10, obj("a", 1), obj("b", 2)))
    informer = scripted(start=False)
    slow = informer.add_event_handler(ResourceEventHandler(on_add=lambda *_: gate.wait(20)))
    fast = informer.add_event_handler(ResourceEventHandler())
    assert not slow.has_synced()
    informer.start()
    synced(informer)
    assert wait_for_cache_sync(fast.has_synced, timeout=15)
    assert not slow.has_synced()
    assert not wait_for_cache_sync(slow, timeout=0)
    gate.set()
    assert wait_for_cache_sync(slow, timeout=15)
    informer.stop()
    informer.join()


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("error", [LookupError("handler's own fault"), SystemExit(3)], ids=["error", "exit"])
def test_a_raising_handler_is_survived_counted_and_still_syncs(
    script: Script, scripted: Make, recorder: Recorder, inline: bool, error: BaseException
) -> None:
    """I7, I8."""

    def fail(*_: object) -> None:
        raise error

    script.lists.append(listing(10, obj("a", 1), obj("b", 2)))
    script.watches.append(watching(modified(obj("a", 11)), deleted(obj("b", 12))))
    informer = scripted(start=False)
    failing = informer.add_event_handler(ResourceEventHandler(fail, fail, fail), inline=inline)
    informer.add_event_handler(recorder, inline=inline)
    informer.start()
    assert wait_for_cache_sync(failing, timeout=15)  # I7
    until(lambda: failing.errors == 4)
    until(lambda: len(recorder.calls) == 4)
    assert informer.sync_state.handler_errors == 4
    assert informer.sync_state.relists == 0
    informer.stop()
    informer.join()


def test_a_blocked_handler_delays_nobody_else_and_keeps_its_order(
    script: Script, scripted: Make, recorder: Recorder
) -> None:
    """I3, I4."""
    gate = threading.Event()
    heard: list[str] = []

    def slow(_old: Unstructured, new: Unstructured) -> None:
        gate.wait(20)
        heard.append(new.resource_version)

    script.lists.append(listing(10, obj("a", 1)))
    script.watches.append(watching(*[modified(obj("a", version)) for version in range(11, 111)]))
    informer = scripted(start=False)
    blocked = informer.add_event_handler(ResourceEventHandler(on_update=slow))
    latest: list[str] = []
    late_gate = threading.Event()

    def newest(_old: Unstructured, new: Unstructured) -> None:
        late_gate.wait(20)
        latest.append(new.resource_version)

    merging = informer.add_event_handler(ResourceEventHandler(on_update=newest), buffer="latest")
    informer.add_event_handler(recorder)
    informer.start()
    until(lambda: len(recorder.calls) == 101)
    assert informer.indexer.get("ns/a").resource_version == "110"  # type: ignore[union-attr]
    assert blocked.backlog > 0
    assert merging.backlog <= 1
    gate.set()
    late_gate.set()
    until(lambda: len(heard) == 100)
    assert heard == [str(version) for version in range(11, 111)]
    until(lambda: latest[-1:] == ["110"])
    assert len(latest) <= 3
    informer.stop()
    informer.join()


def test_the_state_can_be_read_while_an_inline_handler_blocks(script: Script, scripted: Make) -> None:
    """Metrics and probes must not hang just when something does."""
    entered, may_go = threading.Event(), threading.Event()

    def on_add(_obj: Unstructured, _initial: bool) -> None:
        entered.set()
        may_go.wait(30)

    script.lists.append(listing(10, obj("a", 1)))
    informer = scripted(start=False)
    informer.add_event_handler(ResourceEventHandler(on_add=on_add), inline=True)
    informer.start()
    assert entered.wait(15)
    states: list[SyncState] = []
    reader = threading.Thread(target=lambda: states.append(informer.sync_state), name="reader", daemon=True)
    reader.start()
    reader.join(5)
    was_blocked = not states
    may_go.set()
    reader.join()
    assert not was_blocked
    assert informer.indexer.list_keys() == ["ns/a"]
    informer.stop()
    informer.join()


def test_a_removed_handler_hears_no_more_and_the_others_go_on(
    factory: SharedInformerFactory, configmaps: ResourceClient
) -> None:
    """I13."""
    informer = factory.informer(CONFIGMAPS)
    kept, removed, twice = Recorder(), Recorder(), Recorder()
    informer.add_event_handler(kept)
    registration = informer.add_event_handler(removed)
    first, _second = informer.add_event_handler(twice), informer.add_event_handler(twice)
    factory.start()
    synced(informer)
    configmaps.create({"metadata": {"name": "a"}})
    until(lambda: (len(kept.calls), len(removed.calls), len(twice.calls)) == (1, 1, 2))
    informer.remove_event_handler(registration)
    informer.remove_event_handler(registration)  # again: no effect
    informer.remove_event_handler(first)
    assert registration.join(15)
    assert not registration.active
    configmaps.create({"metadata": {"name": "b"}})
    until(lambda: (len(kept.calls), len(twice.calls)) == (2, 3))
    assert len(removed.calls) == 1
    with pytest.raises(TypeError, match="what add_event_handler returned"):
        informer.remove_event_handler(kept)  # type: ignore[arg-type]
    other = SharedInformerFactory(factory._client).informer(CONFIGMAPS)
    other.remove_event_handler(first)  # a foreign one: no effect


def test_removal_does_not_wait_for_the_call_in_progress(script: Script, scripted: Make) -> None:
    """I13: nor is what waited called any more."""
    gate, entered = threading.Event(), threading.Event()
    heard: list[str] = []

    def block(o: Unstructured, _initial: bool) -> None:
        entered.set()
        gate.wait(20)
        heard.append(o.name)

    script.lists.append(listing(10, obj("a", 1), obj("b", 2), obj("c", 3)))
    informer = scripted(start=False)
    registration = informer.add_event_handler(ResourceEventHandler(on_add=block))
    informer.start()
    assert entered.wait(15)
    informer.remove_event_handler(registration)
    assert not registration.join(0)
    gate.set()
    assert registration.join(15)
    assert len(heard) == 1  # what waited behind it is dropped
    assert registration.backlog == 0
    assert not wait_for_cache_sync(registration)  # and nobody waits for it for ever
    informer.stop()
    informer.join()


def test_a_handler_may_remove_and_add_handlers(script: Script, scripted: Make, recorder: Recorder) -> None:
    """I13: from within, under the dispatch lock."""
    script.lists.append(listing(10, obj("a", 1)))
    script.watches.append(watching(added(obj("b", 11))))
    informer = scripted(start=False)
    registrations: list[Any] = []

    def once(*_: object) -> None:
        informer.remove_event_handler(registrations[0])
        informer.add_event_handler(recorder, inline=True)

    registrations.append(informer.add_event_handler(ResourceEventHandler(on_add=once), inline=True))
    informer.start()
    until(lambda: len(recorder.calls) == 2)
    assert [call[1] for call in recorder.calls] == ["a", "b"]
    informer.stop()
    informer.join()


@pytest.mark.parametrize("inline", [True, False])
def test_a_handler_may_use_its_informer_and_end_it(script: Script, scripted: Make, inline: bool) -> None:
    script.lists.append(listing(10, obj("a", 1)))
    script.watches.append(watching(added(obj("b", 11))))
    informer = scripted(start=False)
    heard: list[tuple[object, ...]] = []

    def on_add(o: Unstructured, _initial: bool) -> None:
        informer.add_indexers({o.name: lambda each: [each.uid]})
        heard.append(
            (
                o.name,
                informer.lister.get("a", "ns").name,
                informer.indexer.index_keys(o.name, o.uid),
                informer.sync_state.handler_errors,
                informer.wait_until(o.resource_version, 0),
            )
        )
        if o.name == "b":
            informer.stop()

    registration = informer.add_event_handler(ResourceEventHandler(on_add=on_add), inline=inline)
    informer.start()
    until(lambda: informer.is_stopped or registration.errors)
    informer.join()
    assert heard == [("a", "a", ["ns/a"], 0, True), ("b", "a", ["ns/b"], 0, True)]
    assert not registration.active
    assert not informer.wait_until("99")


# What a relist tells


def relisting(script: Script, first: Any, second: Any) -> None:
    script.lists += [first, second]
    script.watches.append(watching(error_event(410, "Expired")))


def test_a_relist_tells_only_what_changed_deletions_first(script: Script, scripted: Make, recorder: Recorder) -> None:
    """Q8, I9."""
    relisting(
        script,
        listing(10, obj("same", 1), obj("changed", 2), obj("gone", 3), obj("again", 4, uid="u1")),
        listing(20, obj("new", 15), obj("same", 1), obj("again", 16, uid="u2"), obj("changed", 17)),
    )
    informer = synced(scripted(recorder))
    until(lambda: len(recorder.calls) == 9)
    assert recorder.calls[4:] == [
        ("lost", "gone", "3"),
        ("add", "new", "15", False),
        ("lost", "again", "4"),  # S1: deleted and created again, told as such
        ("add", "again", "16", False),
        ("update", "changed", "2", "17"),
    ]
    assert informer.indexer.resource_version == "20"


def test_what_a_relist_shows_unchanged_is_told_to_those_who_ask(script: Script, scripted: Make) -> None:
    relisting(script, listing(10, obj("a", 1), obj("b", 2)), listing(20, obj("a", 1), obj("b", 15)))
    informer = scripted(start=False)
    changes, everything = Recorder(), Recorder()
    informer.add_event_handler(changes)
    informer.add_event_handler(everything, redeliver_unchanged=True)
    informer.start()
    until(lambda: len(everything.calls) == 4)
    until(lambda: len(changes.calls) == 3)
    assert everything.calls[2:] == [("update", "a", "1", "1"), ("update", "b", "2", "15")]
    assert changes.calls[2:] == [("update", "b", "2", "15")]
    informer.stop()
    informer.join()


def test_unchanged_objects_stay_the_same_objects_over_a_relist(script: Script, scripted: Make) -> None:
    relisting(script, listing(10, obj("a", 1)), listing(20, obj("a", 1), obj("b", 15)))
    seen: list[Unstructured] = []
    informer = synced(scripted(ResourceEventHandler(on_add=lambda o, _: seen.append(o))))
    until(lambda: "ns/b" in informer.indexer)
    assert informer.indexer.get("ns/a") is seen[0]


def test_a_lost_deletion_and_new_creation_within_a_watch_is_told_as_both(
    script: Script, scripted: Make, recorder: Recorder
) -> None:
    script.lists.append(listing(10, obj("a", 1, uid="u1")))
    script.watches.append(watching(modified(obj("a", 11, uid="u2"))))
    deleted_objects: list[object] = []
    scripted(recorder, ResourceEventHandler(on_delete=deleted_objects.append))
    until(lambda: len(recorder.calls) == 3)
    assert recorder.calls[1:] == [("lost", "a", "1"), ("add", "a", "11", False)]
    until(lambda: deleted_objects)
    tombstone = deleted_objects[0]
    assert isinstance(tombstone, DeletedFinalStateUnknown)
    assert tombstone.key == "ns/a"
    assert tombstone.obj.uid == tombstone.uid == "u1"


def test_a_deletion_of_what_was_never_shown_is_not_told(script: Script, scripted: Make, recorder: Recorder) -> None:
    script.lists.append(listing(10))
    script.watches.append(watching(deleted(obj("ghost", 11)), added(obj("a", 12))))
    informer = synced(scripted(recorder))
    until(lambda: recorder.calls)
    assert recorder.calls == [("add", "a", "12", False)]
    assert informer.last_sync_resource_version == "12"


def test_the_same_event_twice_is_told_once(script: Script, scripted: Make, recorder: Recorder) -> None:
    script.lists.append(listing(10))
    script.watches.append(watching(added(obj("a", 11)), added(obj("a", 11)), modified(obj("a", 12))))
    scripted(recorder)
    until(lambda: len(recorder.calls) == 2)
    assert recorder.calls == [("add", "a", "11", False), ("update", "a", "11", "12")]


# Filters


def test_a_filter_turns_updates_over_its_edge_into_adds_and_deletes(script: Script, scripted: Make) -> None:
    def labelled(value: str) -> dict[str, Any]:
        return {"labels": {"on": value}}

    script.lists.append(listing(10, obj("a", 1, metadata=labelled("yes")), obj("b", 2)))
    script.watches.append(
        watching(
            modified(obj("a", 11, metadata=labelled("yes"))),
            modified(obj("a", 12)),
            modified(obj("a", 13)),
            modified(obj("a", 14, metadata=labelled("yes"))),
            deleted(obj("a", 15, metadata=labelled("yes"))),
            modified(obj("b", 16)),
            deleted(obj("b", 17)),
        )
    )
    inside, everything = Recorder(), Recorder()
    scripted(FilteringResourceEventHandler(lambda o: o.labels.get("on") == "yes", inside), everything)
    until(lambda: len(everything.calls) == 9)
    until(lambda: len(inside.calls) == 5)
    assert inside.calls == [
        ("add", "a", "1", True),
        ("update", "a", "1", "11"),
        ("delete", "a", "11"),
        ("add", "a", "14", False),
        ("delete", "a", "15"),
    ]


def test_a_filter_judges_a_lost_object_by_its_last_state() -> None:
    inside = Recorder()
    handler = FilteringResourceEventHandler(lambda o: o.name == "a", inside)
    for name in "ab":
        handler.on_delete(DeletedFinalStateUnknown(f"ns/{name}", Unstructured(obj(name, 1))))
    assert inside.calls == [("lost", "a", "1")]


# Resync


def test_a_resync_redelivers_the_cache_to_those_whose_time_it_is(script: Script, scripted: Make) -> None:
    clock = FakeClock()
    script.lists.append(listing(10, obj("a", 1)))
    informer = scripted(start=False, clock=clock, resync_period=10.0, idle_timeout=None)
    default, never, slow = Recorder(), Recorder(), Recorder()
    informer.add_event_handler(default)
    informer.add_event_handler(never, resync_period=0.0)
    informer.add_event_handler(slow, resync_period=25.0)
    informer.start()
    until(lambda: informer.sync_state.connected and slow.calls)
    for rounds in (1, 2, 3):
        clock.wait_for_waiters(1, timed=True)
        clock.advance(10)
        until(lambda: len(default.calls) == 1 + rounds)  # noqa: B023
    until(lambda: len(slow.calls) == 2)
    assert default.calls[1:] == [("update", "a", "1", "1")] * 3
    assert slow.calls[1:] == [("update", "a", "1", "1")]  # at the first check at or after its time
    assert len(never.calls) == 1
    assert len(script.asked_lists) == 1
    informer.stop()
    informer.join()


def test_the_check_period_shrinks_before_the_start_and_binds_after(script: Script, scripted: Make) -> None:
    script.lists.append(listing(10))
    informer = scripted(start=False, resync_period=12 * 3600.0)
    assert informer.add_event_handler(Recorder()).resync_period == 12 * 3600.0
    assert informer.add_event_handler(Recorder(), resync_period=60.0).resync_period == 60.0
    assert informer.resync_check_period == 60.0
    assert informer.add_event_handler(Recorder(), resync_period=0.1).resync_period == 1.0  # the minimum
    assert informer.resync_check_period == 1.0
    informer.start()
    assert informer.add_event_handler(Recorder(), resync_period=0.5).resync_period == 1.0
    assert informer.add_event_handler(Recorder(), resync_period=90.0).resync_period == 90.0
    informer.stop()
    informer.join()
    without = scripted()
    assert without.add_event_handler(Recorder(), resync_period=60.0).resync_period == 0.0


# Life


def test_an_informer_runs_once(script: Script, scripted: Make, recorder: Recorder) -> None:
    script.lists.append(listing(10, obj("a", 1)))
    informer = scripted(recorder, start=False)
    assert (informer.has_started, informer.is_stopped, informer.last_sync_resource_version) == (False, False, "")
    assert not any(t.name.startswith("informer/") for t in threading.enumerate())
    informer.start()
    informer.start()
    synced(informer)
    assert sum(t.name == "informer/widgets.v1.example.com" for t in threading.enumerate()) == 1
    with pytest.raises(RuntimeError, match="a transform must be set before"):
        informer.set_transform(dict)
    with pytest.raises(RuntimeError, match="a watch error handler must be set before"):
        informer.set_watch_error_handler(print)
    informer.stop()
    informer.join()
    informer.start()
    assert (informer.has_started, informer.is_stopped) == (True, True)
    assert not any(t.name.startswith("informer/") for t in threading.enumerate())
    with pytest.raises(RuntimeError, match="has stopped"):
        informer.add_event_handler(recorder)
    with pytest.raises(RuntimeError, match="has stopped"):
        informer.add_indexers({})
    assert informer.indexer.list_keys() == ["ns/a"]  # what was cached can still be read


def test_run_blocks_until_its_event_is_set(script: Script, scripted: Make) -> None:
    script.lists.append(listing(10))
    informer = scripted(start=False)
    stop = threading.Event()
    runner = threading.Thread(target=informer.run, args=(stop,), name="runner")
    runner.start()
    synced(informer)
    stop.set()
    runner.join()
    assert informer.is_stopped


def test_indexers_may_be_added_while_it_runs(factory: SharedInformerFactory, configmaps: ResourceClient) -> None:
    configmaps.create({"metadata": {"name": "a"}, "data": {"owner": "me"}})
    informer = factory.informer(CONFIGMAPS)
    factory.start()
    synced(informer)
    informer.add_indexers({"by-owner": lambda o: [o["data"]["owner"]] if "data" in o else []})
    assert informer.indexer.index_keys("by-owner", "me") == ["default/a"]
    created = configmaps.create({"metadata": {"name": "b"}, "data": {"owner": "me"}})
    assert informer.wait_until(created.resource_version, 15)
    assert informer.indexer.index_keys("by-owner", "me") == ["default/a", "default/b"]


def test_a_handler_may_stop_its_informer(script: Script, scripted: Make) -> None:
    script.lists.append(listing(10, obj("a", 1)))
    stopped = threading.Event()
    informer = scripted(start=False)

    def stop(*_: object) -> None:
        informer.stop()
        informer.join()
        stopped.set()

    informer.add_event_handler(ResourceEventHandler(on_add=stop))
    informer.start()
    assert stopped.wait(15)
    informer.join()


def test_a_reader_sees_all_of_a_new_list_or_nothing(script: Script, scripted: Callable[..., Any]) -> None:
    """S7, Q8."""
    script.lists += [listing(10, obj("a", 1)), listing(20, obj("b", 15), obj("c", 16))]
    script.watches.append(watching(error_event(410, "Expired")))
    informer = scripted(start=False)
    seen: list[tuple[list[str], str]] = []

    def read() -> None:
        seen.append((sorted(informer.indexer.list_keys()), informer.indexer.resource_version))

    def read_within(o: Unstructured) -> list[str]:
        if o.name == "b":  # the new content is half indexed now
            reader = threading.Thread(target=read, name="reader")
            reader.start()
            reader.join(0.3)  # it has to wait for the end of the replacement
        return []

    informer.add_indexers({"hook": read_within})
    informer.start()
    until(lambda: seen)
    assert seen == [(["ns/b", "ns/c"], "20")]
    informer.stop()
    informer.join()


def test_a_late_handler_has_not_synced_before_its_initial_calls_have_returned(
    script: Script, scripted: Callable[..., Any]
) -> None:
    """I6."""
    script.lists.append(listing(10, obj("a", 1)))
    informer = synced(scripted())
    called, gate = threading.Event(), threading.Event()

    def on_add(_obj: Unstructured, _initial: bool) -> None:
        called.set()
        gate.wait(20)

    late = informer.add_event_handler(ResourceEventHandler(on_add=on_add))
    assert called.wait(15)
    early = late.has_synced()
    gate.set()
    assert not early
    until(late.has_synced)


def test_the_version_moves_after_the_content(script: Script, scripted: Callable[..., Any]) -> None:
    """R12, and the same for events."""
    script.lists.append(listing(10, obj("a", 1)))
    script.watches.append(watching(added(obj("b", 11))))
    informer = scripted(start=False)
    heard: list[str] = []
    informer.add_event_handler(
        ResourceEventHandler(on_add=lambda *_: heard.append(informer.last_sync_resource_version)), inline=True
    )
    informer.start()
    until(lambda: len(heard) == 2)
    assert heard == ["", "10"]


# Names, and handlers that are too slow (I23)


def reconcile_somewhere(*_: object) -> None:
    pass


@pytest.mark.parametrize(
    ("handler", "name"),
    [
        (ResourceEventHandler(on_add=reconcile_somewhere), "reconcile_somewhere"),
        (ResourceEventHandler(on_delete=functools.partial(reconcile_somewhere, 1)), "reconcile_somewhere"),
        (ResourceEventHandler(), "ResourceEventHandler"),
        (Recorder(), "Recorder"),
        (ResourceEventHandler(on_update=Recorder().on_update), "Recorder.on_update"),
        (FilteringResourceEventHandler(bool, ResourceEventHandler(on_add=reconcile_somewhere)), "reconcile_somewhere"),
        (ResourceEventHandler(on_add=lambda *_: None), "lambda"),
    ],
)
def test_a_handler_is_named_after_its_functions(handler: Any, name: str) -> None:
    assert name_of(handler) == name


def test_handlers_of_one_name_are_told_apart(scripted: Make) -> None:
    informer = scripted(start=False)
    first, second, third = [informer.add_event_handler(Recorder()) for _ in range(3)]
    named = informer.add_event_handler(Recorder(), name="mine")
    start = "informer/widgets.v1.example.com/"
    assert [r.name for r in (first, second, third)] == [start + n for n in ("Recorder", "Recorder-2", "Recorder-3")]
    assert named.name == start + "mine"
    informer.remove_event_handler(second)
    assert informer.add_event_handler(Recorder()).name == second.name
    informer.stop()
    informer.join()


def test_a_slow_handler_is_reported_only_while_many_changes_wait_for_it(
    script: Script, scripted: Make, caplog: pytest.LogCaptureFixture
) -> None:
    clock, calls, few = FakeClock(), 0, threading.Event()
    script.lists.append(listing(10, obj("a", 1)))
    script.watches.append(watching(b"".join(modified(obj("a", v)) for v in range(11, 1300))))

    def slow(_old: Unstructured, _new: Unstructured) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            few.wait(15)
        if calls % 3 == 0:
            clock.advance(0.2)

    informer = scripted(start=False, clock=clock, idle_timeout=None)
    registration = informer.add_event_handler(ResourceEventHandler(on_update=slow), name="sleepy")
    informer.start()
    assert informer.wait_until("1299", 15)
    until(lambda: registration.backlog > 1200)
    few.set()
    until(lambda: calls == 1289)
    warnings = [record for record in caplog.records if "handler is slow" in record.message]
    # One in ten seconds, and none any more when the backlog is short: 265 calls are watched, and take 17 seconds.
    assert len(warnings) == 2
    assert "sleepy" in caplog.text
    informer.stop()
    informer.join()


def test_what_waits_behind_the_call_in_progress_is_counted_though_it_was_taken(script: Script, scripted: Make) -> None:
    clock, entered, release = FakeClock(), threading.Semaphore(0), threading.Semaphore(0)

    def slow(*_: object) -> None:
        entered.release()
        assert release.acquire(timeout=15)

    script.lists.append(listing(10, *[obj(f"o{i}", i + 1) for i in range(5)]))
    informer = scripted(start=False, clock=clock, idle_timeout=None)
    registration = informer.add_event_handler(ResourceEventHandler(on_add=slow))
    informer.start()
    synced(informer)
    for waiting in (5, 4, 3, 2, 1):  # the mark that the list is complete is one of them
        assert entered.acquire(timeout=15)
        until(lambda: registration.backlog == waiting)  # noqa: B023
        clock.advance(1)
        assert registration.backlog_age == 6.0 - waiting
        release.release()
    until(lambda: registration.backlog == 0)
    assert registration.backlog_age == 0.0
    informer.stop()
    informer.join()
