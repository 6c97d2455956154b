"""The tutorial, as somebody does it who copies and pastes."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.testing import FakeAPIServer
from runtime.types import GVR
from tests.docs.markdown_pages import ROOT, Block, blocks
from tests.support.silo_ends import free_port
from tests.support.waiting import eventually

PAGE = ROOT / "docs" / "tutorial.md"
KUBECTL = shutil.which("kubectl")


class Reader:
    """Somebody in a folder, with a shell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = folder / "bin"  # `python` is the one that has the library
        programs.mkdir()
        (programs / "python").symlink_to(sys.executable)
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTEST_ADDOPTS": "-p runtime.testing.pytest_plugin -p no:cacheprovider",
            "PYTHON": sys.executable,
            "PORT": str(free_port()),
            "METRICS": f"127.0.0.1:{free_port()}",
        }

    def saves(self, block: Block) -> None:
        path = self.folder / block.saved_as
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)

    def types(self, block: Block) -> str:
        """Returns what was printed."""
        script = f"set -e\n{block.text}\npwd > {self.folder}/.where"
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, f"{block.where}\n{done.stdout}{done.stderr}"
        where = self.folder / ".where"
        came_to = Path(where.read_text().strip())
        where.unlink()
        self.folder = came_to
        return done.stdout

    @contextmanager
    def leaves_running(self, block: Block) -> Iterator[None]:
        process = subprocess.Popen(
            ["bash", "-c", block.text], cwd=self.folder, env=self.environment, start_new_session=True
        )
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGINT)  # Ctrl-C
            process.wait(30)


@pytest.fixture
def done_up_to_running(tmp_path: Path) -> tuple[Reader, list[Block]]:
    """The reader when the tests pass, and the blocks that are left: in two terminals, and on a cluster."""
    reader = Reader(tmp_path)
    left = [block for block in blocks(PAGE) if block.language]
    ran = []
    while left[0].text != "make run\n":
        block = left.pop(0)
        if block.saved_as:
            reader.saves(block)
        else:
            ran.append(reader.types(block))
    assert "4 passed" in ran[-1]
    return reader, left


@pytest.mark.slow
@pytest.mark.skipif(KUBECTL is None, reason="no kubectl found")
def test_it_runs_without_a_cluster(done_up_to_running: tuple[Reader, list[Block]]) -> None:
    reader, (run, commands, _) = done_up_to_running
    with reader.leaves_running(run):
        eventually((reader.folder / ".kubeconfig").exists, "a kubeconfig", 60)
        shown = reader.types(commands)
    assert "deployment.apps/example" in shown
    assert "0 of 1 Pods serve the page" in shown
    assert 'website.example.com "example" deleted' in shown


@pytest.mark.slow
def test_the_permissions_on_a_cluster_are_enough(done_up_to_running: tuple[Reader, list[Block]]) -> None:
    reader, left = done_up_to_running
    reader.saves(left[-1])
    account = "system:serviceaccount:websites:websites"
    with FakeAPIServer(authorization_mode="RBAC") as server, server.client() as client:
        for folder in ("crds", "deploy", "sample.yaml"):
            server.apply_manifests(reader.folder / folder)
        server.kubeconfig(reader.folder / "kubeconfig", user=account, namespace="websites")
        command = "exec python -m websites --leader-elect --kubeconfig kubeconfig --metrics-bind-address 0"
        run = Block(PAGE, 0, "sh", f"{command} --health-probe-bind-address 0", "")
        with reader.leaves_running(run):
            sites = client.resource(GVR("example.com", "v1", "websites"), "default")
            eventually(lambda: (sites.get("example").get("status") or {}).get("conditions"), "its condition", 60)
        refused = [(each.verb, each.path) for each in server.requests if each.user == account and each.code == 403]
        assert refused == []


def test_it_is_the_example() -> None:
    """One controller in two places: the page has it without what makes it a program."""
    (shown,) = (block.text for block in blocks(PAGE) if block.saved_as == "websites/controller.py")
    example = (ROOT / "examples" / "website_controller.py").read_text()
    theirs, ours = (_parts(text) for text in (shown, example))
    assert theirs == ours


def _parts(text: str) -> list[str]:
    found = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef | ast.Assign)]
    return [ast.get_source_segment(text, node) or "" for node in found]


def test_its_definition_is_the_examples() -> None:
    (shown,) = (block.text for block in blocks(PAGE) if block.saved_as == "website.yaml")
    assert shown == (ROOT / "examples" / "website_crd.yaml").read_text()
