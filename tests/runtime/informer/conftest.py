"""Servers, clients and informers for the tests of runtime.informer."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runtime.client import Client, ResourceClient
from runtime.informer import EventHandler, SharedIndexInformer, SharedInformerFactory
from runtime.testing import FakeAPIServer
from tests.runtime.informer.informer_support import CONFIGMAPS, WIDGETS, Handler, Recorder, Script, Server, quick


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def api() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        yield server


@pytest.fixture
def client(api: FakeAPIServer) -> Iterator[Client]:
    with api.client() as client:
        yield client


@pytest.fixture
def configmaps(client: Client) -> ResourceClient:
    return client.resource(CONFIGMAPS, "default")


@pytest.fixture
def factory(client: Client) -> Iterator[SharedInformerFactory]:
    with SharedInformerFactory(client, backoff=quick) as factory:
        yield factory


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()
    server = Server(("127.0.0.1", 0), Handler)
    server.script = script
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="scripted-server")
    thread.start()
    yield script
    script.ended.set()
    server.shutdown()
    thread.join()
    for connection in script.connections:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
    server.server_close()  # joins the threads of the connections


@pytest.fixture
def scripted_client(script: Script) -> Iterator[Client]:
    with Client(script.url) as client:
        yield client


@pytest.fixture
def scripted(scripted_client: Client) -> Iterator[Callable[..., SharedIndexInformer]]:
    """Makes an informer of the scripted server; starts it unless told otherwise."""
    factories: list[SharedInformerFactory] = []

    def make(
        *handlers: EventHandler, start: bool = True, watch_list: bool = False, **options: Any
    ) -> SharedIndexInformer:
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
