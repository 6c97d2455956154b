"""Forwarded ports where somebody takes nothing: who sends is held up, little is kept, and nobody stays for ever."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from runtime.testing import FakeAPIServer
from runtime.testing.apiserver.http import Tunnel
from runtime.testing.apiserver.streams import spdy, websocket
from runtime.testing.apiserver.streams.relay import Relay
from tests.runtime.testing.apiserver.streams.streams_helpers import (
    ADDRESS,
    LARGE,
    PATIENCE,
    SpdyClient,
    both,
    hold,
    program,
)
from tests.support.waiting import eventually

_MOST = 64 << 20


def filled(client: SpdyClient, frame: bytes, patience: float = 0.2) -> int:
    """How much of the same frames the server takes before it reads no more; no more than it has to.

    :param patience: seconds; too few would only make this prove less.
    """
    frames = frame * (1 + (1 << 16) // len(frame))
    client.connection.sock.settimeout(patience)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < _MOST:
            sent += client.connection.sock.send(frames[sent % len(frames) :])
    return sent


@pytest.mark.slow
def test_a_client_that_asks_and_does_not_read_is_not_read_either(running: FakeAPIServer) -> None:
    with SpdyClient(running, tunnelled=True) as client:
        ping = websocket.encode(websocket.PING, bytes(125), b"\1\2\3\4")
        assert filled(client, ping, 2.0) < _MOST
        running.stop()


@pytest.mark.slow
@both
def test_a_program_that_does_not_read_holds_up_who_sends(running: FakeAPIServer, tunnelled: bool) -> None:
    """Little is kept on the way; and neither the end of the client nor that of the server waits for the program."""
    release = threading.Event()
    with program(hold(release)) as stuck, contextlib.ExitStack() as stack:
        stack.callback(release.set)
        client = stack.enter_context(SpdyClient(running, tunnelled=tunnelled))
        data, _ = client.open(stuck.port)
        frame = spdy.data(data, bytes(1 << 20))
        if tunnelled:
            frame = websocket.encode(websocket.BINARY, frame, b"\1\2\3\4")
        assert filled(client, frame) < _MOST
        assert running.connections == 1
        running.close_connections()
        eventually(lambda: running.connections == 0)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="nobody is told of an end before he has read all")
def test_a_client_that_leaves_while_a_program_holds_him_up_is_let_go(running: FakeAPIServer) -> None:
    """What he sent is not read to its end: that would take as long as the program wants."""
    release, quiet = threading.Event(), threading.Event()

    def tick(sock: socket.socket) -> None:
        while not quiet.wait(0.005):
            sock.sendall(b".")

    with (
        program(tick) as ticking,
        program(hold(release)) as stuck,
        SpdyClient(running, tunnelled=False) as client,
        contextlib.ExitStack() as stack,
    ):
        stack.callback(release.set)
        stack.callback(quiet.set)
        data, _ = client.open(stuck.port)
        ticks, _ = client.open(ticking.port)  # by each the server sees how much more the other takes
        for asked in range(1, _MOST >> 13, 2):  # who is held up is not answered
            client.send(spdy.data(data, bytes(1 << 14)), spdy.ping(asked))  # little: his end follows it at once
            patience = time.monotonic() + 0.5  # too little would only make this prove less
            client.wait(lambda: client.pings[-1:] == [asked] or time.monotonic() > patience)  # noqa: B023
            if client.pings[-1] < asked:
                break
        assert client.pings[-1] < asked
        quiet.set()
        client.wait(lambda: ticks in client.ended)
        client.connection.close()
        eventually(lambda: running.connections == 0, timeout=PATIENCE)
        assert stuck.connections == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_system_looks_whether_a_silent_client_is_there(shared: FakeAPIServer) -> None:
    """What that ends takes minutes: see ``ss -o``."""

    def timer(client: SpdyClient) -> tuple[str, float]:
        ends = f":{shared.port:04X}", f":{client.connection.sock.getsockname()[1]:04X}"
        (mine,) = (
            line.split()
            for line in Path("/proc/net/tcp").read_text().splitlines()
            if tuple(each[-5:] for each in line.split()[1:3]) == ends
        )
        kind, left = mine[5].split(":")
        return kind, int(left, 16) / os.sysconf("SC_CLK_TCK")

    with SpdyClient(shared, tunnelled=False) as client:
        client.send(spdy.ping(1))
        client.wait(lambda: client.pings == [1])
        eventually(lambda: timer(client)[0] == "02")  # keepalive; nothing is on its way any more
        assert timer(client)[1] <= 15


@both
def test_a_client_that_does_not_read_holds_up_the_program(running: FakeAPIServer, tunnelled: bool) -> None:
    poured = [0]

    def pour(sock: socket.socket) -> None:
        sock.settimeout(0.2)  # too short would only make this prove less
        with contextlib.suppress(TimeoutError):
            while poured[0] < _MOST:
                poured[0] += sock.send(LARGE)

    with program(pour) as pouring, SpdyClient(running, tunnelled=tunnelled) as client:
        client.open(pouring.port)
        eventually(lambda: poured[0] and pouring.connections == 0, timeout=PATIENCE)
        assert poured[0] < _MOST
        running.stop()


_MUCH = LARGE * 4  # more than systems keep


class Silent:
    """A session whose client takes nothing, and has sent much."""

    def __init__(self, port: int) -> None:
        self.heard = b""
        self._port = port

    def start(self, relay: Relay) -> None:
        relay.send(_MUCH)
        relay.open(0, self._port)
        relay.to_pod(0, _MUCH)

    def receive(self, data: bytes) -> None: ...

    def from_pod(self, key: int, data: bytes) -> None:
        self.heard += data

    def pod_ended(self, key: int) -> None: ...

    def pod_failed(self, key: int, why: str) -> None: ...

    def farewell(self) -> bytes:
        return b""


def test_a_program_is_not_heard_for_taking_something() -> None:
    taken = threading.Event()

    def serve(sock: socket.socket) -> None:
        sock.sendall(b"hear me")
        time.sleep(0.05)  # until no more can be sent to us; too short would only make this prove less
        left = len(_MUCH)
        while left > 0:
            left -= len(sock.recv(1 << 16))
        taken.set()
        sock.recv(1)

    with program(serve) as listening, socket.create_server((ADDRESS, 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        session = Silent(listening.port)
        relay = Relay(Tunnel(accepted, b""), session, lambda: ADDRESS, threading.Event())
        thread = threading.Thread(target=relay.run)
        with accepted:
            thread.start()
            with client:
                assert taken.wait(PATIENCE)
                assert session.heard == b""
                received = 0
                while received < len(_MUCH):
                    received += len(client.recv(1 << 20))
                eventually(lambda: session.heard == b"hear me")
            thread.join()
