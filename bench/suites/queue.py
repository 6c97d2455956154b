"""CPU time of queue operations."""

from __future__ import annotations

from bench.checks import Check
from bench.figures import Result, figure, ratio
from bench.queues import PEERS
from bench.report import Cell, Table
from bench.rounds import Command, Session
from bench.suites import Outcome

_BASE = "queue.Queue"
_SHAPES = {
    "one-thread": ("one thread, µs", 200_000, 5),
    "eight-threads": ("4 producers + 4 workers, µs", 50_000, 1),
    "rate-limited": ("add_rate_limited until done, µs", 50_000, 1),
}
"""Heading; operations; how often a process does them, of which the cheapest counts. What one thread does is the same
each time, so all that it costs more is the machine's (as :mod:`timeit` has it); threads differ by themselves."""
_LIMITED = ("RateLimitingQueue", "PriorityQueue", "PriorityQueue, named")


def queue(session: Session) -> Outcome:
    rows: dict[str, list[Cell]] = {name: [] for name in PEERS}
    reached = {}
    for shape, (_, full, repeats) in _SHAPES.items():
        operations = str(session.size(full, 100))
        peers = _LIMITED if shape == "rate-limited" else PEERS
        arguments = (shape, "--operations", operations, "--repeats", str(repeats))
        commands = {name: Command(("bench.queues", name, *arguments)) for name in peers}
        measured = session.measure(f"queue, {shape}", commands)
        for name, row in rows.items():
            has_base = name in measured and name != _BASE and _BASE in measured
            row.append(
                (
                    figure(measured[name], _cost) if name in measured else None,
                    ratio(measured[name], measured[_BASE], _cost) if has_base else None,
                )
            )
        if "Queue" in measured:
            reached[shape] = figure(measured["Queue"], _cost)
    table = Table(
        "Work queue: add, get and done of distinct keys",
        [heading for heading, _, _ in _SHAPES.values()],
        rows,
        "queue.Queue neither merges duplicates, nor keeps an item to one worker, nor delays; ours do. Named queues "
        "measure themselves.",
    )
    checks = [
        Check("queue: add+get+done, one thread", "µs CPU", reached["one-thread"], 1.2),
        Check("queue: add+get+done, 4 producers and 4 consumers", "µs CPU", reached["eight-threads"], 4.0),
    ]
    return Outcome([table], checks)


def _cost(result: Result) -> float:
    return result["cpu"] / result["operations"] * 1e6
