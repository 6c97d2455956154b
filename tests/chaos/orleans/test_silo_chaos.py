"""Ten silo agents as processes: killed, cut off, frozen, restarted, and without their API server. Whatever happens to
some, the others see it alike, in the same order."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cmd.silo_run import DECLARED_DEAD, LEFT
from tests.support import durations
from tests.support.silo_scene import SHORTENED, Scene, Silo, silo_scene
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ALL = range(10)
OUTAGE = 4.0  # seconds; several probes long
_AWAY = "the membership table cannot be reached"


@pytest.fixture
def took(request: pytest.FixtureRequest) -> Callable[[str, float], None]:
    def keep(step: str, seconds: float) -> None:
        durations.keep(request.node.user_properties, step, seconds)
        print(f"{seconds:.1f} s  {step}")

    return keep


Took = Callable[[str, float], None]


def all_join(scene: Scene, took: Took) -> None:
    for number in ALL:
        scene.start(number)
    took("ten started at once are active", scene.agree(ALL, active(scene, *ALL)))


def active(scene: Scene, *numbers: int) -> dict[Silo, str]:
    return dict.fromkeys(scene.of(numbers), "Active")


def three_die(scene: Scene, took: Took, *survivors: int) -> None:
    dead = dict.fromkeys([scene.kill(number) for number in (7, 8, 9)], "Dead")
    took("three killed are declared dead", scene.agree(survivors, active(scene, *survivors) | dead))


def one_freezes(scene: Scene, took: Took, *survivors: int) -> None:
    frozen = scene.freeze(4)
    took("a frozen one is declared dead", scene.agree(survivors, active(scene, *survivors) | {frozen: "Dead"}))
    scene.thaw(4)
    ended(frozen, took, "the frozen one goes on, and ends")


def ended(silo: Silo, took: Took, what: str) -> None:
    began = time.monotonic()
    assert silo.exit_code() == DECLARED_DEAD, silo.log
    took(what, time.monotonic() - began)
    assert "was declared dead" in silo.log


def one_is_restarted(scene: Scene, took: Took, *survivors: int) -> None:
    """With a new generation, before anybody has noticed that the old one is gone."""
    old = scene.kill(3)
    scene.start(3)
    took(
        "a killed one that comes back at once is active",
        scene.agree((3, *survivors), active(scene, 3, *survivors) | {old: "Dead"}),
    )


def test_ten_silos(tmp_path: Path, took: Took) -> None:
    with silo_scene(tmp_path, SHORTENED) as scene:
        all_join(scene, took)
        three_die(scene, took, 0, 1, 2, 3, 4, 5, 6)

        apart = scene.cut_off(6, api_server=True)
        took(
            "one cut off from all is declared dead",
            scene.agree(range(6), active(scene, *range(6)) | {apart: "Dead"}),
        )
        assert apart.process.poll() is None  # nobody could tell it
        scene.links.heal()
        ended(apart, took, "its links are healed, and it ends")

        apart = scene.cut_off(5, api_server=False)
        took(
            "one cut off from other silos only is declared dead",
            scene.agree(range(5), active(scene, *range(5)) | {apart: "Dead"}),
        )
        ended(apart, took, "it reads that, and ends")
        scene.links.heal()

        one_freezes(scene, took, 0, 1, 2, 3)
        one_is_restarted(scene, took, 0, 1, 2)

        scene.server.go_down()
        killed = scene.kill(2)
        survivors = (0, 1, 3)
        for silo in scene.of(survivors):
            eventually(lambda: _AWAY in silo.log, f"{silo} says that the API server is away", 60.0)  # noqa: B023
        time.sleep(OUTAGE)  # a time in which nothing may happen
        assert all(silo.sees()[str(killed.address)] == "Active" for silo in scene.of(survivors))
        scene.server.come_up()
        took(
            "one killed while the API server was away is declared dead",
            scene.agree(survivors, active(scene, *survivors) | {killed: "Dead"}),
        )

        leaver = scene.silos[0]
        leaver.process.terminate()
        took("one that leaves is known to have left", scene.agree((1, 3), active(scene, 1, 3) | {leaver: "Dead"}))
        assert leaver.exit_code() == LEFT
        assert scene.check_views() > 30


def test_with_the_numbers_of_orleans(tmp_path: Path, took: Took) -> None:
    with silo_scene(tmp_path, ()) as scene:
        all_join(scene, took)
        three_die(scene, took, 0, 1, 2, 3, 4, 5, 6)
        one_freezes(scene, took, 0, 1, 2, 3, 5, 6)
        one_is_restarted(scene, took, 0, 1, 2, 5, 6)
        assert scene.check_views() > 20


def test_half_of_a_cluster_cannot_see_the_other_half(tmp_path: Path, took: Took) -> None:
    """Both write to one table: silos are declared dead until those that are left are of one half."""
    with silo_scene(tmp_path, SHORTENED) as scene:
        for number in range(4):
            scene.start(number)
        scene.agree(range(4), active(scene, *range(4)))
        one, two, three, four = (scene.silos[number].key for number in range(4))
        scene.links.cut(one, three, four)
        scene.links.cut(two, three, four)
        began = time.monotonic()

        def decided() -> list[int]:
            running = [n for n in range(4) if scene.silos[n].process.poll() is None]
            return running if set(running) <= {0, 1} or set(running) <= {2, 3} else []

        left = eventually(decided, "one half has ended", 120.0)
        took("one half of a cluster in two halves goes on", time.monotonic() - began)
        dead = dict.fromkeys(scene.of(set(range(4)) - set(left)), "Dead")
        scene.agree(left, active(scene, *left) | dead)
        scene.check_views()
