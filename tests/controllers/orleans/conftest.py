from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from runtime.testing import FakeAPIServer
from tests.controllers.orleans.orleans_world import World, world_on


@pytest.fixture(scope="module")
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        server.apply_manifests("crds/clusterversions.yaml")
        server.apply_manifests("crds/silos.yaml")
        yield server


@pytest.fixture
def world(server: FakeAPIServer) -> Iterator[World]:
    """A namespace without an operator."""
    with world_on(server, f"orleans-{uuid.uuid4().hex[:8]}") as here:
        yield here
