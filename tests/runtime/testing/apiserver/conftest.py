"""A server, a client, and watches that are closed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from runtime.testing.apiserver import FakeAPIServer
from tests.runtime.testing.apiserver.apiserver_helpers import CRDS, WIDGET_CRD, WIDGETS, Http, Watching


@pytest.fixture
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer(namespace_deletion_delay=0.0) as running:
        yield running


@pytest.fixture
def api(server: FakeAPIServer) -> Iterator[Http]:
    client = Http(server)
    yield client
    client.close()


@pytest.fixture
def watch(server: FakeAPIServer) -> Iterator[Callable[..., Watching]]:
    opened: list[Watching] = []

    def open_watch(path: str, accept: str = "application/json") -> Watching:
        opened.append(Watching(server, path, accept))
        return opened[-1]

    yield open_watch
    for each in opened:
        each.close()


@pytest.fixture
def widgets(api: Http) -> str:
    """The path of a served custom resource."""
    assert api.post(CRDS, WIDGET_CRD).status == 201
    return WIDGETS
