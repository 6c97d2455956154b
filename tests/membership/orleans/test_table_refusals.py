"""A server that lets a change begin and then refuses its row: others are not misled by it."""

from __future__ import annotations

import contextlib
import threading

import pytest

from membership.orleans import KubeMembershipTable, journal
from runtime.client import Client, Forbidden
from runtime.client.errors import Answer
from runtime.testing import FakeAPIServer
from tests.support.silo_tables import NEW, OTHER, another, names, version_object
from tests.support.stepped import Killed, Step


def test_a_row_is_not_counted_again_when_its_outcome_has_made_room_for_refused_ones(
    server: FakeAPIServer, table: KubeMembershipTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "REMEMBERED", 3)
    before = table.read_all()
    server.faults.add(verb="create", resource="silos", status=403)
    for _ in range(4):
        with pytest.raises(Forbidden):
            table.insert_row(OTHER, table.read_all().version.next())
    after = table.read_all()
    assert (after.members, after.version.version) == (before.members, before.version.version)


@pytest.mark.parametrize("helper_dies", [False, True])
@pytest.mark.parametrize("insert", [True, False], ids=["insert", "update"])
def test_who_is_refused_does_not_give_up_what_another_has_written_in_its_place(
    client: Client, table: KubeMembershipTable, insert: bool, helper_dies: bool
) -> None:
    """It stood still before its write of the row, so that another began to finish the change."""
    before = table.read_all()

    def refuse(step: Step) -> None:
        if (step.number, step.when) != (3, "before"):
            return
        helper = another(client, table, kill_after_the_row if helper_dies else lambda step: None)
        if helper_dies:
            with pytest.raises(Killed):
                helper.read_all()
        else:
            helper.read_all()
        raise Forbidden("write", Answer(403, "Forbidden", "not you"))

    def kill_after_the_row(step: Step) -> None:
        if (step.verb, step.resource, step.when) == ("create" if insert else "update", "silos", "after"):
            raise Killed

    writer = another(client, table, refuse)
    etag, version = before.members[0][1], before.version.next()
    with pytest.raises(Forbidden):
        writer.insert_row(OTHER, version) if insert else writer.update_row(NEW, etag, version)
    after = table.read_all()
    assert names(table) == (["old", "silo-2"] if insert else ["new"])
    assert after.version.version == before.version.version + 1
    assert version_object(client, table).pending is None


@pytest.mark.parametrize("helper_dies", [False, True])
@pytest.mark.parametrize("insert", [True, False], ids=["insert", "update"])
def test_what_is_given_up_and_written_by_another_after_all_gets_its_version(
    client: Client, table: KubeMembershipTable, insert: bool, helper_dies: bool
) -> None:
    """The other was about to write the row when its writer, which was refused, looked at it and gave up."""
    before = table.read_all()
    about_to_write, given_up = threading.Event(), threading.Event()
    verb = "create" if insert else "update"

    def help_late(step: Step) -> None:
        if (step.verb, step.resource, step.when) == (verb, "silos", "before"):
            about_to_write.set()
            assert given_up.wait(60)
        elif helper_dies and (step.verb, step.resource, step.when) == (verb, "silos", "after"):
            raise Killed

    def help_it() -> None:
        with contextlib.suppress(Killed):
            another(client, table, help_late).read_all()

    other = threading.Thread(target=help_it, name="helper")

    def refuse(step: Step) -> None:
        if (step.verb, step.resource) == (verb, "silos"):
            other.start()
            assert about_to_write.wait(60)
            raise Forbidden("write", Answer(403, "Forbidden", "not you"))

    writer = another(client, table, refuse)
    etag, version = before.members[0][1], before.version.next()
    with pytest.raises(Forbidden):
        writer.insert_row(OTHER, version) if insert else writer.update_row(NEW, etag, version)
    assert version_object(client, table).pending is None
    given_up.set()
    other.join(60)
    after = table.read_all()
    assert names(table) == (["old", "silo-2"] if insert else ["new"])
    assert after.version.version == before.version.version + 1
    assert table.read_all() == after, "counted once"
