"""Why a local cluster does not come up: said with the containers' own words, and the disk's."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmd.diagnosis import PATIENCE, PODS, Diagnosis, Watchman, describe, short_of_room, without_stacks
from membership.xline.model import member_selector
from runtime.client import Client, Unstructured
from runtime.testing import FakeAPIServer, FakeClock
from runtime.testing.localcluster import LocalCluster
from runtime.types import JSONObject
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalCluster]:
    with LocalCluster(tmp_path / "local") as cluster:
        yield cluster


def create(cluster: LocalCluster, name: str, owner: str, *containers: JSONObject) -> None:
    metadata = {"name": name, "namespace": "default", "labels": member_selector(owner)}
    spec = {"containers": list(containers), "terminationGracePeriodSeconds": 0}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    cluster.client().resource(PODS, namespace="default").create(pod)


def sh(name: str, script: str, **more: object) -> JSONObject:
    return {"name": name, "image": "busybox", "command": ["sh", "-c", script], **more}


def test_a_member_that_does_not_start_is_shown_with_what_it_said(local: LocalCluster) -> None:
    unready = {"readinessProbe": {"exec": {"command": ["false"]}}}
    create(
        local,
        "demo-sts-0",
        "demo",
        sh("xline", "for i in 1 2 3 4 5 6 7; do echo line $i; done; echo no space left on device >&2; exit 3"),
        sh("agent", "echo waits for peers; sleep 600", **unready),
    )
    create(local, "demo-sts-1", "demo", {"name": "xline", "image": "nobody/has-this"})
    create(local, "other-sts-0", "other", sh("xline", "exit 4"))
    diagnosis = Diagnosis(local.client(), local.root)

    def seen() -> str:
        text = "\n".join(diagnosis.lines("default", "demo"))
        last = ("CrashLoopBackOff", "CreateContainerError", "no space left on device")  # a log may come after a status
        return text if all(each in text for each in last) else ""

    text = eventually(seen, "both failures", 60.0)
    lines = text.splitlines()
    assert "Pod demo-sts-0 is not ready (Running)" in lines
    assert "    | no space left on device" in lines
    assert "    | line 4" in lines
    assert "    | line 3" not in lines  # the end of it is enough
    assert "    | waits for peers" in lines
    assert "  container agent runs, and is not ready" in lines
    assert "ended last: exit status 3 at" in text
    assert "image 'nobody/has-this' is not mapped to a local one" in text
    assert "    its log cannot be read: " in text  # it has none
    assert "  Pod demo-sts-0: BackOff: Back-off restarting failed container xline in pod demo-sts-0" in lines
    assert "other-sts-0" not in text


def test_of_a_container_that_runs_again_the_end_of_its_former_run_is_shown(local: LocalCluster, tmp_path: Path) -> None:
    once = f"[ -e {tmp_path}/x ] && exec sleep 600; touch {tmp_path}/x; echo why it ended; exit 1"
    create(local, "again-sts-0", "again", sh("xline", once, readinessProbe={"exec": {"command": ["false"]}}))
    diagnosis = Diagnosis(local.client(), local.root)
    text = eventually(
        lambda: said if "started 2 times" in (said := "\n".join(diagnosis.lines("default", "again"))) else "",
        "its second start",
        60.0,
    )
    assert "container xline runs, and is not ready; started 2 times; ended last: exit status 1 at" in text
    assert "    | why it ended" in text


def test_the_reason_of_a_panic_is_not_hidden_by_its_stacks() -> None:
    stacks = [
        "",
        "goroutine 1 [running]:",
        "main.main()",
        "\tmain.go:32 +0x45",
        "",
        "goroutine 7 [chan receive, 2 minutes]:",
        "x()",
    ]
    assert without_stacks(["no space left", "panic: nil", *stacks]) == ["no space left", "panic: nil"]
    assert without_stacks(stacks[1:]) == stacks[1:]
    assert without_stacks(["goroutines are fine", "b"]) == ["goroutines are fine", "b"]
    assert without_stacks([]) == []


def test_a_cluster_without_pods_and_a_server_that_is_gone(tmp_path: Path) -> None:
    with FakeAPIServer() as server:
        client = server.client()
        assert Diagnosis(client, tmp_path).lines("default", "demo") == ["none of its Pods has been made"]
    (line,) = Diagnosis(Client(server.url, timeout=1.0), tmp_path).lines("default", "demo")
    assert line.startswith("the API server does not tell more: ")


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    assert short_of_room(tmp_path, 0) == []
    (line,) = short_of_room(tmp_path, 1 << 40)
    assert line.startswith(f"the disk of {tmp_path} has ")
    (line,) = short_of_room(tmp_path / "gone")
    assert "cannot be looked at" in line


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ({"state": {"running": {}}, "ready": True}, "xline runs"),
        ({"state": {"waiting": {}}}, "xline waits: no reason given"),
        (
            {"state": {"waiting": {"reason": "A", "message": "b"}}, "restartCount": 4},
            "xline waits: A: b; started 5 times",
        ),
        (
            {"state": {"terminated": {"exitCode": 137, "signal": 9, "finishedAt": "T", "message": "x\ny\n"}}},
            "xline has ended: signal 9 at T: x / y /",
        ),
        ({}, "xline is in no state that is known"),
    ],
)
def test_a_container_is_described(status: JSONObject, text: str) -> None:
    assert describe({"name": "xline", **status}) == text


def cluster(available: str, uid: str = "1", **metadata: object) -> Unstructured:
    status = {"conditions": [{"type": "Available", "status": available}]}
    return Unstructured({"metadata": {"name": "demo", "namespace": "ns", "uid": uid, **metadata}, "status": status})


def test_what_is_the_matter_is_said_once_and_again_after_the_cluster_was_well() -> None:
    asked: list[tuple[str, str]] = []

    def explain(namespace: str, name: str) -> list[str]:
        asked.append((namespace, name))
        return ["why"]

    clock = FakeClock()
    watchman = Watchman(explain, clock)
    assert watchman.look([cluster("False")]) == []
    clock.advance(PATIENCE - 1)
    assert watchman.look([cluster("False")]) == []
    clock.advance(1)
    assert watchman.look([cluster("False"), cluster("False", "2")])[1:] == ["  why"]
    clock.advance(PATIENCE / 2)
    assert watchman.look([cluster("False")]) == []
    assert watchman.look([cluster("True")]) == []
    clock.advance(PATIENCE)
    assert watchman.look([cluster("False")]) == []
    clock.advance(PATIENCE)
    assert len(watchman.look([cluster("False"), cluster("False", "3", deletionTimestamp="2026-01-01T00:00:00Z")])) == 2
    assert asked == [("ns", "demo")] * 2


def _has_mounts() -> bool:
    """Whether this machine lets us mount a file system of our own."""
    unshare = shutil.which("unshare")
    return (
        unshare is not None
        and subprocess.run([unshare, "-Urm", "true"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.slow
@pytest.mark.etcd
@pytest.mark.skipif(not _has_mounts(), reason="needs a mount namespace")
def test_the_demo_on_a_full_disk_says_so(tmp_path: Path) -> None:
    script = 'mount -t tmpfs -o size=24m none "$1" && exec "$2" -m cmd.controller --demo --standalone-dir "$1/run"'
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script, "sh", str(tmp_path), sys.executable],
        cwd=ROOT, capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert "warning      the disk of " in done.stdout
    assert "no space left on device" in done.stderr.lower(), done.stderr
    assert "Pod demo-sts-0 is not ready" in done.stderr
