"""Single situations of the table's protocol: what is refused half-way, and what is not as it should be."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from membership.orleans import KubeMembershipTable, MalformedRow, SiloStatus, rows
from membership.orleans.journal import OUTCOMES, PENDING
from runtime.client import Client, Forbidden, Invalid
from runtime.testing import FakeAPIServer
from tests.support.silo_tables import (
    OLD,
    OTHER,
    START,
    another,
    entry,
    half_done,
    names,
    new_table,
    rename,
    version_object,
)
from tests.support.stepped import Killed, kill_at

# ---- refused half-way


@pytest.mark.parametrize(("status", "error"), [(403, Forbidden), (422, Invalid)])
def test_a_change_whose_row_is_refused_is_given_up(
    server: FakeAPIServer, client: Client, table: KubeMembershipTable, status: int, error: type[Exception]
) -> None:
    before = table.read_all()
    server.faults.add(verb=["create", "update"], resource="silos", status=status)
    with pytest.raises(error):
        table.insert_row(OTHER, before.version.next())
    with pytest.raises(error):
        rename(table)
    server.faults.clear()
    assert version_object(client, table).pending is None
    after = table.read_all()
    assert (after.members, after.version.version) == (before.members, before.version.version)
    assert rename(table)


def test_a_helper_gives_up_only_what_nobody_can_write(
    server: FakeAPIServer, client: Client, table: KubeMembershipTable
) -> None:
    half_done(client, table)
    server.faults.add(verb="create", resource="silos", status=403)
    assert names(table) == ["old"]
    assert version_object(client, table).pending is not None, "another may be allowed to"
    server.faults.clear()
    assert names(table) == ["old", "silo-2"]

    half_done_again = new_table(client, OLD)
    half_done(client, half_done_again)
    server.faults.add(verb="create", resource="silos", status=422)
    assert names(half_done_again) == ["old"]
    assert version_object(client, half_done_again).pending is None
    assert half_done_again.read_all().version.version == 1


def test_who_finds_another_change_unfinished_and_unwritable_is_not_told_of_it(
    server: FakeAPIServer, client: Client, table: KubeMembershipTable
) -> None:
    half_done(client, table)
    pending = version_object(client, table)
    server.faults.add(verb="create", resource="silos", status=422)
    assert table.insert_row(entry(3), pending.table_version.next()) is False
    server.faults.clear()
    assert version_object(client, table).pending is None
    assert table.insert_row(entry(3), table.read_all().version.next())


def test_a_version_object_that_cannot_grow_is_refused_before_anything_is_begun(
    client: Client, table: KubeMembershipTable
) -> None:
    before = table.read_all()
    with pytest.raises(Invalid, match="annotations"):
        table.insert_row(entry(2, name="x" * 300_000), before.version.next())
    assert table.read_all() == before


# ---- not as it should be


def test_a_version_object_that_cannot_be_read_is_named(client: Client, table: KubeMembershipTable) -> None:
    versions = client.resource(rows.VERSIONS, table.namespace)
    for annotation in (PENDING, OUTCOMES):
        versions.patch("c1", {"metadata": {"annotations": {annotation: "{"}}})
        with pytest.raises(MalformedRow, match=rf"OrleansClusterVersion .*/c1: metadata.annotations\[{annotation}\]"):
            table.read_all()
        versions.patch("c1", {"metadata": {"annotations": {annotation: None}}})
    versions.patch("c1", {"clusterId": "c2"})
    with pytest.raises(MalformedRow, match="clusterId: is 'c2', but the name stands for the cluster 'c1'"):
        table.read_all()
    with pytest.raises(MalformedRow):
        table.delete_membership_table_entries("c1")
    with pytest.raises(MalformedRow):
        table.initialize_membership_table(try_init_table_version=True)
    versions.patch("c1", {"clusterId": "c1"})
    assert names(table) == ["old"]


def test_rows_that_cannot_be_read_are_told_apart(client: Client, table: KubeMembershipTable) -> None:
    silos = client.resource(rows.SILOS, table.namespace)
    bad: dict[int, dict[str, object]] = {2: {"status": "Undead"}, 3: {"suspectingTimes": ["x"]}, 4: {"port": 70000}}
    for number, change in bad.items():
        silos.create(rows.new_row(entry(number), "c1") | change)
    silos.create(rows.new_row(entry(5), "c1") | {"metadata": {"name": "somehow"}})
    data = table.read_all()
    assert [member.silo_name for member, _ in data.members] == ["old"]
    reasons = dict(data.malformed)
    assert sorted(reasons) == ["10.0.0.2-11111-102", "10.0.0.3-11111-103", "10.0.0.4-11111-104", "somehow"]
    assert "status: 'Undead' is none of None, Created" in reasons["10.0.0.2-11111-102"]
    assert "metadata.name: the row of silo 10.0.0.5:11111@105 is 10.0.0.5-11111-105" in reasons["somehow"]
    with pytest.raises(MalformedRow, match=r"10\.0\.0\.3-11111-103: suspectingTimes"):
        table.read_row(entry(3).silo_address)
    assert rename(table), "the others live on"
    table.cleanup_defunct_silo_entries(START + timedelta(days=1))
    assert len(table.read_all().malformed) == 4


def test_the_log_says_once_what_cannot_be_read_and_why_nothing_is_inserted(
    client: Client, table: KubeMembershipTable, caplog: pytest.LogCaptureFixture
) -> None:
    silos = client.resource(rows.SILOS, table.namespace)
    silos.create(rows.new_row(entry(2), "c1") | {"status": "Undead"})
    silos.create(rows.new_row(entry(3), "c2"))
    for _ in range(3):
        table.read_all()
    assert table.insert_row(entry(3), table.read_all().version.next()) is False
    bad, taken = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "cannot be read" in bad
    assert "10.0.0.2-11111-102: status: 'Undead'" in bad
    assert "another cluster's has its name" in taken
    assert "10.0.0.3-11111-103" in taken


def test_a_row_of_a_silo_that_died_is_not_removed_before_its_death_is_told(
    client: Client, table: KubeMembershipTable
) -> None:
    data = table.read_all()
    dead = replace(OLD, status=SiloStatus.DEAD)
    with pytest.raises(Killed):
        another(client, table, kill_at(3, "after")).update_row(dead, data.members[0][1], data.version.next())
    table.cleanup_defunct_silo_entries(START + timedelta(days=1))
    after = table.read_all()
    assert (after.members, after.version.version) == ([], data.version.version + 1)
