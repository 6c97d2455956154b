"""The operator on real tables: whom it declares dead, what it removes, what it tells, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controllers.orleans import Settings
from controllers.orleans.settings import OPERATOR
from membership.orleans import SiloStatus
from tests.controllers.orleans.orleans_world import World
from tests.support.dotnet_provider import DotNetProvider
from tests.support.waiting import eventually

DAY = 86400.0


def test_a_silo_whose_pod_was_deleted_is_declared_dead(world: World) -> None:
    world.cluster(*(world.entry(number) for number in range(3)))
    for number in range(3):
        world.start_pod(number)
    world.start()
    world.tick([0, 1, 2], times=2)
    world.pods.delete("web-2", grace_period_seconds=0)
    world.look()
    assert world.status_of(2) == "Active", "it has missed no sign of life yet"
    world.tick([0, 1])
    assert world.status_of(2) == "Dead"
    assert world.version() == 8
    data = world.table.read_all()
    dead = data.get(world.entry(2).silo_address)
    assert dead is not None
    assert [voter for voter, _ in dead[0].suspect_times] == [OPERATOR]
    eventually(
        lambda: ("SiloDeclaredDead", "web-2 (10.0.0.2:11111@1): its Pod web-2 was deleted") in world.events(),
        timeout=60,
    )
    assert [world.status_of(number) for number in (0, 1)] == ["Active", "Active"]


def test_a_silo_that_gives_signs_of_life_is_left_alone_whatever_became_of_its_pod(world: World) -> None:
    world.cluster(world.entry(0), world.entry(1))
    world.start_pod(1)
    world.start()
    world.tick([0, 1])
    world.pods.delete("web-1", grace_period_seconds=0)
    world.tick([0, 1], times=10)
    assert world.status_of(1) == "Active"
    assert world.version() == 7


def test_a_silent_silo_is_declared_dead_with_the_vote_of_another(world: World) -> None:
    world.cluster(*(world.entry(number) for number in range(4)))
    world.start()
    world.tick([0, 1, 2], times=4)
    assert world.status_of(3) == "Active", "two votes are needed, and the operator has one"
    eventually(lambda: "Silent" in world.reasons(), timeout=60)
    data = world.table.read_all()
    found = data.get(world.entry(3).silo_address)
    assert found is not None
    found[0].suspect_times.append((world.entry(0).silo_address, world.now()))
    assert world.table.update_row(found[0], found[1], data.version.next())
    world.tick([0, 1, 2])
    assert world.status_of(3) == "Dead"
    assert world.version() == 9
    voters = [voter for voter, _ in world.table.read_all().members[3][0].suspect_times]
    assert voters == [world.entry(0).silo_address, OPERATOR]


def test_while_the_api_server_is_away_nobody_dies(world: World) -> None:
    """All alive times are old then, and those of the slowest stay so when it is back."""
    world.cluster(world.entry(0), world.entry(1))
    world.start()
    world.tick([0, 1], times=2)
    world.tick([], times=22)
    world.tick([0], times=3)
    world.tick([0, 1], times=2)
    assert world.status_of(1) == "Active"
    assert world.writes().count("update silos") == 0


@pytest.mark.slow
def test_in_a_small_cluster_the_silent_one_dies_after_long(world: World) -> None:
    world.cluster(world.entry(0), world.entry(1))
    world.start()
    world.tick([0], times=20)
    assert world.status_of(1) == "Active"
    world.tick([0], times=3)
    assert world.status_of(1) == "Dead"


def test_rows_of_the_dead_are_removed_after_seven_days(world: World) -> None:
    old = world.entry(1, status=SiloStatus.DEAD, start_time=world.now(30 * DAY), i_am_alive_time=world.now(8 * DAY))
    young = world.entry(2, status=SiloStatus.DEAD, start_time=world.now(30 * DAY), i_am_alive_time=world.now(6 * DAY))
    world.cluster(old, young)
    world.start()
    eventually(lambda: len(world.silos.list()) == 1, timeout=60)
    assert {row["siloName"] for row in world.silos.list()} == {"web-2"}
    assert world.version() == 7, "a removal is no change of the membership"
    eventually(
        lambda: ("SilosRemoved", "removed the rows of dead silos: web-1 (10.0.0.1:11111@1)") in world.events(),
        timeout=60,
    )
    eventually(lambda: world.passes(3.0) and world.status().get("silos", {}).get("total") == 1, timeout=60)
    world.look()
    world.clock.advance(DAY + 3600)
    eventually(lambda: world.passes(30.0) and not world.silos.list(), "it comes back by itself", timeout=60)


def test_a_clock_that_is_fast_removes_no_row_of_those_who_have_just_died(world: World) -> None:
    """By it they have been dead for two days. All silos are to see that they are."""
    long_ago = world.now(2 * DAY)
    dead = [world.entry(number, status=SiloStatus.DEAD, i_am_alive_time=long_ago) for number in range(3)]
    world.cluster(*(replace(entry, start_time=long_ago) for entry in dead))
    operator = world.start(Settings(max_defunct=1))
    eventually(lambda: operator.looks, timeout=60)
    world.clock.advance(3540.0)
    world.look()
    assert len(world.silos.list()) == 3
    eventually(lambda: world.passes(30.0) and len(world.silos.list()) == 1, "it comes back by itself", timeout=60)


def test_a_cluster_that_is_well_costs_no_request(world: World) -> None:
    world.cluster(*(world.entry(number) for number in range(3)))
    world.start()
    world.tick([0, 1, 2], times=2)
    eventually(lambda: world.status().get("silos"), timeout=60)
    world.look()
    world.mark()
    world.tick([0, 1, 2], times=10)
    assert world.requests() == []


def test_the_status_tells_what_is_there(world: World) -> None:
    world.cluster(
        world.entry(0),
        world.entry(1, proxy_port=0, i_am_alive_time=world.now(20)),
        world.entry(2, status=SiloStatus.JOINING, start_time=world.now()),
        world.entry(3, status=SiloStatus.DEAD, i_am_alive_time=world.now(7200)),
    )
    world.start()
    world.tick([0])
    status = world.status()
    assert status["observedVersion"] == 7
    assert status["silos"] == {
        "none": 0,
        "created": 0,
        "joining": 1,
        "active": 2,
        "shuttingDown": 0,
        "stopping": 0,
        "dead": 1,
        "total": 4,
    }
    assert status["gateways"] == 1
    assert status["oldestHeartbeat"] == world.now(50).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert world.condition("Available") == ("True", "GatewaysActive")
    assert world.condition("Consistent") == ("True", "AsItShouldBe")
    assert world.condition("Healthy") == ("True", "AllAlive")
    written = world.versions.get("shop").resource_version
    world.tick([0, 1], times=3)
    assert world.versions.get("shop").resource_version == written, "no heartbeat makes the table's etag stale"


def test_the_status_waits_until_the_table_is_at_rest(world: World) -> None:
    """Each write of it is one more conflict for silos that are all joining at once."""
    world.cluster(world.entry(0))
    operator = world.start()
    eventually(lambda: operator.looks, timeout=60)
    for number in range(1, 5):
        world.table.insert_row(world.entry(number), world.table.read_all().version.next())
        world.look()
        world.clock.advance(1.0)
        world.look()
    assert "patch clusterversions status" not in world.writes()
    eventually(lambda: world.passes(1.0) and world.status().get("silos", {}).get("active") == 5, timeout=60)


def test_a_dry_run_changes_no_table(world: World) -> None:
    old = world.entry(3, status=SiloStatus.DEAD, start_time=world.now(30 * DAY), i_am_alive_time=world.now(8 * DAY))
    world.cluster(world.entry(0), world.entry(1), world.entry(2), old)
    world.start_pod(2)
    world.start(Settings(dry_run=True))
    world.tick([0, 1, 2])
    world.pods.delete("web-2", grace_period_seconds=0)
    world.mark()
    world.tick([0, 1], times=6)
    assert world.status_of(2) == "Active"
    assert len(world.silos.list()) == 4
    assert set(world.writes()) <= {"patch clusterversions status"}
    expected = {
        ("WouldDeclareDead", "would declare dead web-2 (10.0.0.2:11111@1): its Pod web-2 was deleted"),
        ("WouldRemoveSilos", "would remove the rows of dead silos: web-3 (10.0.0.3:11111@1)"),
    }
    eventually(lambda: expected <= set(world.events()), timeout=60)
    assert world.condition("Healthy") == ("False", "PodGone")


def test_the_dotnet_provider_reads_what_the_operator_wrote(world: World) -> None:
    dotnet = DotNetProvider(world.client, "shop", world.namespace)
    dotnet.initialize()
    for number in range(2):
        version = dotnet.read_all().version
        assert dotnet.insert_row(world.entry(number), version.next())
    world.start_pod(1)
    world.start()
    world.tick([0, 1])
    world.pods.delete("web-1", grace_period_seconds=0)
    world.tick([0], times=2)
    view = dotnet.read_all()
    assert view.version.version == 3
    row = view.rows["10.0.0.1-11111-1"]
    assert (row["status"], row["suspectingSilos"]) == ("Dead", ["0.0.0.0:0@0"])
    assert dotnet.insert_row(world.entry(5), view.version.next()), "and goes on from there"
