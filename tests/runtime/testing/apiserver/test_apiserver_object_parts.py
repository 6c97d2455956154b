"""Subresources that show the object and change a part of it, and those that need a node."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from runtime.testing.apiserver import FakeAPIServer
from runtime.testing.clock import FakeClock
from tests.runtime.testing.apiserver.apiserver_helpers import MERGE, PODS, STRATEGIC, Http

CONTAINER = {"name": "c", "image": "i:1", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}
DEBUGGER = {"name": "debug", "image": "busybox:1"}
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"


@pytest.fixture
def pod(api: Http) -> dict[str, Any]:
    return api.made(PODS, "a", spec={"containers": [CONTAINER]})


def test_ephemeral_containers_are_added_and_stay(api: Http, pod: dict[str, Any]) -> None:
    path = f"{PODS}/a/ephemeralcontainers"
    change = {"spec": {"ephemeralContainers": [DEBUGGER], "nodeName": "n"}, "metadata": {"labels": {"a": "b"}}}
    changed = api("PATCH", path, change, content_type=STRATEGIC)
    assert changed.status == 200
    assert changed.body["spec"]["ephemeralContainers"][0]["terminationMessagePath"] == "/dev/termination-log"
    assert "nodeName" not in changed.body["spec"]
    assert "labels" not in changed.body["metadata"]
    assert changed.body["metadata"]["generation"] == pod["metadata"]["generation"] + 1

    other = api("PATCH", path, {"spec": {"ephemeralContainers": None}}, content_type=MERGE)
    assert (other.status, other.body["details"]["causes"][0]["field"]) == (422, "spec.ephemeralContainers")
    assert api.get(path).body["kind"] == "Pod"


def test_a_main_write_adds_no_ephemeral_containers(api: Http, pod: dict[str, Any]) -> None:
    assert api("PATCH", f"{PODS}/a", {"spec": {"ephemeralContainers": [DEBUGGER]}}, content_type=MERGE).status == 422


@pytest.mark.parametrize(
    ("resources", "code"),
    [
        ({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "2", "memory": "1Gi"}}, 200),
        ({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}, 422),  # not Guaranteed
        ({"limits": {"cpu": "1", "memory": "1Gi", "x.io/y": "1"}, "requests": {"cpu": "1", "memory": "1Gi"}}, 422),
    ],
)
def test_a_resize(api: Http, pod: dict[str, Any], resources: dict[str, Any], code: int) -> None:
    change = {"spec": {"containers": [{"name": "c", "image": "other:1", "resources": resources}]}}
    answer = api("PATCH", f"{PODS}/a/resize", change, content_type=STRATEGIC)

    assert answer.status == code
    if code == 200:
        container = answer.body["spec"]["containers"][0]
        assert (container["resources"], container["image"]) == (resources, "i:1")


def test_an_approval_changes_conditions_only_and_the_status_all_else(api: Http) -> None:
    spec = {"request": "Zm9v", "signerName": "example.com/s", "usages": ["client auth"], "username": "somebody"}
    created = api.made(REQUESTS, "r", spec=spec, status={"certificate": "Zm9v"})
    assert created["status"] == {}
    assert created["spec"]["username"] not in ("", "somebody")  # it is whoever asks
    approved = {"type": "Approved", "status": "True", "reason": "r"}
    wanted = {**created, "status": {"conditions": [approved], "certificate": "YmFy"}, "spec": {**spec, "usages": []}}

    answer = api.put(f"{REQUESTS}/r/approval", wanted).body
    assert [each["type"] for each in answer["status"]["conditions"]] == ["Approved"]
    assert "certificate" not in answer["status"]
    assert answer["spec"]["usages"] == ["client auth"]

    decided = answer["status"]["conditions"]
    assert all(each["lastUpdateTime"] and each["lastTransitionTime"] for each in decided)
    failed = {"type": "Failed", "status": "True"}
    wanted = {**answer, "status": {"certificate": "YmFy", "conditions": [{**decided[0], "reason": "other"}, failed]}}
    assert api.put(f"{REQUESTS}/r/status", wanted).body["status"]["certificate"] == "YmFy"
    now = api.get(f"{REQUESTS}/r").body
    assert now["status"]["conditions"][0] == decided[0]
    assert [each["type"] for each in now["status"]["conditions"]] == ["Approved", "Failed"]
    assert api.put(f"{REQUESTS}/r", {**now, "spec": {**spec, "signerName": "other.com/s"}}).body["spec"] == now["spec"]


def test_the_status_of_some_kinds_leaves_labels_alone(api: Http, pod: dict[str, Any]) -> None:
    labels = {"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}}
    assert api.merge(f"{PODS}/a/status", labels).body["metadata"]["labels"] == {"a": "b"}
    flows = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
    api.made(flows, "f", spec={"priorityLevelConfiguration": {"name": "p"}})
    assert {"labels", "annotations"}.isdisjoint(api.merge(f"{flows}/f/status", labels).body["metadata"])


def test_a_binding_has_the_name_of_its_pod(api: Http, pod: dict[str, Any]) -> None:
    bindings = PODS.replace("/pods", "/bindings")
    binding = {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"}}
    assert api.post(bindings, binding).status == 201
    assert api.get(f"{PODS}/a").body["spec"]["nodeName"] == "n"
    assert api.post(bindings, {**binding, "metadata": {"name": "none"}}).status == 404
    assert api.get(bindings).status == 405


def test_there_is_nobody_to_talk_to(api: Http, pod: dict[str, Any]) -> None:
    answer = api("POST", f"{PODS}/a/exec?command=ls")
    assert (answer.status, answer.body["message"]) == (400, "pod a does not have a host assigned")
    assert api.get(f"{PODS}/a/proxy/x").status == 400
    assert api.get(f"{PODS}/none/attach").status == 404
    api.post(PODS.replace("/pods", "/bindings"), {"metadata": {"name": "a"}, "target": {"name": "n"}})
    assert api("POST", f"{PODS}/a/exec?command=ls").status == 503
    api.made(PODS.replace("/pods", "/services"), "s", spec={"ports": [{"port": 80}]})
    proxied = api.get(PODS.replace("/pods", "/services/s/proxy"))
    assert (proxied.status, proxied.body["reason"]) == (503, "ServiceUnavailable")


def test_deprecated_kinds_are_warned_of(api: Http) -> None:
    warning = api.get(PODS.replace("/pods", "/endpoints")).headers["warning"]
    assert warning == ['299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"']
    assert api.get("/api/v1/componentstatuses").body["items"] == []


@pytest.mark.parametrize(
    ("part", "status", "field", "words"),
    [
        ("status", {"conditions": []}, "status.conditions", 'may not remove a condition of type "Approved"'),
        ("approval", {"conditions": None}, "status.conditions", 'may not remove a condition of type "Approved"'),
        ("status", {"certificate": "Zm9v"}, "status.certificate", "may not modify existing certificate content"),
        (
            "status",
            [{"type": "Denied", "status": "True"}],
            "status.conditions",
            'may not add a condition of type "Denied"',
        ),
        ("approval", [{"type": "Denied", "status": "True"}], "status.conditions[1].type", "mutually exclusive"),
        ("status", [{"type": "Failed", "status": "False"}], "status.conditions[1].status", 'supported values: "True"'),
        ("status", [{"type": "Mine", "status": "No"}], "status.conditions[1].status", '"False", "True", "Unknown"'),
        ("status", [{"type": "Mine"}], "status.conditions[1].status", "Required value"),
        ("status", [{"type": "Mine", "status": "True"}] * 2, "status.conditions[2].type", 'Duplicate value: "Mine"'),
    ],
)
def test_what_a_signing_request_has_become_stays(api: Http, part: str, status: Any, field: str, words: str) -> None:
    spec = {"request": "Zm9v", "signerName": "example.com/s", "usages": ["client auth"]}
    api.made(REQUESTS, "r", spec=spec)
    approved = {"type": "Approved", "status": "True"}
    assert api.merge(f"{REQUESTS}/r/approval", {"status": {"conditions": [approved]}}).status == 200
    assert api.merge(f"{REQUESTS}/r/status", {"status": {"certificate": "YmFy"}}).status == 200
    change = {"conditions": [approved, *status]} if isinstance(status, list) else status
    answer = api.merge(f"{REQUESTS}/r/{part}", {"status": change})
    assert answer.status == 422, answer
    causes = {each["field"]: each["message"] for each in answer.body["details"]["causes"]}
    assert words in causes[field]


def test_times_that_the_server_writes_are_those_of_its_clock() -> None:
    clock = FakeClock()
    taint = {"key": "k", "effect": "NoSchedule"}
    pool = {"name": "p", "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": "d.example.com", "pool": pool, "nodeName": "n", "devices": [{"name": "d", "taints": [taint]}]}
    with FakeAPIServer(clock=clock) as server:
        api = Http(server)
        made = api.made("/apis/resource.k8s.io/v1/resourceslices", "s", spec=spec)
        api.made(REQUESTS, "r", spec={"request": "Zm9v", "signerName": "example.com/s", "usages": ["client auth"]})
        change = {"status": {"conditions": [{"type": "Approved", "status": "True"}]}}
        approved = api.merge(f"{REQUESTS}/r/approval", change).body
        clock.advance(60.0)
        again = api.merge(f"{REQUESTS}/r/approval", change).body
        api.close()
    later = clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    now = (clock.now() - timedelta(seconds=60)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert made["spec"]["devices"][0]["taints"][0]["timeAdded"] == now
    for body, updated in ((approved, now), (again, later)):
        (condition,) = body["status"]["conditions"]
        assert (condition["lastUpdateTime"], condition["lastTransitionTime"]) == (updated, now)
