"""The FakeAPIServer: its start, objects made in its process and served to watches, their memory."""

from __future__ import annotations

from bench.checks import Check
from bench.figures import figure
from bench.report import Table
from bench.rounds import Command, Session
from bench.suites import Outcome

_WATCHERS = 20


def apiserver(session: Session) -> Outcome:
    objects = session.size(10_000, 200)
    command = Command(("bench.apiserver", "--objects", str(objects), "--watchers", str(_WATCHERS)))
    measured = session.measure("apiserver", {"FakeAPIServer": command})["FakeAPIServer"]
    imported = figure(measured, lambda result: result["import"] * 1e3)
    start = figure(measured, lambda result: result["start"] * 1e3)
    created = figure(measured, lambda result: result["create"] * 1e6)
    served = figure(measured, lambda result: result["served"] * 1e6)
    memory = figure(measured, lambda result: result["memory"])
    table = Table(
        "FakeAPIServer",
        [
            "import, ms CPU",
            "start to first answer, ms",
            "create() unwatched, µs CPU",
            f"create() served to {_WATCHERS} watches, µs",
            "memory, x the JSON",
        ],
        {f"{objects:,} ConfigMaps of 1.2 KB": [(each, None) for each in (imported, start, created, served, memory)]},
        "Objects go through defaults, validation and managed fields, one after the other. The watches are those of "
        "another process, which checks that each got every object once and in order.",
    )
    checks = [
        Check("FakeAPIServer: start to first answer", "ms", start, 50),
        Check(f"FakeAPIServer: an object made and served to {_WATCHERS} watches", "µs", served, 100),
        Check("FakeAPIServer: memory per object", "x its JSON", memory, 2),
    ]
    return Outcome([table], checks)
