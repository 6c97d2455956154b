"""Calls that another thread ends while the server is still thinking."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from runtime.client import Cancelled, Client, Interrupt
from runtime.testing import FakeAPIServer
from runtime.types import GVR

CONFIGMAPS = GVR("", "v1", "configmaps")
MAP = {"metadata": {"name": "a"}, "data": {"k": "v"}}


def read(client: Client) -> object:
    return client.resource(CONFIGMAPS, "default").list()


def write(client: Client) -> object:
    return client.resource(CONFIGMAPS, "default").create(MAP)


def watch(client: Client) -> object:
    return client.resource(CONFIGMAPS, "default").watch_raw()


def stuck(
    client: Client, call: Callable[[Client], object], server: FakeAPIServer
) -> tuple[threading.Thread, list[BaseException]]:
    """The call in a thread of its own, once the server has it, and what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call(client)
        except BaseException as error:
            raised.append(error)

    fault = server.faults.add(delay=3.0, times=1)
    thread = threading.Thread(target=run, name="stuck-call")
    thread.start()
    deadline = time.monotonic() + 10
    while not fault.hits:
        assert time.monotonic() < deadline, "the request never arrived"
        time.sleep(0.005)
    return thread, raised


@pytest.mark.parametrize("call", [read, write, watch])
def test_an_interrupt_ends_the_call_in_flight(call: Callable[[Client], object]) -> None:
    with FakeAPIServer() as server, server.client() as client:
        interrupt = Interrupt()
        thread, raised = stuck(client.bound(stop=interrupt), call, server)
        began = time.monotonic()
        interrupt.set()
        thread.join(10)
        assert time.monotonic() - began < 2.0  # the server takes three
        assert isinstance(raised[0], Cancelled)
        assert ("may have taken effect" in str(raised[0])) is (call is write)
        read(client)  # others are not ended, and nobody gets the connection that was cut


def test_a_plain_event_waits_for_the_call_in_flight() -> None:
    with FakeAPIServer() as server, server.client() as client:
        stop = threading.Event()
        thread, raised = stuck(client.bound(stop=stop), read, server)
        stop.set()
        thread.join(10)
        assert raised == []
        with pytest.raises(Cancelled, match="not sent"):
            read(client.bound(stop=stop))


def test_sockets_of_finished_calls_are_let_go() -> None:
    with FakeAPIServer() as server, server.client() as client:
        interrupt = Interrupt()
        bound = client.bound(stop=interrupt)
        read(bound)
        assert interrupt._sockets == set()
        interrupt.set()
        read(client)  # over the same kept connection
        assert server.connections == 1
