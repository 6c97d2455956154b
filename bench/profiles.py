"""Profiles of our own side of the workloads, for rows that are not met."""

from __future__ import annotations

from pathlib import Path

from bench.rounds import Command, Replay, replay_server, run_process

PROFILES = ("ingest", "events", "pods", "queue", "threads", "reconcile")
_PROFILED = {
    # kind, objects, events
    "ingest": ("silo", 50_000, 0),
    "events": ("silo", 10_000, 100_000),
    "pods": ("pod", 10_000, 0),
}
_SHAPES = {"queue": "one-thread", "threads": "eight-threads"}


def write_profile(name: str, folder: Path) -> str:
    """Run the workload under the sampling profiler.

    :returns: what was written.
    """
    path = folder / f"{name}.txt"
    if name in _SHAPES:
        shape = ("bench.queues", "Queue", _SHAPES[name], "--operations", "500000", "--profile", str(path))
        run_process(Command(shape))
    elif name == "reconcile":
        run_process(Command(("bench.reconciles", "ours", "--objects", "2000", "--profile", str(path))))
    else:
        kind, objects, events = _PROFILED[name]
        with replay_server(kind, objects, events) as server:
            run_process(_ingest(server, kind, objects, events, path))
    return path.read_text() + f"\nwritten to {path}"


def _ingest(server: Replay, kind: str, objects: int, events: int, path: Path) -> Command:
    arguments = ["bench.client", "ours", "--url", server.url, "--kind", kind, "--objects", str(objects)]
    arguments += ["--events", str(events), "--profile", str(path)]
    return Command(arguments, verify=server.verify("events" if events else "initial"))
