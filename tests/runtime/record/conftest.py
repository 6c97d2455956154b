"""An API server for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runtime.testing import FakeAPIServer


@pytest.fixture
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        yield server
