"""A reflector of one's own, over a plain store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runtime.client import Client, ResourceClient, Unstructured
from runtime.informer import Indexer, Reflector, Replacement, ResourceSource, Sink, StoreSink, wait_for_cache_sync
from runtime.testing import FakeClock
from runtime.types import JSONObject
from tests.runtime.informer.informer_support import (
    CONFIGMAPS,
    WIDGETS,
    Script,
    added,
    bookmark,
    deleted,
    listing,
    modified,
    obj,
    quick,
    status,
    until,
    watching,
)

Run = Callable[..., Reflector]


@pytest.fixture
def run() -> Iterator[Run]:
    running: list[tuple[Reflector, threading.Thread]] = []

    def start(source: ResourceSource, sink: Sink, **options: Any) -> Reflector:
        reflector = Reflector(source, sink, name="mine", backoff=quick(), **options)
        thread = threading.Thread(target=reflector.run, name="my-reflector")
        running.append((reflector, thread))
        thread.start()
        return reflector

    yield start
    for reflector, thread in running:
        reflector.stop()
        thread.join()


@pytest.mark.parametrize("watch_list", [True, False])
def test_a_store_is_kept_equal(run: Run, client: Client, configmaps: ResourceClient, watch_list: bool) -> None:
    for name in ("a", "b"):
        configmaps.create({"metadata": {"name": name}, "data": {"n": name}})
    store = Indexer({"data": lambda o: list(o["data"].values())})
    source = ResourceSource(client.resource(CONFIGMAPS, "default"), supports_watch_list=watch_list)
    sink = StoreSink(store, fetch=source.fetch)
    assert not sink.has_synced()
    reflector = run(source, sink)
    assert wait_for_cache_sync(sink, timeout=15)
    assert [o.name for o in store.by_index("data", "a")] == ["a"]
    configmaps.delete("a")
    written = configmaps.create({"metadata": {"name": "c"}, "data": {"n": "b"}})
    assert store.wait_until(written.resource_version, 15)
    assert store.index_keys("data", "b") == ["default/b", "default/c"]
    until(lambda: reflector.last_sync_resource_version == written.resource_version)
    assert sink.quarantined == {}


def test_nothing_is_written_after_the_end(script: Script, scripted_client: Client) -> None:
    """R25."""
    script.lists.append(listing(10, obj("a", 1)))
    script.watches.append(watching(modified(obj("a", 11)), deleted(obj("a", 12))))
    store = Indexer()
    seen: list[str] = []

    class Stopping(StoreSink):
        def begin_replace(self) -> Replacement:
            seen.append("list")
            reflector.stop()
            return super().begin_replace()

    reflector = Reflector(ResourceSource(scripted_client.resource(WIDGETS), supports_watch_list=False), Stopping(store))
    reflector.run()
    assert seen == ["list"]
    assert store.list_keys() == []


def test_an_error_handler_that_raises_does_not_end_it(run: Run, script: Script, scripted_client: Client) -> None:
    """R26."""
    told: list[Exception] = []

    def raising(error: Exception) -> None:
        told.append(error)
        raise SystemExit(1)

    script.lists += [status(500, "InternalError"), listing(10)]
    sink = StoreSink(Indexer())
    run(ResourceSource(scripted_client.resource(WIDGETS), supports_watch_list=False), sink, on_error=raising)
    assert wait_for_cache_sync(sink, timeout=15)
    assert len(told) == 1


def test_transform_and_fields(run: Run, script: Script, scripted_client: Client) -> None:
    def transform(o: JSONObject) -> JSONObject:
        o["spec"]["transformed"] = True
        return o

    script.lists.append(listing(10, obj("a", 1, spec={"x": 1}, status={"y": 2})))
    store = Indexer()
    sink = StoreSink(store, transform=transform, keep_fields=["spec"])
    run(ResourceSource(scripted_client.resource(WIDGETS), supports_watch_list=False), sink)
    assert wait_for_cache_sync(sink, timeout=15)
    cached = store.get("ns/a")
    assert cached is not None
    assert (cached["spec"], cached.get("status")) == ({"x": 1, "transformed": True}, None)


@pytest.mark.parametrize("fetching", [True, False])
def test_what_cannot_be_stored_is_shown_and_fetched_when_something_comes(
    script: Script, scripted_client: Client, run: Run, fetching: bool
) -> None:
    clock = FakeClock()
    bad = {"a"}
    tried: list[str] = []

    def picky(o: Unstructured) -> list[str]:
        tried.append(o.name)
        if o.name in bad:
            raise ArithmeticError
        return ["good"]

    go_on = threading.Event()

    def later(handler: object) -> None:
        go_on.wait(15)
        watching(added(obj("c", 12)), bookmark(13))(handler)  # type: ignore[arg-type]

    script.lists.append(listing(10, obj("a", 1), obj("b", 2)))
    script.then_list = listing(11, obj("a", 1))
    script.watches.append(later)
    store = Indexer({"picky": picky})
    source = ResourceSource(scripted_client.resource(WIDGETS), supports_watch_list=False)
    sink = StoreSink(store, fetch=source.fetch if fetching else None, clock=clock)
    run(source, sink)
    assert wait_for_cache_sync(sink, timeout=15)
    assert store.list_keys() == ["ns/b"]
    assert "ArithmeticError" in sink.quarantined["ns/a"]
    bad.clear()
    clock.advance(60)
    go_on.set()
    assert store.wait_until("13", 15)
    if fetching:
        until(lambda: "ns/a" in store)
        assert sink.quarantined == {}
    else:
        assert "ns/a" not in store
        assert set(sink.quarantined) == {"ns/a"}
