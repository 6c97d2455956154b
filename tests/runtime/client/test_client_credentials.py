"""Credentials and TLS against real sockets: tokens that rotate, plugins, client certificates, proxies."""

from __future__ import annotations

import base64
import json
import os
import shutil
import ssl
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import certifi
import pytest
import yaml

from runtime import GVR
from runtime.client import Client, ConfigError, ConnectionFailed, Unauthorized, load_client
from runtime.client._http import Connection
from runtime.client._plain import PlainTransport
from runtime.testing import FakeClock

if TYPE_CHECKING:
    from tests.runtime.client.conftest import Handler, Kit, ScriptedServer, Seen


PODS = GVR("", "v1", "pods")
V1 = "client.authentication.k8s.io/v1"
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes certificates with openssl")


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("KUBE") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Any:
    def write(server: str, user: Any = None, **cluster: Any) -> Any:
        path = tmp_path / "kubeconfig"
        content = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
            "users": [{"name": "u", "user": user or {}}],
        }
        path.write_text(yaml.safe_dump(content))
        return str(path)

    return write


def authorizations(scripted: ScriptedServer) -> Any:
    return [r.headers.get("authorization") for r in scripted.requests]


@pytest.mark.parametrize(
    ("user", "header"),
    [
        ({}, None),
        ({"token": "t"}, "Bearer t"),
        ({"token": "t", "exec": {"apiVersion": V1, "command": "no-such-plugin"}}, "Bearer t"),
        ({"username": "u", "password": "p"}, "Basic " + base64.b64encode(b"u:p").decode()),
    ],
)
def test_static_credentials(
    scripted: ScriptedServer, kit: type[Kit], kubeconfig: Callable[..., str], user: Any, header: Any
) -> None:
    scripted.default = kit.answer(kit.pod("a"))
    with load_client(kubeconfig(scripted.url + "/base/", user)) as client:
        client.resource(PODS, "ns").get("a")
    assert authorizations(scripted) == [header]
    assert scripted.requests[0].path == "/base/api/v1/namespaces/ns/pods/a"


def test_a_token_file_is_read_again_when_it_changes(
    scripted: ScriptedServer, kit: type[Kit], kubeconfig: Callable[..., str], tmp_path: Path
) -> None:
    scripted.default = kit.answer(kit.pod("a"))
    file = tmp_path / "token"
    file.write_text("one\n")
    with load_client(kubeconfig(scripted.url, {"tokenFile": "token", "token": "inline"})) as client:
        pods = client.resource(PODS, "ns")
        pods.get("a")
        (tmp_path / "next").write_text("two")
        (tmp_path / "next").rename(file)  # as the kubelet does it
        pods.get("a")
        for useless in (b"", b"a\nb", b"\xff"):
            file.write_bytes(useless)
            pods.get("a")
        file.unlink()
        pods.get("a")
    assert authorizations(scripted) == ["Bearer one"] + ["Bearer two"] * 5


@pytest.mark.parametrize(("renewed", "sent"), [(None, 1), ("one\n", 1), ("two", 2)])
def test_a_refused_token_of_a_file_is_sent_again_only_if_it_has_changed(
    scripted: ScriptedServer,
    kit: type[Kit],
    kubeconfig: Callable[..., str],
    tmp_path: Path,
    renewed: str | None,
    sent: int,
) -> None:
    file = tmp_path / "token"
    file.write_text("one")

    def refuse(handler: Handler, seen: Seen) -> None:
        if renewed is not None:
            file.write_text(renewed)
        kit.failure(401, "Unauthorized")(handler, seen)

    scripted.default = refuse
    with load_client(kubeconfig(scripted.url, {"tokenFile": "token"})) as client, pytest.raises(Unauthorized):
        client.resource(PODS, "ns").get("a")
    assert authorizations(scripted) == ["Bearer one", "Bearer two"][:sent]


def test_closing_a_client_closes_its_idle_connections(scripted: ScriptedServer, kit: type[Kit]) -> None:
    scripted.default = kit.answer(kit.pod("a"))
    client = Client(scripted.url)
    client.resource(PODS, "ns").get("a")
    pools = client._sender.transport.connection().pool.pools
    queues: list[Any] = [pools[key].pool for key in pools.keys()]  # noqa: SIM118
    sockets = [connection.sock for queue in queues for connection in queue.queue if connection is not None]
    assert [sock.fileno() > 0 for sock in sockets] == [True]
    client.close()
    assert [sock.fileno() for sock in sockets] == [-1]


class Plugin:
    """A real exec plugin: prints what is in a file, and counts its runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "plugin.sh"
        self.path.write_text(
            f'#!/bin/sh\necho run >> "{folder}/runs"\nprintf %s "$KUBERNETES_EXEC_INFO" > "{folder}/info"\n'
            f'echo "$EXTRA $1" > "{folder}/args"\ncat "{folder}/answer"\n'
        )
        self.path.chmod(self.path.stat().st_mode | stat.S_IXUSR)

    def answers(self, expires: datetime | None = None, **status: str) -> None:
        if expires is not None:
            status["expirationTimestamp"] = expires.strftime("%Y-%m-%dT%H:%M:%SZ")
        answer = {"kind": "ExecCredential", "apiVersion": V1, "status": status}
        (self.folder / "answer").write_text(json.dumps(answer))

    def breaks(self) -> None:
        (self.folder / "answer").write_text("broken")

    @property
    def runs(self) -> int:
        return len((self.folder / "runs").read_text().splitlines())

    def user(self, **more: Any) -> dict[str, Any]:
        return {"exec": {"apiVersion": V1, "command": "./plugin.sh", **more}}


@pytest.fixture
def plugin(tmp_path: Path) -> Any:
    return Plugin(tmp_path)


def test_a_plugin_is_run_once_and_again_before_its_token_expires(
    scripted: ScriptedServer, kit: type[Kit], kubeconfig: Callable[..., str], plugin: Plugin
) -> None:
    scripted.default = kit.answer(kit.pod("a"))
    clock = FakeClock()
    plugin.answers(clock.now() + timedelta(minutes=10), token="one")
    extra = {"args": ["arg"], "env": [{"name": "EXTRA", "value": "x"}], "provideClusterInfo": True}
    with load_client(kubeconfig(scripted.url, plugin.user(**extra)), clock=clock) as client:
        pods = client.resource(PODS, "ns")
        pods.get("a")
        pods.get("a")
        assert plugin.runs == 1
        clock.advance(9.5 * 60)
        plugin.answers(clock.now() + timedelta(minutes=10), token="two")
        pods.get("a")
        pods.get("a")
        assert plugin.runs == 2
    assert authorizations(scripted) == ["Bearer one"] * 2 + ["Bearer two"] * 2
    assert (plugin.folder / "args").read_text() == "x arg\n"
    info = json.loads((plugin.folder / "info").read_text())
    assert info["spec"]["cluster"] == {"server": scripted.url}
    assert info["spec"]["interactive"] is False


def test_a_plugin_that_breaks_hurts_when_its_last_token_has_expired(
    scripted: ScriptedServer, kit: type[Kit], kubeconfig: Callable[..., str], plugin: Plugin
) -> None:
    scripted.default = kit.answer(kit.pod("a"))
    clock = FakeClock()
    plugin.answers(clock.now() + timedelta(minutes=10), token="one")
    with load_client(kubeconfig(scripted.url, plugin.user()), clock=clock) as client:
        pods = client.resource(PODS, "ns")
        plugin.breaks()
        clock.advance(9.5 * 60)
        pods.get("a")
        clock.advance(60)
        with pytest.raises(ConnectionFailed, match=r"no credentials for .*user 'u': exec: .*not JSON") as e:
            pods.create(kit.pod("a"))
        assert e.value.retryable
        assert not e.value.ambiguous
        plugin.answers(token="two")
        pods.get("a")
    assert authorizations(scripted) == ["Bearer one", "Bearer two"]


def test_a_refused_token_is_renewed_once(
    scripted: ScriptedServer, kit: type[Kit], kubeconfig: Callable[..., str], plugin: Plugin
) -> None:
    clock = FakeClock()
    plugin.answers(token="one")
    scripted.then(kit.answer(kit.pod("a")), kit.failure(401, "Unauthorized"), kit.answer(kit.pod("a")))
    scripted.default = kit.failure(401, "Unauthorized")
    with load_client(kubeconfig(scripted.url, plugin.user()), clock=clock) as client:
        pods = client.resource(PODS, "ns")
        pods.get("a")
        clock.advance(10)
        plugin.answers(token="two")
        assert pods.create(kit.pod("a")).name == "a"
        assert plugin.runs == 2
        for _ in range(3):
            with pytest.raises(Unauthorized):
                pods.get("a")
        assert plugin.runs == 2  # not again within seconds
    assert authorizations(scripted)[:3] == ["Bearer one", "Bearer one", "Bearer two"]


@pytest.fixture(scope="session")
def pki(tmp_path_factory: Any) -> Any:
    """An authority, a server certificate for ``server.test``, and two client certificates."""
    folder = tmp_path_factory.mktemp("pki")

    def openssl(*args: str) -> None:
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True, timeout=60)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca", "-days", "2")
    for name, san in (("server", "DNS:server.test"), ("local", "IP:127.0.0.1"), ("one", "DNS:one"), ("two", "DNS:two")):
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "ext").write_text(f"subjectAltName={san}\n")
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", f"{name}.crt", "-days", "2", "-extfile", "ext",
        )  # fmt: skip
    return folder


@pytest.fixture
def secure(pki: Path, kit: type[Kit]) -> Iterator[Any]:
    """A TLS server that demands a client certificate and answers with its common name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "server.crt", pki / "server.key")
    context.load_verify_locations(pki / "ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL

    def who(handler: Handler, seen: Seen) -> None:
        subject = dict(pair for group in (handler.connection.getpeercert() or {}).get("subject", ()) for pair in group)
        kit.answer(kit.pod(subject.get("commonName", "nobody")))(handler, seen)

    server = kit.Server(tls=context)
    server.default = who
    server.start()
    yield server
    server.stop()


def data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


@needs_openssl
@pytest.mark.parametrize("inline", [True, False])
def test_client_certificates(secure: ScriptedServer, pki: Path, kubeconfig: Callable[..., str], inline: Any) -> None:
    if inline:
        user = {"client-certificate-data": data(pki / "one.crt"), "client-key-data": data(pki / "one.key")}
        cluster = {"certificate-authority-data": data(pki / "ca.crt")}
    else:
        user = {"client-certificate": str(pki / "one.crt"), "client-key": str(pki / "one.key")}
        cluster = {"certificate-authority": str(pki / "ca.crt")}
    with load_client(kubeconfig(secure.url, user, **cluster, **{"tls-server-name": "server.test"})) as client:
        assert client.resource(PODS, "ns").get("me").name == "one"


@needs_openssl
def test_who_the_server_is_gets_verified(secure: ScriptedServer, pki: Path, kubeconfig: Callable[..., str]) -> None:
    authority = {"certificate-authority": str(pki / "ca.crt")}
    for cluster in ({}, authority, {**authority, "tls-server-name": "other.test"}):
        with (
            load_client(kubeconfig(secure.url, **cluster)) as client,
            pytest.raises(ConnectionFailed, match="no TLS with") as e,
        ):
            client.resource(PODS, "ns").get("me")
        assert not e.value.retryable
        assert not e.value.ambiguous


@needs_openssl
@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_verification_can_be_switched_off(secure: ScriptedServer, kubeconfig: Callable[..., str]) -> None:
    with load_client(kubeconfig(secure.url, **{"insecure-skip-tls-verify": True})) as client:
        assert client.resource(PODS, "ns").get("me").name == "nobody"
    with Client(secure.url, insecure_skip_tls_verify=True) as client:
        assert client.resource(PODS, "ns").get("me").name == "nobody"


@needs_openssl
def test_a_client_by_url_takes_a_ca_file(secure: ScriptedServer, pki: Path) -> None:
    with Client(secure.url, ca_file=str(pki / "ca.crt")) as client, pytest.raises(ConnectionFailed, match="no TLS"):
        client.resource(PODS, "ns").get("me")  # trusted, but 127.0.0.1 is not its name
    with pytest.raises(ConfigError, match="does not exist"):
        Client(secure.url, ca_file=str(pki / "nope"))
    with pytest.raises(ConfigError, match="holds no PEM certificate"):
        Client(secure.url, ca_file=str(pki / "server.key"))


@needs_openssl
def test_a_plugin_may_give_certificates_that_are_renewed(
    secure: ScriptedServer, pki: Path, kubeconfig: Callable[..., str], plugin: Plugin
) -> None:
    clock = FakeClock()

    def give(name: str) -> None:
        plugin.answers(
            clock.now() + timedelta(minutes=10),
            clientCertificateData=(pki / f"{name}.crt").read_text(),
            clientKeyData=(pki / f"{name}.key").read_text(),
        )

    give("one")
    cluster = {"certificate-authority": str(pki / "ca.crt"), "tls-server-name": "server.test"}
    before = set(Path("/tmp").glob("client-certificate-*"))
    with load_client(kubeconfig(secure.url, plugin.user(), **cluster), clock=clock) as client:
        pods = client.resource(PODS, "ns")
        assert pods.get("me").name == "one"
        give("two")
        clock.advance(9.5 * 60)
        assert pods.get("me").name == "two"
    del client, pods
    assert set(Path("/tmp").glob("client-certificate-*")) <= before


def proxied(scripted: ScriptedServer, kit: type[Kit]) -> Any:
    """Plain HTTP through a proxy asks it for the whole URL."""
    scripted.default = kit.answer(kit.pod("a"))
    return "http://no-such-host.invalid:80"


def test_the_proxy_of_the_cluster_is_used(
    scripted: ScriptedServer, kit: type[Kit], kubeconfig: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "no-such-host.invalid")  # is about the environment's proxies
    server = proxied(scripted, kit)
    with load_client(kubeconfig(server, {"token": "t"}, **{"proxy-url": scripted.url})) as client:
        assert client.resource(PODS, "ns").get("a").name == "a"
    assert urlsplit(scripted.requests[0].path).hostname == "no-such-host.invalid"


def test_the_proxy_of_the_environment_is_used_unless_it_is_excepted(
    scripted: ScriptedServer, kit: type[Kit], kubeconfig: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = proxied(scripted, kit)
    monkeypatch.setenv("HTTP_PROXY", scripted.url)
    monkeypatch.setenv("http_proxy", scripted.url)
    with load_client(kubeconfig(server)) as client:
        assert client.resource(PODS, "ns").get("a").name == "a"
    monkeypatch.setenv("NO_PROXY", ".invalid")
    monkeypatch.setenv("no_proxy", ".invalid")
    with load_client(kubeconfig(server)) as client, pytest.raises(ConnectionFailed) as e:
        client.resource(PODS, "ns").get("a")
    assert not e.value.sent
    assert len(scripted.requests) == 1


@needs_openssl
def test_in_a_pod_the_rotated_token_is_used(
    secure: ScriptedServer, pki: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from runtime.client import _loading

    host, port = secure.url.removeprefix("https://").split(":")
    shutil.copy(pki / "ca.crt", tmp_path / "ca.crt")
    (tmp_path / "token").write_text("one")
    monkeypatch.setattr(_loading, "SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    client = load_client()
    transport = client._sender.transport
    assert transport.connection().headers == {"Authorization": "Bearer one"}
    (tmp_path / "token").write_text("second")
    assert transport.connection().headers == {"Authorization": "Bearer second"}
    assert transport.connection().pool is transport.connection().pool
    client.close()


@needs_openssl
def test_a_rotated_authority_is_trusted_without_a_new_client(
    kit: type[Kit], pki: Path, kubeconfig: Callable[..., str], tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "local.crt", pki / "local.key")
    server = kit.Server(tls=context)
    server.default = kit.answer(kit.pod("a"))
    server.start()
    authority = tmp_path / "ca.crt"
    shutil.copy(certifi.where(), authority)
    try:
        with load_client(kubeconfig(server.url, {"token": "t"}, **{"certificate-authority": str(authority)})) as client:
            pods = client.resource(PODS, "ns")
            with pytest.raises(ConnectionFailed, match="no TLS"):
                pods.get("a")
            shutil.copy(pki / "ca.crt", authority)
            assert pods.get("a").name == "a"
    finally:
        server.stop()
    assert server.requests[-1].headers["authorization"] == "Bearer t"


def test_expiry_is_read_with_its_timezone() -> None:
    from runtime.client import parse_time

    assert parse_time("2026-01-01T00:00:00Z") == datetime(2026, 1, 1, tzinfo=UTC)


@needs_openssl
def test_a_watch_over_tls_is_closed_from_another_thread(
    secure: ScriptedServer, kit: type[Kit], pki: Path, kubeconfig: Callable[..., str]
) -> None:
    def silent(handler: Handler, seen: Seen) -> None:
        handler.begin_chunks()
        handler.chunk(kit.line("ADDED", kit.pod("a")))
        secure.ended.wait(30)

    secure.default = silent
    cluster = {"certificate-authority": str(pki / "ca.crt"), "tls-server-name": "server.test"}
    with load_client(kubeconfig(secure.url, **cluster)) as client, ThreadPoolExecutor(1) as pool:
        watch = client.resource(PODS, "ns").watch_raw()
        assert len(next(watch)) == 1
        reading = pool.submit(list, watch)
        assert wait_until(lambda: watch._reading)
        watch.close()
        assert reading.result(10) == []


def wait_until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    return condition()


class EverNew(PlainTransport):
    """Has other credentials each time it is asked."""

    def connection(self, refused: Connection | None = None) -> Connection:
        return super().connection()._replace(headers={})


def test_a_refusal_of_renewed_credentials_is_final(scripted: ScriptedServer, kit: type[Kit]) -> None:
    scripted.then(*[kit.failure(401, "Unauthorized")] * 4)
    scripted.default = kit.answer(kit.pod("a"))
    with Client(transport=EverNew(scripted.url, None, None, False)) as client, pytest.raises(Unauthorized):
        client.resource(PODS, "ns").get("a")
    assert len(scripted.requests) == 2
