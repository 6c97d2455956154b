"""The benchmark runs; what it measures is for `make bench` to say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


def test_help_names_the_suites() -> None:
    done = bench("--help")
    assert done.returncode == 0, done.stderr
    assert "queue, ingest" in done.stdout


def test_an_unknown_suite_is_refused() -> None:
    done = bench("speed")
    assert done.returncode == 2
    assert "unknown suite 'speed': there are queue, ingest" in done.stderr


def test_a_tiny_run_makes_both_tables(tmp_path: Path) -> None:
    """Every peer does its work: a cache that is not what the server sent fails the run."""
    results = tmp_path / "RESULTS.md"
    sizes = ("--rounds", "1", "--objects", "30", "--events", "50", "--operations", "400")
    done = bench(*sizes, "--output", str(results))
    assert done.returncode == 0, done.stderr
    text = results.read_text()
    assert text in done.stdout
    for peer in ("queue.Queue", "PriorityQueue", "kubernetes.informer", "runtime.informer", "lazy floor"):
        assert f"| {peer}" in text
    assert "Measured 20" in text
