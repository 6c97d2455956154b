"""CPU time of reading a cache."""

from __future__ import annotations

from bench.checks import Check
from bench.figures import Figure, Reading, figure, ratio
from bench.report import Table
from bench.rounds import Command, Measurements, Session
from bench.suites import Outcome

_BASE = "deepcopy"
_TITLES = {
    "deepcopy": "dict of dicts, copy.deepcopy",
    "informer": "kubernetes.informer's cache, copy.deepcopy",
    "ours": "runtime.informer",
}


def read(session: Session) -> Outcome:
    silos = _measure(session, "silo", session.size(10_000, 200), ("deepcopy", "informer", "ours"))
    pods = _measure(session, "pod", session.size(1_000, 200), ("deepcopy", "ours"))
    return Outcome(
        [_table("custom resources of 1.3 KB", silos), _table("pods of 7 KB", pods)],
        [
            Check(f"reading one object, {name}", "x copy.deepcopy of its dict", _against_deepcopy(measured), 0.25)
            for name, measured in (("custom resource", silos), ("pod", pods))
        ],
    )


def _measure(session: Session, kind: str, objects: int, ways: tuple[str, ...]) -> Measurements:
    commands = {way: Command(("bench.reads", way, "--kind", kind, "--objects", str(objects)), rounds=3) for way in ways}
    return session.measure(f"reading {objects:,} {kind}s", commands)


def _against_deepcopy(measured: Measurements) -> Figure | None:
    return ratio(measured["ours"], measured[_BASE], _micro("copy_of_one"))


def _table(what: str, measured: Measurements) -> Table:
    columns = {
        "a copy of one, µs": _micro("copy_of_one"),
        "a name of one, µs": _micro("name_of_one"),
        "copies of all, µs/object": _micro("copy_of_all"),
        "index query, µs": _micro("by_index"),
        "label selector, µs": _micro("by_selector"),
    }
    rows = {
        _TITLES[way]: [
            (figure(rounds, reading), None if way == _BASE else ratio(rounds, measured[_BASE], reading))
            for reading in columns.values()
        ]
        for way, rounds in measured.items()
    }
    note = "A copy is the reader's own, to change. A dict has no index: a query looks at every object, as by selector."
    return Table(f"Reading a cache of {what}", list(columns), rows, note)


def _micro(name: str) -> Reading:
    return lambda result: result[name] * 1e6
