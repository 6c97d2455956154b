"""Clusters that grow and shrink while clients write: nothing acknowledged is lost, and the leader is kept."""

from __future__ import annotations

import pytest

from tests.support.xline_scene import Judged, Scene

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(600)]


def term(scene: Scene) -> int:
    """The raft term: it grows with every election."""
    leader = scene.wait_leader()
    status = scene.says(leader)
    assert status is not None
    return status.term


@pytest.mark.slow  # the tour of `make demo` does the same on StatefulSets in tests/cmd/test_standalone.py
def test_3_to_5_to_3(either: Scene, judged: Judged) -> None:
    either.start_three()
    with judged(either):
        assert either.resize(5) == [0, 1, 2, 3, 4]
        shrink_with_leader(either, 1, keeps=True)
        assert either.ordinals() == [0, 1, 2]


@pytest.mark.slow
def test_3_to_5_to_3_to_1_to_3(either: Scene, judged: Judged) -> None:
    either.start_three()
    with judged(either):
        for size in (5, 3, 1, 3):
            either.resize(size)
    assert either.condition("Available")["status"] == "True"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_leader_is_kept_whatever_its_ordinal(either: Scene, judged: Judged, request: pytest.FixtureRequest) -> None:
    """AdvancedStatefulSets keep the leader's Pod. StatefulSets end the highest Pods, so a leader among those hands
    over before its Pod goes: then there is one orderly transfer, and no election after a loss."""
    kruise = "AdvancedStatefulSet" in request.node.name
    either.start_operator()
    either.create(5)
    either.wait_whole(0, 1, 2, 3, 4)
    with judged(either):
        for leader in range(5):
            shrink_with_leader(either, leader, keeps=kruise or leader < 3)
            assert set(either.resize(5)) == {0, 1, 2, 3, 4}


def shrink_with_leader(scene: Scene, leader: int, *, keeps: bool) -> None:
    """From 5 to 3 members while this one leads; again if there was an election that nobody asked for: on a machine
    that stalls, members miss each other's heartbeats."""
    for _ in range(3):
        scene.move_leader(leader)
        before, moved = term(scene), scene.told("MovingLeader")
        kept = scene.resize(3)
        asked_for = scene.told("MovingLeader") - moved
        if term(scene) - before > asked_for:
            scene.resize(5)
            continue
        assert asked_for == (0 if keeps else 1)
        if keeps:
            assert leader in kept
            assert scene.leader() == leader
        return
    pytest.skip("this machine stalls: members elected a leader anew in each of three attempts")
