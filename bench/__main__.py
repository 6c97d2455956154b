"""``python -m bench``: measure, print, write bench/RESULTS.md."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.checks import Check, checks_table
from bench.profiles import PROFILES, write_profile
from bench.report import Table, machine
from bench.rounds import ROOT, MeasurementFailed, Session
from bench.suites import Suite
from bench.suites.apiserver import apiserver
from bench.suites.ingest import ingest
from bench.suites.latency import latency
from bench.suites.memory import memory
from bench.suites.metrics import metrics
from bench.suites.orleans import orleans
from bench.suites.queue import queue
from bench.suites.read import read
from bench.suites.reconcile import reconcile
from bench.suites.startup import startup

SUITES: dict[str, Suite] = {
    "ingest": ingest,
    "memory": memory,
    "latency": latency,
    "queue": queue,
    "read": read,
    "reconcile": reconcile,
    "startup": startup,
    "metrics": metrics,
    "apiserver": apiserver,
    "orleans": orleans,
}
_RESULTS = ROOT / "bench" / "RESULTS.md"
_INTRODUCTION = """# Results

Written by `make bench`; do not edit. How to read it: [docs/benchmarks.md](../docs/benchmarks.md). CPU time and resident
memory of the client's process, medians of up to {rounds} interleaved rounds; every measurement is a process of its own,
and what each cache holds at the end is compared with what was sent. Compare ratios: another machine has other figures.
"""
_SCALED = (
    "\n\n**All sizes were multiplied by {scale:g}: what a process costs by itself weighs more, and the verdicts less.**"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 1 if something could not be measured, or with ``--strict`` if a row is not met."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.profile:
        print(write_profile(options.profile, options.output or ROOT / "bench" / "profiles"))
        return 0
    session = Session(
        rounds=options.rounds or (1 if options.quick else 5),
        scale=options.scale or (0.05 if options.quick else 1.0),
        progress=_progress(time.monotonic()),
    )
    started, load = datetime.now(UTC), os.getloadavg()[0]
    tables: list[Table] = []
    checks: list[Check] = []
    for name in options.suite or SUITES:
        try:
            outcome = SUITES[name](session)
        except MeasurementFailed as error:
            session.failures.append(f"{name}: {error}")
            continue
        tables += outcome.tables
        checks += outcome.checks
    text = _text(session, machine(started, load), tables, checks)
    print(text)
    whole = not (options.suite or options.quick or options.scale)
    output = options.output or (_RESULTS if whole else None)
    if output:
        output.write_text(text)
        print(f"written to {output}", file=sys.stderr)
    return exit_status(session.failures, checks, strict=options.strict)


def exit_status(failures: Sequence[str], checks: Sequence[Check], *, strict: bool) -> int:
    return 1 if failures or (strict and not all(check.met for check in checks)) else 0


def _progress(began: float) -> Callable[[str], None]:
    def progress(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {text}", file=sys.stderr, flush=True)

    return progress


def _text(session: Session, where: str, tables: Sequence[Table], checks: Sequence[Check]) -> str:
    met = sum(check.met for check in checks)
    parts = [
        _INTRODUCTION.format(rounds=session.rounds),
        where + (_SCALED.format(scale=session.scale) if session.scale != 1 else "") + "\n",
        f"## What it must reach: {met} of {len(checks)} met\n",
        checks_table(checks),
        "## Side by side\n",
        *(table.markdown() for table in tables),
    ]
    if session.failures:
        parts += ["## Could not be measured\n", *(f"- {failure}\n" for failure in session.failures)]
    return "\n".join(parts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Speed beside named peers, in one run, and whether what was asked for is reached.",
        epilog="Exit status: 0, 1 if something could not be measured (or, with --strict, a row is not met), 2 for "
        "wrong usage. A whole run takes about ten minutes and wants a machine that does nothing else.",
    )
    parser.add_argument("--suite", action="append", choices=SUITES, help="only this part; may be given several times")
    parser.add_argument("--rounds", type=_positive, help="how often each peer is measured (default: 5, slow ones less)")
    parser.add_argument("--quick", action="store_true", help="a twentieth of the work, once: does it run at all?")
    parser.add_argument("--scale", type=float, help="factor for the numbers of objects, events and operations")
    parser.add_argument("--strict", action="store_true", help="fail if a row is not met")
    parser.add_argument(
        "--output",
        type=Path,
        help="file to write (default: bench/RESULTS.md, and none for a part); with --profile the folder "
        "(default: bench/profiles)",
    )
    parser.add_argument(
        "--profile", choices=PROFILES, help="measure nothing, but write where our own code spends its time"
    )
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
