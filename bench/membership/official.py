"""The calls of Orleans.Clustering.Kubernetes 10, made with the official Python client."""

from __future__ import annotations

from typing import Any

from kubernetes.client.api.custom_objects_api import CustomObjectsApi
from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration

from bench.silos import CLUSTER, NAMESPACE
from membership.orleans.address import SiloAddress
from membership.orleans.entry import MembershipEntry
from membership.orleans.names import row_name
from membership.orleans.rows import SILOS, VERSIONS, entry_of, gateway_of
from membership.orleans.times import format_time

_SILOS = (SILOS.group, SILOS.version, NAMESPACE, SILOS.resource)
_VERSIONS = (VERSIONS.group, VERSIONS.version, NAMESPACE, VERSIONS.resource)


class Table:
    def __init__(self, url: str) -> None:
        configuration: Any = Configuration()
        configuration.host = url
        configuration.connection_pool_maxsize = 16
        self._api: Any = CustomObjectsApi(ApiClient(configuration))

    def update_i_am_alive(self, entry: MembershipEntry) -> None:
        name = row_name(entry.silo_address)
        row = self._api.get_namespaced_custom_object(*_SILOS, name)
        row["iAmAliveTime"] = format_time(entry.i_am_alive_time)
        self._api.replace_namespaced_custom_object(*_SILOS, name, row)

    def read_row(self, address: SiloAddress) -> tuple[MembershipEntry, int]:
        version = self._version()
        return entry_of(self._api.get_namespaced_custom_object(*_SILOS, row_name(address))), version

    def read_all(self) -> tuple[list[MembershipEntry], int]:
        version = self._version()
        return [entry_of(row) for row in self._rows()], version

    def gateways(self) -> list[str]:
        found = (gateway_of(row) for row in self._rows())
        return [gateway.gateway_uri() for gateway in found if gateway is not None]

    def _version(self) -> int:
        versions = self._api.list_namespaced_custom_object(*_VERSIONS)["items"]
        (version,) = (
            row["clusterVersion"]
            for row in versions
            if row["clusterId"] == CLUSTER and row["metadata"]["name"] == CLUSTER
        )
        return int(version)

    def _rows(self) -> list[dict[str, Any]]:
        rows = self._api.list_namespaced_custom_object(*_SILOS)["items"]
        return [row for row in rows if row["clusterId"] == CLUSTER]
