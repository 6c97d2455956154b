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


def test_first_members_that_come_late_are_added_anew(tmp_path: Path) -> None:
    """Nobody can tell whether they have run: Xline's tell their names once, and perhaps unheard."""
    with agent_world(tmp_path, 5, profile=XLINE, program=str(install(tmp_path))) as world:
        world.run(0, 2, 4)
        world.bootstrapped()
        world.run(1, 3)
        assert world.voters() == _names(5)
        assert len(world.listing().members) == 5


def _instead(folder: Path, what: str) -> Path:
    """A program for all members. The third runs ``what`` before the server."""
    program = folder / "instead"
    case = f"""case "$*" in *--name={name_of(2)}*) {what};; esac"""
    program.write_text(f"""#!/bin/sh\n{case}\nexec {install(folder)} "$@"\n""")
    program.chmod(0o755)
    return program


def test_a_server_that_begins_slowly_is_not_taken_for_one_whose_data_is_lost(tmp_path: Path) -> None:
    """The others make the cluster meanwhile, and its entry looks as if it had run."""
    hold = tmp_path / "hold"
    hold.touch()
    program = _instead(tmp_path, f"while [ -e {hold} ]; do sleep 0.1; done")
    with agent_world(tmp_path, profile=XLINE, program=str(program)) as world:
        world.start(2)
        eventually(lambda: world.members[2].starts, "its start", WAIT)
        world.kill(2)  # what it was allowed to is on the volume
        world.run(0, 1)
        world.bootstrapped()
        listed = {member.id for member in world.listing().members}
        world.start(2)
        world.members[2].become(State.START_JOIN)
        hold.unlink()
        world.members[2].become(State.RUNNING)
        assert {member.id for member in world.listing().members} == listed
        assert not world.members[2].data.marks.entering


@pytest.mark.parametrize("marks", ['{"entering": true}', '{"removed_id": 7}'], ids=["begun", "given up"])
def test_data_of_a_member_that_was_removed_before_it_told_who_it_is_is_set_aside(tmp_path: Path, marks: str) -> None:
    """A server with such data ends again and again."""
    ends = tmp_path / "ends"
    program = _instead(tmp_path, f"if [ -e {ends} ]; then exit 1; fi")
    with agent_world(tmp_path, profile=XLINE, program=str(program)) as world:
        world.boot()
        world.kill(2)
        old = world.remove(2)
        assert not list(world.volume(2).glob("removed-*"))
        ends.touch()
        (world.volume(2) / "agent" / "marks.json").write_text(marks)
        world.start(2)
        eventually(lambda: world.members[2].data.aside(), "its data set aside", WAIT)
        ends.unlink()
        world.members[2].become(State.RUNNING)
        assert old not in {member.id for member in world.listing().members}
        assert world.voters() == _names(3)


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
