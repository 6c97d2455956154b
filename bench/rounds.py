"""Runs measurements in turn, each in a process of its own, and keeps what they print."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

Result = Mapping[str, float]
Results = dict[str, list[Result]]


class MeasurementFailed(Exception):
    """A peer's process failed, or did not do the work. The message tells which and why."""


def run_rounds(
    commands: Mapping[str, Sequence[str]], rounds: int, progress: Callable[[str], None], *, timeout: float = 600
) -> Results:
    """Each command once per round, so that a slow minute of the machine hits all peers alike.

    :param commands: name of the peer -> arguments after ``python -m``; the last line printed is a JSON object.
    """
    results: Results = {name: [] for name in commands}
    for number in range(1, rounds + 1):
        for name, command in commands.items():
            progress(f"round {number} of {rounds}: {name}")
            results[name].append(_measure(name, command, timeout))
    return results


def median(results: Sequence[Result], figure: Callable[[Result], float]) -> float:
    return statistics.median(figure(result) for result in results)


def _measure(name: str, command: Sequence[str], timeout: float) -> Result:
    try:
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise MeasurementFailed(f"{name}: no result after {timeout:.0f} s") from error
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise MeasurementFailed(f"{name}: {' '.join(command)} exited with {done.returncode}:\n{done.stderr[-2000:]}")
    result: Result = json.loads(lines[-1])
    return result
