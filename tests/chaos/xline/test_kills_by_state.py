"""kill -9 of agent, of server, of both, at each state of the agent's table: whatever a member was about to do, the
cluster becomes what is wanted, the engine's list is the plan, and clients have lost nothing.

``test_kills.py`` hits at random moments; this hits at all states, each as soon as the agent says that it is at it.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeAlias

import grpc
import pytest

from crds.xlinecluster import XLINECLUSTERS
from membership.xline.client import EngineClient, MemberList
from membership.xline.errors import EngineError
from membership.xline.look import CRASHES
from membership.xline.states import State
from runtime.testing.nodes.claims import CLAIMS
from runtime.types import GVR
from tests.support.etcd_process import EtcdProcess, wait_for
from tests.support.loopback import own_address
from tests.support.recorder import put, same_data
from tests.support.waiting import eventually
from tests.support.xline_kills import KINDS, Kills, Kind
from tests.support.xline_scene import AGENT, NAME, NAMESPACE, SERVER, SLOW, Judged, Scene, claim_name, pod_name
from tests.support.xline_scene import scene as new_scene

STATEFULSETS = GVR("apps", "v1", "statefulsets")
ALL: tuple[Kind, ...] = tuple(KINDS)
AGENT_ONLY: tuple[Kind, ...] = ("agent",)

# What is killed at which state, by what brings members into it: the tables of one cluster each.
STARTING = {State.INIT: ALL, State.BOOTSTRAP: ALL}
RUNNING = {
    State.RUNNING: ALL,
    State.RESTART: ALL,
    State.SERVER_CRASH: ("server", "agent", "both"),  # another agent does not know of the crashes before it
    State.FAILED: ALL,
}
ALONE = {State.PARTITIONED: ALL}
JOINING = {
    State.WAIT_PEERS: AGENT_ONLY,
    State.LOST_DISK: AGENT_ONLY,
    State.RESUME: AGENT_ONLY,
    State.JOIN: AGENT_ONLY,
    State.START_JOIN: ALL,
    State.CATCH_UP: ALL,
    State.EVICTED: ALL,
    State.FOREIGN_CLUSTER: AGENT_ONLY,
}
ENDING = {State.NOT_WANTED: AGENT_ONLY, State.DRAINING: ALL, State.DELETING: ALL}
LEAVING = {State.LEAVING: ALL}
RECOVERING = {State.RECOVER: ALL}
CHAPTERS = (STARTING, RUNNING, ALONE, JOINING, ENDING, LEAVING, RECOVERING)

# States without a server: its start file is not there, or nobody has let its container start yet.
NO_SERVER = {
    State.WAIT_PEERS: "it has no data, and may not start on none",
    State.LOST_DISK: "it has no data, and may not start on none",
    State.RESUME: "it has no data, and is listed twice",
    State.JOIN: "it has no data, and is not listed",
    State.FOREIGN_CLUSTER: "it may not start on this data",
    State.NOT_WANTED: "it is no member",
}


def test_every_state_has_its_kills() -> None:
    """No state is left out: all can be reached on etcd."""
    places = [state for chapter in CHAPTERS for state in chapter]
    assert sorted(places) == sorted(State), "each state once"
    for chapter in CHAPTERS:
        for state, kinds in chapter.items():
            assert (kinds == AGENT_ONLY) == (state in NO_SERVER), state


def starts_and_runs(scene: Scene, judged: Judged) -> None:
    kills = Kills(scene, STARTING | RUNNING)

    def whole() -> None:
        kills.settle(0, 1, 2)

    scene.start_operator()
    scene.create()
    for _ in range(3):
        kills.hunt((0, 1, 2), State.BOOTSTRAP, until=kills.calm())
        whole()
        if not kills.left(State.BOOTSTRAP):
            break
        delete(scene)
        for claim in scene.client.resource(CLAIMS, NAMESPACE).list():
            scene.client.resource(CLAIMS, NAMESPACE).delete(claim.name)
        eventually(lambda: not any(scene.volume(o).exists() for o in (0, 1, 2)), "no volumes", SLOW)
        scene.create()
    ids = scene.ids()
    with judged(scene):
        kills.repeat(lambda turn: agent_killed(scene, turn % 3), State.INIT, State.RUNNING, after=whole)
        kills.repeat(lambda turn: crash(kills, turn % 3), State.RESTART, State.SERVER_CRASH, after=whole)
        while kills.left(State.FAILED):
            break_disk(kills, scene.follower())
            whole()
    assert scene.ids() == ids
    assert not kills.pending


def agent_killed(scene: Scene, ordinal: int) -> list[int]:
    scene.kill(ordinal, AGENT)
    return [ordinal]


def crash(kills: Kills, ordinal: int) -> list[int]:
    """A server that ends again and again, until its agent says so, and what is still to be seen of it."""
    scene = kills.scene
    wanted = [state for state in (State.RESTART, State.SERVER_CRASH) if kills.left(state)]
    before: set[int | None] = {None}
    for _ in range(3 * CRASHES):
        pid = eventually(lambda: (now := scene.pid(ordinal, SERVER)) not in before and now, "a server", SLOW)
        before.add(pid or None)
        scene.kill(ordinal, SERVER)
        with contextlib.suppress(AssertionError):  # it was back before its agent has looked again
            eventually(lambda: scene.agent_state(ordinal) in wanted, timeout=1.0)
            break
    return [ordinal]


def is_alone(scene: Scene, judged: Judged) -> None:
    kills = Kills(scene, ALONE)
    scene.start_three()
    with judged(scene, "the test stops two of three servers until the third's agent has said so"):
        while kills.pending:
            partition(kills)
            kills.settle(0, 1, 2)


def partition(kills: Kills) -> None:
    """One that runs while the servers of the others stand still."""
    alone, *others = kills.scene.ordinals()
    with contextlib.ExitStack() as stack:
        for other in others:
            stack.enter_context(kills.scene.frozen(other, SERVER))
        strike_while_there(kills, alone, State.PARTITIONED)


def strike_while_there(kills: Kills, ordinal: int, state: State) -> None:
    """Once, and if that was its agent alone, once more when there is another."""
    if kills.strike([ordinal], state) == "agent":
        kills.strike([ordinal], state)


def break_disk(kills: Kills, ordinal: int) -> None:
    """The data cannot be read for a while, and is what it was afterwards."""
    scene = kills.scene
    member = scene.volume(ordinal) / "data" / "member"
    with scene.frozen(ordinal, SERVER):
        with scene.frozen(ordinal, AGENT):  # at no moment does it find nothing
            member.rename(member.with_name("away"))
            member.write_text("not a folder")
        strike_while_there(kills, ordinal, State.FAILED)
    eventually(lambda: scene.agent_state(ordinal) == State.FAILED, "its agent sees it, too", SLOW)
    with scene.frozen(ordinal, AGENT):
        member.unlink()
        member.with_name("away").rename(member)


def joins(scene: Scene, judged: Judged) -> None:
    kills = Kills(scene, JOINING)
    scene.start_three()

    def bring(_: int) -> list[int]:
        ordinal = scene.follower()
        if kills.left(State.WAIT_PEERS, State.RESUME):
            lose_disk_in_a_pause(kills, ordinal)
        elif kills.left(State.EVICTED):
            evict(kills, ordinal)
        elif kills.left(State.FOREIGN_CLUSTER):
            bring_foreign_data(kills, ordinal)
        else:
            scene.wipe(ordinal)
        return [ordinal]

    with judged(scene):
        kills.repeat(bring, *JOINING, after=lambda: kills.settle(0, 1, 2))
    assert not kills.pending


def lose_disk_in_a_pause(kills: Kills, ordinal: int) -> None:
    """The new member may not be added yet. Meanwhile somebody means to help, and adds it by hand, twice."""
    scene = kills.scene
    scene.edit(paused=True)
    scene.wipe(ordinal)
    kills.strike([ordinal], State.WAIT_PEERS)
    (url,) = next(m.peer_urls for m in scene.listed() if m.name == pod_name(ordinal))
    remove_by_hand(scene, ordinal)
    add_by_hand(scene, url.replace("http:", "https:"), learner=True)  # etcd refuses the same URL, byte for byte
    add_by_hand(scene, url, learner=False)
    scene.edit(paused=False)
    kills.strike([ordinal], State.RESUME)


def remove_by_hand(scene: Scene, ordinal: int) -> None:
    id = scene.ids()[pod_name(ordinal)]
    change_by_hand(scene, lambda listed: listed.get(id) is None, lambda member: member.member_remove(id))


def add_by_hand(scene: Scene, url: str, *, learner: bool) -> None:
    change_by_hand(
        scene,
        lambda listed: any(url in member.peer_urls for member in listed.members),
        lambda member: member.member_add([url], learner=learner),
    )


def change_by_hand(scene: Scene, done: Callable[[MemberList], bool], change: Callable[[EngineClient], object]) -> None:
    """Try until it is done: members that have just met refuse for some seconds, and busy ones do not answer."""

    def look() -> bool:
        address = scene.address(scene.wait_leader())
        with contextlib.suppress(EngineError), EngineClient(address, timeout=5.0) as member:
            if done(member.member_list()):
                return True
            change(member)
        return False

    eventually(look, "the member list changed by hand", SLOW)


def evict(kills: Kills, ordinal: int) -> None:
    """Removed by hand while its server stands still, which therefore does not end by itself."""
    scene = kills.scene
    with scene.frozen(ordinal, SERVER):
        remove_by_hand(scene, ordinal)
        strike_while_there(kills, ordinal, State.EVICTED)


def bring_foreign_data(kills: Kills, ordinal: int) -> None:
    """A volume of another cluster. It is kept until somebody takes it away."""
    scene = kills.scene
    address = own_address()
    other = EtcdProcess("other", address, scene.folder, [("other", address)])
    try:
        wait_for(lambda: answered(address), what="a foreign cluster")
    finally:
        other.close()
    scene.wipe(ordinal, then=scene.folder / "other")
    kills.strike([ordinal], State.FOREIGN_CLUSTER)
    eventually(lambda: scene.agent_state(ordinal) == State.FOREIGN_CLUSTER, "it says so again", SLOW)
    assert scene.pid(ordinal, SERVER) is None
    assert (scene.volume(ordinal) / "data" / "member").is_dir()
    scene.wipe(ordinal)


def answered(address: str) -> bool:
    try:
        put(f"{address}:2379", b"whose", b"another's")
    except grpc.RpcError:
        return False
    return True


def ends(scene: Scene, judged: Judged) -> None:
    kills = Kills(scene, ENDING)
    operator = scene.start_operator()
    scene.create()
    kills.settle(0, 1, 2)

    def end_leader(_: int) -> list[int]:
        leader = scene.wait_leader()
        scene.delete_pod(leader)
        return [leader]

    with judged(scene) as recorder:
        operator.process.send_signal(signal.SIGSTOP)
        scene.client.resource(STATEFULSETS, NAMESPACE).patch(f"{NAME}-sts", {"spec": {"replicas": 4}})
        kills.strike([3], State.NOT_WANTED)
        eventually(lambda: scene.agent_state(3) == State.NOT_WANTED, "it says so again", SLOW)
        assert scene.pid(3, SERVER) is None
        operator.process.send_signal(signal.SIGCONT)
        kills.settle(0, 1, 2)
        scene.client.resource(CLAIMS, NAMESPACE).delete(claim_name(3))  # or a later cluster of three is refused
        kills.repeat(end_leader, State.DRAINING, after=lambda: kills.settle(0, 1, 2))
        recorder.stop()
        for _ in KINDS:
            delete(scene, lambda: kills.hunt((0, 1, 2), State.DELETING, until=lambda: not scene.pods()))
            assert all((scene.volume(o) / "data" / "member").is_dir() for o in (0, 1, 2))
            scene.create()  # the data outlives the XlineCluster
            kills.settle(0, 1, 2)
            if not kills.pending:
                break
    assert not kills.pending


def delete(scene: Scene, meanwhile: Callable[[], None] = lambda: None) -> None:
    """The XlineCluster, and wait until nothing of it runs."""
    scene.client.resource(XLINECLUSTERS, NAMESPACE).delete(NAME)
    meanwhile()
    eventually(lambda: not scene.pods(), "no Pods", SLOW)
    eventually(lambda: not scene.node.processes(), "no processes", SLOW)


def leaves(scene: Scene, judged: Judged, kinds: tuple[Kind, ...]) -> None:
    kills = Kills(scene, {State.LEAVING: kinds})

    def shrink(_: int) -> list[int]:
        scene.resize(4)
        scene.scale(3)
        return [3]

    scene.start_three()
    with judged(scene):
        kills.repeat(shrink, State.LEAVING, after=lambda: kills.settle(0, 1, 2))
    assert not kills.pending


def recovers(scene: Scene, judged: Judged) -> None:
    kills = Kills(scene, RECOVERING)
    scene.start_three()
    with judged(scene) as recorder:
        recorder.wait_progress(30)
        recorder.stop()

        def lose_majority(turn: int) -> list[int]:
            # Of the last write a member that is killed may not know on its disk that it was committed.
            put(scene.address(0), b"last", b"may be lost")
            eventually(lambda: same_data(scene.member_addresses()), "everything at the survivor", SLOW)
            for lost in (1, 2):
                scene.wipe(lost)
            scene.wait_condition("Available", "False")
            scene.edit(recovery={"survivor": pod_name(0), "id": f"number-{turn}"})
            return [0]

        kills.repeat(lose_majority, State.RECOVER, after=lambda: kills.settle(0, 1, 2))
    assert not kills.pending


Play: TypeAlias = Callable[[Scene, Judged], None]

# Side by side, each on a stage of its own: much of the time is spent waiting for locks and graces to run out.
SIDE_BY_SIDE: dict[str, list[list[Play]]] = {
    "in the cluster": [[starts_and_runs], [joins], [is_alone]],
    "on the way out": [
        [partial(leaves, kinds=LEAVING[State.LEAVING][:1])],
        [partial(leaves, kinds=LEAVING[State.LEAVING][1:])],
        [ends, recovers],
    ],
}


@pytest.mark.etcd
@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.parametrize("where", SIDE_BY_SIDE)
def test_kill_9_at_each_state(where: str, tmp_path: Path, judged: Judged) -> None:
    def play(folder: Path, plays: list[Play]) -> None:
        for number, one in enumerate(plays):
            with new_scene(folder / str(number)) as scene:
                one(scene, judged)

    with ThreadPoolExecutor() as pool:
        going = [pool.submit(play, tmp_path / str(n), plays) for n, plays in enumerate(SIDE_BY_SIDE[where])]
    failures = [failure for done in going if (failure := done.exception()) is not None]
    for failure in sorted(failures, key=lambda failure: isinstance(failure, pytest.xfail.Exception)):
        raise failure
