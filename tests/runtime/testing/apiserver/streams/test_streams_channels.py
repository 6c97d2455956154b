"""Forwarded ports by the channels of a WebSocket, and what a WebSocket is closed for."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from runtime.testing import FakeAPIServer
from runtime.testing.apiserver.streams import websocket
from tests.runtime.testing.apiserver.streams.streams_helpers import (
    CHANNELS,
    LARGE,
    PATIENCE,
    TUNNEL,
    WebSocketClient,
    digest,
    echo,
    port_forward_path,
    program,
    refused_port,
    talk,
)
from tests.support.waiting import eventually


def test_channels(shared: FakeAPIServer) -> None:
    with refused_port() as refused, program(echo) as first, program(talk) as second:
        ports = [first.port, second.port, refused]
        with WebSocketClient(shared, port_forward_path(ports=ports), CHANNELS) as client:
            assert client.headers["sec-websocket-protocol"] == CHANNELS
            said: dict[int, bytes] = {}

            def take_until(channel: int, size: int) -> None:
                while len(said.get(channel, b"")) < size:
                    for part in client.expect():
                        channels.append(part.data[0])
                        said[part.data[0]] = said.get(part.data[0], b"") + part.data[1:]

            channels: list[int] = []
            take_until(5, 3)
            assert channels[:6] == [0, 1, 2, 3, 4, 5]
            for index, port in enumerate(ports):
                assert said[2 * index][:2] == port.to_bytes(2, "little")
                assert said[2 * index + 1][:2] == port.to_bytes(2, "little")
            client.send(b"\x00hello")
            client.send(b"")
            client.send(b"\x01errors are ours")
            client.send(b"\x09no such channel")
            client.send(b"\x02x")
            take_until(0, 2 + len("hello"))
            take_until(2, 2 + len("that is all"))
            take_until(5, 60)
            assert said[0][2:] == b"hello"
            assert said[2][2:] == b"that is all"
            assert said[5][2:].startswith(b"error forwarding port %d to pod p, uid " % refused)
            client.send(b"alive?", websocket.PING)
            assert [(p.opcode, p.data) for p in client.receive()] == [(websocket.PONG, b"alive?")]
            client.send((1000).to_bytes(2, "big"), websocket.CLOSE)
            while client.receive():
                pass
            assert client.closed == (1000).to_bytes(2, "big")
        eventually(lambda: first.connections == 0)


def test_channels_end_with_the_last_of_their_ports(shared: FakeAPIServer) -> None:
    """All that the program said has arrived by then."""

    def say_much(sock: socket.socket) -> None:
        sock.sendall(LARGE)

    with (
        program(say_much) as one,
        program(say_much) as two,
        WebSocketClient(shared, port_forward_path(ports=[one.port, two.port])) as client,
    ):
        assert "sec-websocket-protocol" not in client.headers
        size = 0
        while client.closed is None:
            for part in client.expect():
                size += (len(part.data) - part.first) if part.opcode == websocket.BINARY else 0
        assert size == 2 * len(LARGE) + 4 * 2
        assert client.closed == (1000).to_bytes(2, "big")


def test_channels_end_if_none_of_their_ports_answers(shared: FakeAPIServer) -> None:
    with refused_port() as port, WebSocketClient(shared, port_forward_path(ports=[port]), CHANNELS) as client:
        parts = []
        while client.closed is None:
            parts += client.expect()
        assert parts[-2].data.startswith(b"\x01error forwarding port %d to pod p, uid " % port)


@pytest.mark.parametrize(
    ("frame", "code"),
    [(websocket.encode(websocket.BINARY, b"a"), 1002), (websocket.encode(websocket.TEXT, b"a", b"abcd"), 1003)],
)
@pytest.mark.parametrize("protocol", [CHANNELS, TUNNEL])
def test_what_a_web_socket_is_closed_for(shared: FakeAPIServer, frame: bytes, code: int, protocol: str) -> None:
    with (
        program(echo) as listening,
        WebSocketClient(shared, port_forward_path(ports=[listening.port]), protocol) as client,
    ):
        client.sock.sendall(frame)
        while client.receive():
            pass
        assert client.closed == code.to_bytes(2, "big")


@pytest.mark.slow
def test_the_python_client(shared: FakeAPIServer) -> None:
    import kubernetes.client  # here: it takes longer to load than all that runs here takes
    import kubernetes.stream

    client: Any = kubernetes.client
    api = client.CoreV1Api(client.ApiClient(client.Configuration(host=shared.url)))
    connect = api.connect_get_namespaced_pod_portforward
    with refused_port() as refused, program(digest) as first, program(echo) as second:
        ports = f"{first.port},{second.port},{refused}"
        forward: Any = kubernetes.stream.portforward(connect, "p", "default", ports=ports)
        talking = forward.socket(second.port)
        talking.settimeout(PATIENCE)
        sender = threading.Thread(target=talking.sendall, args=(LARGE,))
        sender.start()
        received = bytearray()
        while len(received) < len(LARGE):
            received += talking.recv(1 << 16)
        sender.join()
        assert received == LARGE
        eventually(lambda: forward.error(refused))
        assert forward.error(refused).endswith("connect: connection refused")
        assert forward.error(second.port) is None
        forward.close()
        eventually(lambda: (first.connections, second.connections) == (0, 0))
        eventually(lambda: not forward.connected)
    api.api_client.close()
