"""Resident memory per cached object, at the peak and after it, and the pause of a full garbage collection."""

from __future__ import annotations

from bench.checks import Check
from bench.figures import Reading, Result, figure
from bench.report import Table
from bench.rounds import Measurements, Session, replay_server
from bench.suites import Outcome
from bench.suites.clients import Workload, side_by_side

_OVERHEAD = 900.0  # bytes
_PEAK = 1.25
_PAUSE = 50.0  # ms


def memory(session: Session) -> Outcome:
    parts = [
        _caches(session, "silo", session.size(10_000), "custom resource", {"informer": 2, "watch": 1}, rounds=3),
        _caches(session, "silo", session.size(50_000), "custom resource", {"informer": 1}, rounds=3),
        _caches(session, "pod", session.size(5_000), "pod", {"informer": 1}, rounds=3),
        _garbage_collection(session),
    ]
    return Outcome([t for part in parts for t in part.tables], [c for part in parts for c in part.checks])


def _caches(session: Session, kind: str, objects: int, name: str, official: dict[str, int], *, rounds: int) -> Outcome:
    """:param official: peers whose memory hardly varies -> rounds."""
    work = Workload(kind, objects, relist=True, measure="memory")
    with replay_server(kind, objects, relist=True) as server:
        commands = {peer: work.command(peer, server, rounds=times) for peer, times in official.items()}
        commands |= {peer: work.command(peer, server, rounds=rounds) for peer in ("ours", "list", "floor")}
        measured = session.measure(f"memory of {objects:,} {name}s", commands)
    readings: list[Reading] = [
        lambda result: _per_object(result, objects),
        lambda result: _per_object(result, objects) - server.json_bytes,
        lambda result: result["sync_rss"] / 2**20,
        _sync_peak,
        _relist_peak,
        lambda result: result["relist_rss"] / 2**20,
        lambda result: result["gc_pause"] * 1e3,
    ]
    columns = [
        "B/object",
        "above its JSON, B",
        "MiB after sync",
        "sync peak / after",
        "relist peak / after",
        "MiB after relist",
        "gc, ms",
    ]
    table = Table(
        f"Memory: {objects:,} {name}s of {server.json_bytes:,.0f} B of JSON",
        columns,
        side_by_side(measured, measured, readings, base="informer"),
        "Resident bytes of the process above those before the client started, for the peaks (VmHWM) too. A relist "
        "finds 5 % changed. The work queue is empty, garbage is collected, freed memory is given back.",
    )
    ours, listing = measured["ours"], measured["list"]
    what = f"{name}, {objects:,}"
    return Outcome(
        [table],
        [
            Check(f"memory, {what}", "B above its JSON", figure(ours, readings[1]), _OVERHEAD),
            Check(f"peak of initial sync, {what}", "x the memory after", figure(ours, _sync_peak), _PEAK),
            Check(f"peak of a relist, {what}", "x the memory after", figure(ours, _relist_peak), _PEAK),
            Check(f"peak of initial sync by a list, {what}", "x the memory after", figure(listing, _sync_peak), _PEAK),
            Check(f"peak of a relist by a list, {what}", "x the memory after", figure(listing, _relist_peak), _PEAK),
        ],
    )


def _garbage_collection(session: Session) -> Outcome:
    objects = session.size(100_000)
    work = Workload("item", objects, measure="memory")
    with replay_server("item", objects) as server:
        peers = {"informer": 1, "ours": 3, "floor": 1}
        commands = {peer: work.command(peer, server, rounds=rounds) for peer, rounds in peers.items()}
        measured = session.measure(f"garbage collection with {objects:,} objects", commands)
    return Outcome(
        [_pauses(measured, objects)],
        [Check(f"full garbage collection, {objects:,} objects cached", "ms", figure(measured["ours"], _pause), _PAUSE)],
    )


def _pauses(measured: Measurements, objects: int) -> Table:
    return Table(
        f"A full garbage collection with {objects:,} small objects cached",
        ["ms"],
        side_by_side(measured, measured, [_pause], base="informer"),
        "Wall time of gc.collect() in the process of the client, which stops everything.",
    )


def _per_object(result: Result, objects: int) -> float:
    return (result["sync_rss"] - result["start_rss"]) / objects


def _sync_peak(result: Result) -> float:
    return _peak(result, "sync")


def _relist_peak(result: Result) -> float:
    return _peak(result, "relist")


def _peak(result: Result, phase: str) -> float:
    """Without what the interpreter takes, beside which a small cache's peak would not show."""
    start = result["start_rss"]
    return (result[f"{phase}_peak"] - start) / (result[f"{phase}_rss"] - start)


def _pause(result: Result) -> float:
    return result["gc_pause"] * 1e3
