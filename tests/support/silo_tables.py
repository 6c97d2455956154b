"""Membership tables to test with: entries, a table on a server that several tests share, a clock that does not wait."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from membership.orleans import KubeMembershipTable, MembershipEntry, SiloAddress, SiloStatus, rows
from membership.orleans.journal import VersionRow, version_row
from runtime import GVR
from runtime.client import Client
from runtime.clock import SystemClock
from runtime.testing import FakeAPIServer

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
