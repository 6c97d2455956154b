"""What makes the operator look, and what does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from membership.orleans.rows import new_row
from tests.controllers.orleans.orleans_world import AGENT, World
from tests.support.waiting import eventually

PATIENCE = 60.0


def restart_pod(world: World) -> None:
    world.pods.delete("web-0", grace_period_seconds=0)


def finish_pod(world: World) -> None:
    world.pods.patch("web-0", {"status": {"phase": "Failed"}}, type="merge", subresource="status")


def change_version(world: World) -> None:
    world.versions.patch("shop", {"clusterVersion": 9}, type="merge")


def announce(world: World) -> None:
    world.versions.patch("shop", {"metadata": {"annotations": {"a": "b"}}}, type="merge")


def change_row(world: World) -> None:
    world.silos.patch("10.0.0.0-11111-1", {"status": "Stopping"}, type="merge")


def add_row(world: World) -> None:
    world.silos.create(new_row(world.entry(1), "shop"))


def remove_row(world: World) -> None:
    world.silos.delete("10.0.0.0-11111-1")


@pytest.mark.parametrize("change", [restart_pod, finish_pod, change_version, announce, change_row, add_row, remove_row])
def test_a_change_is_looked_at_at_once(world: World, change: Callable[[World], None]) -> None:
    world.cluster(world.entry(0))
    world.start_pod(0)
    operator = world.start()
    world.tick([0])
    looks = operator.looks
    change(world)
    eventually(lambda: operator.looks > looks, "a look, though no time goes by", PATIENCE)


def test_signs_of_life_and_its_own_status_wake_nobody(world: World) -> None:
    world.cluster(world.entry(0))
    operator = world.start()
    world.tick([0])
    looks = operator.looks
    for beat in range(20):
        world.beat([0], ahead=30 + beat)
        operator.catch_up()
    world.versions.patch("shop", {"status": {"gateways": 7}}, type="merge", subresource="status")
    operator.catch_up()
    add_row(world)  # which is looked at; what woke it before would have been looked at by then
    eventually(lambda: operator.looks > looks, "a look", PATIENCE)
    world.look()
    assert operator.looks - looks <= 4, "one for the row, its repetition, and the two that were asked for"


def test_what_was_told_is_not_told_again(world: World) -> None:
    world.cluster(world.entry(0))
    world.silos.create(new_row(world.entry(1), "shop") | {"status": "Asleep"})
    world.start()
    world.tick([0])
    eventually(lambda: "MalformedRow" in world.reasons(), timeout=PATIENCE)
    world.tick([0], times=4)
    told = [event for event in world.server.requests if event.user_agent == AGENT and event.resource == "events"]
    assert len([event for event in told if event.namespace == world.namespace]) == 1
