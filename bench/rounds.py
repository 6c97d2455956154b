"""Runs measurements in turn, each in a process of its own, and keeps what they print."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from bench.figures import Result, Rounds
from bench.meter import control
from bench.script import Checksum

ROOT = Path(__file__).resolve().parent.parent

Measurements: TypeAlias = Mapping[str, Rounds]
"""Name of the peer -> what it measured."""


class MeasurementFailed(Exception):
    """A process failed, or did not do the work. The message tells which and why."""


@dataclass(frozen=True)
class Command:
    """One measurement.

    :ivar arguments: what follows ``python -m``; the last line printed is a JSON object.
    :ivar rounds: at most so many, for what is slow.
    :ivar verify: raises :class:`MeasurementFailed` if the work was not done.
    """

    arguments: Sequence[str]
    rounds: int = sys.maxsize
    verify: Callable[[Result], None] = field(default=lambda _: None)


@dataclass
class Session:
    """One run of the benchmarks.

    :ivar rounds: how often each peer is measured.
    :ivar scale: factor for all sizes.
    :ivar progress: is told what is being done.
    :ivar failures: what could not be measured, and why.
    """

    rounds: int
    scale: float
    progress: Callable[[str], None]
    failures: list[str] = field(default_factory=list)

    def size(self, full: int, least: int = 20) -> int:
        """A number of objects, events or operations."""
        return max(least, round(full * self.scale))

    def measure(self, what: str, commands: Mapping[str, Command]) -> Measurements:
        """Each command once per round, so that a slow minute of the machine hits all peers alike.

        A peer that fails is left out from then on.
        """
        measured: dict[str, dict[int, Result]] = {name: {} for name in commands}
        failed: set[str] = set()
        for turn in range(1, self.rounds + 1):
            for name, command in commands.items():
                if turn > command.rounds or name in failed:
                    continue
                self.progress(f"{what}, round {turn} of {min(self.rounds, command.rounds)}: {name}")
                try:
                    measured[name][turn] = run_process(command)
                except MeasurementFailed as error:
                    failed.add(name)
                    measured[name].clear()
                    self.failures.append(f"{what}, {name}: {error}")
                    self.progress(f"FAILED: {self.failures[-1]}")
        return measured


def run_process(command: Command, *, timeout: float = 600) -> Result:
    """:raises MeasurementFailed: it does not end with a result, or the result is wrong."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", *command.arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MeasurementFailed(f"no result after {timeout:.0f} s") from error
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise MeasurementFailed(
            f"{' '.join(command.arguments)} exited with {done.returncode}:\n{done.stderr[-2000:].strip()}"
        )
    result: Result = json.loads(lines[-1])
    command.verify(result)
    return result


@dataclass(frozen=True)
class Replay:
    """A replay server that runs.

    :ivar expected: state -> what a cache holds then.
    :ivar json_bytes: per object, on average.
    """

    url: str
    expected: Mapping[str, Checksum]
    json_bytes: float

    def verify(self, state: str) -> Callable[[Result], None]:
        """What a client that has seen everything up to this state must hold."""
        wanted = tuple(self.expected[state])

        def check(result: Result) -> None:
            held = (result["held"], result["versions"])
            if held != wanted:
                raise MeasurementFailed(
                    f"the cache holds {held[0]} objects whose versions sum up to {held[1]}; "
                    f"sent were {wanted[0]} and {wanted[1]}"
                )

        return check


@contextmanager
def replay_server(kind: str, objects: int, events: int = 0, *, relist: bool = False) -> Iterator[Replay]:
    """A replay server in its own process, for as long as the block runs."""
    command = [sys.executable, "-m", "bench.replay"]
    command += ["--kind", kind, "--objects", str(objects), "--events", str(events)]
    if relist:
        command.append("--relist")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                raise MeasurementFailed("the replay server did not start")
            told = control(url, "expect")
            assert isinstance(told, dict)
            yield Replay(url, told["expected"], told["json_bytes"])
        finally:
            process.kill()
