"""Ports of Pods that run as processes of this machine, forwarded through the API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.testing.apiserver.streams import spdy
from runtime.testing.localcluster import LocalCluster
from runtime.testing.nodes.links import OUTSIDE
from runtime.testing.nodes.status_writer import PODS
from tests.runtime.testing.apiserver.streams.streams_helpers import SpdyClient
from tests.runtime.testing.nodes.nodes_support import make_pod, python, wait_for

PORT = 8080
pytestmark = pytest.mark.slow
# Says its name to each connection, and again whatever it is sent.
PROGRAM = """
import socket, sys, threading

def serve(sock):
    sock.sendall(sys.argv[2].encode())
    while data := sock.recv(1000):
        sock.sendall(data)

listening = socket.create_server((sys.argv[1], 8080))
while True:
    threading.Thread(target=serve, args=listening.accept()[:1], daemon=True).start()
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    with LocalCluster(tmp_path) as cluster:
        yield cluster


def run(cluster: LocalCluster, name: str) -> None:
    container = python(PROGRAM, ports=[{"containerPort": PORT}])
    container["command"] += ["127.0.0.1", name]  # in a Pod, that is the Pod
    container["readinessProbe"] = {"tcpSocket": {"port": PORT}}
    pod = make_pod(container, name=name, terminationGracePeriodSeconds=0)
    del pod["metadata"]["uid"], pod["spec"]["nodeName"]
    pods = cluster.client().resource(PODS, "default")
    pods.create(pod)

    def ready() -> bool:
        conditions = pods.get(name).to_dict().get("status", {}).get("conditions", ())
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    wait_for(ready, 60)


def greeting(client: SpdyClient, port: int = PORT) -> str:
    data, _ = client.open(port)
    client.wait(lambda: bool(client.data.get(data)) or data in client.ended)
    return client.data[data].decode()


def test_each_pod_has_its_ports(cluster: LocalCluster) -> None:
    run(cluster, "a")
    run(cluster, "b")
    for name in ("a", "b"):
        with SpdyClient(cluster.server, tunnelled=True, pod=name) as client:
            assert greeting(client) == name
            data, error = client.open(PORT + 1)
            client.wait(lambda: {data, error} <= client.ended)  # noqa: B023
            assert client.data[error].endswith(b"connect: connection refused")


def test_a_pod_that_goes_while_its_port_is_forwarded(cluster: LocalCluster) -> None:
    """Its connections end with its programs, and no later Pod of its name is reached by them."""
    run(cluster, "a")
    pods = cluster.client().resource(PODS, "default")
    with SpdyClient(cluster.server, tunnelled=False, pod="a") as client:
        data, error = client.open(PORT)
        client.wait(lambda: bool(client.data.get(data)))
        pods.delete("a")
        client.wait(lambda: {data, error} <= client.ended)
        wait_for(lambda: not cluster.node.pids("default", "a"))
        run(cluster, "a")
        late, told = client.open(PORT)
        client.wait(lambda: {late, told} <= client.ended)
        assert client.data[told].endswith(b'pod "a" does not run on node local')
        client.send(spdy.ping(1))
        client.wait(lambda: client.pings == [1])
    with SpdyClient(cluster.server, tunnelled=False, pod="a") as client:
        assert greeting(client) == "a"


def test_no_cut_between_pods_is_in_the_way(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, links=True) as cluster:
        run(cluster, "a")
        cluster.node.links.cut(OUTSIDE, "default/a")
        with SpdyClient(cluster.server, tunnelled=True, pod="a") as client:
            assert greeting(client) == "a"


def test_the_server_stops_before_the_node(tmp_path: Path) -> None:
    with LocalCluster(tmp_path) as cluster:
        run(cluster, "a")
        with SpdyClient(cluster.server, tunnelled=True, pod="a") as client:
            assert greeting(client) == "a"
            cluster.server.stop()
            client.wait_over()
