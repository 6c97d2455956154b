"""kubectl port-forward, over a WebSocket as since 1.31, and by SPDY as before."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import GVR
from runtime.testing import FakeAPIServer
from tests.runtime.testing.apiserver.streams.streams_helpers import (
    ADDRESS,
    PATIENCE,
    digest,
    echo,
    make_pod,
    program,
    refused_port,
)
from tests.runtime.testing.kubectl.kubectl_helpers import Kubectl, end
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kubectl,
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl on this machine"),
]
_PODS = GVR("", "v1", "pods")
LARGE = bytes(range(256)) * 16_384  # 4 MiB


@pytest.fixture
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as running:
        make_pod(running)
        running.client().resource(_PODS, namespace="default").patch(
            "p", {"status": {"phase": "Running"}}, subresource="status"
        )
        running.set_pod_locator(lambda namespace, pod, uid: ADDRESS)
        yield running


@pytest.fixture(params=["true", "false"], ids=["websocket", "spdy"])
def kubectl(server: FakeAPIServer, tmp_path: Path, request: pytest.FixtureRequest) -> Kubectl:
    binary = shutil.which("kubectl")
    assert binary is not None
    return Kubectl(binary, tmp_path, server, KUBECTL_PORT_FORWARD_WEBSOCKETS=request.param)


class Forward:
    """One ``kubectl port-forward``."""

    def __init__(self, kubectl: Kubectl, target: str, *ports: int) -> None:
        self.process = kubectl.start("port-forward", target, *(f":{port}" for port in ports))
        self.ports: dict[int, int] = {}
        assert self.process.stdout is not None
        while len(self.ports) < len(set(ports)):
            line = self.process.stdout.readline()
            found = re.match(r"Forwarding from 127.0.0.1:(\d+) -> (\d+)", line)
            assert line, self.process.communicate()
            if found:
                self.ports[int(found[2])] = int(found[1])

    def connect(self, port: int) -> socket.socket:
        return socket.create_connection((ADDRESS, self.ports[port]), PATIENCE)

    def ended(self) -> tuple[int, str]:
        """Its code and what it said, when it ends by itself."""
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors


@contextlib.contextmanager
def forward(kubectl: Kubectl, *ports: int, target: str = "p") -> Iterator[Forward]:
    forwarded = Forward(kubectl, target, *ports)
    try:
        yield forwarded
    finally:
        end(forwarded.process)


def exchange(sock: socket.socket, data: bytes) -> None:
    """Send, and have the same come back."""
    sender = threading.Thread(target=sock.sendall, args=(data,))
    sender.start()
    received = bytearray()
    while len(received) < len(data):
        part = sock.recv(1 << 16)
        assert part
        received += part
    sender.join()
    assert received == data


def test_much_passes_on_several_connections_and_ports(server: FakeAPIServer, kubectl: Kubectl) -> None:
    with program(echo) as first, program(digest) as second, forward(kubectl, first.port, second.port) as forwarded:
        exchanges = []
        for _ in range(4):
            sock = forwarded.connect(first.port)
            exchanges.append((sock, threading.Thread(target=exchange, args=(sock, LARGE))))
        for _, thread in exchanges:
            thread.start()
        with forwarded.connect(second.port) as sock:
            sock.sendall(LARGE)
            sock.shutdown(socket.SHUT_WR)  # what counts answers only then
            assert sock.recv(100).startswith(f"{len(LARGE)} ".encode())
            assert sock.recv(100) == b""
        for sock, thread in exchanges:
            thread.join()
            sock.close()
        eventually(lambda: (first.connections, second.connections) == (0, 0))
        forwarded.process.send_signal(signal.SIGINT)
        forwarded.ended()
    verbs = [entry.verb for entry in server.requests if entry.subresource == "portforward" and entry.code == 101]
    assert verbs in (["get"], ["create"])


def test_a_refused_port_ends_it(server: FakeAPIServer, kubectl: Kubectl) -> None:
    with refused_port() as refused, forward(kubectl, refused) as forwarded:
        with forwarded.connect(refused) as sock:
            assert sock.recv(100) == b""
        code, errors = forwarded.ended()
        assert code == 1
        assert f"error forwarding port {refused} to pod p, uid " in errors
        assert f"dial tcp {ADDRESS}:{refused}: connect: connection refused" in errors
        assert "lost connection to pod" in errors


def test_nothing_is_left_of_a_kubectl_that_is_killed(server: FakeAPIServer, kubectl: Kubectl) -> None:
    with (
        program(echo) as listening,
        forward(kubectl, listening.port) as forwarded,
        forwarded.connect(listening.port) as sock,
    ):
        exchange(sock, b"a")
        assert (server.connections > 0, listening.connections) == (True, 1)
        forwarded.process.kill()
        forwarded.ended()
        eventually(lambda: (server.connections, listening.connections) == (0, 0))


def test_it_says_so_when_the_server_stops(server: FakeAPIServer, kubectl: Kubectl) -> None:
    with program(echo) as listening, forward(kubectl, listening.port) as forwarded:
        with forwarded.connect(listening.port) as sock:
            exchange(sock, b"a")
            server.stop()
            assert sock.recv(100) == b""
        code, errors = forwarded.ended()
        assert (code, "lost connection to pod" in errors) == (1, True)
        eventually(lambda: listening.connections == 0)


def test_a_pod_that_does_not_run(server: FakeAPIServer, kubectl: Kubectl) -> None:
    make_pod(server, "waits")
    assert "pod is not running. Current status=Pending" in kubectl.run("port-forward", "waits", "80", code=1)

    def nobody(namespace: str, pod: str, uid: str) -> str:
        raise LookupError(pod)

    server.set_pod_locator(nobody)
    assert "pod does not exist" in kubectl.run("port-forward", "p", ":80", code=1)
    server.set_pod_locator(None)
    assert "this server has no connections to nodes" in kubectl.run("port-forward", "p", ":80", code=1)


def test_who_may(tmp_path: Path) -> None:
    binary = shutil.which("kubectl")
    assert binary is not None
    with FakeAPIServer(authorization_mode="RBAC", tls=True) as server:  # kubectl shows no token without
        kubectl = Kubectl(binary, tmp_path, server)
        server.kubeconfig(tmp_path / "config", user="admin", groups=["system:masters"])
        asked = ("auth", "can-i", "create", "pods", "--subresource=portforward")
        assert kubectl.run(*asked) == "yes\n"
        assert "no" in kubectl.run(*asked, "--as=somebody", code=1)
