"""Tables on which an operator has to do everything it ever does to one, in about a minute of real time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

from controllers.orleans.pods import PODS
from membership.orleans import KubeMembershipTable, MembershipEntry, SiloAddress, SiloStatus
from membership.orleans.names import row_name
from membership.orleans.rows import SILOS, VERSIONS, new_row, new_version
from runtime.client import Client, NotFound
from tests.support.stepped import Killed, Steps, kill_at
from tests.support.waiting import eventually

_POD = "orleans-0"


class OrleansScenario:
    """:meth:`begin` once the operator runs, :meth:`finish` when other things have been done meanwhile.

    Asked for are: watches of both resources and of Pods; get, list, create, update and delete of silos; get, list and
    update of version objects; patch of their status; get of a Pod.
    """

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._silos = client.resource(SILOS, namespace=namespace)
        self._versions = client.resource(VERSIONS, namespace=namespace)
        self._pods = client.resource(PODS, namespace=namespace)

    def begin(self) -> None:
        week = datetime.now(UTC) - timedelta(days=8)
        self._cluster("removes", _entry(1, status=SiloStatus.DEAD, start_time=week, i_am_alive_time=week))
        self._cluster("inserts", _entry(2))
        self._cluster("updates", _entry(4))
        self._cluster("declares", _entry(6, host_name=_POD, silo_name=_POD))
        self._pods.create(
            {
                "metadata": {"name": _POD},
                "spec": {"schedulerName": "nobody", "containers": [{"name": "silo", "image": "silo"}]},
            }
        )
        running = {"phase": "Running", "podIP": "10.0.0.6", "podIPs": [{"ip": "10.0.0.6"}]}
        self._pods.patch(_POD, {"status": running}, type="merge", subresource="status")
        self._half_done("inserts", _entry(3))
        self._half_done("updates", _entry(4, status=SiloStatus.SHUTTING_DOWN))
        for cluster in ("removes", "inserts", "updates", "declares"):
            eventually(partial(self._has_status, cluster), f"a status of {cluster}", 120.0)
        self._pods.delete(_POD, grace_period_seconds=0)

    def finish(self) -> None:
        eventually(lambda: not self._there(_entry(1)), "the removal of an old row", 240.0)
        eventually(lambda: self._there(_entry(3)), "the end of somebody's insert", 240.0)
        eventually(lambda: self._status(_entry(4)) == "ShuttingDown", "the end of somebody's update", 240.0)
        eventually(lambda: self._status(_entry(6)) == "Dead", "the death of a silo without Pod", 240.0)

    def _cluster(self, name: str, *entries: MembershipEntry) -> None:
        self._versions.create(new_version(name, 1))
        for entry in entries:
            self._silos.create(new_row(entry, name))

    def _half_done(self, cluster: str, entry: MembershipEntry) -> None:
        """Somebody has announced to write this row, and died."""
        data = KubeMembershipTable(self._client, cluster, self._namespace).read_all()
        known = data.get(entry.silo_address)
        writer = KubeMembershipTable(Steps(kill_at(2, "after")).client(self._client), cluster, self._namespace)
        try:
            if known is None:
                writer.insert_row(entry, data.version.next())
            else:
                writer.update_row(entry, known[1], data.version.next())
        except Killed:
            return
        raise AssertionError("it was to be killed")

    def _has_status(self, cluster: str) -> bool:
        return "status" in self._versions.get(cluster)

    def _there(self, entry: MembershipEntry) -> bool:
        try:
            self._silos.get(row_name(entry.silo_address))
        except NotFound:
            return False
        return True

    def _status(self, entry: MembershipEntry) -> str:
        return str(self._silos.get(row_name(entry.silo_address))["status"])


def _entry(
    number: int,
    *,
    status: SiloStatus = SiloStatus.ACTIVE,
    host_name: str = "vm",
    silo_name: str = "",
    start_time: datetime | None = None,
    i_am_alive_time: datetime | None = None,
) -> MembershipEntry:
    now = datetime.now(UTC)
    return MembershipEntry(
        SiloAddress(f"10.0.0.{number}", 11111, 1),
        status,
        proxy_port=30000,
        host_name=host_name,
        silo_name=silo_name or f"Silo_{number}",
        start_time=start_time or now,
        i_am_alive_time=i_am_alive_time or now,
    )
