"""Fixtures of the local nodes' tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.clock import SYSTEM, Clock
from runtime.testing.nodes.backoff import RestartPolicy
from tests.runtime.testing.nodes.nodes_support import Bench


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def make(*, clock: Clock = SYSTEM, base: float = 0.05, root: Path | None = None) -> Bench:
        bench = Bench(root or tmp_path / f"node{len(benches)}", clock, RestartPolicy(base))
        benches.append(bench)
        return bench

    yield make
    for bench in benches:
        bench.close()


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench()
