"""A scripted server and a real one for the tests of runtime.watchtools."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runtime.client import Client, ResourceClient
from runtime.testing import FakeAPIServer
from tests.runtime.informer.conftest import script, scripted_client
from tests.runtime.informer.informer_support import CONFIGMAPS, WIDGETS

__all__ = ["script", "scripted_client"]


@pytest.fixture
def widgets(scripted_client: Client) -> ResourceClient:
    """The collection that ``script`` answers for."""
    return scripted_client.resource(WIDGETS, "ns")


@pytest.fixture
def api() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        yield server


@pytest.fixture
def configmaps(api: FakeAPIServer) -> Iterator[ResourceClient]:
    with api.client() as client:
        yield client.resource(CONFIGMAPS, "default")
