"""What docs/orleans.md says is so: its programs, its commands, its rights, its exit codes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
import yaml

from cmd import silo, silo_run
from membership.orleans import KubeMembershipTable
from runtime.client import Client
from runtime.testing import FakeAPIServer
from runtime.types import GVR
from tests.support.silo_ends import silo as free_silo
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "orleans.md"
_TEXT = PAGE.read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", _TEXT, re.MULTILINE | re.DOTALL)
MANIFESTS = [yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```$", _TEXT, re.MULTILINE | re.DOTALL)]
KUBECTL = shutil.which("kubectl")
SLOW = 60.0
NAMESPACE = "default"


def _in_section(title: str) -> str:
    """The text of one section."""
    return re.split(r"^##+ ", _TEXT.partition(f" {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def _commands(title: str) -> list[str]:
    return re.findall(r"^    (\S.*)$", _in_section(title), re.MULTILINE)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_run_as_they_stand(number: int) -> None:
    exec(compile(EXAMPLES[number], f"{PAGE.name}, example {number}", "exec"), {})


def test_the_exit_codes_are_all_of_them() -> None:
    rows = re.findall(r"^\| (\d) \| (.*) \|$", _in_section("Trying it"), re.MULTILINE)
    assert {int(code): text for code, text in rows} == dict(silo_run.EXIT_CODES)


def test_the_role_is_what_a_silo_needs_and_no_more(tmp_path: Path) -> None:
    (role,) = [manifest for manifest in MANIFESTS if manifest["kind"] == "Role"]
    tokens = tmp_path / "tokens.csv"
    tokens.write_text('secret,web,1\nall,admin,2,"system:masters"\n')
    with FakeAPIServer(authorization_mode="RBAC", token_auth_file=tokens) as server:
        server.apply_manifests(ROOT / "crds")
        with Client(server.url, "all") as admin:
            _bind(admin, role)
        with Client(server.url, "secret") as client:
            _live(client)
            table = KubeMembershipTable(client, "orders", NAMESPACE)
            table.cleanup_defunct_silo_entries(datetime.now(UTC) + timedelta(days=1))
            assert table.read_all().members == []
        asked = [entry for entry in server.requests if entry.user == "web"]
    sent = {(entry.resource, entry.verb) for entry in asked if entry.code != 403}
    refused = {(entry.resource, entry.verb) for entry in asked if entry.code == 403}
    granted = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    assert sent == granted
    assert refused == {("clusterversions", "list")}  # which the page tells of


def _bind(admin: Client, role: dict[str, object]) -> None:
    rbac = "rbac.authorization.k8s.io"
    admin.resource(GVR(rbac, "v1", "roles"), NAMESPACE).create(role)
    binding = {
        "metadata": {"name": "web"},
        "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "orleans-silo"},
        "subjects": [{"kind": "User", "name": "web", "apiGroup": rbac}],
    }
    admin.resource(GVR(rbac, "v1", "rolebindings"), NAMESPACE).create(binding)


def _live(client: Client) -> None:
    """Join, and leave."""
    address = free_silo()
    parser = silo.build_parser({})
    argv = ["--cluster-id=orders", f"--address={address.address}", f"--port={address.port}", "--alive-period=0.2"]
    out, stop = StringIO(), threading.Event()
    life = silo_run.Silo(silo.settings_from(parser, parser.parse_args(argv)), client, out)
    ended: list[int] = []
    thread = threading.Thread(target=lambda: ended.append(life.run(stop)), name="silo")
    thread.start()
    try:
        eventually(lambda: "1 Active" in out.getvalue(), "active", SLOW)
    finally:
        stop.set()
        thread.join(SLOW)
    assert ended == [silo_run.LEFT]


def test_the_network_policy_is_taken() -> None:
    (policy,) = [manifest for manifest in MANIFESTS if manifest["kind"] == "NetworkPolicy"]
    with FakeAPIServer() as server, server.client() as client:
        client.resource(GVR("networking.k8s.io", "v1", "networkpolicies"), NAMESPACE).create(policy)


@pytest.mark.slow
def test_trying_it(tmp_path: Path) -> None:
    serve, join = _commands("Trying it")
    (tmp_path / "crds").symlink_to(ROOT / "crds")
    environ = {"PYTHONPATH": str(ROOT)}
    with (
        subprocess.Popen(_typed(serve), cwd=tmp_path, env=environ, stdout=subprocess.DEVNULL) as server,
        (tmp_path / "views").open("w") as views,
    ):
        try:
            eventually((tmp_path / "kubeconfig").exists, "a kubeconfig", SLOW)
            # Where other tests may run another silo just now.
            command = [*_typed(join), "--listen=127.0.0.1:0"]
            with subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=views) as process:
                eventually(lambda: "1 Active: 127.0.0.1:11111@" in (tmp_path / "views").read_text(), "active", SLOW)
                process.terminate()
                assert process.wait(SLOW) == 0
        finally:
            server.terminate()


def _typed(command: str) -> list[str]:
    words = command.split()
    assert words[0] == "python"
    return [sys.executable, *words[1:]]


@pytest.mark.kubectl
@pytest.mark.skipif(KUBECTL is None, reason="no kubectl found")
def test_what_kubectl_shows(tmp_path: Path) -> None:
    with FakeAPIServer() as server, server.client() as client:
        server.apply_manifests(ROOT / "crds")
        config = server.kubeconfig(tmp_path / "kubeconfig")
        _live(client)
        silos, versions = _commands("What is stored")
        assert "No resources found" in _kubectl(silos, config)
        assert " Dead " in _kubectl(silos.replace("Active", "Dead"), config)
        assert "orders " in _kubectl(versions, config)


def _kubectl(command: str, config: Path) -> str:
    words = [*command.split(), f"--kubeconfig={config}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=SLOW, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
