"""Agents with real servers: no cluster is made a second time, whatever has become of its volumes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from membership.xline.client import EngineClient
from membership.xline.errors import Unhealthy
from membership.xline.states import State
from tests.membership.xline.agent_world import WAIT, AgentWorld, agent_world, beat_of_pod, name_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.etcd


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AgentWorld]:
    with agent_world(tmp_path) as world:
        yield world


@pytest.fixture
def single(tmp_path: Path) -> Iterator[AgentWorld]:
    with agent_world(tmp_path, size=1) as world:
        yield world


def test_a_cluster_that_has_followed_a_leader_is_not_made_anew_before_the_operator_has_seen_it(
    single: AgentWorld,
) -> None:
    """Its disk is lost while status.bootstrap is not completed yet, and nobody answers: clients may have written."""
    single.run(0)
    eventually(lambda: beat_of_pod(single, 0).get("leaderId"), "its heartbeat", WAIT)
    single.kill(0)
    shutil.rmtree(single.volume(0))
    single.start(0)
    member = single.members[0]
    eventually(lambda: "has followed a leader" in str(member.agent.status()["detail"]), "a refusal", WAIT)
    assert not member.server.allowed
    assert member.starts == []
    # Nor by a later life, after this one has told how it is.
    eventually(lambda: beat_of_pod(single, 0).get("state") == "Bootstrap", "its heartbeat", WAIT)
    single.kill(0)
    single.start(0)
    member = single.members[0]
    eventually(lambda: "has followed a leader" in str(member.agent.status()["detail"]), "a refusal", WAIT)
    assert member.starts == []


@pytest.mark.slow
def test_one_that_is_left_alone_needs_nobody_after_a_power_cut(tmp_path: Path) -> None:
    with agent_world(tmp_path, size=2) as world:
        world.boot()
        world.publish(ordinals=[0])
        world.delete_pod(1)
        assert world.members[1].agent.drain(30.0) == (True, "left")
        world.kill(0)
        world.kill(1)
        world.forget_pod(1)
        world.run(0)
        assert world.voters() == [name_of(0)]


def _is_removed(client: EngineClient, member_id: int) -> bool:
    """etcd refuses, without a trace, while the connections among its members are young."""
    with suppress(Unhealthy):
        client.member_remove(member_id)
        return True
    return False


@pytest.mark.slow
def test_nor_if_who_left_was_killed_before_it_could_see_to_that(tmp_path: Path) -> None:
    with agent_world(tmp_path, size=2) as world:
        world.boot()
        ids = {member.name: member.id for member in world.listing().members}
        if world.leader() != 0:
            with EngineClient(f"{world.members[1].address}:2379") as client:
                client.move_leader(ids[name_of(0)])
        eventually(lambda: world.leader() == 0, "the leadership of the one that stays", WAIT)
        world.publish(ordinals=[0])
        with EngineClient(f"{world.members[0].address}:2379") as client:
            before = client.status().raft_index
            eventually(lambda: _is_removed(client, ids[name_of(1)]), "the removal", WAIT)
            world.kill(1)
            eventually(lambda: client.status().raft_index >= before + 2, "an entry after the removal", WAIT)
        world.kill(0)
        world.run(0)
        assert world.voters() == [name_of(0)]


@pytest.mark.slow
def test_those_who_had_left_do_not_make_an_empty_cluster_of_the_same_name(world: AgentWorld) -> None:
    """Deleted, and made again on its retained volumes: of the three that it begins with only one is a member still, and
    that one comes late."""
    world.boot()
    for ordinal in (2, 1):
        world.publish(ordinals=range(ordinal))
        world.delete_pod(ordinal)
        assert world.members[ordinal].agent.drain(30.0) == (True, "left")
    kept = world.listing().members
    for ordinal in range(3):
        world.kill(ordinal)
        world.delete_pod(ordinal)
        world.forget_pod(ordinal)
    marks = world.volume(2) / "agent" / "marks.json"
    marks.write_text(marks.read_text().replace('"ran":true', '"ran":false'))  # by an earlier version
    world.publish(bootstrap={"completed": False}, ordinals=range(3))
    world.start(1, 2)
    for ordinal in (1, 2):
        member = world.members[ordinal]
        eventually(member.data.aside, "its data set aside", WAIT)
        member.become(State.WAIT_PEERS)
        assert not member.server.allowed
    world.run(0)
    for ordinal in (1, 2):
        world.members[ordinal].become(State.RUNNING)
        world.members[ordinal].started_as("join", "restart")
    assert kept[0] in world.listing().members
    assert world.voters() == [name_of(ordinal) for ordinal in range(3)]


@pytest.mark.slow
def test_a_disk_that_was_lost_while_the_cluster_was_deleted_is_given_up(world: AgentWorld) -> None:
    """It voted. One of the others is there, but cannot answer alone, and would elect the empty server, or be elected by
    it, without what only the third has."""
    world.boot()
    old = {member.name: member.id for member in world.listing().members}
    for ordinal in range(3):
        world.kill(ordinal)
        world.delete_pod(ordinal)
        world.forget_pod(ordinal)
    shutil.rmtree(world.volume(2))
    world.publish(bootstrap={"completed": False})
    world.start(1)
    eventually(lambda: beat_of_pod(world, 1).get("ran"), "its heartbeat", WAIT)
    world.start(2)
    member = world.members[2]
    eventually(lambda: "has followed a leader" in str(member.agent.status()["detail"]), "a refusal", WAIT)
    assert not member.server.allowed
    world.run(0)
    member.become(State.RUNNING)
    member.started_as("join", "restart")
    assert {m.id for m in world.listing().members} & set(old.values()) == {old[name_of(0)], old[name_of(1)]}


def test_a_volume_of_a_cluster_that_has_run_is_no_place_to_make_it_anew(single: AgentWorld) -> None:
    """Its data is gone, and what the agent remembers is not; nor does anybody else know that it has run."""
    single.run(0)
    single.kill(0)
    shutil.rmtree(single.volume(0) / "data")
    single.delete_pod(0)
    single.forget_pod(0)
    single.start(0)
    member = single.members[0]
    member.become(State.WAIT_PEERS)
    assert not member.server.allowed
    assert member.starts == []
