"""``python -m bench``: measure, print, write bench/RESULTS.md."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.report import machine
from bench.rounds import MeasurementFailed
from bench.suites import SUITES, Sizes

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"
_INTRODUCTION = """# Results

Written by `make bench`; do not edit. CPU time and resident memory, medians of {rounds} interleaved rounds, every
measurement in its own process. In brackets: the ratio to the first row, which is the peer. Compare ratios; another
machine has other figures.
"""


def main() -> int:
    parser = _parser()
    options = parser.parse_args()
    if unknown := [name for name in options.suites if name not in SUITES]:
        parser.error(f"unknown suite {unknown[0]!r}: there are {', '.join(SUITES)}")
    sizes = Sizes(options.rounds, options.objects, options.events, options.operations)
    started, began = datetime.now(UTC), time.monotonic()

    def progress(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {text}", file=sys.stderr, flush=True)

    try:
        tables = [SUITES[name](sizes, progress) for name in options.suites or SUITES]
    except MeasurementFailed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    text = "\n".join([_INTRODUCTION.format(rounds=sizes.rounds), machine(started), "", *(t.markdown() for t in tables)])
    print("\n" + text)
    if options.output:
        options.output.write_text(text)
        print(f"written to {options.output}", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Speed beside named peers, in one run.")
    parser.add_argument("suites", nargs="*", metavar="suite", help=f"which to run (default: all): {', '.join(SUITES)}")
    parser.add_argument("--rounds", type=int, default=5, help="how often each peer is measured (default: 5)")
    parser.add_argument("--objects", type=int, default=10_000, help="custom resources to sync (default: 10000)")
    parser.add_argument("--events", type=int, default=20_000, help="watch events to take in (default: 20000)")
    parser.add_argument("--operations", type=int, default=200_000, help="queue operations (default: 200000)")
    parser.add_argument(
        "--output", type=_path, default=RESULTS, help="file to write, or - for none (default: bench/RESULTS.md)"
    )
    return parser


def _path(text: str) -> Path | None:
    return None if text == "-" else Path(text)


if __name__ == "__main__":
    sys.exit(main())
