"""What a reconcile costs that writes one status."""

from __future__ import annotations

from bench.checks import Check
from bench.figures import Result, figure, ratio
from bench.reconcilers import PEERS
from bench.report import Table
from bench.rounds import Command, MeasurementFailed, Session
from bench.suites import Outcome

_LIMIT = 0.55  # ms
_OBJECTS = 600
_RATE = 100  # changes per second
_BASE = "official"


def reconcile(session: Session) -> Outcome:
    objects = session.size(_OBJECTS)
    tables: list[Table] = []
    checks: list[Check] = []
    for rate, how in ((0, "as fast as the server goes"), (_RATE, f"at {_RATE} changes per second")):
        commands = {
            peer: Command(
                ("bench.reconciles", peer, "--objects", str(objects), "--rate", str(rate)),
                rounds=3,
                verify=lambda result: _verify(result, objects),
            )
            for peer in PEERS
        }
        measured = session.measure(f"reconcile, {how}", commands)
        rows = {
            PEERS[peer].title: [
                (figure(found, _cost), None if peer == _BASE else ratio(found, measured[_BASE], _cost)),
                (figure(found, _writes), None),
                (figure(found, _requests), None),
            ]
            for peer, found in measured.items()
        }
        tables.append(
            Table(
                f"A reconcile that writes one status, {how}",
                ["ms CPU per object", "status writes per object", "requests per object"],
                rows,
                "From the change of an object to the event of the written status, and the reconcile that finds nothing "
                "more to do. One worker; the server is a FakeAPIServer in another process.",
            )
        )
        if not rate:
            reached = figure(measured["ours"], _cost)
            checks.append(Check("reconcile that writes one status", "ms CPU", reached, _LIMIT))
    return Outcome(tables, checks)


def _verify(result: Result, objects: int) -> None:
    """The process itself compares its cache with the server's objects, and fails."""
    held, writes = result["held"], result["writes"]
    if held != objects or writes < objects:
        raise MeasurementFailed(f"{writes} writes for {objects} objects, of which the cache holds {held}")


def _cost(result: Result) -> float:
    return result["cpu"] / result["held"] * 1e3


def _writes(result: Result) -> float:
    return result["writes"] / result["held"]


def _requests(result: Result) -> float:
    return result["requests"] / result["held"]
