"""What a request for ports must have, and the server around it: rights, audit, faults, its end, TLS."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from pathlib import Path

import pytest

from runtime.testing import FakeAPIServer
from runtime.testing.apiserver.streams import spdy
from tests.runtime.testing.apiserver.apiserver_helpers import PODS, Http
from tests.runtime.testing.apiserver.streams.conftest import locate
from tests.runtime.testing.apiserver.streams.streams_helpers import (
    ADDRESS,
    CHANNELS,
    LARGE,
    PATIENCE,
    SPDY,
    TUNNEL,
    SpdyClient,
    Upgraded,
    WebSocketClient,
    both,
    echo,
    make_pod,
    port_forward_path,
    program,
    uid_of,
    web_socket,
)
from tests.support.waiting import eventually


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
