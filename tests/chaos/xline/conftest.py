from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import unavailability
from tests.support.recorder import Recorder, same_data
from tests.support.waiting import eventually
from tests.support.xline_scene import SLOW, Judged, Scene
from tests.support.xline_scene import scene as new_scene

STATEFULSET, KRUISE = "StatefulSet", "AdvancedStatefulSet"

# Killed while it writes, etcd 3.5.0 to 3.5.2 may lose what it had acknowledged on that one member: the index of what it
# has applied can reach the disk before the data does (etcd's postmortem on 3.5 data inconsistency, 2022).
_MAY_LOSE = ("3.5.0", "3.5.1", "3.5.2")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A stage with StatefulSets."""
    with new_scene(tmp_path) as here:
        yield here


@pytest.fixture
def linked(tmp_path: Path) -> Iterator[Scene]:
    """A stage with StatefulSets whose links can be cut."""
    with new_scene(tmp_path, links=True) as here:
        yield here


@pytest.fixture(params=[STATEFULSET, KRUISE])
def either(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A stage with StatefulSets, and one with AdvancedStatefulSets."""
    with new_scene(tmp_path, kruise=request.param == KRUISE) as here:
        yield here


@pytest.fixture
def judged(request: pytest.FixtureRequest) -> Judged:
    """Clients at work while something happens; afterwards the cluster must answer, and is judged by what they saw."""

    @contextmanager
    def judge(scene: Scene, note: str = "") -> Iterator[Recorder]:
        with scene.recorder() as recorder:
            recorder.wait_progress()
            yield recorder
            if not recorder.stopped:
                recorder.wait_progress(timeout=SLOW)
        recorder.history.save(scene.folder / "history.jsonl")
        for called, address, code in recorder.failures:
            print(f"{called:.3f} {address} {code}")
        known_bug = scene.killed_a_server and _diverged(scene)
        try:
            verdict = recorder.verdict()
        except AssertionError:
            if known_bug:
                pytest.xfail(f"a bug of {known_bug}, which was killed: its members hold different data")
            raise
        if known_bug:
            pytest.xfail(f"a bug of {known_bug}, which was killed: its members hold different data")
        assert scene.killed_a_server or eventually(lambda: same_data(scene.member_addresses()), timeout=SLOW)
        unavailability.keep(request.node.user_properties, verdict, note)

    return judge


def _diverged(scene: Scene) -> str:
    """The version of a server that is known to lose data when it is killed, if members of one cluster hold different
    data; "" if they hold the same, or another version has to answer for it.

    :raises AssertionError: they are not of one cluster, or of another version: no bug of the server explains that.
    """
    said = [status for ordinal in scene.ordinals() if (status := scene.says(ordinal)) is not None]
    assert len({status.cluster_id for status in said}) == 1, f"members of different clusters: {said}"
    if same_data(scene.member_addresses()):
        return ""
    versions = {status.version for status in said}
    assert versions <= set(_MAY_LOSE), f"members of etcd {versions} hold different data"
    return f"etcd {', '.join(sorted(versions))}"
