"""The same on Xline: on a real one, if XLINE_BIN names it; else on the server that stands in for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.waiting import eventually
from tests.support.xline_scene import AGENT, SERVER, SLOW, Judged, Scene, pod_name
from tests.support.xline_standin import install

pytestmark = [pytest.mark.timeout(600)]


@pytest.fixture
def xline(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    given = os.environ.get("XLINE_BIN")
    if given:
        return Path(given)
    program = install(tmp_path_factory.mktemp("xline") / "standin")
    monkeypatch.setenv("XLINE_BIN", str(program))
    return program


@pytest.mark.usefixtures("xline")
def test_it_grows_and_shrinks(scene: Scene, judged: Judged) -> None:
    scene.start_three(engine="xline")
    with judged(scene):
        assert scene.resize(4) == [0, 1, 2, 3]
        assert scene.resize(3) == [0, 1, 2]


@pytest.mark.slow
@pytest.mark.usefixtures("xline")
def test_3_to_5_to_3_to_1_to_3(scene: Scene, judged: Judged) -> None:
    scene.start_three(engine="xline")
    with judged(scene):
        for size in (5, 3, 1, 3):
            assert scene.resize(size) == list(range(size))


@pytest.mark.slow
@pytest.mark.usefixtures("xline")
def test_members_are_killed_deleted_and_lose_their_disks(scene: Scene, judged: Judged) -> None:
    ids = scene.start_three(engine="xline").ids()
    with judged(scene) as recorder:
        for containers in ((SERVER,), (AGENT,), (AGENT, SERVER)):
            scene.kill(scene.wait_leader(), *containers)
            recorder.wait_progress(timeout=SLOW)
            scene.wait_whole(0, 1, 2)
        uid = scene.pod(1).uid
        scene.delete_pod(1)
        scene.wait_replaced(1, uid)
        scene.wait_whole(0, 1, 2)
        assert scene.ids() == ids
        scene.wipe(2)
        eventually(lambda: scene.ids().get(pod_name(2)) not in (None, ids[pod_name(2)]), "another member", SLOW)
        scene.wait_whole(0, 1, 2)


def kill_agent_while_joining(scene: Scene, ordinal: int) -> None:
    killed: set[int | None] = {None}
    for _ in range(3):
        eventually(lambda: scene.pid(ordinal, AGENT) not in killed, f"an agent of member {ordinal}", SLOW)
        killed.add(scene.pid(ordinal, AGENT))
        scene.kill(ordinal, AGENT)
    eventually(lambda: pod_name(ordinal) in scene.ids(), f"member {ordinal}", SLOW)


@pytest.mark.slow
@pytest.mark.usefixtures("xline")
def test_agents_killed_while_their_members_join_make_no_second_ones(scene: Scene, judged: Judged) -> None:
    """Xline would take the same address twice, and any number of changes at a time."""
    scene.start_three(engine="xline")
    with judged(scene):
        scene.scale(5)
        for ordinal in (3, 4):
            kill_agent_while_joining(scene, ordinal)
        scene.wait_whole(0, 1, 2, 3, 4)
        urls = [url for member in scene.listed() for url in member.peer_urls]
        assert len(urls) == len(set(urls)) == 5


@pytest.mark.slow
@pytest.mark.usefixtures("xline")
def test_a_lost_majority_is_told_to_be_restored_from_a_backup(scene: Scene) -> None:
    """Xline cannot go on from one member's data."""
    scene.start_three(engine="xline")
    for lost in (1, 2):
        scene.wipe(lost)
    scene.wait_condition("Available", "False")
    scene.edit(recovery={"survivor": pod_name(0), "id": "once"})

    def told() -> bool:
        said = " ".join(str(c.get("message")) for c in scene.status().get("conditions") or ())
        return "backup" in said

    eventually(told, "the advice", SLOW)
