"""What the tests of Orleans membership share: a server for the tests of a module, a client, a table and silos on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from membership.orleans import KubeMembershipTable
from runtime.client import Client
from runtime.testing import FakeAPIServer
from tests.support.silo_agents import Cluster, cluster
from tests.support.silo_tables import OLD, new_table, server_of_tables


@pytest.fixture(scope="module")
def server() -> Iterator[FakeAPIServer]:
    with server_of_tables() as server:
        yield server


@pytest.fixture
def client(server: FakeAPIServer) -> Iterator[Client]:
    with server.client() as client:
        yield client
    server.faults.clear()


@pytest.fixture
def table(client: Client) -> KubeMembershipTable:
    """With one row, :data:`.silo_tables.OLD`."""
    return new_table(client, OLD)


@pytest.fixture
def scene(server: FakeAPIServer) -> Iterator[Cluster]:
    """No silo yet."""
    with cluster(server) as scene:
        yield scene
    server.faults.clear()
