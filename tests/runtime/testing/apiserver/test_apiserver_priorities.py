"""Priorities of new Pods."""

from __future__ import annotations

from typing import Any

import pytest

from tests.runtime.testing.apiserver.apiserver_helpers import PODS, Answer, Http

CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"


def pod(api: Http, **spec: Any) -> Answer:
    containers = [{"name": "c", "image": "i"}]
    return api.post(PODS, {"metadata": {"name": "p"}, "spec": {"containers": containers, **spec}})


def priority(answer: Answer) -> tuple[str | None, int, str]:
    assert answer.status == 201, answer
    spec = answer.body["spec"]
    return spec.get("priorityClassName"), spec["priority"], spec["preemptionPolicy"]


def test_a_pod_gets_what_its_class_says(api: Http) -> None:
    api.made(CLASSES, "high", value=1000, preemptionPolicy="Never")
    assert priority(pod(api, priorityClassName="high")) == ("high", 1000, "Never")


def test_classes_of_the_system_are_always_there(api: Http) -> None:
    found = priority(pod(api, priorityClassName="system-node-critical"))
    assert found == ("system-node-critical", 2_000_001_000, "PreemptLowerPriority")


def test_the_lowest_default_is_for_pods_without_a_class(api: Http) -> None:
    for name, value in (("b", 20), ("a", 10), ("c", 30)):
        api.made(CLASSES, name, value=value, globalDefault=True)
    api.made(CLASSES, "none", value=1)
    assert priority(pod(api)) == ("a", 10, "PreemptLowerPriority")


def test_without_any_class_the_priority_is_0(api: Http) -> None:
    assert priority(pod(api)) == (None, 0, "PreemptLowerPriority")


@pytest.mark.parametrize(
    "spec",
    [
        {"priorityClassName": "none"},
        {"priority": 7},
        {"preemptionPolicy": "Never"},
        {"priorityClassName": "system-node-critical", "priority": 1},
    ],
)
def test_what_a_pod_cannot_say_itself(api: Http, spec: dict[str, Any]) -> None:
    answer = pod(api, **spec)
    assert (answer.status, answer.body["details"]) == (403, {"name": "p", "kind": "pods"})
