"""How many lists run at a time (complaint 8 of client-go.md)."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from runtime.client import Client, ResourceClient
from runtime.informer import SharedInformerFactory
from runtime.informer.gate import LARGE, ListGate, ListPass
from runtime.testing import FakeAPIServer, FakeClock
from runtime.types import GVR
from tests.runtime.informer.informer_support import CONFIGMAPS, Handler, Script, listing, quick, until

GVRS = [GVR("", "v1", name) for name in ("configmaps", "secrets", "services", "pods", "endpoints", "nodes")]


class Line:
    """Passes whose waits run in threads; ``inside`` are the names of those let in so far, in that order."""

    def __init__(self, gate: ListGate) -> None:
        self.gate = gate
        self.inside: list[str] = []
        self.refused: list[str] = []
        self.passes: dict[str, ListPass] = {}
        self._threads: list[threading.Thread] = []

    def ask(self, name: str, size: int = 0) -> ListPass:
        pass_ = self.passes[name] = self.gate.ask(name, size)

        def wait() -> None:
            (self.inside if pass_.wait() else self.refused).append(name)

        thread = threading.Thread(target=wait, name=f"wait-{name}")
        self._threads.append(thread)
        thread.start()
        return pass_

    def close(self) -> None:
        for pass_ in self.passes.values():
            pass_.leave()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def line(clock: FakeClock) -> Iterator[Line]:
    made = Line(ListGate(2, lease=20.0, clock=clock))
    yield made
    made.close()


def test_so_many_at_a_time_and_the_others_as_slots_come_free(line: Line) -> None:
    for name in "abcd":
        line.ask(name)
    until(lambda: sorted(line.inside) == ["a", "b"])
    assert (line.gate.running, line.gate.waiting) == (2, 2)
    line.passes["b"].leave()
    until(lambda: line.inside[2:] == ["c"])
    line.passes["a"].leave()
    line.passes["a"].leave()  # twice is once
    until(lambda: line.inside[2:] == ["c", "d"])
    assert (line.gate.running, line.gate.waiting) == (2, 0)


def test_who_gives_up_wakes_at_once_and_takes_no_slot(line: Line) -> None:
    for name in "abcd":
        line.ask(name)
    line.passes["c"].leave()
    until(lambda: line.refused == ["c"])
    line.passes["a"].leave()
    until(lambda: "d" in line.inside)


def test_a_small_one_goes_before_a_large_one_that_waits(line: Line) -> None:
    for name in "ab":
        line.ask(name)
    line.ask("large", LARGE)
    line.ask("small", LARGE - 1)
    line.passes["a"].leave()
    until(lambda: "small" in line.inside)
    assert line.gate.waiting == 1
    line.passes["b"].leave()
    until(lambda: "large" in line.inside)


def test_large_ones_in_every_slot_leave_one_more_for_a_small_one(line: Line) -> None:
    line.ask("l1", LARGE)
    turned = line.ask("l2")
    line.ask("l3", LARGE)
    line.ask("small")
    until(lambda: sorted(line.inside) == ["l1", "l2"])
    turned.received(LARGE - 1)
    assert line.gate.waiting == 2
    turned.received(LARGE)  # only now it is one
    until(lambda: "small" in line.inside)
    line.ask("second")
    assert (line.gate.running, line.gate.waiting) == (3, 2)  # one more, and no other
    line.passes["small"].leave()
    until(lambda: "second" in line.inside)
    assert "l3" not in line.inside


def test_a_large_one_that_has_waited_long_is_not_overtaken_any_more(line: Line, clock: FakeClock) -> None:
    for name in "ab":
        line.ask(name)
    line.ask("large", LARGE)
    clock.advance(10)
    line.passes["a"].leave()
    until(lambda: "large" in line.inside)
    line.ask("larger", LARGE)
    clock.advance(9)
    line.ask("small")
    assert line.gate.waiting == 2
    line.passes["b"].leave()
    until(lambda: "small" in line.inside)
    clock.advance(9)
    assert line.gate.waiting == 1


def test_a_large_one_that_has_waited_long_goes_before_small_ones_that_came_later(line: Line, clock: FakeClock) -> None:
    for name in "ab":
        line.ask(name)
    line.ask("large", LARGE)
    for leaving, coming in (("a", "c"), ("b", "d")):
        line.ask(coming)
        clock.advance(9)
        line.passes[leaving].leave()
        until(lambda: coming in line.inside)  # noqa: B023
    clock.advance(2)
    line.ask("e")
    assert line.gate.waiting == 2
    line.passes["c"].leave()
    until(lambda: len(line.inside) == 5)
    assert line.inside[4] == "large"


def test_a_list_that_hangs_keeps_nobody_for_ever_and_is_named(
    line: Line, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("hangs", "too"):
        line.ask(name)
    line.ask("c")
    clock.wait_for_waiters(1, timed=True)
    clock.advance(19)
    clock.wait_for_waiters(1, timed=True)
    assert line.gate.waiting == 1
    assert not caplog.messages
    clock.advance(1)
    until(lambda: "c" in line.inside)
    assert caplog.messages == ["lists take long; not waiting for them resource='c' slow=['hangs', 'too']"]
    line.ask("d")
    until(lambda: "d" in line.inside)  # both slots count as free
    line.ask("e")
    assert line.gate.waiting == 1


def test_one_gate_for_each_server_that_leaves_nothing_behind(clock: FakeClock) -> None:
    gate = ListGate.of_server("https://a", clock)
    assert ListGate.of_server("https://a", clock) is gate
    assert ListGate.of_server("https://b", clock) is not gate
    number = id(gate)
    del gate
    gc.collect()
    assert not any(isinstance(o, ListGate) and id(o) == number for o in gc.get_objects())


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="slots=0"):
        ListGate(0)
    with pytest.raises(ValueError, match="lease=0"):
        ListGate(lease=0)


@pytest.mark.parametrize("watch_list", [True, False])
def test_factories_of_one_server_list_few_at_a_time(api: FakeAPIServer, client: Client, watch_list: bool) -> None:
    """Also those of different clients; and each list gets its turn."""
    held: list[int] = []

    class Watching(ListGate):
        def _admit(self) -> float:
            now = super()._admit()
            held.append(len(self._inside))
            return now

    gate = Watching(2)
    with api.client() as other:
        factories = [
            SharedInformerFactory(each, list_gate=gate, watch_list=watch_list, backoff=quick)
            for each in (client, other)
        ]
        for factory in factories:
            for gvr in GVRS:
                factory.informer(gvr)
            factory.start()
        try:
            for factory in factories:
                assert all(factory.wait_for_cache_sync(15).values())
        finally:
            for factory in factories:
                factory.shutdown()
    assert max(held) == 2
    assert (gate.running, gate.waiting) == (0, 0)


def test_stop_ends_the_wait_at_the_gate(client: Client) -> None:
    gate = ListGate(1, clock=FakeClock())
    holder = gate.ask("holder")
    assert holder.wait()
    factory = SharedInformerFactory(client, list_gate=gate)
    informer = factory.informer(CONFIGMAPS)
    factory.start()
    until(lambda: gate.waiting == 1)
    informer.stop()
    informer.join()  # the test's own time limit is the assertion
    assert gate.waiting == 0
    factory.shutdown()
    assert not informer.has_synced()


def test_a_stop_just_before_the_wait_at_the_gate_is_not_missed(client: Client) -> None:
    class Stopping(ListGate):
        def ask(self, name: str, size: int = 0) -> ListPass:
            pass_ = super().ask(name, size)
            if name != "holder":
                informer.stop()
            return pass_

    gate = Stopping(1, clock=FakeClock())
    gate.ask("holder")
    with SharedInformerFactory(client, list_gate=gate) as factory:
        informer = factory.informer(CONFIGMAPS)
        factory.start()
        informer.join()  # the test's own time limit is the assertion
        assert gate.waiting == 0


def test_a_failed_list_gives_its_slot_back_for_the_time_it_waits(script: Script, scripted_client: Client) -> None:
    gate = ListGate(1)
    clock = FakeClock()
    with SharedInformerFactory(scripted_client, watch_list=False, list_gate=gate, clock=clock) as factory:
        factory.informer(CONFIGMAPS)
        factory.start()
        clock.wait_for_waiters(1, timed=True)  # in its back-off
        assert (gate.running, gate.waiting) == (0, 0)


@pytest.mark.parametrize("watch_list", [True, False])
def test_a_slot_is_held_until_the_content_is_in_the_cache(
    client: Client, configmaps: ResourceClient, watch_list: bool
) -> None:
    configmaps.create({"metadata": {"name": "a"}})
    gate = ListGate(1)
    with SharedInformerFactory(client, list_gate=gate, watch_list=watch_list) as factory:
        informer = factory.informer(CONFIGMAPS)
        running: list[int] = []
        informer.add_event_handler(Adding(lambda: running.append(gate.running)), inline=True)
        factory.start()
        until(lambda: running)
        assert running == [1]
        until(lambda: gate.running == 0)
        configmaps.create({"metadata": {"name": "b"}})
        until(lambda: running == [1, 0])  # a watch passes by


class Adding:
    """A handler of additions only."""

    def __init__(self, on_add: Callable[[], object]) -> None:
        self._on_add = on_add

    def on_add(self, obj: object, is_in_initial_list: bool, /) -> None:
        self._on_add()

    def on_update(self, old: object, new: object, /) -> None:
        pass

    def on_delete(self, obj: object, /) -> None:
        pass


def test_a_hanging_list_of_one_resource_does_not_keep_another_from_syncing(
    script: Script, scripted_client: Client
) -> None:
    def hanging(handler: Handler) -> None:
        handler.stall()

    clock = FakeClock()
    gate = ListGate(1, lease=20.0, clock=clock)
    script.lists.append(hanging)
    script.then_list = listing(5)
    with SharedInformerFactory(scripted_client, watch_list=False, list_gate=gate) as factory:
        hangs = factory.informer(GVRS[0])
        factory.start()
        until(lambda: len(script.asked_lists) == 1)
        other = factory.informer(GVRS[1])
        factory.start()
        clock.wait_for_waiters(1, timed=True)
        assert len(script.asked_lists) == 1
        clock.advance(20)
        until(other.has_synced)
        assert not hangs.has_synced()


def test_a_lease_that_ends_while_a_wait_begins_is_not_missed() -> None:
    """Else who waits for a list that hangs would wait for ever."""

    class Ticking(FakeClock):
        def monotonic(self) -> float:
            self.advance(0.125)
            return super().monotonic()

        def wait(self, condition: threading.Condition, timeout: float | None = None) -> bool:
            asked.append(timeout)
            return super().wait(condition, timeout)

    asked: list[float | None] = []
    clock = Ticking()
    gate = ListGate(1, lease=1.0, clock=clock)
    hanging, next_ = gate.ask("hangs"), gate.ask("next")
    clock.advance(0.5)  # it has 0.125 left when the next one looks, and none a tick later
    waiting = threading.Thread(target=next_.wait)
    waiting.start()
    until(lambda: asked)
    for pass_ in (hanging, next_):
        pass_.leave()
    waiting.join()
    assert asked[0] == 0.125


def test_a_forked_process_waits_for_no_list_of_its_parent() -> None:
    code = """
import os
from runtime.informer import shared
from runtime.informer.gate import ListGate, _gates_lock
gate = ListGate.of_server("https://a")
shared._hubs["key"] = object()
with _gates_lock, shared._hubs_lock:  # as threads of the parent may
    child = os.fork()
    if child == 0:
        fresh = ListGate.of_server("https://a") is not gate
        with shared._hubs_lock:
            os._exit(0 if fresh and not shared._hubs else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert ListGate.of_server("https://a") is gate and shared._hubs
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
