"""Faults from the command line, and from the command line of others while the server runs."""

from __future__ import annotations

import json
import shutil
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from runtime.testing import FakeAPIServer
from runtime.testing import __main__ as command
from tests.runtime.testing.kubectl.kubectl_helpers import Kubectl

FAULTS = """\
seed: 1
faults:
- {verb: get, name: kube-system, status: 503, message: not today}
- {verb: get, name: default, probability: 0.5, status: 500}
"""


def test_a_file_says_what_goes_wrong_from_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text(FAULTS)

    def codes() -> list[int]:
        """Of a server of its own."""
        stop = threading.Event()
        arguments = ["--port", "0", "--faults", str(file), "--seed", "3"]
        server = threading.Thread(target=command.main, args=(arguments, stop), name="server-under-test")
        server.start()
        try:
            while not (line := capsys.readouterr().out):
                assert server.is_alive()
                time.sleep(0.01)
            namespaces = f"{line.split()[2]}/api/v1/namespaces"
            with pytest.raises(urllib.error.HTTPError, match="503"):
                urllib.request.urlopen(f"{namespaces}/kube-system")
            return [_code(f"{namespaces}/default") for _ in range(30)]
        finally:
            stop.set()
            server.join(30)

    first = codes()
    assert set(first) == {200, 500}
    assert codes() == first, "by its seed"


def _code(url: str) -> int:
    try:
        with urllib.request.urlopen(url) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no such file"), ("- {verb: get, statuz: 5}", "faults[0].statuz: there is no such word")],
)
def test_a_file_that_means_nothing_is_named(
    content: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "faults.yaml"
    if content is not None:
        file.write_text(content)
    assert command.main(["--port", "0", "--faults", str(file)], stop=threading.Event()) == 1
    assert f"error: --faults {file}: {message}" in capsys.readouterr().err


def test_kubectl_adds_and_ends_faults(server: FakeAPIServer, tmp_path: Path) -> None:
    binary = shutil.which("kubectl")
    if binary is None:
        pytest.skip("no kubectl on this machine")
    kubectl = Kubectl(binary, tmp_path, server)
    file = tmp_path / "faults.yaml"
    file.write_text(FAULTS)
    added = json.loads(kubectl.run("create", "--raw", "/_fake/faults", "-f", str(file)))
    assert [each["id"] for each in added["faults"]] == ["fault-1", "fault-2"]
    assert "not today" in kubectl.run("get", "namespace", "kube-system", code=1)
    shown = json.loads(kubectl.run("get", "--raw", "/_fake/faults"))
    assert shown["faults"][0]["hits"] > 0
    kubectl.run("delete", "--raw", "/_fake/faults")
    assert len(server.faults) == 0
