"""The HTTP below the API: framing, keep-alive, limits, and an end that always comes."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

import pytest

from runtime.testing.apiserver import FakeAPIServer
from runtime.testing.apiserver.http import http_date
from tests.runtime.testing.apiserver.apiserver_helpers import CONFIGMAPS, WIDGETS, Http, eventually, widget


def raw(server: FakeAPIServer, *parts: bytes, until: bytes | None = None) -> bytes:
    """Send bytes as they are; what comes back until the server closes, or until ``until`` was seen."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        for part in parts:
            sock.sendall(part)
        received = b""
        while until is None or until not in received:
            data = sock.recv(65536)
            if not data:
                break
            received += data
        return received


def test_many_requests_use_one_connection(server: FakeAPIServer, api: Http) -> None:
    for _ in range(20):
        assert api.get("/version").status == 200
    assert server.connections == 1


def test_pipelined_requests_are_answered_in_order(server: FakeAPIServer) -> None:
    request = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    received = raw(server, request)
    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert received.index(b"gitVersion") < received.index(b"\r\n\r\nok")


def test_a_request_may_come_byte_by_byte(server: FakeAPIServer) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert raw(server, *(bytes([byte]) for byte in request)).endswith(b"ok")


def test_a_chunked_body_is_read(server: FakeAPIServer, api: Http) -> None:
    body = json.dumps({"metadata": {"name": "chunked"}, "data": {"k": "v" * 100}}).encode()
    chunks = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(body[i : i + 7]), body[i : i + 7]) for i in range(0, len(body), 7))
    head = (
        b"POST " + CONFIGMAPS.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    assert raw(server, head, chunks + b"0\r\nTrailer: x\r\n\r\n").startswith(b"HTTP/1.1 201 ")
    assert api.get(f"{CONFIGMAPS}/chunked").body["data"] == {"k": "v" * 100}


def test_expect_100_is_answered_before_the_body(server: FakeAPIServer) -> None:
    body = b'{"metadata":{"name":"expected"}}'
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(
            b"POST " + CONFIGMAPS.encode() + b" HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert sock.recv(65536).startswith(b"HTTP/1.1 201 ")


def test_head_has_the_length_but_no_body(server: FakeAPIServer) -> None:
    received = raw(server, b"HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"Content-Length: 0" not in head
    assert b"Content-Length:" in head
    assert body == b""


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/version", 405),
        ("/api", 405),
        ("/api/v1", 405),
        ("/apis/apps/v1", 405),
        (CONFIGMAPS, 405),
        (f"{CONFIGMAPS}/a", 405),
        (f"{CONFIGMAPS}?watch=1", 405),
        ("/api/v1/nosuch", 404),
        ("/api/v9", 404),
        ("/", 200),
        ("/apis", 200),
        ("/apis/apps", 200),
        ("/apis/example.com/v1", 200),
        ("/openapi/v3", 200),
        ("/livez", 200),
        (WIDGETS, 200),
        (f"{WIDGETS}/a", 200),
        (f"{WIDGETS}/b", 404),
    ],
)
def test_head_is_for_what_is_not_routed_by_method(
    api: Http, server: FakeAPIServer, widgets: str, path: str, status: int
) -> None:
    """The routes of built-in kinds are for GET alone; custom resources, and what is no resource, go by the verb."""
    api.made(CONFIGMAPS, "a")
    api.post(widgets, widget("a"))
    answer = api("HEAD", path)
    assert (answer.status, answer.data) == (status, b"")
    assert server.requests[-1].code == status
    assert api.get("/healthz").status == 200, "the connection goes on"


def test_the_version_is_for_reading(api: Http) -> None:
    answer = api.post("/version", {})
    assert (answer.status, answer.body["reason"]) == (405, "MethodNotAllowed")


def test_http_1_0_gets_a_stream_without_chunks(server: FakeAPIServer, api: Http) -> None:
    api.made(CONFIGMAPS, "a")
    # Kept alive, it would have no end that the client could see.
    asked = f"GET {CONFIGMAPS}?watch=1&timeoutSeconds=1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    received = raw(server, asked.encode())
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert [json.loads(line)["type"] for line in body.splitlines()] == ["ADDED"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /version HTTP/3.0\r\n\r\n", 505),
        (b"GET /version HTTP/1.1\r\nno colon here\r\n\r\n", 400),
        (b"GET /version HTTP/1.1\r\nBad Name: x\r\n\r\n", 200),
        (b"POST /api/v1/namespaces HTTP/1.1\r\nContent-Length: many\r\n\r\n", 400),
        (b"POST /api/v1/namespaces HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"POST /api/v1/namespaces HTTP/1.1\r\nTransfer-Encoding: brotli\r\n\r\n", 501),
        (b"POST /api/v1/namespaces HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 1_100_000, 431),
    ],
)
def test_what_is_no_request_gets_a_status_and_the_server_lives(
    server: FakeAPIServer, api: Http, sent: bytes, status: int
) -> None:
    received = raw(server, sent, until=b"\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 %d " % status), received
    assert api.get("/healthz").data == b"ok"


def test_too_large_a_body_is_refused_in_words(api: Http) -> None:
    answer = api.post(CONFIGMAPS, b" " * (3 * 1024 * 1024 + 1))
    assert answer.status == 413
    assert answer.body["reason"] == "RequestEntityTooLarge"
    assert answer.closes


def test_a_large_answer_is_compressed_on_request(api: Http) -> None:
    api.made(CONFIGMAPS, "big", data={"k": "x" * 200_000})
    answer = api("GET", f"{CONFIGMAPS}/big", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == ["gzip"]
    assert len(answer.data) < 10_000
    assert json.loads(gzip.decompress(answer.data))["data"]["k"] == "x" * 200_000
    assert answer.headers["vary"] == ["Accept-Encoding"]
    assert "content-encoding" not in api.get(f"{CONFIGMAPS}/big").headers
    api.made(CONFIGMAPS, "small", data={"k": "x" * 100_000})
    assert "content-encoding" not in api("GET", f"{CONFIGMAPS}/small", headers={"Accept-Encoding": "gzip"}).headers
    document = api("GET", "/openapi/v2", headers={"Accept-Encoding": "gzip"})
    assert (document.headers["content-encoding"], document.headers["vary"]) == (["gzip"], ["Accept, Accept-Encoding"])


def test_a_path_may_be_escaped(api: Http) -> None:
    api.made("/apis/rbac.authorization.k8s.io/v1/clusterroles", "system:a b")
    answer = api.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Aa%20b")
    assert answer.body["metadata"]["name"] == "system:a b"


def test_an_error_of_the_server_itself_is_a_status_and_logged(
    server: FakeAPIServer, api: Http, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(server.store, "get", broken)
    answer = api.get(f"{CONFIGMAPS}/a")
    assert answer.status == 500
    assert "out of order" in answer.body["message"]
    assert "failed inside the server" in caplog.text


def test_stop_ends_hundreds_of_connections_at_once() -> None:
    server = FakeAPIServer().start()
    sockets = []
    for number in range(200):
        sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        watch = b"?watch=1" if number % 2 else b"?limit=1"
        sock.sendall(b"GET /api/v1/configmaps" + watch + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        sockets.append(sock)
    eventually(lambda: server.connections == 200)
    for sock in sockets:
        assert sock.recv(100).startswith(b"HTTP/1.1 200 ")
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 30  # seconds; who is waited for would never go
    assert not [t for t in threading.enumerate() if t.name.startswith(f"apiserver-{server.port}")]
    for sock in sockets:
        sock.close()


def test_stop_does_not_wait_for_a_watcher_that_does_not_read(api: Http, server: FakeAPIServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(b"GET /api/v1/configmaps?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: server.connections == 1)
        for number in range(40):
            api.made(CONFIGMAPS, f"big-{number}", data={"k": "x" * 200_000})
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 30  # seconds; who is waited for would never go


def test_stop_is_idempotent_and_needs_no_start() -> None:
    server = FakeAPIServer()
    server.stop()
    server.stop()


def test_cut_connections_come_back(server: FakeAPIServer, api: Http) -> None:
    assert api.get("/version").status == 200
    server.close_connections()
    eventually(lambda: server.connections == 0)
    api.close()
    assert api.get("/version").status == 200


@pytest.mark.parametrize(
    ("size", "data", "code"),
    [
        (b"-5", b"abcde\r\n", 400),
        (b"0x5", b"abcde\r\n", 400),
        (b"1_0", b"abcde\r\n", 400),
        (b"2", b"{}XX\r\n", 400),  # more data than it says: what follows must not be taken for a request
        (b"ffffffffffffffff", b"", 413),
        (b"300001", b"", 413),  # one byte more than 3 MiB
    ],
)
def test_a_chunk_is_what_its_size_says(server: FakeAPIServer, size: bytes, data: bytes, code: int) -> None:
    head = b"POST " + CONFIGMAPS.encode() + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    received = raw(server, head, size + b"\r\n" + data + b"0\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 %d " % code)
    assert received.count(b"HTTP/1.1") == 1


def test_tls_is_told_that_there_is_none(server: FakeAPIServer) -> None:
    received = raw(server, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"http:// instead of https://" in received


def test_close_may_stand_among_other_options(server: FakeAPIServer) -> None:
    assert raw(server, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: upgrade, Close\r\n\r\n").endswith(b"ok")


@pytest.mark.parametrize(
    ("media", "body"),
    [
        ("application/json", b'{"a":' * 100_000),
        ("application/json", b'{"metadata":{"name":"x"},"a":' + b"[" * 900 + b"]" * 900 + b"}"),
        ("application/yaml", b"[" * 100_000),
        ("application/yaml", b"- " * 100_000),
        ("application/yaml", b"a: &a [*a]"),
        (
            "application/yaml",
            b"a: &a [x,x,x,x,x,x,x,x]\n"
            + b"".join(b"%c: &%c [%b]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 8)) for c in b"bcdefghij"),
        ),
    ],
    ids=["json-cut", "json-deep", "yaml-flow", "yaml-block", "yaml-recursive", "yaml-bomb"],
)
def test_bodies_made_to_break_a_parser_do_not(api: Http, media: str, body: bytes) -> None:
    answer = api("POST", CONFIGMAPS, body, content_type=media)
    assert answer.status in (201, 400), answer
    assert api.get("/healthz").status == 200


def test_the_date_of_an_answer_is_as_http_writes_it(api: Http) -> None:
    moment = datetime(2024, 2, 9, 3, 4, 5, tzinfo=UTC)
    for days in range(0, 400, 23):
        each = moment + timedelta(days=days)
        assert http_date(each) == format_datetime(each, usegmt=True)
    shown = parsedate_to_datetime(api.get("/version").headers["date"][0])
    assert abs(datetime.now(UTC) - shown) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("timeout", "status"),
    [("32s", 200), ("1h1.5m", 200), ("0", 200), ("", 200), ("-1s", 200), ("32", 400), ("x", 400), ("1s1", 400)],
)
def test_a_timeout_is_a_duration(api: Http, timeout: str, status: int) -> None:
    answer = api.get(f"{CONFIGMAPS}?timeout={timeout}")
    assert answer.status == status
    if status == 400:
        assert answer.body["message"].startswith("invalid timeout specified in the request URL")
    created = api("POST", f"{CONFIGMAPS}?timeout={timeout}", {"metadata": {"name": "a"}})
    assert created.status == (201 if status == 200 else 400)


def test_a_path_may_end_with_a_slash(api: Http) -> None:
    made = api.made(CONFIGMAPS, "a")
    assert api.get(f"{CONFIGMAPS}/a/").body == made
    assert api.get(f"{CONFIGMAPS}/").body["kind"] == "ConfigMapList"
    assert api.get("/api/v1/").body["kind"] == "APIResourceList"
    assert api.get("/apis/apps/v1/").body["kind"] == "APIResourceList"


def test_a_request_may_name_the_server_as_to_a_proxy(server: FakeAPIServer) -> None:
    request = b"GET http://server:80/healthz?verbose=0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert raw(server, request).startswith(b"HTTP/1.1 200 ")


def test_of_a_parameter_that_is_given_twice_the_first_counts(api: Http) -> None:
    api.made(CONFIGMAPS, "a")
    api.made(CONFIGMAPS, "b")
    assert len(api.get(f"{CONFIGMAPS}?limit=1&limit=2").body["items"]) == 1
