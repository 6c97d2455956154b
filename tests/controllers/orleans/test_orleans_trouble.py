"""Tables in which something does not fit, and servers that do not do what they should."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from controllers.orleans import Settings
from controllers.orleans.pods import PODS
from membership.orleans import SiloStatus
from membership.orleans.journal import PENDING
from membership.orleans.rows import new_row, new_version
from membership.orleans.table import KubeMembershipTable
from runtime.client import Unstructured
from runtime.testing import FakeAPIServer
from tests.controllers.orleans.orleans_world import EVENTS, World, world_on
from tests.support.scraping import scrape
from tests.support.stepped import Killed, Steps, kill_at
from tests.support.waiting import eventually

PATIENCE = 60.0


def told(world: World, reason: str) -> str:
    """What the operator says with this reason."""
    return eventually(
        lambda: next((message for found, message in world.events() if found == reason), ""), reason, PATIENCE
    )


# -- tables


def test_rows_without_a_version_object_are_told_of(world: World) -> None:
    world.rows(world.entry(1), world.entry(0))
    world.start()
    world.tick([], times=3)
    text = "there are silos, but no OrleansClusterVersion shop of their clusterId: none can read the table"
    assert told(world, "MissingVersion") == text
    assert world.writes() == []
    assert [event["involvedObject"]["name"] for event in events(world, "MissingVersion")] == ["10.0.0.0-11111-1"]
    world.versions.create(new_version("shop", 3))
    world.tick([])
    assert world.condition("Consistent") == ("True", "AsItShouldBe")


def test_nobody_is_declared_dead_in_a_table_without_version(world: World) -> None:
    world.rows(world.entry(0), world.entry(1))
    world.start_pod(1)
    world.start()
    world.tick([0, 1])
    world.pods.delete("web-1", grace_period_seconds=0)
    world.tick([0], times=4)
    assert world.status_of(1) == "Active"
    assert world.writes() == []


def test_two_version_objects_of_one_cluster(world: World) -> None:
    world.cluster(world.entry(0))
    world.versions.create(new_version("shop") | {"metadata": {"name": "shop-2"}})
    world.start()
    world.tick([0])
    assert world.condition("Consistent") == ("False", "DuplicateVersion")
    assert told(world, "DuplicateVersion") == "other version objects name the same clusterId: shop-2"
    assert world.condition("Consistent", "shop-2") == ("False", "MisnamedVersion")
    assert told(world, "MisnamedVersion") == "clusterId is 'shop': under the name shop-2 no silo finds it"
    world.versions.delete("shop-2")
    world.tick([0])
    assert world.condition("Consistent") == ("True", "AsItShouldBe")


def test_a_version_object_that_took_the_name_of_another_cluster(world: World) -> None:
    world.versions.create(new_version("other") | {"metadata": {"name": "shop"}})
    world.rows(world.entry(0))
    world.start()
    world.tick([0])
    assert told(world, "MissingVersion")
    assert told(world, "MisnamedVersion") == "clusterId is 'other': under the name shop no silo finds it"
    assert world.condition("Consistent")[0] == "False"
    assert "observedVersion" not in world.status(), "it is another's"


def test_rows_that_cannot_be_read_or_found(world: World) -> None:
    world.cluster(world.entry(0))
    world.silos.create(new_row(world.entry(1), "shop") | {"status": "Asleep"})
    stray = new_row(world.entry(2), "shop")
    world.silos.create(stray | {"metadata": {"name": "stray"}})
    world.start()
    world.tick([0])
    assert told(world, "MalformedRow").startswith("silo 10.0.0.1-11111-1: status: 'Asleep' is none of None, Created")
    assert told(world, "MisnamedRow") == "silo stray: its fields are those of 10.0.0.2-11111-1"
    assert world.condition("Consistent") == ("False", "MalformedRow")
    assert world.status()["silos"]["total"] == 1
    world.tick([0], times=5)
    assert [row["status"] for row in world.silos.list() if row.name != "10.0.0.0-11111-1"] == ["Asleep", "Active"]


def test_clusters_of_one_namespace_are_not_mixed(world: World) -> None:
    world.cluster(world.entry(0), world.entry(1))
    world.cluster(world.entry(7), world.entry(8, status=SiloStatus.JOINING, start_time=world.now()), cluster_id="Desk")
    world.start()
    world.tick([0, 1])
    name = next(obj.name for obj in world.versions.list() if obj["clusterId"] == "Desk")
    assert world.status()["silos"]["active"] == 2
    assert (world.status(name)["silos"]["active"], world.status(name)["silos"]["joining"]) == (1, 1)


def test_a_cluster_that_is_gone_is_forgotten(world: World) -> None:
    world.cluster(world.entry(0))
    operator = world.start()
    world.tick([0])
    labels = {"namespace": world.namespace, "orleans_cluster": "shop"}
    assert (
        scrape(lambda: operator.registry.prometheus().collect()).value(
            "orleans_cluster_silos", status="Active", **labels
        )
        == 1
    )
    world.table.delete_membership_table_entries("shop")
    operator.catch_up()
    assert scrape(lambda: operator.registry.prometheus().collect()).values("orleans_cluster_silos", **labels) == []


def test_numbers(world: World) -> None:
    old = world.entry(3, status=SiloStatus.DEAD, start_time=world.now(9e6), i_am_alive_time=world.now(9e6))
    world.cluster(world.entry(0), world.entry(1, i_am_alive_time=world.now(20)), old)
    world.silos.create(new_row(world.entry(5), "shop") | {"status": "Asleep"})
    operator = world.start()
    eventually(lambda: len(world.silos.list()) == 3, timeout=PATIENCE)
    operator.catch_up()
    found, labels = (
        scrape(lambda: operator.registry.prometheus().collect()),
        {"namespace": world.namespace, "orleans_cluster": "shop"},
    )
    assert found.value("orleans_cluster_silos", status="Active", **labels) == 2
    assert found.value("orleans_cluster_silos", status="Dead", **labels) == 0
    assert found.value("orleans_cluster_gateways", **labels) == 2
    assert found.value("orleans_cluster_version", **labels) == 7
    assert found.value("orleans_cluster_problems", **labels) == 1
    oldest = found.value("orleans_cluster_oldest_heartbeat_timestamp_seconds", **labels)
    assert oldest == world.now(20).timestamp()
    assert found.value("orleans_operator_silos_removed_total", **labels) == 1


def test_a_change_whose_writer_died_is_finished(world: World) -> None:
    world.cluster(world.entry(0))
    half_done(world)
    world.start()
    world.tick([0])
    assert world.version() == 8
    assert world.status_of(9) == "Active"
    assert told(world, "ChangeFinished") == "finished a change of the table that its writer had left half done"


def test_not_in_a_dry_run(world: World) -> None:
    world.cluster(world.entry(0))
    half_done(world)
    world.start(Settings(dry_run=True))
    world.tick([0])
    assert world.version() == 7
    assert told(world, "WouldFinishChange")


def test_an_announcement_that_cannot_be_read_is_told_of(world: World) -> None:
    """Nobody can change the table, and there is something to change: a silo is dead, and a row is old."""
    old = world.entry(3, status=SiloStatus.DEAD, start_time=world.now(9e6), i_am_alive_time=world.now(9e6))
    world.cluster(world.entry(0), world.entry(1), old)
    world.versions.patch("shop", {"metadata": {"annotations": {PENDING: "nonsense"}}}, type="merge")
    world.start_pod(1)
    operator = world.start()
    world.tick()
    world.pods.delete("web-1", grace_period_seconds=0)
    world.tick(times=3)
    assert world.condition("Consistent") == ("False", "MalformedChange")
    assert PENDING in told(world, "MalformedChange")
    assert (world.status_of(1), world.version(), len(world.silos.list())) == ("Active", 7, 3)
    assert int(operator.controller.stats.outcomes["error"].value) == 0
    world.versions.patch("shop", {"metadata": {"annotations": {PENDING: None}}}, type="merge")
    world.tick(times=2)
    assert (world.status_of(1), world.version(), len(world.silos.list())) == ("Dead", 8, 2)


def test_what_is_seen_is_told_though_the_status_cannot_be_written(world: World) -> None:
    world.cluster(world.entry(0))
    world.server.faults.add(
        verb="patch", resource="clusterversions", namespace=world.namespace, user_agent="op*", status=422
    )
    world.start()
    world.tick([0])
    world.silos.create(new_row(world.entry(1), "shop") | {"status": "Asleep"})
    world.tick([0])
    assert told(world, "MalformedRow")


def events(world: World, reason: str) -> list[Unstructured]:
    return [event for event in world.client.resource(EVENTS, world.namespace).list() if event["reason"] == reason]


def half_done(world: World) -> None:
    """Somebody has announced to insert a silo, and died."""
    version = world.table.read_all().version
    steps = Steps(kill_at(2, "after"))
    with pytest.raises(Killed):
        KubeMembershipTable(steps.client(world.client), "shop", world.namespace).insert_row(
            world.entry(9), version.next()
        )


# -- caches that are behind


def test_a_sign_of_life_that_the_cache_does_not_show_saves_the_silo(world: World) -> None:
    """The watch hangs; the row is read before it is written."""
    world.cluster(world.entry(0), world.entry(1))
    world.start_pod(1)
    operator = world.start()
    world.tick([0, 1])
    world.pods.delete("web-1", grace_period_seconds=0)
    world.look()
    with stalled(world, "silos"):
        world.beat([1], ahead=30)
        world.mark()
        world.clock.advance(30)
        operator.look()
        assert "list" in {entry.verb for entry in world.requests()}, "it was about to do it"
        assert world.status_of(1) == "Active"
        assert world.writes() == []


def test_a_pod_that_the_cache_does_not_show_saves_its_silo(world: World) -> None:
    world.cluster(world.entry(0), world.entry(1))
    world.start_pod(1)
    operator = world.start()
    world.tick([0, 1])
    world.pods.delete("web-1", grace_period_seconds=0)
    operator.catch_up()
    with stalled(world, "pods"):
        world.start_pod(1)
        world.mark()
        world.clock.advance(30)
        operator.look()
        assert ("get", "web-1") in {(entry.verb, entry.name) for entry in world.requests()}
        assert world.status_of(1) == "Active"


@contextmanager
def stalled(world: World, resource: str) -> Iterator[None]:
    """The watch of the operator hangs."""
    fault = world.server.faults.add(
        verb="watch", resource=resource, namespace=world.namespace, user_agent="operator*", at=1, stall=True
    )
    try:
        yield
    finally:
        world.server.faults.remove(fault)


# -- servers


@pytest.mark.parametrize(("verb", "status"), [("update", 409), ("update", 500), ("get", 503), ("list", 429)])
def test_failures_of_the_server_delay_it(world: World, verb: str, status: int) -> None:
    world.cluster(world.entry(0), world.entry(1))
    world.start_pod(1)
    world.start()
    world.tick([0, 1])
    world.pods.delete("web-1", grace_period_seconds=0)
    world.look()
    fault = world.server.faults.add(
        verb=verb, group="orleans.dot.net", namespace=world.namespace, user_agent="operator*", times=3, status=status
    )
    world.clock.advance(60)
    dead = eventually(lambda: world.passes(1.0) and world.status_of(1) == "Dead", timeout=PATIENCE)
    assert dead
    assert fault.hits == 3
    eventually(lambda: world.version() == 8, "the version comes after the row", PATIENCE)


def test_two_operators_declare_a_silo_dead_once(world: World) -> None:
    """Without an election, which a pause of the process may outlast as well."""
    world.cluster(world.entry(0), world.entry(1))
    world.start_pod(1)
    world.start()
    world.start()
    world.tick([0, 1])
    world.pods.delete("web-1", grace_period_seconds=0)
    world.tick([0], times=3)
    assert world.status_of(1) == "Dead"
    assert world.version() == 8


@pytest.fixture
def bare_server() -> Iterator[FakeAPIServer]:
    """Without the CRDs."""
    with FakeAPIServer() as server:
        yield server


@pytest.fixture
def bare(bare_server: FakeAPIServer) -> Iterator[World]:
    with world_on(bare_server, f"orleans-{uuid.uuid4().hex[:8]}") as here:
        yield here


def test_without_the_resources_the_operator_works_and_finds_them_later(bare: World) -> None:
    bare.start()
    for name in ("clusterversions", "silos"):
        bare.server.apply_manifests(f"crds/{name}.yaml")
    bare.cluster(bare.entry(0))
    eventually(lambda: bare.passes(1.0) and bare.status().get("silos", {}).get("active") == 1, timeout=PATIENCE)


def test_without_permission_for_pods_it_does_what_needs_none(bare: World) -> None:
    bare.server.faults.add(verb=["list", "watch"], resource="pods", user_agent="operator*", status=403)
    for name in ("clusterversions", "silos"):
        bare.server.apply_manifests(f"crds/{name}.yaml")
    bare.cluster(bare.entry(0), bare.entry(1), bare.entry(2))
    bare.start()
    bare.tick([0, 1])
    assert bare.condition("Available")[0] == "True"
    assert not bare.operators[0].manager.cache(PODS).has_synced()


def test_with_the_definitions_of_the_dotnet_provider_it_writes_no_status(bare: World, tmp_path: Path) -> None:
    for name in ("clusterversions", "silos"):
        definition = yaml.safe_load(Path(f"crds/{name}.yaml").read_text())
        for version in definition["spec"]["versions"]:
            version.pop("subresources", None)
            version.pop("selectableFields", None)
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(definition))
    bare.server.apply_manifests(str(tmp_path))
    bare.cluster(bare.entry(0))
    bare.start()
    bare.tick([0], times=3)
    asked = [entry for entry in bare.server.requests if entry.path.endswith("/clusterversions/shop/status")]
    assert [entry.code for entry in asked] == [404], "tried once"
    assert bare.writes() == []
    assert bare.status() == {}


def test_a_row_of_any_shape_is_told_of(bare: World, tmp_path: Path) -> None:
    """Definitions without a schema let everything through; an index that failed on it would hide the row."""
    for name in ("clusterversions", "silos"):
        definition = yaml.safe_load(Path(f"crds/{name}.yaml").read_text())
        for version in definition["spec"]["versions"]:
            version["schema"] = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
            version.pop("selectableFields", None)
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(definition))
    bare.server.apply_manifests(str(tmp_path))
    bare.cluster(bare.entry(0))
    shapes: tuple[dict[str, object], ...] = (
        {"siloName": ["a"]},
        {"hostname": {"a": 1}},
        {"address": 7},
        {"suspectingSilos": "x"},
        {"startTime": {}},
    )
    for number, shape in enumerate(shapes, start=1):
        bare.silos.create(new_row(bare.entry(number), "shop") | shape)
    operator = bare.start()
    bare.tick([0], times=2)
    assert bare.condition("Consistent") == ("False", "MalformedRow")
    (message,) = (each["message"] for each in bare.status()["conditions"] if each["type"] == "Consistent")
    for number, shape in enumerate(shapes, start=1):
        assert f"silo 10.0.0.{number}-11111-1: {''.join(shape)}" in message
    assert int(operator.controller.stats.outcomes["error"].value) == 0


@pytest.mark.parametrize("verb", ["patch", "update"])
def test_without_permission_to_write_it_tells_so_and_goes_on(world: World, verb: str) -> None:
    world.cluster(world.entry(0), world.entry(1))
    world.start_pod(1)
    world.server.faults.add(
        verb=verb, resource="clusterversions", namespace=world.namespace, user_agent="op*", status=403
    )
    operator = world.start()
    world.tick([0, 1])
    world.pods.delete("web-1", grace_period_seconds=0)
    world.tick([0], times=3)
    assert told(world, "Forbidden")
    assert world.status_of(1) == ("Dead" if verb == "patch" else "Active")
    assert int(operator.controller.stats.outcomes["error"].value) == 0, "it does not come back later and later"


def test_a_change_that_cannot_be_finished_is_told_of(world: World) -> None:
    world.cluster(world.entry(0))
    half_done(world)
    world.server.faults.add(verb="create", resource="silos", namespace=world.namespace, user_agent="op*", status=403)
    world.start()
    world.tick([0], times=3)
    assert told(world, "UnfinishedChange")
    assert "ChangeFinished" not in world.reasons()
    assert world.version() == 7
