"""Our definitions of the two resources, and what .NET writes: all of it is taken, kept, and found by cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from membership.orleans.rows import SILOS, VERSIONS, entry_of, new_version
from runtime.client import Client
from runtime.types import GVR

FIXTURES = Path(__file__).parent / "fixtures"
ROWS = sorted(path.name for path in FIXTURES.glob("*.json") if not path.name.startswith("version-"))
NAMESPACES = GVR("", "v1", "namespaces")


def load(name: str) -> dict[str, Any]:
    obj: dict[str, Any] = json.loads((FIXTURES / name).read_bytes())
    return obj


def fields(obj: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in obj.items() if key != "metadata"}


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_dotnet_are_stored_as_they_are(client: Client, name: str) -> None:
    namespace = client.resource(NAMESPACES).create({"metadata": {"generateName": "orleans-"}}).name
    silos = client.resource(SILOS, namespace)
    row = load(name)
    sent = row["metadata"].pop("resourceVersion", None)
    for given_by_server in ("uid", "namespace", "creationTimestamp", "generation", "managedFields"):
        row["metadata"].pop(given_by_server, None)
    stored = silos.create(row)
    assert fields(stored.to_dict()) == fields(row)
    if sent is not None:
        row["metadata"]["resourceVersion"] = stored.resource_version
        stored = silos.update(row)
    assert fields(silos.get(stored.name).to_dict()) == fields(row)
    assert entry_of(stored.to_dict()) == entry_of(row)


def test_a_write_of_the_version_by_dotnet_leaves_the_status_alone(client: Client) -> None:
    versions = client.resource(VERSIONS, "default")
    created = versions.create(load("version-new.json"))
    status = {"observedVersion": 0, "silos": {"active": 2, "shuttingDown": 1, "total": 3}, "gateways": 1}
    told = versions.update_status({**created.to_dict(), "status": status, "clusterVersion": 7})
    assert (told["status"], told["clusterVersion"]) == (status, 0)
    wanted = load("version-next.json")
    wanted["metadata"]["resourceVersion"] = told.resource_version
    written = versions.update({**wanted, "status": {"gateways": 9}})
    assert (written["status"], written["clusterVersion"]) == (status, 42)
    assert written["clusterId"] == "orders"


def test_rows_are_found_by_cluster_and_status(client: Client) -> None:
    silos = client.resource(SILOS, "default")
    for number, (cluster, status) in enumerate([("a", "Active"), ("a", "Dead"), ("b", "Active")]):
        row = load("silo-active.json") | {"clusterId": cluster, "status": status}
        silos.create({**row, "metadata": {"name": f"found-{number}"}})
    found = {
        selector: [obj.name for obj in silos.list(field_selector=selector)]
        for selector in ("clusterId=a", "clusterId=b", "clusterId=a,status=Dead", "clusterId=none")
    }
    assert list(found.values()) == [["found-0", "found-1"], ["found-2"], ["found-1"], []]
    versions = client.resource(VERSIONS, "default")
    versions.create(new_version("a"))
    versions.create(new_version("b"))
    assert [obj.name for obj in versions.list(field_selector="clusterId=b")] == ["b"]
