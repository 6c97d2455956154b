"""A Python agent in a table with silos that do not speak its protocol: it stays away, or harms nobody who lives."""

from __future__ import annotations

import socket
import struct
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from membership.orleans import (
    KubeMembershipTable,
    MembershipEntry,
    MembershipOptions,
    NotReachable,
    SiloAddress,
    SiloAgent,
    SiloStatus,
    TcpTransport,
)
from runtime.testing import FakeAPIServer
from tests.support.silo_ends import CLUSTER, listening, silo
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[3]
SLOW = 60.0
MOST_PREAMBLE = 1024  # bytes; Orleans' ConnectionPreambleHelper


class DotNet:
    """Takes connections as a .NET silo: the length of a preamble first, and the end if it is too long."""

    def __init__(self) -> None:
        self.probes = 0

    def serve(self, sock: socket.socket) -> None:
        (length,) = struct.unpack("<i", sock.recv(4, socket.MSG_WAITALL))
        if length <= MOST_PREAMBLE:
            sock.recv(length, socket.MSG_WAITALL)
            threading.Event().wait(SLOW)
        self.probes += 1


def _active(table: KubeMembershipTable, address: SiloAddress) -> None:
    now = datetime.now(UTC)
    entry = MembershipEntry(address, SiloStatus.ACTIVE, [], 0, "net", "net", now, now)
    assert table.insert_row(entry, table.read_all().version.next())


def _status(table: KubeMembershipTable, address: SiloAddress) -> SiloStatus:
    found = table.read_row(address)
    (row,) = [entry for entry, _ in found.members]
    return row.status


def test_a_dotnet_silo_is_left_alone_while_it_lives_and_declared_dead_after(
    server: FakeAPIServer, caplog: pytest.LogCaptureFixture
) -> None:
    options = MembershipOptions(probe_timeout=0.1, table_refresh=1.0)
    dotnet = DotNet()
    with server.client() as client:
        table = KubeMembershipTable(client, CLUSTER)
        table.initialize_membership_table(True)
        with listening(dotnet.serve) as address:
            _active(table, address)
            me = silo()
            agent = SiloAgent(table, me, TcpTransport(me, CLUSTER, foreign="alive"), options)
            agent.join()
            try:
                eventually(lambda: dotnet.probes > 2 * options.num_missed_probes, "many probes", SLOW)
                assert _status(table, address) is SiloStatus.ACTIVE
                assert f"silo={str(address)!r}" in caplog.text
                assert "a silo does not speak the protocol of these agents" in caplog.text
            except BaseException:
                agent.stop()
                raise
        try:
            eventually(lambda: _status(table, address) is SiloStatus.DEAD, "dead", SLOW)
        finally:
            assert agent.leave()


def test_unless_told_to_it_does_not_join_them(server: FakeAPIServer, caplog: pytest.LogCaptureFixture) -> None:
    """As a silo that is active .NET silos would count on it, until they found out. Nor does it judge one that writes
    its alive time so seldom that it looks stale."""
    options = MembershipOptions(probe_timeout=0.1, max_join_attempt_time=1.5, alive_period=0.1, table_refresh=0.1)
    with server.client() as client, listening(DotNet().serve) as address:
        table = KubeMembershipTable(client, "strangers")
        table.initialize_membership_table(True)
        _active(table, address)
        me = silo()
        with pytest.raises(NotReachable, match=f"{address} did not answer"):
            SiloAgent(table, me, TcpTransport(me, "strangers"), options).join()
        assert {entry.silo_address: entry.status for entry, _ in table.read_all().members} == {
            address: SiloStatus.ACTIVE,
            me: SiloStatus.DEAD,
        }
        assert "ended, or does not speak the agents' protocol" in caplog.text
