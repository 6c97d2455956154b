"""The benchmark runs; what it measures is for `make bench` to say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


def test_help_names_the_suites() -> None:
    done = bench("--help")
    assert done.returncode == 0, done.stderr
    assert "ingest,memory,latency,queue,read,reconcile,startup,metrics,apiserver,orleans" in "".join(
        done.stdout.split()
    )


def test_an_unknown_suite_is_refused() -> None:
    done = bench("--suite", "speed")
    assert done.returncode == 2
    assert "invalid choice: 'speed'" in done.stderr


@pytest.mark.parametrize(
    ("suite", "peers", "rows"),
    [
        pytest.param(
            "ingest",
            ("kubernetes.informer", "kubernetes.watch", "kopf", "runtime.informer", "lazy floor"),
            ("initial sync, custom resource", "initial sync, pod", "watch event up to an enqueued key"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "memory",
            ("kubernetes.informer", "runtime.informer", "lazy floor"),
            ("memory, pod", "peak of initial sync", "peak of a relist", "full garbage collection"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "latency",
            ("kopf", "runtime.informer", "lazy floor"),
            ("event to handler at 200 events/s",),
            marks=pytest.mark.slow,
        ),
        ("queue", ("queue.Queue", "PriorityQueue"), ("add+get+done, one thread", "4 producers and 4 consumers")),
        pytest.param(
            "metrics",
            ("Queue, add+get+done",),
            ("metrics: Queue", "metrics: watch event"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "read",
            ("dict of dicts", "runtime.informer"),
            ("reading one object, custom resource", "reading one object, pod"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "reconcile",
            ("kubernetes.informer", "kopf", "runtime.manager"),
            ("reconcile that writes one status", "as fast as the server goes", "at 100 changes per second"),
            marks=pytest.mark.slow,
        ),
        pytest.param("startup", ("python -m cmd.controller",), ("spawn of an operator",), marks=pytest.mark.slow),
        pytest.param(
            "orleans",
            ("official client", "membership.orleans", "membership.orleans, gateways from a cache"),
            ("Orleans: sign of life", "Orleans: read one row", "Orleans: read all rows", "Orleans: list the gateways"),
            marks=pytest.mark.slow,
        ),
        ("apiserver", ("200 ConfigMaps",), ("start to first answer", "served to 20 watches", "memory per object")),
    ],
)
def test_a_tiny_run_makes_every_table(
    tmp_path: Path, suite: str, peers: tuple[str, ...], rows: tuple[str, ...]
) -> None:
    """Every peer does its work: a cache that is not what the server sent fails the run."""
    results = tmp_path / "RESULTS.md"
    done = bench("--suite", suite, "--rounds", "1", "--scale", "0.002", "--output", str(results))
    assert done.returncode == 0, done.stderr
    text = results.read_text()
    assert text in done.stdout
    assert "Measured 20" in text
    for peer in peers:
        assert f"| {peer}" in text
    for row in rows:
        assert f"{row}" in text
    assert "NOT MEASURED" not in text
