"""An API server for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runtime.controller import connections
from runtime.manager import caches, kinds
from runtime.testing import FakeAPIServer


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four looks at what is missing in the time of one, so that tests take no longer than they must."""
    monkeypatch.setattr(caches, "_LOOK", 0.25)
    monkeypatch.setattr(caches, "_PAUSE_MAX", 2.5)
    monkeypatch.setattr(kinds, "_FRESH", 0.2)
    monkeypatch.setattr(connections, "_RETRY_ABSENT", 0.25)


@pytest.fixture
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        yield server
