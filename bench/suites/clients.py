"""How the suites run clients against the replay server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.adapters import PEERS
from bench.figures import Reading, figure, ratio
from bench.meter import Measure
from bench.report import Cell
from bench.rounds import Command, Measurements, Replay


@dataclass(frozen=True)
class Workload:
    """What a client goes through."""

    kind: str
    objects: int
    events: int = 0
    rate: float = 0.0
    relist: bool = False
    measure: Measure = "cpu"

    def command(self, peer: str, server: Replay, *, rounds: int | None = None) -> Command:
        """:param rounds: at most so many."""
        arguments = ["bench.client", peer, "--url", server.url, "--kind", self.kind, "--measure", self.measure]
        arguments += ["--objects", str(self.objects), "--events", str(self.events), "--rate", str(self.rate)]
        state = "events" if self.events else "initial"
        if self.relist and PEERS[peer].relists:
            arguments.append("--relist")
            state = "relist"
        verify = server.verify(state)
        return Command(arguments, verify=verify) if rounds is None else Command(arguments, rounds, verify)


def side_by_side(
    measured: Measurements, peers: Iterable[str], readings: Sequence[Reading | None], *, base: str
) -> dict[str, list[Cell]]:
    """The rows of a table: each figure, and its ratio to that of ``base``."""
    return {
        PEERS[peer].title: [
            (figure(measured[peer], reading), None if peer == base else ratio(measured[peer], measured[base], reading))
            if reading is not None and _has(measured, peer, reading)
            else (None, None)
            for reading in readings
        ]
        for peer in peers
    }


def _has(measured: Measurements, peer: str, reading: Reading) -> bool:
    """Not every peer goes through every phase."""
    try:
        for result in measured[peer].values():
            reading(result)
    except KeyError:
        return False
    return True
