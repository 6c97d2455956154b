"""An API server for each test, and a broadcaster that writes to one of its APIs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runtime.testing import FakeAPIServer
from tests.runtime.record.record_support import Bench


@pytest.fixture
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        yield server


@pytest.fixture
def core(server: FakeAPIServer) -> Iterator[Bench]:
    bench = Bench(server, "core")
    yield bench
    bench.broadcaster.shutdown(30)


@pytest.fixture
def series(server: FakeAPIServer) -> Iterator[Bench]:
    bench = Bench(server, "events")
    yield bench
    bench.broadcaster.shutdown(30)


@pytest.fixture
def auto(server: FakeAPIServer) -> Iterator[Bench]:
    bench = Bench(server)
    yield bench
    bench.broadcaster.shutdown(30)
