"""An informer as a watch (U7)."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from runtime.client import Client, ResourceClient
from runtime.informer import SharedIndexInformer, SharedInformerFactory
from runtime.testing import FakeAPIServer
from runtime.watchtools import InformerWatcher
from tests.runtime.informer.informer_support import (
    CONFIGMAPS,
    WIDGETS,
    Script,
    added,
    error_event,
    listing,
    obj,
    quick,
    synced,
    watching,
)


@pytest.fixture
def informer(scripted_client: Client) -> Iterator[SharedIndexInformer]:
    """Of the scripted server; not started."""
    with SharedInformerFactory(scripted_client, watch_list=False, backoff=quick) as factory:
        yield factory.informer(WIDGETS)


def take(watcher: InformerWatcher, count: int) -> list[tuple[str, str, str]]:
    events = (next(watcher) for _ in range(count))
    return [(event.type, event.object.name, event.object.resource_version) for event in events]


def test_everything_comes_in_order_and_what_a_list_misses_is_deleted(
    script: Script, informer: SharedIndexInformer
) -> None:
    script.lists += [listing(10, obj("a", 1), obj("b", 2)), listing(20, obj("b", 15))]
    script.watches.append(watching(added(obj("c", 11)), error_event(410, "Expired")))
    with InformerWatcher(informer) as watcher:
        informer.start()
        assert take(watcher, 3) == [("ADDED", "a", "1"), ("ADDED", "b", "2"), ("ADDED", "c", "11")]
        lost = {*take(watcher, 2)}
        assert lost == {("DELETED", "a", "1"), ("DELETED", "c", "11")}
        assert take(watcher, 1) == [("MODIFIED", "b", "15")]


def test_begun_late_it_begins_with_what_there_is(script: Script, informer: SharedIndexInformer) -> None:
    script.lists.append(listing(10, obj("a", 1)))
    informer.start()
    synced(informer)
    with InformerWatcher(informer) as watcher:
        assert take(watcher, 1) == [("ADDED", "a", "1")]


def test_close_ends_it_after_what_had_come(script: Script, informer: SharedIndexInformer) -> None:
    script.lists.append(listing(10, obj("a", 1)))
    informer.start()
    synced(informer)
    watcher = InformerWatcher(informer)
    watcher.close()
    watcher.close()
    assert not informer.handlers
    assert [event.object.name for event in watcher] == ["a"]
    assert [[*watcher] for _ in range(5)] == [[]] * 5


def test_a_resync_is_no_change(scripted_client: Client) -> None:
    with SharedInformerFactory(scripted_client, resync_period=60.0) as factory:
        informer = factory.informer(WIDGETS)
        with InformerWatcher(informer):
            (registration,) = informer.handlers
            assert registration.resync_period == 0.0


def test_close_wakes_who_waits(informer: SharedIndexInformer) -> None:
    watcher = InformerWatcher(informer)
    thread = threading.Thread(target=lambda: [*watcher])
    thread.start()
    watcher.close()
    thread.join(20)
    assert not thread.is_alive()


def test_it_ends_with_its_informer(script: Script, informer: SharedIndexInformer) -> None:
    script.lists.append(listing(10, obj("a", 1)))
    watcher = InformerWatcher(informer)
    informer.start()
    synced(informer)
    informer.stop()
    assert [event.object.name for event in watcher] == ["a"]
    assert [*watcher] == []
    with pytest.raises(RuntimeError, match="stopped"):
        InformerWatcher(informer)


def test_with_a_real_server(api: FakeAPIServer, configmaps: ResourceClient) -> None:
    configmaps.create({"metadata": {"name": "old"}})
    with api.client() as client, SharedInformerFactory(client, namespace="default") as factory:
        informer = factory.informer(CONFIGMAPS)
        with InformerWatcher(informer) as watcher:
            factory.start()
            assert [(e.type, e.object.name) for e in (next(watcher),)] == [("ADDED", "old")]
            configmaps.patch("old", {"data": {"k": "v"}})
            configmaps.delete("old")
            assert [(e.type, e.object.name) for e in (next(watcher), next(watcher))] == [
                ("MODIFIED", "old"),
                ("DELETED", "old"),
            ]
