"""API server, controllers and node in one: what containers can reach, as the agents beside servers need it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime import GVR
from runtime.client import NotFound, Unstructured
from runtime.testing.localcluster import LocalCluster
from tests.runtime.testing.nodes.nodes_support import alive, make_pod, python, sh, wait_for

PODS = GVR("", "v1", "pods")

# The agent of issue 6 in small: takes its time, writes the server's start configuration, says by HTTP that it has, and
# takes the node out when the server's preStop hook asks for it; what it did is told on the Pod, through the API.
AGENT = """
import http.server, os, pathlib
from runtime import GVR
from runtime.client import load_client

pods = load_client().resource(GVR("", "v1", "pods"), os.environ["POD_NAMESPACE"])
config = pathlib.Path(os.environ["CONFIG"])

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/leave":
            config.with_name("left").write_text("left")
            pods.patch(os.environ["POD_NAME"], {"metadata": {"labels": {"left": "true"}}})
        self.send_response(200 if config.exists() else 503)
        self.end_headers()
    def log_message(self, *_): pass

server = http.server.ThreadingHTTPServer((os.environ["POD_IP"], 8765), Handler)
own = pods.get(os.environ["POD_NAME"])
config.with_name("new").write_text(f"--name {own.name}")
config.with_name("new").rename(config)
server.serve_forever()
"""
SERVER = """
trap 'cat /shared/left; exit 0' TERM
echo started with $(cat /shared/config)
while :; do sleep 0.02; done
"""


def agent(**fields: Any) -> dict[str, Any]:
    own = {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace", "POD_IP": "status.podIP"}
    env = [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in own.items()]
    return {
        "name": "agent",
        "image": "xline-operator:dev",
        "command": ["python", "-u", "-c", AGENT],
        "env": [*env, {"name": "CONFIG", "value": "/shared/config"}],
        "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
        **fields,
    }


def server_with_agent() -> dict[str, Any]:
    pod = make_pod(
        sh(
            SERVER,
            "server",
            volumeMounts=[{"name": "shared", "mountPath": "/shared"}],
            lifecycle={"preStop": {"httpGet": {"path": "/leave", "port": 8765}}},
        ),
        init=[agent(restartPolicy="Always", startupProbe={"httpGet": {"port": 8765}, "failureThreshold": 60})],
        volumes=[{"name": "shared", "emptyDir": {}}],
    )
    del pod["metadata"]["uid"], pod["spec"]["nodeName"]
    return pod


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCluster]:
    monkeypatch.chdir(tmp_path)
    with LocalCluster(Path("run")) as cluster:  # as `make run` gives it
        yield cluster


def get(cluster: LocalCluster, name: str) -> Unstructured | None:
    try:
        return cluster.client().resource(PODS, "default").get(name)
    except NotFound:
        return None


def is_ready(cluster: LocalCluster, name: str) -> bool:
    pod = get(cluster, name)
    conditions = (pod.get("status") or {}).get("conditions", ()) if pod else ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def log(cluster: LocalCluster, pod: str, container: str, tmp_path: Path) -> str:
    files = sorted(tmp_path.glob(f"run/node/pods/default_{pod}_*/logs/{container}/*.log"))
    return "".join(path.read_text() for path in files)


def test_an_agent_gates_its_server_and_takes_it_out(cluster: LocalCluster, tmp_path: Path) -> None:
    pods = cluster.client().resource(PODS, "default")
    pods.create(server_with_agent())
    wait_for(lambda: is_ready(cluster, "p"), 30, "Pod p Ready")
    wait_for(lambda: "started with --name p" in log(cluster, "p", "server", tmp_path))
    changes = pods.watch(resource_version=pods.list().resource_version)
    pods.delete("p")
    seen: list[tuple[str, str | None]] = []
    for event in changes:
        seen.append((event.type, event.object.labels.get("left")))
        if event.type == "DELETED":
            break
    changes.close()
    assert ("MODIFIED", "true") in seen  # the agent's API was there while the Pod ended


def test_agent_and_server_can_be_killed_apart(cluster: LocalCluster) -> None:
    cluster.client().resource(PODS, "default").create(server_with_agent())
    wait_for(lambda: is_ready(cluster, "p"), 30, "Pod p Ready")
    for name, other in (("agent", "server"), ("server", "agent")):
        before = cluster.node.pids("default", "p")
        os.kill(before[name], signal.SIGKILL)
        wait_for(lambda: cluster.node.pids("default", "p").get(name) not in (None, before[name]))  # noqa: B023
        assert cluster.node.pids("default", "p")[other] == before[other]
    wait_for(lambda: is_ready(cluster, "p"), 30, "Pod p Ready again")


def test_an_agent_can_be_its_servers_parent(cluster: LocalCluster) -> None:
    script = "import subprocess; child = subprocess.Popen(['sleep', '1000']); print(child.pid); child.wait()"
    pod = make_pod(python(script))
    del pod["metadata"]["uid"], pod["spec"]["nodeName"]
    cluster.client().resource(PODS, "default").create(pod)
    wait_for(lambda: is_ready(cluster, "p"))
    parent = cluster.node.pids("default", "p")["main"]
    child = int(wait_for(lambda: Path(f"/proc/{parent}/task/{parent}/children").read_text().strip()))
    os.kill(parent, signal.SIGKILL)
    wait_for(lambda: not alive(child))


def test_the_python_image_is_this_python_however_it_is_called(cluster: LocalCluster) -> None:
    ask = "import sys; sys.exit(sys.executable != sys.argv[1] or 'msgspec' not in sys.modules)"
    script = f'python -c "import msgspec; {ask}" {sys.executable}'
    pod = make_pod(
        {"name": "in-a-shell", "image": "python", "command": ["sh", "-c", script]},
        {"name": "by-path", "image": "python:3", "command": ["/usr/local/bin/python", "-c", "import msgspec"]},
        restartPolicy="Never",
    )
    assert run_to_end(cluster, pod) == "Succeeded"


def test_the_operators_own_image_runs_the_operator(cluster: LocalCluster) -> None:
    container = {"name": "main", "image": "ghcr.io/x/xline-operator:1", "args": ["--help"]}
    pod = make_pod(container, restartPolicy="Never")
    assert run_to_end(cluster, pod) == "Succeeded"


def run_to_end(cluster: LocalCluster, pod: dict[str, Any]) -> str:
    del pod["metadata"]["uid"], pod["spec"]["nodeName"]
    cluster.client().resource(PODS, "default").create(pod)

    def phase() -> str | None:
        found = get(cluster, "p")
        phase = (found.get("status") or {}).get("phase") if found else None
        return phase if phase in ("Succeeded", "Failed") else None

    return str(wait_for(phase))
