"""Who is shown the status page, and what comes with it."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from runtime.manager import BadOption, Manager
from runtime.manager.statuspage.loopback import is_loopback, names_this_machine
from runtime.testing import FakeAPIServer
from runtime.types import GVR, JSONObject
from tests.support.managers import ON, eventually, running

BINDINGS = GVR("rbac.authorization.k8s.io", "v1", "clusterrolebindings")
DOCS = Path(__file__).resolve().parents[3] / "docs"
FILES = ("/status/page.css", "/status/page.js", "/status/icon.svg")


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: Mapping[str, str]


def ask(manager: Manager, path: str, method: str = "GET", **headers: str) -> Answer:
    """By HTTPS where the manager says so; whoever answers is trusted."""
    host, _, port = eventually(lambda: manager.metrics_address).rpartition(":")
    host = host.strip("[]")
    host = "127.0.0.1" if host in ("::", "0.0.0.0") else host
    if (manager.status_url or "").startswith("https:"):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, int(port), timeout=60, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        reply = connection.getresponse()
        return Answer(reply.status, reply.read(), {name.lower(): value for name, value in reply.getheaders()})
    finally:
        connection.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        yield server


@pytest.fixture(scope="module")
def manager(shared: FakeAPIServer) -> Iterator[Manager]:
    manager = Manager(shared.client(), **ON)
    with running(manager):
        assert manager.elected.wait(60)  # all its threads run
        yield manager


def test_the_page_comes_with_a_policy_that_lets_nothing_in(manager: Manager) -> None:
    for path in ("/", "/status/v1", *FILES):
        answer = ask(manager, path)
        assert answer.status == 200
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
        assert policy.pop("default-src") == policy.pop("base-uri") == policy.pop("frame-ancestors") == "'none'"
        assert set(policy) == {"script-src", "style-src", "img-src", "connect-src", "form-action"}
        assert set(policy.values()) == {"'self'"}
        for name, value in (
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("cross-origin-resource-policy", "same-origin"),
        ):
            assert answer.headers[name] == value, path
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_types_encodings_and_head(manager: Manager) -> None:
    types = [ask(manager, path).headers["content-type"].partition(";")[0] for path in ("/", "/status/v1", *FILES)]
    assert types == ["text/html", "application/json", "text/css", "text/javascript", "image/svg+xml"]
    packed = ask(manager, "/status/page.css", Accept_Encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == ask(manager, "/status/page.css").body
    head = ask(manager, "/", "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["content-length"]) > 1000
    assert ask(manager, "/", "POST").status == 405


def test_the_json_is_the_version_it_says(manager: Manager) -> None:
    status = json.loads(ask(manager, "/status/v1?object=shop").body)
    assert (status["version"], status["filter"], status["state"]) == (1, "shop", "running")


@pytest.mark.parametrize("path", ["/status", "/status/", "/status/v2", "/status/../page.css", "/status/page.py", "/x"])
def test_there_is_nothing_else(manager: Manager, path: str) -> None:
    assert ask(manager, path).status == 404


@pytest.mark.parametrize("path", ["/", "/status/v1", "/status/page.js"])
def test_names_of_others_for_this_machine_are_refused(manager: Manager, path: str) -> None:
    """DNS rebinding: a page of evil.example lets its own name point here, and asks as if we were its server."""
    assert ask(manager, path, Host="evil.example:8080").status == 403
    assert b"maps" not in ask(manager, path, Host="127.0.0.1.evil.example").body
    for name in ("localhost:8080", "127.0.0.1", "[::1]:8080", "LOCALHOST", "shop.localhost:1"):
        assert ask(manager, path, Host=name).status == 200
    assert ask(manager, "/metrics", Host="evil.example").status == 200  # as it always was


@pytest.mark.parametrize(
    ("address", "asked", "shown"),
    [
        ("127.0.0.1:0", None, True),
        ("127.0.0.1:0", False, False),
        ("[::1]:0", None, True),
        (":0", None, False),
        ("0.0.0.0:0", None, False),
        ("0.0.0.0:0", True, True),
        (":0", True, True),
    ],
)
def test_the_page_is_for_this_machine_only_unless_asked_for(
    shared: FakeAPIServer, address: str, asked: bool | None, shown: bool
) -> None:
    options = ON | {"metrics_bind_address": address}
    manager = Manager(shared.client(), status_page=asked, **options)
    assert manager.status_url is None
    with running(manager):
        assert [ask(manager, path).status for path in ("/", "/status/v1", *FILES)] == [200 if shown else 404] * 5
        assert ask(manager, "/metrics").status == 200
        assert (manager.status_url is not None) is shown
        if shown and address in (":0", "0.0.0.0:0"):
            assert str(manager.status_url).startswith("http://localhost:")
            assert ask(manager, "/", Host="shop-operator.svc").status == 200  # a Service has a name


@pytest.mark.parametrize("address", ["0", ""])
def test_without_a_server_there_is_no_page(shared: FakeAPIServer, address: str) -> None:
    with pytest.raises(BadOption, match="status_page needs metrics_bind_address"):
        Manager(shared.client(), metrics_bind_address=address, health_probe_bind_address="0", status_page=True)
    manager = Manager(shared.client(), metrics_bind_address=address, health_probe_bind_address="0")
    assert manager.status_url is None


def test_which_addresses_are_of_this_machine_alone() -> None:
    for host in ("localhost", "127.0.0.1", "127.8.8.8", "::1"):
        assert is_loopback(host), host
    for host in ("", "0.0.0.0", "::", "10.0.0.1", "127.evil.example", "localhost.evil.example"):
        assert not is_loopback(host), host
    for host in ("evil.example", "", "127.0.0.1.evil.example:80", "localhost.evil.example", "[evil]:80"):
        assert not names_this_machine(host), host
    assert names_this_machine("10.1.2.3:8080")  # nobody can have a name of his resolve to an address


def test_who_may_read_metrics_only_is_not_shown_the_status(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.csv"
    tokens.write_text(
        "admin-token,admin,1,system:masters\nmanager-token,manager,2\nscraper-token,prometheus,3\njane-token,jane,4\n"
    )
    for number, roles in enumerate(
        re.findall(
            r"```yaml\n(.+?)```", (DOCS / "metrics.md").read_text() + (DOCS / "status-page.md").read_text(), re.DOTALL
        )
    ):
        (tmp_path / f"roles-{number}.yaml").write_text(roles)
    with FakeAPIServer(token_auth_file=tokens, authorization_mode="RBAC") as server, server.client() as admin:
        for file in sorted(tmp_path.glob("roles-*.yaml")):
            server.apply_manifests(file)
        for role, name in (("metrics-auth", "manager"), ("metrics-reader", "prometheus"), ("status-reader", "jane")):
            admin.resource(BINDINGS).create(binding(role, name))
        manager = Manager(server.client("manager"), metrics_secure=True, **ON)
        with running(manager):
            eventually(lambda: manager.status_url)
            answers = {
                who: [
                    ask(manager, path, **({"Authorization": f"Bearer {who}-token"} if who else {})).status
                    for path in ("/", "/status/v1", "/metrics")
                ]
                for who in ("", "nobody", "scraper", "jane")
            }
            assert answers == {
                "": [401, 401, 401],
                "nobody": [401, 401, 401],
                "scraper": [403, 403, 200],
                "jane": [200, 200, 403],
            }
            unknown = ask(manager, "/")
            assert unknown.headers["www-authenticate"] == "Bearer"
            assert b'id="token-form"' in unknown.body
            assert b"status-page" not in unknown.body
            assert b"prometheus may not get /status" in ask(manager, "/", Authorization="Bearer scraper-token").body
            assert [ask(manager, path).status for path in FILES] == [200] * 3  # they tell nothing


def binding(role: str, user: str) -> JSONObject:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"{role}-{user}"},
        "roleRef": {"apiGroup": BINDINGS.group, "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "name": user, "apiGroup": BINDINGS.group}],
    }
