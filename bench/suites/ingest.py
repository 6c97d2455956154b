"""CPU time of the initial sync and of watch events, up to a key in a work queue."""

from __future__ import annotations

from collections.abc import Mapping

from bench.checks import Check
from bench.figures import Reading, ratio
from bench.report import Table
from bench.rounds import Command, Measurements, Replay, Session, replay_server
from bench.suites import Outcome
from bench.suites.clients import Workload, side_by_side

_ALL = ("informer", "watch", "ours", "list", "floor")
_NOTE = "CPU time, in brackets the ratio to the first row. Each handler adds the key to the same work queue."


def ingest(session: Session) -> Outcome:
    """All three workloads, and kopf on its own."""
    parts = [_silos(session), _many_silos(session), _pods(session), _against_kopf(session)]
    return Outcome([t for part in parts for t in part.tables], [c for part in parts for c in part.checks])


def _silos(session: Session) -> Outcome:
    objects, events = session.size(10_000), session.size(100_000)
    work = Workload("silo", objects, events)
    with replay_server("silo", objects, events) as server:
        commands = {peer: work.command(peer, server, rounds=_fewer(peer)) for peer in _ALL}
        measured = session.measure("sync and events", commands)
    sync, event = _per_object(objects), _per_event(events)
    table = _table(f"{objects:,} custom resources of 1.3 KB, then {events:,} watch events", measured, work)
    checks = _limits(f"initial sync, custom resource, {objects:,}", measured, sync, floor=2.0, informer=0.50)
    checks += _limits("watch event up to an enqueued key", measured, event, floor=2.0, informer=0.18)
    return Outcome([table], checks)


def _many_silos(session: Session) -> Outcome:
    objects = session.size(50_000)
    work = Workload("silo", objects)
    with replay_server("silo", objects) as server:
        commands = {peer: work.command(peer, server, rounds=_fewer(peer)) for peer in _ALL}
        measured = session.measure("sync of many", commands)
    table = _table(f"{objects:,} custom resources of 1.3 KB", measured, work)
    sync = _per_object(objects)
    return Outcome(
        [table], _limits(f"initial sync, custom resource, {objects:,}", measured, sync, floor=2.0, informer=0.50)
    )


def _pods(session: Session) -> Outcome:
    objects = session.size(5_000)
    work = Workload("pod", objects)
    with replay_server("pod", objects) as server:
        commands = {
            "informer": work.command("informer", server, rounds=2),  # 2 ms for each pod
            "watch": work.command("watch", server, rounds=1),
            "ours": work.command("ours", server),
            "floor": work.command("floor", server),
        }
        measured = session.measure("sync of pods", commands)
    table = _table(f"{objects:,} pods of 7 KB", measured, work)
    sync = _per_object(objects)
    return Outcome([table], _limits(f"initial sync, pod, {objects:,}", measured, sync, floor=1.6, informer=0.03))


def _against_kopf(session: Session) -> Outcome:
    objects, events = session.size(1_000), session.size(2_000)
    work = Workload("silo", objects, events)
    with replay_server("silo", objects, events) as server:
        measured = session.measure("kopf's smaller share", _few(work, server))
    rows = side_by_side(measured, measured, [_per_object(objects), _per_event(events)], base="informer")
    note = "A smaller share of the same work, for kopf needs milliseconds for each object. It merges some events."
    title = f"The same, {objects:,} custom resources and {events:,} events, beside kopf"
    return Outcome([Table(title, ["sync, µs/object", "event, µs"], rows, note)], [])


def _few(work: Workload, server: Replay) -> Mapping[str, Command]:
    return {peer: work.command(peer, server, rounds=3) for peer in ("informer", "kopf", "ours", "floor")}


def _fewer(peer: str) -> int | None:
    """Peers that no limit is taken from."""
    return 2 if peer in ("watch", "list") else None


def _table(title: str, measured: Measurements, work: Workload) -> Table:
    readings: list[Reading] = [_per_object(work.objects)]
    columns = ["sync, µs/object"]
    if work.events:
        readings.append(_per_event(work.events))
        columns.append("event, µs")
    readings.append(lambda result: result["sync_wall"])
    columns.append("sync, s wall")
    return Table(title, columns, side_by_side(measured, measured, readings, base="informer"), _NOTE)


def _limits(work: str, measured: Measurements, reading: Reading, *, floor: float, informer: float) -> list[Check]:
    ours = measured["ours"]
    return [
        Check(work, "x the lazy floor", ratio(ours, measured["floor"], reading), floor),
        Check(work, "x the official informer", ratio(ours, measured["informer"], reading), informer),
    ]


def _per_object(objects: int) -> Reading:
    return lambda result: result["sync_cpu"] / objects * 1e6


def _per_event(events: int) -> Reading:
    return lambda result: result["events_cpu"] / events * 1e6
