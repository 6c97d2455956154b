"""Being asked: by silos that mean well, and by those that do not."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from membership.orleans import errands, probeserver, wire
from membership.orleans.address import SiloAddress
from membership.orleans.probeserver import MOST_CONNECTIONS, ProbeServer
from membership.orleans.tcp import TcpTransport
from membership.orleans.transport import ProbeFailed
from tests.support.silo_ends import CLUSTER, End, Face, frozen, listening, no_descriptors, silo
from tests.support.waiting import eventually

ENOUGH = 30.0  # seconds for what is there
STRANGER = SiloAddress("10.1.2.3", 1, 1)


@pytest.fixture
def end() -> Iterator[End]:
    made = End(silo())
    made.server.start()
    yield made
    made.stop()


@pytest.fixture
def other() -> Iterator[End]:
    made = End(silo())
    made.server.start()
    yield made
    made.stop()


def dial(end: End, source: str = "127.0.0.1") -> socket.socket:
    sock = socket.create_connection((end.address.address, end.address.port), ENOUGH, source_address=(source, 0))
    sock.settimeout(ENOUGH)
    return sock


def ended(sock: socket.socket) -> bool:
    """Whether the other side closed the connection; waits for it."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def ask(end: End, request: wire.Request) -> wire.Answer:
    with dial(end) as sock:
        sock.sendall(wire.frame(request))
        data = bytearray()
        while more := sock.recv(65536):
            data += more
    assert wire.missing(data) == 0
    return wire.answer(data)


def probe(end: End, **changed: str) -> wire.Probe:
    fields = {"cluster": CLUSTER, "source": str(STRANGER), "target": str(end.address)} | changed
    return wire.Probe(number=1, **fields)


def refusal(end: End, request: wire.Request) -> str:
    answer = ask(end, request)
    assert isinstance(answer, wire.Refused)
    assert (answer.cluster, answer.identity) == (CLUSTER, str(end.address))
    return answer.reason


def test_an_answer_byte_by_byte(end: End) -> None:
    end.face.seen = 4
    with dial(end) as sock:
        for byte in wire.frame(probe(end)):
            sock.sendall(bytes([byte]))
        data = sock.makefile("rb").read()
    body = b'{"type":"ack","cluster":"c1","identity":"%b","health":0,"version":4}' % str(end.address).encode()
    assert data == b"OSP1" + struct.pack(">I", len(body)) + body


def test_who_is_not_asked_for_refuses_and_says_who_it_is(end: End) -> None:
    assert "asks for cluster 'c2', but this is 'c1'" in refusal(end, probe(end, cluster="c2"))
    earlier = SiloAddress(end.address.address, end.address.port, 0)
    assert refusal(end, probe(end, target=str(earlier))) == f"asks for {earlier}, but this is {end.address}"
    assert "'me' is no silo address" in refusal(end, probe(end, source="me"))
    assert end.face.probed_by == []


def test_gossip_for_another_silo_is_not_heard(end: End) -> None:
    for gossip in (
        wire.Gossip("c2", str(STRANGER), str(end.address), 5),
        wire.Gossip(CLUSTER, str(STRANGER), str(STRANGER), 5),
    ):
        refusal(end, gossip)
    assert end.face.heard == []
    assert isinstance(ask(end, wire.Gossip(CLUSTER, str(STRANGER), str(end.address), 5)), wire.Ack)
    assert end.face.heard == [(STRANGER, 5)]


def test_a_long_reason_still_fits(end: End) -> None:
    assert len(refusal(end, probe(end, cluster='\\"' * 900))) == 300


def test_a_timeout_that_makes_no_sense_is_cut(end: End, other: End) -> None:
    end.face.known = {other.address}
    for timeout in (-1.0, 1e300):
        request = wire.Indirect(CLUSTER, str(STRANGER), str(end.address), str(other.address), timeout, True, 1)
        answer = ask(end, request)
        assert isinstance(answer, wire.IndirectAck)
        succeeded = answer.succeeded
    assert succeeded  # of the second; the first may or may not have been in time


def test_a_failed_errand_of_many_words_still_fits(end: End) -> None:
    def nonsense(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(wire.frame(wire.Ack("\x01" * 600, "\x02" * 60, 0, 0)))

    with listening(nonsense) as target:
        end.face.known = {target}
        answer = ask(end, wire.Indirect(CLUSTER, str(STRANGER), str(end.address), str(target), ENOUGH, True, 1))
    assert isinstance(answer, wire.IndirectAck)
    assert not answer.succeeded
    assert len(answer.failure) == 300


# -- those that do not mean well

NONSENSE = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\0\x01",
    b"OSP1\xff\xff\xff\xff",
    b"OSP1\0\0\0\2{}",
    b"OSP1\0\0\0\2{}{}",
    b"\0" * 100_000,
]


@pytest.mark.parametrize("data", NONSENSE)
def test_nonsense_is_answered_by_closing_and_told_of(
    end: End, other: End, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with dial(end) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
        assert ended(sock)
    assert other.prober.probe(end.address, ENOUGH).health == 0
    (told,) = [record.getMessage() for record in caplog.records if "refused a connection" in record.getMessage()]
    assert "127.0.0.1" in told


def test_whoever_talks_nonsense_all_the_time_fills_no_log(end: End, caplog: pytest.LogCaptureFixture) -> None:
    for data in NONSENSE[:4] * 3:
        for host in ("127.0.0.1", "127.0.0.2"):
            with dial(end, host) as sock:
                sock.sendall(data)
                assert ended(sock)
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 2


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda rest: b"OSP1\0\0\0" + bytes([len(rest)]) + rest))
def test_whatever_is_sent_the_server_goes_on(end: End, data: bytes) -> None:
    with dial(end) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert ended(sock)
    assert isinstance(ask(end, probe(end)), wire.Ack)


def test_a_second_message_on_a_connection_ends_it(end: End) -> None:
    with frozen() as target, dial(end) as sock:
        end.face.known = {target}
        sock.sendall(wire.frame(wire.Indirect(CLUSTER, str(STRANGER), str(end.address), str(target), 1.0, True, 1)))
        sock.sendall(wire.frame(probe(end)))
        assert ended(sock)
    assert end.face.probed_by == []


def test_a_stranger_with_all_connections_cannot_keep_silos_out(
    end: End, other: End, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.ExitStack() as stack:
        rude = [stack.enter_context(dial(end, "127.0.0.2")) for _ in range(MOST_CONNECTIONS)]
        quiet = stack.enter_context(dial(end, "127.0.0.3"))  # came later, but is alone
        for _ in range(20):
            assert other.prober.probe(end.address, ENOUGH).health == 0
        assert ended(rude[0])
        assert f"has {MOST_CONNECTIONS} connections open, of the {MOST_CONNECTIONS} that there may be" in caplog.text
        quiet.sendall(wire.frame(probe(end)))
        assert quiet.recv(4) == wire.MAGIC


def test_whoever_says_nothing_is_sent_away(end: End, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probeserver, "TALK_TIME", 0.2)
    with dial(end) as silent, dial(end) as slow:
        slow.sendall(wire.frame(probe(end))[:10])
        assert ended(silent)
        assert ended(slow)


def test_whoever_waits_for_an_errand_may_say_nothing_meanwhile(
    end: End, other: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probeserver, "TALK_TIME", 0.2)
    with frozen() as target:
        end.face.known = {target}
        result = other.prober.probe_indirectly(end.address, target, 0.6, ENOUGH)
    assert result.failure == f"{target} did not answer within 0.6 s"


def test_without_descriptors_it_waits_and_goes_on(end: End, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as sock:
        sock.settimeout(ENOUGH)
        with no_descriptors():
            sock.connect((end.address.address, end.address.port))
            eventually(lambda: "cannot accept" in caplog.text, "an accept that fails", ENOUGH)
        sock.sendall(wire.frame(probe(end)))
        assert sock.recv(4) == wire.MAGIC
    assert caplog.text.count("cannot accept") < 5


def test_an_intermediary_that_cannot_ask_says_so(end: End, other: End) -> None:
    """It knows nothing of the silo, and must not be taken for a second witness."""
    end.face.known = {other.address}
    request = wire.frame(wire.Indirect(CLUSTER, str(STRANGER), str(end.address), str(other.address), 5.0, True, 1))
    with dial(end) as sock:
        sock.sendall(request[:5])
        eventually(lambda: end.server._peers, "accepted", ENOUGH)
        with no_descriptors():
            sock.sendall(request[5:])
            data = sock.recv(4096)
    answer = wire.answer(data)
    assert isinstance(answer, wire.Refused)
    assert "cannot probe others now" in answer.reason
    assert "Too many open files" in answer.reason


def test_errands_are_bounded(end: End, other: End) -> None:
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(frozen())
        end.face.known = {target}
        request = wire.frame(wire.Indirect(CLUSTER, str(STRANGER), str(end.address), str(target), 30.0, True, 1))
        waiting = [stack.enter_context(dial(end)) for _ in range(errands._MOST)]
        for sock in waiting:
            sock.sendall(request)
        assert isinstance(ask(end, probe(end)), wire.Ack)  # it has read what came before
        with pytest.raises(ProbeFailed, match="as too many others do"):
            other.prober.probe_indirectly(end.address, target, 1.0, ENOUGH)
        end.prober.close()  # which ends the errands
        for sock in waiting[:8]:
            assert sock.recv(4) == wire.MAGIC
        eventually(lambda: end.server._errands._free._value == errands._MOST, "all errands done", ENOUGH)


class Broken(Face):
    def on_probe(self, source: SiloAddress) -> None:
        raise RuntimeError("of the face")

    def health(self) -> int:
        if self.known:
            raise RuntimeError("after an errand")
        return 0


def test_an_agent_that_fails_to_answer_one_answers_the_next(caplog: pytest.LogCaptureFixture) -> None:
    end, face = End(silo()), Broken()
    end.server = ProbeServer(end.address, CLUSTER, face, end.prober)
    end.server.start()
    try:
        face.known = {STRANGER}
        errand = wire.Indirect(CLUSTER, str(STRANGER), str(end.address), str(STRANGER), 0.01, True, 1)
        for request in (probe(end), errand):
            with dial(end) as sock:
                sock.sendall(wire.frame(request))
                assert ended(sock)
        face.known.clear()
        assert isinstance(ask(end, wire.Gossip(CLUSTER, str(STRANGER), str(end.address), 5)), wire.Ack)
    finally:
        end.stop()
    assert "of the face" in caplog.text
    assert "after an errand" in caplog.text


# -- beginning and end


def test_an_address_that_is_taken(end: End) -> None:
    second = TcpTransport(end.address, CLUSTER)
    with pytest.raises(OSError, match="Address already in use"):
        second.start(Face())
    second.stop()


def test_it_listens_where_it_is_told_to() -> None:
    transport = TcpTransport(SiloAddress("127.0.0.9", 5, 1), CLUSTER, listen=("0.0.0.0", 0))
    places = [transport.address]
    transport.start(Face())
    try:
        host, port = transport.address or ("", 0)
        assert host == "0.0.0.0"
        with socket.create_connection(("127.0.0.1", port), ENOUGH) as sock:
            sock.sendall(wire.frame(wire.Probe(CLUSTER, str(STRANGER), "127.0.0.9:5@1", 1)))
            assert sock.recv(4) == wire.MAGIC
    finally:
        transport.stop()
        transport.stop()
    assert [*places, transport.address] == [None, None]


def test_stopping_closes_what_is_open(end: End) -> None:
    with dial(end) as sock:
        assert isinstance(ask(end, probe(end)), wire.Ack)  # it has accepted the one before
        end.stop()
        assert ended(sock)
        with pytest.raises(ConnectionRefusedError):
            dial(end)


def test_the_last_gossip_is_told_before_the_end(other: End) -> None:
    transport = TcpTransport(silo(), CLUSTER)
    transport.start(Face())
    transport.gossip([other.address], 12)
    transport.stop()
    assert [version for _, version in other.face.heard] == [12]
