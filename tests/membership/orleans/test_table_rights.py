"""Which rights the table needs: no more than it is granted, and none of them for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from membership.orleans import KubeMembershipTable, SiloStatus
from runtime import GVR
from runtime.client import Client, Forbidden
from runtime.testing import FakeAPIServer
from tests.support.silo_tables import START, HurriedClock, entry, new_table, version_object
from tests.support.stepped import Killed, Steps, kill_at

ROLES = GVR("rbac.authorization.k8s.io", "v1", "roles")
BINDINGS = GVR("rbac.authorization.k8s.io", "v1", "rolebindings")

# As the docstring of KubeMembershipTable has them.
NEEDED = {
    ("silos", "get"), ("silos", "list"), ("silos", "create"), ("silos", "update"), ("silos", "delete"),
    ("clusterversions", "get"), ("clusterversions", "create"), ("clusterversions", "update"),
    ("clusterversions", "delete"),
}  # fmt: skip
TO_READ = {("silos", "get"), ("silos", "list"), ("clusterversions", "get")}


@pytest.fixture(scope="module")
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer(authorization_mode="RBAC") as server:
        server.apply_manifests("crds/clusterversions.yaml")
        server.apply_manifests("crds/silos.yaml")
        yield server


@pytest.fixture
def admin(server: FakeAPIServer) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def alice(server: FakeAPIServer) -> Iterator[Client]:
    with server.client("alice") as client:
        yield client


def grant(admin: Client, namespace: str, rights: set[tuple[str, str]]) -> None:
    """Give alice these rights in the namespace, and no others."""
    group = "orleans.dot.net"
    rules = [{"apiGroups": [group], "resources": [resource], "verbs": [verb]} for resource, verb in sorted(rights)]
    admin.resource(ROLES, namespace).create({"metadata": {"name": "r"}, "rules": rules})
    admin.resource(BINDINGS, namespace).create(
        {
            "metadata": {"name": "r"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}],
        }
    )


def use_all(table: KubeMembershipTable) -> None:
    """Every operation, each with the effect it should have."""
    table.delete_membership_table_entries("c1")
    table.initialize_membership_table(try_init_table_version=True)
    assert table.insert_row(entry(), table.read_all().version.next())
    data = table.read_row(entry().silo_address)
    assert table.update_row(entry(status=SiloStatus.DEAD), data.members[0][1], data.version.next())
    table.update_i_am_alive(entry())
    table.cleanup_defunct_silo_entries(START + timedelta(days=1))
    assert table.read_all().members == []
    table.delete_membership_table_entries("c1")


def test_these_rights_are_enough(admin: Client, alice: Client) -> None:
    namespace = new_table(admin, entry(5)).namespace
    grant(admin, namespace, NEEDED)
    use_all(KubeMembershipTable(alice, "c1", namespace))


@pytest.mark.parametrize("right", sorted(NEEDED), ids=" ".join)
def test_no_right_is_granted_for_nothing(admin: Client, alice: Client, right: tuple[str, str]) -> None:
    namespace = new_table(admin, entry(5)).namespace
    grant(admin, namespace, NEEDED - {right})
    with pytest.raises(Forbidden, match=rf"{right[0]}.*"):
        use_all(KubeMembershipTable(alice, "c1", namespace))


def test_readers_need_less(admin: Client, alice: Client) -> None:
    table = new_table(admin, entry())
    grant(admin, table.namespace, TO_READ)
    reader = KubeMembershipTable(alice, "c1", table.namespace)
    reader.initialize_membership_table(try_init_table_version=True)
    assert reader.read_all() == table.read_all()
    assert reader.read_row(entry().silo_address) == table.read_row(entry().silo_address)
    with pytest.raises(Forbidden):
        reader.insert_row(entry(2), table.read_all().version.next())


@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize("insert", [True, False], ids=["insert", "update"])
def test_who_may_not_write_sees_the_table_before_a_change_that_is_half_done(
    admin: Client, alice: Client, number: int, insert: bool
) -> None:
    table = new_table(admin, entry(name="old"))
    grant(admin, table.namespace, TO_READ)
    reader = KubeMembershipTable(alice, "c1", table.namespace, clock=HurriedClock())
    before = reader.read_all()
    row_before = reader.read_row(entry().silo_address)
    steps = Steps(kill_at(number, "after"))
    writer = KubeMembershipTable(steps.client(admin), "c1", table.namespace)
    etag, version = before.members[0][1], before.version.next()
    with pytest.raises(Killed):
        writer.insert_row(entry(2), version) if insert else writer.update_row(entry(name="new"), etag, version)

    half_done = reader.read_all()
    assert half_done.version.version == before.version.version
    assert half_done.members == before.members
    assert reader.read_row(entry().silo_address).members == row_before.members
    if insert:
        assert reader.read_row(entry(2).silo_address).members == []
    assert version_object(admin, table).pending is not None, "it could not be finished"

    done = table.read_all()
    assert done.version.version == before.version.version + 1
    assert reader.read_all() == done
    assert sorted(member.silo_name for member, _ in done.members) == (["old", "silo-2"] if insert else ["new"])
