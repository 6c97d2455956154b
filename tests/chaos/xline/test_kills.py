"""kill -9 of agents, servers and both, again and again, in everything a member goes through."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

import pytest

from runtime.client import NotFound
from tests.support.waiting import eventually
from tests.support.xline_scene import AGENT, SERVER, SLOW, Judged, Scene

pytestmark = [pytest.mark.etcd, pytest.mark.slow, pytest.mark.timeout(900)]

KINDS = {"agent": (AGENT,), "server": (SERVER,), "both": (AGENT, SERVER)}
_KILLS = 3  # per member and phase


class Killer:
    """Kills at moments that differ from run to run, but not for the same seed.

    :ivar states: what the members' agents said they were at when they were hit.
    """

    def __init__(self, scene: Scene, containers: Sequence[str], seed: int) -> None:
        self._scene = scene
        self._containers = containers
        self._random = random.Random(seed)
        self.states: set[str] = set()

    def strike(self, ordinals: Sequence[int], done: Callable[[], bool]) -> None:
        """Until each was hit often enough, or it is over."""
        left = dict.fromkeys(ordinals, _KILLS)
        deadline = time.monotonic() + SLOW
        while any(left.values()) and not done() and time.monotonic() < deadline:
            ordinal = self._random.choice([ordinal for ordinal, kills in left.items() if kills])
            time.sleep(self._random.uniform(0.0, 0.6))
            if self._hit(ordinal):
                left[ordinal] -= 1

    def _hit(self, ordinal: int) -> bool:
        state = self._scene.state(ordinal)
        running = [container for container in self._containers if self._scene.pid(ordinal, container)]
        if not running:
            return False
        try:
            self._scene.kill(ordinal, *running)
        except (AssertionError, ProcessLookupError):  # it has just ended by itself
            return False
        self.states.add(state)
        return True


def gone(scene: Scene, ordinal: int, uid: str) -> bool:
    try:
        return scene.pod(ordinal).uid != uid
    except NotFound:
        return True


@pytest.mark.parametrize("kind", KINDS)
def test_kill_9(scene: Scene, judged: Judged, kind: str) -> None:
    killer = Killer(scene, KINDS[kind], seed=len(kind))
    scene.start_operator()
    scene.create()
    killer.strike([0, 1, 2], lambda: False)  # while it bootstraps
    scene.wait_whole(0, 1, 2)
    with judged(scene):
        for ordinal in (0, 1, 2):  # while it runs; a majority is there all the time
            killer.strike([ordinal], lambda: False)
            scene.wait_whole(0, 1, 2)
        scene.scale(5)
        killer.strike([3], lambda: scene.ordinals() == [0, 1, 2, 3, 4])  # while it joins
        killer.strike([4], lambda: scene.whole(0, 1, 2, 3, 4))
        scene.wait_whole(0, 1, 2, 3, 4)
        uid = scene.pod(1).uid
        scene.delete_pod(1)
        killer.strike([1], lambda: gone(scene, 1, uid))  # while it is drained
        scene.wait_whole(0, 1, 2, 3, 4)
        scene.wipe(2)
        killer.strike([2], lambda: False)  # while it gives its lost disk up
        scene.wait_whole(0, 1, 2, 3, 4)
        scene.scale(3)
        killer.strike([4, 3], lambda: len(scene.ordinals()) == 3)  # while it leaves
        scene.wait_whole(*scene.resize(3))
    eventually(lambda: len(scene.listed()) == 3, "nobody left behind in the list", SLOW)
    assert "Running" in killer.states


def test_one_of_two_that_is_killed_before_it_has_left_comes_back_and_leaves(scene: Scene, judged: Judged) -> None:
    """The other one alone is no majority, and could not even take it off the list."""
    scene.start_operator()
    scene.create(2)
    scene.wait_whole(0, 1)
    with judged(scene):
        scene.move_leader(0)
        scene.scale(1)
        eventually(lambda: scene.status()["plan"]["ordinals"] == [0], "the plan without it", SLOW)
        with scene.frozen(1, AGENT):
            eventually(lambda: scene.pod(1).deletion_timestamp is not None, "its Pod being told to end", SLOW)
            scene.kill(1, AGENT, SERVER)
        eventually(lambda: scene.told("KeepingMember") == 1, "it being brought back", SLOW)
        scene.wait_whole(0)
    assert len(scene.listed()) == 1
