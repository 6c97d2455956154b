"""What must not grow: memory behind a handler that sleeps, and what a thousand informers leave behind."""

from __future__ import annotations

import gc
import logging
import os
import threading
import tracemalloc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runtime import GVR
from runtime.client import Unstructured
from runtime.informer import (
    BufferPolicy,
    JitteredBackoff,
    ResourceEventHandler,
    SharedIndexInformer,
    SharedInformerFactory,
    wait_for_cache_sync,
)
from runtime.testing import FakeAPIServer, FakeClock, FakeControllerSource
from tests.support.growth import growth
from tests.support.waiting import eventually

THINGS = GVR("", "v1", "configmaps")
SECRETS = GVR("", "v1", "secrets")


def thing(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "ns", "name": name}, "spec": spec}


def traced() -> int:
    """Bytes that Python objects hold."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.fixture
def unlogged() -> Iterator[None]:
    """No log: pytest would keep each record, and with its traceback the objects it tells of."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@contextmanager
def tracing() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


OBJECTS = 10_000


class Sleeper:
    """A handler that sleeps from its first update on, until it is woken, and then says what it was told last."""

    def __init__(self) -> None:
        self.asleep = threading.Event()
        self.wake = threading.Event()
        self.calls = 0
        self.last: dict[str, str] = {}

    def on_add(self, obj: Unstructured, is_in_initial_list: bool, /) -> None:
        self.last[obj.name] = obj.resource_version

    def on_update(self, old: Unstructured, new: Unstructured, /) -> None:
        self.asleep.set()
        self.wake.wait()
        self.calls += 1
        self.last[new.name] = new.resource_version

    def on_delete(self, obj: object, /) -> None:
        raise AssertionError("nothing is deleted here")


@pytest.mark.usefixtures("unlogged")
@pytest.mark.slow
@pytest.mark.parametrize("buffer", ["latest", 1000])
def test_relists_of_10000_objects_behind_a_sleeping_handler_keep_memory_bounded(buffer: BufferPolicy) -> None:
    """A handler that sleeps costs what one backlog costs, however often everything changes (complaint 3); those beside
    it hear of everything meanwhile (I4)."""
    source = FakeControllerSource(watch_list=False)
    for number in range(OBJECTS):
        source.add(thing(f"thing-{number}", round=0))
    informer = SharedIndexInformer(source, THINGS, backoff=JitteredBackoff(base=0.001, max_delay=0.002))
    sleeper = Sleeper()
    awake: dict[str, str] = {}
    slow = informer.add_event_handler(sleeper, buffer=buffer)
    informer.add_event_handler(
        ResourceEventHandler(on_update=lambda _, new: awake.update({new.name: new.resource_version})), inline=True
    )

    def change_everything(round_: int) -> None:
        for number in range(OBJECTS):
            source.modify_drop_watch(thing(f"thing-{number}", round=round_))
        source.reset_watch()
        assert informer.wait_until(source.resource_version, 60)
        there = {obj.name: obj.resource_version for obj in source.objects.values()}
        eventually(lambda: awake == there, "the handler that is awake to hear of all", timeout=60)

    with tracing():
        informer.start()
        try:
            assert wait_for_cache_sync(slow, timeout=60)
            change_everything(1)
            assert sleeper.asleep.wait(30)
            change_everything(2)
            backlog, size = slow.backlog, traced()
            assert backlog >= OBJECTS - 1, "the handler does not sleep"
            for round_ in range(3, 5):
                change_everything(round_)
                assert slow.backlog <= backlog + 1
            grown = traced() - size
            assert grown < size / 50, f"{grown} bytes more after 2 more relists, beside {size}"
            sleeper.wake.set()
            assert eventually(lambda: sleeper.last == awake, timeout=60)
            assert sleeper.calls <= 2 * OBJECTS, "merged, so not every round was told"
        finally:
            sleeper.wake.set()
            informer.stop()
            informer.join()


# A thousand lives


def sockets() -> int:
    """Open sockets of this process."""
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        try:
            found += os.readlink(each).startswith("socket:")
        except OSError:
            continue  # that was the folder's own
    return found


def ours() -> list[str]:
    """The threads of informers that run."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("informer/")]


def live_and_die(
    source: FakeControllerSource, number: int, clock: FakeClock | None
) -> weakref.ref[SharedIndexInformer]:
    """One informer's life, each a little different."""

    def transform(obj: dict[str, Any]) -> dict[str, Any]:
        if number % 5 == 0 and obj["metadata"]["name"] == "a":
            raise ValueError("quarantine, and with it a timer")
        return obj

    informer = SharedIndexInformer(
        source,
        THINGS,
        resync_period=3600.0 if number % 3 == 0 else 0.0,
        transform=transform,
        indexers={"name": lambda obj: [obj.name]},
        clock=clock,
    )
    policies: list[BufferPolicy] = ["unbounded", "latest", 2]
    registrations = [informer.add_event_handler(ResourceEventHandler(), buffer=policy) for policy in policies]
    informer.add_event_handler(ResourceEventHandler(on_add=lambda *_: informer.has_synced()), inline=True)
    waiter = threading.Thread(target=informer.wait_until, args=("99999999",), name="informer/waiter")
    if number % 7:
        informer.start()
        waiter.start()
    if number % 2 and number % 7:
        assert wait_for_cache_sync(informer, timeout=30)
        informer.remove_event_handler(registrations[0])
        informer.add_event_handler(ResourceEventHandler())
    if number % 11 == 0:
        source.stall()
    informer.stop()
    informer.join()
    if waiter.ident is not None:
        waiter.join()
    return weakref.ref(informer)


@pytest.mark.usefixtures("unlogged")
@pytest.mark.slow
@pytest.mark.parametrize("watch_list", [True, False])
def test_a_thousand_starts_and_stops_leave_nothing_behind(watch_list: bool) -> None:
    """I14: no thread, no watch, no object."""
    source = FakeControllerSource([thing(name) for name in "abc"], watch_list=watch_list)
    alive: list[weakref.ref[SharedIndexInformer]] = []
    sizes: list[int] = []
    with tracing():
        for number in range(500):
            alive.append(live_and_die(source, number, FakeClock() if number % 4 == 0 else None))
            if (number + 1) % 100 == 0:
                gc.collect()
                alive = [life for life in alive if life() is not None]
                source.forget_requests()
                sizes.append(traced())
    assert ours() == []
    assert source.watches == 0
    assert len(alive) == 0
    assert growth(sizes) < 15_000, f"bytes held after each 100 informers: {sizes}"


def test_starts_and_stops_over_http_leave_no_socket_behind() -> None:
    """The same over HTTP: besides, no socket and no connection of the server's stays open."""
    with FakeAPIServer() as api, api.client() as client:
        for name in "abc":
            client.resource(THINGS, "default").create({"metadata": {"name": name}})

        def live(number: int) -> None:
            factory = SharedInformerFactory(client, watch_list=bool(number % 2), page_size=2)
            factory.informer(THINGS).add_event_handler(ResourceEventHandler())
            factory.informer(SECRETS)
            factory.start()
            if number % 3:
                factory.wait_for_cache_sync(30)
            if number % 10 == 0:
                api.close_connections()
            factory.shutdown()

        for number in range(10):
            live(number)
        client.close()
        eventually(lambda: api.connections == 0)
        before = sockets()
    with FakeAPIServer() as api:
        with api.client() as client:
            for number in range(60):
                live(number)
            assert ours() == []
        eventually(lambda: api.connections == 0)
        assert sockets() <= before
