"""What recording metrics costs a queue operation and an event."""

from __future__ import annotations

from bench.checks import Check
from bench.counting import PEERS
from bench.figures import Figure, figure, ratio
from bench.report import Cell, Table
from bench.rounds import Command, Session, replay_server
from bench.suites import Outcome
from bench.suites.clients import Workload

_LIMIT = 1.05
_OBJECTS = 10_000


def metrics(session: Session) -> Outcome:
    queues = _queues(session)
    event, gathered, gathering = _events(session)
    rows: dict[str, list[Cell]] = {f"{name}, add+get+done": [(found, None)] for name, found in queues.items()}
    rows["watch event"] = [(event, None)]
    rows["watch event, gathered twice a second"] = [(gathered, None)]
    recording = Table(
        "Recording metrics",
        ["x the same without"],
        rows,
        "Queues: named against unnamed ones, by turns in one process. Events: with the counting that metrics need "
        "against without it, by turns in one process; gathered against not, in two.",
    )
    objects = session.size(_OBJECTS)
    scrape = Table(
        "Gathering an informer's metrics", [f"ms CPU with {objects:,} objects"], {"a scrape": [(gathering, None)]}
    )
    checks = [Check(f"metrics: {name}", "x the same without", found, _LIMIT) for name, found in queues.items()]
    return Outcome([recording, scrape], [*checks, Check("metrics: watch event", "x the same without", event, _LIMIT)])


def _queues(session: Session) -> dict[str, Figure | None]:
    operations = str(session.size(800_000, 1_000))
    commands = {name: Command(("bench.counting", name, "--operations", operations)) for name in PEERS}
    measured = session.measure("metrics of a queue", commands)
    return {name: figure(rounds, lambda result: result["ratio"]) for name, rounds in measured.items()}


def _events(session: Session) -> tuple[Figure | None, Figure | None, Figure | None]:
    """With what is counted against without, gathered against not, and ms of one gathering."""
    objects, events = session.size(_OBJECTS), session.size(100_000, 20_000)
    work = Workload("silo", objects, events)
    with replay_server("silo", objects, events) as server:
        commands = {peer: work.command(peer, server) for peer in ("toggled", "ours", "metrics")}
        measured = session.measure("metrics of an event", commands)
    return (
        figure(measured["toggled"], lambda result: result["counting"]),
        ratio(measured["metrics"], measured["ours"], lambda result: result["events_cpu"]),
        figure(measured["metrics"], lambda result: result["gather"] * 1e3),
    )
