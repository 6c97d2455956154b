"""The manager's HTTP server, and peers that mean it no good."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest

from runtime.manager import exchange, servers
from runtime.manager.certificates import SelfSignedCertificate
from runtime.manager.exchange import Reply, Request
from runtime.manager.servers import HttpServer
from tests.support.waiting import eventually


def route(request: Request) -> Reply | None:
    if request.path == "/raise":
        raise RuntimeError("a fault")
    return Reply(200, "text/plain", b"hello") if request.path == "/hello" else None


@pytest.fixture
def server() -> Iterator[HttpServer]:
    server = HttpServer("x", "127.0.0.1:0", route)
    server.start()
    yield server
    server.stop()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("http-x")]


def connect(server: HttpServer) -> socket.socket:
    host, port = str(server.address).rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=30)


def ask(server: HttpServer, request: bytes) -> bytes:
    """All that is answered until the server closes the connection."""
    with connect(server) as sock:
        sock.sendall(request)
        return read_all(sock)


def read_all(sock: socket.socket) -> bytes:
    answered = b""
    while piece := sock.recv(1 << 16):
        answered += piece
    return answered


CLOSE = b"Host: x\r\nConnection: close\r\n\r\n"


def test_get_and_head_of_a_page(server: HttpServer) -> None:
    head, _, body = ask(server, b"GET /hello?x HTTP/1.1\r\n" + CLOSE).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nContent-Length: 5\r\n" in head
    assert b"\r\nX-Content-Type-Options: nosniff\r\n" in head
    assert body == b"hello"
    head, _, body = ask(server, b"HEAD /hello HTTP/1.1\r\n" + CLOSE).partition(b"\r\n\r\n")
    assert b"\r\nContent-Length: 5\r\n" in head
    assert body == b""


def test_a_connection_is_kept_and_may_be_used_ahead(server: HttpServer) -> None:
    request = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
    with connect(server) as sock:
        sock.sendall(b"\r\n" + request + b"\r\n" + request + b"GET /elsewhere HTTP/1.1\r\n" + CLOSE)
        answered = read_all(sock)
    assert re.findall(rb"HTTP/1.1 (\d+) ", answered) == [b"200", b"200", b"404"]


def test_without_version_1_1_the_connection_is_closed(server: HttpServer) -> None:
    assert ask(server, b"GET /hello HTTP/1.0\r\n\r\n").endswith(b"\r\nConnection: close\r\n\r\nhello")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get"])
def test_only_reading_is_served(server: HttpServer, method: str) -> None:
    answered = ask(
        server, f"{method} /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n".encode() + b"x" * 200000
    )
    assert answered.startswith(b"HTTP/1.1 405 Method Not Allowed\r\n")
    assert b"\r\nAllow: GET, HEAD\r\n" in answered


def test_an_answer_is_not_lost_with_a_body_that_nobody_reads(server: HttpServer) -> None:
    answered = ask(server, b"GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n" + b"x" * 500000)
    assert answered.endswith(b"\r\nConnection: close\r\n\r\nhello")


@pytest.mark.parametrize("header", [b"Content-Length: 60", b"Transfer-Encoding: chunked"])
def test_what_is_in_a_body_is_no_request(server: HttpServer, header: bytes) -> None:
    inside = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
    answered = ask(server, b"GET /hello HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n" + inside)
    assert answered.count(b"HTTP/1.1 200") == 1


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /hello\r\n\r\n", 400),
        (b"GET /hello FTP/1.1\r\n\r\n", 400),
        (b"GET /hello HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET /hello HTTP/1.1\r\n\r\n", 400),
        (b"GET /hello HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400),
        (b"GET /hello HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET //[ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /hello HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 4000 + b"\r\n", 431),
        (b"GET /" + b"x" * 70000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
    ],
)
def test_what_is_no_request_is_told_so(server: HttpServer, request_: bytes, status: int) -> None:
    assert ask(server, request_).startswith(b"HTTP/1.1 %d " % status)
    assert ask(server, b"GET /hello HTTP/1.1\r\n" + CLOSE).endswith(b"hello")


def test_a_fault_of_a_page_is_an_answer_too(server: HttpServer) -> None:
    assert ask(server, b"GET /raise HTTP/1.1\r\n" + CLOSE).startswith(b"HTTP/1.1 500 ")


def test_a_head_that_comes_byte_by_byte_has_an_end(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "HEAD_TIME", 0.5)
    with connect(server) as sock:
        sock.settimeout(0.05)
        sock.sendall(b"GET /hello HTTP/1.1\r\n")

        def drip() -> bytes:
            sock.sendall(b"a")
            try:
                return sock.recv(4096)
            except TimeoutError:
                return b""

        assert eventually(drip).startswith(b"HTTP/1.1 408 ")


def test_who_takes_no_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_ANSWER_TIME", 0.3)
    server = HttpServer("x", "127.0.0.1:0", lambda _: Reply(200, "text/plain", b"x" * (32 << 20)))
    server.start()
    try:
        with connect(server) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n" + CLOSE)
            eventually(lambda: server._peers)
            eventually(lambda: not server._peers)  # nobody has read a byte
    finally:
        server.stop()


def test_a_silent_connection_is_closed(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_IDLE_TIME", 0.1)
    with connect(server) as sock:
        assert read_all(sock) == b""


def test_who_asks_nothing_gives_way(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_MOST_CONNECTIONS", 3)
    first, *others = [connect(server) for _ in range(3)]
    try:
        eventually(lambda: len(server._peers) == 3)
        assert ask(server, b"GET /hello HTTP/1.1\r\n" + CLOSE).endswith(b"hello")
        assert read_all(first) == b""
        for other in others:
            other.sendall(b"GET /hello HTTP/1.1\r\n" + CLOSE)
            assert read_all(other).endswith(b"hello")
    finally:
        for sock in (first, *others):
            sock.close()


def test_who_was_answered_and_does_not_go_gives_way(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_MOST_CONNECTIONS", 2)
    monkeypatch.setattr(exchange, "_LINGER_TIME", 60.0)
    answered = [connect(server), connect(server)]
    try:
        for sock, request in zip(answered, (b"GET /hello HTTP/1.1\r\n", b"POST /hello HTTP/1.1\r\n"), strict=True):
            sock.sendall(request + CLOSE)
            assert read_all(sock).startswith(b"HTTP/1.1 ")
        for _ in range(3):
            assert ask(server, b"GET /hello HTTP/1.1\r\n" + CLOSE).endswith(b"hello")
    finally:
        for sock in answered:
            sock.close()


def test_those_being_answered_do_not_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_MOST_CONNECTIONS", 2)
    asked, go_on = threading.Semaphore(0), threading.Event()

    def slow(_request: Request) -> Reply:
        asked.release()
        go_on.wait(30)
        return Reply(200, "text/plain", b"late")

    server = HttpServer("x", "127.0.0.1:0", slow)
    server.start()
    try:
        busy = [connect(server) for _ in range(2)]
        for sock in busy:
            sock.sendall(b"GET / HTTP/1.1\r\n" + CLOSE)
            assert asked.acquire(timeout=30)
        with connect(server) as refused:
            assert read_all(refused) == b""
        go_on.set()
        for sock in busy:
            assert read_all(sock).endswith(b"late")
            sock.close()
    finally:
        go_on.set()
        server.stop()


def test_the_end_lets_an_answer_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_CLOSE_TIMEOUT", 60.0)
    monkeypatch.setattr(exchange, "_IDLE_TIME", 600.0)
    asked, go_on = threading.Event(), threading.Event()

    def slow(_request: Request) -> Reply:
        asked.set()
        go_on.wait(30)
        return Reply(200, "text/plain", b"late")

    server = HttpServer("x", "127.0.0.1:0", slow)
    server.start()
    stopper = threading.Thread(target=server.stop, name="test-stopper")
    with connect(server) as sock, connect(server) as idle:
        try:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert asked.wait(30)
            eventually(lambda: len(server._peers) == 2)  # the second one, too, is through
            stopper.start()
            assert read_all(idle) == b""  # nothing to wait for
            go_on.set()
            assert read_all(sock).endswith(b"late")
        finally:
            go_on.set()
            stopper.join(30)
    assert server.address is None


def test_a_server_without_descriptors_goes_on(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_NO_DESCRIPTORS", 0.01)
    listener = server._listener
    assert listener is not None
    failed = threading.Event()

    class Failing:
        def __getattr__(self, name: str) -> object:
            return getattr(listener, name)

        def accept(self) -> tuple[socket.socket, object]:
            failed.set()
            raise OSError(24, "Too many open files")

    other = threading.Thread(target=server._accept, args=(Failing(),), name="test-accept", daemon=True)
    other.start()
    assert failed.wait(30)
    assert ask(server, b"GET /hello HTTP/1.1\r\n" + CLOSE).endswith(b"hello")
    server.stop()
    other.join(30)
    assert not other.is_alive()


def test_the_end_does_not_wait_for_an_answer_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_CLOSE_TIMEOUT", 0.1)
    asked, go_on = threading.Event(), threading.Event()

    def hanging(_request: Request) -> Reply:
        asked.set()
        go_on.wait(60)
        return Reply(200, "text/plain", b"late")

    server = HttpServer("x", "127.0.0.1:0", hanging)
    server.start()
    with connect(server) as sock:
        try:
            sock.sendall(b"GET / HTTP/1.1\r\n" + CLOSE)
            assert asked.wait(30)
            server.stop()
            assert read_all(sock) == b""
            assert not go_on.is_set()
        finally:
            go_on.set()
    eventually(lambda: not server._peers)


def test_each_newcomer_sends_another_one_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while those sent away are still on their way out."""
    monkeypatch.setattr(servers, "_MOST_CONNECTIONS", 3)
    server = HttpServer("x", "127.0.0.1:0", route)
    pairs = [socket.socketpair() for _ in range(3)]
    try:
        for ours, theirs in pairs:
            theirs.settimeout(0)
            server._peers[servers._Peer(ours)] = threading.current_thread()
        for gone in range(1, 4):
            assert server._has_room()
            assert [is_cut(theirs) for _, theirs in pairs] == [True] * gone + [False] * (3 - gone)
        assert not server._has_room()
    finally:
        for pair in pairs:
            for sock in pair:
                sock.close()


def is_cut(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False


@pytest.mark.parametrize("sent", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"])
def test_a_handshake_that_goes_no_further_has_an_end(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "HEAD_TIME", 0.2)
    server = HttpServer("x", "127.0.0.1:0", route, SelfSignedCertificate())
    server.start()
    try:
        # On a slow machine its time may be over before it has sent anything.
        with connect(server) as sock, contextlib.suppress(ConnectionError):
            sock.sendall(sent)
            assert read_all(sock) == b""
    finally:
        server.stop()


def test_the_end_cuts_handshakes_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "HEAD_TIME", 600.0)
    server = HttpServer("x", "127.0.0.1:0", route, SelfSignedCertificate())
    server.start()
    with connect(server) as silent, connect(server) as begun:
        begun.sendall(b"\x16")
        eventually(lambda: sum(isinstance(peer.sock, ssl.SSLSocket) for peer in list(server._peers)) == 2)
        server.stop()
        assert read_all(silent) == b""
        assert not server._peers
