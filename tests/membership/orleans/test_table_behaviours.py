"""What Orleans asks of every membership table (its own MembershipTableTestsBase), and what ours adds: on a server that
behaves, on one that fails, and on a real control plane where there is one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from membership.orleans import (
    KubeGatewayListProvider,
    KubeMembershipTable,
    MembershipEntry,
    MembershipTableData,
    SiloAddress,
    SiloStatus,
    TableVersion,
)
from runtime import GVR
from runtime.client import Client, ClientError, NotFound
from runtime.testing import APIServer, FakeAPIServer
from tests.support.silo_tables import HurriedClock, entry

Behaviour = Callable[[Client, str], None]

BEHAVIOURS: dict[str, Behaviour] = {}
NOW = datetime(2026, 1, 31, 13, 0, 0, 123456, tzinfo=UTC)


def behaviour(test: Behaviour) -> Behaviour:
    """A test of a client and an empty namespace."""
    BEHAVIOURS[test.__name__] = test
    return test


CLOCK = HurriedClock()


def table_of(client: Client, namespace: str, cluster_id: str = "c1") -> KubeMembershipTable:
    return KubeMembershipTable(client, cluster_id=cluster_id, namespace=namespace, timeout=3600.0, clock=CLOCK)


def initialized(client: Client, namespace: str, cluster_id: str = "c1") -> KubeMembershipTable:
    table = table_of(client, namespace, cluster_id)
    table.initialize_membership_table(try_init_table_version=True)
    return table


def found(data: MembershipTableData, address: SiloAddress) -> tuple[MembershipEntry, str]:
    row = data.get(address)
    assert row is not None
    return row


@behaviour
def empty_table(client: Client, namespace: str) -> None:
    table = table_of(client, namespace)
    assert table.read_all() == MembershipTableData([], TableVersion(0, ""), [])
    table.initialize_membership_table(try_init_table_version=False)
    assert table.read_all().version.etag == ""
    table.initialize_membership_table(try_init_table_version=True)
    data = table.read_all()
    assert (data.members, data.version.version) == ([], 0)
    assert data.version.etag
    table.initialize_membership_table(try_init_table_version=True)
    assert table.read_all() == data, "who comes second finds it done"


@behaviour
def insert(client: Client, namespace: str) -> None:
    table = initialized(client, namespace)
    one = replace(entry(1), suspect_times=[(SiloAddress("10.0.0.9", 1, 2), NOW.replace(microsecond=5000))])
    assert table.insert_row(one, table.read_all().version.next()) is True
    data = table.read_all()
    assert data.version.version == 1
    ((member, etag),) = data.members
    assert member == one
    assert etag


@behaviour
def insert_what_is_there(client: Client, namespace: str) -> None:
    table = initialized(client, namespace)
    version = table.read_all().version.next()
    assert table.insert_row(entry(1), version) is True
    assert table.insert_row(entry(1), version) is False, "the version is old"
    assert table.insert_row(entry(2), version) is False, "the version is old"
    data = table.read_all()
    assert table.insert_row(entry(1, name="other"), data.version.next()) is False, "the silo has a row"
    assert table.insert_row(entry(2), data.version) is False, "not the version after the one read"
    assert table.insert_row(entry(2), data.version.next().next()) is False, "not the version after the one read"
    assert table.insert_row(entry(2), TableVersion(2, "1")) is False, "the etag is wrong"
    assert table.read_all() == data


@behaviour
def read_row(client: Client, namespace: str) -> None:
    table = initialized(client, namespace)
    assert table.insert_row(entry(1), table.read_all().version.next())
    assert table.insert_row(entry(2), table.read_all().version.next())
    everything = table.read_all()
    one = table.read_row(entry(1).silo_address)
    assert one.version == everything.version
    assert one.members == [everything.get(entry(1).silo_address)]
    none = table.read_row(entry(3).silo_address)
    assert (none.members, none.version) == ([], everything.version)


@behaviour
def update(client: Client, namespace: str) -> None:
    table = initialized(client, namespace)
    for number in range(1, 6):
        suspects = [(SiloAddress("10.0.0.9", 1, 2), datetime(2026, 1, 31, 12, second, tzinfo=UTC)) for second in (1, 2)]
        row = replace(entry(number), suspect_times=suspects)
        stale = table.read_all().version.next()
        assert table.insert_row(row, stale)
        _, etag = found(table.read_all(), row.silo_address)
        assert table.update_row(row, etag, stale) is False, "the version is old"

        version = table.read_all().version.next()
        changed = replace(row, status=SiloStatus.SHUTTING_DOWN, suspect_times=suspects[:1])
        assert table.update_row(changed, "17", version) is False, "the etag is not the row's"
        assert table.update_row(entry(100), etag, version) is False, "there is no such row"
        assert table.update_row(changed, etag, version) is True
        assert table.update_row(row, etag, version) is False, "both are old"

        data = table.read_all()
        member, now = found(data, row.silo_address)
        assert member == changed
        assert now != etag
        assert table.update_row(row, now, version) is False, "the version is old"
        assert table.update_row(row, etag, data.version.next()) is False, "the etag is old"
        assert table.read_all() == data
        assert (data.version.version, len(data.members)) == (2 * number, number)


@behaviour
def parallel_writers(client: Client, namespace: str) -> None:
    table = initialized(client, namespace)
    version = table.read_all().version.next()
    with ThreadPoolExecutor(20, "writer") as pool:
        assert sum(pool.map(lambda _: table.insert_row(entry(1), version), range(20))) == 1

        def update_once(number: int) -> None:
            while True:
                data = table.read_all()
                member, etag = found(data, entry(1).silo_address)
                if table.update_row(replace(member, proxy_port=number), etag, data.version.next()):
                    return

        list(pool.map(update_once, range(1, 20)))
    data = table.read_all()
    assert data.version.version == 20
    ((member, _),) = data.members
    assert member.proxy_port in range(1, 20)


@behaviour
def signs_of_life(client: Client, namespace: str) -> None:
    table = initialized(client, namespace)
    assert table.insert_row(entry(1), table.read_all().version.next())
    before = table.read_all()
    # Orleans hands over an entry with nothing but the address and the time.
    table.update_i_am_alive(MembershipEntry(entry(1).silo_address, SiloStatus.NONE, i_am_alive_time=NOW))
    data = table.read_all()
    assert data.version == before.version
    ((member, _),) = data.members
    assert member == replace(entry(1), i_am_alive_time=NOW)

    changed = replace(before.members[0][0], status=SiloStatus.DEAD)
    assert table.update_row(changed, before.members[0][1], before.version.next()), "late for nothing but a sign of life"
    ((member, _),) = table.read_all().members
    assert member == replace(changed, i_am_alive_time=NOW)
    table.update_i_am_alive(replace(entry(1), i_am_alive_time=NOW - timedelta(hours=1)))
    assert table.read_all().members[0][0].i_am_alive_time == NOW - timedelta(hours=1), "a clock that was put right"

    with pytest.raises(NotFound, match=r"no row of silo 10\.0\.0\.2:11111@102 in the membership table of cluster 'c1'"):
        table.update_i_am_alive(entry(2))
    assert len(table.read_all().members) == 1


@behaviour
def cleanup(client: Client, namespace: str) -> None:
    table = initialized(client, namespace)
    old, recent = NOW - timedelta(days=8), NOW - timedelta(days=6)
    rows = [
        replace(entry(1, SiloStatus.DEAD), start_time=old, i_am_alive_time=old),
        replace(entry(2, SiloStatus.DEAD), start_time=old, i_am_alive_time=recent),
        replace(entry(3, SiloStatus.DEAD), start_time=recent, i_am_alive_time=old),
        replace(entry(4, SiloStatus.ACTIVE), start_time=old, i_am_alive_time=old),
    ]
    for row in rows:
        assert table.insert_row(row, table.read_all().version.next())
    version = table.read_all().version
    table.cleanup_defunct_silo_entries(NOW - timedelta(days=7))
    data = table.read_all()
    assert sorted(member.silo_address.generation for member, _ in data.members) == [102, 103, 104]
    assert data.version == version
    for number, status in enumerate(SiloStatus, start=5):
        row = replace(entry(number, status), start_time=old, i_am_alive_time=old)
        assert table.insert_row(row, table.read_all().version.next())
    table.cleanup_defunct_silo_entries(NOW - timedelta(days=7), only_dead=True)
    assert len(table.read_all().members) == 3 + len(SiloStatus) - 1
    table.cleanup_defunct_silo_entries(NOW - timedelta(days=7))
    active = [
        member.silo_address.generation for member, _ in table.read_all().members if member.status is SiloStatus.ACTIVE
    ]
    assert sorted(member.silo_address.generation for member, _ in table.read_all().members) == [102, 103, *active]
    assert len(active) == 2, "no silo that is active is removed, however long it has been silent"
    member, etag = found(table.read_all(), entry(2).silo_address)
    assert table.delete_row(member.silo_address, "17") is False
    assert table.delete_row(member.silo_address, etag) is True
    assert table.delete_row(member.silo_address, etag) is False
    assert table.read_row(member.silo_address).members == []


@behaviour
def clusters_side_by_side(client: Client, namespace: str) -> None:
    one, two = initialized(client, namespace, "one"), initialized(client, namespace, "two")
    assert one.insert_row(entry(1), one.read_all().version.next())
    assert two.insert_row(entry(2), two.read_all().version.next())
    assert [member.silo_name for member, _ in one.read_all().members] == ["silo-1"]
    assert one.read_row(entry(2).silo_address).members == []
    with pytest.raises(NotFound):
        one.update_i_am_alive(entry(2))
    assert one.insert_row(entry(2), one.read_all().version.next()) is False, "the name is taken"
    one.delete_membership_table_entries("two")
    assert two.read_all() == MembershipTableData([], TableVersion(0, ""), [])
    assert [member.silo_name for member, _ in one.read_all().members] == ["silo-1"]
    two.initialize_membership_table(try_init_table_version=True)
    assert two.insert_row(entry(2), two.read_all().version.next()), "it begins anew"
    assert two.read_all().version.version == 1


@behaviour
def gateways(client: Client, namespace: str) -> None:
    table = initialized(client, namespace)
    for number in range(1, 6):
        row = entry(number, SiloStatus.ACTIVE if number > 2 else SiloStatus.JOINING)
        assert table.insert_row(replace(row, proxy_port=30000 if number > 3 else 0), table.read_all().version.next())
    with_gateways = KubeGatewayListProvider(client, cluster_id="c1", namespace=namespace, timeout=60.0)
    assert with_gateways.get_gateways() == ["gwy.tcp://10.0.0.4:30000/104", "gwy.tcp://10.0.0.5:30000/105"]


# ---- where they are seen


@pytest.fixture
def faulty(server: FakeAPIServer) -> Iterator[FakeAPIServer]:
    yield server
    server.faults.clear()


def namespace_on(client: Client) -> str:
    name = f"orleans-{uuid.uuid4().hex[:12]}"
    client.resource(GVR("", "v1", "namespaces")).create({"metadata": {"name": name}})
    return name


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_on_a_server_that_behaves(server: FakeAPIServer, name: str) -> None:
    with server.client() as client:
        BEHAVIOURS[name](client, namespace_on(client))


WRITES = {"verb": ["create", "update", "delete"]}
FAULTS: dict[str, dict[str, Any]] = {
    "answers are lost": {**WRITES, "drop": "after"},
    "requests are lost": {**WRITES, "drop": "before"},
    "connections are reset": {"reset": "after"},
    "answers are cut": {"truncate": True},
    "too many requests": {"status": 429},
    "later, please": {**WRITES, "status": 429, "retry_after": 1, "times": 3},
    "errors": {"status": 500},
    "timeouts of the server": {"status": 504},
    "unavailable": {"status": 503},
    "conflicts that are none": {"verb": ["create", "update", "delete"], "resource": "silos", "status": 409},
    "delays": {"delay": [0.0, 0.02]},
}


def check_under(server: FakeAPIServer, name: str, fault: str) -> None:
    with server.client() as client:
        namespace = namespace_on(client)
        conditions = {"group": "orleans.dot.net", "probability": 0.25, **FAULTS[fault]}
        server.faults.load({"seed": 7, "faults": [conditions]})
        BEHAVIOURS[name](client, namespace)
        server.faults.clear()


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "later, please"])
def test_under_faults(faulty: FakeAPIServer, fault: str) -> None:
    check_under(faulty, "update", fault)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", BEHAVIOURS)
def test_all_under_faults(faulty: FakeAPIServer, name: str, fault: str) -> None:
    check_under(faulty, name, fault)


def test_a_server_that_never_answers_is_given_up(faulty: FakeAPIServer) -> None:
    with faulty.client() as client:
        namespace = namespace_on(client)
        table = initialized(client, namespace)
        version = table.read_all().version.next()
        faulty.faults.add(group="orleans.dot.net", namespace=namespace, verb=["create", "update"], stall=True)
        with pytest.raises(ClientError):
            KubeMembershipTable(client, "c1", namespace, timeout=0.3).insert_row(entry(1), version)
        faulty.faults.clear()
        data = table.read_all()
        assert data.version.version == len(data.members)


@pytest.mark.control_plane
@pytest.mark.fake_api_server(manifests=["crds/clusterversions.yaml", "crds/silos.yaml"])
def test_on_either(api_server: APIServer, kube_client: Client, kube_namespace: str) -> None:
    for number, test in enumerate(BEHAVIOURS.values()):
        name = f"{kube_namespace}-{number}"
        namespaces = kube_client.resource(GVR("", "v1", "namespaces"))
        namespaces.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        test(kube_client, name)
        namespaces.delete(name)
