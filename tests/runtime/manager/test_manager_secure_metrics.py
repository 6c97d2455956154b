"""Metrics for those only who may read them."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import shutil
import socket
import ssl
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import NamedTuple

import pytest

from runtime.logging import configure, reset
from runtime.manager import BadOption, Manager
from runtime.manager.certificates import FileCertificate, SelfSignedCertificate
from runtime.testing import FakeAPIServer, FakeClock
from runtime.tls.certs import LIFETIME, Authority
from runtime.types import GVR, JSONObject
from tests.support.managers import ON, eventually, running

DOCS = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"
TOKENS = """\
admin-token,admin,1,system:masters
manager-token,manager,2
scraper-token,prometheus,3
group-token,agent,4,"other,scrapers"
jane-token,jane,5,dev
"""
BINDINGS = GVR("rbac.authorization.k8s.io", "v1", "clusterrolebindings")
ROLES = GVR("rbac.authorization.k8s.io", "v1", "clusterroles")


class Answer(NamedTuple):
    status: int
    text: str
    headers: Message


def get(manager: Manager, token: str | None = None, *, ca: bytes | None = None, header: str = "") -> Answer:
    """GET /metrics by HTTPS; without ``ca`` whoever answers is trusted."""
    context = ssl.create_default_context(cadata=ca.decode() if ca else None)
    if ca is None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = urllib.request.Request(f"https://{address_of(manager)}/metrics")
    if token is not None or header:
        request.add_header("Authorization", header or f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as reply:
            return Answer(reply.status, reply.read().decode(), reply.headers)
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read().decode(), error.headers)


def address_of(manager: Manager) -> str:
    return eventually(lambda: manager.metrics_address)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All lines, whatever their level."""
    stream = io.StringIO()
    configure("debug", "json", stream)
    yield stream
    reset()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[FakeAPIServer]:
    """An API server with the roles of docs/metrics.md: the manager may ask it, and prometheus may get /metrics."""
    tokens = tmp_path / "tokens.csv"
    tokens.write_text(TOKENS)
    (roles,) = re.findall(r"```yaml\n(.+?)```", DOCS.read_text(), re.DOTALL)
    (tmp_path / "roles.yaml").write_text(roles)
    with FakeAPIServer(token_auth_file=tokens, authorization_mode="RBAC") as server, server.client() as admin:
        server.apply_manifests(tmp_path / "roles.yaml")
        for role, kind, name in (
            ("metrics-auth", "User", "manager"),
            ("metrics-reader", "User", "prometheus"),
            ("metrics-reader", "Group", "scrapers"),
        ):
            admin.resource(BINDINGS).create(binding(role, kind, name))
        yield server


def binding(role: str, kind: str, name: str) -> JSONObject:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"{role}-{name}"},
        "roleRef": {"apiGroup": BINDINGS.group, "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": kind, "name": name, "apiGroup": BINDINGS.group}],
    }


def reviews(server: FakeAPIServer) -> list[str]:
    wanted = ("tokenreviews", "subjectaccessreviews")
    return [entry.resource for entry in server.requests if entry.resource in wanted]


def test_only_who_may_reads_the_metrics(guarded: FakeAPIServer, log: io.StringIO) -> None:
    manager = Manager(guarded.client("manager"), metrics_secure=True, **ON)
    with running(manager):
        for header in (
            "",
            "Bearer",
            "Bearer ",
            "Basic scraper-token",
            "scraper-token",
            "Bearer a b",
            "Bearer " + "x" * 9000,
        ):
            nobody = get(manager, header=header)
            assert (nobody.status, nobody.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert reviews(guarded) == []  # nothing to ask about
        stranger = get(manager, "wrong-token")
        assert (stranger.status, stranger.headers["WWW-Authenticate"]) == (401, "Bearer")
        denied = get(manager, "jane-token")
        assert (denied.status, denied.text) == (403, "jane may not get /metrics\n")
        allowed = get(manager, "scraper-token")
        assert allowed.status == 200
        assert "runtime_events_written_total 0.0" in allowed.text
        assert get(manager, header="bearer   scraper-token").status == 200
        assert get(manager, "group-token").status == 200
    assert '"event":"serving"' in log.getvalue()
    assert "-token" not in log.getvalue()


def ask(manager: Manager, *requests: str) -> list[tuple[int, str]]:
    """Status and body of each request, one after the other on one connection that is kept while it can be."""
    host, port = address_of(manager).rsplit(":", 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    answers = []
    with socket.create_connection((host, int(port)), timeout=30) as plain, context.wrap_socket(plain) as sock:
        for request in requests:
            line, *headers = request.split("\n")
            sock.sendall("\r\n".join([line, "Host: x", *headers, "", ""]).encode())
            reply = http.client.HTTPResponse(sock, method=line.split(" ")[0])
            reply.begin()
            answers.append((reply.status, reply.read().decode()))
    return answers


def test_each_request_of_a_connection_shows_its_own_token(guarded: FakeAPIServer) -> None:
    manager = Manager(guarded.client("manager"), metrics_secure=True, **ON)
    get_it = "GET /metrics HTTP/1.1"
    with running(manager):
        answers = ask(
            manager,
            f"{get_it}\nAuthorization: Bearer scraper-token",
            get_it,
            f"{get_it}\nAuthorization: Bearer jane-token",
            f"{get_it}\nAuthorization: Bearer group-token",
            f"{get_it}\nAuthorization: Bearer scraper-token2",
            f"{get_it}\nAuthorization: Bearer scraper-token\nAuthorization: Bearer jane-token",
            f"{get_it}\nAuthorization: Bearer scraper-token",
        )
    assert [status for status, _ in answers] == [200, 401, 403, 200, 401, 401, 200]
    assert [status for status, text in answers if "runtime_" in text] == [200, 200, 200]


def test_no_way_of_asking_gets_around_the_reviews(guarded: FakeAPIServer) -> None:
    """Whatever leads to the page needs the permission for the page; jane has it for what is below."""
    with guarded.client() as admin:
        admin.resource(ROLES).create(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": {"name": "below"},
                "rules": [{"nonResourceURLs": ["/metrics/*"], "verbs": ["get"]}],
            }
        )
        admin.resource(BINDINGS).create(binding("below", "User", "jane"))
    no, denied, hidden, yes = (401, False), (403, False), (200, False), (200, True)
    gone, method = (404, False), (405, False)
    expected = {
        "GET /metrics HTTP/1.0": [no, denied, yes],
        "HEAD /metrics HTTP/1.1": [no, denied, hidden],
        "POST /metrics HTTP/1.1": [method] * 3,
        "GET /metrics?x=/healthz HTTP/1.1": [no, denied, yes],
        "GET /metrics#x HTTP/1.1": [no, denied, yes],
        "GET /metrics/ HTTP/1.1": [no, denied, yes],
        "GET /metrics%2F HTTP/1.1": [no, denied, yes],
        "GET /%6detrics HTTP/1.1": [no, denied, yes],
        "GET http://x/metrics HTTP/1.1": [no, denied, yes],
        "GET /metr\tics HTTP/1.1": [no, denied, yes],
        "GET //metrics HTTP/1.1": [gone] * 3,
        "GET /./metrics HTTP/1.1": [gone] * 3,
        "GET /healthz/../metrics HTTP/1.1": [gone] * 3,
        "GET /metrics;x HTTP/1.1": [gone] * 3,
        "GET /METRICS HTTP/1.1": [gone] * 3,
    }
    found: dict[str, list[tuple[int, bool]]] = {}
    manager = Manager(guarded.client("manager"), metrics_secure=True, **ON)
    with running(manager):
        for line in expected:
            for header in ("", "Authorization: Bearer jane-token", "Authorization: Bearer scraper-token"):
                ((status, text),) = ask(manager, f"{line}\n{header}".strip())
                found.setdefault(line, []).append((status, "runtime_" in text))
    assert found == expected


def test_answers_of_the_api_server_are_kept_for_a_while(guarded: FakeAPIServer) -> None:
    clock = FakeClock()
    manager = Manager(guarded.client("manager"), metrics_secure=True, clock=clock, **ON)
    token, access = ["tokenreviews"], ["subjectaccessreviews"]
    with running(manager):

        def asked_by(who: str, status: int) -> list[str]:
            before = len(reviews(guarded))
            assert get(manager, who).status == status
            return reviews(guarded)[before:]

        assert asked_by("scraper-token", 200) == token + access
        assert asked_by("scraper-token", 200) == []
        assert asked_by("jane-token", 403) == token + access
        assert asked_by("jane-token", 403) == []
        assert asked_by("wrong-token", 401) == token
        assert asked_by("wrong-token", 401) == []
        clock.advance(31)
        assert asked_by("scraper-token", 200) == []
        assert asked_by("jane-token", 403) == access  # she may have been allowed to by now
        clock.advance(30)
        assert asked_by("scraper-token", 200) == token
        assert asked_by("wrong-token", 401) == token
        clock.advance(240)
        assert asked_by("scraper-token", 200) == token + access


def test_an_api_server_that_does_not_answer_lets_nobody_in(guarded: FakeAPIServer, log: io.StringIO) -> None:
    manager = Manager(guarded.client("manager"), metrics_secure=True, **ON)
    with running(manager):
        for resource in ("tokenreviews", "subjectaccessreviews"):
            guarded.faults.add(resource=resource, status=403, message=f"{resource} scraper-token are forbidden")
            for _ in range(2):
                answer = get(manager, "scraper-token")
                assert (answer.status, "forbidden" in answer.text) == (500, False)
            guarded.faults.clear()
        assert get(manager, "scraper-token").status == 200
        guarded.faults.add(resource="tokenreviews", status=403, message="still forbidden")
        assert get(manager, "jane-token").status == 500
        guarded.faults.clear()
        assert get(manager, "scraper-token").status == 200
        guarded.faults.add(resource="tokenreviews", status=403, message="still forbidden")
        assert get(manager, "jane-token").status == 500
    told = [
        line["error"] for line in map(json.loads, log.getvalue().splitlines()) if "metrics are refused" in line["event"]
    ]
    assert len(told) == 4  # once for each trouble, and again after it had gone
    assert "... are forbidden" in told[0]
    assert "scraper-token" not in log.getvalue()


def test_a_review_is_asked_again_when_its_connection_breaks(guarded: FakeAPIServer) -> None:
    manager = Manager(guarded.client("manager"), metrics_secure=True, **ON)
    with running(manager):
        guarded.faults.add(resource="tokenreviews", status=503, times=1)
        guarded.faults.add(resource="subjectaccessreviews", status=500, times=2)
        assert get(manager, "scraper-token").status == 200


def test_a_standby_asks_and_answers_too(guarded: FakeAPIServer) -> None:
    spec = {"holderIdentity": "another", "leaseDurationSeconds": 3600, "renewTime": "2999-01-01T00:00:00.000000Z"}
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "lease"}, "spec": spec}
    guarded.client().resource(GVR("coordination.k8s.io", "v1", "leases"), "default").create(lease)
    manager = Manager(guarded.client(), metrics_secure=True, leader_election=True, leader_election_id="lease", **ON)
    with running(manager):
        answer = get(manager, "scraper-token")
    assert answer.status == 200
    assert 'leader_election_master_status{name="lease"} 0.0' in answer.text


def write_pair(directory: Path, authority: Authority, name: str) -> None:
    pair = authority.serving((name, "127.0.0.1"))
    (directory / "tls.crt").write_bytes(pair.certificate)
    (directory / "tls.key").write_bytes(pair.key)


def test_a_renewed_certificate_is_served_without_a_restart(tmp_path: Path, log: io.StringIO) -> None:
    old, new = Authority.create("old"), Authority.create("new")
    write_pair(tmp_path, old, "old.example.com")
    with FakeAPIServer() as server, server.client() as client:
        manager = Manager(client, metrics_secure=True, metrics_cert_dir=tmp_path, metrics_authorization=False, **ON)
        with running(manager):
            first = get(manager, ca=old.certificate)
            assert "certwatcher_read_certificate_total 2.0" in first.text
            assert "certwatcher_read_certificate_errors_total 0.0" in first.text
            write_pair(tmp_path, new, "new.example.com")
            assert get(manager, ca=new.certificate).status == 200
            (tmp_path / "tls.key").write_bytes(b"half of a k")
            for _ in range(2):
                broken = get(manager, ca=new.certificate)
            assert "certwatcher_read_certificate_errors_total 2.0" in broken.text
            (tmp_path / "tls.key").unlink()
            assert get(manager, ca=new.certificate).status == 200
            write_pair(tmp_path, old, "old.example.com")
            assert get(manager, ca=old.certificate).status == 200
    events = [json.loads(line)["event"] for line in log.getvalue().splitlines()]
    assert events.count("serving a new certificate") == 2
    assert events.count("the new certificate cannot be used, serving the one before") == 2  # broken, then missing
    assert "half of a k" not in log.getvalue()


def test_a_process_without_threads_serves_the_certificate_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pair(tmp_path, Authority.create(), "x")
    certificate = FileCertificate(tmp_path)
    before = certificate.current()
    write_pair(tmp_path, Authority.create(), "x")

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    descriptors = len(os.listdir("/dev/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            assert certificate.current() is before
    assert len(os.listdir("/dev/fd")) == descriptors
    assert certificate.errors.value == 3
    assert certificate.current() is not before


def test_without_files_a_certificate_is_made() -> None:
    with FakeAPIServer() as server, server.client() as client:
        manager = Manager(client, metrics_secure=True, metrics_authorization=False, **ON)
        with running(manager):
            answer = get(manager)
            assert answer.status == 200
            assert "certwatcher" not in answer.text
            host, port = address_of(manager).rsplit(":", 1)
            with socket.create_connection((host, int(port)), timeout=30) as plain:
                plain.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b"HTTP request to an HTTPS server" in plain.recv(4096)


def test_a_certificate_of_our_own_making_is_renewed_half_way_to_its_end() -> None:
    certificate = SelfSignedCertificate()
    first = certificate.current()
    certificate._made -= LIFETIME.total_seconds() / 2 - 60
    assert certificate.current() is first
    certificate._made -= 120
    assert certificate.current() is not first


@pytest.mark.parametrize("what", ["missing", "nonsense", "another key", "encrypted"])
def test_files_that_are_no_certificate_are_found_at_the_start(tmp_path: Path, what: str) -> None:
    authority = Authority.create()
    write_pair(tmp_path, authority, "x")
    if what == "missing":
        (tmp_path / "tls.crt").unlink()
    elif what == "nonsense":
        (tmp_path / "tls.crt").write_text("nonsense")
    elif what == "another key":
        (tmp_path / "tls.key").write_bytes(authority.serving(("y",)).key)
    else:
        from cryptography.hazmat.primitives import serialization

        key = serialization.load_pem_private_key((tmp_path / "tls.key").read_bytes(), None)
        encrypted = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
        (tmp_path / "tls.key").write_bytes(encrypted)
    with FakeAPIServer() as server, server.client() as client:
        manager = Manager(client, metrics_secure=True, metrics_cert_dir=tmp_path, **ON)
        with pytest.raises(BadOption, match="--metrics-cert-dir") as caught:
            manager.run()
    assert str(tmp_path / "tls.crt") in str(caught.value)
    shutil.rmtree(tmp_path)


def test_without_cryptography_the_option_that_needs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "runtime.tls.certs")
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with FakeAPIServer() as server, server.client() as client:
        manager = Manager(client, metrics_secure=True, **ON)
        with pytest.raises(BadOption, match=r"--metrics-secure.*xline-operator\[tls\].*tls\.crt"):
            manager.run()


@pytest.mark.parametrize("option", [{"metrics_cert_dir": "/x"}, {"metrics_authorization": True}])
def test_options_that_need_tls_are_refused_without(option: dict[str, object]) -> None:
    with FakeAPIServer() as server, server.client() as client, pytest.raises(BadOption, match="needs metrics_secure"):
        Manager(client, **option, **ON)  # type: ignore[arg-type]
