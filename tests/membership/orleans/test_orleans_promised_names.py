"""The public names that DESIGN.md promises of membership.orleans, and what they take."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import membership.orleans
from membership.orleans import (
    KubeGatewayListProvider,
    KubeMembershipTable,
    MembershipEntry,
    MembershipTableData,
    SiloAddress,
    SiloStatus,
    TableVersion,
)

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", membership.orleans.__all__)
def test_every_name_is_there_and_listed(name: str) -> None:
    assert getattr(membership.orleans, name).__name__ == name
    assert name in dir(membership.orleans)


def test_no_other_name_is_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Silo'"):
        membership.orleans.Silo  # noqa: B018


def test_the_package_imports_nothing_before_it_is_used() -> None:
    code = "import membership.orleans, sys; print([m for m in sys.modules if m.startswith('membership.orleans.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("function", "promised"),
    [
        (KubeMembershipTable, "client cluster_id namespace"),
        (KubeMembershipTable.initialize_membership_table, "try_init_table_version"),
        (KubeMembershipTable.read_all, ""),
        (KubeMembershipTable.read_row, "address"),
        (KubeMembershipTable.insert_row, "entry version"),
        (KubeMembershipTable.update_row, "entry etag version"),
        (KubeMembershipTable.update_i_am_alive, "entry"),
        (KubeMembershipTable.delete_membership_table_entries, "cluster_id"),
        (KubeMembershipTable.cleanup_defunct_silo_entries, "before"),
        (KubeGatewayListProvider, "client cluster_id namespace"),
        (KubeGatewayListProvider.get_gateways, ""),
        (SiloAddress, "address port generation"),
        (
            MembershipEntry,
            "silo_address status suspect_times proxy_port host_name silo_name start_time i_am_alive_time",
        ),
        (TableVersion, "version etag"),
        (MembershipTableData, "members version"),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_signature(function: Callable[..., Any], promised: str) -> None:
    parameters = dict(inspect.signature(function).parameters)
    parameters.pop("self", None)
    positional = [n for n, p in parameters.items() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    names = promised.split()
    assert positional[: len(names)] == names
    assert all(p.default is not inspect.Parameter.empty for n, p in parameters.items() if n not in names)


def test_a_table_makes_its_version_row_unless_told_otherwise() -> None:
    parameters = inspect.signature(KubeMembershipTable.initialize_membership_table).parameters
    assert parameters["try_init_table_version"].default is True


def test_the_states_are_orleans_own() -> None:
    assert {status.name: status.value for status in SiloStatus} == {
        "NONE": "None",
        "CREATED": "Created",
        "JOINING": "Joining",
        "ACTIVE": "Active",
        "SHUTTING_DOWN": "ShuttingDown",
        "STOPPING": "Stopping",
        "DEAD": "Dead",
    }
    assert [str(status) for status in SiloStatus] == [status.value for status in SiloStatus]


def test_entries_and_tables() -> None:
    address, other = SiloAddress("10.0.0.1", 11111, 5), SiloAddress("10.0.0.1", 11111, 6)
    vote = (other, datetime(2026, 1, 1, tzinfo=UTC))
    entry = MembershipEntry(address, SiloStatus.ACTIVE, [vote])
    assert MembershipEntry(address, SiloStatus.ACTIVE).suspect_times == []
    assert TableVersion(3, "7").next() == TableVersion(4, "7")
    table = MembershipTableData([(entry, "9")], TableVersion(3, "7"))
    assert table.get(address) == (entry, "9")
    assert table.get(other) is None
    assert list(table.malformed) == []
