"""Membership tables to test with: entries, a table on a server that several tests share, a clock that does not wait."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from membership.orleans import KubeMembershipTable, MembershipEntry, SiloAddress, SiloStatus, rows
from membership.orleans.journal import VersionRow, version_row
from runtime import GVR
from runtime.client import Client
from runtime.clock import SystemClock
from runtime.testing import FakeAPIServer
from tests.support.stepped import Hook, Killed, Steps, kill_at

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


def entry(number: int = 1, status: SiloStatus = SiloStatus.ACTIVE, name: str = "") -> MembershipEntry:
    """The entry of the silo of that number."""
    return MembershipEntry(
        SiloAddress(f"10.0.{number // 256}.{number % 256}", 11111, 100 + number),
        status,
        proxy_port=30000,
        host_name=f"host-{number}",
        silo_name=name or f"silo-{number}",
        start_time=START,
        i_am_alive_time=START + timedelta(seconds=number),
    )


OLD, NEW, OTHER = entry(1, name="old"), entry(1, name="new"), entry(2)
"""A row, as it is and as it shall be, and one that is not there yet."""


class HurriedClock(SystemClock):
    """Sleeps end at once, and have taken their time for all who share the clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _slept
        self._slept = 0.0

    def monotonic(self) -> float:
        with self._lock:
            return super().monotonic() + self._slept

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._slept += max(seconds, 0.0)


@contextmanager
def server_of_tables() -> Iterator[FakeAPIServer]:
    """A server with the CRDs."""
    with FakeAPIServer() as server:
        server.apply_manifests("crds/clusterversions.yaml")
        server.apply_manifests("crds/silos.yaml")
        yield server


def new_table(client: Client, *entries: MembershipEntry) -> KubeMembershipTable:
    """An initialized table with these rows, in a namespace of its own: objects of two clusters' rows of the same silo
    would have the same name."""
    namespace = f"orleans-{uuid.uuid4().hex[:12]}"
    client.resource(GVR("", "v1", "namespaces")).create({"metadata": {"name": namespace}})
    table = KubeMembershipTable(client, "c1", namespace, clock=HurriedClock())
    table.initialize_membership_table(try_init_table_version=True)
    for each in entries:
        assert table.insert_row(each, table.read_all().version.next())
    return table


def version_object(client: Client, table: KubeMembershipTable) -> VersionRow:
    """What is in the version object now."""
    obj = client.resource(rows.VERSIONS, table.namespace).get(table.cluster_id)
    return version_row(obj.to_dict(), table.cluster_id)


def stepped(
    client: Client, table: KubeMembershipTable, hook: Hook = lambda step: None, clock: HurriedClock | None = None
) -> tuple[KubeMembershipTable, Steps]:
    """The table of another writer, whose calls the hook sees."""
    steps = Steps(hook)
    other = KubeMembershipTable(steps.client(client), table.cluster_id, table.namespace, clock=clock or HurriedClock())
    return other, steps


def another(
    client: Client, table: KubeMembershipTable, hook: Hook, clock: HurriedClock | None = None
) -> KubeMembershipTable:
    """:func:`stepped`, the table alone."""
    return stepped(client, table, hook, clock)[0]


def half_done(client: Client, table: KubeMembershipTable, calls: int = 3) -> None:
    """A writer of :data:`OTHER` dies after so many of its five calls."""
    version = table.read_all().version.next()
    with pytest.raises(Killed):
        another(client, table, kill_at(calls - 1, "after")).insert_row(OTHER, version)


def rename(table: KubeMembershipTable, name: str = "new", number: int = 1) -> bool:
    """Change the row of the silo of that number."""
    data = table.read_all()
    found = data.get(entry(number).silo_address)
    assert found is not None
    return table.update_row(replace(found[0], silo_name=name), found[1], data.version.next())


def names(table: KubeMembershipTable) -> list[str]:
    """Of the silos whose rows are there."""
    return sorted(member.silo_name for member, _ in table.read_all().members)
