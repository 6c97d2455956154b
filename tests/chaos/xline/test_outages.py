"""An API server that is down for a while, in each phase of a cluster's life; and two operators at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.waiting import eventually
from tests.support.xline_scene import AGENT, SERVER, SLOW, Judged, Scene

pytestmark = [pytest.mark.etcd, pytest.mark.slow, pytest.mark.timeout(600)]

_MINUTE = 60.0
_SHORT = 10.0


@contextmanager
def api_server_down(scene: Scene, seconds: float) -> Iterator[None]:
    until = time.monotonic() + seconds
    scene.server.go_down()
    try:
        yield
        time.sleep(max(0.0, until - time.monotonic()))
    finally:
        scene.server.come_up()


def test_while_members_run_and_even_start_again(scene: Scene, judged: Judged) -> None:
    """Nobody needs the API server to serve, nor to start on data that is there."""
    scene.start_three()
    ids = scene.ids()
    with judged(scene) as recorder:
        with api_server_down(scene, _MINUTE):
            recorder.wait_progress(100)
            scene.kill(0, SERVER)
            eventually(lambda: scene.says(0) is not None, "member 0 answering again", SLOW)
            scene.kill(1, AGENT, SERVER)
            eventually(lambda: scene.says(1) is not None, "member 1 answering again", SLOW)
            recorder.wait_progress(50)
        scene.wait_whole(0, 1, 2)
    assert scene.ids() == ids


def test_while_the_cluster_bootstraps(scene: Scene) -> None:
    scene.start_operator()
    scene.create()
    eventually(lambda: scene.node.pids("default", "demo-sts-0"), "a first process", SLOW)
    with api_server_down(scene, _SHORT):
        pass
    scene.wait_whole(0, 1, 2)


@pytest.mark.parametrize("size", [5, 2])
def test_while_it_grows_and_shrinks(scene: Scene, judged: Judged, size: int) -> None:
    scene.start_three()
    with judged(scene):
        for delay in (0.0, 2.0):  # at different moments of the way
            scene.scale(size)
            time.sleep(delay)
            with api_server_down(scene, _SHORT / 2):
                pass
            scene.resize(size)
            scene.resize(3)


def test_while_it_is_rolled(scene: Scene, judged: Judged) -> None:
    scene.start_three()
    with judged(scene):
        scene.edit(podTemplate={"metadata": {"annotations": {"rolled": "yes"}}})
        eventually(lambda: any("rolled" in pod.annotations for pod in scene.pods()), timeout=SLOW)
        with api_server_down(scene, _SHORT):
            pass
        eventually(lambda: all("rolled" in pod.annotations for pod in scene.pods()), timeout=SLOW)
        scene.wait_whole(0, 1, 2)


def test_two_operators_by_mistake(either: Scene, judged: Judged) -> None:
    """Neither knows of the other, nor elects a leader."""
    operators = [either.start_operator(), either.start_operator()]
    either.create()
    either.wait_whole(0, 1, 2)
    with judged(either):
        either.resize(5)
        assert len(either.resize(3)) == 3
    assert all(operator.process.poll() is None for operator in operators)
    assert len(either.listed()) == 3
