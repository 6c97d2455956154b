"""The agent's command line: what it takes, what it refuses and how it says so."""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cmd import sidecar
from cmd.sidecar_run import options_from
from membership.xline.http import AgentServer, Answer
from membership.xline.options import AgentOptions
from runtime.metrics.registry import Registry

TREE = Path(__file__).parents[2]
FLAGS = {
    "namespace": "default",
    "cluster": "demo",
    "pod": "demo-sts-12",
    "pod-uid": "u1",
    "token": "demo-1",
    "engine": "etcd",
    "initial": "demo-sts-0=http://a:2380,demo-sts-1=http://b:2380",
    "clients": "demo-sts-0=http://a:2379,demo-sts-1=http://b:2379",
    "peer-url": "http://c:2380",
    "client-url": "http://c:2379",
    "data-dir": "/var/lib/etcd/data",
}


def _argv(*more: str, **changed: str | None) -> list[str]:
    flags = {**FLAGS, **{name.replace("_", "-"): value for name, value in changed.items()}}
    return ["run", *(f"--{name}={value}" for name, value in flags.items() if value is not None), *more]


def _options(argv: list[str]) -> AgentOptions:
    """As ``main`` comes to them, without running anything."""
    end = argv.index("--") if "--" in argv else len(argv)
    parser = sidecar.build_parser()
    values = parser.parse_args(argv[:end])
    values.server = tuple(argv[end + 1 :])
    return options_from(parser, values)


def test_everything_has_its_place() -> None:
    options = _options(
        _argv(
            "--mode=Supervisor",
            "--listen=10.0.0.5:2382",
            "--grace=1m30s",
            "--ca-file=/tls/ca.crt",
            "--cert-file=/tls/tls.crt",
            "--key-file=/tls/tls.key",
            "--auth-dir=/auth",
            "--",
            "etcd",
            "--name=demo-sts-12",
            "--",
            "--help",
        )
    )
    identity = options.identity
    assert (identity.namespace, identity.cluster, identity.pod, identity.pod_uid) == (
        "default",
        "demo",
        "demo-sts-12",
        "u1",
    )
    assert identity.ordinal == 12
    assert identity.initial == (("demo-sts-0", "http://a:2380"), ("demo-sts-1", "http://b:2380"))
    assert identity.addresses[1] == ("demo-sts-1", "http://b:2379")
    assert (identity.peer_url, identity.client_url) == ("http://c:2380", "http://c:2379")
    assert options.flags == ("etcd", "--name=demo-sts-12", "--", "--help")
    assert options.grace == 90.0
    assert options.local_host == "10.0.0.5"
    assert options.access.auth_dir == Path("/auth")
    assert options.data_dir == Path("/var/lib/etcd/data")


@pytest.mark.parametrize(
    ("listen", "host"),
    [("0.0.0.0:1", "127.0.0.1"), (":1", "127.0.0.1"), ("[::]:1", "::1"), ("[fd00::1]:1", "fd00::1")],
)
def test_the_server_is_reached_where_the_agent_listens(listen: str, host: str) -> None:
    assert _options(_argv(f"--listen={listen}")).local_host == host


@pytest.mark.parametrize(
    ("server", "folder"),
    [
        (["--name=a"], None),
        (["--name=a", "/data/log"], Path("/data/log")),
        (["--mode=Supervisor", "--", "xline"], None),
        (["--mode=Supervisor", "--", "xline", "--name=a"], None),
        (["--mode=Supervisor", "--", "xline", "/data/log"], Path("/data/log")),
    ],
)
def test_xlines_folder_is_its_argument_without_a_name(server: list[str], folder: Path | None) -> None:
    argv = _argv(*(server if "--" in server else ["--", *server]), engine="xline")
    assert _options(argv).consensus_dir == folder


@pytest.mark.parametrize("name", sorted(FLAGS))
def test_a_missing_flag_is_named_with_its_variable(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        _options(_argv(**{name: None}))
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"--{name} is missing" in said
    assert "XLINE_AGENT_" + name.upper().replace("-", "_") in said


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (_argv(pod="demo"), "--pod: 'demo' does not end in a member's ordinal"),
        (_argv(pod="demo-sts-01"), "--pod: 'demo-sts-01' does not end"),
        (_argv(initial="a"), "--initial: 'a' is not NAME=URL"),
        (_argv(clients="a=b,a=c"), "--clients: a is named twice"),
        (_argv(engine="redis"), "argument --engine: invalid choice: 'redis'"),
        (_argv("--mode=Supervisor"), "in Supervisor mode the server's program and flags are needed after --"),
        (_argv("--listen=2382"), "--listen '2382' is no address"),
        (_argv("--grace=soon"), "argument --grace: 'soon' is not a time"),
        (_argv("--cert-file=/x"), "--cert-file and --key-file go together"),
        (_argv("--cert-file=/x", "--key-file=/y"), "--cert-file needs --ca-file"),
        (_argv(data_dir=""), "argument --data-dir: '' is no path"),
    ],
)
def test_a_wrong_flag_is_named(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        _options(argv)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_the_environment_sets_what_flags_do_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XLINE_AGENT_TOKEN", "of-the-environment")
    monkeypatch.setenv("XLINE_AGENT_MODE", "Supervisor")
    monkeypatch.setenv("XLINE_AGENT_SERVICE_HOST", "10.0.0.1")  # Kubernetes' own, for a Service of that name
    assert _options(_argv("--", "etcd", token=None)).token == "of-the-environment"
    assert _options(_argv("--mode=Sidecar", token="of-the-flag")).token == "of-the-flag"
    monkeypatch.setenv("XLINE_AGENT_GRACE", "soon")
    with pytest.raises(SystemExit):
        _options(_argv())
    assert "environment variable XLINE_AGENT_GRACE" in capsys.readouterr().err
    monkeypatch.delenv("XLINE_AGENT_GRACE")
    monkeypatch.setenv("XLINE_AGENT_POTS", "1")
    with pytest.raises(SystemExit):
        _options(_argv())
    assert "XLINE_AGENT_POTS names no flag" in capsys.readouterr().err


def test_only_run_has_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        sidecar.main(["status", "--", "--name=x"])
    assert ended.value.code == 2
    assert "status takes nothing after --" in capsys.readouterr().err


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    parser = sidecar.build_parser()
    commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction)).choices
    assert {"run", "status", "backup", "restore", "list"} <= set(commands)
    for name in commands:
        with pytest.raises(SystemExit) as ended:
            sidecar.main([name, "--help"])
        assert ended.value.code == 0
        assert name in capsys.readouterr().out


class _Face:
    """Shows what it is told to."""

    def may_start(self) -> Answer:
        return Answer(False, "WaitPeers: nobody answers")

    def ready(self) -> Answer:
        return Answer(True, "")

    def alive(self) -> Answer:
        return Answer(True, "the last look was 0 s ago")

    def drain(self, timeout: float) -> Answer:
        return Answer(False, f"not in {timeout:g} s")

    def status(self) -> dict[str, object]:
        return {"state": "Running", "member": {"ordinal": 3}}


def test_status_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    server = AgentServer("127.0.0.1:0", _Face(), Registry(), drain_timeout=7.0)
    server.start()
    try:
        assert server.address is not None
        assert sidecar.main(["status", f"--address={server.address}"]) == 0
        assert json.loads(capsys.readouterr().out) == _Face().status()
    finally:
        server.stop()
    assert sidecar.main(["status", f"--address={server.address or '127.0.0.1:1'}"]) == 1
    assert "does not tell" in capsys.readouterr().err


def test_status_of_something_else_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        code = subprocess.Popen(
            [sys.executable, "-m", "cmd.sidecar", "status", f"--address=127.0.0.1:{listener.getsockname()[1]}"],
            cwd=TREE,
            stderr=subprocess.PIPE,
        )
        accepted, _ = listener.accept()
        accepted.sendall(b"SSH-2.0-OpenSSH\r\n")
        accepted.close()
        said = code.communicate(timeout=60)[1].decode()
    assert code.returncode == 1
    assert "does not tell" in said


def test_a_configuration_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text("not: a kubeconfig")
    ran = subprocess.run(
        [sys.executable, "-m", "cmd.sidecar", *_argv(f"--kubeconfig={kubeconfig}", data_dir=str(tmp_path / "data"))],
        cwd=TREE,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: ")
    assert "Traceback" not in ran.stderr
