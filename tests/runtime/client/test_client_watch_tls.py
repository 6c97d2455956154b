"""Watches over TLS, where the server makes a record of each event: a burst comes in batches, and nothing waits."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runtime import GVR
from runtime import client as c
from runtime.client import Client, RawWatch
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.runtime.client.conftest import Kit

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")

PODS = GVR("", "v1", "pods")
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Records:
    """The server's end of a TLS connection, down to single records."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self.sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._pump(self._tls.do_handshake)
        self._pump(lambda: self._tls.read(65536))  # the request
        self.send(self.record(HEAD))

    def _pump(self, step: Callable[[], object]) -> None:
        while True:
            try:
                step()
            except ssl.SSLWantReadError:
                self.send(self._out.read())
                self._in.write(self.sock.recv(65536))
            else:
                self.send(self._out.read())
                return

    def record(self, data: bytes) -> bytes:
        self._tls.write(data)
        return self._out.read()

    def event(self, line: bytes) -> bytes:
        return self.record(b"%x\r\n%b\r\n" % (len(line), line))

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("certificate")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key"]
    command = [
        "openssl",
        "req",
        "-x509",
        *key,
        "-out",
        "crt",
        "-subj",
        "/CN=x",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    return folder


@pytest.fixture
def connect(certificate: Path) -> Iterator[Callable[[float | None], tuple[RawWatch, Records]]]:
    """Opens a watch, and gives both of its ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "crt", certificate / "key")
    listener = socket.create_server(("127.0.0.1", 0))
    client = Client(f"https://127.0.0.1:{listener.getsockname()[1]}", ca_file=str(certificate / "crt"))
    ends: list[Any] = [listener, client]

    def open_watch(idle_timeout: float | None) -> tuple[RawWatch, Records]:
        with ThreadPoolExecutor(1) as pool:
            serving = pool.submit(lambda: Records(listener.accept()[0], context))
            watch = client.resource(PODS, "ns").watch_raw(idle_timeout=idle_timeout)
            records = serving.result(30)
        ends.extend((watch, records.sock))
        return watch, records

    yield open_watch
    for end in reversed(ends):
        end.close()


def names(lines: list[bytes]) -> list[str]:
    return [c.Unstructured.from_bytes(c.decode_line(line).object).name for line in lines]


def test_a_burst_comes_in_batches_and_silence_is_still_noticed(connect: Any, kit: type[Kit]) -> None:
    watch, server = connect(0.3)
    for i in range(300):
        server.send(server.event(kit.line("ADDED", kit.pod(f"p{i}"))))
    batches = [next(watch)]
    while sum(map(len, batches)) < 300:
        batches.append(next(watch))
    assert names([line for batch in batches for line in batch]) == [f"p{i}" for i in range(300)]
    assert len(batches) < 30
    with pytest.raises(c.IdleTimeout):
        next(watch)


def test_an_event_does_not_wait_for_a_record_that_has_come_in_part(connect: Any, kit: type[Kit]) -> None:
    watch, server = connect(None)
    first, second = (server.event(kit.line("ADDED", kit.pod(name))) for name in "ab")
    server.send(first + second[:50])
    with ThreadPoolExecutor(1) as pool:
        assert names(pool.submit(next, watch).result(30)) == ["a"]
        waiting = pool.submit(next, watch)
        server.send(second[50:])
        assert names(waiting.result(30)) == ["b"]


@pytest.mark.parametrize("idle_timeout", [None, 3e6])
def test_an_event_is_waited_for_however_long_silence_may_last(connect: Any, kit: type[Kit], idle_timeout: Any) -> None:
    watch, server = connect(idle_timeout)
    with ThreadPoolExecutor(1) as pool:
        for name in "ab":
            reading = pool.submit(next, watch)
            eventually(lambda: watch._reading)
            server.send(server.event(kit.line("ADDED", kit.pod(name))))
            assert names(reading.result(30)) == [name]


def test_a_record_that_never_comes_whole_is_silence(connect: Any, kit: type[Kit]) -> None:
    watch, server = connect(0.3)
    first, second = (server.event(kit.line("ADDED", kit.pod(name))) for name in "ab")
    server.send(first + second[:50])
    assert names(next(watch)) == ["a"]
    with pytest.raises(c.IdleTimeout):
        next(watch)


def test_records_that_come_in_parts_do_not_start_the_time_anew(connect: Any, kit: type[Kit]) -> None:
    watch, server = connect(1.0)
    first, second = (server.event(kit.line("ADDED", kit.pod(name))) for name in "ab")
    server.send(first)
    assert names(next(watch)) == ["a"]
    ended = threading.Event()

    def trickle() -> None:
        for at in range(len(second) - 1):  # its last byte never comes
            server.send(second[at : at + 1])
            if ended.wait(0.2):
                return

    with ThreadPoolExecutor(1) as pool:
        trickling = pool.submit(trickle)
        try:
            with pytest.raises(c.IdleTimeout):
                next(watch)
            assert not trickling.done()
        finally:
            ended.set()


def test_what_came_before_the_connection_broke_is_handed_out(connect: Any, kit: type[Kit]) -> None:
    watch, server = connect(None)
    server.send(server.event(kit.line("ADDED", kit.pod("a"))))
    server.sock.close()
    assert names(next(watch)) == ["a"]
    with pytest.raises(c.ConnectionFailed, match="broke"):
        next(watch)


def test_close_wakes_the_reader(connect: Any, kit: type[Kit]) -> None:
    watch, server = connect(None)
    server.send(server.event(kit.line("ADDED", kit.pod("a"))))
    seen: list[list[bytes]] = []
    first = threading.Event()

    def read() -> None:
        for batch in watch:
            seen.append(batch)
            first.set()

    reader = threading.Thread(target=read, name="reader")
    reader.start()
    assert first.wait(30)
    watch.close()
    reader.join(30)
    assert not reader.is_alive()
    assert [names(batch) for batch in seen] == [["a"]]


def test_a_batch_has_a_bound(connect: Any) -> None:
    """However fast the server sends."""
    watch, server = connect(None)
    size, lines = 16_000, 128
    records = b"".join(server.event(b"x" * size + b"\n") for _ in range(lines))
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(server.send, records)
        batches = [next(watch)]
        while sum(map(len, batches)) < lines:
            batches.append(next(watch))
        sending.result(30)
    assert max(map(len, batches)) * size < 300_000


def _ended_by_server(watch: RawWatch, server: Records) -> None:
    server.send(server.record(b"0\r\n\r\n"))
    assert list(watch) == []


def _ended_by_silence(watch: RawWatch, _server: Records) -> None:
    with pytest.raises(c.IdleTimeout):
        next(watch)


def _ended_by_nonsense(watch: RawWatch, server: Records) -> None:
    server.send(server.record(b"no\r\nchunk\r\n"))
    with pytest.raises(c.ConnectionFailed):
        next(watch)


def _ended_between_reads(watch: RawWatch, _server: Records) -> None:
    watch.close()


def _ended_while_reading(watch: RawWatch, _server: Records) -> None:
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(list, watch)
        eventually(lambda: watch._reading)
        watch.close()
        assert reading.result(30) == []


@pytest.mark.parametrize(
    "end", [_ended_by_server, _ended_by_silence, _ended_by_nonsense, _ended_between_reads, _ended_while_reading]
)
def test_whatever_ends_a_watch_its_connection_is_closed(connect: Any, end: Any) -> None:
    watch, server = connect(0.3 if end is _ended_by_silence else None)
    end(watch, server)
    assert watch.closed
    assert next(watch, None) is None
    server.sock.settimeout(30)
    with contextlib.suppress(ConnectionError):
        while server.sock.recv(65536):
            pass


def test_close_leaves_the_reader_its_session(connect: Any, kit: type[Kit]) -> None:
    """Without it the reader, woken between two of its steps, would take what is encrypted for the stream."""
    watch, server = connect(None)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(next, watch)
        server.send(server.event(kit.line("ADDED", kit.pod("a"))))
        assert names(reading.result(30)) == ["a"]
    sock = watch._response.connection.sock
    watch._reading = True  # as it is while the reader is in the middle of a step
    watch.close()
    assert sock._sslobj is not None
    watch._reading = False
    assert next(watch, None) is None
    watch._response.close()
