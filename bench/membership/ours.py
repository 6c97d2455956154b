"""KubeMembershipTable, and gateways by reads."""

from __future__ import annotations

from bench.silos import CLUSTER, NAMESPACE
from membership.orleans.address import SiloAddress
from membership.orleans.entry import MembershipEntry
from membership.orleans.gateways import KubeGatewayListProvider
from membership.orleans.table import KubeMembershipTable
from runtime.client import Client


class Table:
    def __init__(self, url: str) -> None:
        client = Client(url)
        self._table = KubeMembershipTable(client, CLUSTER, NAMESPACE)
        self._provider = KubeGatewayListProvider(client, CLUSTER, NAMESPACE)

    def update_i_am_alive(self, entry: MembershipEntry) -> None:
        self._table.update_i_am_alive(entry)

    def read_row(self, address: SiloAddress) -> tuple[MembershipEntry, int]:
        data = self._table.read_row(address)
        return data.members[0][0], data.version.version

    def read_all(self) -> tuple[list[MembershipEntry], int]:
        data = self._table.read_all()
        return [entry for entry, _ in data.members], data.version.version

    def gateways(self) -> list[str]:
        return self._provider.get_gateways()
