"""Agents with servers that differ from etcd as Xline does: no guard, no order, duplicates, hollow processes."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from membership.xline.client import EngineClient
from membership.xline.engines import XLINE
from membership.xline.errors import EngineError
from membership.xline.states import State
from tests.membership.xline.agent_world import WAIT, AgentWorld, agent_world, name_of
from tests.support.waiting import eventually
from tests.support.xline_standin import install

pytestmark = pytest.mark.slow


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AgentWorld]:
    with agent_world(tmp_path, profile=XLINE, program=str(install(tmp_path))) as world:
        yield world


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[AgentWorld]:
    """Whose members cannot tell their names."""
    program = install(tmp_path, environ={"STANDIN_PUBLISHES": "no"})
    with agent_world(tmp_path, profile=XLINE, program=str(program)) as world:
        yield world


def _names(count: int) -> list[str]:
    return [name_of(ordinal) for ordinal in range(count)]


def test_three_bootstrap_grow_to_four_and_shrink_again(world: AgentWorld) -> None:
    world.boot()
    assert world.voters() == _names(3)
    world.publish(ordinals=range(4))
    world.run(3)
    assert world.voters() == _names(4)

    leader = world.leader()
    world.publish(ordinals=set(range(4)) - {leader})
    world.delete_pod(leader)
    assert world.members[leader].agent.drain(45.0) == (True, "left")
    assert len(world.voters()) == 3
    world.members[leader].become(State.NOT_WANTED)
    eventually(lambda: not world.members[leader].server.running, "the hollow process reaped", WAIT)
    world.forget_pod(leader)


def test_duplicates_of_a_member_that_never_ran_are_removed(world: AgentWorld) -> None:
    world.boot()
    url = f"http://{world.address(3)}:2380"
    for _ in range(3):
        with EngineClient(f"{world.members[0].address}:2379") as client:
            client.member_add([url])
    assert len([member for member in world.listing().members if url in member.peer_urls]) == 3
    world.publish(ordinals=range(4))
    world.run(3)
    assert world.voters() == _names(4)
    assert len(world.listing().members) == 4


def test_a_lost_disk_of_a_member_that_never_told_its_name_is_given_up_all_the_same(silent: AgentWorld) -> None:
    """Its entry looks as if it had never run; but it has, and has voted."""
    world = silent
    world.boot()
    url = f"http://{world.address(1)}:2380"

    def entry() -> int:
        return next(member.id for member in world.listing().members if url in member.peer_urls)

    old = entry()
    world.kill(1)
    shutil.rmtree(world.volume(1))
    world.run(1)
    assert entry() != old
    assert len(world.listing().members) == 3


def test_an_evicted_member_sets_its_data_aside_and_joins_anew(world: AgentWorld) -> None:
    world.boot()
    old = world.listing().members
    world.kill(2)
    gone = next(member.id for member in old if member.name == name_of(2))

    def removed() -> bool:
        with contextlib.suppress(EngineError), EngineClient(f"{world.members[0].address}:2379") as client:
            client.member_remove(gone)
        return world.listing().get(gone) is None

    eventually(removed, "its removal", WAIT)
    world.run(2)
    assert world.voters() == _names(3)
    assert len(world.members[2].data.aside()) == 1


def test_a_lost_majority_cannot_be_recovered_and_that_is_said(world: AgentWorld) -> None:
    world.boot()
    for ordinal in range(3):
        world.kill(ordinal)
    world.publish(plan={"ordinals": [1], "recovery": {"survivor": name_of(1), "id": "first"}})
    world.start(0, 1)
    member = world.members[1]
    member.become(State.RECOVER)
    eventually(lambda: "restore a backup" in str(member.agent.status()["detail"]), "the advice", WAIT)
    assert not member.server.running
    assert not member.server.allowed
