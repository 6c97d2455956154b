"""A writer that dies between any two of its calls, or whose calls fail: both or neither, one version, nothing stuck."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from membership.orleans import KubeMembershipTable, MembershipTableData, SiloStatus
from runtime.client import Client, ClientError, Conflict, ConnectionFailed
from runtime.client.errors import Answer, InternalError, RequestTimeout, TooManyRequests
from tests.support.silo_tables import NEW, OLD, OTHER, START, entry, new_table, stepped, version_object
from tests.support.stepped import Killed, When, fail_at, kill_at

Change = Callable[[KubeMembershipTable, MembershipTableData], bool]

DEAD = entry(3, SiloStatus.DEAD)


def insert(table: KubeMembershipTable, read: MembershipTableData) -> bool:
    return table.insert_row(OTHER, read.version.next())


def update(table: KubeMembershipTable, read: MembershipTableData) -> bool:
    found = read.get(OLD.silo_address)
    assert found is not None
    return table.update_row(NEW, found[1], read.version.next())


def effect(change: Change, data: MembershipTableData) -> bool:
    """Whether the change is in the table; nothing else may be."""
    names = sorted(member.silo_name for member, _ in data.members)
    without, with_it = (["old"], ["old", "silo-2"]) if change is insert else (["old"], ["new"])
    assert names in (without, with_it)
    return names == with_it


CALLS: dict[Change, list[str]] = {
    insert: ["get clusterversions", "get silos", "update clusterversions", "create silos", "update clusterversions"],
    update: ["get clusterversions", "get silos", "update clusterversions", "update silos", "update clusterversions"],
}
PLACES = [
    pytest.param(change, number, when, id=f"{name}-{when}-{number}")
    for name, change, calls in [("insert", insert, CALLS[insert]), ("update", update, CALLS[update])]
    for number in range(len(calls))
    for when in ("before", "after")
]


@pytest.mark.parametrize("change", CALLS)
def test_a_change_is_five_calls(client: Client, table: KubeMembershipTable, change: Change) -> None:
    writer, steps = stepped(client, table)
    assert change(writer, table.read_all())
    assert [f"{step.verb} {step.resource}" for step in steps.made] == CALLS[change]


@pytest.mark.parametrize(("change", "number", "when"), PLACES)
def test_a_killed_writer_leaves_both_or_neither(
    client: Client, table: KubeMembershipTable, change: Change, number: int, when: When
) -> None:
    before = table.read_all()
    writer, _ = stepped(client, table, kill_at(number, when))
    with pytest.raises(Killed):
        change(writer, before)

    begun = (number, when == "after") >= (2, True)
    after = table.read_all()
    assert effect(change, after) is begun
    assert after.version.version == before.version.version + begun
    assert version_object(client, table).pending is None
    assert table.read_all() == after

    assert change(table, before) is not begun, "what was read before the crash is stale if the change took place"
    settled = table.read_all()
    assert effect(change, settled)
    assert settled.version.version == before.version.version + 1
    found = settled.get(OLD.silo_address)
    assert found is not None
    assert table.update_row(OLD, found[1], settled.version.next()), "nothing is stuck"


def test_helpers_may_die_too(client: Client, table: KubeMembershipTable) -> None:
    before = table.read_all()
    writer, _ = stepped(client, table, kill_at(2, "after"))
    with pytest.raises(Killed):
        update(writer, before)

    deaths = 0
    for number in range(50):
        helper, _ = stepped(client, table, kill_at(number, "after"))
        try:
            data = helper.read_all()
        except Killed:
            deaths += 1
            continue
        break
    assert deaths == number > 5
    assert effect(update, data)
    assert data.version.version == before.version.version + 1


FAILURES: dict[str, Callable[[], ClientError]] = {
    "reset": lambda: ConnectionFailed("cut", sent=True),
    "timeout": lambda: RequestTimeout("no answer"),
    "429": lambda: TooManyRequests("update", Answer(429, "TooManyRequests", "later")),
    "500": lambda: InternalError("update", Answer(500, "InternalError", "oops")),
}


@pytest.mark.parametrize(
    "failure", [name if name == "reset" else pytest.param(name, marks=pytest.mark.slow) for name in FAILURES]
)
@pytest.mark.parametrize(("change", "number", "when"), PLACES)
def test_one_failure_of_a_call_is_not_seen(
    client: Client, table: KubeMembershipTable, change: Change, number: int, when: When, failure: str
) -> None:
    before = table.read_all()
    writer, steps = stepped(client, table, fail_at(number, when, FAILURES[failure]()))
    assert change(writer, before) is True
    assert len(steps.made) > 5
    after = table.read_all()
    assert effect(change, after)
    assert after.version.version == before.version.version + 1


@pytest.mark.parametrize("number", [3, 4])
@pytest.mark.parametrize("change", CALLS)
def test_a_conflict_after_the_point_of_no_return_is_looked_into(
    client: Client, table: KubeMembershipTable, change: Change, number: int
) -> None:
    before = table.read_all()
    conflict = Conflict("update", Answer(409, "Conflict", "no reason at all"))
    writer, _ = stepped(client, table, fail_at(number, "before", conflict))
    assert change(writer, before) is True
    after = table.read_all()
    assert effect(change, after)
    assert after.version.version == before.version.version + 1


# ---- what is no change of rows


LATER = replace(OLD, i_am_alive_time=START + timedelta(days=1))
OPERATIONS: dict[str, Callable[[KubeMembershipTable], None]] = {
    "alive": lambda table: table.update_i_am_alive(LATER),
    "cleanup": lambda table: table.cleanup_defunct_silo_entries(START + timedelta(days=1)),
    "delete": lambda table: table.delete_membership_table_entries("c1"),
    "initialize": lambda table: table.initialize_membership_table(try_init_table_version=True),
}


@pytest.fixture
def fresh(client: Client) -> Callable[[str], KubeMembershipTable]:
    def make(operation: str) -> KubeMembershipTable:
        table = new_table(client, OLD, DEAD)
        if operation == "initialize":
            table.delete_membership_table_entries("c1")
        return table

    return make


def shown(table: KubeMembershipTable) -> tuple[bool, int, list[tuple[str, str]]]:
    """Whether there is a version, which, and the names and signs of life of the rows."""
    data = table.read_all()
    rows = sorted((member.silo_name, member.i_am_alive_time.isoformat()) for member, _ in data.members)
    return data.version.etag != "", data.version.version, rows


@pytest.mark.parametrize("operation", OPERATIONS)
def test_other_operations_are_repeated_after_a_crash_or_failure(
    client: Client, fresh: Callable[[str], KubeMembershipTable], operation: str
) -> None:
    act = OPERATIONS[operation]
    table = fresh(operation)
    before = shown(table)
    counted, steps = stepped(client, table)
    act(counted)
    done = shown(table)
    assert done != before
    for number in range(len(steps.made)):
        for when in ("before", "after"):
            table = fresh(operation)
            dying, _ = stepped(client, table, kill_at(number, when))
            with pytest.raises(Killed):
                act(dying)
            act(table)
            assert shown(table) == done, f"killed {when} call {number}"
            table = fresh(operation)
            failing, _ = stepped(client, table, fail_at(number, when, FAILURES["reset"]()))
            act(failing)
            assert shown(table) == done, f"cut {when} call {number}"
