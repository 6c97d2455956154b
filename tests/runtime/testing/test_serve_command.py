"""``python -m runtime.testing`` as a process: what it says, and how it ends."""

from __future__ import annotations

import inspect
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.testing import FakeAPIServer
from runtime.testing import __main__ as command
from runtime.testing.apiserver.store import DEFAULT_HISTORY
from runtime.testing.kinds.crds.cel import syntax
from runtime.testing.options import parser

ROOT = Path(__file__).resolve().parents[3]
CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        ],
    },
}
WIDGET = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "a-widget.yaml").write_text(yaml.safe_dump(WIDGET))
    (folder / "b-crd.yaml").write_text(yaml.safe_dump(CRD))
    return folder


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runtime.testing", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


ENDINGS = [signal.SIGTERM, signal.SIGINT]
if (
    signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
):  # else these tests run under nohup, and so does what they start
    ENDINGS.append(signal.SIGHUP)


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals are for the main thread")
def test_it_goes_on_without_its_terminal_if_nohup_says_so() -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        for ignored in (True, False):
            signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
            command._stop_on_signals(threading.Event())
            assert (signal.getsignal(signal.SIGHUP) is signal.SIG_IGN) == ignored
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@pytest.mark.parametrize("ending", ENDINGS)
def test_it_serves_until_it_is_told_to_stop(ending: signal.Signals, manifests: Path, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "config"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "runtime.testing",
            "--port",
            "0",
            "--crds",
            str(manifests),
            "--kubeconfig",
            str(kubeconfig),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline()
        match = re.fullmatch(r"serving on (http://127\.0\.0\.1:\d+)\n", line)
        assert match, line
        url = match.group(1)
        with urllib.request.urlopen(f"{url}/apis/example.com/v1/namespaces/default/widgets/w") as answer:
            assert json.load(answer)["metadata"]["name"] == "w"
        assert yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"] == url
        lines = [process.stdout.readline() for _ in range(3)]
        assert f"kubectl --kubeconfig {kubeconfig}" in lines[0]
        assert "Ctrl-C" in lines[2]
        # A watch is open while it ends.
        watch = urllib.request.urlopen(f"{url}/api/v1/pods?watch=true")
        process.send_signal(ending)
        rest, errors = process.communicate(timeout=20)
        watch.close()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
    assert process.returncode == 0
    assert errors == ""
    assert rest == ""
    assert not kubeconfig.exists()


def test_help_names_every_option_and_exit_code() -> None:
    shown = run("--help")

    assert shown.returncode == 0
    options = {each for action in parser()._actions for each in action.option_strings}
    assert {"--port", "--crds", "--kubeconfig", "--load", "--save", "--audit-log-path"} <= options
    for text in (*options, "exit codes", "examples"):
        assert text in shown.stdout


def test_the_defaults_are_those_of_the_server() -> None:
    options = parser().parse_args([])
    assert options.history == DEFAULT_HISTORY
    defaults = {name: given.default for name, given in inspect.signature(FakeAPIServer).parameters.items()}
    for name in ("bookmark_interval", "namespace_deletion_delay", "garbage_collection_delay", "host"):
        assert getattr(options, name) == defaults[name], name


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--history=0", "give 1 or more"),
        ("--bookmark-interval=soon", "'soon' is no number of seconds"),
        ("--bookmark-interval=0", "give more than 0 seconds"),
        ("--garbage-collection-delay=-1", "'-1' is no number of seconds"),
        ("--namespace-deletion-delay=inf", "'inf' is no number of seconds"),
    ],
)
def test_a_number_that_is_none_is_a_usage_error(
    argument: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ending:
        command.main([argument])
    assert ending.value.code == 2
    assert message in capsys.readouterr().err


def test_garbage_may_stay() -> None:
    assert parser().parse_args(["--garbage-collection-delay", "never"]).garbage_collection_delay is None


def test_every_argument_of_the_server_has_an_option() -> None:
    """But for those that only a test in the same process can give."""
    options = set(vars(parser().parse_args([])))
    assert set(inspect.signature(FakeAPIServer).parameters) - options == {"registry", "clock"}


def test_every_option_says_what_it_does() -> None:
    assert [action.option_strings for action in parser()._actions if not action.help] == []


def test_a_busy_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run("--port", str(port))

    assert result.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in result.stderr
    assert "--port 0" in result.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file or folder"),
        ({}, "no manifest in there"),
        ({"a.yaml": "a: [1"}, "a.yaml"),
        ({"a.yaml": "- 1"}, "not an object"),
        ({"a.yaml": "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}"}, "apply its CRD first"),
        ({"a.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {}"}, "spec.containers"),
    ],
)
def test_manifests_that_cannot_be_applied_are_named(
    content: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "crds"
    if content is not None:
        folder.mkdir()
        for name, text in content.items():
            (folder / name).write_text(text)

    assert command.main(["--port", "0", "--crds", str(folder)], stop=threading.Event()) == 1
    assert message in (error := capsys.readouterr().err)
    assert error.startswith(f"error: --crds {folder}")


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no such file"), ("token-without-user", ":1: expected token,user,uid")],
)
def test_a_token_file_that_cannot_be_read_is_named(
    content: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tokens"
    if content is not None:
        path.write_text(content)

    assert command.main(["--port", "0", "--token-auth-file", str(path)], stop=threading.Event()) == 1
    assert f"{path}" in (error := capsys.readouterr().err)
    assert message in error


def test_a_file_that_nobody_may_read_is_no_busy_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tokens"
    path.write_text("t,alice,1\n")

    def refused(self: Path, *_: Any, **__: Any) -> Any:  # whoever runs the tests may be root, who may read it
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refused)
    assert command.main(["--port", "0", "--token-auth-file", str(path)], stop=stopped()) == 1
    assert capsys.readouterr().err == f"error: {path}: Permission denied\n"


def test_only_who_has_a_token_may_ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokens, kubeconfig = tmp_path / "tokens", tmp_path / "config"
    tokens.write_text('s3cret,alice,1,"admins"\n')
    stop = threading.Event()
    arguments = ["--port", "0", "--token-auth-file", str(tokens), "--kubeconfig", str(kubeconfig)]
    server = threading.Thread(target=command.main, args=(arguments, stop), name="server-under-test")
    server.start()
    try:
        while not (line := capsys.readouterr().out):
            assert server.is_alive()
            time.sleep(0.01)
        url = line.split()[2]
        user = yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]
        assert user == {"token": "s3cret"}
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{url}/api/v1/namespaces")
        request = urllib.request.Request(f"{url}/api/v1/namespaces", headers={"Authorization": "Bearer s3cret"})
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
    finally:
        stop.set()
        server.join(20)


def test_rbac_over_https_with_certificates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokens, folder = tmp_path / "tokens", tmp_path / "certs"
    tokens.write_text("s3cret,alice,1\n")
    stop = threading.Event()
    arguments = ["--port", "0", "--token-auth-file", str(tokens), "--authorization-mode", "RBAC"]
    arguments += ["--tls", "--cert-dir", str(folder)]
    server = threading.Thread(target=command.main, args=(arguments, stop), name="server-under-test")
    server.start()
    try:
        while not (line := capsys.readouterr().out):
            assert server.is_alive()
            time.sleep(0.01)
        url = f"{line.split()[2]}/api/v1/namespaces"
        assert url.startswith("https://")
        trusting = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        alice = urllib.request.Request(url, headers={"Authorization": "Bearer s3cret"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(alice, context=trusting)
        trusting.load_cert_chain(folder / "client.crt", folder / "client.key")
        assert (folder / "client.key").stat().st_mode & 0o077 == 0
        with urllib.request.urlopen(url, context=trusting) as answer:
            assert answer.status == 200
    finally:
        stop.set()
        server.join(20)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--authorization-mode", "Webhook"], "unknown authorization mode 'Webhook'"),
        (["--authorization-mode", "RBAC,RBAC"], "given twice"),
        (["--anonymous-auth", "maybe"], "neither true nor false"),
    ],
)
def test_wrong_words_about_access_are_usage_errors(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(["--port", "0", *arguments], stop=threading.Event())
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--client-ca-file", "/nowhere"], "--client-ca-file /nowhere: there is no such file"),
        (["--tls-cert-file", __file__], "belong together"),
        (["--tls-cert-file", __file__, "--tls-private-key-file", __file__], "cannot be used"),
        (["--cert-dir", "/tmp/certs"], "only certificates that --tls makes are written"),
        (
            ["--cert-dir", "/tmp/certs", "--tls", "--tls-cert-file", __file__, "--tls-private-key-file", __file__],
            "only certificates that --tls makes are written",
        ),
    ],
)
def test_certificates_that_cannot_be_used_are_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--port", "0", *arguments], stop=stopped()) == 1
    assert message in capsys.readouterr().err


def stopped() -> threading.Event:
    stop = threading.Event()
    stop.set()
    return stop


def test_objects_are_saved_at_the_end_and_loaded_at_the_start(
    manifests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    both = ["--port", "0", "--load", str(state), "--save", str(state)]

    assert command.main([*both, "--crds", str(manifests)], stop=stopped()) == 0  # the first time there is nothing
    assert f"all objects are kept in {state}" in capsys.readouterr().out
    first = yaml.safe_load((state / "example.com/widgets/default/w.yaml").read_text())

    assert command.main(both, stop=stopped()) == 0
    assert yaml.safe_load((state / "example.com/widgets/default/w.yaml").read_text()) == first
    assert first["metadata"]["uid"]

    state.rename(tmp_path / ".state.fake-apiserver-old")  # where a kill at the wrong moment leaves it
    assert command.main(both, stop=stopped()) == 0
    assert yaml.safe_load((state / "example.com/widgets/default/w.yaml").read_text()) == first


def test_a_state_that_cannot_be_loaded_or_saved_is_named_at_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--port", "0", "--load", str(tmp_path / "none")], stop=stopped()) == 1
    assert f"--load {tmp_path}/none: there is no such folder" in capsys.readouterr().err
    (tmp_path / "x.yaml").write_text("- 1")
    assert command.main(["--port", "0", "--load", str(tmp_path)], stop=stopped()) == 1
    assert f"--load {tmp_path}/x.yaml: a document is not an object" in capsys.readouterr().err
    assert command.main(["--port", "0", "--save", str(tmp_path)], stop=threading.Event()) == 1  # it would not end
    assert f"--save {tmp_path}: holds something else" in capsys.readouterr().err
    for nowhere in ("/proc/none/state", "/proc", f"{tmp_path}/x.yaml/state"):
        assert command.main(["--port", "0", "--save", nowhere], stop=threading.Event()) == 1
        assert capsys.readouterr().err.startswith("error: --save ")


def test_packages_that_are_missing_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not the rule that is wrong."""
    schema = {"type": "object", "x-kubernetes-validations": [{"rule": "true"}]}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    (tmp_path / "crd.yaml").write_text(yaml.safe_dump({**CRD, "spec": {**CRD["spec"], "versions": [version]}}))
    syntax._parser.cache_clear()
    monkeypatch.setitem(sys.modules, "celpy", None)
    for option in ("--crds", "--load"):
        assert command.main(["--port", "0", option, str(tmp_path)], stop=stopped()) == 1
        error = capsys.readouterr().err
        assert re.fullmatch(rf"error: {option} .*CEL rules need the package cel-python: pip install .*\n", error)


def test_a_state_may_begin_as_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = str(tmp_path)
    assert command.main(["--port", "0", "--load", state], stop=stopped()) == 1
    assert f"--load {state}: holds neither a saved state nor a manifest" in capsys.readouterr().err
    assert command.main(["--port", "0", "--load", state, "--save", state], stop=stopped()) == 0
    assert command.main(["--port", "0", "--load", state], stop=stopped()) == 0


def test_a_host_that_is_none_is_no_busy_port(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--port", "0", "--host", "192.0.2.1"], stop=stopped()) == 1
    error = capsys.readouterr().err
    assert "cannot listen on 192.0.2.1:0: " in error
    assert "free the port" not in error


def test_requests_are_written_to_the_audit_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stop, log = threading.Event(), tmp_path / "audit.log"
    arguments = ["--port", "0", "--audit-log-path", str(log)]
    server = threading.Thread(target=command.main, args=(arguments, stop), name="server-under-test")
    server.start()
    try:
        while not (line := capfd.readouterr().out):
            assert server.is_alive()
            time.sleep(0.01)
        urllib.request.urlopen(f"{line.split()[2]}/api/v1/namespaces/default").close()
    finally:
        stop.set()
        server.join(20)
    event = json.loads(log.read_text())
    assert (event["verb"], event["objectRef"]["name"], event["responseStatus"]["code"]) == ("get", "default", 200)

    assert command.main(["--port", "0", "--audit-log-path", str(tmp_path / "no" / "log")], stop=stopped()) == 1
    assert f"--audit-log-path {tmp_path}/no/log: No such file" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], [r"kubectl --server http://127\.0\.0\.1:\d+ get", r'Client\("http://127\.0\.0\.1:\d+"\)']),
        (["--kubeconfig", "{}/config"], [r"kubectl --kubeconfig /.*/config get", r'load_client\("/.*/config"\)']),
        (["--authorization-mode", "RBAC"], ["--kubeconfig FILE makes one", r'Client\("http:[^,]*", token=\.\.\.\)']),
        (["--tls"], ["--kubeconfig FILE makes one", r'Client\("https:[^,]*", ca_file="/.*ca\.crt"\)']),
    ],
    ids=lambda given: str(given[:1]),
)
def test_it_says_how_to_get_in(
    arguments: list[str], says: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [each.format(tmp_path) for each in arguments]
    assert command.main(["--port", "0", *given], stop=stopped()) == 0
    said = capsys.readouterr().out
    assert [pattern for pattern in says if not re.search(pattern, said)] == [], said


def test_a_kubeconfig_of_somebody_else_is_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    theirs = f"clusters: [{{name: production, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]".encode()
    for content in (theirs, b"\xff\xfe", b"a: [b"):
        path.write_bytes(content)
        assert command.main(["--port", str(port), "--kubeconfig", str(path)], stop=stopped()) == 1
        assert "is not ours" in capsys.readouterr().err
        assert path.read_bytes() == content


def test_a_kubeconfig_that_was_changed_meanwhile_stays(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, stop = tmp_path / "config", threading.Event()
    arguments = ["--port", "0", "--kubeconfig", str(path)]
    server = threading.Thread(target=command.main, args=(arguments, stop), name="server-under-test")
    server.start()
    try:
        while not capfd.readouterr().out:
            assert server.is_alive()
            time.sleep(0.01)
        changed = path.read_text() + "# mine\n"  # kubectl config set-context ...
        path.write_text(changed)
    finally:
        stop.set()
        server.join(20)
    assert path.read_text() == changed


def test_a_kubeconfig_that_a_killed_server_left_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config"
    stop = threading.Event()
    stop.set()
    assert command.main(["--port", "0", "--kubeconfig", str(path)], stop=stop) == 0
    path.write_text(yaml.safe_dump({"clusters": [{"name": "fake", "cluster": {"server": "http://127.0.0.1:1"}}]}))

    assert command.main(["--port", "0", "--kubeconfig", str(path)], stop=stop) == 0
    assert not path.exists()


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_wrong_port_is_a_usage_error(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        command.main([f"--port={port}"])

    assert ending.value.code == 2
    assert "give a number from 0 to 65535" in capsys.readouterr().err
