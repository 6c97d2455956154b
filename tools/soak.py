"""A long run with every kind of fault on: does anything grow? ``python -m tools.soak --minutes 30``.

Two replicas of a controller with an election between them (:mod:`tests.support.chaos`), in this process, under a storm
that does not end; the standby is restarted now and then. A line a sample tells what the process holds. At the end the
faults stop, the cluster must converge, and the exit status is 1 if it does not, or if anything grew over the last two
thirds. The server is a process of its own.
"""

from __future__ import annotations

import argparse
import logging
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Final
from unittest import mock

from runtime.client import Client, ClientError, load_client
from runtime.controller import applier
from tests.support.chaos.gauges import gauges, resident
from tests.support.chaos.operators import Operator
from tests.support.chaos.storm import Storm
from tests.support.chaos.verdict import differences

ROOT: Final = Path(__file__).resolve().parent.parent

_ACT: Final = 0.03  # seconds between what users and vandals do
_GARDENS: Final = 20
_SHORTEST: Final = 2.0  # seconds between samples, each of which takes half a second
_RESTART: Final = 47.0  # seconds between restarts of the standby
_DELETIONS: Final = 1.0
# Events, and objects applied: memories that are bounded by a number are full within minutes, so that flat means flat.
_REMEMBERED: Final = 30
_CONVERGE: Final = 120.0
_SHOWN: Final = ("RSS, MiB", "threads", "file descriptors", "objects in the gc")

# What a gauge may have grown by over the last two thirds, judged by the slope that half of all pairs of samples exceed:
# a share of its size, or this much.
_SHARE: Final = {"RSS, MiB": 0.02, "objects in the gc": 0.02}
_LEAST: Final = {"RSS, MiB": 3.0, "objects in the gc": 3_000.0, "threads": 1.0, "file descriptors": 3.0}
_OF_CONTAINERS: Final = (0.05, 30.0)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.disable(logging.ERROR)  # thousands of lines about faults
    try:
        return _soak(options)
    finally:
        logging.disable(logging.NOTSET)


def _soak(options: argparse.Namespace) -> int:
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**31)
    print(f"soak of {options.minutes:g} minutes, seed {seed}", flush=True)
    leaked: list[bytes] = []
    with (
        mock.patch.object(applier, "_REMEMBERED", _REMEMBERED),
        _server() as (process, kubeconfig),
        load_client(str(kubeconfig)) as client,
    ):
        soak = Soak(client, seed, process.pid)
        samples = soak.run(options.minutes * 60, leak=lambda: leaked.append(b"x" * options.leak))
        stuck = soak.converge()
    series = {name: [sample.get(name, 0.0) for sample in samples] for name in _names(samples)}
    grown = [problem for name, values in sorted(series.items()) if (problem := judge(name, values))]
    problems = [*grown, *(f"not converged: {each}" for each in stuck), *soak.failures]
    report = _report(options.minutes, seed, samples, soak, problems)
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.write_text(report)
    print(report)
    return 1 if problems else 0


class Soak:
    """:ivar failures: ends of managers that no fault explains."""

    def __init__(self, client: Client, seed: int, server: int) -> None:
        self._client = client
        self._server = server
        self._storm = Storm(client, seed, _GARDENS, _DELETIONS, even=True)
        self._operators = [Operator(client.url, number, lease={}, remembered=_REMEMBERED) for number in range(2)]
        self.failures: list[str] = []
        self.restarts = 0
        self.acts = 0
        self.lost = 0
        self.hits: dict[str, int] = {}

    def run(self, seconds: float, leak: Callable[[], None]) -> list[dict[str, float]]:
        """Samples of what is held: thirty, or one a minute if that makes more."""
        self._storm.prepare()
        for operator in self._operators:
            operator.start()
        self._storm.begin()
        interval = max(_SHORTEST, min(60.0, seconds / 30))
        began = time.monotonic()
        due, restart = interval, _RESTART
        samples: list[dict[str, float]] = []
        while len(samples) < seconds / interval:
            self._storm.act()
            self.acts += 1
            leak()
            if time.monotonic() - began >= due:
                due += interval
                samples.append(self._sample())
                _print(time.monotonic() - began, samples[-1], resident(self._server))
            if time.monotonic() - began >= restart:
                restart += _RESTART
                self._restart_a_standby()
            time.sleep(_ACT)
        return samples

    def _restart_a_standby(self) -> None:
        """The leader shall live as long as it can: what it leaks would end with it."""
        for operator in self._operators:
            if not operator.leads:
                operator.restart()
                self.restarts += 1
                return

    def converge(self) -> list[str]:
        """End the storm; what is still wrong when there was time enough."""
        self.hits = self._storm.hits()
        self._storm.end()
        ends = time.monotonic() + _CONVERGE
        found: list[str] = ["never looked"]
        while found and time.monotonic() < ends:
            time.sleep(0.5)
            try:
                found = differences(self._client)
            except ClientError as error:
                found = [str(error)]
        for operator in self._operators:
            operator.restart()
        for operator in self._operators:
            operator.end()
            self.lost += operator.lost_leases
            self.failures += [f"a manager ended with {error!r}" for error in operator.failures]
        return found

    def _sample(self) -> dict[str, float]:
        return gauges([operator.manager for operator in self._operators])


def _names(samples: Sequence[Mapping[str, float]]) -> set[str]:
    """A gauge that is missing somewhere is 0 there."""
    return {name for sample in samples for name in sample}


def judge(name: str, values: Sequence[float]) -> str:
    """Why this gauge is not flat; empty if it is.

    Its growth is the median of the slopes between all pairs of the last two thirds of the samples (Theil and Sen), so
    that a few samples that fell into a bad moment decide nothing.
    """
    tail = list(enumerate(values))[len(values) // 3 :]
    if len(tail) < 2:
        return ""
    slope = statistics.median((b - a) / (j - i) for (i, a), (j, b) in combinations(tail, 2))
    grown = slope * (len(tail) - 1)
    share, least = (_SHARE.get(name, 0.0), _LEAST[name]) if name in _LEAST else _OF_CONTAINERS
    allowed = max(least, share * statistics.median(value for _, value in tail))
    if grown <= allowed:
        return ""
    return f"{name} grew by {grown:,.1f} over the last {len(tail)} samples, {allowed:,.1f} are allowed"


def _print(passed: float, sample: Mapping[str, float], server: int) -> None:
    shown = ", ".join(f"{name} {sample[name]:,.1f}".removesuffix(".0") for name in _SHOWN)
    kept = sum(value for name, value in sample.items() if name not in _SHOWN)
    print(f"{passed / 60:6.1f} min: {shown}, entries kept {kept:,.0f}; server {server / 2**20:,.0f} MiB", flush=True)


def _report(
    minutes: float, seed: int, samples: Sequence[Mapping[str, float]], soak: Soak, problems: Sequence[str]
) -> str:
    tail = samples[len(samples) // 3 :]
    rows = [
        f"| {name} | {samples[0].get(name, 0):,.1f} | {tail[0].get(name, 0):,.1f} | {samples[-1].get(name, 0):,.1f} "
        f"| {max(sample.get(name, 0) for sample in samples):,.1f} |"
        for name in [*_SHOWN, *sorted(_names(samples) - set(_SHOWN))]
        if len({sample.get(name, 0) for sample in samples}) > 1
    ]
    verdict = "flat" if not problems else "NOT FLAT\n\n" + "\n".join(f"- {problem}" for problem in problems)
    done = (
        f"{sum(soak.hits.values()):,} faults struck, {soak.restarts} restarts of a standby, {soak.lost} lost leases, "
        f"{soak.acts:,} changes by users and vandals"
    )
    return (
        f"# Soak\n\n{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {minutes:g} minutes, seed {seed}, {done}: **{verdict}**\n\n"
        "| held, where it changed | first | after a third | last | most |\n| --- | --: | --: | --: | --: |\n"
        + "\n".join(rows)
        + "\n"
    )


@contextmanager
def _server() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """The process of the server, and a kubeconfig for it."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        kubeconfig = Path(folder) / "kubeconfig"
        command = [sys.executable, "-m", "runtime.testing", "--port", "0", "--kubeconfig", str(kubeconfig)]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            try:
                assert process.stdout is not None
                if not process.stdout.readline():
                    raise SystemExit("the server did not start")
                yield process, kubeconfig
            finally:
                process.terminate()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="of storm (default: %(default)g)")
    parser.add_argument("--seed", type=int, help="of the faults and of what people do (default: a new one)")
    parser.add_argument("--report", type=Path, default=ROOT / "build" / "soak.md", help="default: %(default)s")
    parser.add_argument("--leak", type=int, default=0, metavar="BYTES", help="keep so much at each act: it must fail")
    return parser


if __name__ == "__main__":
    sys.exit(main())
