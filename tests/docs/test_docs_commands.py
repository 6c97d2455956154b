"""The commands in the pages: each is run here, or by the test that is named for it."""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.docs.markdown_pages import ROOT, blocks, pages
from tests.support.waiting import eventually

KUBECTL = shutil.which("kubectl")
_SHELL = ("", "sh", "bash", "console")
_ELSEWHERE = {"CHANGELOG.md", "tutorial.md"}  # of the past; test_docs_tutorial.py
_PROGRAMS = ("make", "python", "kubectl", "pip", "curl", "docker", "git", "promtool", "sh", "bash", "source", "export")


def commands() -> dict[str, str]:
    """Each command that a page tells to type, and where."""
    found: dict[str, str] = {}
    for page in pages():
        if page.name in _ELSEWHERE:
            continue
        for block in blocks(page):
            if block.language not in _SHELL:
                continue
            for line in block.text.replace("\\\n", " ").splitlines():
                command = " ".join(re.sub(r"(^|\s+)#.*", "", line).split())
                if re.match(rf"(?:[A-Z_]+=\S+ )*(?:xline-|{'|'.join(_PROGRAMS)})", command):
                    found.setdefault(command, block.where)
    return found


MANAGER, BENCHES, SERVING = "tests/runtime/manager", "tests/bench", "tests/runtime/testing"
OPERATOR = "tests/cmd/test_operator_process.py"
STANDALONE = "tests/cmd/test_standalone.py"
BENCH = "tests/bench/test_bench_smoke.py::test_a_tiny_run_makes_every_table"
CLIENT = "python -m bench.client mine --url http://127.0.0.1:PORT --objects 1000 --events 5000"
CURL = "curl -s http://127.0.0.1:8080/status/v1 | jq '.stuck[] | {controller, name, state, error}'"
LIST = "python -m cmd.sidecar list --namespace default --cluster demo --volume /backups"
IMAGE = "tests/deploy/test_deploy_image.py::test_make_image_builds_what_the_deployment_runs"
MAKE_IMAGE = "make image IMAGE=registry.example.com/xline-operator:v0.1.0"
SECRETS = (
    'make image ARGS="--secret=id=pip.conf,src=pip.conf --secret=id=pip.crt,src=/etc/ssl/certs/ca-certificates.crt"'
)
DEPLOY, SUPPLY = "tests/deploy/test_deploy_manifests.py", "tests/tools/test_supply.py"
ORLEANS = "tests/membership/orleans/test_orleans_docs.py"
UNMARK = (
    "kubectl annotate pvc -l app.kubernetes.io/instance=demo,app.kubernetes.io/name=xlinecluster "
    "xline.io.datenlord.com/has-run-"
)
# What is too long, or too much of an installation, for here: where the same thing is run.
PROVEN = {
    "kubectl get silos --field-selector clusterId=orders,status=Active": f"{ORLEANS}::test_what_kubectl_shows",
    "kubectl get clusterversions": f"{ORLEANS}::test_what_kubectl_shows",
    "python -m runtime.testing --port 0 --crds crds --kubeconfig kubeconfig": f"{ORLEANS}::test_trying_it",
    "python -m cmd.silo --kubeconfig kubeconfig --cluster-id demo --address 127.0.0.1 --port 11111": (
        f"{ORLEANS}::test_trying_it"
    ),
    "make demo": f"{STANDALONE}::test_the_demo_ends_well_and_leaves_nothing",
    "make run": f"{STANDALONE}::test_a_signal_ends_it_and_every_process_it_started",
    "python -m cmd.crds apply": "tests/cmd/test_crds_command.py::test_apply_installs_all_and_again_changes_nothing",
    "python -m cmd.controller --leader-elect": f"{OPERATOR}::test_when_the_leader_is_killed_the_other_takes_over",
    "python -m cmd.controller check": "tests/cmd/test_check.py::test_a_cluster_that_has_everything",
    "kubectl apply -k deploy/overlays/default": f"{DEPLOY}::test_what_is_applied_runs",
    "kubectl apply -k deploy/overlays/monitored": f"{DEPLOY}::test_what_is_applied_runs",
    "kubectl -n xline-system port-forward deployment/xline-operator 8080": (
        "tests/deploy/test_deploy_port_forward.py::test_the_status_page_through_a_forwarded_port"
    ),
    "source <(xline-operator completion bash)": "tests/cmd/test_completion.py::test_bash_completes",
    "make wheel": f"{SUPPLY}::test_a_wheel_is_the_same_wherever_and_whenever_it_is_built",
    "make sbom": f"{SUPPLY}::test_the_bill_of_materials_names_all_of_it",
    "sha256sum dist/*.whl": f"{SUPPLY}::test_a_wheel_is_the_same_wherever_and_whenever_it_is_built",
    "make image": IMAGE,
    "make image DOCKER=podman": IMAGE,
    f"{MAKE_IMAGE} ARGS=--build-arg=PYTHON_IMAGE=docker.io/library/python@sha256:DIGEST": IMAGE,
    SECRETS: IMAGE,
    "make docs": "tests/docs/test_docs_site.py::test_it_is_built_without_a_warning",
    "make soak": "tests/tools/test_soak.py::*",
    "make bench": BENCH,
    "make bench ARGS=--quick": BENCH,
    "python -m bench --suite queue --rounds 3": BENCH,
    "python -m bench --suite ingest --scale 0.1": BENCH,
    "python -m bench --strict": "tests/bench/test_bench_figures.py::test_a_missed_goal_fails_only_a_strict_run",
    "python -m bench --profile events": "tests/bench/test_bench_profiling.py::*",
    "python -m bench.replay --objects 1000 --events 5000 &": "tests/bench/test_bench_replay.py::*",
    CLIENT: f"{BENCHES}/test_bench_verification.py::*",
    "python -m runtime.testing --port 8001 --crds examples/foo_crd.yaml": f"{SERVING}/test_serve_command.py::*",
    "python -m examples.foo_controller http://127.0.0.1:8001": f"{MANAGER}/test_manager_sample_controller.py::*",
    'make run ARGS="--no-sample"': f"{STANDALONE}::test_kill_9_leaves_no_process_and_the_folder_can_be_used_again",
    'make run ARGS="--standalone-port 8001"': "tests/cmd/test_options.py::*",
    "python -m cmd.crds convert -f old.yaml > new.yaml": "tests/crds/test_crd_conversion.py::*",
    UNMARK: "tests/controllers/xline/test_xline_kubectl.py::test_volumes_that_a_person_has_emptied_are_begun_anew_on",
    CURL: f"{MANAGER}/test_status_document.py::*",
    LIST: "tests/docs/test_docs_commands.py::test_the_backups_of_a_cluster_are_listed",
    "python -m cmd.controller --metrics-bind-address 127.0.0.1:8080": "tests/runtime/manager/test_status_routes.py::*",
}
# What .ci/run does as a whole.
GATE = ("make check", "make test", "make test-slow")
HERE = "kubectl --kubeconfig .run/kubeconfig "  # of the tests below


def test_every_command_is_run_somewhere() -> None:
    known = (HERE, *GATE)
    unproven = [
        f"{where}: {command}"
        for command, where in commands().items()
        if command not in PROVEN and not command.startswith(known)
    ]
    assert unproven == []


def test_the_gate_does_what_it_is_said_to_do() -> None:
    gate = (ROOT / ".ci" / "run").read_text().splitlines()
    assert set(GATE) <= set(gate)


def test_what_is_proven_is_still_shown() -> None:
    assert set(PROVEN) - set(commands()) == set()


@pytest.mark.parametrize("proof", sorted(set(PROVEN.values())))
def test_the_test_that_runs_it_is_there(proof: str) -> None:
    file, _, name = proof.partition("::")
    tests = {node.name for node in ast.parse((ROOT / file).read_text()).body if isinstance(node, ast.FunctionDef)}
    assert tests if name == "*" else name in tests


def test_every_target_of_make_is_there() -> None:
    for command in commands():
        if command.startswith("make "):
            done = subprocess.run(
                ["make", "-n", *command.split()[1:2], "VENV=.venv"],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr


def test_the_backups_of_a_cluster_are_listed(tmp_path: Path) -> None:
    words = LIST.replace("/backups", str(tmp_path)).split()[1:]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("NAME ")


@contextmanager
def _make_run(folder: Path) -> Iterator[None]:
    """What ``make run`` starts, in another folder."""
    command = [sys.executable, "-m", "cmd.controller", "--standalone", "--standalone-dir", ".run"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=log, stderr=log
        )
    try:
        eventually(lambda: "3 of 3" in (folder / "log").read_text() or process.poll() is not None, "three members", 120)
        yield
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, (folder / "log").read_text()
    finally:
        process.kill()
        process.wait()


def _typed(command: str, folder: Path) -> str:
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.etcd
@pytest.mark.timeout(400)
@pytest.mark.skipif(KUBECTL is None, reason="no kubectl found")
def test_what_one_types_beside_make_run(tmp_path: Path) -> None:
    (tmp_path / "cmd").symlink_to(ROOT / "cmd")  # a file that a command names
    typed = [command for command in commands() if command.startswith(HERE)]
    assert len(typed) > 5
    # As they stand, but what deletes comes last.
    typed.sort(key=lambda command: " delete " in command)
    with _make_run(tmp_path):
        said = {command: _typed(command, tmp_path) for command in typed}
    assert "xlinecluster.xline.io.datenlord.com/demo" in said[f"{HERE}get xlineclusters,pods"]
    assert "deleted" in said[f"{HERE}delete xc demo"]
