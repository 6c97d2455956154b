"""What stands between a client and its server: slow lines, old proxies, restarts, and objects beyond all measure."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from runtime import GVR
from runtime import client as c
from runtime.client import Client, Unstructured

if TYPE_CHECKING:
    from tests.runtime.client.conftest import Handler, Kit, ScriptedServer, Seen

PODS = GVR("", "v1", "pods")


@pytest.mark.parametrize("head", [b"Content-Length: 1000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n"])
def test_the_timeout_bounds_a_body_of_which_some_bytes_keep_coming(
    scripted: ScriptedServer, client: Client, head: bytes
) -> None:
    def trickle(handler: Handler, seen: Seen) -> None:
        handler.close_connection = True
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + head)
        for _ in range(1000):
            if scripted.ended.wait(0.05):
                return
            try:
                handler.wfile.write(b" ")
            except OSError:
                return

    scripted.default = trickle
    begun = time.monotonic()
    with pytest.raises(c.RequestTimeout):
        client.resource(PODS, "ns").get("a", timeout=0.3)
    assert time.monotonic() - begun < 5  # the whole body takes 50 s


@pytest.mark.parametrize(
    ("head", "event"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\n", b"%b"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"%b"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n", b"%x\r\n%b\r\n"),
    ],
)
def test_events_come_at_once_on_a_connection_that_ends_with_its_answer(
    scripted: ScriptedServer, client: Client, kit: type[Kit], head: bytes, event: bytes
) -> None:
    """An old proxy speaks HTTP/1.0, and an API server that shuts down closes: neither holds events back."""
    seen_first = threading.Event()
    line = kit.line("ADDED", kit.pod("a"))
    piece = event % ((len(line), line) if b"%x" in event else line)

    def serve(handler: Handler, seen: Seen) -> None:
        handler.close_connection = True
        handler.wfile.write(head + piece)
        seen_first.wait(10)
        scripted.ended.wait(0.4)  # twice the timeout for the answer's head
        handler.wfile.write(piece + (b"0\r\n\r\n" if b"%x" in event else b""))

    scripted.then(serve)
    names = []
    for received in client.resource(PODS, "ns").watch(timeout=0.2):
        names.append(received.object.name)
        assert seen_first.is_set() or len(names) == 1
        seen_first.set()
    assert names == ["a", "a"]


def test_the_idle_timeout_counts_there_too(scripted: ScriptedServer, client: Client) -> None:
    def silent(handler: Handler, seen: Seen) -> None:
        handler.close_connection = True
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        scripted.ended.wait(30)

    scripted.then(silent)
    with pytest.raises(c.IdleTimeout, match=r"nothing came for 0.2 s"):
        next(client.resource(PODS, "ns").watch(idle_timeout=0.2))


def test_a_server_that_goes_during_the_tls_handshake_may_come_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            for _ in range(2):  # a read is repeated once
                connection, _ = listener.accept()
                # The whole hello is read first: closing with bytes unread is a reset, closing after them an end.
                connection.recv(1 << 16)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):
                    pass
                connection.close()

        server = threading.Thread(target=hang_up, name="hangs-up")
        server.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with (
            Client(url, insecure_skip_tls_verify=True) as client,
            pytest.raises(c.ConnectionFailed, match="broke") as e,
        ):
            client.resource(PODS, "ns").get("a", timeout=5)
        server.join(10)
    assert e.value.retryable
    assert e.value.ambiguous


def test_an_object_nested_beyond_measure_is_a_value_error() -> None:
    nested = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    deep = b'{"metadata":{"name":"a"},"spec":' + nested + b"}"
    with pytest.raises(ValueError, match="nested too deep"):
        Unstructured.from_bytes(deep)
    with pytest.raises(ValueError, match="nested too deep"):
        c.decode_line(b'{"type":"ADDED","object":' + deep + b"}")


def test_a_list_with_an_object_nested_beyond_measure_is_an_error_of_the_call(
    scripted: ScriptedServer, client: Client, kit: type[Kit]
) -> None:
    nested = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    scripted.then(kit.answer(b'{"kind":"PodList","items":[' + nested + b"]}"))
    with pytest.raises(c.ConnectionFailed, match="nested too deep"):
        client.resource(PODS, "ns").list()


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://127.0.0.1:http", "http://[::1"])
def test_a_url_whose_port_is_none_is_refused(url: str) -> None:
    with pytest.raises(c.ConfigError, match="is not the URL of an API server"):
        Client(url)


def test_a_token_that_no_header_can_carry_is_refused_and_not_shown() -> None:
    with pytest.raises(c.ConfigError, match=r"the token .*line end") as e:
        Client("http://127.0.0.1:1", token="secret\n")
    assert "secret" not in str(e.value)


def test_discovery_looks_again_for_a_kind_it_does_not_know(
    scripted: ScriptedServer, client: Client, kit: type[Kit]
) -> None:
    """A CRD may be installed after the first look, into a new group or into one that is known."""
    things = {"name": "things", "singularName": "thing", "kind": "Thing", "namespaced": True, "verbs": ["get"]}
    others = {**things, "name": "others", "singularName": "other", "kind": "Other"}
    served: dict[str, object] = {"/api": {"versions": ["v1"]}, "/apis": {"groups": []}, "/api/v1": {"resources": []}}

    def act(handler: Handler, seen: Seen) -> None:
        found = served.get(seen.path)
        (kit.failure(404, "NotFound") if found is None else kit.answer(found))(handler, seen)

    scripted.default = act
    discovery = client.discovery
    assert discovery.find("thing") is None
    version = {"groupVersion": "new.io/v1", "version": "v1"}
    served["/apis"] = {"groups": [{"name": "new.io", "versions": [version], "preferredVersion": version}]}
    served["/apis/new.io/v1"] = {"resources": [things]}
    assert discovery.find("thing") is not None
    assert discovery.find("other") is None
    assert discovery.gvr_for("new.io/v1", "Other") is None
    served["/apis/new.io/v1"] = {"resources": [things, others]}
    assert discovery.gvr_for("new.io/v1", "Other") == GVR("new.io", "v1", "others")
    assert discovery.find("other") is not None


def test_a_server_that_is_starting_has_no_groups_to_remember(
    scripted: ScriptedServer, client: Client, kit: type[Kit]
) -> None:
    scripted.default = kit.failure(503, "ServiceUnavailable")
    with pytest.raises(c.ServiceUnavailable):
        client.discovery.groups()


@pytest.mark.parametrize("verb", ["get", "delete"])
def test_a_write_that_was_cut_off_may_have_taken_effect(scripted: ScriptedServer, client: Client, verb: str) -> None:
    interrupt = c.Interrupt()

    def cut(handler: Handler, seen: Seen) -> None:
        interrupt.set()
        scripted.hang(handler, seen)

    scripted.then(cut)
    with pytest.raises(c.Cancelled, match="cut off") as e:
        getattr(client.bound(stop=interrupt).resource(PODS, "ns"), verb)("a")
    assert e.value.ambiguous is (verb == "delete")
    assert not e.value.retryable
