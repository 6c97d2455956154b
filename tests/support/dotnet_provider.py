"""A writer and reader that makes the calls of Orleans.Clustering.Kubernetes, in its order and with its bodies.

What it does not do, it does not do here either: it looks at no annotation and keeps none but in a sign of life, it
writes the version before the row, it deletes without preconditions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from membership.orleans import MembershipEntry, SiloAddress, SiloStatus, TableVersion, rows
from membership.orleans.times import parse_time
from runtime.client import Client, NotFound
from runtime.types import JSONObject


@dataclass(frozen=True, slots=True)
class View:
    """What a .NET silo has read: row name -> the row's body."""

    version: TableVersion
    rows: dict[str, JSONObject]

    def etag(self, name: str) -> str:
        return str(self.rows[name]["metadata"]["resourceVersion"])


@dataclass
class Watcher:
    """A .NET silo that reads the table: it ignores each snapshot whose version is not above the last one's.

    :ivar views: those it took notice of.
    """

    provider: DotNetProvider
    views: list[View] = field(default_factory=list)

    def look(self) -> None:
        view = self.provider.read_all()
        if not self.views or view.version.version > self.views[-1].version.version:
            self.views.append(view)


class DotNetProvider:
    """
    :ivar versions_written: how often it has written the version object.
    """

    def __init__(self, client: Client, cluster_id: str, namespace: str) -> None:
        self.cluster_id = cluster_id
        self.versions_written = 0
        self._versions = client.resource(rows.VERSIONS, namespace)
        self._silos = client.resource(rows.SILOS, namespace)

    def initialize(self) -> None:
        try:
            self._versions.get(self.cluster_id)
        except NotFound:
            self._versions.create(self._version(TableVersion(0, "")))

    def read_all(self) -> View:
        version = self._current()
        found = {row["metadata"]["name"]: row for row in self._cluster()}
        return View(version or TableVersion(0, ""), found)

    def insert_row(self, entry: MembershipEntry, version: TableVersion) -> bool:
        """:raises ClientError: among others Conflict, where it lost a race."""
        row = self._row(entry)
        try:
            self._silos.get(row["metadata"]["name"])
            return False
        except NotFound:
            pass
        if not self._advance(version):
            return False
        self._silos.create(row)
        return True

    def update_row(self, entry: MembershipEntry, etag: str, version: TableVersion) -> bool:
        """:raises ClientError: among others Conflict, where it lost a race."""
        row = self._row(entry)
        row["metadata"]["resourceVersion"] = etag
        if not self._advance(version):
            return False
        self._silos.update(row)
        return True

    def update_i_am_alive(self, entry: MembershipEntry) -> None:
        """:raises ClientError: among others Conflict, where it lost a race, and NotFound."""
        name = self._row(entry)["metadata"]["name"]
        row = self._silos.get(name).to_dict()
        row["iAmAliveTime"] = self._row(entry)["iAmAliveTime"]
        self._silos.update(row)

    def delete_entries(self) -> None:
        version = self._current()
        if version is not None:
            self._versions.delete(self.cluster_id)
        for row in self._cluster():
            self._silos.delete(row["metadata"]["name"])

    def cleanup(self, before: str) -> None:
        for row in self._cluster():
            if row["status"] == SiloStatus.DEAD.value and parse_time(row["iAmAliveTime"]) < parse_time(before):
                self._silos.delete(row["metadata"]["name"])

    def _current(self) -> TableVersion | None:
        for version in self._versions.list():
            body = version.to_dict()
            if body.get("clusterId") == self.cluster_id and version.name == self.cluster_id:
                return TableVersion(body.get("clusterVersion") or 0, version.resource_version)
        return None

    def _advance(self, version: TableVersion) -> bool:
        current = self._current()
        if current is None or current.version == version.version:
            return False
        self._versions.update(self._version(version))
        self.versions_written += 1
        return True

    def _cluster(self) -> list[JSONObject]:
        found = [silo.to_dict() for silo in self._silos.list()]
        return [row for row in found if row.get("clusterId") == self.cluster_id]

    def _version(self, version: TableVersion) -> JSONObject:
        metadata = {"name": self.cluster_id} | ({"resourceVersion": version.etag} if version.etag else {})
        return {**rows.new_version(self.cluster_id, version.version), "metadata": metadata}

    def _row(self, entry: MembershipEntry) -> JSONObject:
        """As it writes one: nothing but what the entry knows. Its names are ours for IPv4."""
        row = rows.new_row(entry, self.cluster_id)
        address: SiloAddress = entry.silo_address
        row["metadata"] = {"name": f"{address.address}-{address.port}-{address.generation}"}
        return row
