"""Time from the server's sending of an event to its handler."""

from __future__ import annotations

from collections.abc import Sequence

from bench.checks import Check
from bench.figures import Reading, figure
from bench.report import Table
from bench.rounds import Measurements, Session, replay_server
from bench.suites import Outcome
from bench.suites.clients import Workload, side_by_side

_LIMIT = 0.20  # ms
_OBJECTS = 1_000


def latency(session: Session) -> Outcome:
    slow = _at_rate(session, 200, session.size(1_000), ("informer", "kopf", "ours", "floor"))
    fast = _at_rate(session, 5_000, session.size(10_000), ("informer", "ours", "floor"))
    reached = figure(slow["ours"], _quantile("p50"))
    return Outcome(
        [_table(200, slow), _table(5_000, fast)],
        [Check("event to handler at 200 events/s", "ms, median", reached, _LIMIT)],
    )


def _at_rate(session: Session, rate: int, events: int, peers: Sequence[str]) -> Measurements:
    objects = session.size(_OBJECTS)
    work = Workload("silo", objects, events, rate, measure="latency")
    with replay_server("silo", objects, events) as server:
        commands = {peer: work.command(peer, server, rounds=3) for peer in peers}
        return session.measure(f"latency at {rate:,} events/s", commands)


def _table(rate: int, measured: Measurements) -> Table:
    readings: list[Reading] = [_quantile(name) for name in ("p50", "p90", "p99", "max")]
    return Table(
        f"Event to handler at {rate:,} events per second",
        ["median, ms", "90 %, ms", "99 %, ms", "longest, ms"],
        side_by_side(measured, measured, readings, base="informer"),
        "From the time the server stamped into the event just before sending it, to the call of the handler.",
    )


def _quantile(name: str) -> Reading:
    return lambda result: result[name] * 1e3
