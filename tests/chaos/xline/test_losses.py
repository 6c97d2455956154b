"""Members that lose their Pod, their disk, or the network between them and others, while clients write."""

from __future__ import annotations

import pytest

from runtime.testing.nodes.links import API_SERVER
from tests.chaos.xline.conftest import Judged
from tests.chaos.xline.test_scaling import to_size
from tests.support.waiting import eventually
from tests.support.xline_scene import SERVER, SLOW, Scene, pod_name

pytestmark = [pytest.mark.etcd, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def three(scene: Scene) -> Scene:
    scene.start_operator()
    scene.create()
    scene.wait_whole(0, 1, 2)
    return scene


def follower(scene: Scene) -> int:
    return next(ordinal for ordinal in scene.ordinals() if ordinal != scene.wait_leader())


def is_ready(scene: Scene, ordinal: int) -> bool:
    conditions = (scene.pod(ordinal).get("status") or {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


@pytest.mark.parametrize("who", ["leader", "follower"])
def test_a_deleted_pod_comes_back_as_the_same_member(three: Scene, judged: Judged, who: str) -> None:
    ids = three.ids()
    with judged(three):
        victim = three.wait_leader() if who == "leader" else follower(three)
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
        victim = three.wait_leader() if who == "leader" else follower(three)
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
        victim = three.wait_leader() if who == "leader" else follower(three)
        with three.frozen(victim, SERVER):
            eventually(lambda: not is_ready(three, victim), timeout=SLOW)
            recorder.wait_progress(timeout=SLOW)
        three.wait_whole(0, 1, 2)
    assert three.ids() == ids


@pytest.mark.parametrize("who", ["leader", "follower"])
@pytest.mark.parametrize("cut_from", ["peers", "api server", "both"])
def test_a_partition_changes_no_membership(three: Scene, judged: Judged, cut_from: str, who: str) -> None:
    ids = three.ids()
    with judged(three) as recorder:
        victim = three.wait_leader() if who == "leader" else follower(three)
        others = [] if cut_from == "api server" else three.others(victim)
        three.links.cut(three.end(victim), *others, *([] if cut_from == "peers" else [API_SERVER]))
        if others:
            eventually(lambda: not is_ready(three, victim), timeout=SLOW)
            others_lead = eventually(
                lambda: [o for o in three.ordinals() if o != victim and leads(three, o)], timeout=SLOW
            )
            assert len(others_lead) == 1
        recorder.wait_progress(50, timeout=SLOW)
        assert three.ids() == ids
        three.links.heal()
        three.wait_whole(0, 1, 2)
    assert three.ids() == ids


def leads(scene: Scene, ordinal: int) -> bool:
    said = scene.says(ordinal)
    return said is not None and said.is_leader


def test_who_leaves_without_hearing_of_it_is_removed_by_the_others(three: Scene, judged: Judged) -> None:
    """Cut off from the API server an agent cannot know that its member is condemned, and keeps the membership: the
    leader's agent takes it out once the Pod is gone."""
    with judged(three):
        to_size(three, 5)
        three.links.cut(three.end(4), API_SERVER)
        assert to_size(three, 3) == [0, 1, 2]
        three.links.heal()
    assert sorted(three.ids()) == [pod_name(n) for n in (0, 1, 2)]


def test_a_member_that_cannot_join_holds_nobody_up_and_is_taken_back(three: Scene, judged: Judged) -> None:
    """Its network never comes up: clients are served, the status tells, and the smaller size is as good as ever."""
    ids = three.ids()
    with judged(three) as recorder:
        three.links.cut(three.end(3), *(three.end(n) for n in (0, 1, 2)))
        three.scale(5)
        eventually(lambda: three.ordinals() == [0, 1, 2, 3], timeout=SLOW)
        recorder.wait_progress(100, timeout=SLOW)
        assert three.condition("Available")["status"] == "True"
        assert three.condition("Progressing")["status"] == "True"
        assert len([m for m in three.listed() if m.voter]) == 3
        three.scale(3)
        three.wait_whole(0, 1, 2)
    assert three.ids() == ids


def test_a_member_joins_when_its_network_comes_up(three: Scene, judged: Judged) -> None:
    with judged(three) as recorder:
        three.links.cut(three.end(3), API_SERVER, *(three.end(n) for n in (0, 1, 2)))
        three.scale(5)
        eventually(lambda: three.ordinals() == [0, 1, 2, 3], timeout=SLOW)
        recorder.wait_progress(50, timeout=SLOW)
        three.links.heal()
        three.wait_whole(0, 1, 2, 3, 4)
