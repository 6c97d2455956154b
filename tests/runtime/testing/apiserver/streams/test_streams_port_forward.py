"""kubectl's half of pods/portforward by hand: the streams of SPDY, directly and in a WebSocket."""

from __future__ import annotations

import hashlib
import socket
import threading

import pytest

from runtime.testing import FakeAPIServer
from runtime.testing.apiserver.streams import sessions, spdy
from tests.runtime.testing.apiserver.streams.streams_helpers import (
    ADDRESS,
    LARGE,
    SpdyClient,
    both,
    digest,
    echo,
    program,
    refused_port,
    reset,
    talk,
    uid_of,
)
from tests.support.waiting import eventually


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
