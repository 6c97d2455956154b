"""Upstream's sample-controller, as ``examples/foo_controller.py``: what its users see."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from runtime.client import Client, ConnectionFailed, NotFound, ResourceClient
from runtime.testing import FakeAPIServer
from runtime.types import GVR, JSONObject, Request
from tests.support.managers import FOO_CRD, FOOS, OFF, Running, eventually, running

EXAMPLE = FOO_CRD.parent / "foo_controller.py"
DEPLOYMENTS = GVR("apps", "v1", "deployments")
EVENTS = GVR("", "v1", "events")


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("foo_controller", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Sample:
    """The running example, and the resources it works on."""

    def __init__(self, server: FakeAPIServer, run: Running) -> None:
        client = server.client()
        self.server = server
        self.run = run
        self.foos = client.resource(FOOS, "default")
        self.deployments = client.resource(DEPLOYMENTS, "default")
        self.events = client.resource(EVENTS, "default")
        (self.controller,) = run.manager.controllers()

    def reasons(self) -> list[str]:
        return [event["reason"] for event in self.events.list()]

    def settle(self) -> None:
        """Wait until the controller has nothing to do any more."""
        quiet = 0
        while quiet < 5:
            stats = self.controller.queue.stats()
            quiet = quiet + 1 if stats.depth + stats.processing == 0 else 0
            time.sleep(0.02)


@pytest.fixture
def sample(server: FakeAPIServer, example: ModuleType) -> Iterator[Sample]:
    server.apply_manifests(FOO_CRD)
    with running(example.build(server.client(), **OFF)) as run:
        yield Sample(server, run)


def foo(name: str = "web", replicas: int = 2, deployment: str = "web-deployment") -> JSONObject:
    return {
        "apiVersion": "samplecontroller.example.com/v1alpha1",
        "kind": "Foo",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"deploymentName": deployment, "replicas": replicas},
    }


def replicas(deployments: ResourceClient, name: str = "web-deployment") -> int | None:
    try:
        count: int = deployments.get(name)["spec"]["replicas"]
    except NotFound:
        return None
    return count


def image(deployments: ResourceClient) -> str:
    (container,) = deployments.get("web-deployment")["spec"]["template"]["spec"]["containers"]
    text: str = container["image"]
    return text


def test_the_example_fits_on_a_page() -> None:
    assert len(EXAMPLE.read_text().splitlines()) <= 60


def test_a_foo_gets_its_deployment_a_status_and_an_event(sample: Sample) -> None:
    created = sample.foos.create(foo())
    eventually(lambda: replicas(sample.deployments) == 2)
    owner = sample.deployments.get("web-deployment").controller_owner
    assert owner is not None
    assert (owner.kind, owner.name, owner.uid) == ("Foo", "web", created.uid)
    eventually(lambda: (sample.foos.get("web").get("status") or {}).get("availableReplicas") == 0)
    eventually(lambda: sample.reasons() == ["Synced"])


def test_its_events_are_those_of_upstream(sample: Sample) -> None:
    """Normal and Synced for what was done, Warning and ErrResourceExists for what is somebody else's; on the Foo."""
    first = sample.foos.create(foo("first"))
    eventually(lambda: sample.reasons() == ["Synced"])
    second = sample.foos.create(foo("second"))
    eventually(lambda: "ErrResourceExists" in sample.reasons())
    events = {event["reason"]: event for event in sample.events.list()}
    for reason, kind, about in (("Synced", "Normal", first), ("ErrResourceExists", "Warning", second)):
        event, regarding = events[reason], events[reason]["involvedObject"]
        assert event["type"] == kind
        assert (regarding["kind"], regarding["name"], regarding["uid"]) == ("Foo", about.name, about.uid)
    assert "web-deployment" in events["ErrResourceExists"]["message"]


def test_a_changed_foo_changes_its_deployment(sample: Sample) -> None:
    sample.foos.create(foo())
    eventually(lambda: replicas(sample.deployments) == 2)
    sample.foos.patch("web", {"spec": {"replicas": 5}})
    eventually(lambda: replicas(sample.deployments) == 5)


def test_drift_is_repaired(sample: Sample) -> None:
    sample.foos.create(foo())
    eventually(lambda: replicas(sample.deployments) == 2)
    sample.deployments.patch("web-deployment", {"spec": {"replicas": 9}})
    eventually(lambda: replicas(sample.deployments) == 2)
    images = {"containers": [{"name": "nginx", "image": "httpd"}]}
    sample.deployments.patch("web-deployment", {"spec": {"template": {"spec": images}}}, type="strategic")
    eventually(lambda: image(sample.deployments) == "nginx:latest")
    owners = {"metadata": {"ownerReferences": None}}
    sample.deployments.patch("web-deployment", owners)
    eventually(lambda: sample.deployments.get("web-deployment").controller_owner)
    sample.deployments.delete("web-deployment")
    eventually(lambda: replicas(sample.deployments) == 2)


def test_what_others_add_is_left_alone(sample: Sample) -> None:
    sample.foos.create(foo())
    eventually(lambda: replicas(sample.deployments) == 2)
    sample.deployments.patch("web-deployment", {"metadata": {"labels": {"team": "blue"}}})
    sample.foos.patch("web", {"spec": {"replicas": 3}})
    eventually(lambda: replicas(sample.deployments) == 3)
    assert sample.deployments.get("web-deployment").labels == {"team": "blue"}


def test_the_status_follows_the_deployment(sample: Sample) -> None:
    sample.foos.create(foo())
    eventually(lambda: replicas(sample.deployments) == 2)
    status = {"replicas": 2, "readyReplicas": 2, "availableReplicas": 2}
    sample.deployments.patch("web-deployment", {"status": status}, subresource="status")
    eventually(lambda: (sample.foos.get("web").get("status") or {}).get("availableReplicas") == 2)


def test_a_converged_foo_costs_no_write(sample: Sample) -> None:
    """Decision 10. Also after a restart of the controller, which remembers nothing."""
    sample.foos.create(foo())
    eventually(lambda: sample.foos.get("web").get("status"))
    eventually(lambda: sample.reasons() == ["Synced"])
    sample.settle()
    before = sample.controller.stats.outcomes["success"].value
    sample.server.requests.clear()
    for number in range(5):
        sample.foos.patch("web", {"metadata": {"labels": {"touched": str(number)}}}, field_manager="test")
        sample.settle()
    eventually(lambda: sample.controller.stats.outcomes["success"].value >= before + 5)
    assert [entry for entry in sample.server.requests.writes() if entry.resource != "foos"] == []
    assert len(sample.server.requests.writes()) == 5  # ours


def test_convergence_costs_what_it_must_and_no_more(sample: Sample) -> None:
    """Per Foo one look before the creation, the Deployment, the status and the event; each once, however often the
    events of our own writes bring the key back before the cache shows them."""
    sample.server.requests.clear()
    for number in range(5):
        sample.foos.create(foo(f"web-{number}", deployment=f"deployment-{number}"))
    eventually(lambda: sample.reasons() == ["Synced"] * 5)
    eventually(lambda: all(item.get("status") for item in sample.foos.list()))
    sample.settle()
    sent = Counter(
        f"{entry.verb} {entry.resource}/{entry.subresource}" if entry.subresource else f"{entry.verb} {entry.resource}"
        for entry in sample.server.requests
        if entry.resource and entry.verb not in ("list", "watch") and (entry.verb, entry.resource) != ("create", "foos")
    )
    assert sent == {"get deployments": 5, "patch deployments": 5, "patch foos/status": 5, "create events": 5}


def test_a_resync_makes_no_request(server: FakeAPIServer, example: ModuleType) -> None:
    """What is delivered again without a change is reconciled, and found to be right in the cache alone."""
    server.apply_manifests(FOO_CRD)
    with running(example.build(server.client(), resync_period=0.1, **OFF)) as run:
        sample = Sample(server, run)
        sample.foos.create(foo())
        eventually(lambda: sample.reasons() == ["Synced"] and sample.foos.get("web").get("status"))
        sample.settle()
        before = sample.controller.stats.outcomes["success"].value
        server.requests.clear()
        eventually(lambda: sample.controller.stats.outcomes["success"].value >= before + 3)
        assert [entry for entry in server.requests if entry.verb != "watch"] == []


def test_a_deleted_foo_takes_its_deployment_with_it(example: ModuleType) -> None:
    """By the garbage collector: the controller itself deletes nothing."""
    with FakeAPIServer(garbage_collection_delay=0.05) as server:
        server.apply_manifests(FOO_CRD)
        with running(example.build(server.client(), **OFF)) as run:
            sample = Sample(server, run)
            sample.foos.create(foo())
            eventually(lambda: sample.reasons() == ["Synced"] and sample.foos.get("web").get("status"))
            sample.settle()
            server.requests.clear()
            sample.foos.delete("web")
            eventually(lambda: replicas(sample.deployments) is None)
            sample.settle()
            assert [entry.verb for entry in server.requests.writes()] == ["delete"]  # ours


def test_a_restarted_controller_writes_nothing_for_converged_objects(
    server: FakeAPIServer, example: ModuleType
) -> None:
    server.apply_manifests(FOO_CRD)
    with running(example.build(server.client(), **OFF)) as run:
        first = Sample(server, run)
        for number in range(3):
            first.foos.create(foo(f"web-{number}", deployment=f"deployment-{number}"))
        eventually(lambda: first.reasons() == ["Synced"] * 3)
        eventually(lambda: all(item.get("status") for item in first.foos.list()))
        first.settle()
    server.requests.clear()
    with running(example.build(server.client(), **OFF)) as run:
        (controller,) = run.manager.controllers()
        eventually(lambda: controller.stats.outcomes["success"].value >= 3)
    assert server.requests.writes() == []


def test_a_foreign_deployment_is_not_touched(sample: Sample) -> None:
    foreign = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web-deployment", "namespace": "default"},
        "spec": {
            "replicas": 7,
            "selector": {"matchLabels": {"app": "db"}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "db", "image": "db"}]},
            },
        },
    }
    made = sample.deployments.create(foreign)
    sample.foos.create(foo())
    eventually(lambda: "ErrResourceExists" in sample.reasons())
    assert sample.deployments.get("web-deployment").resource_version == made.resource_version
    assert sample.controller.stats.errors.value > 0


def test_a_name_that_becomes_free_is_taken(sample: Sample) -> None:
    """Nobody tells the controller of the deletion of what is not its Foo's: it tries again by itself."""
    sample.foos.create(foo("first"))
    eventually(lambda: replicas(sample.deployments) == 2)
    second = sample.foos.create(foo("second", replicas=4))
    eventually(lambda: "ErrResourceExists" in sample.reasons())
    sample.foos.patch("first", {"spec": {"deploymentName": "elsewhere"}})
    eventually(lambda: replicas(sample.deployments, "elsewhere") == 2)
    sample.deployments.delete("web-deployment")
    eventually(lambda: replicas(sample.deployments) == 4)
    owner = sample.deployments.get("web-deployment").controller_owner
    assert owner is not None
    assert owner.uid == second.uid


def test_a_deployment_of_another_foo_is_not_touched(sample: Sample) -> None:
    sample.foos.create(foo("first"))
    eventually(lambda: replicas(sample.deployments) == 2)
    sample.foos.create(foo("second", replicas=4))
    eventually(lambda: "ErrResourceExists" in sample.reasons())
    assert replicas(sample.deployments) == 2


def test_a_terminal_error_is_not_retried(sample: Sample) -> None:
    sample.foos.create(foo(deployment=""))
    eventually(lambda: sample.controller.stats.terminal_errors.value == 1)
    sample.settle()
    assert sample.controller.queue.stats().delayed == 0
    sample.foos.patch("web", {"spec": {"deploymentName": "named"}})
    eventually(lambda: replicas(sample.deployments, "named") == 2)


def test_failed_writes_are_tried_again_with_back_off(sample: Sample) -> None:
    fault = sample.server.faults.add(verb="patch", resource="deployments", status=500, times=4)
    sample.foos.create(foo())
    eventually(lambda: replicas(sample.deployments) == 2)
    assert fault.hits == 4
    assert sample.controller.stats.errors.value == 4
    # The error counts are forgotten with the success: nothing is left to expire.
    sample.settle()
    assert sample.controller.queue.num_requeues(Request("default", "web")) == 0


def test_a_write_whose_answer_is_lost_is_not_done_twice(sample: Sample) -> None:
    sample.server.faults.add(verb="patch", resource="deployments", drop="after", times=1)
    sample.foos.create(foo())
    eventually(lambda: sample.reasons() or replicas(sample.deployments) == 2)
    sample.settle()
    eventually(lambda: sample.controller.stats.outcomes["success"].value >= 1)
    assert replicas(sample.deployments) == 2
    took_effect = [entry for entry in sample.server.requests.writes("deployments") if entry.code in (0, 201)]
    assert len(took_effect) == 1


def test_sigterm_ends_a_real_process_within_its_grace(server: FakeAPIServer, tmp_path: Path) -> None:
    server.apply_manifests(FOO_CRD)
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLE), server.url],
        env=os.environ | {"PYTHONPATH": str(EXAMPLE.parent.parent)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        client: Client = server.client()
        client.resource(FOOS, "default").create(foo())
        deployments = client.resource(DEPLOYMENTS, "default")

        def made() -> bool:
            assert process.poll() is None, process.stderr and process.stderr.read()
            try:
                return replicas(deployments) == 2
            except ConnectionFailed:
                return False

        eventually(made, timeout=30)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)
        assert process.returncode == 0, errors
        assert "SIGTERM" in errors
        assert "Traceback" not in errors
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
