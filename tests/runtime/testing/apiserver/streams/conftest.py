"""A server whose Pods listen on this machine's own address."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runtime.testing import FakeAPIServer
from tests.runtime.testing.apiserver.streams.streams_helpers import ADDRESS, make_pod


def locate(namespace: str, pod: str, uid: str) -> str:
    """All Pods but one run."""
    if pod == "gone":
        raise LookupError(f'pod "{pod}" does not run')
    return ADDRESS


@pytest.fixture(scope="module")
def shared() -> Iterator[FakeAPIServer]:
    """For tests that leave it as it was."""
    with FakeAPIServer() as server:
        make_pod(server)
        server.set_pod_locator(locate)
        yield server


@pytest.fixture
def running() -> Iterator[FakeAPIServer]:
    """One that may be stopped."""
    with FakeAPIServer() as server:
        make_pod(server)
        server.set_pod_locator(locate)
        yield server
