"""Members that are cut off from each other, from the API server, or from both, while clients write."""

from __future__ import annotations

import pytest

from runtime.testing.nodes.links import API_SERVER
from tests.support.waiting import eventually
from tests.support.xline_scene import SLOW, Judged, Scene, pod_name

pytestmark = [pytest.mark.etcd, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def three(linked: Scene) -> Scene:
    return linked.start_three()


@pytest.mark.parametrize(
    ("cut_from", "who"), [("peers", "leader"), ("peers", "follower"), ("api server", "leader"), ("both", "leader")]
)
def test_a_partition_changes_no_membership(three: Scene, judged: Judged, cut_from: str, who: str) -> None:
    ids = three.ids()
    with judged(three) as recorder:
        victim = three.wait_leader() if who == "leader" else three.follower()
        others = [] if cut_from == "api server" else three.others(victim)
        three.links.cut(three.end(victim), *others, *([] if cut_from == "peers" else [API_SERVER]))
        if others:
            eventually(lambda: not three.is_ready(victim), timeout=SLOW)
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
        three.resize(5)
        three.links.cut(three.end(4), API_SERVER)
        assert three.resize(3) == [0, 1, 2]
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
