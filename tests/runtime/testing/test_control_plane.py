"""ControlPlane: a real etcd, and a process that stands in for kube-apiserver, of which there is none here. What the
real one makes of it, ``test_on_either`` shows where there is one.
"""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from runtime import GVR
from runtime.client import Client, ConnectionFailed, Forbidden, Unauthorized, load_client
from runtime.testing.controlplane import BinariesMissing, ControlPlane, ControlPlaneFailed, find_binaries
from runtime.testing.controlplane.auditing import LoggedRequests
from runtime.testing.controlplane.plane import _seconds
from runtime.testing.controlplane.programs import Running
from runtime.testing.controlplane.settings import Credentials, Ports, apiserver_flags
from runtime.testing.nodes.process import ProcessHost
from tests.runtime.testing.apiserver.apiserver_helpers import WIDGET_CRD, widget
from tests.support.etcd_process import etcd_binary
from tests.support.standin_apiserver import ROOT, assets
from tests.support.waiting import eventually

CONFIGMAPS = GVR("", "v1", "configmaps")

needs_etcd = pytest.mark.skipif(etcd_binary() is None, reason="no etcd on this machine")


# -- the programs


def program(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_programs_are_found_as_envtest_finds_them(tmp_path: Path) -> None:
    for folder in ("given", "named"):
        program(tmp_path / folder / "etcd")
        program(tmp_path / folder / "kube-apiserver")
    alone = program(tmp_path / "alone")
    environ = {"KUBEBUILDER_ASSETS": str(tmp_path / "named")}
    assert find_binaries(environ=environ).etcd == tmp_path / "named" / "etcd"
    environ["TEST_ASSET_KUBE_APISERVER"] = str(alone)
    found = find_binaries(environ=environ)
    assert (found.etcd, found.kube_apiserver) == (tmp_path / "named" / "etcd", alone)
    found = find_binaries(tmp_path / "given", environ)
    assert (found.etcd, found.kube_apiserver) == (tmp_path / "given" / "etcd", tmp_path / "given" / "kube-apiserver")


def test_a_missing_program_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(BinariesMissing, match=r"/usr/local/kubebuilder/bin/etcd \(KUBEBUILDER_ASSETS is not set\)"):
        find_binaries(environ={})
    program(tmp_path / "etcd")
    with pytest.raises(BinariesMissing, match=rf"{tmp_path}/kube-apiserver \(KUBEBUILDER_ASSETS names its folder\)"):
        find_binaries(environ={"KUBEBUILDER_ASSETS": str(tmp_path)})
    program(tmp_path / "kube-apiserver").chmod(0o644)
    with pytest.raises(BinariesMissing, match="setup-envtest use"):
        ControlPlane(assets=tmp_path)


def test_flags_can_be_added_replaced_and_taken_away(tmp_path: Path) -> None:
    files, ports = Credentials(tmp_path), Ports(1, 2, 3)
    flags = apiserver_flags(ports, files, "RBAC", {"v": "4", "allow-privileged": "false", "audit-policy-file": None})
    assert (flags["v"], flags["allow-privileged"], flags["secure-port"]) == ("4", "false", "3")
    assert "audit-policy-file" not in flags
    assert flags["etcd-servers"] == "http://127.0.0.1:1"
    for name in ("tokens.csv", "apiserver.key", "service-accounts.key"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0, "nobody else may read it"


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1m30s", 90), ("1.5h", 5400), ("250ms", 0.25), ("", 7)])
def test_durations_of_the_environment_are_as_go_writes_them(
    monkeypatch: pytest.MonkeyPatch, text: str, seconds: float
) -> None:
    monkeypatch.setenv("LIMIT", text)
    assert _seconds(None, "LIMIT", 7) == seconds
    assert _seconds(3, "LIMIT", 7) == 3


def test_a_duration_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMIT", "90")
    with pytest.raises(ValueError, match=r"LIMIT='90' is no duration"):
        _seconds(None, "LIMIT", 7)


# -- its log of requests


def event(identity: str, stage: str, agent: str = "a") -> str:
    return json.dumps({"auditID": identity, "stage": stage, "verb": "watch", "userAgent": agent}) + "\n"


def test_each_request_of_the_log_counts_once(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    requests = LoggedRequests(log, but_of="probe")
    assert list(requests) == []
    half = event("2", "ResponseComplete")
    log.write_text(event("1", "ResponseStarted") + event("p", "ResponseComplete", "probe") + half[:20])
    assert [each.id for each in requests] == ["1"]
    with log.open("a") as more:
        more.write(half[20:] + event("1", "ResponseComplete") + event("3", "ResponseComplete"))
    assert [each.id for each in requests] == ["1", "2", "3"]
    assert (len(requests), requests[-1].id, [each.id for each in requests[:2]]) == (3, "3", ["1", "2"])
    requests.clear()
    assert len(requests) == 0


# -- the processes


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    folder = tmp_path_factory.mktemp("plane")
    tokens = folder / "tokens"
    tokens.write_text("t1,alice,1\n")
    with ControlPlane(assets=assets(folder / "bin"), token_auth_file=tokens) as plane:
        yield plane


@pytest.mark.etcd
@needs_etcd
class TestRunning:
    def test_clients_know_it_and_it_knows_them(self, plane: ControlPlane, tmp_path: Path) -> None:
        assert re.fullmatch(r"https://127\.0\.0\.1:\d+", plane.url)
        config = plane.kubeconfig(tmp_path / "config", namespace="kube-system")
        with load_client(str(config)) as client:
            assert client.namespace == "kube-system"
            assert client.resource(GVR("", "v1", "namespaces")).get("default").name == "default"
        with Client(plane.url, token="wrong", ca_file=str(plane.ca_file)) as client, pytest.raises(Unauthorized):
            client.resource(CONFIGMAPS, "default").list()
        with (
            Client(plane.url, token="t1", ca_file=str(plane.ca_file)) as client,
            pytest.raises(Forbidden, match="alice"),
        ):
            client.resource(CONFIGMAPS, "default").list()

    def test_certificates_say_who_asks(self, plane: ControlPlane, tmp_path: Path) -> None:
        pair = plane.client_certificate("bob", ["system:masters"])
        (tmp_path / "both").write_bytes(pair.certificate + pair.key)
        tls = ssl.create_default_context(cafile=plane.ca_file)
        tls.load_cert_chain(tmp_path / "both")
        plane.requests.clear()
        with urllib.request.urlopen(f"{plane.url}/api/v1/namespaces/default/configmaps", context=tls) as answer:
            assert json.load(answer)["kind"] == "ConfigMapList"
        eventually(lambda: [(each.verb, each.user) for each in plane.requests] == [("list", "bob")], timeout=30)

    def test_manifests_are_applied(self, plane: ControlPlane, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text(yaml.safe_dump_all([widget("w", size="s"), WIDGET_CRD]))
        applied = plane.apply_manifests(tmp_path)
        assert [(each["kind"], each["metadata"]["name"]) for each in applied] == [
            ("CustomResourceDefinition", "widgets.example.com"),
            ("Widget", "w"),
        ]
        assert applied[1]["metadata"]["namespace"] == "default"
        assert (
            plane.apply_manifests(tmp_path)[1]["metadata"]["resourceVersion"]
            == (applied[1]["metadata"]["resourceVersion"])
        )

    def test_what_it_asks_itself_is_nobodys_request(self, plane: ControlPlane) -> None:
        plane.requests.clear()
        plane.restart()
        with plane.client() as client:
            client.resource(CONFIGMAPS, "default").list()
        eventually(lambda: [each.verb for each in plane.requests] == ["list"], timeout=30)

    def test_it_goes_down_and_comes_up_where_it_was(self, plane: ControlPlane) -> None:
        url = plane.url
        with plane.client() as client:
            plane.go_down()
            plane.go_down()
            with pytest.raises(ConnectionFailed):
                client.request("GET", "/version", timeout=10)
            plane.come_up()
            plane.come_up()
            assert plane.url == url
            assert client.request("GET", "/version", timeout=30).status == 200

    def test_what_does_not_come_up_is_down(self, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
        plane.go_down()
        with monkeypatch.context() as patch:
            patch.setitem(plane._flags, "nonsense", "1")
            for _ in range(2):
                with pytest.raises(ControlPlaneFailed, match="unknown flag: --nonsense"):
                    plane.come_up()
        plane.come_up()
        with plane.client() as client:
            assert client.request("GET", "/version", timeout=30).status == 200


def test_nothing_is_said_of_what_does_not_run(tmp_path: Path) -> None:
    program(tmp_path / "etcd")
    program(tmp_path / "kube-apiserver")
    plane = ControlPlane(assets=tmp_path)
    with pytest.raises(AssertionError, match="is not running"):
        _ = plane.url
    plane.stop()


@pytest.mark.etcd
@needs_etcd
def test_a_program_that_ends_is_quoted(tmp_path: Path) -> None:
    plane = ControlPlane(assets=assets(tmp_path / "bin", before="echo something is wrong >&2; exit 3"))
    with pytest.raises(ControlPlaneFailed, match=r"(?s)kube-apiserver ended with code 3.*something is wrong"):
        plane.start()


def test_a_program_that_never_is_ready_is_ended(tmp_path: Path) -> None:
    """Even if it does not listen."""
    program(tmp_path / "bin" / "kube-apiserver")
    etcd = program(tmp_path / "bin" / "etcd")
    etcd.write_text('#!/bin/sh\n[ "$1" = --help ] && exit\ntrap "" TERM\nwhile :; do sleep 0.1; done\n')
    plane = ControlPlane(assets=tmp_path / "bin", start_timeout=0.3, stop_timeout=0.1)
    with pytest.raises(ControlPlaneFailed, match=r"etcd was not ready within 0\.3 s"):
        plane.start()


@pytest.mark.etcd
@needs_etcd
def test_a_port_that_was_taken_meanwhile_costs_another_try(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    once = f'if [ ! -e {taken} ]; then echo "$@" > {taken}; echo "listen: bind: address already in use"; exit 1; fi'
    with ControlPlane(assets=assets(tmp_path / "bin", before=once), stop_timeout=600) as plane:
        assert f"--secure-port={plane.port}" not in taken.read_text().split(), "other ports"
        with plane.client() as client:
            assert client.resource(CONFIGMAPS, "default").list().items == []
        plane.pause()  # who stands still is told to go on before it is told to end
    assert (tmp_path / "bin" / "ended").read_text() == "true", "etcd ends last"


def test_who_does_not_listen_is_killed(tmp_path: Path) -> None:
    stubborn = program(tmp_path / "bin" / "stubborn")
    ready = tmp_path / "ready"
    stubborn.write_text(f'#!/bin/sh\ntrap "" TERM\ntouch {ready}\nwhile :; do sleep 0.05; done\n')
    host = ProcessHost(tmp_path / "processes")
    host.start()
    try:
        running = Running(host, stubborn, {}, tmp_path / "log")
        running.wait_ready(ready.exists, 30)
        running.stop(0.1)
        assert running._process.exit is not None
        assert running._process.exit.signal == signal.SIGKILL
        running.stop(0.1)
    finally:
        host.stop()


def test_no_other_failure_is_worth_another_try(tmp_path: Path) -> None:
    """Even after one that was."""
    program(tmp_path / "bin" / "kube-apiserver")
    tries = tmp_path / "tries"
    says = f"if [ $(wc -l < {tries}) = 1 ]; then echo address already in use; else echo broken; exit 7; fi"
    etcd = program(tmp_path / "bin" / "etcd")
    etcd.write_text(f'#!/bin/sh\n[ "$1" = --help ] && exit\necho x >> {tries}\n{says}\n')
    with pytest.raises(ControlPlaneFailed, match=r"(?s)etcd ended with code 7.*broken"):
        ControlPlane(assets=tmp_path / "bin").start()
    assert tries.read_text() == "x\nx\n"


_KILLED = """
import os, sys
from runtime.testing import ControlPlane

plane = ControlPlane(assets=sys.argv[1]).start()
print(plane.folder, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.etcd
@needs_etcd
def test_processes_end_with_whoever_started_them(tmp_path: Path) -> None:
    bin_folder = assets(tmp_path / "bin")
    command = [sys.executable, "-c", _KILLED, str(bin_folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = done.stdout.strip()
    eventually(lambda: not _mentioning(folder), timeout=30)
    subprocess.run(["rm", "-rf", folder], check=True)


def _mentioning(text: str) -> list[int]:
    """Processes that have it in their command line."""
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit() and int(each.name) != os.getpid():
            try:
                if text.encode() in (each / "cmdline").read_bytes():
                    found.append(int(each.name))
            except OSError:
                continue  # it has just ended
    return found
