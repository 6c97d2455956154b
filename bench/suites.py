"""What is measured: each suite runs its peers in turn and makes a table."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.queues import PEERS
from bench.report import Table
from bench.rounds import ROOT, MeasurementFailed, Result, median, run_rounds

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    rounds: int
    objects: int
    events: int
    operations: int


def queue_suite(sizes: Sizes, progress: Progress) -> Table:
    """add, get and done of a work queue."""
    shapes = {"one thread": sizes.operations, "eight threads": sizes.operations // 4}
    rows: dict[str, list[float | None]] = {name: [] for name in PEERS}
    for shape, operations in shapes.items():
        commands = {name: ("bench.queues", name, shape, "--operations", str(operations)) for name in PEERS}
        results = run_rounds(commands, sizes.rounds, _prefixed(f"queue, {shape}", progress))
        for name, measured in results.items():
            rows[name].append(median(measured, _cpu_per_operation))
    command = ("bench.queues", "RateLimitingQueue", "rate limited", "--operations", str(sizes.operations // 4))
    limited = run_rounds({"RateLimitingQueue": command}, sizes.rounds, _prefixed("queue, limited", progress))
    for name, row in rows.items():
        row.append(median(limited[name], _cpu_per_operation) if name in limited else None)
    columns = ["one thread, µs CPU", "4 producers + 4 workers, µs CPU", "rate-limited add until done, µs CPU"]
    return Table(
        title=f"Work queue: add + get + done, {sizes.operations:,} distinct keys",
        columns=columns,
        base="queue.Queue",
        rows=dict(rows),
        note="queue.Queue neither merges duplicates, nor keeps an item to one worker, nor delays; ours do.",
    )


ADAPTERS = {
    "kubernetes.informer (official)": "bench.adapters.official_informer",
    "kubernetes.watch (official, list + watch into a dict)": "bench.adapters.official_watch",
    "runtime.informer": "bench.adapters.ours",
    "lazy floor (raw socket, no features)": "bench.adapters.floor",
}


def ingest_suite(sizes: Sizes, progress: Progress) -> Table:
    """Initial sync, and watch events up to an enqueued key."""
    with replay_server(sizes.objects, sizes.events) as (url, expected):

        def fresh(text: str) -> None:
            progress(f"ingest: {text}")
            _get(f"{url}/_bench/reset")

        arguments = ("--url", url, "--objects", str(sizes.objects), "--events", str(sizes.events))
        commands = {name: (module, *arguments) for name, module in ADAPTERS.items()}
        results = run_rounds(commands, sizes.rounds, fresh)
    for name, measured in results.items():
        for result in measured:
            _check(name, result, expected)
    columns = ["sync, µs CPU/object", "event, µs CPU", "sync, s wall", "RSS, B/object", "peak RSS, MiB"]
    table = Table(
        title=f"Informer: {sizes.objects:,} custom resources of 1.3 KB, then {sizes.events:,} watch events",
        columns=columns,
        base="kubernetes.informer (official)",
        note="Every handler adds the key to the same work queue. What each cache holds at the end was checked.",
    )
    for name, measured in results.items():
        table.rows[name] = [
            median(measured, lambda r: r["sync_cpu"] / sizes.objects * 1e6),
            median(measured, lambda r: r["events_cpu"] / sizes.events * 1e6),
            median(measured, lambda r: r["sync_wall"]),
            median(measured, lambda r: (r["rss_synced"] - r["rss_before"]) / sizes.objects),
            median(measured, lambda r: r["rss_peak"] / 2**20),
        ]
    return table


SUITES: dict[str, Callable[[Sizes, Progress], Table]] = {"queue": queue_suite, "ingest": ingest_suite}


@contextmanager
def replay_server(objects: int, events: int) -> Iterator[tuple[str, Result]]:
    """The server's URL, and what a cache holds when it has seen everything."""
    command = [sys.executable, "-m", "bench.replay", "--objects", str(objects), "--events", str(events)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                raise MeasurementFailed("the replay server did not start")
            yield url, _get(f"{url}/_bench/expect")
        finally:
            process.kill()


def _get(url: str) -> Result:
    with urllib.request.urlopen(url, timeout=60) as answer:
        value: Result = json.load(answer)
    return value


def _check(name: str, result: Result, expected: Result) -> None:
    held = (result["cached"], result["resource_versions"])
    if held != (expected["final_objects"], expected["resource_versions"]):
        raise MeasurementFailed(f"{name}: the cache holds {held[0]:.0f} objects, not what was sent: {expected}")


def _prefixed(prefix: str, progress: Progress) -> Progress:
    return lambda text: progress(f"{prefix}: {text}")


def _cpu_per_operation(result: Result) -> float:
    return result["cpu"] / result["operations"] * 1e6
