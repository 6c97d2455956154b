"""Several of us on one table, with their calls in every order and deaths anywhere: the outcome is always that of one
change after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from membership.orleans import KubeMembershipTable, MembershipTableData, SiloAddress
from runtime.client import Client, Forbidden, NotFound
from runtime.client.errors import Answer
from tests.support.silo_tables import START, HurriedClock, entry, new_table, version_object
from tests.support.stepped import Step, Steps
from tests.support.table_history import TableHistory, Write, mark_of
from tests.support.turns import Choose, Deaths, Turns, dying, in_order, orders

ROWS = 3


@dataclass(frozen=True)
class Plan:
    """What an actor does, one after the other: the kind of operation, and on which row.

    :ivar stale: on what was read before any actor began.
    """

    operations: Sequence[tuple[str, int]]
    stale: bool = False


class World:
    """A table with the rows 1 and 2, and actors who make their calls in turns.

    :param refused: moments (:attr:`Turns.now`) at which the server refuses to write a row.
    """

    def __init__(self, client: Client, choose: Choose, refused: frozenset[int] = frozenset()) -> None:
        self.client = client
        self.refused = refused
        self.table = new_table(client, entry(1, name="1:a"), entry(2, name="2:b"))
        self.history = TableHistory({entry(1).silo_address: "1:a", entry(2).silo_address: "2:b"})
        self.turns = Turns(choose)
        self.clock = HurriedClock()
        self.alive: dict[SiloAddress, datetime] = {}

    def run(self, plans: dict[str, Plan]) -> MembershipTableData:
        """What is in the table when all have ended or died, and another has looked."""
        self.before = self.table.read_all()
        self.turns.run(self.client, {name: self._actor(name, plan) for name, plan in plans.items()})
        last = self._read(self.table)
        self.history.check()
        assert version_object(self.client, self.table).pending is None
        for address, time in self.alive.items():
            found = last.get(address)
            assert found is not None
            assert found[0].i_am_alive_time >= time, "a sign of life is lost"
        member, etag = last.members[0]
        assert self.table.update_row(member, etag, last.version.next()), "the table is stuck"
        return last

    def _actor(self, name: str, plan: Plan) -> Callable[[Client], None]:
        def act(client: Client) -> None:
            client = Steps(self._refuse).client(client)
            table = KubeMembershipTable(client, "c1", self.table.namespace, timeout=1000.0, clock=self.clock)
            for number, (kind, row) in enumerate(plan.operations):
                if kind == "read":
                    self._read(table)
                    continue
                if kind == "alive":
                    self._live(table, row, START + timedelta(hours=number + 1))
                else:
                    data = self.before if plan.stale else self._read(table)
                    self._change(table, kind, row, data, f"{name}{number}")

        return act

    def _refuse(self, step: Step) -> None:
        write = (step.resource, step.when) == ("silos", "before") and step.verb in ("create", "update")
        if write and self.turns.now in self.refused:
            raise Forbidden(step.verb, Answer(403, "Forbidden", "not now"))

    def _read(self, table: KubeMembershipTable) -> MembershipTableData:
        called = self.turns.tick()
        data = table.read_all()
        self.history.read(called, self.turns.tick(), data)
        assert not data.malformed
        return data

    def _live(self, table: KubeMembershipTable, row: int, time: datetime) -> None:
        try:
            table.update_i_am_alive(replace(entry(row), i_am_alive_time=time))
        except (NotFound, Forbidden):
            return
        self.alive[entry(row).silo_address] = time

    def _change(self, table: KubeMembershipTable, kind: str, row: int, data: MembershipTableData, who: str) -> None:
        version = data.version.next()
        mark = mark_of(version.version, who)
        address, called = entry(row).silo_address, self.turns.tick()
        result: bool | None = None
        try:
            found = data.get(address)
            if kind == "insert" or found is None:
                result = table.insert_row(entry(row, name=mark), version)
            else:
                result = table.update_row(replace(found[0], silo_name=mark), found[1], version)
        except Forbidden:
            pass  # given up, or left to others
        finally:
            self.history.wrote(Write(mark, address, called, self.turns.tick(), result))


PAIRS = {
    "both insert": ([("insert", 3)], [("insert", 3)]),
    "both update": ([("update", 1)], [("update", 1)]),
    "insert and update": ([("insert", 3)], [("update", 1)]),
    "update and alive": ([("update", 1)], [("alive", 1)]),
    "update and read": ([("update", 1)], [("read", 0)]),
}


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS)
def test_two_in_every_order(client: Client, pair: str) -> None:
    a, b = PAIRS[pair]
    for order in orders(5, 5):
        if a == b and order[0] == "B":
            continue  # the same with the names exchanged
        world = World(client, in_order(order))
        world.run({"A": Plan(a, stale=True), "B": Plan(b, stale=True)})


PLANS = st.builds(
    Plan,
    st.lists(
        st.tuples(st.sampled_from(["insert", "update", "update", "alive", "read"]), st.integers(1, ROWS)),
        min_size=1,
        max_size=3,
    ),
    st.booleans(),
)
DEATHS = st.dictionaries(st.integers(0, 60), st.sampled_from(["before", "after"]), max_size=2)


def check_many(
    client: Client,
    plans: Sequence[Plan],
    picks: Sequence[int],
    deaths: Deaths,
    refused: frozenset[int] = frozenset(),
) -> None:
    world = World(client, dying(picks, deaths), refused)
    # Signs of life of a row come from one silo.
    named = {}
    for number, plan in enumerate(plans):
        operations = [(kind, number + 1 if kind == "alive" else row) for kind, row in plan.operations]
        named["ABCD"[number]] = Plan(operations, plan.stale)
    world.run(named)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PLANS, min_size=2, max_size=4), st.lists(st.integers(0, 11), max_size=60), DEATHS)
def test_any_number_in_any_order(client: Client, plans: list[Plan], picks: list[int], deaths: Deaths) -> None:
    check_many(client, plans, picks, deaths)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PLANS, min_size=2, max_size=4), st.lists(st.integers(0, 11), max_size=60), DEATHS)
def test_any_number_in_many_orders(client: Client, plans: list[Plan], picks: list[int], deaths: Deaths) -> None:
    check_many(client, plans, picks, deaths)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(PLANS, min_size=2, max_size=4),
    st.lists(st.integers(0, 11), max_size=60),
    DEATHS,
    st.frozensets(st.integers(0, 120), max_size=60),
)
def test_any_number_of_whom_some_are_refused(
    client: Client, plans: list[Plan], picks: list[int], deaths: Deaths, refused: frozenset[int]
) -> None:
    check_many(client, plans, picks, deaths, refused)
