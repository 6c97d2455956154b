"""Operations on the membership table of an Orleans cluster of 1,000 silos."""

from __future__ import annotations

from bench.checks import Check
from bench.figures import Figure, Reading, figure, ratio
from bench.membership import PEERS
from bench.memberships import THREADS
from bench.report import Table
from bench.rounds import Command, Measurements, Session
from bench.suites import Outcome

_BASE = "official"
_OURS = ("ours", "cached")
_PERIOD = 30  # seconds in which every silo has to give a sign of life
_OPERATIONS = {
    "alive": f"sign of life, {THREADS} threads",
    "row": "read one row",
    "all": "read all rows",
    "gateways": "list the gateways",
}
# Our lists travel compressed, and a table is one of a single moment whose etags outlive signs of life: that may cost
# CPU time, which nobody has to spend more than once a minute.
_LIMITS = {"alive": 0.75, "row": 1.0, "all": 1.5, "gateways": 1.5}


def orleans(session: Session) -> Outcome:
    silos = session.size(1_000)
    commands = {peer: Command(("bench.memberships", peer, "--silos", str(silos)), rounds=3) for peer in (_BASE, *_OURS)}
    measured = session.measure(f"membership table of {silos:,} silos", commands)
    checks = [
        Check(
            f"Orleans: {what}", "x CPU of the .NET provider's calls", _against_official(measured, name), _LIMITS[name]
        )
        for name, what in _OPERATIONS.items()
    ]
    checks.append(
        Check(
            "Orleans: a sign of life of each of 1,000 silos",
            f"s, of the {_PERIOD} that it may take",
            figure(measured["ours"], lambda result: result["alive_wall"] * 1_000),
            _PERIOD,
        )
    )
    return Outcome([_table(silos, name, what, measured) for name, what in _OPERATIONS.items()], checks)


def _against_official(measured: Measurements, name: str) -> Figure | None:
    return ratio(measured["ours"], measured[_BASE], lambda result: result[f"{name}_cpu"])


def _table(silos: int, name: str, what: str, measured: Measurements) -> Table:
    columns: dict[str, Reading] = {
        "ms CPU per call": lambda result: result[f"{name}_cpu"] * 1e3,
        "calls per second": lambda result: 1 / result[f"{name}_wall"],
        "requests per call": lambda result: result[f"{name}_requests"],
    }
    rows = {
        PEERS[peer].title: [
            (figure(rounds, reading), ratio(rounds, measured[_BASE], reading) if not index and peer != _BASE else None)
            for index, reading in enumerate(columns.values())
        ]
        for peer, rounds in measured.items()
        if peer != "cached" or name == "gateways"
    }
    note = (
        f"A table of {silos:,} silos on a FakeAPIServer in another process, which sets the calls per second. The other "
        "client does what the .NET provider does: no snapshot of version and rows, no etags that outlive signs of life."
    )
    return Table(f"Orleans membership: {what}", list(columns), rows, note)
