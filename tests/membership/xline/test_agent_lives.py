"""Agents with real servers: they bootstrap, restart, join, leave, lose their disks, are evicted, and recover."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from membership.xline.client import EngineClient
from membership.xline.errors import EngineError
from membership.xline.model import Start
from membership.xline.states import State
from membership.xline.walids import etcd_log
from tests.membership.xline.agent_world import WAIT, AgentWorld, agent_world, beat_of_pod, name_of
from tests.support.etcd_process import etcd_binary
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


def _names(count: int) -> list[str]:
    return [name_of(ordinal) for ordinal in range(count)]


@pytest.mark.slow
def test_three_bootstrap_grow_to_four_and_shrink_again(world: AgentWorld) -> None:
    world.boot()
    assert world.voters() == _names(3)
    assert {member.starts[0].kind for member in world.members.values()} <= {"bootstrap", "join"}
    world.publish(ordinals=range(4))
    world.run(3)
    assert world.voters() == _names(4)
    world.members[3].started_as("join", "restart")
    assert any("MemberAdded" in event for event in world.members[3].recorder.events)

    world.publish(ordinals=range(3))
    world.delete_pod(3)
    assert world.members[3].agent.drain(30.0) == (True, "left")
    assert world.voters() == _names(3)
    world.members[3].become(State.NOT_WANTED)
    eventually(lambda: not world.members[3].server.running, "its end", WAIT)
    world.forget_pod(3)


def test_clients_come_once_nobody_can_make_the_cluster_anew(single: AgentWorld) -> None:
    single.run(0)
    agent = single.members[0].agent
    assert not agent.ready().ok
    assert "has not noted yet" in agent.ready().text
    single.bootstrapped()
    eventually(lambda: agent.ready().ok, "clients", WAIT)


@pytest.mark.slow
def test_the_leader_hands_over_before_it_leaves(world: AgentWorld) -> None:
    world.boot()
    leader = world.leader()
    world.publish(ordinals={0, 1, 2} - {leader})
    world.delete_pod(leader)
    assert world.members[leader].agent.drain(30.0) == (True, "left")
    told = " ".join(world.members[leader].recorder.events)
    assert told.index("LeaderMoved") < told.index("MemberRemoved") < told.index("Normal Left")
    assert name_of(leader) not in world.voters()
    world.forget_pod(leader)


def test_a_drain_keeps_the_membership_and_hands_leadership_over(world: AgentWorld) -> None:
    world.boot()
    leader = world.leader()
    member = world.members[leader]
    answer = member.agent.drain(30.0)
    assert answer.ok
    assert "leadership was handed over" in answer.text
    eventually(lambda: world.leader() != leader, "another leader", WAIT)
    assert world.voters() == _names(3)
    member.become(State.RUNNING)  # nobody stopped it, so it goes on


def test_a_drained_pod_that_is_deleted_but_wanted_keeps_its_membership(world: AgentWorld) -> None:
    world.boot()
    world.delete_pod(1)
    assert world.members[1].agent.drain(30.0).text.startswith("stays")
    assert world.voters() == _names(3)
    world.forget_pod(1)


def test_a_member_that_is_not_wanted_but_whose_pod_lives_keeps_its_membership(world: AgentWorld) -> None:
    """Whoever calls /drain cannot take a member out."""
    world.boot()
    world.publish(ordinals=[0, 1])
    assert world.members[2].agent.drain(30.0).text.startswith("stays")
    assert world.voters() == _names(3)


def test_deleting_the_cluster_keeps_all_memberships(world: AgentWorld) -> None:
    world.boot()
    world.clusters.patch("demo", {"metadata": {"finalizers": ["test/hold"]}}, type="merge")
    world.clusters.delete("demo")
    world.publish(ordinals=[])
    world.delete_pod(2)
    answer = world.members[2].agent.drain(30.0)
    assert answer == (True, "stays: the cluster is being deleted")
    assert world.voters() == _names(3)
    world.clusters.patch("demo", {"metadata": {"finalizers": None}}, type="merge")
    world.forget_pod(2)


@pytest.mark.slow
def test_an_api_server_that_is_down_condemns_nobody(world: AgentWorld) -> None:
    world.boot()
    world.publish(ordinals=[0, 1])
    world.delete_pod(2)
    world.server.go_down()
    answer = world.members[2].agent.drain(5.0)
    world.server.come_up()
    assert answer.ok
    assert answer.text.startswith("stays")
    assert world.voters() == _names(3)
    world.forget_pod(2)


@pytest.mark.slow
def test_all_come_back_after_a_power_cut_without_any_api_server(world: AgentWorld) -> None:
    world.boot()
    ids = {member.id for member in world.listing().members}
    for ordinal in range(3):
        world.kill(ordinal)
    uids = [world.pod_uid(ordinal) for ordinal in range(3)]
    assert len(set(uids)) == 3
    world.server.pause()
    try:
        for ordinal, uid in enumerate(uids):
            world.start_as(ordinal, uid)
        for member in world.members.values():
            member.become(State.RUNNING)
            member.started_as("restart")
    finally:
        world.server.resume()
    assert {member.id for member in world.listing().members} == ids


@pytest.mark.slow
def test_a_lost_disk_is_given_up_and_the_member_joins_anew(world: AgentWorld) -> None:
    world.boot()
    old = {member.name: member.id for member in world.listing().members}
    world.kill(1)
    shutil.rmtree(world.volume(1))
    world.run(1)
    new = {member.name: member.id for member in world.listing().members}
    assert sorted(new) == _names(3)
    assert new[name_of(1)] != old[name_of(1)]
    world.members[1].started_as("join", "restart")


@pytest.mark.slow
def test_a_lost_disk_is_not_given_up_without_a_majority_or_while_paused(world: AgentWorld) -> None:
    world.boot()
    world.kill(1)
    shutil.rmtree(world.volume(1))
    world.clusters.patch("demo", {"spec": {"paused": True}}, type="merge")
    world.start(1)
    world.members[1].become(State.WAIT_PEERS)
    assert not world.members[1].server.allowed
    assert world.voters() == _names(3)
    world.clusters.patch("demo", {"spec": {"paused": False}}, type="merge")
    world.members[1].become(State.RUNNING)


@pytest.mark.slow
def test_an_evicted_member_sets_its_data_aside_and_joins_anew(world: AgentWorld) -> None:
    world.boot()
    world.kill(2)
    old = world.remove(2)
    world.run(2)
    assert world.voters() == _names(3)
    assert [path.name.split("-")[1] for path in world.members[2].data.aside()] == [f"{old:x}"]
    assert any("DataSetAside" in event for event in world.members[2].recorder.events)


def test_an_evicted_member_that_is_not_wanted_stays_out_with_its_data(world: AgentWorld) -> None:
    world.boot()
    world.kill(2)
    world.publish(ordinals=[0, 1])
    world.remove(2)
    world.start(2)
    world.members[2].become(State.NOT_WANTED)
    assert not world.members[2].server.allowed
    assert world.members[2].data.has_data
    assert world.members[2].data.aside() == []


def test_a_member_without_data_never_bootstraps_a_cluster_that_has_run(single: AgentWorld) -> None:
    single.boot()
    single.kill(0)
    shutil.rmtree(single.volume(0))
    single.start(0)
    single.members[0].become(State.WAIT_PEERS)
    assert not single.members[0].server.allowed
    assert single.members[0].starts == []


def test_a_cluster_from_a_backup_never_starts_without_it(tmp_path: Path) -> None:
    """Its data was put in place, and lost before the server first ran on it: an empty cluster would look like it."""
    source = {"name": "latest", "destination": {"volume": {"claimName": "backups"}}}
    with agent_world(tmp_path, size=1, spec={"restoreFrom": source}) as world:
        world.start(0)
        member = world.members[0]
        member.become(State.FAILED)
        eventually(lambda: any("backup" in event for event in member.recorder.events), "an event", WAIT)
        assert not member.server.allowed
        assert member.starts == []


def test_what_is_left_of_data_without_its_log_is_no_beginning(single: AgentWorld) -> None:
    """etcd would go on with the old database, and leave out what it takes for applied."""
    left = single.volume(0) / "data" / "member" / "snap" / "db"
    left.parent.mkdir(parents=True)
    left.write_text("old")
    single.run(0)
    member = single.members[0]
    member.started_as("bootstrap", "restart")
    assert [(path / "member" / "snap" / "db").read_text() for path in member.data.aside()] == ["old"]
    assert any("DataSetAside" in event for event in member.recorder.events)


def _add(world: AgentWorld, ordinal: int) -> None:
    """Its entry, as its agent has added it that died then."""

    def added() -> bool:
        with suppress(EngineError), EngineClient(f"{world.address(0)}:2379") as client:
            client.member_add([f"http://{world.address(ordinal)}:2380"])
        return len(world.listing().members) == 2

    eventually(added, "an entry", WAIT)


def test_a_member_whose_disk_is_lost_before_it_starts_joins_a_cluster_that_was_recovered(single: AgentWorld) -> None:
    """What it will have is of after the recovery, whoever has added it."""
    single.boot()
    recovery = {"survivor": name_of(0), "id": "first", "completed": True}
    single.publish(plan={"ordinals": [0, 1], "recovery": recovery})
    _add(single, 1)
    old = {member.id for member in single.listing().members}
    single.run(1)
    single.members[1].started_as("join", "restart")
    new = {member.id for member in single.listing().members} - old
    assert len(new) == 1  # its server may have begun, although it is not listed as started
    assert len(single.listing().members) == 2


@pytest.mark.parametrize("late", [(1, 3), (2,)])
def test_first_members_that_come_late_begin_although_the_others_run(tmp_path: Path, late: tuple[int, ...]) -> None:
    """Two of etcd's that are started to join wait for each other's answer for ever."""
    size = 2 * len(late) + 1
    with agent_world(tmp_path, size) as world:
        world.run(*(ordinal for ordinal in range(size) if ordinal not in late))
        world.bootstrapped()
        listed = {member.id for member in world.listing().members}
        world.run(*late)
        assert {member.id for member in world.listing().members} == listed
        for ordinal in late:
            world.members[ordinal].started_as("bootstrap", "restart")


def test_what_was_begun_is_ended_on_the_same_volume(single: AgentWorld) -> None:
    """Also while no change may be begun."""
    single.boot()
    single.publish(ordinals=[0, 1])
    _add(single, 1)
    listed = {member.id for member in single.listing().members}
    single.clusters.patch("demo", {"spec": {"paused": True}}, type="merge")
    member = single.start_as(1, single.pod_uid(1), started=False)
    member.data.mark(entering=True)
    member.begin()
    member.become(State.RUNNING)
    assert {member.id for member in single.listing().members} == listed
    assert not member.data.marks.entering


def test_a_pod_that_was_replaced_does_not_start_what_the_other_has_added(single: AgentWorld) -> None:
    single.boot()
    single.publish(ordinals=[0, 1])
    assert single.pod_uid(1)
    _add(single, 1)
    member = single.start_as(1, "of-the-pod-before", started=False)
    member.data.mark(entering=True)
    member.begin()
    eventually(lambda: "another one has its name" in str(member.agent.status()["detail"]), "a refusal", WAIT)
    assert member.state == State.START_JOIN
    assert not member.server.allowed
    assert member.starts == []


@pytest.mark.slow
def test_a_server_that_has_not_begun_yet_may_not_once_nobody_says_whose_place_it_takes(tmp_path: Path) -> None:
    """Its Pod may be given up while it cannot hear that, and another begin in its place: one member, and two votes."""
    program = tmp_path / "never"
    program.write_text(f"""#!/bin/sh
        case "$*" in *--name={name_of(1)}*) exec sleep 600;; esac
        exec {etcd_binary() or "etcd"} "$@"
        """)
    program.chmod(0o755)
    with agent_world(tmp_path, size=1, program=str(program)) as world:
        world.boot()
        world.publish(ordinals=[0, 1])
        _add(world, 1)
        member = world.start_as(1, world.pod_uid(1), started=False)
        member.data.mark(entering=True)
        member.begin()
        eventually(lambda: member.server.running, "its server", WAIT)
        world.server.go_down()
        try:
            eventually(lambda: not member.server.allowed, "the end of what it was allowed", WAIT)
            assert member.state == State.START_JOIN
        finally:
            world.server.come_up()
        eventually(lambda: member.server.allowed, "another permission", WAIT)
        member.started_as("join")


def test_a_server_of_another_cluster_at_an_address_of_ours_disturbs_nobody(single: AgentWorld, tmp_path: Path) -> None:
    """It leads there, in a higher term."""
    single.boot()
    single.publish(bootstrap={"clusterId": f"{single.listing().cluster_id:x}"})
    single.kill(0)
    (tmp_path / "other").mkdir()
    with agent_world(tmp_path / "other", size=1) as other:
        other.boot()
        for _ in range(2):
            other.kill(0)
            other.run(0)
        theirs = other.members[0].status()
        assert single.pod_uid(1)
        address = {"status": {"podIP": other.address(0)}}
        single.pods.patch(name_of(1), address, type="merge", subresource="status")
        single.run(0)
        ours = single.members[0].status()
        assert ours is not None
        assert theirs is not None
        assert theirs.term > ours.term
        # What was written before its server answered may name the other: nobody of ours could be told from it then.
        eventually(lambda: beat_of_pod(single, 0).get("state") == "Running", "its heartbeat", WAIT)
        assert beat_of_pod(single, 0).get("reachable", []) == []


@pytest.mark.slow
def test_the_same_volume_comes_back_after_leaving(single: AgentWorld) -> None:
    single.boot()
    single.publish(ordinals=[0, 1])
    single.run(1)
    single.publish(ordinals=[0])
    single.delete_pod(1)
    assert single.members[1].agent.drain(30.0) == (True, "left")
    single.kill(1)
    single.forget_pod(1)
    eventually(lambda: single.voters() == _names(1), "one voter", WAIT)

    single.publish(ordinals=[0, 1])
    single.run(1)
    assert single.voters() == _names(2)
    assert len(single.members[1].data.aside()) == 1


@pytest.mark.slow
def test_a_majority_that_was_lost_is_recovered_from_the_chosen_member(world: AgentWorld) -> None:
    world.boot()
    ids = {member.name: member.id for member in world.listing().members}
    for ordinal in range(3):
        world.kill(ordinal)
    world.publish(plan={"ordinals": [1], "recovery": {"survivor": name_of(1), "id": "first"}})
    world.start(0, 1, 2)
    world.members[1].become(State.RUNNING)
    assert world.voters() == [name_of(1)]
    for ordinal in (0, 2):
        world.members[ordinal].become(State.NOT_WANTED)
        assert world.members[ordinal].starts == []
    beat = world.members[1].agent.status()["member"]
    assert isinstance(beat, dict)
    assert beat["recovered"] == "first"
    world.members[1].started_as("recover", "restart")

    # A second life of the survivor does not drop those who come now.
    world.publish(plan={"ordinals": [0, 1], "recovery": {"survivor": name_of(1), "id": "first", "completed": True}})
    world.members[0].become(State.RUNNING)
    world.kill(1)
    world.run(1)
    assert world.voters() == [name_of(0), name_of(1)]
    world.publish(plan={"ordinals": [0, 1, 2], "recovery": {"survivor": name_of(1), "id": "first", "completed": True}})
    world.members[2].become(State.RUNNING)
    new = {member.name: member.id for member in world.listing().members}
    assert sorted(new) == _names(3)
    assert [name for name in new if new[name] == ids[name]] == [name_of(1)]


def _make_void(world: AgentWorld, ordinal: int) -> None:
    """As etcd leaves it that dies after it has made its log, and before it has written to it."""
    options = world.options(world.identity(ordinal, "u"))
    initial = ",".join(f"{name}={url}" for name, url in options.identity.initial)
    ended = subprocess.run(
        [etcd_binary() or "etcd", *options.flags, f"--initial-cluster={initial}", "--auth-token=jwt,pub-key=/none"],
        check=False,
        timeout=WAIT,
    )
    assert ended.returncode != 0
    log = etcd_log(options.data_dir)
    assert log is not None
    assert log.void


def test_a_log_to_which_nothing_was_written_is_no_data(single: AgentWorld) -> None:
    _make_void(single, 0)
    single.run(0)
    member = single.members[0]
    member.started_as("bootstrap", "restart")
    assert len(member.data.aside()) == 1
    log = etcd_log(member.data.path)
    assert log is not None
    assert not log.void


@pytest.mark.slow
def test_a_server_that_hangs_on_such_a_log_is_stopped(single: AgentWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("membership.xline.agent._HUNG", 1.0)
    _make_void(single, 0)
    member = single.start_as(0, single.pod_uid(0), started=False)
    member.server.allow(Start("restart", ((member.name, member.identity.peer_url),)))
    eventually(lambda: member.server.running, "a server that hangs", WAIT)
    member.begin()
    member.become(State.RUNNING)
    assert len(member.data.aside()) == 1


def test_data_of_another_cluster_is_neither_started_nor_touched(single: AgentWorld, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with agent_world(tmp_path / "other", size=1) as other:
        other.boot()
        other.kill(0)
        shutil.copytree(other.volume(0) / "data", single.volume(1) / "data")
    single.boot()
    single.publish(bootstrap={"clusterId": f"{single.listing().cluster_id:x}"}, ordinals=[0, 1])
    single.start(1)
    member = single.members[1]
    member.become(State.FOREIGN_CLUSTER)
    eventually(lambda: any("MemberForeignCluster" in event for event in member.recorder.events), "an event", WAIT)
    eventually(lambda: not member.server.running, "no server of it", WAIT)
    assert member.data.has_data
    assert member.data.aside() == []
    with EngineClient(f"{single.address(0)}:2379") as client:
        assert [listed.name for listed in client.member_list().members] == _names(1)


def test_a_copy_of_another_members_volume_does_not_run_its_member_twice(single: AgentWorld) -> None:
    """A clone of a claim, or a restored one: it has all the marks, and the servers would take it for the other."""
    single.boot()
    single.publish(ordinals=[0, 1])
    single.kill(0)
    shutil.copytree(single.volume(0), single.volume(1), dirs_exist_ok=True)
    single.run(0)
    single.start(1)
    member = single.members[1]
    member.become(State.FOREIGN_CLUSTER)
    assert "the data is of default/demo-sts-0" in str(member.agent.status()["detail"])
    eventually(lambda: any("default/demo-sts-0" in event for event in member.recorder.events), "an event", WAIT)
    assert member.starts == []
    assert member.data.has_data
    assert member.data.aside() == []


def test_a_plan_of_a_later_cluster_of_the_same_name_starts_nobody(single: AgentWorld) -> None:
    single.publish(bootstrap={"token": "later"})
    single.start(0)
    member = single.members[0]
    member.become(State.WAIT_PEERS)
    assert not member.server.allowed
    assert member.starts == []
