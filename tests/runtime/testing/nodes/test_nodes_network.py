"""Addresses, and the proxy that listens on them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.client import Unstructured
from runtime.testing.nodes import network as network_module
from runtime.testing.nodes.network import AddressesExhausted, Network, NodeUnsupported, require_linux
from runtime.testing.nodes.proxy import Address, Proxy
from runtime.testing.nodes.services import routes
from tests.runtime.testing.nodes.nodes_support import wait_for


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    network = Network(tmp_path)
    network.open()
    yield network
    network.close()


def test_addresses_are_stable_and_distinct(network: Network, tmp_path: Path) -> None:
    given = {
        network.pod("ns", "a-0", "svc"),
        network.pod("ns", "a-1", "svc"),
        network.pod("other", "a-0", "svc"),
        network.pod("ns", "a-0", ""),
        network.service("ns", "svc"),
        network.service("other", "svc"),
        network.host_address,
    }
    assert len(given) == 7
    network.close()
    again = Network(tmp_path)
    again.open()
    assert again.pod("ns", "a-1", "svc") in given
    assert again.service("other", "svc") in given
    assert again.pod("ns", "new", "svc") not in given
    again.close()


def test_two_roots_on_one_machine_do_not_share_a_range(network: Network, tmp_path: Path) -> None:
    other = Network(tmp_path / "other")
    (tmp_path / "other").mkdir()
    other.open()
    assert other.cidr != network.cidr
    other.close()


def test_a_recorded_range_in_use_is_refused(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_module, "_PREDECESSOR_TIMEOUT", 0.05)
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "network.json").write_text((tmp_path / "network.json").read_text())
    with pytest.raises(AddressesExhausted, match="in use by another local node"):
        Network(copy).open()


def test_a_pods_name_with_dots_is_no_host_name_below_a_service(network: Network) -> None:
    assert network.pod("ns", "db-0.db", "") != network.pod("ns", "db-0", "db")


def test_a_refused_socket_is_not_taken_for_a_range_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused(socket.socket):
        def bind(self, _: object) -> None:
            raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("socket.socket", Refused)
    with pytest.raises(NodeUnsupported, match="Operation not permitted"):
        Network(tmp_path).open()


def test_without_127_8_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: tuple[str, int]) -> None:
        raise OSError(99, f"Cannot assign requested address {address[0]}")

    monkeypatch.setattr("socket.create_server", refuse)
    with pytest.raises(NodeUnsupported, match=r"127\.\d+\.0\.1"):
        Network(tmp_path).open()


def test_only_addresses_nobody_knows_by_name_are_given_up(network: Network) -> None:
    gone, kept = network.pod("ns", "job-x1", ""), network.pod("ns", "a-0", "svc")
    network.release_pod("ns", "job-x1")
    network.release_pod("ns", "a-0")
    assert network.pod("ns", "job-x2", "") == gone
    assert network.pod("ns", "a-0", "svc") == kept


def test_elsewhere_than_on_linux_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(NodeUnsupported, match="need Linux"):
        require_linux()


# -- proxy


class Server:
    """Answers every connection with its name and then echoes until the peer has finished sending."""

    def __init__(self, host: str, name: bytes) -> None:
        self.name = name
        self._sock = socket.create_server((host, 0))
        self.address: Address = self._sock.getsockname()
        self._thread = threading.Thread(target=self._serve, name=f"server-{host}")
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._sock.accept()
            except OSError:
                return
            with connection:
                connection.sendall(self.name + b"\n")
                data = b""
                while chunk := connection.recv(65536):
                    data += chunk
                connection.sendall(b"%d bytes, the end" % len(data))

    def close(self) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        self._thread.join()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    proxy = Proxy("test-proxy")
    proxy.start()
    yield proxy
    proxy.stop()


@pytest.fixture
def servers(network: Network) -> Iterator[list[Server]]:
    servers = [Server(network.pod("ns", name, ""), name.encode()) for name in ("a", "b")]
    yield servers
    for server in servers:
        server.close()


def free_port(host: str) -> Address:
    """A port nobody listens on, not even on all addresses of this machine."""
    with socket.create_server((host, 0)) as taken:
        address: Address = taken.getsockname()
        return address


def talk(address: Address, data: bytes = b"") -> bytes:
    """Send, finish sending, and read to the end."""
    with socket.create_connection(address, 5) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


def test_the_proxy_takes_turns(network: Network, proxy: Proxy, servers: list[Server]) -> None:
    front = free_port(network.service("ns", "svc"))
    proxy.set("svc", {front: [server.address for server in servers]})
    assert proxy.flush()
    assert {talk(front).split(b"\n")[0] for _ in range(4)} == {b"a", b"b"}


def test_half_close_and_large_bodies(network: Network, proxy: Proxy, servers: list[Server]) -> None:
    front = free_port(network.service("ns", "svc"))
    proxy.set("svc", {front: [servers[0].address]})
    assert proxy.flush()
    assert talk(front, b"x" * 3_000_000) == b"a\n3000000 bytes, the end"


def test_an_endpoint_that_refuses_is_skipped(network: Network, proxy: Proxy, servers: list[Server]) -> None:
    front = free_port(network.service("ns", "svc"))
    proxy.set("svc", {front: [(network.pod("ns", "dead", ""), 9), servers[1].address]})
    assert proxy.flush()
    assert [talk(front).split(b"\n")[0] for _ in range(3)] == [b"b"] * 3


def test_when_all_refuse_the_client_is_reset(network: Network, proxy: Proxy) -> None:
    front = free_port(network.service("ns", "svc"))
    proxy.set("svc", {front: [(network.pod("ns", "dead", ""), 9)]})
    assert proxy.flush()
    with pytest.raises(ConnectionError):
        talk(front, b"x")


def test_without_endpoints_connections_are_refused(network: Network, proxy: Proxy, servers: list[Server]) -> None:
    front = free_port(network.service("ns", "svc"))
    proxy.set("svc", {front: [servers[0].address]})
    proxy.set("svc", {front: []})
    assert proxy.flush()
    with pytest.raises(ConnectionRefusedError):
        talk(front)
    proxy.set("svc", {front: [servers[0].address]})
    assert proxy.flush()
    assert talk(front).startswith(b"a")


def test_a_port_that_is_taken_is_told_and_tried_again(network: Network, servers: list[Server]) -> None:
    told: list[tuple[str, Address, str]] = []
    proxy = Proxy("test-proxy", lambda *news: told.append(news))
    proxy.start()
    with socket.create_server(("0.0.0.0", 0)) as taken:
        front = (network.service("ns", "svc"), taken.getsockname()[1])
        proxy.set("svc", {front: [servers[0].address]})
        assert proxy.flush()
        assert [(owner, address) for owner, address, _ in told] == [("svc", front)]
    proxy.set("svc", {front: [servers[0].address]})
    assert proxy.flush()
    assert talk(front).startswith(b"a")
    proxy.stop()


def test_connections_outlive_a_change_of_endpoints(network: Network, proxy: Proxy, servers: list[Server]) -> None:
    front = free_port(network.service("ns", "svc"))
    proxy.set("svc", {front: [servers[0].address]})
    assert proxy.flush()
    with socket.create_connection(front, 5) as connection:
        assert connection.recv(2) == b"a\n"
        proxy.set("svc", {front: [servers[1].address]})
        assert proxy.flush()
        connection.sendall(b"still")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b"5 bytes, the end"


def test_a_server_that_dies_ends_the_clients_connection(network: Network, proxy: Proxy) -> None:
    listening = socket.create_server((network.pod("ns", "x", ""), 0))
    front = free_port(network.service("ns", "svc"))
    proxy.set("svc", {front: [listening.getsockname()]})
    assert proxy.flush()
    with socket.create_connection(front, 5) as connection, listening:
        accepted, _ = listening.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        accepted.close()
        with pytest.raises(ConnectionResetError):
            wait_for(lambda: connection.recv(1))


# -- routes


def pod(
    name: str, *, ready: bool = True, deleting: bool = False, ip: str = "127.64.0.5", app: str = "x"
) -> Unstructured:
    metadata = {"name": name, "namespace": "ns", "labels": {"app": app}}
    if deleting:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return Unstructured(
        {
            "metadata": metadata,
            "spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": str(ready)}]},
        }
    )


def service(**spec: object) -> dict[str, object]:
    ports = [{"port": 80, "targetPort": "http"}, {"port": 53, "protocol": "UDP"}]
    return {"spec": {"selector": {"app": "x"}, "ports": ports, **spec}}


FRONT = "127.64.128.1"


def test_routes_lead_to_ready_pods_by_named_ports() -> None:
    pods = [
        pod("a", ip="1"), pod("b", ip="2", ready=False), pod("c", ip="3", deleting=True), pod("d", ip="4", app="y"),
        pod("e", ip=""),
    ]  # fmt: skip
    assert routes(service(), FRONT, pods) == {(FRONT, 80): [("1", 8080)]}


def test_not_ready_addresses_if_published() -> None:
    pods = [pod("a", ip="1", ready=False), pod("b", ip="2", deleting=True)]
    assert routes(service(publishNotReadyAddresses=True), FRONT, pods) == {(FRONT, 80): [("1", 8080), ("2", 8080)]}


def test_a_headless_service_also_listens_on_its_target_ports() -> None:
    found = routes(service(clusterIP="None"), FRONT, [pod("a", ip="1")])
    assert found == {(FRONT, 80): [("1", 8080)], (FRONT, 8080): [("1", 8080)]}


def test_a_service_without_selector_leads_nowhere() -> None:
    assert routes(service(selector=None), FRONT, [pod("a")]) == {}
