"""Links between Pods, and to the API server, that can be cut: with real processes at their ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.testing import FakeAPIServer
from runtime.testing.localcluster import LocalCluster
from runtime.testing.nodes import LocalNode
from runtime.testing.nodes.links import API_SERVER, OUTSIDE, Links
from runtime.testing.nodes.network import Network
from runtime.testing.nodes.status_writer import PODS
from tests.runtime.testing.nodes.nodes_support import make_pod
from tests.support.waiting import eventually

A, B, C = "default/a", "default/b", "default/c"
PORT = 8080

# GET /ask?address:port connects anew and tells what it was answered; /keep?... does so on one connection that it keeps.
PROGRAM = """
import http.client, http.server, sys, yaml, os
kept, served = {}, []

def ask(address, connection=None):
    connection = connection or http.client.HTTPConnection(address, timeout=0.5)
    connection.request("GET", "/name")
    return connection.getresponse().read().decode()

def api_server():
    with open(os.environ["KUBECONFIG"]) as kubeconfig:
        return yaml.safe_load(kubeconfig)["clusters"][0]["cluster"]["server"].removeprefix("http://")

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        path, _, address = self.path.partition("?")
        try:
            if path == "/keep":
                if address not in kept:
                    kept[address] = http.client.HTTPConnection(address, timeout=60)
                text = ask(address, kept[address])
            elif path == "/ask":
                text = ask(address or api_server())
            elif path == "/served":
                text = str(len(served))
            else:
                served.append(path)
                text = sys.argv[1]
            code = 200
        except OSError as error:
            code, text = 504, repr(error)
        body = text.encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass

http.server.ThreadingHTTPServer((sys.argv[2], 8080), Handler).serve_forever()
"""


class Pods:
    def __init__(self, cluster: LocalCluster) -> None:
        self.links = cluster.node.links
        self.node = cluster.node
        self._pods = cluster.client().resource(PODS, "default")
        for name in ("a", "b", "c"):
            container = {
                "name": "main",
                "image": "python:3",
                "command": ["python", "-c", PROGRAM, name, "0.0.0.0"],
                "ports": [{"containerPort": PORT}],
            }
            self._pods.create(make_pod(container, name=name, nodeName="local"))
        self.address = {name: self._wait_ip(name) for name in ("a", "b", "c")}
        for name in self.address:
            self._wait_answer(name)

    def _wait_ip(self, name: str) -> str:
        return eventually(lambda: self._ip(name), timeout=60)

    def _wait_answer(self, name: str) -> None:
        eventually(lambda: self.get(name, "/name") == name, timeout=60)

    def _ip(self, name: str) -> str | None:
        ip = (self._pods.get(name).get("status") or {}).get("podIP")
        return f"{ip}:{PORT}" if ip else None

    def get(self, pod: str, path: str, timeout: float = 60.0) -> str | None:
        try:
            with urllib.request.urlopen(f"http://{self.address[pod]}{path}", timeout=timeout) as reply:
                return str(reply.read().decode())
        except OSError:
            return None

    def reaches(self, one: str, other: str) -> bool:
        return self.get(one, f"/ask?{self.address[other]}") == other


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    with LocalCluster(tmp_path, links=True) as cluster:
        yield Pods(cluster)


def test_a_cut_stops_both_directions_of_one_pair_and_no_other(pods: Pods) -> None:
    assert pods.reaches("a", "b")
    pods.links.cut(A, B)
    assert not pods.reaches("a", "b")
    assert not pods.reaches("b", "a")
    assert pods.reaches("a", "c")
    assert pods.reaches("c", "b")
    assert pods.reaches("a", "a")  # a Pod always reaches itself
    pods.links.heal(A, B)
    assert pods.reaches("a", "b")
    assert pods.reaches("b", "a")


def test_healing_one_end_leaves_the_cuts_of_others(pods: Pods) -> None:
    pods.links.cut(A, B, C)
    pods.links.cut(B, C)
    pods.links.heal(A)
    assert pods.reaches("a", "b")
    assert pods.reaches("c", "a")
    assert not pods.reaches("b", "c")
    pods.links.heal()
    assert pods.reaches("b", "c")


def test_what_was_under_way_waits_and_comes_through_after_healing(pods: Pods) -> None:
    """As TCP does: the connection lives on, with everything that was sent meanwhile."""
    kept = f"/keep?{pods.address['b']}"
    assert pods.get("a", kept) == "b"
    pods.links.cut(A, B)
    host, _, port = pods.address["a"].partition(":")
    with socket.create_connection((host, int(port))) as asked:
        asked.sendall(f"GET {kept} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        asked.settimeout(0.5)
        with pytest.raises(TimeoutError):
            asked.recv(1)
        pods.links.heal()
        asked.settimeout(60)
        assert asked.recv(4096).startswith(b"HTTP/1.1 200")


def test_who_gave_up_waiting_is_forgotten(pods: Pods) -> None:
    """It never had a connection: what it has sent is not delivered once the way is free."""
    pods.links.cut(A, B)
    before = int(pods.get("b", "/served") or -1)
    for _ in range(3):
        assert not pods.reaches("a", "b")
    pods.links.heal()
    assert pods.reaches("a", "b")
    assert pods.get("b", "/served") == str(before + 1)


def test_a_pod_is_cut_off_from_the_api_server_alone(pods: Pods) -> None:
    assert "404" in str(pods.get("a", "/ask"))  # it has no such path, but it answers
    pods.links.cut(A, API_SERVER)
    assert pods.get("a", "/ask") is None
    assert "404" in str(pods.get("b", "/ask"))
    assert pods.reaches("a", "b")
    pods.links.heal(A, API_SERVER)
    assert "404" in str(pods.get("a", "/ask"))


def test_who_is_in_no_pod_can_be_cut_off_too(pods: Pods) -> None:
    pods.links.cut(OUTSIDE, A)
    assert pods.get("a", "/name", timeout=0.5) is None
    assert pods.get("b", f"/ask?{pods.address['a']}") == "a"
    pods.links.heal(OUTSIDE, A)
    assert pods.get("a", "/name") == "a"


def test_a_cut_holds_for_the_process_that_a_restarted_container_is(pods: Pods) -> None:
    pods.links.cut(A, B)
    before = pods.node.pids("default", "a")["main"]
    os.kill(before, signal.SIGKILL)
    eventually(lambda: pods.node.pids("default", "a").get("main", before) != before, timeout=60)
    eventually(lambda: pods.get("a", "/name") == "a", timeout=60)
    assert not pods.reaches("a", "b")
    assert not pods.reaches("b", "a")
    assert pods.reaches("a", "c")


def test_a_node_without_links_says_so(tmp_path: Path) -> None:
    with FakeAPIServer() as server:
        node = LocalNode(server.client(), tmp_path)
        with pytest.raises(RuntimeError, match="links=True"):
            node.links.heal()


def test_a_process_is_known_by_its_pod_even_before_the_node_has_heard_of_its_start(tmp_path: Path) -> None:
    """Else what it connects at once would count as from outside, and pass a cut for ever."""
    network = Network(tmp_path, fronts=True)
    network.open()
    asked: list[int] = []

    def processes() -> dict[str, list[int]]:
        asked.append(1)
        return {A: [child.pid]} if len(asked) > 2 else {}

    code = "import socket; s = socket.create_connection(('127.0.0.1', {})); s.recv(1)"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with subprocess.Popen([sys.executable, "-S", "-c", code.format(port)]) as child:
            links = Links("links", network, processes, ancestor=lambda: child.pid)
            links.start()
            try:
                links.expose(B, "127.0.0.1", [])
                connection, client = listener.accept()
                with connection:
                    assert links.link(client, listener.getsockname()) == frozenset((A, B))
                    with socket.create_connection(listener.getsockname()) as own:
                        assert links.link(own.getsockname(), listener.getsockname()) == frozenset((OUTSIDE, B))
            finally:
                links.stop()
                network.close()
    assert len(asked) > 2
