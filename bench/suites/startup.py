"""From spawning the operator to its first status update."""

from __future__ import annotations

from bench.checks import Check
from bench.figures import figure
from bench.report import Table
from bench.rounds import Command, Session
from bench.suites import Outcome


def startup(session: Session) -> Outcome:
    measured = session.measure("startup", {"operator": Command(("bench.startup",))})["operator"]
    wall = figure(measured, lambda result: result["wall"])
    row = [(wall, None), (figure(measured, lambda result: result["cpu"]), None)]
    table = Table(
        "The operator, from spawn to its first status update",
        ["s wall", "s CPU of the operator"],
        {"python -m cmd.controller": row},
        "One XlineCluster exists on a FakeAPIServer in another process; the status is seen by a watch.",
    )
    return Outcome([table], [Check("spawn of an operator to its first status update", "s wall", wall, 0.5)])
