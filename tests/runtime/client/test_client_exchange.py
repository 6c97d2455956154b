"""Requests over a connection that is open already: written and read by ourselves, byte by byte."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3

from runtime.client import Cancelled, Client, ConnectionFailed, Interrupt, NotLeading, RequestTimeout, ServerTimeout
from runtime.client._exchange import Exchanges, _send
from runtime.client._http import Response
from runtime.client._interrupt import LookingBeforeSending, ended_by
from runtime.testing import FakeClock
from runtime.types import GVR
from tests.support.waiting import eventually

PATH = "/api/v1/namespaces/default/configmaps/a"
BODY = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"default"}}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
PLAIN = HEAD + BODY


class RawServer:
    """Answers each request with the next of the scripted bytes, in the pieces given; then it may close.
    An event among them is waited for.

    :ivar requests: as they came, each with the number of its connection.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[int, bytes]] = []
        self.script: list[tuple[tuple[bytes | threading.Event, ...], bool]] = []
        self.pause = 0.0005  # seconds between pieces, so that they are read one by one
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="raw-server")]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def answer(self, *pieces: bytes | threading.Event, close: bool = False) -> None:
        self.script.append((pieces, close))

    def stop(self) -> None:
        self._over.set()
        for sock in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets.append(sock)
                thread = threading.Thread(target=self._serve, args=(sock, len(self._sockets)), name="raw-connection")
                self._threads.append(thread)
                thread.start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError):
            while request := _request(sock):
                self.requests.append((number, request))
                pieces, close = self.script.pop(0)
                for piece in pieces:
                    if isinstance(piece, threading.Event):
                        piece.wait(30)
                        continue
                    sock.sendall(piece)
                    if len(pieces) > 1:
                        self._over.wait(self.pause)
                if close:
                    sock.shutdown(socket.SHUT_RDWR)
                    return


def _request(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (read := sock.recv(65536)):
            return b""
        data += read
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            while len(body) < int(line[15:]):
                body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def raw() -> Iterator[RawServer]:
    server = RawServer()
    yield server
    server.stop()


@pytest.fixture
def client(raw: RawServer) -> Iterator[Client]:
    """Its connection is open: urllib3 has made the first request."""
    with Client(raw.url, token="secret") as client:
        raw.answer(PLAIN)
        client.request("GET", PATH)
        yield client


def connections(raw: RawServer) -> list[int]:
    return [number for number, _ in raw.requests]


def test_a_request_says_what_it_must(raw: RawServer, client: Client) -> None:
    raw.answer(PLAIN)
    client.resource(GVR("", "v1", "configmaps"), "default").patch("a", {"data": {"k": "ü"}}, field_manager="me")
    number, request = raw.requests[-1]
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert number == 1
    assert lines[0] == f"PATCH {PATH}?fieldManager=me HTTP/1.1"
    assert sorted(lines[1:]) == sorted(
        [
            f"Host: {raw.url.removeprefix('http://')}",
            "User-Agent: python-controller-runtime",
            "Accept: application/json",
            "Authorization: Bearer secret",
            "Content-Type: application/merge-patch+json",
            "Accept-Encoding: identity",
            f"Content-Length: {len(body)}",
        ]
    )
    assert body == '{"data":{"k":"ü"}}'.encode()


@pytest.mark.parametrize(
    ("method", "body"), [("GET", None), ("POST", b"{}"), ("PUT", b""), ("PATCH", b"x" * 70_000), ("DELETE", None)]
)
def test_it_is_what_urllib3_would_say(raw: RawServer, method: str, body: bytes | None) -> None:
    """The first request of a connection goes by urllib3, the second does not: a server sees no difference."""
    with Client(raw.url, token="secret") as client:
        for _ in range(2):
            raw.answer(PLAIN)
            client.request(method, PATH + "?a=%20", body=body, headers={"X-Some": "thing"})
    first, second = (sorted(request.split(b"\r\n")) for _, request in raw.requests)
    assert first == second
    assert connections(raw) == [1, 1]


@pytest.mark.parametrize(
    ("answer", "reused"),
    [
        (PLAIN, True),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN, True),
        (CHUNKED + b"%x\r\n%b\r\n%x;ext=1\r\n%b\r\n0\r\n\r\n" % (7, BODY[:7], len(BODY) - 7, BODY[7:]), True),
        (CHUNKED + b"%x\r\n%b\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\n" % (len(BODY), BODY), True),
        (PLAIN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1), False),
        (PLAIN.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade, Close\r\n\r\n", 1), False),
        (PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"), False),
        (PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"\r\n\r\n", b"\r\nConnection: Keep-Alive\r\n\r\n", 1), True),
        (PLAIN + b"HTTP/1.1 500 Oops\r\n\r\n", False),
        (PLAIN.replace(b"Content-Length", b"content-LENGTH"), True),
        (HEAD.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n") + CHUNKS, False),
        (CHUNKED.replace(b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK\r\nConnection: keep-alive") + CHUNKS, False),
    ],
)
def test_an_answer_is_read_whole_however_it_comes(raw: RawServer, client: Client, answer: bytes, reused: bool) -> None:
    raw.answer(answer)
    assert client.request("GET", PATH).body == BODY
    raw.answer(PLAIN)
    assert client.request("GET", PATH).body == BODY
    assert connections(raw) == [1, 1, 1 if reused else 2]
    if reused:
        raw.answer(*(answer[i : i + 1] for i in range(len(answer))))
        assert client.request("GET", PATH).body == BODY


def test_a_body_without_a_length_ends_with_its_connection(raw: RawServer, client: Client) -> None:
    raw.answer(b"HTTP/1.1 200 OK\r\n\r\n" + BODY, close=True)
    assert client.request("GET", PATH).body == BODY


def test_an_answer_without_content_has_no_body(raw: RawServer, client: Client) -> None:
    raw.answer(b"HTTP/1.1 204 No Content\r\nContent-Length: 10\r\n\r\n")
    raw.answer(PLAIN)
    assert client.request("DELETE", PATH).body == b""
    assert client.request("GET", PATH).body == BODY


def test_what_came_compressed_is_taken_apart(raw: RawServer, client: Client) -> None:
    data = gzip.compress(BODY)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    raw.answer(head % len(data) + data)
    assert client.request("GET", PATH).body == BODY
    for broken in (data[:-9], b"no gzip at all"):
        raw.answer(head % len(broken) + broken)
        with pytest.raises(ConnectionFailed, match="broke"):
            client.request("POST", PATH)


def test_fields_of_a_head_are_found_in_any_case(raw: RawServer, client: Client) -> None:
    raw.answer(b"HTTP/1.1 200 OK\r\nwarning: 299 - a\r\nX-Empty:\r\nWARNING: 299 - b\r\nContent-Length:  0 \r\n\r\n")
    headers = client.request("GET", PATH).headers
    assert headers["Warning"] == "299 - a, 299 - b"
    assert headers["x-empty"] == ""
    assert headers.get("Missing") is None
    assert sorted(headers) == ["content-length", "warning", "x-empty"]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        HEAD + BODY[:-1],
        CHUNKED + b"5\r\nabc",
        CHUNKED + b"5\r\nabcde\r\n",
        CHUNKED + b"-5\r\nabcde\r\n0\r\n\r\n",
        CHUNKED + b"4\r\nabcde\r\n0\r\n\r\n",
        CHUNKED + b"0\r\nTrailer: x\r\n",
        CHUNKED.replace(b"chunked", b"gzip, chunked") + b"0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: a\nContent-Length: 9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: a\0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: a\rb\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + PLAIN,
        b"HTTP/1.1 200 OK\r\nno field\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 30_000,
    ],
)
def test_a_broken_answer_fails_and_its_connection_is_not_used_again(
    raw: RawServer, client: Client, answer: bytes
) -> None:
    raw.answer(answer, close=True)
    with pytest.raises(ConnectionFailed) as raised:
        client.request("POST", PATH, body=b"{}")
    assert raised.value.ambiguous, "the write may have taken effect"
    raw.answer(PLAIN)
    assert client.request("GET", PATH).body == BODY
    assert connections(raw) == [1, 1, 2]


@pytest.mark.parametrize("answer", [PLAIN.replace(b"\r\n", b"\n"), b"HTTP/1.1 101 Switching Protocols\r\n\r\n"])
def test_what_is_no_answer_is_not_waited_for(raw: RawServer, client: Client, answer: bytes) -> None:
    raw.answer(answer)
    with pytest.raises(ConnectionFailed):
        client.request("POST", PATH, timeout=600)


def test_a_read_whose_connection_broke_is_repeated_once(raw: RawServer, client: Client) -> None:
    raw.answer(HEAD + BODY[:-1], close=True)
    raw.answer(PLAIN)
    assert client.request("GET", PATH).body == BODY
    raw.answer(HEAD + BODY[:-1], close=True)
    raw.answer(HEAD + BODY[:-1], close=True)
    with pytest.raises(ConnectionFailed):
        client.request("GET", PATH)
    assert len(raw.requests) == 5


@pytest.mark.parametrize("begun", [b"", HEAD, HEAD + BODY[:-1], CHUNKED + b"5\r\nabc"])
def test_an_answer_that_does_not_come_times_out_and_is_ambiguous(raw: RawServer, client: Client, begun: bytes) -> None:
    raw.answer(begun)
    with pytest.raises(RequestTimeout) as raised:
        client.request("POST", PATH, body=b"{}", timeout=0.05)
    assert raised.value.ambiguous
    raw.answer(PLAIN)
    assert client.request("GET", PATH).body == BODY
    assert connections(raw) == [1, 1, 2], "what comes late is nobody else's answer"


def test_drops_of_an_answer_do_not_make_it_last_for_ever(raw: RawServer, client: Client) -> None:
    raw.answer(HEAD, *[b"{"] * 5)
    with pytest.raises(RequestTimeout):
        client.request("GET", PATH, timeout=0.1)


def test_an_error_status_is_an_error(raw: RawServer, client: Client) -> None:
    status = b'{"kind":"Status","status":"Failure","reason":"Timeout","message":"later","code":504}'
    raw.answer(b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: %d\r\n\r\n%b" % (len(status), status))
    with pytest.raises(ServerTimeout, match="later"):
        client.request("POST", PATH)
    raw.answer(PLAIN)
    client.request("GET", PATH)
    assert connections(raw) == [1, 1, 1]


def test_the_answer_to_a_request_that_was_not_read_whole_is_heard() -> None:
    """A server that refuses a large body says so, and closes, before it has read it."""
    answers: list[bytes] = []
    ours, theirs = socket.socketpair()
    with ours, theirs, urllib3.PoolManager() as manager:
        theirs.shutdown(socket.SHUT_RD)
        pool = manager.connection_from_url("http://a")
        connection: Any = pool._get_conn()
        connection.sock = ours
        pool._put_conn(connection)

        def remaining() -> float:
            """Asked first when the connection was found to be well, and before anything is sent."""
            if not answers:
                answers.append(b"HTTP/1.1 413 Large\r\nContent-Length: 2\r\n\r\n{}")
                theirs.sendall(answers[0])
            return 10.0

        answer = Exchanges("http://a").exchange(manager, "POST", PATH, {}, b"x", remaining)
        assert answer is not None
        assert (answer.status, answer.body) == (413, b"{}")
        assert connection.sock is None, "not used again"


def test_an_answer_that_drips_ends_in_time_all_the_same(raw: RawServer, client: Client) -> None:
    raw.answer(PLAIN[:60], *(PLAIN[60 + i : 61 + i] for i in range(len(PLAIN) - 60)))
    raw.pause = 0.01
    with pytest.raises(RequestTimeout):
        client.request("GET", PATH, timeout=0.2)


def deaf(listener: socket.socket, over: threading.Event) -> threading.Thread:
    """A server that reads one request only."""

    def serve() -> None:
        sock, _ = listener.accept()
        with sock:
            _request(sock)
            sock.sendall(PLAIN)
            over.wait()

    thread = threading.Thread(target=serve, name="raw-deaf")
    thread.start()
    return thread


def test_a_request_that_nobody_reads_ends_in_time() -> None:
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = deaf(listener, over)
        with Client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=600) as client:
            client.request("GET", PATH)
            with pytest.raises(RequestTimeout) as raised:
                client.request("POST", PATH, body=b"x" * (32 << 20), timeout=0.2)
            assert raised.value.ambiguous
        over.set()
        server.join()


def test_a_request_that_is_read_in_drops_ends_in_time_all_the_same() -> None:
    """The time counts for the whole request, not anew for each part that found its way."""
    lefts = [10.0, 7.0, 3.0]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        timeouts: list[float | None] = []

        class Drops:
            settimeout = ours.settimeout

            def sendall(self, part: memoryview) -> None:
                timeouts.append(ours.gettimeout())

        assert _send(Drops(), b"x" * (40 << 10), lambda: lefts.pop(0))
    assert timeouts == [10.0, 7.0, 3.0]


def test_a_write_is_broken_off_where_its_fence_closes_on_the_way() -> None:
    ours, theirs = socket.socketpair()
    looks = [1, 0]

    def look() -> None:
        if not looks.pop(0):
            raise NotLeading("over")

    with ours, theirs, LookingBeforeSending(look):
        with pytest.raises(NotLeading):
            _send(ours, b"x" * (40 << 10), lambda: 10.0)
        assert len(theirs.recv(1 << 20)) == 16 << 10


def test_an_interrupt_ends_what_waits_for_an_answer(raw: RawServer, client: Client) -> None:
    stop = Interrupt()
    raw.answer(HEAD)
    timer = threading.Timer(0.1, stop.set)
    timer.start()
    with pytest.raises(Cancelled, match="cut off") as raised:
        client.bound(stop=stop).request("POST", PATH, timeout=600)
    timer.join()
    assert raised.value.ambiguous
    raw.answer(PLAIN)
    assert client.request("GET", PATH).body == BODY
    assert connections(raw) == [1, 1, 2]


def test_an_interrupt_ends_what_nobody_reads() -> None:
    over, stop = threading.Event(), Interrupt()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sock = deaf(listener, over)
        with Client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=600) as client:
            client.request("GET", PATH)
            timer = threading.Timer(0.2, stop.set)
            timer.start()
            with pytest.raises(Cancelled):
                client.bound(stop=stop).request("POST", PATH, body=b"x" * (32 << 20), timeout=600)
            timer.join()
        over.set()
        sock.join()


@pytest.mark.parametrize("known", [True, False], ids=["exchange", "urllib3"])
def test_an_interrupt_ends_no_call_of_others_over_the_same_connection(raw: RawServer, known: bool) -> None:
    """Of a call that waits to be repeated: its connection went back to the pool meanwhile."""
    clock, stop, release = FakeClock(), Interrupt(), threading.Event()
    raised: list[BaseException] = []
    with Client(raw.url, clock=clock, timeout=600) as client:
        if known:
            raw.answer(PLAIN)
            client.request("GET", PATH)

        def wait() -> None:
            try:
                client.bound(stop=stop).request("POST", PATH)
            except Cancelled as error:
                raised.append(error)

        raw.answer(b"HTTP/1.1 429 Too Many\r\nRetry-After: 60\r\nContent-Length: 2\r\n\r\n{}")
        waiting = threading.Thread(target=wait, name="waits-to-repeat")
        waiting.start()
        clock.wait_for_waiters()
        raw.answer(HEAD, release, BODY)
        answers: list[Response] = []
        working = threading.Thread(target=lambda: answers.append(client.request("POST", PATH)), name="works")
        working.start()
        eventually(lambda: len(raw.requests) == 2 + known, "the other call is under way")
        stop.set()
        waiting.join()
        release.set()
        working.join()
    assert [answer.body for answer in answers] == [BODY]
    assert len(raised) == 1
    assert len(set(connections(raw))) == 1, "the same connection, or this test says nothing"


def test_an_interrupt_lets_go_of_connections_that_are_not_ours() -> None:
    """Those of a SOCKS proxy, for one; while the call goes on, others may use them."""
    stop = Interrupt()
    ours, theirs = socket.socketpair()
    with ours, theirs, urllib3.PoolManager() as manager, ended_by([stop]):
        pool = manager.connection_from_url("http://a")
        connection: Any = pool._get_conn()
        connection.sock = ours
        pool._put_conn(connection)
        held: list[set[socket.socket]] = []

        def remaining() -> float:
            held.append(set(stop._sockets))
            if len(held) == 1:
                answering.start()
            return 10.0

        def answer() -> None:
            theirs.recv(1 << 16)
            theirs.sendall(PLAIN)

        answering = threading.Thread(target=answer, name="answers")
        assert Exchanges("http://a").exchange(manager, "GET", PATH, {}, None, remaining) is not None
        answering.join()
        assert held[-1] == {ours}
        assert stop._sockets == set()


def test_requests_to_a_proxy_are_left_to_urllib3(raw: RawServer) -> None:
    """It wants the whole URL."""
    with urllib3.ProxyManager(raw.url) as manager:
        raw.answer(PLAIN)
        assert manager.request("GET", "http://far.invalid/a").data == BODY
        assert raw.requests[0][1].startswith(b"GET http://far.invalid/a ")
        assert Exchanges("http://far.invalid").exchange(manager, "GET", "/a", {}, None, lambda: 1.0) is None
        assert len(raw.requests) == 1


def test_a_pool_that_was_closed_is_followed_by_another(raw: RawServer) -> None:
    exchanges = Exchanges(raw.url)
    with urllib3.PoolManager() as manager:
        for _ in range(2):
            raw.answer(PLAIN)
            raw.answer(PLAIN)
            manager.request("GET", raw.url + "/a")
            answer = exchanges.exchange(manager, "GET", "/a", {}, None, lambda: 10.0)
            assert answer is not None
            manager.connection_from_url(raw.url).close()
            manager.clear()


def test_a_pool_that_is_closed_this_very_moment_is_left_to_urllib3(
    raw: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with urllib3.PoolManager() as manager:
        raw.answer(PLAIN)
        manager.request("GET", raw.url + "/a")
        pool = manager.connection_from_url(raw.url)
        get = pool._get_conn

        def closed_before(timeout: float | None = None) -> Any:
            pool.close()
            return get(timeout)

        monkeypatch.setattr(pool, "_get_conn", closed_before)
        assert Exchanges(raw.url).exchange(manager, "POST", "/a", {}, b"{}", lambda: 10.0) is None
    assert len(raw.requests) == 1


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/a b", {}),
        ("GET", "/ü", {}),
        ("GET", "/a/../b", {}),
        ("HEAD", "/a", {}),
        ("GET", "/a\r\nX: y", {}),
        ("GET", "/a#b", {}),
        ("GET", "/a?b={c}", {}),
        ("GET", "/" + "a" * 200 + "{", {}),
        ("GET", "/a%", {}),
        ("GET", "//a\n", {}),
        ("GET", "*", {}),
        ("get", "/a", {}),
        ("GET / HTTP/1.1\r\nX:", "/a", {}),
        ("GET", "/a", {"X": "a\r\nY: b"}),
        ("GET", "/a", {"X Y": "a"}),
        ("GET", "/a", {"accept-encoding": "gzip, deflate"}),
        ("GET", "/a", {"Host": "b"}),
        ("GET", "/a", {"transfer-encoding": "chunked"}),
        ("GET", "/a", {"X": "\u20ac"}),
    ],
)
def test_what_is_unusual_is_left_to_urllib3(method: str, path: str, headers: dict[str, str]) -> None:
    assert Exchanges("http://127.0.0.1:1")._head("GET", "/a", {"X-Y": "z"}, None) is not None
    assert Exchanges("http://127.0.0.1:1")._head(method, path, headers, None) is None


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://a:80", "a"),
        ("https://A.example:443/x", "a.example"),
        ("https://a:6443", "a:6443"),
        ("http://a:443", "a:443"),
        ("https://me:secret@10.0.0.1", "10.0.0.1"),
        ("https://[fd00::1]:6443", "[fd00::1]:6443"),
    ],
)
def test_the_host_is_named_as_urllib3_does(url: str, host: str) -> None:
    head = Exchanges(url)._head("GET", "/a", {}, None)
    assert head is not None
    assert f"\r\nHost: {host}\r\n".encode() in head


@pytest.mark.parametrize("url", ["https://[fe80::1%25eth0]:6443", "http://[", "https://a b"])
def test_hosts_of_a_special_form_are_left_to_urllib3(url: str) -> None:
    assert Exchanges(url)._head("GET", "/a", {}, None) is None


def test_a_host_in_other_letters_is_written_in_ascii_or_left_to_urllib3() -> None:
    head = Exchanges("https://b\u00fccher.example")._head("GET", "/a", {}, None)
    assert head is None or b"\r\nHost: xn--bcher-kva.example\r\n" in head


def test_methods_may_be_written_small(raw: RawServer, client: Client) -> None:
    for method in ("get", "patch"):
        raw.answer(PLAIN)
        client.request(method, PATH)
    assert [request.split()[0] for _, request in raw.requests] == [b"GET", b"GET", b"PATCH"]


@pytest.mark.parametrize("path", ["@elsewhere.invalid/api", "api", ""])
def test_a_path_does_not_lead_to_another_host(raw: RawServer, client: Client, path: str) -> None:
    with pytest.raises(ValueError, match="begin"):
        client.request("GET", path)
    with pytest.raises(ValueError, match="begin"):
        client.stream("GET", path)
    assert len(raw.requests) == 1


def test_a_path_before_the_api_comes_first(raw: RawServer) -> None:
    with Client(raw.url + "/k8s/clusters/c1/") as client:
        for _ in range(2):
            raw.answer(PLAIN)
            client.request("GET", PATH)
    lines = [request.split(b"\r\n")[0].decode() for _, request in raw.requests]
    assert lines == [f"GET /k8s/clusters/c1{PATH} HTTP/1.1"] * 2


def test_threads_do_not_share_a_connection(raw: RawServer, client: Client) -> None:
    together = threading.Barrier(4)
    answers: list[Response] = []
    for _ in range(4 * 25):
        raw.answer(PLAIN)

    def ask() -> None:
        together.wait()
        answers.extend(client.request("GET", PATH) for _ in range(25))

    threads = [threading.Thread(target=ask, name=f"asking-{number}") for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.body for answer in answers] == [BODY] * 100
    assert len(set(connections(raw))) <= 4
