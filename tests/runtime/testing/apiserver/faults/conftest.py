"""A server whose replicas that lag behind refuse soon."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runtime.testing.apiserver import FakeAPIServer


@pytest.fixture
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer(namespace_deletion_delay=0.0, future_version_wait=0.1) as running:
        yield running
