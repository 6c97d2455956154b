"""Asking silos how they are: those that answer, those that do not, and those that are somebody else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from membership.orleans import prober, wire
from membership.orleans.address import SiloAddress
from membership.orleans.prober import Prober, WrongSilo
from membership.orleans.transport import Foreign, NotAsked, ProbeFailed, ProbeResult
from tests.support.silo_ends import CLUSTER, End, frozen, listening, no_descriptors, silo
from tests.support.waiting import eventually

ENOUGH = 30.0  # seconds for what is there


@pytest.fixture
def make() -> Iterator[Callable[..., End]]:
    ends: list[End] = []

    def make_end(address: SiloAddress | None = None, cluster: str = CLUSTER) -> End:
        end = End(address or silo(), cluster)
        end.server.start()
        ends.append(end)
        return end

    yield make_end
    for end in ends:
        end.stop()


def test_a_silo_answers_how_it_is(make: Callable[..., End]) -> None:
    one, two = make(), make()
    two.face.degraded, two.face.seen = 3, 17
    assert one.prober.probe(two.address, ENOUGH) == ProbeResult(health=3, version=17)
    assert two.face.probed_by == [one.address]


def test_nobody_is_worse_than_the_scale_says(make: Callable[..., End]) -> None:
    one, two = make(), make()
    two.face.degraded, two.face.known = 10**6, {one.address}
    assert one.prober.probe(two.address, ENOUGH).health == 8
    assert one.prober.probe_indirectly(two.address, one.address, ENOUGH, ENOUGH).health == 8


def test_over_ipv6(make: Callable[..., End]) -> None:
    one, two = make(silo("::1")), make(silo("::1"))
    assert one.prober.probe(two.address, ENOUGH) == ProbeResult(health=0, version=0)
    two.face.known = {one.address}
    assert one.prober.probe_indirectly(two.address, one.address, ENOUGH, ENOUGH).succeeded


def test_another_generation_is_another_silo(make: Callable[..., End]) -> None:
    one, two = make(), make(silo(generation=7))
    earlier = SiloAddress(two.address.address, two.address.port, 6)
    with pytest.raises(WrongSilo, match=f"at {earlier} answers {two.address}") as caught:
        one.prober.probe(earlier, ENOUGH)
    assert caught.value.identity == two.address
    assert caught.value.cluster == CLUSTER
    assert two.face.probed_by == []


def test_a_silo_of_another_cluster_is_another_silo(make: Callable[..., End]) -> None:
    one, two = make(), make(cluster="c2")
    with pytest.raises(WrongSilo, match="of cluster 'c2'") as caught:
        one.prober.probe(two.address, ENOUGH)
    assert (caught.value.cluster, caught.value.identity) == ("c2", two.address)
    assert two.face.probed_by == []


def test_nobody_listens(make: Callable[..., End]) -> None:
    target = silo()
    with pytest.raises(ProbeFailed, match=f"{target} cannot be reached: Connection refused") as caught:
        make().prober.probe(target, ENOUGH)
    assert not isinstance(caught.value, Foreign)


def test_without_descriptors_nothing_is_known(make: Callable[..., End]) -> None:
    one, two = make(), make()
    with no_descriptors(), pytest.raises(NotAsked, match="Too many open files"):
        one.prober.probe(two.address, ENOUGH)
    assert one.prober.probe(two.address, ENOUGH).health == 0


def test_a_cluster_id_that_fits_no_message() -> None:
    Prober(silo(), "x" * 1000).close()
    for cluster in ("x" * 1100, "\x01" * 200):
        with pytest.raises(ValueError, match="silos can tell each other at most 1024"):
            Prober(silo(), cluster)


def test_a_silo_address_that_fits_no_message(make: Callable[..., End]) -> None:
    """Somebody has made such a row. It has failed as one that is not there, and gossip for others goes on."""
    one, two = make(), make()
    endless = SiloAddress("fe80::1%" + "x" * 5000, 1, 1)
    with pytest.raises(ProbeFailed, match="a message of"):
        one.prober.probe(endless, ENOUGH)
    for version in range(1, 10):
        one.prober.gossip([endless, two.address], version)
        eventually(lambda: (one.address, version) in two.face.heard, "gossip", ENOUGH)  # noqa: B023


def _says(data: bytes) -> Callable[[socket.socket], None]:
    def serve(sock: socket.socket) -> None:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(4096):
            pass

    return serve


def test_whoever_accepts_and_says_nothing_has_failed(make: Callable[..., End]) -> None:
    with frozen() as target:
        with pytest.raises(ProbeFailed, match=r"did not answer within 0\.2 s") as caught:
            make().prober.probe(target, 0.2)
        assert not isinstance(caught.value, Foreign)


def test_whoever_does_not_accept_has_failed(make: Callable[..., End]) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, socket.socket() as filler:
        filler.connect(listener.getsockname())  # nobody accepts it: there is room for no other
        target = SiloAddress("127.0.0.1", listener.getsockname()[1], 1)
        with pytest.raises(ProbeFailed, match=r"did not accept a connection within 0\.2 s"):
            make().prober.probe(target, 0.2)


def test_a_trickle_does_not_extend_the_deadline(make: Callable[..., End]) -> None:
    answer = wire.frame(wire.Ack(CLUSTER, "x" * 2000, 0, 0))
    over = threading.Event()

    def trickle(sock: socket.socket) -> None:
        for byte in answer:
            sock.sendall(bytes([byte]))
            if over.wait(0.02):
                return

    with listening(trickle) as target:
        try:
            with pytest.raises(ProbeFailed, match=r"did not answer within 0\.3 s"):
                make().prober.probe(target, 0.3)
        finally:
            over.set()


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x01\0\2\2F", b"OSP1\0\0\0\2{}"])
def test_a_foreign_silo_has_failed_unless_told_otherwise(make: Callable[..., End], data: bytes) -> None:
    lenient = make()
    strict = Prober(silo(), CLUSTER)
    with listening(_says(data)) as target:
        assert lenient.prober.probe(target, ENOUGH) == ProbeResult(health=0, version=0, foreign=True)
        with pytest.raises(Foreign, match="ended, or does not speak the agents' protocol"):
            strict.probe(target, ENOUGH)
        lenient.face.known = {target}
        assert not strict.probe_indirectly(lenient.address, target, ENOUGH, ENOUGH).succeeded, "whoever asks decides"
    strict.close()


def test_a_silo_that_has_spoken_the_protocol_is_not_foreign_later(make: Callable[..., End]) -> None:
    one, two = make(), make()
    one.prober.probe(two.address, ENOUGH)
    two.stop()
    with socket.create_server((two.address.address, two.address.port)) as listener:
        closer = threading.Thread(target=lambda: listener.accept()[0].close())
        closer.start()
        with pytest.raises(ProbeFailed, match="ended, or does not speak") as caught:
            one.prober.probe(two.address, ENOUGH)
        assert not isinstance(caught.value, Foreign)
        closer.join()


def test_an_answer_to_another_question_does_not_count(make: Callable[..., End]) -> None:
    end = make()
    told = silo()

    def serve(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(wire.frame(answers.pop()))

    with listening(serve) as target:
        answers: list[wire.Answer] = [
            wire.Ack(CLUSTER, str(target), 0, 0),
            wire.Refused(CLUSTER, str(target), "no time"),
            wire.Ack(CLUSTER, "nonsense", 0, 0),
            wire.IndirectAck(CLUSTER, str(target), 0, 0, True, "", 0.0),
        ]
        with pytest.raises(ProbeFailed, match="answered another question"):
            end.prober.probe(target, ENOUGH)
        with pytest.raises(WrongSilo, match="answers nonsense") as caught:
            end.prober.probe(target, ENOUGH)
        assert caught.value.identity is None
        with pytest.raises(ProbeFailed, match="refused: no time"):
            end.prober.probe(target, ENOUGH)
        with pytest.raises(ProbeFailed, match="answered another question"):
            end.prober.probe_indirectly(target, told, 1.0, ENOUGH)


# -- on behalf of others


def test_another_silo_probes_for_us(make: Callable[..., End]) -> None:
    one, two, three = make(), make(), make()
    two.face.known, two.face.degraded = {three.address}, 2
    result = one.prober.probe_indirectly(two.address, three.address, ENOUGH, ENOUGH)
    assert (result.succeeded, result.health, result.failure) == (True, 2, "")
    assert 0 < result.response_time < ENOUGH
    assert three.face.probed_by == [two.address]


def test_another_silo_cannot_reach_it_either(make: Callable[..., End]) -> None:
    one, two, target = make(), make(), silo()
    two.face.known = {target}
    result = one.prober.probe_indirectly(two.address, target, ENOUGH, ENOUGH)
    assert not result.succeeded
    assert result.failure == f"{target} cannot be reached: Connection refused"


def test_the_intermediary_waits_no_longer_than_asked(make: Callable[..., End]) -> None:
    one, two = make(), make()
    with frozen() as target:
        two.face.known = {target}
        result = one.prober.probe_indirectly(two.address, target, 0.2, ENOUGH)
    assert not result.succeeded
    assert result.failure == f"{target} did not answer within 0.2 s"
    assert result.response_time >= 0.2


def test_the_intermediary_is_told_who_speaks_the_protocol(make: Callable[..., End]) -> None:
    """It has not spoken to the target yet, and might take it for a .NET silo when a proxy closes the connection."""
    one, two, three = make(), make(), make()
    with listening(_says(b"")) as foreign:
        two.face.known = {three.address, foreign}
        assert one.prober.probe_indirectly(two.address, foreign, ENOUGH, ENOUGH).succeeded
        one.prober.probe(three.address, ENOUGH)
        three.stop()
        with socket.create_server((three.address.address, three.address.port)) as listener:
            closer = threading.Thread(target=lambda: listener.accept()[0].close())
            closer.start()
            result = one.prober.probe_indirectly(two.address, three.address, ENOUGH, ENOUGH)
            closer.join()
    assert not result.succeeded
    assert "ended, or does not speak" in result.failure


def test_without_an_answer_of_the_intermediary_nothing_is_known(make: Callable[..., End]) -> None:
    one, three = make(), make()
    with pytest.raises(ProbeFailed):
        one.prober.probe_indirectly(silo(), three.address, ENOUGH, ENOUGH)
    with listening(_says(b"")) as foreign, pytest.raises(Foreign):
        one.prober.probe_indirectly(foreign, three.address, ENOUGH, ENOUGH)


def test_nobody_is_probed_for_others_that_is_not_in_the_table(make: Callable[..., End]) -> None:
    one, two, three = make(), make(), make()
    with pytest.raises(ProbeFailed, match="not in the table, or dead"):
        one.prober.probe_indirectly(two.address, three.address, ENOUGH, ENOUGH)
    assert three.face.probed_by == []


# -- gossip


def test_gossip_arrives(make: Callable[..., End]) -> None:
    ends = [make() for _ in range(6)]
    ends[0].prober.gossip([end.address for end in ends[1:]], 5)
    for end in ends[1:]:
        eventually(lambda: end.face.heard == [(ends[0].address, 5)], "gossip", ENOUGH)  # noqa: B023


def test_gossip_does_not_wait_and_the_dead_are_left_behind(make: Callable[..., End]) -> None:
    one, two = make(), make()
    with frozen() as target:
        one.prober.gossip([silo(), target, two.address], 9)
        eventually(lambda: two.face.heard == [(one.address, 9)], "gossip", ENOUGH)


def test_only_the_newest_version_is_told(make: Callable[..., End]) -> None:
    one, two = make(), make()
    with one.prober._lock:  # nobody is told before we leave it
        one.prober.gossip([silo() for _ in range(4)], 1)  # one for each thread
        for version in (4, 2, 3):
            one.prober.gossip([two.address], version)
    eventually(lambda: two.face.heard, "gossip", ENOUGH)
    assert two.face.heard == [(one.address, 4)]


# -- the end


@pytest.mark.parametrize("accepts", [True, False])
def test_closing_ends_probes_that_are_under_way(make: Callable[..., End], accepts: bool) -> None:
    one = make()
    failed: list[str] = []
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, socket.socket() as filler:
        if not accepts:
            filler.connect(listener.getsockname())
        target = SiloAddress("127.0.0.1", listener.getsockname()[1], 1)

        def probe() -> None:
            try:
                one.prober.probe(target, 600.0)
            except ProbeFailed as error:
                failed.append(str(error))

        thread = threading.Thread(target=probe)
        thread.start()
        eventually(lambda: one.prober._open, "a probe under way", ENOUGH)
        with listener.accept()[0] if accepts else filler as sock:
            if accepts:
                assert sock.recv(4) == wire.MAGIC
            one.prober.close()
            thread.join(ENOUGH)
            assert not thread.is_alive()
    assert len(failed) == 1
    assert "cannot be reached" in failed[0]


def test_closing_ends_a_probe_that_is_about_to_wait(make: Callable[..., End], monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that is shut down before it connects tells for ever that it can be written to, and cannot."""
    one = make()
    left = prober._left

    def close_first(deadline: float) -> float:
        monkeypatch.undo()
        one.prober.close()
        return left(deadline)

    monkeypatch.setattr(prober, "_left", close_first)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, socket.socket() as filler:
        filler.connect(listener.getsockname())  # nobody accepts it: there is room for no other
        target = SiloAddress("127.0.0.1", listener.getsockname()[1], 1)
        with pytest.raises(ProbeFailed, match="cannot be reached"):
            one.prober.probe(target, ENOUGH)


def test_nobody_is_probed_after_the_end(make: Callable[..., End]) -> None:
    one, two = make(), make()
    one.prober.close()
    with pytest.raises(ProbeFailed, match="this agent is ending"):
        one.prober.probe(two.address, ENOUGH)
    one.prober.gossip([two.address], 1)
    assert not two.face.heard
    assert not two.face.probed_by


def test_an_answer_that_is_there_counts_though_we_look_late() -> None:
    """As after this process was stopped for a while: the silo has answered in time."""
    left, right = socket.socketpair()
    with left, right:
        right.sendall(wire.frame(wire.Ack(CLUSTER, "i", 0, 1)))
        data = prober._received(left, time.monotonic() - 60.0)
    assert wire.answer(data) == wire.Ack(CLUSTER, "i", 0, 1)
