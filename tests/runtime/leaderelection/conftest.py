"""A real API server, a clock, and candidates that are stopped at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runtime.client import Client, Unstructured
from runtime.clock import Clock
from runtime.leaderelection import LEASES
from runtime.testing import FakeAPIServer, FakeClock
from tests.runtime.leaderelection.leaderelection_support import Campaign, Candidate


@pytest.fixture
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        yield server


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def campaign(server: FakeAPIServer, clock: FakeClock) -> Iterator[Campaign]:
    """``campaign("a", clock=..., **options)`` starts a candidate; all are stopped at the end."""
    candidates: list[Candidate] = []

    def start(identity: str, clock: Clock = clock, **options: Any) -> Candidate:
        candidates.append(Candidate(Client(server.url, user_agent=identity), identity, clock, **options))
        return candidates[-1]

    yield start
    server.faults.clear()
    for candidate in candidates:
        candidate.may_end.set()
        candidate.stop.set()
        candidate.thread.join(10)


@pytest.fixture
def lease(server: FakeAPIServer) -> Callable[[], Unstructured]:
    leases = server.client().resource(LEASES, namespace="default")
    return lambda: leases.get("test")
