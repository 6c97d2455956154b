"""Tables that are large, have odd names, odd neighbours or fields of others; and readers while several write."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from membership.orleans import KubeMembershipTable, SiloAddress, rows
from membership.orleans.names import row_name, version_name
from runtime import GVR
from runtime.client import Client
from runtime.testing import FakeAPIServer
from tests.support.silo_tables import START, entry, new_table
from tests.support.table_history import TableHistory, Write, mark_of

CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")


@pytest.mark.parametrize("cluster_id", ["My Cluster", "ünïcode/../x", "x-1234", "a,b=c\\d", "long " * 100, "UPPER"])
def test_cluster_ids_that_are_no_names(client: Client, cluster_id: str) -> None:
    namespace = new_table(client, entry(1)).namespace
    table = KubeMembershipTable(client, cluster_id, namespace)
    table.initialize_membership_table(try_init_table_version=True)
    assert table.insert_row(entry(2), table.read_all().version.next())
    assert [member.silo_name for member, _ in table.read_all().members] == ["silo-2"]
    body = client.resource(rows.VERSIONS, namespace).get(version_name(cluster_id)).to_dict()
    assert (body["clusterId"], body["clusterVersion"]) == (cluster_id, 1)
    table.delete_membership_table_entries(cluster_id)
    assert table.read_all().members == []
    neighbour = KubeMembershipTable(client, "c1", namespace)
    assert [member.silo_name for member, _ in neighbour.read_all().members] == ["silo-1"]


@pytest.mark.parametrize("address", ["2001:db8::1", "fe80::1%eth0", "::ffff:10.0.0.9"])
def test_addresses_that_are_no_names(client: Client, address: str) -> None:
    table = new_table(client)
    silo = replace(entry(1), silo_address=SiloAddress(address, 11111, -7))
    assert table.insert_row(silo, table.read_all().version.next())
    data = table.read_row(silo.silo_address)
    assert [member for member, _ in data.members] == [silo]
    later = replace(silo, i_am_alive_time=START + timedelta(hours=1))
    table.update_i_am_alive(later)
    assert table.update_row(replace(later, proxy_port=1), table.read_all().members[0][1], data.version.next())
    ((member, etag),) = table.read_all().members
    assert member == replace(later, proxy_port=1)
    assert table.delete_row(silo.silo_address, etag)


def test_what_others_have_added_stays(client: Client) -> None:
    """Labels and annotations, and fields that a later version may have, on rows and on the version object."""
    table = new_table(client)
    silos = client.resource(rows.SILOS, table.namespace)
    versions = client.resource(rows.VERSIONS, table.namespace)

    assert table.insert_row(entry(1), table.read_all().version.next())
    extra = {"metadata": {"labels": {"l": "1"}, "annotations": {"a": "2"}, "finalizers": ["x.example.com/f"]}}
    name = row_name(entry(1).silo_address)
    silos.patch(name, {**extra, "faultZone": 3, "startTime": "2026-01-31T12:00:00.1234567+00:00"})
    versions.patch("c1", {**extra, "note": {"by": "us"}})

    data = table.read_all()
    member, etag = data.members[0]
    assert table.update_row(replace(member, proxy_port=1), etag, data.version.next())
    table.update_i_am_alive(replace(member, i_am_alive_time=START + timedelta(hours=1)))
    row, version = silos.get(name).to_dict(), versions.get("c1").to_dict()
    assert (row["faultZone"], row["startTime"]) == (3, "2026-01-31T12:00:00.1234567+00:00")
    assert version["note"] == {"by": "us"}
    for body in (row, version):
        metadata = body["metadata"]
        assert (metadata["labels"], metadata["annotations"]["a"]) == ({"l": "1"}, "2")
        assert metadata["finalizers"] == ["x.example.com/f"]

    table.delete_membership_table_entries("c1")
    assert silos.get(name).deletion_timestamp is not None
    assert versions.get("c1").deletion_timestamp is not None


def test_a_server_that_does_not_select_by_cluster() -> None:
    """The CRDs of the .NET provider do not let it. The question is asked once."""
    with FakeAPIServer() as server, server.client() as client:
        for name in ("clusterversions", "silos"):
            crd = yaml.safe_load(Path(f"crds/{name}.yaml").read_text())
            for version in crd["spec"]["versions"]:
                version.pop("selectableFields", None)
            client.resource(CRDS).create(crd)
        one, two = KubeMembershipTable(client, "c1", "default"), KubeMembershipTable(client, "c2", "default")
        for table, number in ((one, 1), (two, 2)):
            table.initialize_membership_table(try_init_table_version=True)
            assert table.insert_row(entry(number), table.read_all().version.next())
        server.requests.clear()
        assert [member.silo_name for member, _ in one.read_all().members] == ["silo-1"]
        assert [member.silo_name for member, _ in one.read_all().members] == ["silo-1"]
        assert [made.code for made in server.requests if made.verb == "list"] == [200, 200]


def test_where_it_can_the_server_selects(server: FakeAPIServer, client: Client) -> None:
    table = new_table(client, entry(1))
    server.requests.clear()
    table.read_all()
    (listed,) = [made for made in server.requests if made.verb == "list"]
    assert listed.query == {"fieldSelector": "clusterId=c1"}


@pytest.mark.slow
def test_a_thousand_silos(client: Client) -> None:
    table = new_table(client)
    silos = client.resource(rows.SILOS, table.namespace)
    for number in range(1, 1001):
        silos.create(rows.new_row(entry(number), "c1"))
        silos.create(rows.new_row(entry(number + 2000), "another"))
    data = table.read_all()
    assert sorted(member.silo_address.generation for member, _ in data.members) == list(range(101, 1101))
    member, etag = data.members[500]
    assert table.update_row(replace(member, proxy_port=1), etag, data.version.next())
    assert table.read_row(member.silo_address).version.version == 1
    table.delete_membership_table_entries("c1")
    assert table.read_all().members == []
    assert len(silos.list()) == 1000


def test_readers_see_versions_and_rows_that_belong_together(client: Client) -> None:
    """Threads that really run at once: what they see is explained by one change after the other."""
    names = {entry(1).silo_address: "1:a", entry(2).silo_address: "2:b"}
    table = new_table(client, *(replace(entry(number), silo_name=name) for number, name in ((1, "1:a"), (2, "2:b"))))
    table = KubeMembershipTable(client, "c1", table.namespace, timeout=60.0)
    history, done = TableHistory(names), threading.Event()

    def read() -> None:
        while not done.is_set():
            called = time.monotonic()
            data = table.read_all()
            history.read(called, time.monotonic(), data)

    def write(who: int) -> None:
        made = 0
        for number in range(1000):
            data = table.read_all()
            member, etag = data.members[who % 2]
            version = data.version.next()
            mark, called = mark_of(version.version, f"{who}.{number}"), time.monotonic()
            result = table.update_row(replace(member, silo_name=mark), etag, version)
            history.wrote(Write(mark, member.silo_address, called, time.monotonic(), result))
            made += result
            if made == 6:
                return

    with ThreadPoolExecutor(6, "table") as pool:
        readers = [pool.submit(read) for _ in range(3)]
        try:
            list(pool.map(write, range(3)))
        finally:
            done.set()
        for reader in readers:
            reader.result()
    history.read(time.monotonic(), time.monotonic(), table.read_all())
    history.check()
    assert table.read_all().version.version == 2 + 3 * 6
