"""Calls that come late, or after what became of the change is forgotten: it is right, or nobody claims to know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from membership.orleans import KubeMembershipTable, OutcomeUnknown, journal, rows
from membership.orleans.commit import GRACE
from membership.orleans.names import row_name
from runtime.client import Client, ConnectionFailed, NotFound
from runtime.testing import FakeAPIServer
from tests.support.dotnet_provider import DotNetProvider, Watcher
from tests.support.silo_tables import (
    NEW,
    OLD,
    OTHER,
    START,
    HurriedClock,
    another,
    entry,
    half_done,
    names,
    new_table,
    rename,
    version_object,
)
from tests.support.stepped import Killed, Step, Steps, at, kill_at
from tests.support.turns import Turns, in_order, orders
from tests.support.waiting import eventually

REMEMBERED = 5


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "REMEMBERED", REMEMBERED)


def many_changes(table: KubeMembershipTable, number: int = 1) -> None:
    """So many that the outcomes of those before are forgotten."""
    for time in range(REMEMBERED + 1):
        assert rename(table, f"x{time}", number)


def late_insert(
    client: Client, table: KubeMembershipTable, meanwhile: Callable[[], object], *, answered: bool = True
) -> bool:
    """What becomes of an insert that stands still before it writes its row, for longer than others wait.

    :param answered: whether it hears that it has written it.
    """
    clock = HurriedClock()

    def stand_still(step: Step) -> None:
        if (step.number, step.when) == (3, "before"):
            meanwhile()
            clock.sleep(GRACE)
        elif (step.number, step.when) == (3, "after") and not answered:
            raise ConnectionFailed("cut", sent=True)

    writer = another(client, table, stand_still, clock)
    return writer.insert_row(OTHER, table.read_all().version.next())


def finished_and_deleted(table: KubeMembershipTable) -> None:
    found = table.read_all().get(OTHER.silo_address)
    assert found is not None
    assert table.delete_row(OTHER.silo_address, found[1])


# ---- late


def test_a_late_insert_does_not_bring_back_a_deleted_row(client: Client, table: KubeMembershipTable) -> None:
    version = table.read_all().version.next()
    writer = another(client, table, at(3, "before", lambda: finished_and_deleted(table)))
    assert writer.insert_row(OTHER, version) is True, "it was in the table"
    assert names(table) == ["old"]
    assert table.read_all().version.version == version.version


def test_a_late_insert_whose_table_was_deleted_takes_its_row_back(client: Client, table: KubeMembershipTable) -> None:
    def meanwhile() -> None:
        finished_and_deleted(table)
        table.delete_membership_table_entries("c1")

    assert late_insert(client, table, meanwhile) is False
    assert names(table) == []


def test_a_late_insert_that_a_dotnet_silo_has_made_unknown_has_its_version(
    client: Client, table: KubeMembershipTable
) -> None:
    """Nothing tells that others had done with it: it takes place now, wholly."""
    dotnet = DotNetProvider(client, "c1", table.namespace)

    def meanwhile() -> None:
        finished_and_deleted(table)
        assert dotnet.insert_row(entry(7), dotnet.read_all().version.next())

    before = table.read_all().version.version
    assert late_insert(client, table, meanwhile) is True
    assert names(table) == ["old", "silo-2", "silo-7"]
    assert table.read_all().version.version == before + 3, "the insert by others, the .NET silo's, and this one"


def test_a_late_insert_that_is_to_have_its_version_is_taken_back_when_the_table_goes(
    client: Client, table: KubeMembershipTable
) -> None:
    """Whoever deletes it has seen its rows before ours was among them."""
    dotnet = DotNetProvider(client, "c1", table.namespace)
    looks: list[Step] = []

    def hook(step: Step) -> None:
        if (step.number, step.when) == (3, "before"):
            finished_and_deleted(table)
            assert dotnet.insert_row(entry(7), dotnet.read_all().version.next())
        if step.number > 3 and (step.verb, step.resource, step.when) == ("get", "clusterversions", "before"):
            looks.append(step)
            if len(looks) == 2:
                client.resource(rows.VERSIONS, table.namespace).delete(table.cluster_id)

    assert another(client, table, hook).insert_row(OTHER, table.read_all().version.next()) is False
    assert len(looks) >= 2
    left = [obj.get("siloName") for obj in client.resource(rows.SILOS, table.namespace).list()]
    assert "silo-2" not in left
    assert len(left) == 2


def test_a_late_sign_of_life_does_not_bring_back_a_deleted_row(client: Client, table: KubeMembershipTable) -> None:
    _, etag = table.read_all().members[0]
    writer = another(client, table, at(1, "before", lambda: table.delete_row(OLD.silo_address, etag)))
    with pytest.raises(NotFound, match="no row of silo"):
        writer.update_i_am_alive(replace(OLD, i_am_alive_time=START + timedelta(hours=1)))
    assert names(table) == []


def test_signs_of_life_do_not_overtake_each_other(client: Client, table: KubeMembershipTable) -> None:
    early, late = (replace(OLD, i_am_alive_time=START + timedelta(hours=hours)) for hours in (1, 2))
    writer = another(client, table, at(1, "before", lambda: table.update_i_am_alive(late)))
    writer.update_i_am_alive(early)
    ((member, _),) = table.read_all().members
    assert member.i_am_alive_time == late.i_am_alive_time


def test_an_update_keeps_a_sign_of_life_that_comes_between(client: Client, table: KubeMembershipTable) -> None:
    data = table.read_all()
    late = replace(OLD, i_am_alive_time=START + timedelta(hours=2))
    writer = another(client, table, at(3, "before", lambda: table.update_i_am_alive(late)))
    assert writer.update_row(NEW, data.members[0][1], data.version.next())
    ((member, _),) = table.read_all().members
    assert (member.silo_name, member.i_am_alive_time) == ("new", late.i_am_alive_time)


def delete_while_writing(client: Client, kind: str, order: str) -> None:
    table = new_table(client, OLD)
    data, clock = table.read_all(), HurriedClock()

    def write(client: Client) -> None:
        mine = KubeMembershipTable(client, "c1", table.namespace, timeout=1000.0, clock=clock)
        if kind == "insert":
            mine.insert_row(OTHER, data.version.next())
        else:
            mine.update_row(NEW, data.members[0][1], data.version.next())

    def delete(client: Client) -> None:
        KubeMembershipTable(client, "c1", table.namespace, clock=clock).delete_membership_table_entries("c1")

    Turns(in_order(order)).run(client, {"A": write, "B": delete})
    data = table.read_all()
    assert (data.members, data.version.etag) == ([], ""), order


@pytest.mark.parametrize("kind", ["insert", "update"])
def test_a_table_that_is_deleted_meanwhile_stays_deleted(client: Client, kind: str) -> None:
    for before in range(6):
        for late in range(7):
            if (before + late) % 3 == 0:
                order = "A" * before + "B" * (7 - late) + "A" * (5 - before) + "B" * late
                delete_while_writing(client, kind, order)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["insert", "update"])
def test_a_table_that_is_deleted_in_many_orders(client: Client, kind: str) -> None:
    for order in orders(5, 7)[::4]:
        delete_while_writing(client, kind, order)


def test_a_row_inserted_into_a_table_made_anew_meanwhile_is_taken_back(
    client: Client, table: KubeMembershipTable
) -> None:
    version = table.read_all().version.next()

    def make_anew() -> None:
        table.delete_membership_table_entries("c1")
        table.initialize_membership_table(try_init_table_version=True)

    writer = another(client, table, at(3, "before", make_anew))
    assert writer.insert_row(OTHER, version) is False
    data = table.read_all()
    assert (data.members, data.version.version) == ([], 0)


def test_a_change_that_is_overtaken_by_one_to_the_same_row_is_not_made_twice(
    client: Client, table: KubeMembershipTable
) -> None:
    """A helper that stood still before its write finds the row as the change wanted it, and then as it was before."""
    half_done(client, table, calls=3)

    def at_the_insert(step: Step) -> None:
        if (step.verb, step.when) == ("create", "before"):
            finished_and_deleted(table)

    assert [member.silo_name for member, _ in another(client, table, at_the_insert).read_all().members] == ["old"]
    assert names(table) == ["old"]


def test_only_the_row_that_was_read_is_deleted(client: Client, table: KubeMembershipTable) -> None:
    _, etag = table.read_all().members[0]
    late = replace(OLD, i_am_alive_time=START + timedelta(hours=1))
    cleaner = another(client, table, at(2, "before", lambda: table.update_i_am_alive(late)))
    assert cleaner.delete_row(OLD.silo_address, etag) is False
    assert names(table) == ["old"]


def test_an_update_that_changes_nothing_makes_the_etag_stale(client: Client, table: KubeMembershipTable) -> None:
    data = table.read_all()
    member, etag = data.members[0]
    assert table.update_row(member, etag, data.version.next())
    assert table.update_row(member, etag, table.read_all().version.next()) is False


def test_a_reader_leaves_the_writer_its_time(client: Client, table: KubeMembershipTable) -> None:
    data, clock = table.read_all(), HurriedClock()
    seen: list[int] = []

    def write(client: Client) -> None:
        mine = KubeMembershipTable(client, "c1", table.namespace, clock=clock)
        assert mine.update_row(NEW, data.members[0][1], data.version.next())

    def read(client: Client) -> None:
        reader = KubeMembershipTable(client, "c1", table.namespace, clock=clock)
        seen.append(reader.read_all().version.version)

    reads = Steps()
    Turns(in_order("AAA" + "BBB" + "AA")).run(client, {"A": write, "B": lambda client: read(reads.client(client))})
    assert seen == [data.version.version + 1]
    assert {step.verb for step in reads.made} == {"get", "list"}, "it has not written"


# ---- forgotten


@pytest.mark.usefixtures("forgetful")
def test_a_writer_that_was_away_for_many_changes_still_knows(client: Client, table: KubeMembershipTable) -> None:
    assert table.insert_row(OTHER, table.read_all().version.next())
    data = table.read_all()

    found = data.get(OLD.silo_address)
    assert found is not None
    writer = another(client, table, at(3, "before", lambda: many_changes(table, 2)))
    assert writer.update_row(NEW, found[1], data.version.next()) is True
    last = table.read_all()
    assert last.version.version == data.version.version + 1 + REMEMBERED + 1
    assert len((version_object(client, table).outcomes or pytest.fail("no outcomes")).decided) == REMEMBERED


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("answered", [True, False])
def test_a_late_insert_that_was_forgotten_is_taken_back_and_not_called_done(
    client: Client, table: KubeMembershipTable, answered: bool
) -> None:
    """Whether the row was counted or had been deleted before, nobody knows any more."""

    def meanwhile() -> None:
        finished_and_deleted(table)
        many_changes(table)

    with pytest.raises(OutcomeUnknown):
        late_insert(client, table, meanwhile, answered=answered)
    assert names(table) == [f"x{REMEMBERED}"]
    assert table.insert_row(OTHER, table.read_all().version.next())


@pytest.mark.usefixtures("forgetful")
def test_a_late_insert_that_others_have_done_and_forgotten_is_done(client: Client, table: KubeMembershipTable) -> None:
    def meanwhile() -> None:
        assert names(table) == ["old", "silo-2"], "finished by who has read it"
        many_changes(table)

    assert late_insert(client, table, meanwhile) is True
    assert names(table) == ["silo-2", f"x{REMEMBERED}"]


@pytest.mark.usefixtures("forgetful")
def test_a_late_update_that_was_forgotten_is_done(client: Client, table: KubeMembershipTable) -> None:
    """It names the row that it was decided on: nobody else can have written it before."""
    assert table.insert_row(OTHER, table.read_all().version.next())
    data, clock = table.read_all(), HurriedClock()

    def hook(step: Step) -> None:
        if (step.number, step.when) == (3, "before"):
            clock.sleep(GRACE)
        at(3, "after", lambda: many_changes(table, 2))(step)

    found = data.get(OLD.silo_address)
    assert found is not None
    assert another(client, table, hook, clock).update_row(NEW, found[1], data.version.next()) is True
    assert names(table) == ["new", f"x{REMEMBERED}"]


@pytest.mark.usefixtures("forgetful")
def test_a_helper_that_stood_still_leaves_the_row_that_others_have_counted(
    client: Client, table: KubeMembershipTable
) -> None:
    """Whoever has inserted it was told so. It is this row, for nobody else had written it yet."""
    half_done(client, table)

    def others_go_on() -> None:
        assert names(table) == ["old", "silo-2"], "counted by who has read it"
        many_changes(table)

    def hook(step: Step) -> None:
        if (step.verb, step.when) == ("create", "after"):
            others_go_on()

    another(client, table, hook).read_all()
    assert names(table) == ["silo-2", f"x{REMEMBERED}"]


@pytest.mark.usefixtures("forgetful")
def test_a_late_insert_leaves_alone_what_has_been_changed_since(client: Client, table: KubeMembershipTable) -> None:
    """It was this row that counted, for its silo has gone on from it."""
    clock = HurriedClock()

    def go_on() -> None:
        assert rename(table, "on", 2)
        many_changes(table)

    def hook(step: Step) -> None:
        if (step.number, step.when) == (3, "before"):
            clock.sleep(GRACE)
        at(3, "after", go_on)(step)

    writer = another(client, table, hook, clock)
    with pytest.raises(OutcomeUnknown):
        writer.insert_row(OTHER, table.read_all().version.next())
    assert names(table) == ["on", f"x{REMEMBERED}"]


@pytest.mark.usefixtures("forgetful")
def test_an_insert_that_nobody_can_have_preceded_is_done_though_forgotten(
    client: Client, table: KubeMembershipTable
) -> None:
    writer = another(client, table, at(3, "after", lambda: many_changes(table)))
    assert writer.insert_row(OTHER, table.read_all().version.next()) is True
    assert names(table) == ["silo-2", f"x{REMEMBERED}"]


def test_what_cannot_be_known_is_not_guessed(client: Client, table: KubeMembershipTable) -> None:
    data = table.read_all()
    dotnet = DotNetProvider(client, "c1", table.namespace)
    clock = HurriedClock()

    def lose_the_answer() -> None:
        view = dotnet.read_all()
        dotnet.insert_row(entry(7), view.version.next())
        clock.sleep(GRACE)
        raise ConnectionFailed("cut", sent=True)

    writer = another(client, table, at(2, "after", lose_the_answer), clock)
    with pytest.raises(OutcomeUnknown, match=r"change of row 10\.0\.0\.1-11111-101 to version 2: others wrote"):
        writer.update_row(NEW, data.members[0][1], data.version.next())
    assert names(table) == ["old", "silo-7"]
    assert rename(table)


@pytest.mark.usefixtures("forgetful")
def test_what_was_done_and_forgotten_is_not_guessed(client: Client, table: KubeMembershipTable) -> None:
    data = table.read_all()

    def lose_the_answer() -> None:
        many_changes(table)
        raise ConnectionFailed("cut", sent=True)

    writer = another(client, table, at(2, "after", lose_the_answer))
    with pytest.raises(OutcomeUnknown):
        writer.update_row(NEW, data.members[0][1], data.version.next())
    assert table.read_all().version.version == data.version.version + 1 + REMEMBERED + 1


def test_a_first_write_that_comes_late_is_recognized(
    server: FakeAPIServer, client: Client, table: KubeMembershipTable
) -> None:
    """The server stood still before it; it takes effect just before it is repeated, which is a conflict then."""
    data = table.read_all()
    stalled = server.faults.add(verb="update", resource="clusterversions", stall=True, times=1)

    def let_it_go() -> None:
        server.faults.remove(stalled)
        eventually(lambda: version_object(client, table).pending, timeout=60)

    steps = Steps(at(4, "before", let_it_go))
    writer = KubeMembershipTable(steps.client(client), "c1", table.namespace, timeout=6.0, clock=HurriedClock())
    assert writer.update_row(NEW, data.members[0][1], data.version.next()) is True
    verbs = [f"{step.verb} {step.resource}" for step in steps.made]
    assert verbs[2:5] == ["update clusterversions", "get clusterversions", "update clusterversions"]
    assert table.read_all().version.version == data.version.version + 1


def test_a_refusal_is_known_though_the_first_answer_is_lost(client: Client, table: KubeMembershipTable) -> None:
    data = table.read_all()
    clock = HurriedClock()

    def lose_the_request() -> None:
        assert rename(table, "theirs")
        clock.sleep(GRACE)
        raise ConnectionFailed("cut", sent=True)

    writer = another(client, table, at(2, "before", lose_the_request), clock)
    assert writer.update_row(NEW, data.members[0][1], data.version.next()) is False
    assert names(table) == ["theirs"]


def test_a_writer_counts_its_row_itself_when_a_dotnet_silo_has_written_the_version(
    client: Client, table: KubeMembershipTable
) -> None:
    data = table.read_all()
    dotnet = DotNetProvider(client, "c1", table.namespace)

    def come_between() -> None:
        assert dotnet.insert_row(entry(7), dotnet.read_all().version.next())

    writer = another(client, table, at(3, "before", come_between))
    found = data.get(OLD.silo_address)
    assert found is not None
    assert writer.update_row(NEW, found[1], data.version.next()) is True
    assert version_object(client, table).version == data.version.version + 2


def test_a_reader_begins_again_when_a_dotnet_silo_writes_meanwhile(client: Client, table: KubeMembershipTable) -> None:
    before = table.read_all().version.version
    dotnet = DotNetProvider(client, "c1", table.namespace)

    def come_between() -> None:
        assert dotnet.insert_row(entry(7), dotnet.read_all().version.next())

    data = another(client, table, at(1, "before", come_between)).read_all()
    assert data.version.version == before + 1
    assert len(data.members) == 2


def test_a_row_whose_version_a_dotnet_silo_dropped_is_counted(client: Client, table: KubeMembershipTable) -> None:
    before = table.read_all().version.version
    dotnet = DotNetProvider(client, "c1", table.namespace)
    view_before: list[object] = []

    def die_while_a_dotnet_silo_writes() -> None:
        view = dotnet.read_all()
        assert dotnet.insert_row(entry(7), view.version.next())
        watcher.look()
        view_before.append(watcher.views[-1].rows.keys())

    watcher = Watcher(dotnet)

    def hook(step: Step) -> None:
        if (step.number, step.when) == (3, "before"):
            die_while_a_dotnet_silo_writes()
        kill_at(3, "after")(step)

    with pytest.raises(Killed):
        another(client, table, hook).insert_row(OTHER, table.read_all().version.next())
    watcher.look()
    assert row_name(OTHER.silo_address) not in watcher.views[-1].rows, "it has taken no notice"
    data = table.read_all()
    assert data.version.version == before + 2
    watcher.look()
    assert row_name(OTHER.silo_address) in watcher.views[-1].rows
    assert table.read_all() == data, "counted once"
