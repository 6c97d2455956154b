"""Watches: whole lines however the network cuts them, and an end however the connection ends."""

from __future__ import annotations

import gzip
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from runtime import GVR
from runtime import client as c
from runtime.client import Client

if TYPE_CHECKING:
    from tests.runtime.client.conftest import Handler, Kit, ScriptedServer, Seen


PODS = GVR("", "v1", "pods")


def test_events_come_typed_and_in_order(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    scripted.then(
        kit.chunks(
            kit.line("ADDED", kit.pod("a")) + kit.line("MODIFIED", kit.pod("a")),
            kit.line("DELETED", kit.pod("a")),
            kit.line("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": "9"}}),
        )
    )
    events = list(client.resource(PODS, "ns").watch())
    assert [(e.type, e.object.name) for e in events] == [
        ("ADDED", "a"),
        ("MODIFIED", "a"),
        ("DELETED", "a"),
        ("BOOKMARK", ""),
    ]
    assert events[3].object.resource_version == "9"
    assert events[0].object.to_dict() == kit.pod("a")


def test_parameters(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    scripted.default = kit.chunks()
    pods = client.resource(PODS, "ns")
    list(pods.watch())
    list(
        pods.watch(
            resource_version="5",
            label_selector="a=b",
            field_selector="metadata.name=x",
            server_timeout=1.2,
            allow_bookmarks=False,
            send_initial_events=True,
            resource_version_match="NotOlderThan",
        )
    )
    first, second = ({k: v[0] for k, v in parse_qs(urlsplit(s.path).query).items()} for s in scripted.requests)
    assert first == {"watch": "true", "allowWatchBookmarks": "true"}
    assert second == {
        "watch": "true", "resourceVersion": "5", "labelSelector": "a=b", "fieldSelector": "metadata.name=x",
        "timeoutSeconds": "2", "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan",
    }  # fmt: skip
    assert scripted.requests[0].headers["accept-encoding"] == "identity"


def test_an_error_event_is_raised_after_what_came_before_it(
    scripted: ScriptedServer, client: Client, kit: type[Kit]
) -> None:
    status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version: 1 (5)"}
    scripted.then(kit.chunks(kit.line("ADDED", kit.pod("a")) + kit.line("ERROR", status), end=False))
    watch = client.resource(PODS, "ns").watch()
    assert next(watch).object.name == "a"
    with pytest.raises(c.Expired, match=r"watch pods.v1 ns: too old resource version: 1 \(5\)"):
        next(watch)


@pytest.mark.parametrize("status", [{}, {"code": "x"}, {"kind": "Status", "code": 500}, {"kind": "Pod"}])
def test_an_error_event_without_sense_is_still_an_api_error(
    scripted: ScriptedServer, client: Client, kit: type[Kit], status: Any
) -> None:
    scripted.then(kit.chunks(kit.line("ERROR", status)))
    with pytest.raises(c.ApiError):
        list(client.resource(PODS, "ns").watch())


def test_a_watch_that_is_refused_raises_at_once(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    scripted.then(kit.failure(410, "Expired"), kit.failure(403, "Forbidden"))
    with pytest.raises(c.Expired):
        client.resource(PODS).watch(resource_version="1")
    with pytest.raises(c.Forbidden):
        client.resource(PODS).watch_raw()


@pytest.mark.parametrize(
    "garbage", [b"<html>\n", b'{"type":"ADDED"}\n', b'{"type":"ADDED","object":5}\n', b"\x00\xff\n"]
)
def test_a_line_that_is_no_event_ends_the_watch(
    scripted: ScriptedServer, client: Client, kit: type[Kit], garbage: Any
) -> None:
    scripted.then(kit.chunks(kit.line("ADDED", kit.pod("a")), garbage, kit.line("ADDED", kit.pod("b"))))
    watch = client.resource(PODS, "ns").watch()
    assert next(watch).object.name == "a"
    with pytest.raises(c.ConnectionFailed, match=r"watch pods.v1 ns"):
        next(watch)
    assert list(watch) == []


def test_a_connection_that_breaks_is_an_error_and_one_that_ends_is_not(
    scripted: ScriptedServer, client: Client, kit: type[Kit]
) -> None:
    whole, half = kit.line("ADDED", kit.pod("a")), kit.line("ADDED", kit.pod("b"))[:20]
    scripted.then(kit.chunks(whole), kit.chunks(whole, end=False), kit.chunks(whole, half))
    pods = client.resource(PODS, "ns")
    assert len(list(pods.watch())) == 1
    for says in ("stream broke", "within an event"):
        watch = pods.watch()
        assert next(watch).object.name == "a"
        with pytest.raises(c.ConnectionFailed, match=says):
            next(watch)


def test_chunked_coding_that_is_none_is_an_error(scripted: ScriptedServer, client: Client) -> None:
    def nonsense(handler: Handler, seen: Seen) -> None:
        handler.begin_chunks()
        handler.wfile.write(b"-5\r\nhello\r\n")

    scripted.then(nonsense)
    with pytest.raises(c.ConnectionFailed, match="size of a chunk"):
        next(client.resource(PODS).watch())


def test_silence_ends_in_an_idle_timeout(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    def silent(handler: Handler, seen: Seen) -> None:
        handler.begin_chunks()
        handler.chunk(kit.line("ADDED", kit.pod("a")))
        scripted.ended.wait(30)

    scripted.default = silent
    watch = client.resource(PODS, "ns").watch(idle_timeout=0.2)
    assert next(watch).object.name == "a"
    with pytest.raises(c.IdleTimeout, match=r"nothing came for 0.2 s") as e:
        next(watch)
    assert e.value.retryable
    assert not e.value.ambiguous


def test_the_time_for_the_answer_is_not_the_time_for_events(
    scripted: ScriptedServer, client: Client, kit: type[Kit]
) -> None:
    go = threading.Event()

    def late(handler: Handler, seen: Seen) -> None:
        handler.begin_chunks()
        handler.wfile.flush()
        go.wait(30)
        handler.chunk(kit.line("ADDED", kit.pod("a")))
        handler.wfile.write(b"0\r\n\r\n")

    scripted.then(late)
    watch = client.resource(PODS, "ns").watch(timeout=0.2)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(list, watch)
        assert not client.clock.wait_event(scripted.ended, 0.4)  # twice the timeout
        assert not reading.done()
        go.set()
        assert len(reading.result(10)) == 1


def test_the_head_of_the_answer_has_a_timeout(scripted: ScriptedServer, client: Client) -> None:
    scripted.default = scripted.hang
    with pytest.raises(c.RequestTimeout):
        client.resource(PODS).watch(timeout=0.2)


@pytest.mark.parametrize("raw", [True, False])
def test_close_from_another_thread_ends_the_iteration(
    scripted: ScriptedServer, client: Client, kit: type[Kit], raw: Any
) -> None:
    def silent(handler: Handler, seen: Seen) -> None:
        handler.begin_chunks()
        handler.chunk(kit.line("ADDED", kit.pod("a")))
        scripted.ended.wait(30)

    scripted.default = silent
    pods = client.resource(PODS, "ns")
    watch = pods.watch_raw() if raw else pods.watch()
    first, rest = threading.Event(), []

    def read() -> None:
        for item in watch:
            rest.append(item)
            first.set()

    reader = threading.Thread(target=read, name="reader")
    reader.start()
    assert first.wait(10)
    watch.close()
    reader.join(10)
    assert not reader.is_alive()
    assert len(rest) == 1
    watch.close()
    assert list(watch) == []


def test_close_before_and_between_reads(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    scripted.default = kit.chunks(kit.line("ADDED", kit.pod("a")), kit.line("ADDED", kit.pod("b")))
    pods = client.resource(PODS, "ns")
    with pods.watch() as watch:
        pass
    assert list(watch) == []
    with pods.watch_raw() as raw:
        next(raw)
    assert raw.closed
    assert list(raw) == []


def test_a_burst_comes_in_batches(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    def burst(handler: Handler, seen: Seen) -> None:
        handler.begin_chunks()
        parts = [kit.line("ADDED", kit.pod(f"p{i}")) for i in range(1000)]
        handler.wfile.write(b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n")

    scripted.then(burst)
    batches = list(client.resource(PODS, "ns").watch_raw())
    lines = [line for batch in batches for line in batch]
    assert [c.Unstructured.from_bytes(c.decode_line(line).object).name for line in lines] == [
        f"p{i}" for i in range(1000)
    ]
    assert len(batches) < 100
    assert all(batches)


def test_a_body_that_is_not_chunked_is_read_too(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    def until_close(handler: Handler, seen: Seen) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(kit.line("ADDED", kit.pod("a")) + kit.line("ADDED", kit.pod("b")))
        handler.close_connection = True

    scripted.then(until_close)
    assert [e.object.name for e in client.resource(PODS, "ns").watch()] == ["a", "b"]


@pytest.mark.parametrize("chunked", [True, False])
def test_a_compressed_watch_is_read_as_it_comes(
    scripted: ScriptedServer, client: Client, kit: type[Kit], chunked: Any
) -> None:
    """No API server compresses a watch, but something on the way to it may."""
    go = threading.Event()

    def compressed(handler: Handler, seen: Seen) -> None:
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Connection", "close")))
        handler.end_headers()
        write = handler.chunk if chunked else handler.wfile.write
        deflate = zlib.compressobj(wbits=31)
        write(deflate.compress(kit.line("ADDED", kit.pod("a"))) + deflate.flush(zlib.Z_SYNC_FLUSH))
        assert go.wait(30)
        write(deflate.compress(kit.line("ADDED", kit.pod("b"))) + deflate.flush())
        if chunked:
            handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = True

    scripted.then(compressed)
    watch = client.resource(PODS, "ns").watch()
    assert next(watch).object.name == "a"
    go.set()
    assert [e.object.name for e in watch] == ["b"]


@pytest.mark.parametrize(
    ("cut", "says"), [(lambda body: body[:-12], "cut off"), (lambda body: b"{}" + body, "not gzip")]
)
def test_a_compressed_watch_that_is_cut_or_none_has_failed(
    scripted: ScriptedServer, client: Client, kit: type[Kit], cut: Any, says: Any
) -> None:
    def compressed(handler: Handler, seen: Seen) -> None:
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.chunk(cut(gzip.compress(kit.line("ADDED", kit.pod("a")))))
        handler.wfile.write(b"0\r\n\r\n")

    scripted.then(compressed)
    with pytest.raises(c.ConnectionFailed, match=says):
        list(client.resource(PODS, "ns").watch())
