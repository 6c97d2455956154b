"""An operator that is killed between any two of its calls, or races others for the table, while it declares a silo
dead: the next one finishes it, and the version grows by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import pytest

from controllers.orleans import acting
from controllers.orleans.census import Row
from controllers.orleans.settings import Settings
from controllers.orleans.silence import UNSEEN, Sign, sign_of
from controllers.orleans.verdicts import Member, Verdict, decide
from membership.orleans import KubeMembershipTable, MembershipEntry, MembershipTableData, SiloStatus
from membership.orleans.names import row_name
from runtime.client import Client, ClientError, ConnectionFailed
from runtime.testing import FakeAPIServer
from tests.controllers.orleans.orleans_rows import LONG, gone
from tests.support.dotnet_provider import DotNetProvider
from tests.support.silo_tables import START, HurriedClock, entry, new_table, server_of_tables, version_object
from tests.support.stepped import Hook, Killed, Step, Steps, When, kill_at

SUBJECT, OTHER = entry(1), entry(2)
CALLS = 11
LAST_READING = 4  # of the row: signs of life save the silo before it


@pytest.fixture(scope="module")
def tables() -> Iterator[FakeAPIServer]:
    with server_of_tables() as server:
        yield server


@pytest.fixture
def client(tables: FakeAPIServer) -> Iterator[Client]:
    with tables.client() as client:
        yield client


@pytest.fixture
def table(client: Client) -> KubeMembershipTable:
    return new_table(client, SUBJECT, OTHER)


def judge_of(seen: MembershipEntry) -> Callable[[MembershipTableData], Sequence[Verdict]]:
    """That the silo's Pod is gone, as long as its row bears the sign that was seen."""
    sign: Sign = sign_of(seen)

    def judge(data: MembershipTableData) -> Sequence[Verdict]:
        members = []
        for found, _ in data.members:
            same = found.silo_address == seen.silo_address and sign_of(found) == sign
            members.append(Member(row_name(found.silo_address), found, LONG if same else UNSEEN, gone()))
        return decide(members, START, Settings())

    return judge


def declare(client: Client, table: KubeMembershipTable, hook: Hook = lambda step: None) -> list[bool]:
    """What an operator does; the hook sees its calls."""
    data = table.read_all()
    found = data.get(SUBJECT.silo_address)
    assert found is not None
    judge = judge_of(found[0])
    mine = KubeMembershipTable(
        Steps(hook).client(client), table.cluster_id, table.namespace, timeout=2.0, clock=HurriedClock()
    )
    return [done for _, done in acting.declare_dead(mine, judge(data), judge, lambda: START)]


def state(table: KubeMembershipTable) -> tuple[SiloStatus, int]:
    data = table.read_all()
    found = data.get(SUBJECT.silo_address)
    assert found is not None
    return found[0].status, data.version.version


def test_it_declares_a_silo_dead(client: Client, table: KubeMembershipTable) -> None:
    made: list[Step] = []
    assert declare(client, table, made.append) == [True]
    assert max(step.number for step in made) + 1 == CALLS
    assert state(table) == (SiloStatus.DEAD, 3)
    assert declare(client, table) == []
    assert state(table) == (SiloStatus.DEAD, 3)


@pytest.mark.parametrize("number", range(CALLS))
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_anywhere_it_leaves_all_or_nothing(
    client: Client, table: KubeMembershipTable, number: int, when: When
) -> None:
    with suppress(Killed):
        declare(client, table, kill_at(number, when))
    assert state(table) in {(SiloStatus.ACTIVE, 2), (SiloStatus.DEAD, 3)}
    assert version_object(client, table).pending is None
    declare(client, table)
    assert state(table) == (SiloStatus.DEAD, 3)


@pytest.mark.parametrize("number", range(CALLS))
def test_whichever_answer_is_lost_the_next_try_finishes_it(
    client: Client, table: KubeMembershipTable, number: int
) -> None:
    def lose(step: Step) -> None:
        if (step.number, step.when) == (number, "after"):
            raise ConnectionFailed("lost", sent=True)

    with suppress(ClientError):
        declare(client, table, lose)
    declare(client, table)
    assert state(table) == (SiloStatus.DEAD, 3)


@pytest.mark.parametrize("number", range(CALLS))
def test_a_sign_of_life_at_any_moment_is_never_lost(client: Client, table: KubeMembershipTable, number: int) -> None:
    """It saves the silo if it comes before the row is read for the last time; the row shows it in any case."""
    alive = entry(1)
    alive.i_am_alive_time = START.replace(year=2027)

    def live(step: Step) -> None:
        if (step.number, step.when) == (number, "before"):
            table.update_i_am_alive(alive)

    done = declare(client, table, live)
    status, version = state(table)
    assert (status, version) == ((SiloStatus.DEAD, 3) if done == [True] else (SiloStatus.ACTIVE, 2))
    assert (done == [True]) is (number > LAST_READING)
    found = table.read_row(SUBJECT.silo_address).get(SUBJECT.silo_address)
    assert found is not None
    lived = found[0].i_am_alive_time == alive.i_am_alive_time
    assert lived or done == [True], "it came when all was over"


@pytest.mark.parametrize("number", range(CALLS))
def test_a_dotnet_silo_that_writes_at_any_moment_loses_nothing(
    client: Client, table: KubeMembershipTable, number: int
) -> None:
    dotnet = DotNetProvider(client, table.cluster_id, table.namespace)
    joined: list[bool] = []

    def join(step: Step) -> None:
        if (step.number, step.when) == (number, "before"):
            joined.append(dotnet.insert_row(entry(3), dotnet.read_all().version.next()))

    try:
        declare(client, table, join)
    finally:
        declare(client, table)
    status, version = state(table)
    assert status is SiloStatus.DEAD
    assert version == 3 + len(joined)
    assert (table.read_all().get(entry(3).silo_address) is not None) is bool(joined)


def test_a_row_that_has_changed_is_not_removed(client: Client, table: KubeMembershipTable) -> None:
    dead = entry(5, SiloStatus.DEAD)
    assert table.insert_row(dead, table.read_all().version.next())
    found = table.read_all().get(dead.silo_address)
    assert found is not None
    stale = Row(row_name(dead.silo_address), found[1], dead)
    table.update_i_am_alive(entry(5, SiloStatus.DEAD, name="later"))
    dead.i_am_alive_time = START.replace(year=2027)
    table.update_i_am_alive(dead)
    assert list(acting.remove(table, [stale])) == []
    found = table.read_all().get(dead.silo_address)
    assert found is not None
    fresh = Row(row_name(dead.silo_address), found[1], dead)
    assert list(acting.remove(table, [fresh])) == [fresh]
    assert list(acting.remove(table, [fresh])) == []
