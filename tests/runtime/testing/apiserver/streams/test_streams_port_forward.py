"""pods/portforward by hand, in all its protocols: what passes, what is refused, and what is left afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.testing import FakeAPIServer
from runtime.testing.apiserver.streams import sessions, spdy, websocket
from tests.runtime.testing.apiserver.apiserver_helpers import PODS, Http
from tests.runtime.testing.apiserver.streams.conftest import locate
from tests.runtime.testing.apiserver.streams.streams_helpers import (
    ADDRESS,
    CHANNELS,
    PATIENCE,
    SPDY,
    TUNNEL,
    SpdyClient,
    Upgraded,
    WebSocketClient,
    digest,
    echo,
    hold,
    make_pod,
    port_forward_path,
    program,
    refused_port,
    reset,
    talk,
    web_socket,
)
from tests.support.waiting import eventually

LARGE = bytes(range(256)) * 16_384  # 4 MiB
both = pytest.mark.parametrize("tunnelled", [True, False], ids=["websocket", "spdy"])


def uid_of(server: FakeAPIServer) -> str:
    pod = server.store.get(("", "pods"), "default", "p")
    assert pod is not None
    return pod.uid


@pytest.fixture
def running() -> Iterator[FakeAPIServer]:
    """One that may be stopped."""
    with FakeAPIServer() as server:
        make_pod(server)
        server.set_pod_locator(locate)
        yield server


# -- SPDY


@both
def test_bytes_pass_both_ways_on_many_connections(shared: FakeAPIServer, tunnelled: bool) -> None:
    with program(echo) as first, program(digest) as second, SpdyClient(shared, tunnelled=tunnelled) as client:
        streams = [client.open(port) for port in (first.port, second.port, first.port)]
        client.exchange(streams[0][0], b"one")
        client.exchange(streams[2][0], b"three")
        client.exchange(streams[0][0], b"one again")
        client.send(spdy.data(streams[1][0], b"two"), spdy.data(streams[1][0], b"", fin=True))
        client.wait(lambda: streams[1][0] in client.ended)
        assert client.data[streams[1][0]] == f"3 {hashlib.sha256(b'two').hexdigest()}".encode()
        client.exchange(streams[2][0], b"three again")
        eventually(lambda: (first.connections, second.connections) == (2, 0))
    assert not client.reset


@both
def test_much_passes_whole_and_half_an_end_is_passed_on(shared: FakeAPIServer, tunnelled: bool) -> None:
    """The program answers what it has counted only once it has seen the end."""
    with program(digest) as counted, program(echo) as echoed, SpdyClient(shared, tunnelled=tunnelled) as client:
        (data, error), (back, _) = client.open(counted.port), client.open(echoed.port)

        def pour() -> None:
            for at in range(0, len(LARGE), 65536):
                client.send(spdy.data(back, LARGE[at : at + 65536]))

        sender = threading.Thread(target=pour)
        sender.start()
        client.wait(lambda: len(client.data.get(back, b"")) == len(LARGE))
        sender.join()
        assert client.data[back] == LARGE
        for at in range(0, len(LARGE), 1 << 20):  # larger than what is read at once
            client.send(spdy.data(data, LARGE[at : at + (1 << 20)]))
        client.send(spdy.data(data, b"", fin=True))
        client.wait(lambda: {data, error} <= client.ended)
        assert client.data[data] == f"{len(LARGE)} {hashlib.sha256(LARGE).hexdigest()}".encode()
        assert client.data[error] == b""


@both
def test_a_program_that_ends_first(shared: FakeAPIServer, tunnelled: bool) -> None:
    with program(talk) as ends, SpdyClient(shared, tunnelled=tunnelled) as client:
        data, error = client.open(ends.port)
        client.send(spdy.data(data, b"x"))
        client.wait(lambda: {data, error} <= client.ended)
        assert (bytes(client.data[data]), bytes(client.data[error])) == (b"that is all", b"")
        client.send(spdy.data(data, b"into the void"), spdy.data(data, b"", fin=True))
        again, _ = client.open(ends.port)
        client.send(spdy.data(again, b"x", fin=True))
        client.wait(lambda: again in client.ended)


@both
def test_a_refused_port_is_told_and_the_others_go_on(shared: FakeAPIServer, tunnelled: bool) -> None:
    with refused_port() as port, program(echo) as there, SpdyClient(shared, tunnelled=tunnelled) as client:
        good, _ = client.open(there.port)
        data, error = client.open(port)
        client.wait(lambda: {data, error} <= client.ended)
        why = f"dial tcp {ADDRESS}:{port}: connect: connection refused"
        assert client.data[error].decode() == f"error forwarding port {port} to pod p, uid {uid_of(shared)}: {why}"
        client.exchange(good, b"still here")


@both
def test_a_program_that_resets_is_told(shared: FakeAPIServer, tunnelled: bool) -> None:
    with program(reset) as resets, SpdyClient(shared, tunnelled=tunnelled) as client:
        data, error = client.open(resets.port)
        client.send(spdy.data(data, b"x"))
        client.wait(lambda: {data, error} <= client.ended)
        assert client.data[error].endswith(b"read: connection reset by peer")


@both
def test_a_stream_that_the_client_resets_is_closed(shared: FakeAPIServer, tunnelled: bool) -> None:
    with program(echo) as listening, SpdyClient(shared, tunnelled=tunnelled) as client:
        data, error = client.open(listening.port)
        client.exchange(data, b"a")
        client.send(spdy.rst_stream(data, spdy.CANCEL), spdy.rst_stream(99, spdy.CANCEL))
        client.wait(lambda: error in client.ended)
        eventually(lambda: listening.connections == 0)
        client.exchange(client.open(listening.port)[0], b"b")


def test_who_resets_the_error_stream_wants_to_hear_of_no_error(shared: FakeAPIServer) -> None:
    with program(reset) as listening, SpdyClient(shared, tunnelled=False) as client:
        data, error = client.open(listening.port)
        client.send(spdy.rst_stream(error, spdy.CANCEL), spdy.data(data, b"x"))
        client.wait(lambda: data in client.ended)
        client.send(spdy.ping(1))
        client.wait(lambda: client.pings == [1])
        assert error not in client.data


@both
def test_what_comes_before_the_error_stream_waits(shared: FakeAPIServer, tunnelled: bool) -> None:
    with program(digest) as listening, SpdyClient(shared, tunnelled=tunnelled) as client:
        headers = {"port": str(listening.port), "requestID": "7"}
        data = client.stream({**headers, "streamType": "data"})
        client.send(spdy.data(data, b"early "), spdy.data(data, b"bird", fin=True))
        error = client.stream({**headers, "streamType": "error"}, fin=True)
        client.wait(lambda: {data, error} <= client.ended)
        assert client.data[data] == f"10 {hashlib.sha256(b'early bird').hexdigest()}".encode()
        alone = client.stream({**headers, "streamType": "data"})
        client.send(spdy.data(alone, bytes(300_000)))
        client.wait(lambda: client.reset.get(alone) == spdy.CANCEL)


def test_a_stream_may_end_as_it_begins(shared: FakeAPIServer) -> None:
    with program(digest) as listening, SpdyClient(shared, tunnelled=False) as client:
        headers = {"port": str(listening.port), "requestID": "1"}
        error = client.stream({**headers, "streamType": "error"}, fin=True)
        data = client.stream({**headers, "streamType": "data"}, fin=True)
        client.wait(lambda: {data, error} <= client.ended)
        assert client.data[data] == f"0 {hashlib.sha256().hexdigest()}".encode()


def test_clients_of_long_ago_name_no_request(shared: FakeAPIServer) -> None:
    with program(echo) as listening, SpdyClient(shared, tunnelled=False) as client:
        error = client.stream({"port": str(listening.port), "streamType": "error"})
        data = client.stream({"port": str(listening.port), "streamType": "data"})
        client.wait(lambda: {data, error} <= client.replied)
        client.exchange(data, b"a")


@pytest.mark.parametrize(
    "headers",
    [
        {"streamType": "data"},
        {"streamType": "data", "port": "0"},
        {"streamType": "data", "port": "65536"},
        {"streamType": "data", "port": "-1"},
        {"streamType": "data", "port": "x"},
        {"port": "80"},
        {"streamType": "resize", "port": "80"},
        {"streamType": "data", "port": "80", "requestID": "twice"},
        {"streamType": "error", "port": "80", "requestID": "twice"},
    ],
)
def test_a_stream_that_belongs_nowhere_is_reset(shared: FakeAPIServer, headers: dict[str, str]) -> None:
    with SpdyClient(shared, tunnelled=False) as client:
        first = client.stream({**headers, "port": "80"}) if "requestID" in headers else 0
        stream = client.stream(headers)
        client.wait(lambda: client.reset == {stream: spdy.CANCEL})
        assert client.replied == ({first} if first else set())


def test_numbers_of_streams_go_up_and_are_odd(shared: FakeAPIServer) -> None:
    headers = {"streamType": "error", "port": "80", "requestID": "1"}
    with SpdyClient(shared, tunnelled=False) as client:
        for number, status in ((5, None), (3, spdy.PROTOCOL_ERROR), (6, spdy.PROTOCOL_ERROR), (7, spdy.CANCEL)):
            client.send(client.writer.syn_stream(number, headers))
            client.wait(lambda number=number: number in client.replied or number in client.reset)  # type: ignore[misc]
            assert client.reset.get(number) == status


def test_there_is_an_end_to_how_many_streams_may_be_open(shared: FakeAPIServer) -> None:
    with SpdyClient(shared, tunnelled=False) as client:
        streams = [client.stream({"streamType": "error", "port": "80", "requestID": str(each)}) for each in range(1001)]
        client.wait(lambda: client.reset == {streams[-1]: spdy.REFUSED_STREAM})
        client.send(spdy.rst_stream(streams[0], spdy.CANCEL))
        again = client.stream({"streamType": "error", "port": "80", "requestID": "again"})
        client.wait(lambda: again in client.replied)


@pytest.mark.parametrize("program_first", [True, False])
def test_streams_that_have_ended_count_no_more(
    shared: FakeAPIServer, monkeypatch: pytest.MonkeyPatch, program_first: bool
) -> None:
    monkeypatch.setattr(sessions, "_MAX_STREAMS", 2)
    with program(talk if program_first else digest) as listening, SpdyClient(shared, tunnelled=False) as client:
        for _ in range(3):
            data, error = client.open(listening.port)
            client.send(spdy.data(data, b"x", fin=not program_first))
            client.wait(lambda: {data, error} <= client.ended)  # noqa: B023
            if program_first:
                client.send(spdy.data(data, b"", fin=True))
    assert not client.reset


@both
def test_pings_of_the_client_are_answered(shared: FakeAPIServer, tunnelled: bool) -> None:
    with SpdyClient(shared, tunnelled=tunnelled) as client:
        client.send(spdy.ping(2), spdy.ping(1), spdy.ping(7))
        client.wait(lambda: len(client.pings) == 2)
        assert client.pings == [1, 7]


@both
@pytest.mark.parametrize(
    "last",
    [
        pytest.param(spdy.goaway(0), id="goodbye"),
        pytest.param(b"\x80\x02\0\6\0\0\0\4\0\0\0\1", id="not a frame"),
        pytest.param(bytes(8), id="stream 0"),
    ],
)
def test_the_end_of_a_connection_is_the_end_of_all(shared: FakeAPIServer, tunnelled: bool, last: bytes) -> None:
    with program(echo) as listening, SpdyClient(shared, tunnelled=tunnelled) as client:
        client.exchange(client.open(listening.port)[0], b"a")
        client.send(last)
        client.wait_over()
        eventually(lambda: listening.connections == 0)
        if client.web is not None:
            assert client.web.closed == (1000).to_bytes(2, "big")


@both
def test_what_was_sent_before_the_goodbye_arrives(shared: FakeAPIServer, tunnelled: bool) -> None:
    took: list[bytes] = []

    def take(sock: socket.socket) -> None:
        while data := sock.recv(1 << 16):
            took.append(data)

    with program(take) as listening, SpdyClient(shared, tunnelled=tunnelled) as client:
        data, _ = client.open(listening.port)
        client.send(spdy.data(data, LARGE[: 1 << 20]), spdy.goaway(0))
        client.wait_over()
        eventually(lambda: sum(map(len, took)) == 1 << 20)
    assert b"".join(took) == LARGE[: 1 << 20]


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


# -- WebSocket channels


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


# -- what is refused


def test_what_a_request_must_have(shared: FakeAPIServer) -> None:
    api = Http(shared)
    unbound = api.made(PODS, "unbound", spec={"containers": [{"name": "c", "image": "i"}]})["metadata"]["name"]
    gone = make_pod(shared, "gone") and "gone"
    try:
        path = port_forward_path()
        plain = api.get(path)
        assert (plain.status, plain.body["message"]) == (400, "Upgrade request required")
        assert api("PUT", path).status == api.delete(path).status == 405
        assert api("POST", port_forward_path("none"), headers=SPDY).status == 404
        answer = api("POST", port_forward_path(unbound), headers=SPDY)
        assert (answer.status, answer.body["message"]) == (400, "pod unbound does not have a host assigned")
        answer = api("POST", port_forward_path(gone), headers=SPDY)
        assert (answer.status, answer.data) == (404, b"pod does not exist")
        answer = api("POST", path, headers={**SPDY, "Upgrade": "h2c"})
        assert answer.status == 400
        answer = api("POST", path, headers={**SPDY, "X-Stream-Protocol-Version": "v9.k8s.io"})
        assert (answer.status, answer.headers["x-accepted-stream-protocol-versions"]) == (403, ["portforward.k8s.io"])
        assert api("POST", path, headers={**SPDY, "X-Stream-Protocol-Version": ""}).status == 400
    finally:
        for name in (unbound, gone):
            assert api.delete(f"{PODS}/{name}", {"gracePeriodSeconds": 0}).status == 200
        api.close()


def test_what_a_web_socket_must_have(shared: FakeAPIServer) -> None:
    api = Http(shared)
    good = web_socket(CHANNELS)
    path = port_forward_path(ports=[80])
    try:
        assert api("POST", path, headers=good).status == 400
        assert api.get(path, **{**good, "Sec-WebSocket-Version": "8"}).status == 400
        assert api.get(path, **{**good, "Sec-WebSocket-Key": "short"}).status == 400
        answer = api.get(path, **web_socket("v1.other", "base64.channel.k8s.io"))
        assert (answer.status, b"v4.channel.k8s.io" in answer.data) == (403, True)
        assert api.get(path, **web_socket("SPDY/3.1+v9.portforward.k8s.io")).status == 403
        for ports in ("", "?ports=0", "?ports=80,x", "?ports=70000", f"?ports={','.join(['80'] * 128)}"):
            assert api.get(f"{port_forward_path()}{ports}", **good).status == 400, ports
    finally:
        api.close()


def test_without_anybody_who_runs_pods(running: FakeAPIServer) -> None:
    running.set_pod_locator(None)
    api = Http(running)
    answer = api("POST", port_forward_path(), headers=SPDY)
    assert (answer.status, answer.body["reason"]) == (503, "ServiceUnavailable")
    api.close()


def test_a_pod_that_goes_takes_no_more_connections(running: FakeAPIServer) -> None:
    """Nor does another one of its name: it has another uid."""
    runs = {uid_of(running)}

    def only_those(namespace: str, pod: str, uid: str) -> str:
        if uid not in runs:
            raise LookupError(f'pod "{pod}" does not run on node n')
        return ADDRESS

    running.set_pod_locator(only_those)
    with program(echo) as listening, SpdyClient(running, tunnelled=True) as client:
        data, _ = client.open(listening.port)
        client.exchange(data, b"a")
        runs.clear()
        api = Http(running)
        assert api.delete(f"{PODS}/p", {"gracePeriodSeconds": 0}).status == 200
        api.close()
        runs.add(make_pod(running))
        late, error = client.open(listening.port)
        client.wait(lambda: {late, error} <= client.ended)
        assert client.data[error].endswith(b'pod "p" does not run on node n')
        client.exchange(data, b"what is open goes on as long as its program")


# -- the server around it


@both
def test_the_right_to_create_it_is_needed(tunnelled: bool) -> None:
    """The GET of a WebSocket needs both, as since 1.35."""
    with FakeAPIServer(authorization_mode="RBAC") as server:
        make_pod(server)
        server.set_pod_locator(locate)
        for name, verbs in (("reader", ["get"]), ("maker", ["create"]), ("both", ["get", "create"])):
            role = {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role",
                "metadata": {"name": name},
                "rules": [{"apiGroups": [""], "resources": ["pods/portforward"], "verbs": verbs}],
            }
            server.create(role)
            server.create(
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "RoleBinding",
                    "metadata": {"name": name},
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                    "subjects": [{"kind": "User", "name": name}],
                }
            )
        asked = web_socket(TUNNEL) if tunnelled else SPDY
        method = "GET" if tunnelled else "POST"
        codes = {}
        for name in ("reader", "maker", "both"):
            headers = {**asked, "Authorization": f"Bearer {server.token(name)}"}
            api = Http(server)
            if (name == "both") or (name == "maker" and not tunnelled):
                Upgraded(server, method, port_forward_path(), headers).close()
                codes[name] = 101
            else:
                answer = api(method, port_forward_path(), headers=headers)
                codes[name] = answer.status
                assert 'cannot create resource "pods/portforward"' in answer.body["message"] or name == "maker"
            api.close()
        assert codes == {"reader": 403, "maker": 403 if tunnelled else 101, "both": 101}


def test_it_is_in_the_audit_log_when_it_begins_and_when_it_ends(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"

    def stages() -> list[tuple[str, str, int]]:
        events = [json.loads(line) for line in log.read_text().splitlines()]
        mine = [event for event in events if event["objectRef"].get("subresource") == "portforward"]
        return [(event["verb"], event["stage"], event["responseStatus"]["code"]) for event in mine]

    with FakeAPIServer(audit_log_path=log) as server:
        make_pod(server)
        server.set_pod_locator(locate)
        with SpdyClient(server, tunnelled=False) as client:
            client.send(spdy.ping(1))
            client.wait(lambda: client.pings == [1])
            assert stages() == [("create", "ResponseStarted", 101)]
        eventually(lambda: stages()[1:] == [("create", "ResponseComplete", 101)])
        entries = [entry for entry in server.requests if entry.subresource == "portforward"]
        assert [(entry.verb, entry.name, entry.code) for entry in entries] == [("create", "p", 101)]


def test_faults_strike_it(running: FakeAPIServer) -> None:
    running.faults.add(subresource="portforward", times=1, reset="before")
    with pytest.raises((AssertionError, ConnectionResetError)):
        SpdyClient(running, tunnelled=False)
    running.faults.add(subresource="portforward", times=1, drop="after")
    with pytest.raises((AssertionError, ConnectionResetError)):
        SpdyClient(running, tunnelled=False)
    running.faults.add(subresource="portforward", times=1, truncate=True)
    with pytest.raises((AssertionError, ConnectionResetError)):
        SpdyClient(running, tunnelled=False)
    running.faults.add(subresource="portforward", times=1, status=429)
    api = Http(running)
    assert api("POST", port_forward_path(), headers=SPDY).status == 429
    api.close()
    with program(echo) as listening, SpdyClient(running, tunnelled=False) as client:
        data, _ = client.open(listening.port)
        client.exchange(data, b"a")
        running.pause()
        client.send(spdy.data(data, b"while it stands still"))
        client.connection.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.take()
        client.connection.sock.settimeout(PATIENCE)
        running.resume()
        client.wait(lambda: client.data[data] == b"awhile it stands still")
        running.go_down()
        client.wait_over()
        eventually(lambda: listening.connections == 0)
        running.come_up()


@both
def test_nothing_is_left_of_a_server_that_stops(running: FakeAPIServer, tunnelled: bool) -> None:
    with program(echo) as listening, SpdyClient(running, tunnelled=tunnelled) as client:
        client.exchange(client.open(listening.port)[0], b"a")
        running.stop()
        assert not any(str(running.port) in thread.name for thread in threading.enumerate())
        client.wait_over()
        eventually(lambda: listening.connections == 0)


def test_what_came_while_the_server_stood_still_is_lost_if_it_stops(running: FakeAPIServer) -> None:
    took: list[bytes] = []

    def take(sock: socket.socket) -> None:
        while data := sock.recv(1 << 16):
            took.append(data)
            sock.sendall(data)

    with program(take) as listening, SpdyClient(running, tunnelled=False) as client:
        data, _ = client.open(listening.port)
        client.exchange(data, b"a")
        running.pause()
        client.send(spdy.data(data, b"b"))
        running.stop()
        eventually(lambda: listening.connections == 0)
        assert took == [b"a"]


@pytest.mark.slow
def test_over_tls() -> None:
    with FakeAPIServer(tls=True) as server:
        make_pod(server)
        server.set_pod_locator(locate)
        trust = ssl.create_default_context(cafile=str(server.ca_file))
        plain = socket.create_connection((ADDRESS, server.port), PATIENCE)
        sock = trust.wrap_socket(plain, server_hostname="localhost")
        with program(echo) as listening:
            path = port_forward_path(ports=[listening.port])
            with WebSocketClient(server, path, CHANNELS, sock=sock) as client:
                size = 0
                for at in range(0, len(LARGE), 1 << 18):
                    client.send(b"\0" + LARGE[at : at + (1 << 18)])
                    while size < at + (1 << 18) + 4:
                        size += sum(len(part.data) - part.first for part in client.expect())
            eventually(lambda: listening.connections == 0)


def test_what_came_behind_the_request_is_not_lost(shared: FakeAPIServer) -> None:
    with socket.create_connection((ADDRESS, shared.port), PATIENCE) as sock:
        path = port_forward_path()
        head = "".join(f"{name}: {value}\r\n" for name, value in SPDY.items())
        sock.sendall(f"POST {path} HTTP/1.1\r\nHost: a\r\n{head}\r\n".encode() + spdy.ping(1))
        received = b""
        while not received.endswith(spdy.ping(1)):
            data = sock.recv(1000)
            assert data
            received += data
        assert received.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert b"Content-" not in received
