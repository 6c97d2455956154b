"""A reconciler under load with every kind of fault on converges once the faults stop, and then writes nothing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator

import pytest

from runtime.client import Client, ClientError
from runtime.testing import FakeAPIServer
from runtime.testing.apiserver.audit import AuditEntry
from tests.support.chaos.garden import BEDS, GARDENS, KEYS, NAMESPACE
from tests.support.chaos.operators import SHORT_LEASE, USER_AGENT, Operator
from tests.support.chaos.storm import Storm
from tests.support.chaos.verdict import differences
from tests.support.waiting import eventually

_ELECTING = 4  # each so-many-th seed has a second replica, and an election between them
_RESTARTING = 3  # and in each so-many-th the operators are restarted in the middle of it
_LONGEST_STORM = 45.0
_QUIET = 0.4  # seconds without a write


@contextlib.contextmanager
def running(operators: list[Operator]) -> Iterator[None]:
    for operator in operators:
        operator.start()
    try:
        yield
    finally:
        for operator in operators:
            operator.restart()
        for operator in operators:
            operator.end()


def converges(seed: int, seconds: float, *, every_fault: bool) -> None:
    with FakeAPIServer(garbage_collection_delay=0.05, bookmark_interval=0.5) as server, server.client() as client:
        storm = Storm(client, seed)
        storm.prepare()
        replicas, lease = (2, SHORT_LEASE) if seed % _ELECTING == 1 else (1, None)
        operators = [Operator(server.url, number, lease) for number in range(replicas)]
        with running(operators):
            eventually(lambda: not differences(client), "to converge before the storm")
            storm.begin()
            rage(storm, operators, seconds, every_fault=every_fault, restart=seed % _RESTARTING == 2)
            hits = storm.hits()
            storm.end()
            try:
                settles(server, storm)
                steady_state_costs_nothing(server, operators)
            except AssertionError as error:
                raise AssertionError(_story(server, seed, hits, operators, error)) from error
        assert [operator.failures for operator in operators] == [[]] * len(operators)


def rage(storm: Storm, operators: list[Operator], seconds: float, *, every_fault: bool, restart: bool) -> None:
    """At least so long, and where asked for until the faults that this seed is about have struck."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds or (every_fault and missed(storm)):
        assert passed < _LONGEST_STORM, f"never struck: {missed(storm)}"
        storm.act()
        if restart and passed > seconds / 2:
            restart = False
            for operator in operators:
                operator.restart()
        time.sleep(0.01)


def missed(storm: Storm) -> list[str]:
    hits = storm.hits()
    return [name for name in storm.frequent if not hits[name]]


def settles(server: FakeAPIServer, storm: Storm) -> None:
    """All is as it should be, and stays so without a write."""
    with server.client() as client:
        ends = time.monotonic() + 60
        while True:
            try:
                found = differences(client)
            except ClientError as error:
                found = [str(error)]
            if not found:
                before = len(of_operators(server.requests.writes()))
                time.sleep(_QUIET)
                late = of_operators(server.requests.writes())[before:]
                if not late:
                    return
                found = ["all was right, and something was written all the same", *map(told, late)]
            assert time.monotonic() < ends, "\n".join(found)
            time.sleep(0.02)


def steady_state_costs_nothing(server: FakeAPIServer, operators: list[Operator]) -> None:
    """Decision 10: reconciles of what has converged send no request, not even a read."""
    (leader,) = [operator for operator in operators if operator.leads]
    acting = leader.controller
    with server.client() as client:
        eventually(lambda: shows_all(leader, client), "the caches to have caught up", timeout=60)
        gardens = client.resource(GARDENS, NAMESPACE)
        names = [garden.name for garden in gardens.list()]
        before = acting.stats.outcomes["success"].value
        server.requests.clear()
        for name in names:
            gardens.patch(name, {"metadata": {"labels": {"touched": "yes"}}}, field_manager="user")
        eventually(lambda: acting.stats.outcomes["success"].value >= before + len(names), "each to be reconciled")
    # Lists and watches are the caches', and those of a standby may still come back.
    sent = [told(entry) for entry in of_operators(server.requests) if entry.verb not in ("list", "watch")]
    assert not sent, f"reconciles of what has converged sent {sent}"


def shows_all(operator: Operator, client: Client) -> bool:
    """Whether its caches hold what the server has: not so while a watch that was cut waits for its next try."""
    return all(
        {obj.key: obj.resource_version for obj in operator.manager.informer(gvr).indexer.list()}
        == {obj.key: obj.resource_version for obj in client.resource(gvr).list()}
        for gvr in (GARDENS, BEDS, KEYS)
    )


def of_operators(entries: Iterable[AuditEntry]) -> list[AuditEntry]:
    """But for events, which are told again until they are heard, and leases, which are renewed for ever."""
    return [
        entry
        for entry in entries
        if entry.user_agent.startswith(USER_AGENT) and entry.resource not in ("leases", "events")
    ]


def told(entry: AuditEntry) -> str:
    what = f"{entry.resource}/{entry.subresource}" if entry.subresource else entry.resource
    return f"{entry.verb} {what} {entry.namespace}/{entry.name} {entry.code} {entry.fault} by {entry.user_agent}"


def _story(
    server: FakeAPIServer, seed: int, hits: dict[str, int], operators: list[Operator], error: AssertionError
) -> str:
    last = "\n".join(f"  {told(entry)}" for entry in list(server.requests)[-60:])
    queues = [(str(operator.controller.queue.stats()), operator.controller.waiting_for()) for operator in operators]
    return f"seed {seed}\n{error}\nfaults that struck: {hits}\noperators: {queues}\nlast requests:\n{last}"


@pytest.mark.parametrize("seed", [0, 1])
def test_it_converges_once_the_faults_stop(seed: int) -> None:
    converges(seed, 0.7, every_fault=False)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 22))
def test_it_converges_whatever_the_seed(seed: int) -> None:
    converges(seed, 3.0, every_fault=True)
