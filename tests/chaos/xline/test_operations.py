"""What people do to clusters: change their mind, roll them, upgrade them, and recover them by hand."""

from __future__ import annotations

import pytest

from tests.support.recorder import put, same_data
from tests.support.waiting import eventually
from tests.support.xline_scene import AGENT, SERVER, SLOW, Judged, Scene, pod_name

pytestmark = [pytest.mark.etcd, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize(("sizes", "until"), [((5, 3), 4), ((5, 7, 4), 4)])
def test_the_target_changes_in_the_middle(either: Scene, judged: Judged, sizes: tuple[int, ...], until: int) -> None:
    either.start_three()
    with judged(either):
        for size in sizes[:-1]:
            either.scale(size)
            eventually(lambda: len(either.ordinals()) >= until, f"{until} Pods", SLOW)
        assert len(either.resize(sizes[-1])) == sizes[-1]
        either.scale(1)
        eventually(lambda: len(either.ordinals()) < sizes[-1], "a Pod less", SLOW)
        assert len(either.resize(3)) == 3
    assert len(either.listed()) == 3


def test_a_rolling_restart_replaces_the_leader_last(either: Scene, judged: Judged) -> None:
    either.start_three()
    before = {pod.name: pod.uid for pod in either.pods()}
    ids = either.ids()
    with judged(either):
        either.edit(podTemplate={"metadata": {"annotations": {"rolled": "yes"}}})
        eventually(lambda: all("rolled" in pod.annotations for pod in either.pods()), timeout=SLOW)
        either.wait_whole(0, 1, 2)
    assert not set(before.values()) & {pod.uid for pod in either.pods()}
    assert either.ids() == ids


def test_a_new_version_under_load(either: Scene, judged: Judged) -> None:
    either.start_operator()
    either.create(image="quay.io/coreos/etcd:v3.5.0")
    either.wait_whole(0, 1, 2)
    ids = either.ids()
    wanted = "quay.io/coreos/etcd:v3.5.1"
    with judged(either):
        either.edit(image=wanted)
        eventually(lambda: all(image_of(either, o) == wanted for o in (0, 1, 2)), timeout=SLOW)
        either.wait_whole(0, 1, 2)
    assert either.ids() == ids


def image_of(scene: Scene, ordinal: int) -> str:
    return next(str(c["image"]) for c in scene.pod(ordinal)["spec"]["containers"] if c["name"] == SERVER)


def test_a_lost_majority_is_recovered_by_hand_and_not_unasked(scene: Scene) -> None:
    scene.start_three()
    with scene.recorder() as before:
        before.wait_progress(30)
    before.verdict()
    # Of the last write a member that is killed may not know on its disk that it was committed, and etcd's new cluster
    # does without what it does not know that of. So the last one is none that we count.
    put(scene.address(0), b"last", b"may be lost")
    eventually(lambda: same_data(scene.member_addresses()), "everything at the survivor", SLOW)
    ids = scene.ids()
    for lost in (1, 2):
        scene.wipe(lost)
    eventually(lambda: scene.status().get("leader") in (None, ""), "no leader", SLOW)
    scene.wait_condition("Available", "False")
    for _ in range(3):  # nobody makes a cluster of what is left, unasked, whatever restarts
        killed = [scene.pid(0, container) for container in (AGENT, SERVER)]
        scene.kill(0, AGENT, SERVER)
        wait_again(scene, killed)
        assert scene.leader() is None
    scene.edit(recovery={"survivor": pod_name(0), "id": "once"})
    scene.wait_whole(0, 1, 2)
    before.verdict()  # what was written before is there
    assert all(scene.ids()[name] != ids[name] for name in (pod_name(1), pod_name(2)))
    eventually(lambda: same_data(scene.member_addresses()), "all members with the survivor's data", SLOW)


def wait_again(scene: Scene, killed: list[int | None]) -> None:
    def look() -> bool:
        now = [scene.pid(0, container) for container in (AGENT, SERVER)]
        return None not in now and not set(now) & set(killed)

    eventually(look, "agent and server of member 0 again", SLOW)
