"""Connections over TLS, and clients that show certificates."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime import GVR
from runtime.client import Unauthorized, load_client
from runtime.testing.apiserver import FakeAPIServer
from runtime.testing.apiserver.tls import server_context, shake_hands
from runtime.tls.certs import Authority, KeyPair
from tests.runtime.testing.apiserver.apiserver_helpers import CONFIGMAPS, eventually

WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


@pytest.fixture(autouse=True)
def no_key_files_left() -> Iterator[None]:
    """The official client keeps inline certificates and keys in temporary files until the process ends."""
    yield
    loader = sys.modules.get("kubernetes.config.kube_config")
    if loader is not None:
        loader._cleanup_temp_files()


@pytest.fixture
def secure() -> Iterator[FakeAPIServer]:
    with FakeAPIServer(authorization_mode="RBAC", tls=True, namespace_deletion_delay=0.0) as running:
        yield running


def trusting(server: FakeAPIServer, pair: KeyPair | None = None, folder: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(server.ca_file))
    if pair is not None:
        assert folder is not None
        (folder / "client.pem").write_bytes(pair.certificate + pair.key)
        context.load_cert_chain(folder / "client.pem")
    return context


def ask(server: FakeAPIServer, context: ssl.SSLContext, method: str = "POST", path: str = WHO, **headers: str) -> Any:
    connection = http.client.HTTPSConnection("localhost", server.port, context=context, timeout=20)
    try:
        connection.request(method, path, b"{}" if method == "POST" else None, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_a_certificate_says_who_asks(secure: FakeAPIServer, tmp_path: Path) -> None:
    context = trusting(secure, secure.client_certificate("jane", ["dev", "ops"]), tmp_path)
    status, body = ask(secure, context)
    assert status == 201
    info = body["status"]["userInfo"]
    [credential] = info.pop("extra")["authentication.kubernetes.io/credential-id"]
    assert credential.startswith("X509SHA256=")
    assert info == {"username": "jane", "groups": ["dev", "ops", "system:authenticated"]}
    assert ask(secure, context, "GET", CONFIGMAPS)[0] == 403
    for token in (secure.token("joe"), "wrong"):  # who shows a certificate is not asked for a token
        answer = ask(secure, context, Authorization=f"Bearer {token}")[1]
        assert answer["status"]["userInfo"]["username"] == "jane"
    masters = trusting(secure, secure.client_certificate("root", ["system:masters"]), tmp_path)
    assert ask(secure, masters, "GET", CONFIGMAPS)[0] == 200


def test_tokens_work_over_tls_too(secure: FakeAPIServer) -> None:
    context = trusting(secure)
    token = secure.token("joe")
    assert ask(secure, context, Authorization=f"Bearer {token}")[1]["status"]["userInfo"]["username"] == "joe"
    assert ask(secure, context, Authorization="Bearer wrong")[0] == 401
    assert ask(secure, context)[0] == 403  # anonymous


def test_a_certificate_of_somebody_else_is_refused(secure: FakeAPIServer, tmp_path: Path) -> None:
    forged = Authority.create().client("root", ["system:masters"])
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(secure, trusting(secure, forged, tmp_path))


def test_nobody_trusts_it_by_chance(secure: FakeAPIServer) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(secure, ssl.create_default_context())


def test_our_client_and_kubeconfigs(secure: FakeAPIServer, tmp_path: Path) -> None:
    configmaps = GVR("", "v1", "configmaps")
    with secure.client() as client:
        client.resource(configmaps, "default").create({"metadata": {"name": "a"}})
        seen = []
        with client.resource(configmaps, "default").watch(resource_version="0") as watch:
            for event in watch:
                seen.append(event.object.name)
                break
        assert seen == ["a"]
    by_certificate = secure.kubeconfig(tmp_path / "certificate", certificate=True)
    by_token = secure.kubeconfig(tmp_path / "token", user="jane", groups=["system:masters"])
    for path in (by_certificate, by_token):
        with load_client(str(path)) as client:
            assert client.resource(configmaps, "default").get("a").name == "a"
    assert {each.user for each in secure.requests} == {"system:admin", "jane"}


@pytest.mark.kubectl
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl in PATH")
def test_kubectl_with_a_certificate(secure: FakeAPIServer, tmp_path: Path) -> None:
    config = secure.kubeconfig(tmp_path / "config", user="jane", groups=["dev"], certificate=True)
    found = subprocess.run(
        ["kubectl", "--kubeconfig", str(config), "auth", "whoami", "-o", "json"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["status"]["userInfo"]["groups"] == ["dev", "system:authenticated"]


def test_your_own_certificates(tmp_path: Path) -> None:
    authority = Authority.create("mine")
    pair, jane = authority.serving(["localhost"]), authority.client("jane")
    for name, data in (("ca", authority.certificate), ("crt", pair.certificate), ("key", pair.key)):
        (tmp_path / name).write_bytes(data)
    with FakeAPIServer(
        tls_cert_file=tmp_path / "crt", tls_private_key_file=tmp_path / "key", client_ca_file=tmp_path / "ca"
    ) as server:
        assert server.url.startswith("https://")
        context = ssl.create_default_context(cafile=str(tmp_path / "ca"))
        assert ask(server, context)[0] == 401  # whoever accepts certificates wants to know who asks
        (tmp_path / "jane").write_bytes(jane.certificate + jane.key)
        context.load_cert_chain(tmp_path / "jane")
        assert ask(server, context)[1]["status"]["userInfo"]["username"] == "jane"
        with pytest.raises(ValueError, match="no authority"):
            server.client_certificate("joe")


def test_a_client_ca_alone_has_the_rest_made(tmp_path: Path) -> None:
    authority = Authority.create("mine")
    (tmp_path / "ca").write_bytes(authority.certificate)
    with FakeAPIServer(client_ca_file=tmp_path / "ca") as server:
        assert ask(server, trusting(server, authority.client("jane"), tmp_path))[0] == 201
        assert ask(server, trusting(server, server.client_certificate("joe"), tmp_path))[0] == 201
        with server.client() as client:
            assert client.resource(GVR("", "v1", "namespaces")).get("default").name == "default"


def test_plain_http_is_told_so(secure: FakeAPIServer) -> None:
    with socket.create_connection(("127.0.0.1", secure.port), timeout=20) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = sock.recv(4096)
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert b"HTTP request to an HTTPS server" in answer


def test_whoever_says_nothing_does_not_keep_others_waiting(secure: FakeAPIServer) -> None:
    with socket.create_connection(("127.0.0.1", secure.port), timeout=20):
        token = secure.token("joe")
        assert ask(secure, trusting(secure), Authorization=f"Bearer {token}")[0] == 201


def test_a_watch_ends_when_its_client_goes_and_when_the_server_stops(secure: FakeAPIServer, tmp_path: Path) -> None:
    context = trusting(secure, secure.client_certificate("root", ["system:masters"]), tmp_path)

    def open_watch() -> tuple[http.client.HTTPSConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPSConnection("localhost", secure.port, context=context, timeout=20)
        connection.request("GET", f"{CONFIGMAPS}?watch=1")
        return connection, connection.getresponse()

    connection, response = open_watch()
    assert response.status == 200
    response.close()
    connection.close()
    eventually(lambda: secure.connections == 0)
    connection, response = open_watch()
    ended = threading.Event()

    def read() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            response.read()
        ended.set()

    reader = threading.Thread(target=read, name="tls-reader")
    reader.start()
    secure.stop()
    assert ended.wait(20)
    reader.join()
    connection.close()


def test_who_says_nothing_is_given_up() -> None:
    pair = Authority.create().serving(["localhost"])
    context = server_context(pair.certificate, pair.key)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        encrypted = context.wrap_socket(ours, server_side=True, do_handshake_on_connect=False)
        with encrypted, pytest.raises(TimeoutError):
            shake_hands(encrypted, 0.01)


def test_what_is_no_certificate_is_named() -> None:
    with pytest.raises(ValueError, match="cannot be used"):
        server_context(b"nonsense", b"nonsense")
    pair = Authority.create().serving(["localhost"])
    other = Authority.create().serving(["localhost"])
    with pytest.raises(ValueError, match="cannot be used"):
        server_context(pair.certificate, other.key)
    with pytest.raises(ValueError, match="cannot be used"):
        server_context(
            pair.certificate, pair.key, b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"
        )


def test_the_ca_file_goes_with_the_server() -> None:
    with FakeAPIServer(tls=True) as server:
        path = server.ca_file
        assert path is not None
        assert path.read_bytes().startswith(b"-----BEGIN CERTIFICATE")
    assert not path.exists()
    with FakeAPIServer() as plain:
        assert plain.ca_file is None
        assert plain.url.startswith("http://")
        with pytest.raises(ValueError, match="tls=True"):
            plain.client_certificate("jane")


def test_who_is_not_known_is_refused_by_our_client(tmp_path: Path) -> None:
    with FakeAPIServer(tls=True, anonymous_auth=False, authorization_mode="RBAC") as server:
        path = server.kubeconfig(tmp_path / "config", user="jane")
        path.write_text(path.read_text().replace("token: ", "token: x"))
        with load_client(str(path)) as client, pytest.raises(Unauthorized):
            client.resource(GVR("", "v1", "namespaces")).list()


@pytest.mark.parametrize("host", ["0.0.0.0", "localhost", ""])
def test_the_certificate_is_one_for_the_url(host: str) -> None:
    with FakeAPIServer(host=host, tls=True) as server, server.client() as client:
        assert client.request("GET", "/version").status == 200
