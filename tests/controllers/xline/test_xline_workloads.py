"""Ordinals in the specs of both kinds of workload, and which kind a cluster has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.xline.workloads import ADVANCED_STATEFULSET, STATEFULSET, Backend, Workload, WorkloadKind, choose
from runtime.client import Unstructured
from runtime.types import JSONObject

ORDINALS = st.sets(st.integers(0, 12), min_size=1)


@given(ORDINALS)
def test_an_advanced_statefulset_runs_exactly_the_ordinals_it_is_shaped_for(ordinals: set[int]) -> None:
    shape = ADVANCED_STATEFULSET.shape(ordinals)
    assert ADVANCED_STATEFULSET.ordinals_of(shape) == tuple(sorted(ordinals))
    assert all(reserved < max(ordinals) for reserved in shape["reserveOrdinals"])


@given(ORDINALS)
def test_a_statefulset_runs_them_and_those_below(ordinals: set[int]) -> None:
    assert STATEFULSET.ordinals_of(STATEFULSET.shape(ordinals)) == tuple(range(max(ordinals) + 1))


@pytest.mark.parametrize(
    ("spec", "ordinals"),
    [
        ({"replicas": 4, "reserveOrdinals": [3]}, (0, 1, 2, 4)),
        ({"replicas": 3, "reserveOrdinals": [2, 3]}, (0, 1, 4)),
        ({"replicas": 4, "reserveOrdinals": []}, (0, 1, 2, 3)),
        ({"replicas": 3, "reserveOrdinals": [2]}, (0, 1, 3)),
        ({"replicas": 3, "reserveOrdinals": [0, 1]}, (2, 3, 4)),
        ({"replicas": 4, "reserveOrdinals": [4]}, (0, 1, 2, 3)),
        ({"replicas": 5, "reserveOrdinals": [2]}, (0, 1, 3, 4, 5)),
        ({"replicas": 5, "reserveOrdinals": [2, 3]}, (0, 1, 4, 5, 6)),
        ({"replicas": 3}, (0, 1, 2)),
        ({"replicas": 3, "reserveOrdinals": ["1-2", 4]}, (0, 3, 5)),
        ({"replicas": 2, "reserveOrdinals": [3], "ordinals": {"start": 2}}, (2, 4)),
        ({}, (0,)),
    ],
)
def test_ordinals_of_an_advanced_statefulset(spec: JSONObject, ordinals: tuple[int, ...]) -> None:
    assert ADVANCED_STATEFULSET.ordinals_of(spec) == ordinals


def test_the_top_alone_can_go_from_a_statefulset() -> None:
    assert STATEFULSET.removable({0, 1, 2}) == {2}
    assert ADVANCED_STATEFULSET.removable({0, 1, 2}) == {0, 1, 2}
    assert STATEFULSET.removable(()) == frozenset()


@pytest.mark.parametrize("backend", [STATEFULSET, ADVANCED_STATEFULSET], ids=lambda backend: backend.kind)
def test_a_spec_holds_what_is_common_and_the_shape(backend: Backend) -> None:
    spec = backend.spec({"serviceName": "x", "template": {}}, {0, 1, 2})
    assert spec["serviceName"] == "x"
    assert backend.ordinals_of(spec) == (0, 1, 2)
    assert spec["updateStrategy"] == {"type": "OnDelete"}  # members go one by one, the leader last: we see to it
    assert spec["podManagementPolicy"] == "Parallel"


def live(kind: str = "StatefulSet", **fields: JSONObject) -> Unstructured:
    return Unstructured({"kind": kind, "metadata": {"name": "demo-sts", "generation": 2}, **fields})


STS, ASTS = live(), live()


@pytest.mark.parametrize(
    ("wanted", "found", "recorded", "kruise", "kind", "problem"),
    [
        ("auto", {}, "", False, "StatefulSet", ""),
        ("auto", {}, "", True, "AdvancedStatefulSet", ""),
        ("StatefulSet", {}, "", True, "StatefulSet", ""),
        ("AdvancedStatefulSet", {}, "", True, "AdvancedStatefulSet", ""),
        ("AdvancedStatefulSet", {}, "", False, "AdvancedStatefulSet", "install OpenKruise"),
        ("auto", {"StatefulSet": STS}, "", True, "StatefulSet", ""),  # Kruise came later: nothing moves
        ("auto", {"AdvancedStatefulSet": ASTS}, "AdvancedStatefulSet", True, "AdvancedStatefulSet", ""),
        ("AdvancedStatefulSet", {"StatefulSet": STS}, "StatefulSet", True, "StatefulSet", "does not change"),
        ("StatefulSet", {"AdvancedStatefulSet": ASTS}, "", True, "AdvancedStatefulSet", "does not change"),
        ("auto", {}, "StatefulSet", True, "StatefulSet", ""),  # deleted by mistake: made again as it was
        ("auto", {}, "AdvancedStatefulSet", False, "AdvancedStatefulSet", "install OpenKruise"),
        ("StatefulSet", {}, "AdvancedStatefulSet", True, "AdvancedStatefulSet", "does not change"),
        ("auto", {"StatefulSet": STS, "AdvancedStatefulSet": ASTS}, "AdvancedStatefulSet", True,
         "AdvancedStatefulSet", ""),
        ("auto", {"StatefulSet": STS, "AdvancedStatefulSet": ASTS}, "", True, "StatefulSet", ""),
    ],
)  # fmt: skip
def test_the_kind_of_workload(
    wanted: str,
    found: dict[WorkloadKind, Unstructured],
    recorded: str,
    kruise: bool,
    kind: str,
    problem: str,
) -> None:
    choice = choose(wanted, found, recorded, lambda: kruise)
    assert choice.workload.backend.kind == kind
    assert choice.workload.obj is found.get(choice.workload.backend.kind)
    assert problem in choice.problem
    assert bool(choice.problem) is bool(problem)
    assert choice.usable is ("install" not in problem)


@pytest.mark.parametrize(
    ("spec", "reported", "settled"),
    [
        ({"replicas": 3}, {}, False),
        ({"replicas": 3}, {"observedGeneration": 2, "replicas": 3}, True),
        ({"replicas": 3}, {"observedGeneration": 1, "replicas": 3}, False),
        ({"replicas": 3}, {"observedGeneration": 2, "replicas": 2}, False),
        (
            {"replicas": 3},
            {"observedGeneration": 2, "replicas": 3, "currentRevision": "a", "updateRevision": "b"},
            False,
        ),
        (
            {"replicas": 3},
            {
                "observedGeneration": 2,
                "replicas": 3,
                "currentRevision": "a",
                "updateRevision": "b",
                "updatedReplicas": 3,
            },
            True,
        ),
    ],
)
def test_a_workload_is_settled_when_its_controller_is_done(
    spec: JSONObject, reported: JSONObject, settled: bool
) -> None:
    assert Workload(STATEFULSET, live(spec=spec, status=reported)).settled is settled
    assert not Workload(STATEFULSET).settled


def pod(revision: str) -> Unstructured:
    return Unstructured({"metadata": {"name": "x", "labels": {"controller-revision-hash": revision}}})


def test_a_pod_is_current_once_the_controller_has_said_what_that_is() -> None:
    seen = Workload(STATEFULSET, live(spec={}, status={"observedGeneration": 2, "updateRevision": "b"}))
    unseen = Workload(STATEFULSET, live(spec={}, status={"observedGeneration": 1, "updateRevision": "a"}))
    assert (seen.is_current(pod("b")), seen.is_current(pod("a"))) == (True, False)
    assert unseen.is_current(pod("a")) is None
    assert seen.is_current(Unstructured({"metadata": {"name": "x"}})) is None


def test_images_of_all_containers() -> None:
    template: JSONObject = {
        "spec": {"containers": [{"name": "xline", "image": "a"}], "initContainers": [{"name": "agent", "image": "b"}]}
    }
    workload = Workload(STATEFULSET, live(spec={"template": template}))
    assert (workload.image, workload.container_image("agent"), workload.container_image("no")) == ("a", "b", "")
    assert Workload(STATEFULSET).image == ""
