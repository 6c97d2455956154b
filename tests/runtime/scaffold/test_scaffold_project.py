"""``python -m runtime new``: what it writes works as it is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.__main__ import main
from runtime.scaffold import ScaffoldError, write
from runtime.testing import FakeAPIServer
from runtime.types import GVR
from tests.support.managers import FOO_CRD, FOOS
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[3]
CLUSTER_SCOPED = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: bells.example.com}
spec:
  group: example.com
  scope: Cluster
  names: {plural: bells, singular: bell, kind: Bell, listKind: BellList}
  versions:
    - name: v1
      served: true
      storage: true
      subresources: {status: {}}
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              required: [tone, times, at]
              properties:
                tone: {type: string, pattern: '^[a-z]+$', minLength: 3}
                times: {type: integer, minimum: 2, maximum: 3}
                at: {type: string, format: date-time}
            status:
              type: object
              properties:
                conditions:
                  type: array
                  items:
                    type: object
                    properties: {type: {type: string}, status: {type: string}, reason: {type: string},
                      message: {type: string}, lastTransitionTime: {type: string}, observedGeneration: {type: integer}}
"""


@pytest.fixture
def bells(tmp_path: Path) -> Path:
    file = tmp_path / "bells.yaml"
    file.write_text(CLUSTER_SCOPED)
    return file


def _environment() -> dict[str, str]:
    """As if the library were installed."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def _its_own_tests(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "runtime.testing.pytest_plugin", "-p", "no:cacheprovider"]
    return subprocess.run(
        command, cwd=folder, env=_environment(), capture_output=True, text=True, timeout=100, check=False
    )


@pytest.mark.parametrize(
    "crd",
    [
        FOO_CRD,
        pytest.param(ROOT / "crds" / "xlineclusters.yaml", marks=pytest.mark.slow),  # CEL rules, conditions
        pytest.param(ROOT / "crds" / "silos.yaml", marks=pytest.mark.slow),  # no spec, a status that is a plain field
    ],
    ids=lambda crd: crd.stem,
)
def test_the_tests_it_writes_pass(tmp_path: Path, crd: Path) -> None:
    project = write("my-controller", crd, tmp_path / "new")
    assert project.refused == ""
    done = _its_own_tests(project.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_the_tests_it_writes_pass_for_a_cluster_scoped_kind_with_conditions(tmp_path: Path, bells: Path) -> None:
    project = write("bells", bells, tmp_path / "new")
    assert project.refused == ""
    done = _its_own_tests(project.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout  # one of them is about the conditions


@pytest.mark.slow
def test_its_tests_fail_when_the_controller_does_nothing(tmp_path: Path) -> None:
    project = write("idle", FOO_CRD, tmp_path / "new")
    controller = project.folder / "idle" / "controller.py"
    text = controller.read_text()
    assert "    try:\n" in text
    controller.write_text(text.replace("    try:\n", "    return\n    try:\n", 1))
    conftest = project.folder / "tests" / "conftest.py"
    conftest.write_text(conftest.read_text().replace("timeout: float = 30.0", "timeout: float = 0.2"))
    done = _its_own_tests(project.folder)
    assert "4 failed" in done.stdout, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "plural", "singular", "variable"),
    [
        ("Lambda", "lambdas", "lambda", "lambda_"),
        ("BigBell", "big-bells", "big-bell", "big_bell"),
        ("JSON", "gvr", "json", "json_"),
    ],
)
def test_what_is_called_like_something_of_python_or_the_template(
    tmp_path: Path, bells: Path, kind: str, plural: str, singular: str, variable: str
) -> None:
    text = CLUSTER_SCOPED.replace("bells", plural).replace("singular: bell", f"singular: {singular}")
    bells.write_text(text.replace("BellList", f"{kind}List").replace("kind: Bell", f"kind: {kind}"))
    project = write("new-one", bells, tmp_path / "new")
    controller = (project.folder / "new_one" / "controller.py").read_text()
    assert f"        {variable} = ctx.lister(" in controller
    done = _its_own_tests(project.folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_pattern_that_python_cannot_read(tmp_path: Path, bells: Path) -> None:
    bells.write_text(CLUSTER_SCOPED.replace("^[a-z]+$", r"^\p{L}+$"))
    assert write("bells", bells, tmp_path / "new").refused == ""


def test_make_run_ends_if_its_server_cannot_start(tmp_path: Path) -> None:
    project = write("foos", FOO_CRD, tmp_path / "new")
    (project.folder / ".kubeconfig").write_text("of an earlier one")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = ["make", "run", f"PYTHON={sys.executable}", f"PORT={port}", "METRICS=127.0.0.1:0"]
        done = subprocess.run(
            command, cwd=project.folder, env=_environment(), capture_output=True, text=True, timeout=100, check=False
        )
    assert done.returncode != 0
    assert f"{port}" in done.stderr


@contextmanager
def _process(folder: Path, package: str, kubeconfig: Path) -> Iterator[subprocess.Popen[bytes]]:
    off = ["--metrics-bind-address", "0", "--health-probe-bind-address", "0"]
    command = [sys.executable, "-m", package, "--kubeconfig", str(kubeconfig), "--leader-elect", *off]
    environment = _environment() | {"POD_NAMESPACE": package}
    process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    try:
        yield process
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_the_permissions_it_writes_are_enough(tmp_path: Path, bells: Path) -> None:
    project = write("bells", bells, tmp_path / "new")
    with FakeAPIServer(authorization_mode="RBAC") as server, server.client() as client:
        server.apply_manifests(project.folder / "crds")
        server.apply_manifests(project.folder / "deploy")
        account = "system:serviceaccount:bells:bells"
        kubeconfig = server.kubeconfig(tmp_path / "kubeconfig", user=account, namespace="bells")
        with _process(project.folder, "bells", kubeconfig):
            server.apply_manifests(project.folder / "sample.yaml")
            configmaps = client.resource(GVR("", "v1", "configmaps"), "default")
            eventually(lambda: [each for each in configmaps.list() if each.name == "example-bell"], "the ConfigMap", 60)
            objects = client.resource(GVR("example.com", "v1", "bells"))
            eventually(lambda: (objects.get("example").get("status") or {}).get("conditions"), "its condition", 60)
            events = client.resource(GVR("", "v1", "events"))
            eventually(lambda: [each for each in events.list() if each["reason"] == "Applied"], "the event", 60)
        refused = [(each.verb, each.path) for each in server.requests if each.user == account and each.code == 403]
        assert refused == []


@pytest.mark.slow
def test_what_it_writes_is_formatted_and_typed(tmp_path: Path, bells: Path) -> None:
    tools = Path(sys.executable).parent
    for name, crd in (
        ("foos", FOO_CRD),
        ("a-longer-name-for-it", ROOT / "crds" / "clusterversions.yaml"),
        ("bells", bells),
    ):
        project = write(name, crd, tmp_path / name)
        for command in (
            [tools / "ruff", "check", "--no-cache", "--select", "E,F,W,I,B,UP,SIM,RUF,PT", "."],
            [tools / "ruff", "format", "--no-cache", "--check", "."],
            [tools / "mypy", "--strict", "--no-incremental", "--follow-imports", "silent", project.package],
        ):
            environment = _environment() | {"MYPYPATH": str(ROOT)}
            done = subprocess.run(
                list(map(str, command)),
                cwd=project.folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new"
    assert main(["new", "foos", "--crd", str(FOO_CRD), "--output", str(folder)]) == 0
    said = capsys.readouterr().out
    listed = {line.strip() for line in said.splitlines() if line.startswith("  ")}
    assert listed == {str(file) for file in folder.rglob("*") if file.is_file()}
    assert f"next: cd {folder}" in said


def test_a_sample_that_only_its_author_can_complete_is_told(
    tmp_path: Path, bells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bells.write_text(CLUSTER_SCOPED.replace("^[a-z]+$", "^bell-[0-9]{4}$"))
    assert main(["new", "bells", "--crd", str(bells), "--output", str(tmp_path / "new")]) == 0
    assert "spec.tone" in (tmp_path / "new" / "sample.yaml").read_text().splitlines()[0]
    assert "sample.yaml must be edited" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("Foo", "NAME 'Foo'"),
        ("a_b", "NAME 'a_b'"),
        ("x" * 64, "63 at most"),
        ("json", "json-controller"),
        ("9a", "NAME"),
        ("crds", "crds-controller"),
        ("on", "no text in YAML"),
        ("y", "no text in YAML"),
    ],
)
def test_a_wrong_name_is_refused(tmp_path: Path, name: str, complaint: str) -> None:
    with pytest.raises(ScaffoldError, match=complaint):
        write(name, FOO_CRD, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_is_there_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "kept").write_text("mine")
    assert main(["new", "foos", "--crd", str(FOO_CRD), "--output", str(tmp_path)]) == 1
    assert "not an empty folder; choose another with --output" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("kind: ConfigMap\n", "found none"),
        (CLUSTER_SCOPED + "---" + CLUSTER_SCOPED, "found 2: bells.example.com, bells.example.com"),
        (": {", "bad.yaml"),
        (CLUSTER_SCOPED.replace("storage: true", "storage: false"), "not a complete"),
        (CLUSTER_SCOPED.replace("name: bells.example.com", "name: other.example.com"), "an API server refuses it"),
    ],
)
def test_a_file_that_is_no_definition_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(ScaffoldError, match=complaint):
        write("bad", file, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_file_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "foos", "--crd", str(tmp_path / "no.yaml"), "--output", str(tmp_path / "new")]) == 1
    assert "no.yaml" in capsys.readouterr().err


def test_the_kind_is_the_stored_version(tmp_path: Path) -> None:
    project = write("foos", FOO_CRD, tmp_path / "new")
    assert (
        f'GVR("{FOOS.group}", "{FOOS.version}", "{FOOS.resource}")'
        in (project.folder / "foos" / "controller.py").read_text()
    )
