"""A server with RBAC, its administrator, and callers who are anybody."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from runtime.testing.apiserver import FakeAPIServer
from tests.runtime.testing.apiserver.access.access_helpers import Caller


@pytest.fixture
def guarded() -> Iterator[FakeAPIServer]:
    with FakeAPIServer(authorization_mode="RBAC", namespace_deletion_delay=0.0) as running:
        yield running


@pytest.fixture
def call(guarded: FakeAPIServer) -> Iterator[Callable[..., Caller]]:
    """``call("jane", "dev")``: a connection of jane's, who is in the group dev; ``call(token=...)``."""
    opened: list[Caller] = []

    def connect(user: str = "", *groups: str, token: str | None = None) -> Caller:
        opened.append(Caller(guarded, guarded.token(user, groups) if user else token))
        return opened[-1]

    yield connect
    for each in opened:
        each.close()


@pytest.fixture
def admin(call: Callable[..., Caller]) -> Caller:
    return call("root", "system:masters")
