"""Members that lose their Pod or their disk, or stand still, while clients write."""

from __future__ import annotations

import pytest

from tests.support.waiting import eventually
from tests.support.xline_scene import SERVER, SLOW, Judged, Scene, pod_name

pytestmark = [pytest.mark.etcd, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def three(scene: Scene) -> Scene:
    return scene.start_three()


@pytest.mark.parametrize("who", ["leader", "follower"])
def test_a_deleted_pod_comes_back_as_the_same_member(three: Scene, judged: Judged, who: str) -> None:
    ids = three.ids()
    with judged(three):
        victim = three.wait_leader() if who == "leader" else three.follower()
        uid = three.pod(victim).uid
        three.delete_pod(victim)
        three.wait_replaced(victim, uid)
        three.wait_whole(0, 1, 2)
    assert three.ids() == ids


@pytest.mark.parametrize("who", ["leader", "follower"])
def test_a_wiped_disk_makes_another_member(three: Scene, judged: Judged, who: str) -> None:
    """An empty server under the id of one that has voted could vote twice: the old member goes, a new one comes."""
    ids = three.ids()
    with judged(three):
        victim = three.wait_leader() if who == "leader" else three.follower()
        three.wipe(victim)
        eventually(
            lambda: three.ids().get(pod_name(victim), ids[pod_name(victim)]) != ids[pod_name(victim)], timeout=SLOW
        )
        three.wait_whole(0, 1, 2)
    changed = three.ids()
    assert {name for name in ids if changed[name] != ids[name]} == {pod_name(victim)}


@pytest.mark.parametrize("who", ["leader", "follower"])
def test_a_frozen_server_is_one_that_is_away(three: Scene, judged: Judged, who: str) -> None:
    ids = three.ids()
    with judged(three) as recorder:
        victim = three.wait_leader() if who == "leader" else three.follower()
        with three.frozen(victim, SERVER):
            eventually(lambda: not three.is_ready(victim), timeout=SLOW)
            recorder.wait_progress(timeout=SLOW)
        three.wait_whole(0, 1, 2)
    assert three.ids() == ids
