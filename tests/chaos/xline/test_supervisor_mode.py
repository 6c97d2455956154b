"""Pods in which the agent is the server's parent: what is killed, stopped or removed there."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from membership.xline.procfs import state_of
from tests.support.waiting import eventually
from tests.support.xline_scene import SERVER, SLOW, Judged, Scene
from tests.support.xline_standin import install

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

IMAGES = {"etcd": "example.com/xline-operator:v3.5.1", "xline": "example.com/xline-operator:v0.7.0"}


def _server(scene: Scene, ordinal: int) -> int:
    """The process of the server, by its agent's note."""

    def look() -> int:
        try:
            noted = json.loads((scene.volume(ordinal) / "agent" / "server.json").read_text())
        except (OSError, ValueError):
            return 0
        state = state_of(noted["pid"])
        return int(noted["pid"]) if state is not None and state.lives and state.started == noted["started"] else 0

    return eventually(look, "a server", SLOW)


def _gone(pid: int) -> None:
    eventually(lambda: (state := state_of(pid)) is None or not state.lives, f"the end of {pid}", SLOW)


@pytest.mark.parametrize("engine", ["etcd", "xline"])
def test_a_server_below_its_agent(
    scene: Scene, judged: Judged, engine: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine == "xline" and not os.environ.get("XLINE_BIN"):
        monkeypatch.setenv("XLINE_BIN", str(install(Path(tmp_path_factory.mktemp("xline")) / "standin")))
    scene.start_operator()
    scene.create(engine=engine, image=IMAGES[engine], agent={"mode": "Supervisor"})
    scene.wait_whole(0, 1, 2)
    ids = scene.ids()
    with judged(scene) as recorder:
        # The server alone: its agent starts it again.
        first = scene.wait_leader()
        pid, agent = _server(scene, first), scene.pid(first, SERVER)
        scene.killed_a_server = True
        os.kill(pid, signal.SIGKILL)
        recorder.wait_progress(timeout=SLOW)
        scene.wait_whole(0, 1, 2)
        assert _server(scene, first) != pid
        assert scene.pid(first, SERVER) == agent
        # The agent: the kernel ends its server, and the kubelet starts both.
        second = scene.wait_leader()
        pid = _server(scene, second)
        scene.kill(second, SERVER)
        _gone(pid)
        recorder.wait_progress(timeout=SLOW)
        scene.wait_whole(0, 1, 2)
        # The Pod: it hands over, ends well, and stays who it is.
        third = scene.wait_leader()
        uid, pid = scene.pod(third).uid, _server(scene, third)
        scene.delete_pod(third)
        scene.wait_replaced(third, uid)
        _gone(pid)
        scene.wait_whole(0, 1, 2)
        assert scene.ids() == ids
        # The member.
        assert scene.resize(4) == [0, 1, 2, 3]
        pid = _server(scene, 3)
        assert scene.resize(3) == [0, 1, 2]
        _gone(pid)
        assert scene.ids() == ids
