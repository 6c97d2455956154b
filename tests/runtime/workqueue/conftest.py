"""Threads whose results a test can wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from runtime.testing.clock import FakeClock

Background = Callable[..., "Future[Any]"]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def background() -> Iterator[Background]:
    """``background(fn, *args)`` runs it in a named thread and returns its future; all are joined at the end."""
    threads: list[threading.Thread] = []

    def start(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        thread = threading.Thread(target=run, name=f"background-{len(threads)}", daemon=True)
        threads.append(thread)
        thread.start()
        return future

    yield start
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive(), f"{thread.name} does not end"
