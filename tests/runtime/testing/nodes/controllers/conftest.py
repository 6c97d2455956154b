"""The local controllers on a real API server."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from runtime.client import Client
from runtime.testing import FakeAPIServer
from runtime.testing.nodes.controllers import local_controllers
from tests.runtime.testing.nodes.controllers.hand import HandKubelet


@pytest.fixture
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        yield server


@pytest.fixture
def client(server: FakeAPIServer) -> Client:
    return server.client()


@pytest.fixture
def kubelet(client: Client) -> Iterator[HandKubelet]:
    kubelet = HandKubelet(client)
    kubelet.start()
    yield kubelet
    kubelet.stop()


@pytest.fixture
def controllers(client: Client) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=local_controllers(client).run, args=(stop,), name="controllers")
    thread.start()
    yield
    stop.set()
    thread.join(15)
    assert not thread.is_alive()
