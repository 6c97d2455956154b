"""Which image may take the place of the one that members run."""

from __future__ import annotations

import pytest

from controllers.xline import versions
from controllers.xline.members import EngineView
from tests.controllers.xline.xline_scene import Scene, template


def problem(scene: Scene) -> str | None:
    world = scene.world()
    return versions.problem(world.cluster, world.workload, world.engine)


def etcd(tag: str, *running: str) -> str | None:
    return problem(Scene(spec={"image": f"quay.io/coreos/etcd:{tag}"}, versions=dict(enumerate(running))))


@pytest.mark.parametrize("tag", ["v3.5.18", "v3.5.1", "v3.6.0", "3.6.0-rc.1", "latest", "v3.5.17@sha256:00"])
def test_a_neighbour_is_fine(tag: str) -> None:
    assert etcd(tag, "3.5.17", "3.5.17", "3.5.17") is None


@pytest.mark.parametrize("tag", ["v3.4.34", "v2.3.8"])
def test_a_cluster_does_not_go_back(tag: str) -> None:
    text = etcd(tag, "3.5.17", "3.5.17", "3.5.17")
    assert text is not None
    assert text.startswith(f"spec.image: quay.io/coreos/etcd:{tag} ")
    assert "3.5.17" in text


@pytest.mark.parametrize("tag", ["v3.7.0", "v4.0.0"])
def test_nor_does_it_jump(tag: str) -> None:
    text = etcd(tag, "3.5.17", "3.5.17", "3.5.17")
    assert text is not None
    assert "go to 3.6 first" in text


def test_a_rollout_that_has_begun_can_be_taken_back_but_not_overtaken() -> None:
    assert etcd("v3.5.17", "3.5.17", "3.5.17", "3.6.0") is None
    assert etcd("v3.6.1", "3.5.17", "3.5.17", "3.6.0") is None
    assert etcd("v3.7.0", "3.5.17", "3.6.0", "3.6.0") is not None


def test_where_no_member_tells_the_image_of_before_does() -> None:
    scene = Scene(spec={"image": "etcd:v3.7.0"}, template=template("etcd:v3.5.17"), answers=set())
    assert problem(scene) is not None
    assert problem(Scene(spec={"image": "etcd:v3.7.0"}, template=template("etcd:mine"), answers=set())) is None


def test_the_default_image_is_judged_as_any_other() -> None:
    assert problem(Scene(versions=dict.fromkeys(range(3), "3.8.0"))) is not None


def test_xline_goes_forward_only_and_not_across_its_incompatible_release() -> None:
    def xline(tag: str, runs: str) -> str | None:
        spec = {"engine": "xline", "image": f"ghcr.io/xline-kv/xline:{tag}"}
        return problem(Scene(spec=spec, template=template(f"ghcr.io/xline-kv/xline:{runs}"), answers=set()))

    assert xline("v0.9.0", "v0.7.0") is None
    assert "older" in str(xline("v0.7.0", "v0.8.0"))
    assert "does not join them" in str(xline("v0.7.0", "v0.6.1"))
    assert "does not join them" in str(xline("v0.6.1", "v0.7.0"))


def test_a_workload_that_is_yet_to_be_made_takes_any_image() -> None:
    world = Scene(spec={"image": "etcd:v3.7.0"}).world()
    assert versions.problem(world.cluster, type(world.workload)(world.workload.backend), EngineView()) is None


def test_a_first_image_that_is_wrong_may_be_put_right() -> None:
    scene = Scene(spec={"image": "etcd:v3.5.17"}, template=template("etcd:v35.17"), answers=set(), bootstrapped=False)
    assert problem(scene) is None
